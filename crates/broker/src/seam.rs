//! The whole language between a shard's brain and the world around it.
//!
//! The world calls the `Shard`'s methods (opened, received, answered, closed, flushed, parcel, synced, loaded, tick), each with a [`Cx`]; afterwards it takes what the
//! shard wants done: records ([`Shard::cut`](crate::Shard::cut)), [`Output`]s, and bytes from the out-buffers of the dirty connections. In this order in every
//! turn: inputs, records to the journal, outputs (parcels), bytes.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use columba_proto::{QoS, Time};
use smallvec::SmallVec;

use crate::{
    auth::Question,
    event::Event,
    id::{Clock, ConnectionId, MessageId, SessionNo, ShardId},
    message::Message,
    retained::RetainedStore,
    route::{Claim, FilterIndex, SessionRef, Versions},
};

/// What every call into a shard is given.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The time of this call; never goes back.
    pub now: Time,
    /// What all shards of one broker share.
    pub commons: &'a dyn Commons,
}

/// What all shards of one broker share. The server keeps it behind read-write locks; the brain touches it only when its own caches miss.
pub trait Commons {
    /// The counter of all identities.
    fn clock(&self) -> &Clock;
    /// Which lane a client belongs to, and which shard owns which lane.
    fn placement(&self) -> &crate::placement::Placement;
    /// The versions under which cached routes are valid.
    fn versions(&self) -> &Versions;
    /// Looks something up in the filter index.
    fn read_index(&self, read: &mut dyn FnMut(&FilterIndex));
    /// Changes the filter index; the change's version is raised before this returns.
    fn write_index(&self, write: &mut dyn FnMut(&mut FilterIndex));
    /// Looks something up among the retained messages.
    fn read_retained(&self, read: &mut dyn FnMut(&RetainedStore));
    /// Changes the retained messages.
    fn write_retained(&self, write: &mut dyn FnMut(&mut RetainedStore));
    /// Counts one more connection of a user, on whatever shard, as long as the answer lives.
    fn seat(&self, user: &str) -> crate::seats::Seat;
}

/// Where a connection comes from, as the world tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The other end, for events.
    pub peer: Box<str>,
    /// Index of the listener in the configuration.
    pub listener: u16,
    /// The user that the connection itself has shown to come from, by a certificate.
    pub identity: Option<Box<str>>,
    /// There are as many connections as may be without it: it is here to hear so, as the answer to its CONNECT.
    pub is_surplus: bool,
}

impl Origin {
    /// From somewhere; nobody has shown who it is.
    pub fn new(peer: impl Into<Box<str>>, listener: u16) -> Self {
        Self { peer: peer.into(), listener, identity: None, is_surplus: false }
    }
}

/// Why the world says that a connection is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gone {
    /// The other end closed it.
    ByPeer,
    /// Reading or writing failed.
    Failed,
    /// What came broke the rules of its transport (TLS, WebSocket).
    Garbled,
}

/// What a shard wants the world to do.
#[derive(Debug)]
pub enum Output {
    /// Close the socket once its out-buffer is written (or cannot be). The shard has forgotten the connection when `linger` is false;
    /// with `linger` the out-buffer stays readable until the world calls `closed`.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Bytes are still to be written first.
        linger: bool,
    },
    /// Deliver to another shard, in order.
    ToShard {
        /// Whom.
        to: ShardId,
        /// What.
        parcel: Parcel,
    },
    /// The connection belongs to another shard: move its socket there, say `opened` and then `received` with these bytes. It is forgotten here.
    HandOver {
        /// Which.
        connection: ConnectionId,
        /// The owner of its client identifier.
        to: ShardId,
        /// All that was received and not used: its CONNECT and what came behind.
        bytes: Vec<u8>,
    },
    /// Read the next window of a session's queue from the cold store and answer with `loaded`.
    Load {
        /// Whose queue.
        session: SessionNo,
        /// Entries above this one.
        after: MessageId,
        /// At most so many.
        count: u16,
    },
    /// Read retained messages from the cold store and answer with `retained_loaded`.
    LoadRetained {
        /// Who gets them.
        session: SessionNo,
        /// Of these topics.
        topics: Vec<Arc<str>>,
    },
    /// Find out whether this is the user's password, and answer with `answered`. Until then nothing is read from this connection.
    Ask {
        /// Which.
        connection: ConnectionId,
        /// What.
        question: Question,
    },
    /// Something worth telling.
    Event(Event),
}

/// A window of a queue from the cold store, in order; fewer than asked for: the cold part ends here.
#[derive(Debug)]
pub struct Loaded {
    /// Whose queue.
    pub session: SessionNo,
    /// The entries.
    pub entries: Vec<Delivery>,
    /// Whether nothing is left behind them.
    pub last: bool,
}

/// What the cold store has for a topic.
pub type StoredRetained = Option<(MessageId, Arc<Message>)>;

/// Retained messages from the cold store.
#[derive(Debug)]
pub struct LoadedRetained {
    /// Who gets them.
    pub session: SessionNo,
    /// Each topic that was asked for, and what stands there.
    pub messages: Vec<(Arc<str>, StoredRetained)>,
}

/// From one shard to another.
#[derive(Debug)]
pub enum Parcel {
    /// A publication for sessions of the receiving shard.
    Deliver {
        /// Its identity.
        id: MessageId,
        /// The message.
        message: Arc<Message>,
        /// Whom, and how.
        targets: Vec<ParcelTarget>,
    },
    /// A message of a shared subscription, from its queue to a member.
    Given {
        /// The delivery, with its identity.
        delivery: Delivery,
        /// The member.
        to: SessionRef,
    },
    /// Back from a member that cannot have it.
    Returned {
        /// The delivery, with its identity.
        delivery: Delivery,
    },
    /// A member of a shared subscription has room for what waits in its queue.
    Knock {
        /// The queue.
        group: SessionNo,
    },
    /// A member of a shared subscription has come where others are away with messages, or is gone.
    Attend {
        /// The shared subscription.
        filter: Box<str>,
    },
    /// Another member is there for what this one, which is away, has not acknowledged.
    Recall {
        /// The member.
        session: SessionRef,
        /// The queue.
        group: SessionNo,
    },
    /// The queue of a shared subscription is full, and this member has taken nothing for too long.
    SendAway {
        /// The member.
        session: SessionRef,
    },
}

/// A target within a parcel.
#[derive(Clone, Debug)]
pub struct ParcelTarget {
    /// The session, or the queue of a shared subscription.
    pub session: SessionRef,
    /// Effective QoS; for a queue as published.
    pub qos: QoS,
    /// RETAIN to deliver with; for a queue as published.
    pub retain: bool,
    /// For a queue: whose message it is.
    pub claim: Claim,
    /// Subscription identifiers.
    pub ids: SubscriptionIds,
}

/// Identifiers of the subscriptions that a delivery serves [MQTT-3.3.4-4].
pub type SubscriptionIds = SmallVec<[u32; 2]>;

impl Delivery {
    /// The same message has come once more for the same session: one delivery serves both. Whichever came first, the result is the same.
    pub(crate) fn join(&mut self, mut other: Self) {
        if (self.qos, self.retain, &self.ids) < (other.qos, other.retain, &other.ids) {
            core::mem::swap(&mut self.qos, &mut other.qos);
            core::mem::swap(&mut self.retain, &mut other.retain);
            core::mem::swap(&mut self.ids, &mut other.ids);
        }
    }
}

/// A message on its way to one session, or to whichever member of a shared subscription is first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The publication's identity and its place in the queue.
    pub id: MessageId,
    /// The message.
    pub message: Arc<Message>,
    /// min(publication, subscription).
    pub qos: QoS,
    /// RETAIN to deliver with.
    pub retain: bool,
    /// Of a shared subscription, until a member has acknowledged it.
    pub claim: Claim,
    /// Subscription identifiers.
    pub ids: SubscriptionIds,
}
