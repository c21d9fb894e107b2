//! How the generator's connections reach the broker: over TCP as it is, or through layers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use columba_net::tls::{Client, Tls, client_config};
use columba_net::websocket::WebSocket;
use columba_net::{Heard, Scratch, Stack};

use super::LoadError;

/// The certificate of brokers that are measured, and its key: for everybody to read, and good for nothing else.
const CERT: &str = include_str!("bench/cert.pem");
const KEY: &str = include_str!("bench/key.pem");

/// An authority that has signed one certificate, which has expired.
const AUTHORITY: &str = include_str!("bench/ca.pem");
const EXPIRED_CERT: &str = include_str!("bench/expired.pem");
const EXPIRED_KEY: &str = include_str!("bench/expired-key.pem");

/// Certificates of some 400 bytes in chains that are too long for anybody.
const LONG_CHAIN: usize = 100;
const ENDLESS_CHAIN: usize = 5_000;

/// The path of a WebSocket where none is named.
pub const WEB_SOCKET_PATH: &str = "/mqtt";

/// What stands between TCP and MQTT.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Via {
    /// Nothing.
    #[default]
    Plain,
    /// TLS 1.3; whoever answers is believed.
    Tls,
    /// A WebSocket.
    WebSocket,
    /// A WebSocket in TLS.
    SecureWebSocket,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    /// As a URL begins.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// Writes the certificate of brokers that are measured, and its key, into `dir`.
pub fn write_certificate(dir: &Path) -> Result<(PathBuf, PathBuf), LoadError> {
    let (cert, key) = (dir.join("bench-cert.pem"), dir.join("bench-key.pem"));
    let written = fs::write(&cert, CERT).and_then(|()| fs::write(&key, KEY));
    written.map_err(LoadError::io("writing the certificate"))?;
    Ok((cert, key))
}

/// Writes the certificate of an authority into `dir`, for listeners that ask clients for certificates.
pub(crate) fn write_authority(dir: &Path) -> Result<PathBuf, LoadError> {
    let path = dir.join("bench-ca.pem");
    fs::write(&path, AUTHORITY).map_err(LoadError::io("writing the certificate"))?;
    Ok(path)
}

/// What such a listener lets nobody in with: nothing, the certificate of a stranger, an expired one of the authority; and chains of so many that they are nearly as
/// long as a message of TLS may be to servers that bound it, and much longer; each with its key.
pub(crate) fn wrong_identities() -> [Option<(String, &'static str)>; 5] {
    let chain = |links| Some((EXPIRED_CERT.repeat(links), EXPIRED_KEY));
    [None, Some((CERT.to_owned(), KEY)), chain(1), chain(LONG_CHAIN), chain(ENDLESS_CHAIN)]
}

/// What a client of TLS says first.
pub(crate) fn tls_first_words() -> Result<Vec<u8>, LoadError> {
    let mut layers = Layers::new(Via::Tls, WEB_SOCKET_PATH)?;
    let words = layers.as_mut().map(|layers| {
        // It has nothing else to say yet.
        layers.take(&mut Vec::new()).map(|()| layers.outward().to_vec()).unwrap_or_default()
    });
    Ok(words.unwrap_or_default())
}

/// The layers of one connection, and the bytes on their way through.
#[derive(Debug)]
pub(crate) struct Layers {
    stack: Stack,
    scratch: Scratch,
    outward: Vec<u8>,
    written: usize,
}

impl Layers {
    pub(crate) fn new(via: Via, path: &str) -> Result<Option<Box<Self>>, LoadError> {
        let failed = |error: String| LoadError::io("beginning TLS")(io::Error::other(error));
        let tls = match via {
            Via::Plain | Via::WebSocket => None,
            Via::Tls | Via::SecureWebSocket => {
                let config = client_config(&Client { roots: None, identity: None, protocols: &[] });
                let config = config.map_err(|error| failed(error.to_string()))?;
                let name = "localhost".try_into().map_err(|_| failed("no name".into()))?;
                Some(Tls::client(Arc::clone(&config), name).map_err(|error| failed(error.to_string()))?)
            }
        };
        let web = match via {
            Via::Plain | Via::Tls => None,
            Via::WebSocket | Via::SecureWebSocket => Some(WebSocket::client("localhost", path)),
        };
        if tls.is_none() && web.is_none() {
            return Ok(None);
        }
        let stack = Stack::new(None, tls, web);
        Ok(Some(Box::new(Self { stack, scratch: Scratch::default(), outward: Vec::new(), written: 0 })))
    }

    /// Appends what `wire` means to `inward`.
    pub(crate) fn came(&mut self, wire: &mut [u8], inward: &mut Vec<u8>) -> Result<Heard, &'static str> {
        let heard = self.stack.read(wire, inward, &mut self.scratch).map_err(|_| "what came broke the rules of the transport")?;
        self.stack.outgoing(&mut self.outward, &mut self.scratch).map_err(|_| "TLS failed")?;
        Ok(heard)
    }

    /// Takes all of `out` once the handshakes are over and everything before is written.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.stack.outgoing(&mut self.outward, &mut self.scratch).map_err(|_| "TLS failed")?;
        if self.stack.is_open() && self.outward.is_empty() && !out.is_empty() {
            self.stack.write(out, &mut self.outward, &mut self.scratch).map_err(|_| "TLS failed")?;
            out.clear();
        }
        Ok(())
    }

    pub(crate) fn outward(&self) -> &[u8] {
        &self.outward[self.written..]
    }

    pub(crate) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.outward.len() {
            self.outward.clear();
            self.written = 0;
        }
    }

    /// Whether MQTT can be spoken.
    pub(crate) fn is_open(&self) -> bool {
        self.stack.is_open()
    }
}
