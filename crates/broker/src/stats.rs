//! What a shard counts: plain numbers of its own, added up over the shards by whoever reads them.

use alloc::vec::Vec;

use columba_proto::{
    PacketType, QoS, ReasonCode, Version,
    wire::{Split, split},
};

use crate::{auth::Way, event::DropReason, limits::FRAME_MAX};

/// What has happened on a shard since it began. Counters only grow and never wrap in practice; `online` is what is there now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Control packets from clients, by [`PacketType`].
    pub packets_received: [u64; 16],
    /// Control packets to clients, by [`PacketType`]. What is given to a connection counts, also if that is lost before the last byte of it has left.
    pub packets_sent: [u64; 16],
    /// Bytes of MQTT from clients, also of what was no packet.
    pub bytes_received: u64,
    /// Bytes of MQTT to clients.
    pub bytes_sent: u64,
    /// PUBLISH from clients, by QoS.
    pub publishes_received: [u64; 3],
    /// PUBLISH to clients, by QoS.
    pub publishes_sent: [u64; 3],
    /// Bytes of the payloads of these.
    pub publish_bytes_received: u64,
    /// Bytes of the payloads of these.
    pub publish_bytes_sent: u64,
    /// PUBLISH sent with DUP set.
    pub repeated: u64,
    /// Messages dropped, by [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Connections that came to this shard, with or without a CONNECT; one that moved to another shard counts there.
    pub opened: u64,
    /// CONNECTs that were accepted.
    pub accepted: u64,
    /// Connections that were refused, at their CONNECT or for what came in its place.
    pub refused: u64,
    /// Accepted connections that ended, in whatever way.
    pub ended: u64,
    /// Sessions whose expiry interval passed.
    pub expired: u64,
    /// Connections that ended because their client came on another one.
    pub taken_over: u64,
    /// Whether clients were let in, by [`LoginOutcome::ALL`] and [`Way::ALL`].
    pub logins: [[u64; Way::ALL.len()]; LoginOutcome::ALL.len()],
    /// What clients were refused, or sent away for, by [`REFUSALS`].
    pub refusals: [u64; REFUSALS.len()],
    /// Fights of several connections for one client identifier.
    pub fights: u64,
    /// Client identifiers that were banned for a while.
    pub bans: u64,
    /// Clients that are connected now: for each listener, in the order of [`Version::ALL`].
    pub online: Vec<[u64; 3]>,
}

/// Reason codes by which clients are refused something, or sent away, for what they are or do.
pub const REFUSALS: [ReasonCode; 27] = [
    ReasonCode::UNSPECIFIED_ERROR,
    ReasonCode::MALFORMED_PACKET,
    ReasonCode::PROTOCOL_ERROR,
    ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode::BAD_USER_NAME_OR_PASSWORD,
    ReasonCode::NOT_AUTHORIZED,
    ReasonCode::SERVER_BUSY,
    ReasonCode::BANNED,
    ReasonCode::BAD_AUTHENTICATION_METHOD,
    ReasonCode::KEEP_ALIVE_TIMEOUT,
    ReasonCode::TOPIC_FILTER_INVALID,
    ReasonCode::TOPIC_NAME_INVALID,
    ReasonCode::PACKET_IDENTIFIER_IN_USE,
    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
    ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode::TOPIC_ALIAS_INVALID,
    ReasonCode::PACKET_TOO_LARGE,
    ReasonCode::MESSAGE_RATE_TOO_HIGH,
    ReasonCode::QUOTA_EXCEEDED,
    ReasonCode::RETAIN_NOT_SUPPORTED,
    ReasonCode::QOS_NOT_SUPPORTED,
    ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode::CONNECTION_RATE_EXCEEDED,
    ReasonCode::MAXIMUM_CONNECT_TIME,
    ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
];

/// What became of a client that was to say who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginOutcome {
    /// It has shown who it is.
    Accepted,
    /// It is let in as nobody.
    Anonymous,
    /// Its name is nobody's, or its password is not that user's.
    Wrong,
    /// It did not say who it is where that is asked for, broke off, or asked for what is not offered.
    Refused,
    /// Nobody looked at what it gave: too many were wrong, too many asked at a time, or who would know does not answer.
    Unjudged,
}

impl LoginOutcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Anonymous, Self::Wrong, Self::Refused, Self::Unjudged];

    /// A stable word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Anonymous => "anonymous",
            Self::Wrong => "wrong",
            Self::Refused => "refused",
            Self::Unjudged => "unjudged",
        }
    }

    /// By what it comes to that.
    pub const fn ways(self) -> &'static [Way] {
        match self {
            Self::Accepted => &[Way::Password, Way::Jwt, Way::Http, Way::Scram, Way::Certificate],
            Self::Anonymous => &[Way::Nothing],
            Self::Wrong => &[Way::Password, Way::Jwt, Way::Http, Way::Scram],
            Self::Refused => &[Way::Nothing, Way::Password, Way::Scram],
            Self::Unjudged => &[Way::Password, Way::Scram],
        }
    }
}

/// What the sessions of a shard, or of a part of them, have at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// Sessions whose client is connected.
    pub attached: u64,
    /// Sessions whose client is away.
    pub detached: u64,
    /// Shared subscriptions of all of them.
    pub shared_subscriptions: u64,
    /// Messages that wait in queues; after a start without limits of queues only those in memory.
    pub queued_messages: u64,
    /// Bytes of their topics, properties and payloads.
    pub queued_bytes: u64,
    /// QoS 1 and 2 messages sent and not acknowledged to the end.
    pub in_flight_out: u64,
    /// Those of them at QoS 2 whose PUBREC has not come.
    pub awaiting_pubrec: u64,
    /// Those of them at QoS 2 whose PUBCOMP has not come.
    pub awaiting_pubcomp: u64,
    /// QoS 2 messages received whose PUBREL has not come.
    pub in_flight_in: u64,
}

impl Counters {
    pub(crate) fn received(&mut self, first: u8) {
        self.packets_received[usize::from(first >> 4)] += 1;
    }

    pub(crate) fn publish_received(&mut self, qos: QoS, payload: usize) {
        self.publishes_received[usize::from(qos as u8)] += 1;
        self.publish_bytes_received += payload as u64;
    }

    /// One packet was appended to an out-buffer, with so many bytes.
    pub(crate) fn sent(&mut self, packet: PacketType, len: usize) {
        self.packets_sent[packet as usize] += 1;
        self.bytes_sent += len as u64;
    }

    /// The same for encoded packets, one or several.
    pub(crate) fn sent_encoded(&mut self, mut bytes: &[u8]) {
        while let Ok(Split::Frame { first, len, .. }) = split(bytes, FRAME_MAX) {
            self.packets_sent[usize::from(first >> 4)] += 1;
            self.bytes_sent += len as u64;
            bytes = &bytes[len..];
        }
        debug_assert!(bytes.is_empty(), "what is sent are whole packets");
    }

    /// The message in a PUBLISH to a client; the packet is counted beside it.
    pub(crate) fn publish_sent(&mut self, qos: QoS, payload: usize) {
        self.publishes_sent[usize::from(qos as u8)] += 1;
        self.publish_bytes_sent += payload as u64;
    }

    /// The connection goes to another shard with its socket and these bytes, the packet that said so in front; all of it counts there. That packet is not counted yet here.
    pub(crate) fn handed_over(&mut self, bytes: &[u8]) {
        self.opened -= 1;
        self.bytes_received -= bytes.len() as u64;
    }

    /// A client was to say who it is.
    pub(crate) fn login(&mut self, outcome: LoginOutcome, way: Way) {
        debug_assert!(outcome.ways().contains(&way), "{outcome:?} by {way:?}");
        self.logins[outcome as usize][way as usize] += 1;
    }

    /// A client was refused something, or sent away; not for anything that it does where the reason is none of [`REFUSALS`].
    pub(crate) fn refusal(&mut self, reason: ReasonCode) {
        if let Some(at) = REFUSALS.iter().position(|known| *known == reason) {
            self.refusals[at] += 1;
        }
    }

    /// A client is here, or gone again.
    pub(crate) fn online(&mut self, listener: u16, version: Version) -> &mut u64 {
        let listener = usize::from(listener);
        if self.online.len() <= listener {
            self.online.resize(listener + 1, [0; 3]);
        }
        &mut self.online[listener][version as usize]
    }

    /// Adds what another shard has counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            packets_received,
            packets_sent,
            bytes_received,
            bytes_sent,
            publishes_received,
            publishes_sent,
            publish_bytes_received,
            publish_bytes_sent,
            repeated,
            dropped,
            opened,
            accepted,
            refused,
            ended,
            expired,
            taken_over,
            logins,
            refusals,
            fights,
            bans,
            online,
        } = other;
        add_all(&mut self.packets_received, packets_received);
        add_all(&mut self.packets_sent, packets_sent);
        add_all(&mut self.publishes_received, publishes_received);
        add_all(&mut self.publishes_sent, publishes_sent);
        add_all(&mut self.dropped, dropped);
        for (sums, counts) in self.logins.iter_mut().zip(logins) {
            add_all(sums, counts);
        }
        add_all(&mut self.refusals, refusals);
        self.taken_over += taken_over;
        self.bytes_received += bytes_received;
        self.bytes_sent += bytes_sent;
        self.publish_bytes_received += publish_bytes_received;
        self.publish_bytes_sent += publish_bytes_sent;
        self.repeated += repeated;
        self.opened += opened;
        self.accepted += accepted;
        self.refused += refused;
        self.ended += ended;
        self.expired += expired;
        self.fights += fights;
        self.bans += bans;
        if self.online.len() < online.len() {
            self.online.resize(online.len(), [0; 3]);
        }
        for (sum, count) in self.online.iter_mut().zip(online) {
            add_all(sum, count);
        }
    }
}

impl Census {
    /// Adds that of other sessions.
    pub fn add(&mut self, other: &Self) {
        let Self {
            attached,
            detached,
            shared_subscriptions,
            queued_messages,
            queued_bytes,
            in_flight_out,
            awaiting_pubrec,
            awaiting_pubcomp,
            in_flight_in,
        } = other;
        self.attached += attached;
        self.detached += detached;
        self.shared_subscriptions += shared_subscriptions;
        self.queued_messages += queued_messages;
        self.queued_bytes += queued_bytes;
        self.in_flight_out += in_flight_out;
        self.awaiting_pubrec += awaiting_pubrec;
        self.awaiting_pubcomp += awaiting_pubcomp;
        self.in_flight_in += in_flight_in;
    }
}

fn add_all(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}
