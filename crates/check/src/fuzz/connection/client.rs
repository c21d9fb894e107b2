//! A client's end of a connection: what it sent, what came, and whether that may have come.

use std::collections::{BTreeMap, VecDeque};

use columba_proto::{
    AckKind, PacketId, Peer, QoS, Version, decode,
    packet::{Ack, Packet},
    wire::{FRAME_LEN_MAX, Split, split},
};

/// Connections at a time.
pub(super) const CLIENTS_MAX: usize = 6;

/// What a server may only say when it was asked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Answer {
    Suback(PacketId),
    Unsuback(PacketId),
    Puback(PacketId),
    Pubrec(PacketId),
    Pubcomp(PacketId),
    Pingresp,
}

/// How far the conversation has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    AwaitConnack,
    Open,
    /// Refused, or told to go.
    Over,
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Client {
    /// As the CONNECT said; packets are written in it.
    version: Option<Version>,
    phase: Phase,
    /// Bytes on their way there that are no whole packet yet, and bytes from there.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// A packet that cannot be read was sent: nothing behind it counts.
    is_garbled: bool,
    owed: BTreeMap<Answer, usize>,
    in_flight: BTreeMap<PacketId, QoS>,
    receive_maximum: usize,
    /// Answers that a client of the standard would give now.
    to_answer: VecDeque<(AckKind, PacketId)>,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            version: None,
            phase: Phase::AwaitConnack,
            said: Vec::new(),
            heard: Vec::new(),
            is_garbled: false,
            owed: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            receive_maximum: usize::MAX,
            to_answer: VecDeque::new(),
        }
    }

    /// The version to write packets in.
    pub(super) fn version(&self) -> Version {
        self.version.unwrap_or(Version::V5)
    }

    /// What it would answer next.
    pub(super) fn next_answer(&mut self) -> Option<(AckKind, PacketId)> {
        self.to_answer.pop_front()
    }

    /// These bytes go to the broker now.
    pub(super) fn says(&mut self, bytes: &[u8]) {
        if self.is_garbled {
            return;
        }
        let mut said = std::mem::take(&mut self.said);
        said.extend_from_slice(bytes);
        let mut rest = said.as_slice();
        loop {
            match split(rest, FRAME_LEN_MAX) {
                Ok(Split::Frame { first, body, len }) => {
                    match decode(self.version(), Peer::Client, first, body) {
                        Ok(packet) => self.says_packet(&packet),
                        Err(_) => self.is_garbled = true,
                    }
                    rest = &rest[len..];
                }
                Ok(Split::Need) => break,
                Err(_) => self.is_garbled = true,
            }
            if self.is_garbled {
                return;
            }
        }
        self.said = rest.to_vec();
    }

    fn says_packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) if self.version.is_none() => {
                self.version = Some(connect.version);
                if let Some(most) = connect.properties.receive_maximum {
                    self.receive_maximum = most.get().into();
                }
            }
            Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => self.asks(Answer::Puback(id)),
                (QoS::ExactlyOnce, Some(id)) => self.asks(Answer::Pubrec(id)),
                (QoS::AtMostOnce, _) | (_, None) => {}
            },
            Packet::Ack(ack) => self.says_ack(ack),
            Packet::Subscribe(subscribe) => self.asks(Answer::Suback(subscribe.id)),
            Packet::Unsubscribe(unsubscribe) => self.asks(Answer::Unsuback(unsubscribe.id)),
            Packet::Pingreq => self.asks(Answer::Pingresp),
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => {}
        }
    }

    fn asks(&mut self, answer: Answer) {
        *self.owed.entry(answer).or_default() += 1;
    }

    fn says_ack(&mut self, ack: &Ack<'_>) {
        let ends = match ack.kind {
            AckKind::Puback => self.in_flight.get(&ack.id) == Some(&QoS::AtLeastOnce),
            AckKind::Pubrec => ack.reason.is_failure(),
            AckKind::Pubcomp => true,
            AckKind::Pubrel => {
                self.asks(Answer::Pubcomp(ack.id));
                false
            }
        };
        if ends {
            self.in_flight.remove(&ack.id);
        }
    }

    /// These bytes are meant for the client.
    pub(super) fn hears(&mut self, bytes: &[u8]) {
        let mut heard = std::mem::take(&mut self.heard);
        heard.extend_from_slice(bytes);
        let mut rest = heard.as_slice();
        while let Split::Frame { first, body, len } = split(rest, FRAME_LEN_MAX).expect("what the broker sends is packets") {
            if let Some(version) = self.version {
                let packet = decode(version, Peer::Server, first, body);
                self.hears_packet(&packet.expect("what the broker sends is right"));
            } else {
                // It cannot know how to say it; a CONNACK of some version it is.
                assert_eq!(first, 0x20, "before CONNECT there is nothing to say but CONNACK");
                self.phase = Phase::Over;
            }
            rest = &rest[len..];
        }
        self.heard = rest.to_vec();
    }

    fn hears_packet(&mut self, packet: &Packet<'_>) {
        assert_ne!(self.phase, Phase::Over, "nothing comes after the end: {packet:?}");
        if let Packet::Connack(connack) = packet {
            assert_eq!(self.phase, Phase::AwaitConnack, "a second CONNACK");
            self.phase = if connack.reason.is_failure() { Phase::Over } else { Phase::Open };
            return;
        }
        assert_eq!(self.phase, Phase::Open, "CONNACK comes first, not {packet:?}");
        match packet {
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    self.hears_publish(id, publish.qos, publish.dup);
                }
            }
            Packet::Ack(ack) => match ack.kind {
                AckKind::Puback => self.is_answered(Answer::Puback(ack.id)),
                AckKind::Pubrec => {
                    self.is_answered(Answer::Pubrec(ack.id));
                    if !ack.reason.is_failure() {
                        self.to_answer.push_back((AckKind::Pubrel, ack.id));
                    }
                }
                AckKind::Pubrel => self.to_answer.push_back((AckKind::Pubcomp, ack.id)),
                AckKind::Pubcomp => self.is_answered(Answer::Pubcomp(ack.id)),
            },
            Packet::Suback(suback) => self.is_answered(Answer::Suback(suback.id)),
            Packet::Unsuback(unsuback) => self.is_answered(Answer::Unsuback(unsuback.id)),
            Packet::Pingresp => self.is_answered(Answer::Pingresp),
            Packet::Disconnect(_) => self.phase = Phase::Over,
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq
            | Packet::Auth(_) => panic!("a server does not send {packet:?} here"),
        }
    }

    fn hears_publish(&mut self, id: PacketId, qos: QoS, dup: bool) {
        let before = self.in_flight.insert(id, qos);
        assert!(dup || before.is_none(), "{id:?} is in flight already [MQTT-2.2.1-4]");
        assert!(self.in_flight.len() <= self.receive_maximum, "more in flight than {} [MQTT-3.3.4-9]", self.receive_maximum);
        self.to_answer.push_back((if qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec }, id));
    }

    fn is_answered(&mut self, answer: Answer) {
        let owed = self.owed.get_mut(&answer).filter(|owed| **owed > 0);
        let Some(owed) = owed else { panic!("{answer:?} answers nothing") };
        *owed -= 1;
    }
}
