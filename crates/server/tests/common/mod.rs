//! A broker in this process, and a client that writes and reads every byte by itself.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "each test binary uses its own part; where a step fails, so does the test"
)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use columba_server::{
    Config, Running, Server,
    config::{Data, Sources},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker that forgets, on a free port, with keys set like on the command line.
pub fn ephemeral(set: &[&str]) -> Running {
    Server::start(Config { data: Data::Ephemeral, ..config(set) }).unwrap()
}

/// A broker that remembers.
pub fn durable(directory: &Path, set: &[&str]) -> Running {
    Server::start(Config { data: Data::Directory(directory.into()), ..config(set) }).unwrap()
}

/// On a free port of this machine.
pub fn config(set: &[&str]) -> Config {
    let set = ["http.url=off"].iter().chain(set).map(|&pair| pair.to_owned()).collect();
    Config::load(&Sources { set, listen: vec!["127.0.0.1:0".into()], ..Sources::default() }).unwrap()
}

pub fn address(broker: &Running) -> SocketAddr {
    broker.local_addrs()[0]
}

/// A connection over which bytes go as they are written here.
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// One frame: its first byte, and what stands behind the length.
pub type Frame = (u8, Vec<u8>);

impl Raw {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Connects and checks that the broker says yes; the answer is CONNACK's session present flag.
    pub fn connected(address: SocketAddr, connect: &[u8]) -> (Self, bool) {
        let mut raw = Self::open(address);
        raw.send(connect);
        let (first, body) = raw.frame().expect("an answer to CONNECT");
        assert_eq!((first, body[1]), (0x20, 0), "CONNACK with success");
        (raw, body[0] == 1)
    }

    /// Whether the broker ends the connection without a word, also when it is spoken to.
    pub fn ends_without_a_word(mut self, bytes: &[u8]) -> bool {
        let mut answer = [0];
        self.stream.write_all(bytes).is_err() || !matches!(self.stream.read(&mut answer), Ok(1))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame, `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, len)) = split(&self.unread) {
                self.unread.drain(..len);
                return Some(frame);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "cut off inside a frame: {:?}", self.unread);
                    return None;
                }
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// The next frame, which must have this first byte.
    pub fn expect(&mut self, first: u8) -> Vec<u8> {
        let frame = self.frame().expect("a frame, not the end");
        assert_eq!(frame.0, first, "body: {:02x?}", frame.1);
        frame.1
    }

    /// Nothing more comes, and the connection is closed.
    pub fn expect_end(&mut self) {
        assert_eq!(self.frame(), None);
    }

    /// Everything sent before has been handled once this returns.
    pub fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert!(self.expect(0xD0).is_empty());
    }

    pub fn subscribe(&mut self, version: u8, filter: &str, qos: u8) {
        self.send(&subscribe(version, 1, filter, qos));
        let body = self.expect(0x90);
        assert_eq!(body.last(), Some(&qos), "granted as asked");
    }
}

fn split(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (mut len, mut at) = (0_usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(at..at + len)?;
    Some(((bytes[0], body.to_vec()), at + len))
}

/// A frame from its first byte and its body.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let byte = u8::try_from(len & 0x7F).unwrap();
        len >>= 7;
        if len == 0 {
            bytes.push(byte);
            break;
        }
        bytes.push(byte | 0x80);
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// What a CONNECT asks for about its session.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Keep {
    /// Clean, and gone with the connection.
    Nothing,
    /// Taken up if there, and kept for an hour (5.0) or for ever (3.1.1).
    Session,
}

pub fn connect(version: u8, client_id: &str, keep: Keep) -> Vec<u8> {
    let mut body = match version {
        3 => [text("MQIsdp"), vec![3]].concat(),
        _ => [text("MQTT"), vec![version]].concat(),
    };
    body.push(if keep == Keep::Nothing { 2 } else { 0 });
    body.extend_from_slice(&[0, 60]);
    match (version, keep) {
        (5, Keep::Session) => body.extend_from_slice(&[5, 0x11, 0, 0, 0x0E, 0x10]),
        (5, Keep::Nothing) => body.push(0),
        _ => {}
    }
    body.extend_from_slice(&text(client_id));
    frame(0x10, &body)
}

pub fn subscribe(version: u8, id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(&text(filter));
    body.push(qos);
    frame(0x82, &body)
}

/// Identifier 0 is QoS 0, any other QoS 1.
pub fn publish(version: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if id > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    frame(if id > 0 { 0x32 } else { 0x30 }, &body)
}

/// DISCONNECT of the broker with this reason code (5.0).
pub fn expect_disconnect(raw: &mut Raw, reason: u8) {
    let body = raw.expect(0xE0);
    assert_eq!(body.first(), Some(&reason), "reason code");
    raw.expect_end();
}
