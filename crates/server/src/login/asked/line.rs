//! One connection to the service, which stays open from question to question.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use hyper::{
    Method, Request,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
};
use tokio_rustls::TlsConnector;

use super::NoAnswer;
use crate::config::HttpUrl;

/// Where the service is, and how it is reached.
#[derive(Debug)]
pub(super) struct Wires {
    url: HttpUrl,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// A connection, or none yet. Dropped, it is closed.
#[derive(Debug, Default)]
pub(in crate::login) struct Line(Option<Open>);

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
    pub(super) fn new(url: HttpUrl, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { url, tls }
    }

    pub(super) fn url(&self) -> &HttpUrl {
        &self.url
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

async fn begin(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Open, NoAnswer> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| NoAnswer(error.to_string()))?;
    // Its errors are those of the questions.
    let driver = tokio::spawn(async move { driver.await.unwrap_or_default() }).abort_handle();
    Ok(Open { sender, driver })
}

impl Line {
    /// Asks; the answer is the status and the body, which has at most so many bytes.
    pub(super) async fn post(&mut self, wires: &Wires, body: String, bytes_max: usize) -> Result<(u16, Vec<u8>), NoAnswer> {
        // One that was left open may have been closed meanwhile; a new one is tried once.
        if self.0.is_some() {
            match self.ask(wires, body.clone(), bytes_max).await {
                Err(Failed::BeforeAnAnswer(_)) => self.hang_up(),
                Err(Failed::Within(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.0 = Some(wires.open().await?);
        self.ask(wires, body, bytes_max).await.map_err(|(Failed::BeforeAnAnswer(error) | Failed::Within(error))| error)
    }

    async fn ask(&mut self, wires: &Wires, body: String, bytes_max: usize) -> Result<(u16, Vec<u8>), Failed> {
        let Some(open) = &mut self.0 else { return Err(Failed::Within(NoAnswer("no connection".into()))) };
        let before = |error: hyper::Error| Failed::BeforeAnAnswer(NoAnswer(error.to_string()));
        open.sender.ready().await.map_err(before)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&*wires.url.path)
            .header(HOST, wires.url.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Body::from(body))
            .map_err(|error| Failed::Within(NoAnswer(error.to_string())))?;
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

/// Whether it is worth another try.
enum Failed {
    BeforeAnAnswer(NoAnswer),
    Within(NoAnswer),
}
