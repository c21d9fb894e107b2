//! One network connection as the brain sees it: what is half received, what waits to leave, and which session it serves.

use alloc::{boxed::Box, vec::Vec};

use columba_proto::{
    AliasesIn, AliasesOut, KeepAlive, PacketId, QoS, ReasonCode, Time,
    connection::{self, server::Connecting},
    property::SubscriptionId,
    qos::ReceiveQuota,
    scram,
};

use crate::{
    access::{Denied, Permissions},
    auth::Known,
    hold::Ring,
    id::{ChangeSeq, ConnectionId},
    limits::{Config, Durable, Terms},
    mount::MountPoint,
    out_buffer::OutBuffer,
    pace::Pace,
    seam::{Gone, Origin},
    seats::Seat,
};

/// A connection of this shard.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    pub(crate) phase: Phase,
    pub(crate) out: OutBuffer,
    /// A packet that has not come whole.
    pub(crate) partial: Vec<u8>,
    pub(crate) is_dirty: bool,
    /// The world was told to stop reading.
    pub(crate) is_paused: bool,
    /// Whether what has come waits for others to have their turn.
    pub(crate) turn: Turn,
}

/// Whether the packets of a connection wait for its next turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// All that have come whole are handled.
    Done,
    /// Some are not.
    Waits,
    /// The same, and behind them the connection ends.
    WaitsBefore(Gone),
}

/// Where the connection stands in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing but CONNECT may come [MQTT-3.1.0-1].
    AwaitConnect,
    /// CONNECT has come, and it is not known yet who sent it.
    Authenticating(Box<Authenticating>),
    /// CONNECT was accepted.
    Open(Box<Open>),
    /// Only the rest of the out-buffer is still to leave.
    Closing,
}

/// A client that is showing who it is.
#[derive(Debug)]
pub(crate) struct Authenticating {
    pub(crate) connecting: Connecting,
    /// The body of its CONNECT, which is taken up again when that is known.
    pub(crate) connect: Box<[u8]>,
    /// The client's Maximum Packet Size [MQTT-3.1.2-24].
    pub(crate) max_packet_size: u32,
    pub(crate) by: By,
}

/// By what a client shows who it is.
#[derive(Debug)]
pub(crate) enum By {
    /// By the method that CONNECT named: nothing but AUTH and DISCONNECT may come [MQTT-3.1.2-30].
    Exchange(Exchange),
    /// By a password, which the world looks at. What comes meanwhile waits (§3.1.4 allows clients not to wait for CONNACK).
    Password,
}

/// How far an authentication has come (§4.12).
#[derive(Debug)]
pub(crate) enum Exchange {
    /// The client has named the method and nothing else.
    AwaitName,
    /// It has a challenge.
    AwaitProof(scram::AwaitProof),
}

impl Exchange {
    /// Whose name the client gave, where it has.
    pub(crate) fn user(&self) -> Option<Box<str>> {
        match self {
            Self::AwaitName => None,
            Self::AwaitProof(await_proof) => Some(await_proof.user().into()),
        }
    }
}

/// Who a client has shown to be.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) known: Known,
    /// It shows that once more (§4.12.1).
    pub(crate) again: Option<Exchange>,
    /// Counts it among the connections of its user, where these are bounded.
    pub(crate) seat: Option<Seat>,
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Open {
    /// What it speaks, and what may come on it.
    pub(crate) protocol: connection::Open,
    /// Slot of its session.
    pub(crate) session: u32,
    /// Who it is, where it has shown that.
    pub(crate) login: Option<Box<LoggedIn>>,
    /// What it may do, where there are rules.
    pub(crate) access: Option<Box<Permissions>>,
    /// CONNACK has left the ring; nothing may pass it.
    pub(crate) greeted: bool,
    pub(crate) since: Time,
    pub(crate) keep_alive: KeepAlive,
    /// The client's Maximum Packet Size [MQTT-3.1.2-24].
    pub(crate) max_packet_size: u32,
    /// QoS 1 and 2 messages of this client that we have not answered with their last packet (§4.9).
    pub(crate) receiving: ReceiveQuota,
    /// What waits for the disk.
    pub(crate) ring: Ring,
    /// How far a record must have come before that leaves.
    pub(crate) waits_for: Durable,
    /// Bytes of the answers that joined it, and of the messages whose acknowledgements are withheld for full readers, since it was last empty.
    pub(crate) held_bytes: usize,
    /// What has become of what it published.
    pub(crate) published: Published,
    /// A broker in a client's place: the highest bit of the level in CONNECT says so (3.x, as mosquitto's bridges do).
    pub(crate) is_bridge: bool,
    /// It was told of that it asked for more subscriptions than it may have.
    pub(crate) is_full_told: bool,
    /// Aliases that the client has set.
    pub(crate) aliases: Option<Box<AliasesIn>>,
    /// Aliases that we have given to topics, where the client takes any.
    pub(crate) aliases_out: Option<Box<AliasesOut>>,
    /// Whether it wants to know why something is refused.
    pub(crate) problems: ProblemInformation,
    /// What becomes of its publications above QoS 0.
    pub(crate) publications: Publications,
    /// What CONNACK has said.
    pub(crate) offer: Offer,
    /// What stands before its topics, and it does not see.
    pub(crate) mount: Option<MountPoint>,
    /// How fast it may send, where that is bounded.
    pub(crate) pace: Option<Box<Pace>>,
    /// How fast it may be sent PUBLISH, where that is bounded.
    pub(crate) pace_out: Option<Box<Pace>>,
    /// What a 3.x client may have to be sent again; present while anything is in flight to it.
    pub(crate) unanswered: Option<Box<Unanswered>>,
    /// A SUBSCRIBE or UNSUBSCRIBE with so many filters that others had their turn in between.
    pub(crate) half: Option<Box<Half>>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that is done in part, and the filters that are left of it.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) request: Request,
    /// Of these bytes of the packet.
    pub(crate) payload: Box<[u8]>,
    /// From here on.
    pub(crate) from: usize,
}

/// A SUBSCRIBE or UNSUBSCRIBE, and what its answer will say.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: PacketId,
    pub(crate) kind: RequestKind,
    /// For each filter so far.
    pub(crate) reasons: Vec<ReasonCode>,
    /// What that waits for.
    pub(crate) until: ChangeSeq,
}

/// Which of the two, and what only that one has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestKind {
    Subscribe {
        subscription_id: Option<SubscriptionId>,
        /// The first rule that forbids a filter.
        denied: Option<Denied>,
    },
    Unsubscribe,
}

/// What CONNACK has offered (§3.2.2.3): it holds as long as the connection does, whatever the configuration becomes meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Bytes of the largest packet taken.
    pub(crate) max_packet_size: u32,
    pub(crate) max_qos: QoS,
    pub(crate) max_topic_alias: u16,
    pub(crate) retain: bool,
    pub(crate) wildcard_subscriptions: bool,
    pub(crate) shared_subscriptions: bool,
}

impl Offer {
    pub(crate) fn of(config: &Config, terms: Option<&Terms>) -> Self {
        Self {
            max_packet_size: config.max_packet_size,
            max_qos: terms.and_then(|terms| terms.max_qos).unwrap_or(config.max_qos),
            max_topic_alias: terms.and_then(|terms| terms.max_topic_alias).unwrap_or(config.max_topic_alias),
            retain: config.retain,
            wildcard_subscriptions: config.wildcard_subscriptions,
            shared_subscriptions: config.shared_subscriptions,
        }
    }
}

impl Open {
    /// As whom the client is here, where it has shown that.
    pub(crate) fn user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| &*login.known.user)
    }

    /// What the client calls this topic; `None`: it knows nothing of it.
    pub(crate) fn seen<'t>(&self, topic: &'t str) -> Option<&'t str> {
        match &self.mount {
            None => Some(topic),
            Some(mount) => mount.seen(topic),
        }
    }
}

/// What has become of what a client published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Published {
    /// There was nothing.
    Nothing,
    /// It went where it goes.
    Something,
    /// Some of it went into queues on disk.
    IntoQueues,
}

/// Request Problem Information (§3.1.2.11.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProblemInformation {
    /// Acknowledgements of what is refused say why.
    Wanted,
    /// Only CONNACK and DISCONNECT do [MQTT-3.1.2-29]. Also where the version has no words for it.
    Unwanted,
}

/// What becomes of a client's publications above QoS 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Publications {
    /// Each is taken or refused for itself.
    Judged,
    /// One of a 3.x client was refused, which that version cannot say. None may pass it, so all are dropped unanswered until the connection is closed.
    Dropped,
}

/// Identifiers that were in flight at the last looks.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    pub(crate) newer: Vec<PacketId>,
    pub(crate) older: Vec<PacketId>,
}

/// How a connection ends, for the will, the log, and the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) reason: ReasonCode,
    /// The client went by DISCONNECT with reason 0: its will is removed [MQTT-3.14.4-3].
    pub(crate) is_normal: bool,
    /// Whether we say the reason (MQTT 5, DISCONNECT).
    pub(crate) is_ours: bool,
}

impl Connection {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            phase: Phase::AwaitConnect,
            out: OutBuffer::default(),
            partial: Vec::new(),
            is_dirty: false,
            is_paused: false,
            turn: Turn::Done,
        }
    }

    pub(crate) fn open(&mut self) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) => Some(open),
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closing => None,
        }
    }

    pub(crate) fn as_open(&self) -> Option<&Open> {
        match &self.phase {
            Phase::Open(open) => Some(open),
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closing => None,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }
}

/// The connections of a shard: slots with generations.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, connection: Connection) -> ConnectionId {
        let connection = Some(Box::new(connection));
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.slots[slot as usize];
            entry.connection = connection;
            return ConnectionId { slot, generation: entry.generation };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer connections than a u32 counts");
        self.slots.push(Slot { generation: 0, connection });
        ConnectionId { slot, generation: 0 }
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation { slot.connection.as_deref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.connection.as_deref_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(connection)
    }

    /// All connections, by slot.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.connection.is_some()).map(|(index, slot)| ConnectionId {
            slot: u32::try_from(index).expect("slots are counted with a u32"),
            generation: slot.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_word_about_an_old_connection_reaches_nobody() {
        let mut connections = Connections::default();
        let origin = Origin::new("a", 0);
        let old = connections.insert(Connection::new(origin.clone()));
        assert!(connections.remove(old).is_some());

        let new = connections.insert(Connection::new(origin));

        assert_eq!(new.slot, old.slot);
        assert!(connections.get(old).is_none());
        assert!(connections.get_mut(new).is_some());
        assert!(connections.remove(old).is_none());
        assert_eq!(connections.len(), 1);
    }
}
