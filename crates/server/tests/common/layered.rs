//! A client that writes and reads every byte of MQTT by itself, through TLS and WebSocket.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use columba_net::{
    Heard, Scratch, Stack,
    tls::{self, Client, Identity, Tls},
    websocket::WebSocket,
};

use super::pki::{Authority, Signed};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to connect.
#[derive(Clone, Default)]
pub struct Via {
    tls: Option<Arc<rustls::ClientConfig>>,
    web: Option<String>,
}

impl Via {
    pub fn plain() -> Self {
        Self::default()
    }

    pub fn tls(authority: &Authority, identity: Option<&Signed>) -> Self {
        let identity = identity.map(|signed| Identity { chain: signed.chain.as_bytes(), key: signed.key.as_bytes() });
        let config = tls::client_config(&Client { roots: Some(authority.roots()), identity, protocols: &[] }).unwrap();
        Self { tls: Some(config), web: None }
    }

    pub fn web(path: &str) -> Self {
        Self { tls: None, web: Some(path.to_owned()) }
    }

    pub fn and(self, other: Self) -> Self {
        Self { tls: self.tls.or(other.tls), web: self.web.or(other.web) }
    }

    fn stack(&self) -> Stack {
        let tls = self.tls.as_ref().map(|config| Tls::client(Arc::clone(config), "localhost".try_into().unwrap()).unwrap());
        Stack::new(None, tls, self.web.as_ref().map(|path| WebSocket::client("localhost", path)))
    }
}

pub struct Layered {
    stream: TcpStream,
    stack: Stack,
    scratch: Scratch,
    unread: Vec<u8>,
    ended: bool,
}

impl Layered {
    /// Connects, and shakes hands as far as the other end goes along.
    pub fn open(address: SocketAddr, via: &Via) -> Self {
        Self::behind(address, b"", via)
    }

    /// The same behind bytes that a proxy writes first.
    pub fn behind(address: SocketAddr, header: &[u8], via: &Via) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        drop(stream.write_all(header));
        let mut client = Self { stream, stack: via.stack(), scratch: Scratch::default(), unread: Vec::new(), ended: false };
        client.flush();
        while !client.stack.is_open() && !client.ended {
            client.read();
        }
        client
    }

    /// What a client says first.
    pub fn first_words(via: &Via) -> Vec<u8> {
        let mut wire = Vec::new();
        via.stack().outgoing(&mut wire, &mut Scratch::default()).unwrap();
        wire
    }

    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        self.stack.peer_certificate().map(<[u8]>::to_vec)
    }

    fn flush(&mut self) {
        let mut wire = Vec::new();
        self.ended |= self.stack.outgoing(&mut wire, &mut self.scratch).is_err();
        self.ended |= self.stream.write_all(&wire).is_err();
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let mut wire = Vec::new();
        if !self.ended {
            self.ended |= self.stack.write(bytes, &mut wire, &mut self.scratch).is_err();
            self.ended |= self.stream.write_all(&wire).is_err();
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; 65_536];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) => {
                assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "nothing came");
                0
            }
        };
        let heard = self.stack.read(&mut buffer[..count], &mut self.unread, &mut self.scratch);
        self.ended |= count == 0 || heard != Ok(Heard::More);
        self.flush();
    }

    /// So many bytes, `None` where the connection ends before.
    pub fn receive(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if self.ended {
                return None;
            }
            self.read();
        }
        Some(self.unread.drain(..count).collect())
    }
}
