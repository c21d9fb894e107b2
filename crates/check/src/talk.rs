//! A client that says one thing at a time and tells what it hears: for stories in which every packet counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use columba_proto::packet::{Connect, Packet, Publish, PublishProperties};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, TopicName, Version};

use crate::load::{SessionKind, frames};

/// What has not come after this does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// PINGREQ (§3.12).
const PINGREQ: [u8; 2] = [0xC0, 0];

/// A connection. Its methods panic where the story cannot go on: they are for tests.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    version: Version,
    read: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(AckKind, PacketId, ReasonCode),
    /// PUBLISH: its identifier, unless it has QoS 0, and its payload.
    Message(Option<PacketId>, Vec<u8>),
    /// DISCONNECT.
    Disconnect(ReasonCode),
    /// PINGRESP.
    Pong,
    /// The connection has ended.
    Closed,
}

impl Talk {
    /// Connects; says whether the broker had the session, or why it does not want the client.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn connect(
        address: SocketAddr,
        version: Version,
        client_id: &str,
        session: SessionKind,
    ) -> Result<(Self, bool), ReasonCode> {
        Self::begin(address, version, &frames::connect(version, client_id, session))
    }

    /// The same with a CONNECT of any kind.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn call(address: SocketAddr, connect: &Connect<'_>) -> Result<(Self, bool), ReasonCode> {
        let mut frame = Vec::new();
        connect.encode(&mut frame);
        Self::begin(address, connect.version, &frame)
    }

    fn begin(address: SocketAddr, version: Version, connect: &[u8]) -> Result<(Self, bool), ReasonCode> {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).expect("a socket has options");
        let mut talk = Self { stream, version, read: Vec::new() };
        talk.say(connect);
        let (reason, present) = talk.packet(|packet| match packet {
            Some(Packet::Connack(connack)) => (connack.reason, connack.session_present),
            other => panic!("CONNACK is awaited, not {other:?}"),
        });
        if reason.is_failure() { Err(reason) } else { Ok((talk, present)) }
    }

    /// Subscribes; the first reason code of SUBACK.
    ///
    /// # Panics
    ///
    /// When something else comes.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        self.say(&frames::subscribe(self.version, &[filter.to_owned()], qos));
        self.packet(|packet| match packet {
            Some(Packet::Suback(suback)) => suback.reasons.iter().next().expect("a reason for each filter"),
            other => panic!("SUBACK is awaited, not {other:?}"),
        })
    }

    /// Publishes without waiting for anything. `id` is left out at QoS 0. A connection that has ended is not noticed here.
    ///
    /// # Panics
    ///
    /// Where `topic` is no topic or `id` is 0.
    pub fn publish(&mut self, qos: QoS, topic: &str, payload: &[u8], id: u16) {
        self.tell(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(topic).expect("tests publish to plain topic names")),
            packet_id: (qos != QoS::AtMostOnce).then(|| PacketId::new(id).expect("not 0")),
            payload,
            properties: PublishProperties::default(),
        }));
    }

    /// Sends any packet.
    ///
    /// # Panics
    ///
    /// With one that cannot be sent.
    pub fn tell(&mut self, packet: &Packet<'_>) {
        let mut frame = Vec::new();
        packet.encode(self.version, &mut frame).expect("smaller than the largest packet");
        self.say(&frame);
    }

    /// Says that all is well.
    pub fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        let mut frame = Vec::new();
        frames::acknowledge(self.version, kind, id, &mut frame);
        self.say(&frame);
    }

    /// Sends PINGREQ.
    pub fn ping(&mut self) {
        self.say(&PINGREQ);
    }

    /// The next packet.
    ///
    /// # Panics
    ///
    /// When nothing comes for long.
    pub fn hear(&mut self) -> Heard {
        self.packet(Heard::of)
    }

    /// A message of QoS 1 or 2, its identifier and payload, which must come next.
    ///
    /// # Panics
    ///
    /// When something else comes.
    pub fn hear_message(&mut self) -> (PacketId, Vec<u8>) {
        match self.hear() {
            Heard::Message(Some(id), payload) => (id, payload),
            other @ (Heard::Message(None, _) | Heard::Ack(..) | Heard::Disconnect(_) | Heard::Pong | Heard::Closed) => {
                panic!("a message is awaited, not {other:?}")
            }
        }
    }

    /// The next packet, if one comes within `wait`.
    pub fn hear_within(&mut self, wait: Duration) -> Option<Heard> {
        self.packet_until(Instant::now() + wait, Heard::of)
    }

    fn say(&mut self, bytes: &[u8]) {
        // Whoever listens notices the end of the connection.
        self.stream.write_all(bytes).unwrap_or_default();
    }

    fn packet<T>(&mut self, look: impl FnOnce(Option<Packet<'_>>) -> T) -> T {
        self.packet_until(Instant::now() + PATIENCE, look).expect("the broker answers")
    }

    /// Hands over the next packet, or nothing at the end of the connection. `None` where neither comes in time.
    fn packet_until<T>(&mut self, deadline: Instant, look: impl FnOnce(Option<Packet<'_>>) -> T) -> Option<T> {
        loop {
            match frames::next(self.version, &self.read) {
                Ok(Some((packet, length))) => {
                    let seen = look(Some(packet));
                    self.read.drain(..length);
                    return Some(seen);
                }
                Ok(None) => {}
                Err(error) => panic!("the broker sent nonsense: {error}"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket has options");
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(look(None)),
                Ok(length) => self.read.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return Some(look(None)),
            }
        }
    }
}

impl Heard {
    fn of(packet: Option<Packet<'_>>) -> Self {
        match packet {
            None => Self::Closed,
            Some(Packet::Ack(ack)) => Self::Ack(ack.kind, ack.id, ack.reason),
            Some(Packet::Publish(publish)) => Self::Message(publish.packet_id, publish.payload.to_vec()),
            Some(Packet::Disconnect(disconnect)) => Self::Disconnect(disconnect.reason),
            Some(Packet::Pingresp) => Self::Pong,
            Some(other) => panic!("a packet out of place: {other:?}"),
        }
    }
}
