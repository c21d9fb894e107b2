//! All durable state of a broker as plain values.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use columba_proto::{PacketId, QoS, Time};

use super::record::{GrantRecord, MessageRecord, TargetRecord, WillRecord};
use crate::{
    id::{MessageId, SessionNo},
    message::Message,
    retained::Kept,
    route::Claim,
    seam::Delivery,
    session::queue::Stock,
};

/// The fold of all records: what a broker knows after a restart. A deterministic machine; two that were given the same commits are equal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Sessions that outlive their connections.
    pub sessions: BTreeMap<SessionNo, RecoveredSession>,
    /// Wills of clients whose sessions end with their connections; they fire now.
    pub wills: BTreeMap<SessionNo, RecoveredWill>,
    /// What shared subscriptions have, by their places: what waits for a member, and what no member has acknowledged.
    pub groups: BTreeMap<SessionNo, RecoveredGroup>,
    /// The retained message of each topic.
    pub retained: BTreeMap<Arc<str>, (MessageId, Kept)>,
    /// The highest identity of a session or a message; none up to it may be given out again.
    pub highest: u64,
    /// Topics whose retained message was cleared, until the end of the replay: an older version may stand behind its clear.
    pub(super) cleared: BTreeMap<Arc<str>, MessageId>,
    pub(super) early: Early,
}

/// A session as it comes back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveredSession {
    /// Its identity.
    pub no: SessionNo,
    /// Its key.
    pub client_id: Box<str>,
    /// Session Expiry Interval in force, in seconds; `u32::MAX` never ends.
    pub expiry: u32,
    /// A client was connected: expiry and will delay count from the recovery.
    pub attached: bool,
    /// Else: since when none is.
    pub detached_at: Option<Time>,
    /// The will that still stands.
    pub will: Option<StoredWill>,
    /// Filters as the client wrote them, and what was granted.
    pub subscriptions: BTreeMap<Box<str>, GrantRecord>,
    /// Subscriptions whose retained messages are still to be taken, by filter.
    pub cursors: BTreeMap<Box<str>, RecoveredCursor>,
    /// Messages in memory, also those in flight.
    pub queue: BTreeMap<MessageId, Delivery>,
    /// Exchanges, in the order in which the messages were sent.
    pub in_flight: Exchanges,
    /// Messages whose PUBREL has not come yet.
    pub received: BTreeMap<PacketId, Arc<Message>>,
    /// There are more messages, in the cold store.
    pub cold: Option<ColdQueue>,
    /// What waits to be sent, in memory and there, where that was measured.
    pub stock: Option<Stock>,
}

/// What a shared subscription has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveredGroup {
    /// Messages in memory.
    pub queue: BTreeMap<MessageId, Delivery>,
    /// There are more, in the cold store.
    pub cold: Option<ColdQueue>,
    /// How much that is together, where it was measured.
    pub stock: Option<Stock>,
}

/// How far the retained messages of a subscription have been taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveredCursor {
    /// The last topic taken.
    pub after: Option<Box<str>>,
    /// Versions younger than this come (or came) live.
    pub newest: MessageId,
}

/// An exchange with a subscriber.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InFlight {
    /// Sent, not answered; the message stands in the queue.
    Publish {
        /// Which.
        message: MessageId,
        /// The QoS at which it was sent: 1 awaits PUBACK, 2 awaits PUBREC.
        qos: QoS,
    },
    /// PUBREC has come, the message is gone: awaits PUBCOMP [MQTT-4.3.3-6].
    Pubrel,
}

/// The exchanges of a session, in the order in which their messages were sent [MQTT-4.6.0-1].
#[derive(Clone, Debug, Default)]
pub struct Exchanges {
    by_order: BTreeMap<u64, (PacketId, InFlight)>,
    orders: BTreeMap<PacketId, u64>,
}

/// The part of a queue that stayed in the cold store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ColdQueue {
    /// What stands there and is not to be taken from there any more: settled, dropped or moved since, or already in the queue in memory.
    pub acked: BTreeSet<MessageId>,
    /// What stands there above this came with a later checkpoint, and is in memory.
    pub up_to: MessageId,
}

/// A will.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredWill {
    /// The message to be.
    pub message: Arc<Message>,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// Message Expiry Interval in seconds, from its publication on.
    pub message_expiry: Option<u32>,
}

/// The will of a client that had no durable session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoveredWill {
    /// The number under which it was recorded.
    pub no: SessionNo,
    /// The client.
    pub client_id: Box<str>,
    /// The will.
    pub will: StoredWill,
}

/// Loose ends inside one commit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Early {
    /// Messages that left a queue before they came.
    pub(super) acks: BTreeSet<(SessionNo, MessageId)>,
    /// Messages for sessions that are not there (yet).
    pub(super) deliveries: BTreeMap<(SessionNo, MessageId), Delivery>,
}

impl RecoveredSession {
    pub(super) fn new(no: SessionNo, client_id: &str) -> Self {
        Self {
            no,
            client_id: client_id.into(),
            expiry: 0,
            attached: false,
            detached_at: None,
            will: None,
            subscriptions: BTreeMap::new(),
            cursors: BTreeMap::new(),
            queue: BTreeMap::new(),
            in_flight: Exchanges::default(),
            received: BTreeMap::new(),
            cold: None,
            stock: None,
        }
    }
}

impl Exchanges {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, InFlight)> {
        self.by_order.values().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    /// `false`: the identifier is in use.
    pub(super) fn push(&mut self, packet_id: PacketId, exchange: InFlight) -> bool {
        let order = self.by_order.last_key_value().map_or(0, |(order, _)| order + 1);
        self.insert(order, packet_id, exchange)
    }

    pub(super) fn insert(&mut self, order: u64, packet_id: PacketId, exchange: InFlight) -> bool {
        if self.orders.contains_key(&packet_id) {
            return false;
        }
        self.orders.insert(packet_id, order);
        self.by_order.insert(order, (packet_id, exchange)).is_none()
    }

    pub(super) fn get(&self, packet_id: PacketId) -> Option<InFlight> {
        let order = self.orders.get(&packet_id)?;
        self.by_order.get(order).map(|(_, exchange)| *exchange)
    }

    pub(super) fn get_mut(&mut self, packet_id: PacketId) -> Option<&mut InFlight> {
        let order = self.orders.get(&packet_id)?;
        self.by_order.get_mut(order).map(|(_, exchange)| exchange)
    }

    pub(super) fn remove(&mut self, packet_id: PacketId) -> Option<InFlight> {
        let order = self.orders.remove(&packet_id)?;
        self.by_order.remove(&order).map(|(_, exchange)| exchange)
    }
}

impl Eq for Exchanges {}

/// Equal where the same exchanges stand in the same order.
impl PartialEq for Exchanges {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl StoredWill {
    /// As it stands in a record.
    pub fn to_record(&self) -> WillRecord<'_> {
        WillRecord { message: MessageRecord::from(&*self.message), delay: self.delay, message_expiry: self.message_expiry }
    }
}

impl From<&WillRecord<'_>> for StoredWill {
    fn from(record: &WillRecord<'_>) -> Self {
        Self { message: Arc::new(record.message.to_message()), delay: record.delay, message_expiry: record.message_expiry }
    }
}

/// A message as it stands in a queue.
pub(super) fn delivery(id: MessageId, message: Arc<Message>, target: &TargetRecord) -> Delivery {
    Delivery {
        id,
        message,
        qos: target.qos,
        retain: target.retain,
        claim: Claim::recorded(target.session),
        ids: target.subscription_ids.as_slice().into(),
    }
}
