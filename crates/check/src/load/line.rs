//! One blocking connection, for measurements that need many clients but no speed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use columba_net::Heard;
use columba_proto::packet::Packet;
use columba_proto::{QoS, Version};

use super::frames;
use super::via::{Layers, Via, WEB_SOCKET_PATH};
use super::{LoadError, SessionKind};

/// An answer that takes longer than this is a stall.
const ANSWER_WAIT_MAX: Duration = Duration::from_mins(1);

const READ_BYTES: usize = 16 * 1024;

/// A client that sends and waits.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    layers: Option<Box<Layers>>,
    name: String,
    version: Version,
    /// What was read and not yet taken: from `taken` on.
    read: Vec<u8>,
    taken: usize,
}

impl Line {
    /// Connects and sends CONNECT; [`Line::accepted`] waits for the answer.
    pub fn open(address: SocketAddr, version: Version, name: &str, session: SessionKind) -> Result<Self, LoadError> {
        Self::open_via(address, Via::Plain, version, name, session)
    }

    /// The same over this transport.
    pub fn open_via(
        address: SocketAddr,
        via: Via,
        version: Version,
        name: &str,
        session: SessionKind,
    ) -> Result<Self, LoadError> {
        let stream = TcpStream::connect(address).map_err(LoadError::io("connecting"))?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(LoadError::io("setting a time limit"))?;
        let layers = Layers::new(via, WEB_SOCKET_PATH)?;
        let mut line = Self { stream, layers, name: name.to_owned(), version, read: Vec::new(), taken: 0 };
        line.drive(&mut Vec::new())?;
        while line.layers.as_ref().is_some_and(|layers| !layers.is_open()) {
            line.read_more()?;
        }
        line.send(&frames::connect(version, name, session))?;
        Ok(line)
    }

    /// Writes what the layers have to say, and behind it what they take of `out`: all of it, once nothing of their own is in front.
    fn drive(&mut self, out: &mut Vec<u8>) -> Result<(), LoadError> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        if let Err(why) = layers.take(out) {
            return Err(self.lost(why));
        }
        self.stream.write_all(layers.outward()).map_err(LoadError::io("sending"))?;
        layers.wrote(layers.outward().len());
        Ok(())
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
        if self.layers.is_none() {
            return self.stream.write_all(bytes).map_err(LoadError::io("sending"));
        }
        let mut rest = bytes.to_vec();
        while !rest.is_empty() {
            self.drive(&mut rest)?;
        }
        Ok(())
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
            Ok(_) => self.through(old),
            Err(error) => Err(LoadError::io("waiting for the broker")(error)),
        }
    }

    /// What was read behind `old` goes through the layers.
    fn through(&mut self, old: usize) -> Result<(), LoadError> {
        let Some(layers) = &mut self.layers else { return Ok(()) };
        let mut wire = self.read.split_off(old);
        match layers.came(&mut wire, &mut self.read) {
            Ok(Heard::More) => {}
            Ok(Heard::End) => return Err(self.lost("the broker closed it")),
            Err(why) => return Err(self.lost(why)),
        }
        self.drive(&mut Vec::new())
    }

    fn lost(&self, why: &'static str) -> LoadError {
        LoadError::Lost { client: self.name.clone(), why }
    }
}
