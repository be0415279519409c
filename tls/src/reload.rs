//! Files that change while the process runs: what they give is replaced as a whole, or not at all.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::certificate::{self, Facts, Read1};
use crate::{TlsError, rustls};

/// What looking at the files again has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are as before.
    None,
    /// They are new, and in use from now on.
    Replaced(Facts),
    /// They are new and cannot be used; the old ones stay in use.
    Kept(TlsError),
}

/// What is in use, for the status page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The certificate in use.
    pub certificate: Facts,
    /// Why the files as they are now are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Makes something of the files' contents, in the order in which they were named.
type Build<T> = dyn Fn(&[Read1], UnixTime) -> Result<(T, Facts), TlsError> + Send + Sync;

/// Something made from files, and made again when they change.
pub(crate) struct Live<T> {
    files: Vec<(PathBuf, &'static str)>,
    build: Box<Build<T>>,
    now: RwLock<Now<T>>,
}

struct Now<T> {
    value: Arc<T>,
    /// As they were when `value` or `problem` came of them.
    seen: Vec<Read1>,
    report: Report,
}

impl<T> Live<T> {
    /// Reads the files for the first time.
    pub(crate) fn load(
        files: Vec<(PathBuf, &'static str)>,
        build: Box<Build<T>>,
    ) -> Result<Live<T>, TlsError> {
        let seen = read_all(&files)?;
        let (value, certificate) = build(&seen, UnixTime::now())?;
        let report = Report { certificate, problem: None };
        Ok(Live { files, build, now: RwLock::new(Now { value: Arc::new(value), seen, report }) })
    }

    /// What is in use now.
    pub(crate) fn value(&self) -> Arc<T> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).value.clone()
    }

    pub(crate) fn report(&self) -> Report {
        self.now.read().unwrap_or_else(PoisonError::into_inner).report.clone()
    }

    /// Looks at the files again. The same problem is reported once.
    pub(crate) fn reload(&self) -> Change {
        let seen = match read_all(&self.files) {
            Ok(seen) => seen,
            Err(error) => return self.keep(None, error),
        };
        let known = {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            // A file that could not be read for a while has left its problem behind.
            now.seen == seen && now.report.problem.is_none()
        };
        if known {
            return Change::None;
        }
        match (self.build)(&seen, UnixTime::now()) {
            Ok((value, certificate)) => {
                let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
                now.value = Arc::new(value);
                now.seen = seen;
                now.report = Report { certificate: certificate.clone(), problem: None };
                Change::Replaced(certificate)
            }
            Err(error) => self.keep(Some(seen), error),
        }
    }

    fn keep(&self, seen: Option<Vec<Read1>>, error: TlsError) -> Change {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen {
            now.seen = seen;
        }
        let line = error.to_string();
        if now.report.problem.as_ref() == Some(&line) {
            return Change::None;
        }
        now.report.problem = Some(line);
        Change::Kept(error)
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        write!(f, "Live({})", files.join(", "))
    }
}

fn read_all(files: &[(PathBuf, &'static str)]) -> Result<Vec<Read1>, TlsError> {
    files.iter().map(|(path, what)| certificate::read(path, what)).collect()
}

/// A configuration's error that no file caused.
pub(crate) fn unexpected(error: rustls::Error) -> TlsError {
    TlsError::new(format!("TLS cannot be set up: {error}"))
}
