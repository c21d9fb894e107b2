//! HTTP towards services of the operator's: one connection, which stays open from question to question, and which servers are good.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::body::{Body, to_bytes};
use columba_net::tls;
use hyper::{
    Method, Request,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::{RootCertStore, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
};
use tokio_rustls::TlsConnector;

use crate::config::HttpUrl;

/// Where a service is, and how it is reached.
#[derive(Debug)]
pub(super) struct Wires {
    url: HttpUrl,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why a service cannot be asked at all.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The authorities' certificates cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// They do not do.
    #[error("{key}: {error}")]
    Tls {
        /// The key that names them, or should.
        key: &'static str,
        /// What is wrong.
        error: tls::ConfigError,
    },
    /// This machine has none, and none is named.
    #[error("this machine has no certificates of authorities; name some with {key}")]
    NoRoots {
        /// The key that would.
        key: &'static str,
    },
}

/// The service has not said anything that can be understood.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub(super) struct NoAnswer(pub(super) String);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking<'a> {
    /// What is there, as it is.
    Get,
    /// What it says to this JSON.
    Post(&'a str),
}

/// A connection, or none yet. Dropped, it is closed.
#[derive(Debug, Default)]
pub(super) struct Line(Option<Open>);

#[derive(Debug)]
struct Open {
    sender: SendRequest<Body>,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wires {
    /// Over TLS, servers are good whose certificate is by an authority in the file `ca`, which `key` names, or by one that this machine trusts.
    pub(super) fn new(url: &HttpUrl, ca: Option<&Path>, key: &'static str) -> Result<Self, ServiceError> {
        let tls = url.is_tls.then(|| client_config(ca, key)).transpose()?;
        Ok(Self { url: url.clone(), tls })
    }

    pub(super) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// Whether whoever is on the network can read and change what is said.
    pub(super) fn is_open_to_others(&self) -> bool {
        let is_local = self.url.host == "localhost" || self.url.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.url.is_tls && !is_local
    }

    async fn open(&self) -> Result<Open, NoAnswer> {
        let HttpUrl { host, port, .. } = &self.url;
        let stream = TcpStream::connect((&**host, *port)).await.map_err(|error| NoAnswer(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| NoAnswer(error.to_string()))?;
        match &self.tls {
            None => begin(stream).await,
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| NoAnswer(error.to_string()))?;
                let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                begin(connected.map_err(|error| NoAnswer(format!("TLS: {error}")))?).await
            }
        }
    }
}

/// Which servers are good: those of the authorities in the file, or those that this machine trusts.
fn client_config(ca: Option<&Path>, key: &'static str) -> Result<Arc<rustls::ClientConfig>, ServiceError> {
    let wrong = |error| ServiceError::Tls { key, error };
    let roots = if let Some(path) = ca {
        let text = fs::read(path).map_err(|error| ServiceError::Io { path: path.into(), error })?;
        tls::Trust::roots(&text).map_err(wrong)?
    } else {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(ServiceError::NoRoots { key });
        }
        roots
    };
    tls::client_config(&tls::Client { roots: Some(roots), identity: None, protocols: &["http/1.1"] }).map_err(wrong)
}

async fn begin(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Open, NoAnswer> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| NoAnswer(error.to_string()))?;
    // Its errors are those of the questions.
    let driver = tokio::spawn(async move { driver.await.unwrap_or_default() }).abort_handle();
    Ok(Open { sender, driver })
}

impl Line {
    /// Asks; the answer is the status and the body, which has at most so many bytes.
    pub(super) async fn ask(&mut self, wires: &Wires, asking: Asking<'_>, bytes_max: usize) -> Result<(u16, Vec<u8>), NoAnswer> {
        // One that was left open may have been closed meanwhile; a new one is tried once.
        if self.0.is_some() {
            match self.try_to(wires, asking, bytes_max).await {
                Err(Failed::BeforeAnAnswer(_)) => self.hang_up(),
                Err(Failed::Within(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.0 = Some(wires.open().await?);
        self.try_to(wires, asking, bytes_max).await.map_err(|(Failed::BeforeAnAnswer(error) | Failed::Within(error))| error)
    }

    async fn try_to(&mut self, wires: &Wires, asking: Asking<'_>, bytes_max: usize) -> Result<(u16, Vec<u8>), Failed> {
        let Some(open) = &mut self.0 else { return Err(Failed::Within(NoAnswer("no connection".into()))) };
        let before = |error: hyper::Error| Failed::BeforeAnAnswer(NoAnswer(error.to_string()));
        open.sender.ready().await.map_err(before)?;
        let request = asking.request(&wires.url).map_err(|error| Failed::Within(NoAnswer(error.to_string())))?;
        let response = open.sender.send_request(request).await.map_err(before)?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), bytes_max).await;
        let bytes = body.map_err(|_| Failed::Within(NoAnswer("an answer that is too long, or breaks off".into())))?;
        Ok((status, bytes.into()))
    }

    /// Closes it; the next question opens another one.
    pub(super) fn hang_up(&mut self) {
        self.0 = None;
    }
}

impl Asking<'_> {
    fn request(self, url: &HttpUrl) -> Result<Request<Body>, hyper::http::Error> {
        let request = Request::builder().uri(&*url.path).header(HOST, url.authority()).header(ACCEPT, "application/json");
        match self {
            Self::Get => request.method(Method::GET).body(Body::empty()),
            Self::Post(json) => {
                request.method(Method::POST).header(CONTENT_TYPE, "application/json").body(Body::from(json.to_owned()))
            }
        }
    }
}

/// Whether it is worth another try.
enum Failed {
    BeforeAnAnswer(NoAnswer),
    Within(NoAnswer),
}
