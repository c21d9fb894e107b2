//! One blocking connection, for measurements that need many clients but no speed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::frames::{self, QoS, Version};
use super::{LoadError, SessionKind};

/// An answer that takes longer than this is a stall.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// A client that sends and waits.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    name: String,
    version: Version,
    /// What was read and not yet taken: from `taken` on.
    read: Vec<u8>,
    taken: usize,
}

impl Line {
    /// Connects and sends CONNECT; [`Line::accepted`] waits for the answer.
    pub fn open(
        address: SocketAddr,
        version: Version,
        name: &str,
        session: SessionKind,
    ) -> Result<Self, LoadError> {
        let mut stream = TcpStream::connect(address).map_err(LoadError::io("connecting"))?;
        stream
            .set_read_timeout(Some(ANSWER_WAIT_MAX))
            .map_err(LoadError::io("setting a time limit"))?;
        stream
            .write_all(&frames::connect(
                version,
                name,
                session == SessionKind::Clean,
                600,
            ))
            .map_err(LoadError::io("sending CONNECT"))?;
        Ok(Self {
            stream,
            name: name.to_owned(),
            version,
            read: Vec::new(),
            taken: 0,
        })
    }

    /// Waits for CONNACK and says whether the broker still had the session.
    pub fn accepted(&mut self) -> Result<bool, LoadError> {
        self.frame(|first, body| match (first, body) {
            (frames::CONNACK, [present, 0, ..]) => Ok(*present == 1),
            (frames::CONNACK, [_, code, ..]) => Err(LoadError::Refused { code: *code }),
            _ => Err(LoadError::Stalled {
                doing: "waiting for CONNACK",
            }),
        })?
    }

    /// Sends SUBSCRIBE for one filter; [`Line::subscribed`] waits for the answer.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), LoadError> {
        let frame = frames::subscribe(self.version, 1, &[filter.to_owned()], qos);
        self.send(&frame)
    }

    /// Waits for SUBACK.
    pub fn subscribed(&mut self) -> Result<(), LoadError> {
        self.frame(|first, body| match (first, body.last()) {
            (frames::SUBACK, Some(code)) if *code < 0x80 => Ok(()),
            (_, code) => Err(LoadError::SubscriptionRefused {
                code: code.copied().unwrap_or(0xff),
            }),
        })?
    }

    /// Gives the read buffer back; for a connection that stays silent.
    pub(crate) fn forget_buffer(&mut self) {
        self.read = self.read.split_off(self.taken);
        self.taken = 0;
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.stream
            .write_all(bytes)
            .map_err(LoadError::io("sending"))
    }

    /// Waits for one frame and hands its first byte and body to `look`.
    pub(crate) fn frame<T>(&mut self, look: impl FnOnce(u8, &[u8]) -> T) -> Result<T, LoadError> {
        while frames::split(&self.read[self.taken..]).is_none() {
            self.read.drain(..self.taken);
            self.taken = 0;
            let old = self.read.len();
            self.read.resize(old + 16 * 1024, 0);
            let length = self
                .stream
                .read(&mut self.read[old..])
                .map_err(LoadError::io("waiting for the broker"))?;
            self.read.truncate(old + length);
            if length == 0 {
                return Err(LoadError::Lost {
                    client: self.name.clone(),
                    why: "the broker closed it",
                });
            }
        }
        let (first, body, length) =
            frames::split(&self.read[self.taken..]).ok_or(LoadError::Stalled {
                doing: "reading a frame",
            })?;
        let seen = look(first, body);
        self.taken += length;
        Ok(seen)
    }
}
