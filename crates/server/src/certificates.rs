//! The certificates, keys, authorities and lists of a listener: read at the start, read again when their files change, and swapped for the connections
//! that come from then on. A new file that is not good leaves the old one in use, and the log says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use columba_net::tls::{self, ClientCertificates, ConfigError, Identity, Server, ServerParts, Trust};
use thiserror::Error;

use crate::{
    authorities,
    config::{ClientCert, Listener, TlsFiles},
    watch::Watched,
};

/// From so long before its end on, a certificate is worth a warning.
const SHORT_LIFE: Duration = Duration::from_hours(14 * 24);

/// A PEM file of more bytes is none, nor are several of authorities together: the certificates of all public authorities together have 250 KiB. Lists of revoked certificates may be long.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The names inside TLS, by ALPN.
const MQTT: &str = "mqtt";
const HTTP: &str = "http/1.1";

/// Why a listener's TLS cannot be set up.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// What is in the files does not do.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// The file that is most likely at fault.
        path: PathBuf,
        /// What is wrong with it.
        error: ConfigError,
    },
    /// A directory of authorities in which none has a name by which it would be looked for.
    #[error("{}: no certificate in it has the name that `openssl rehash` gives it, like 4a5b6c7d.0", directory.display())]
    NoAuthority {
        /// Which.
        directory: PathBuf,
    },
}

/// The TLS of one listener: what new connections are made with.
#[derive(Debug)]
pub(crate) struct Certificates {
    listener: Listener,
    now: RwLock<Server>,
}

impl Certificates {
    /// Reads the files of a listener that has TLS.
    pub(crate) fn read(listener: &Listener) -> Result<Self, CertificateError> {
        let server = load(listener)?;
        tell(listener, &server);
        Ok(Self { listener: listener.clone(), now: RwLock::new(server) })
    }

    /// What the next connection is made with.
    pub(crate) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// When the certificate in use ends, in seconds since 1970.
    pub(crate) fn expires_s(&self) -> u64 {
        self.now.read().unwrap_or_else(PoisonError::into_inner).not_after
    }

    /// Reads the files again. Whatever is wrong with them leaves the old ones in use.
    fn read_again(&self) -> Result<(), CertificateError> {
        let server = load(&self.listener)?;
        tell(&self.listener, &server);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = server;
        Ok(())
    }
}

/// Says what is in use, and whether it will soon be over.
fn tell(listener: &Listener, server: &Server) {
    let address = listener.address.to_string();
    let subject = server.subject.as_deref();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(server.not_after).saturating_sub(now);
    let days = left.as_secs() / 86_400;
    if left.is_zero() {
        tracing::error!(listener = address, subject, "the certificate has expired: clients will refuse it");
    } else if left < SHORT_LIFE {
        tracing::warn!(listener = address, subject, days_left = days, "certificate in use; it expires soon");
    } else {
        tracing::info!(listener = address, subject, days_left = days, "certificate in use");
    }
}

fn files(listener: &Listener) -> impl Iterator<Item = &Path> {
    let tls = &listener.tls;
    [&tls.cert, &tls.key, &tls.ca, &tls.crl].into_iter().filter_map(Option::as_deref)
}

fn contents(path: Option<&Path>) -> Result<Vec<u8>, CertificateError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    read(path).map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(too_large());
    }
    fs::read(path)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "more than 64 MiB")
}

/// The authorities of client certificates, as one text in PEM. Where clients are asked for certificates, each file has been looked at.
fn authorities(files: &TlsFiles) -> Result<Vec<u8>, CertificateError> {
    let is_asked = files.client_cert != ClientCert::None;
    let of_directory = files.ca_dir.as_deref().map_or(Ok(Vec::new()), |directory| {
        let unreadable = |error| CertificateError::Unreadable { path: directory.to_owned(), error };
        let paths = authorities::certificates(directory).map_err(unreadable)?;
        if is_asked && files.ca.is_none() && paths.is_empty() {
            return Err(CertificateError::NoAuthority { directory: directory.to_owned() });
        }
        Ok(paths)
    })?;
    let mut all = Vec::new();
    for path in files.ca.iter().chain(&of_directory) {
        let text = contents(Some(path))?;
        if is_asked {
            Trust::roots(&text).map_err(|error| CertificateError::Unusable { path: path.clone(), error })?;
        }
        if (all.len() + text.len()) as u64 > FILE_BYTES_MAX {
            return Err(CertificateError::Unreadable { path: path.clone(), error: too_large() });
        }
        all.extend(text);
        all.push(b'\n');
    }
    Ok(all)
}

fn load(listener: &Listener) -> Result<Server, CertificateError> {
    let files = &listener.tls;
    let (chain, key) = (contents(files.cert.as_deref())?, contents(files.key.as_deref())?);
    let (roots, revoked) = (authorities(files)?, contents(files.crl.as_deref())?);
    let trust = Trust { roots: &roots, revoked: files.crl.is_some().then_some(&revoked) };
    let clients = match files.client_cert {
        ClientCert::None => ClientCertificates::NotAsked,
        ClientCert::Optional => ClientCertificates::Optional(trust),
        ClientCert::Require => ClientCertificates::Required(trust),
    };
    let protocols: &[_] = match (listener.has_web_sockets(), listener.web.beside_mqtt) {
        (true, true) => &[MQTT, HTTP],
        (true, false) => &[HTTP],
        (false, _) => &[MQTT],
    };
    let identity = Identity { chain: &chain, key: &key };
    let parts = ServerParts { identity, clients, protocols, min_version: files.min_version };
    tls::server_config(&parts).map_err(|error| {
        let path = match &error {
            ConfigError::Key(_) | ConfigError::KeyMismatch(_) => &files.key,
            ConfigError::NoList | ConfigError::Verifier(_) if files.crl.is_some() => &files.crl,
            ConfigError::NoList | ConfigError::Verifier(_) => files.ca.as_ref().map_or(&files.ca_dir, |_| &files.ca),
            ConfigError::NoCertificate | ConfigError::Certificate(_) | ConfigError::Pem(_) => &files.cert,
        };
        CertificateError::Unusable { path: path.clone().unwrap_or_default(), error }
    })
}

/// The files of a listener, for the thread that looks at them: whichever changes, all are read.
pub(crate) fn watched(certificates: &Arc<Certificates>) -> Vec<Watched> {
    let refused = Arc::default();
    let one = |path: &Path| {
        let (weak, needed) = (Arc::downgrade(certificates), Arc::downgrade(certificates));
        let read =
            move || weak.upgrade().map_or(Ok(()), |certificates| certificates.read_again().map_err(|error| error.to_string()));
        let watched = Watched::new("file of a listener's TLS", path.to_owned(), read).with(&refused);
        watched.while_needed(move || needed.strong_count() > 0)
    };
    let directory = certificates.listener.tls.ca_dir.as_deref().map(|path| one(path).directory(authorities::certificates));
    files(&certificates.listener).map(one).chain(directory).collect()
}
