//! One blocking connection, for measurements that need many clients but no speed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use columba_proto::packet::Packet;
use columba_proto::{QoS, Version};

use super::frames;
use super::{LoadError, SessionKind};

/// An answer that takes longer than this is a stall.
const ANSWER_WAIT_MAX: Duration = Duration::from_mins(1);

const READ_BYTES: usize = 16 * 1024;

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
    pub fn open(address: SocketAddr, version: Version, name: &str, session: SessionKind) -> Result<Self, LoadError> {
        let mut stream = TcpStream::connect(address).map_err(LoadError::io("connecting"))?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(LoadError::io("setting a time limit"))?;
        stream.write_all(&frames::connect(version, name, session)).map_err(LoadError::io("sending CONNECT"))?;
        Ok(Self { stream, name: name.to_owned(), version, read: Vec::new(), taken: 0 })
    }

    /// Waits for CONNACK and says whether the broker still had the session.
    pub fn accepted(&mut self) -> Result<bool, LoadError> {
        self.packet(|packet| {
            let Packet::Connack(connack) = packet else {
                return Err(LoadError::Stalled { doing: "waiting for CONNACK" });
            };
            if connack.reason.is_failure() {
                return Err(LoadError::Refused { reason: connack.reason });
            }
            Ok(connack.session_present)
        })?
    }

    /// Sends SUBSCRIBE for one filter; [`Line::subscribed`] waits for the answer.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), LoadError> {
        let frame = frames::subscribe(self.version, &[filter.to_owned()], qos);
        self.send(&frame)
    }

    /// Waits for SUBACK.
    pub fn subscribed(&mut self) -> Result<(), LoadError> {
        self.packet(|packet| {
            let Packet::Suback(suback) = packet else {
                return Err(LoadError::Stalled { doing: "waiting for SUBACK" });
            };
            match suback.reasons.iter().find(|reason| reason.is_failure()) {
                Some(reason) => Err(LoadError::SubscriptionRefused { reason }),
                None => Ok(()),
            }
        })?
    }

    /// Gives the read buffer back; for a connection that stays silent.
    pub(crate) fn forget_buffer(&mut self) {
        self.read = self.read.split_off(self.taken);
        self.taken = 0;
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        self.stream.write_all(bytes).map_err(LoadError::io("sending"))
    }

    /// Waits for one packet and hands it to `look`.
    pub(crate) fn packet<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> Result<T, LoadError> {
        loop {
            let next = frames::next(self.version, &self.read[self.taken..]);
            if let Some((packet, length)) = next.map_err(|_| self.lost("a malformed packet"))? {
                let seen = look(packet);
                self.taken += length;
                return Ok(seen);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), LoadError> {
        self.read.drain(..self.taken);
        self.taken = 0;
        let old = self.read.len();
        self.read.resize(old + READ_BYTES, 0);
        let read = self.stream.read(&mut self.read[old..]);
        self.read.truncate(old + read.as_ref().map_or(0, |length| *length));
        match read {
            Ok(0) => Err(self.lost("the broker closed it")),
            Ok(_) => Ok(()),
            Err(error) => Err(LoadError::io("waiting for the broker")(error)),
        }
    }

    fn lost(&self, why: &'static str) -> LoadError {
        LoadError::Lost { client: self.name.clone(), why }
    }
}
