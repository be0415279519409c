//! A certificate authority for development and tests. Its key lies beside what it signs: nothing for
//! production, where an authority that exists already, or `step-ca`, `cfssl` or `openssl`, does this.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::TlsError;

/// An authority in a folder: `ca.pem`, `ca.key`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to make.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whom it is made out to, and the stem of its files.
    pub name: String,
    /// What it is good for: DNS names and addresses.
    pub names: Vec<String>,
    /// When it begins.
    pub from: SystemTime,
    /// How long it lasts.
    pub days: u32,
}

impl Authority {
    /// Makes a new one in `folder`.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn create(folder: &Path, name: &str, days: u32) -> Result<Authority, TlsError> {
        let key = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(made)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let from = SystemTime::now();
        dates(&mut params, from, days);
        let certificate = params.self_signed(&key).map_err(made)?;
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        write(&folder.join("ca.key"), &key.serialize_pem(), true)?;
        write(&folder.join("ca.pem"), &certificate.pem(), false)?;
        Authority::open(folder)
    }

    /// The one in `folder`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> Result<Authority, TlsError> {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|error| {
                TlsError::new(format!(
                    "cannot read `{}`: {error}; make an authority with `understudy cert ca`",
                    path.display()
                ))
            })
        };
        let key = KeyPair::from_pem(&text("ca.key")?).map_err(made)?;
        let issuer = Issuer::from_ca_cert_pem(&text("ca.pem")?, key).map_err(made)?;
        Ok(Authority { folder: folder.to_owned(), issuer })
    }

    /// Signs a certificate for servers and clients: `NAME.pem` and `NAME.key` beside the authority.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the files cannot be written.
    pub fn issue(&self, order: &Order) -> Result<(PathBuf, PathBuf), TlsError> {
        let cert = self.folder.join(format!("{}.pem", order.name));
        let key = self.folder.join(format!("{}.key", order.name));
        self.issue_to(order, &cert, &key)?;
        Ok((cert, key))
    }

    /// The same, at these paths, in the place of what is there.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_to(&self, order: &Order, cert: &Path, key: &Path) -> Result<(), TlsError> {
        let pair = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(order.names.clone()).map_err(made)?;
        params.distinguished_name.push(DnType::CommonName, order.name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        dates(&mut params, order.from, order.days);
        let certificate = params.signed_by(&pair, &self.issuer).map_err(made)?;
        write(key, &pair.serialize_pem(), true)?;
        write(cert, &certificate.pem(), false)
    }
}

fn dates(params: &mut CertificateParams, from: SystemTime, days: u32) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    params.not_before = from.into();
    params.not_after = (from + DAY * days).into();
}

fn made(error: rcgen::Error) -> TlsError {
    TlsError::new(format!("cannot make the certificate: {error}; correct its names"))
}

fn unwritten(path: &Path, error: &std::io::Error) -> TlsError {
    TlsError::new(format!("cannot write `{}`: {error}", path.display()))
}

/// Through a name of its own, so that a reader finds the old file or the new one.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), TlsError> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(if secret { 0o600 } else { 0o644 });
    let written = options
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| unwritten(path, &error))
}
