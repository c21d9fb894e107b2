//! Messages on their way to the application: the receiving half of §4.3.

use std::collections::{HashMap, VecDeque};

use columba_proto::packet::{Ack, AckProperties, Packet, Publish};
use columba_proto::qos::{Receiver, Seen};
use columba_proto::{AckKind, AliasesIn, PacketId, PeerError, QoS, ReasonCode, TopicNameBuf, Version, Violation};

use super::{Outlet, Output, Route, Waiters};
use crate::message::Message;
use crate::translate;

/// What an application hands back when it is done with a message of QoS 1 or 2. One that is too late to mean anything,
/// because the exchange has ended with its connection or session, does nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AckToken {
    qos: QoS,
    id: PacketId,
    serial: u64,
}

pub(crate) struct Incoming {
    version: Version,
    receive_maximum: u16,
    topic_alias_maximum: u16,
    aliases: AliasesIn,
    /// QoS 1 of this connection, in the order of arrival: PUBACKs leave in it [MQTT-4.6.0-2].
    to_acknowledge: VecDeque<ToAcknowledge>,
    /// QoS 2 before PUBREL.
    receiver: Receiver<Message>,
    /// QoS 2 after PUBREL: the application has the message, PUBCOMP waits for it.
    handed_over: HashMap<PacketId, HandedOver>,
    next_serial: u64,
}

struct ToAcknowledge {
    id: PacketId,
    serial: u64,
    is_done: bool,
}

struct HandedOver {
    serial: u64,
    /// A PUBREL of this connection waits for its PUBCOMP.
    is_awaited: bool,
}

impl Incoming {
    pub(crate) fn new(receive_maximum: u16, topic_alias_maximum: u16, version: Version) -> Self {
        Self {
            version,
            receive_maximum,
            topic_alias_maximum,
            aliases: AliasesIn::new(topic_alias_maximum),
            to_acknowledge: VecDeque::new(),
            receiver: Receiver::default(),
            handed_over: HashMap::new(),
            next_serial: 0,
        }
    }

    /// Aliases live as long as a connection (§3.3.2.3.4).
    pub(crate) fn on_connection(&mut self) {
        self.aliases = AliasesIn::new(self.topic_alias_maximum);
    }

    /// What was sent to us at QoS 1 comes again on the next connection; what at QoS 2, goes on where it was.
    pub(crate) fn on_lost(&mut self) {
        self.to_acknowledge.clear();
        #[expect(clippy::iter_over_hash_type, reason = "each is set to the same, the order does not show")]
        for handed_over in self.handed_over.values_mut() {
            handed_over.is_awaited = false;
        }
    }

    /// The server has begun a new session.
    pub(crate) fn forget(&mut self) {
        self.to_acknowledge.clear();
        self.receiver = Receiver::default();
        self.handed_over.clear();
    }

    pub(crate) fn on_publish<W: Waiters>(
        &mut self,
        publish: &Publish<'_>,
        route: impl Fn(&Message) -> Route,
        outlet: &mut impl Outlet,
        outputs: &mut VecDeque<Output<W>>,
    ) -> Result<(), PeerError> {
        let topic = self.topic_of(publish)?;
        let message = translate::message(publish, topic);
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.check_quota()?;
                let serial = self.serial();
                self.to_acknowledge.push_back(ToAcknowledge { id, serial, is_done: false });
                let token = Some(AckToken { qos: QoS::AtLeastOnce, id, serial });
                outputs.push_back(Output::Deliver { route: route(&message), message, token });
            }
            (QoS::ExactlyOnce, Some(id)) => self.on_publish_exactly_once(id, message, outlet)?,
            (QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce, _) => {
                outputs.push_back(Output::Deliver { route: route(&message), message, token: None });
            }
        }
        Ok(())
    }

    /// Before PUBREL a repetition is the same message: it is not stored twice, and answered again [MQTT-4.3.3-10].
    fn on_publish_exactly_once(&mut self, id: PacketId, message: Message, outlet: &mut impl Outlet) -> Result<(), PeerError> {
        match self.receiver.on_publish(id) {
            Seen::Repeated => {}
            Seen::New => {
                self.check_quota()?;
                self.receiver.store(id, message);
            }
        }
        // [MQTT-4.3.3-8]
        send_ack(AckKind::Pubrec, id, outlet);
        Ok(())
    }

    /// PUBREL is the border: here the message becomes the application's. An unknown one is answered at once: its
    /// message has been delivered, and our PUBCOMP was lost [MQTT-4.3.3-11].
    pub(crate) fn on_pubrel<W: Waiters>(
        &mut self,
        id: PacketId,
        route: impl Fn(&Message) -> Route,
        outlet: &mut impl Outlet,
        outputs: &mut VecDeque<Output<W>>,
    ) {
        if let Some(message) = self.receiver.on_pubrel(id) {
            let serial = self.serial();
            self.handed_over.insert(id, HandedOver { serial, is_awaited: true });
            let token = Some(AckToken { qos: QoS::ExactlyOnce, id, serial });
            outputs.push_back(Output::Deliver { route: route(&message), message, token });
        } else if let Some(handed_over) = self.handed_over.get_mut(&id) {
            handed_over.is_awaited = true;
        } else {
            send_ack(AckKind::Pubcomp, id, outlet);
        }
    }

    pub(crate) fn ack(&mut self, token: AckToken, is_open: bool, outlet: &mut impl Outlet) {
        match token.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.ack_at_least_once(token, outlet),
            QoS::ExactlyOnce => self.ack_exactly_once(token, is_open, outlet),
        }
    }

    fn ack_at_least_once(&mut self, token: AckToken, outlet: &mut impl Outlet) {
        if let Some(entry) = self.to_acknowledge.iter_mut().find(|entry| entry.serial == token.serial) {
            entry.is_done = true;
        }
        while let Some(done) = self.to_acknowledge.pop_front_if(|entry| entry.is_done) {
            send_ack(AckKind::Puback, done.id, outlet);
        }
    }

    fn ack_exactly_once(&mut self, token: AckToken, is_open: bool, outlet: &mut impl Outlet) {
        let is_current = self.handed_over.get(&token.id).is_some_and(|handed| handed.serial == token.serial);
        if !is_current {
            return;
        }
        let handed_over = self.handed_over.remove(&token.id);
        if handed_over.is_some_and(|handed| handed.is_awaited) && is_open {
            send_ack(AckKind::Pubcomp, token.id, outlet);
        }
    }

    /// Resolves an alias, and remembers one that is new.
    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<TopicNameBuf, PeerError> {
        Ok(self.aliases.resolve(publish.topic, publish.properties.topic_alias)?.to_buf())
    }

    /// [MQTT-3.3.4-9] from the other side: a server that goes beyond our receive maximum breaks the standard.
    fn check_quota(&self) -> Result<(), PeerError> {
        let open = self.to_acknowledge.len() + self.receiver.len() + self.handed_over.len();
        if self.version.has_properties() && open >= usize::from(self.receive_maximum) {
            return Err(Violation::ReceiveMaximumExceeded.into());
        }
        Ok(())
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }
}

fn send_ack(kind: AckKind, id: PacketId, outlet: &mut impl Outlet) {
    let properties = AckProperties::default();
    outlet.send(&Packet::Ack(Ack { kind, id, reason: ReasonCode::SUCCESS, properties }));
}
