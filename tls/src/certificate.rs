//! Certificates and keys as they lie in files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::{FILE_BYTES_MAX, TlsError, provider};

/// What a certificate says, for logs and the status page. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whom it was made out to.
    pub subject: String,
    /// The names it is good for.
    pub names: Vec<String>,
    /// Its last second, in seconds since 1970.
    pub not_after: i64,
}

/// A file and what was in it at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Read1 {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Reads one file, `what` it is for in messages.
pub(crate) fn read(path: &Path, what: &str) -> Result<Read1, TlsError> {
    let failed = |error: std::io::Error| {
        TlsError::new(format!("cannot read {what} `{}`: {error}; correct the path", path.display()))
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::new(format!(
            "{what} `{}` is larger than {FILE_BYTES_MAX} bytes; that is not a PEM file of this kind",
            path.display()
        )));
    }
    Ok(Read1 { path: path.to_owned(), bytes })
}

/// A certificate with its key, checked: they belong together and today is one of its days.
pub(crate) fn identity(
    chain: &Read1,
    key: &Read1,
    now: UnixTime,
) -> Result<(Arc<CertifiedKey>, Facts), TlsError> {
    let (path, key_path) = (chain.path.display(), key.path.display());
    let certificates = certificates(chain, "the certificate")?;
    let facts = facts(&certificates[0])
        .map_err(|why| TlsError::new(format!("the certificate `{path}` is damaged: {why}")))?;
    in_time(&certificates[0], now)
        .map_err(|why| TlsError::new(format!("the certificate `{path}` {why}")))?;
    let key = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
        TlsError::new(format!(
            "`{key_path}` has no private key in PEM (`-----BEGIN PRIVATE KEY-----`); name the file \
             with the key"
        ))
    })?;
    let certified = CertifiedKey::from_der(certificates, key, &provider()).map_err(|error| {
        TlsError::new(match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key `{key_path}` does not belong to the certificate `{path}`; name two files of \
                 one pair"
            ),
            error => format!("the key `{key_path}` cannot be used: {error}"),
        })
    })?;
    Ok((Arc::new(certified), facts))
}

/// Those who sign certificates that we believe.
pub(crate) fn roots(file: &Read1) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "the CA")? {
        roots.add(certificate).map_err(|error| {
            TlsError::new(format!("the CA `{}` cannot be used: {error}", file.path.display()))
        })?;
    }
    Ok(Arc::new(roots))
}

fn certificates(file: &Read1, what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(TlsError::new(format!(
            "{what} `{}` has no certificate in PEM (`-----BEGIN CERTIFICATE-----`); name the file \
             with the certificate",
            file.path.display()
        ))),
        Err(error) => {
            Err(TlsError::new(format!("{what} `{}` is not PEM: {error}", file.path.display())))
        }
    }
}

/// What `certificate` says.
pub(crate) fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    let parsed = parse(certificate)?;
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
        _ => Vec::new(),
    };
    Ok(Facts {
        subject: parsed.subject().to_string(),
        names,
        not_after: parsed.validity().not_after.timestamp(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|four| std::net::Ipv4Addr::from(four).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|all| std::net::Ipv6Addr::from(all).to_string()),
        },
        _ => None,
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), String> {
    let parsed = parse(certificate)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if validity.not_after.timestamp() < now {
        return Err(format!("expired on {}; put a new one there", day(validity.not_after)));
    }
    if validity.not_before.timestamp() > now {
        return Err(format!(
            "begins on {}; set the clock, or put one there that is valid now",
            day(validity.not_before)
        ));
    }
    Ok(())
}

fn day(time: ASN1Time) -> String {
    time.to_rfc2822().unwrap_or_else(|_| time.to_string())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(error.to_string()),
    }
}
