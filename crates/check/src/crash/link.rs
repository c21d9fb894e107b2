//! A client identifier over any number of connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::packet::{Packet, Publish, PublishProperties};
use columba_proto::{AckKind, PacketId, QoS, TopicName, Version};

use crate::load::SessionKind;
use crate::load::frames;
use crate::sim::Rng;

use super::judge::Fault;
use super::message::Message;

/// A silent connection looks up this often whether the storm is over.
const LOOK_UP: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE: Duration = Duration::from_millis(2);
/// How long a client that makes no progress waits before it gives up.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(40);
/// How long a connection may stay open once the same client has been accepted on another.
const TAKEN_WAIT_MAX: Duration = Duration::from_secs(10);
/// A client connects over its own connection before it has received this many further packets.
const TAKEOVER_AFTER_MAX: u64 = 600;
/// An absence ends with the next crash, or one of the later ones.
const AWAY_MAX: u64 = 3;

/// What all clients of a storm share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: SocketAddr,
    pub(super) qos: QoS,
    pub(super) publishers: usize,
    /// Packets that clients have received so far.
    pub(super) packets: AtomicU64,
    /// How often the broker has gone down so far.
    pub(super) crashes: AtomicU64,
    /// Connections that their own client has taken over.
    pub(super) takeovers: AtomicU64,
    /// What is read while this is set does not count: it may have been said after the broker's disk was gone.
    pub(super) deaf: AtomicBool,
    /// No more crashes: publishers send their last message.
    pub(super) calm: AtomicBool,
    /// Clients that have got to their end, or given up.
    pub(super) done: AtomicU64,
}

impl Shared {
    pub(super) fn new(address: SocketAddr, qos: QoS, publishers: usize) -> Self {
        Self {
            address,
            qos,
            publishers,
            packets: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            takeovers: AtomicU64::new(0),
            deaf: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            done: AtomicU64::new(0),
        }
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }
}

/// A client identifier and its connection of the moment.
pub(super) struct Link<'s> {
    pub(super) shared: &'s Shared,
    pub(super) version: Version,
    client_id: String,
    stream: Option<TcpStream>,
    read: Vec<u8>,
    out: Vec<u8>,
    /// The broker has confirmed a session, so from now on it has one.
    has_session: bool,
    moved_at: Instant,
    /// Packets received on all connections.
    received: u64,
    take_over_at: u64,
    rng: Rng,
    faults: Vec<Fault>,
}

impl<'s> Link<'s> {
    /// Number `number` of those that are called `role`. Old and new clients stand side by side.
    pub(super) fn new(shared: &'s Shared, role: &str, number: usize, mut rng: Rng) -> Self {
        Self {
            shared,
            version: if number.is_multiple_of(2) { Version::V311 } else { Version::V5 },
            client_id: format!("storm-{role}-{number}"),
            stream: None,
            read: Vec::new(),
            out: Vec::new(),
            has_session: false,
            moved_at: Instant::now(),
            received: 0,
            take_over_at: rng.below(TAKEOVER_AFTER_MAX),
            rng,
            faults: Vec::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// A fault that makes going on pointless, or no progress for too long.
    pub(super) fn has_given_up(&self) -> bool {
        !self.faults.is_empty() || self.moved_at.elapsed() > PROGRESS_WAIT_MAX
    }

    /// One attempt; `first` goes out behind CONNECT's answer.
    pub(super) fn connect(&mut self, first: &[u8]) {
        self.read.clear();
        self.out.clear();
        let Ok(stream) = self.attempt() else {
            thread::sleep(RECONNECT_PAUSE);
            return;
        };
        self.stream = Some(stream);
        let mut present = None;
        while self.is_open() && present.is_none() && !self.has_given_up() {
            self.receive_one(|link, packet| {
                let Packet::Connack(connack) = packet else {
                    return link.broken("something else than CONNACK came first");
                };
                if connack.reason.is_failure() {
                    return link.close();
                }
                present = Some(connack.session_present);
            });
        }
        let Some(present) = present else { return };
        if self.has_session && !present {
            self.faults.push(Fault::Forgotten { client: self.client_id.clone() });
        }
        self.has_session = true;
        self.out.extend_from_slice(first);
        self.flush();
    }

    fn attempt(&self) -> io::Result<TcpStream> {
        if self.shared.deaf.load(Ordering::SeqCst) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let mut stream = TcpStream::connect(self.shared.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.write_all(&frames::connect(self.version, &self.client_id, SessionKind::Persistent))?;
        Ok(stream)
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Whether it is time for a second connection beside this one.
    pub(super) fn wants_takeover(&self) -> bool {
        self.is_open() && self.received >= self.take_over_at && !self.shared.is_calm()
    }

    /// Leaves the open connection as it is, with all that is under way on it, and lets the next one take the session from it. What it still
    /// brings is not read: for all that the session knows it was lost.
    pub(super) fn take_over(&mut self, connect: impl FnOnce(&mut Self)) {
        self.take_over_at = self.received + self.rng.below(TAKEOVER_AFTER_MAX);
        let taken = self.stream.take();
        connect(self);
        if let Some(taken) = taken
            && self.is_open()
        {
            self.shared.takeovers.fetch_add(1, Ordering::Relaxed);
            if !ends_within(&taken, TAKEN_WAIT_MAX) {
                self.broken("its connection stays open although another has taken over");
            }
        }
    }

    /// Gone until the next crash or a later one, or until it is calm.
    pub(super) fn stay_away(&mut self) {
        self.close();
        let until = self.shared.crashes.load(Ordering::Relaxed) + self.rng.between(1, AWAY_MAX);
        while self.shared.crashes.load(Ordering::Relaxed) < until && !self.shared.is_calm() {
            thread::sleep(RECONNECT_PAUSE);
        }
        self.moved_at = Instant::now();
    }

    pub(super) fn broken(&mut self, why: &str) {
        self.faults.push(Fault::Broken { client: self.client_id.clone(), why: why.to_owned() });
        self.close();
    }

    pub(super) fn publish(&mut self, message: Message, id: PacketId, dup: bool) {
        let topic = format!("storm/{}", message.publisher);
        Publish {
            dup,
            qos: self.shared.qos,
            retain: false,
            topic: Some(TopicName::trusted(&topic)),
            packet_id: Some(id),
            payload: &message.bytes(),
            properties: PublishProperties::default(),
        }
        .encode(self.version, &mut self.out)
        .expect("a few bytes are smaller than the largest packet");
    }

    pub(super) fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        frames::acknowledge(self.version, kind, id, &mut self.out);
    }

    pub(super) fn flush(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.write_all(&self.out).is_err()
        {
            self.close();
        }
        self.out.clear();
    }

    /// Waits for bytes and hands over every whole packet.
    pub(super) fn receive(&mut self, mut handle: impl FnMut(&mut Self, Packet<'_>)) {
        self.receive_bytes();
        while self.is_open() && self.take(&mut handle) {}
    }

    fn receive_one(&mut self, mut handle: impl FnMut(&mut Self, Packet<'_>)) {
        if !self.take(&mut handle) {
            self.receive_bytes();
        }
    }

    /// Hands over one packet, if there is a whole one.
    fn take(&mut self, handle: &mut impl FnMut(&mut Self, Packet<'_>)) -> bool {
        let read = std::mem::take(&mut self.read);
        let length = match frames::next(self.version, &read) {
            Ok(Some((packet, length))) => {
                self.moved_at = Instant::now();
                self.received += 1;
                self.shared.packets.fetch_add(1, Ordering::Relaxed);
                handle(self, packet);
                length
            }
            Ok(None) => 0,
            Err(error) => {
                self.broken(&error.to_string());
                0
            }
        };
        self.read = read;
        self.read.drain(..length);
        length > 0
    }

    fn receive_bytes(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut buffer = [0; 16 * 1024];
        let read = stream.read(&mut buffer);
        // Looked at behind the read: what was read before it was set had been said before the disk went.
        if self.shared.deaf.load(Ordering::SeqCst) {
            return self.close();
        }
        match read {
            Ok(0) => self.close(),
            Ok(length) => self.read.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => self.close(),
        }
    }

    /// What went wrong; `missing` says what a client waited for that gave up.
    pub(super) fn finish(mut self, missing: &str) -> Vec<Fault> {
        if self.moved_at.elapsed() > PROGRESS_WAIT_MAX {
            self.faults.push(Fault::Broken { client: self.client_id, why: format!("gave up waiting: {missing}") });
        }
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        self.faults
    }
}

/// Reads what comes to its end.
fn ends_within(mut stream: &TcpStream, wait: Duration) -> bool {
    let deadline = Instant::now() + wait;
    let mut buffer = [0; 16 * 1024];
    while Instant::now() < deadline {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => return true,
        }
    }
    false
}
