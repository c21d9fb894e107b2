//! Every bound of a shard, with its unit and the reason for its default.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::num::NonZeroU32;

use columba_proto::{QoS, ReasonCode, TopicName, Version, wire::VARINT_MAX};

use crate::{
    access::{Acl, DeniedPublish},
    auth::Login,
    mount::MountPoint,
};

/// So many in a second.
pub type Rate = NonZeroU32;

/// How far a record must have come before an acknowledgement may speak of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durable {
    /// On disk.
    Synced,
    /// Written to the file: it outlives the process, not the machine.
    Written,
}

/// What holds on one listener where it is not what holds everywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// The versions that it speaks.
    pub versions: Vec<Version>,
    /// [`Config::max_qos`] here.
    pub max_qos: Option<QoS>,
    /// [`Config::max_topic_alias`] here.
    pub max_topic_alias: Option<u16>,
    /// What stands before all topics of its clients.
    pub mount_point: Option<MountPoint>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { versions: Version::ALL.into(), max_qos: None, max_topic_alias: None, mount_point: None }
    }
}

/// What a shard may be told, and all its bounds. The server fills it from `columba.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receive Maximum announced to MQTT 5 publishers: outstanding messages divided by the sync time is the durable rate of one publisher.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages in flight towards one client, unless its own Receive Maximum is smaller. Old devices have room for few.
    pub inflight: u16,
    /// Largest packet taken from a client, in bytes; 268,435,455 at most.
    pub max_packet_size: u32,
    /// Bytes of the longest payload that is taken: a longer one is not published, and its publisher told 0x97 where it can be; in a will, its CONNECT is refused.
    pub max_payload: usize,
    /// Highest QoS taken from publishers [MQTT-3.2.2-9].
    pub max_qos: QoS,
    /// Whether retained messages are offered [MQTT-3.2.2-13].
    pub retain: bool,
    /// Whether filters may hold wildcards.
    pub wildcard_subscriptions: bool,
    /// Whether `$share` is offered.
    pub shared_subscriptions: bool,
    /// Topic aliases that an MQTT 5 client may use towards us; 0 turns them off.
    pub max_topic_alias: u16,
    /// Levels of a topic or filter; a bound on the work of one match.
    pub topic_levels: u16,
    /// Longest Session Expiry Interval granted, in seconds; `u32::MAX` is no bound. Also what `Clean Session` 0 of 3.x means.
    pub session_expiry_max_s: u32,
    /// Longest keep-alive in seconds granted to MQTT 5 clients (0: any).
    pub max_keep_alive_s: u16,
    /// From the opening of a connection until its CONNECT is complete, in milliseconds.
    pub connect_wait_ms: u64,
    /// After how long an unanswered packet is repeated to a 3.x client that stays connected, in milliseconds; 0: never.
    pub retry_interval_ms: u64,
    /// How long a reader may leave its full queue untouched before it is disconnected, in milliseconds.
    pub slow_consumer_timeout_ms: u64,
    /// After a crash, how long the wills and sessions of clients that were connected wait for them to come back, in milliseconds.
    pub will_grace_ms: u64,
    /// Messages queued for a session that ends with its connection, before acknowledgements to its publishers are withheld.
    pub ephemeral_queue_max: usize,
    /// The same in bytes.
    pub ephemeral_queue_bytes_max: usize,
    /// Bytes of deliveries in a connection's out-buffer, beyond which QoS 0 is dropped and QoS 1 and 2 wait in the queue.
    pub deliver_ahead_max: usize,
    /// Bytes in a connection's out-buffer, beyond which nothing more is read from it: it asks faster than it listens.
    pub unread_answers_max: usize,
    /// Frames of one connection that may wait for the disk, beyond which nothing more is read from it.
    pub held_frames_max: usize,
    /// Bytes that wait with the held frames of one connection, beyond which nothing more is read from it: answers already encoded, and messages in the queues
    /// of full readers.
    pub held_bytes_max: usize,
    /// Identifiers of QoS 2 messages awaiting PUBREL that one 3.x client may hold (an MQTT 5 client has `receive_maximum`).
    pub awaiting_pubrel_max: usize,
    /// Bytes that these messages may stand for; they are kept in memory until PUBREL.
    pub awaiting_pubrel_bytes_max: usize,
    /// Messages that may wait for a durable session, on disk and in memory.
    pub queue_messages_max: u64,
    /// Bytes that they may have: topics, properties and payloads.
    pub queue_bytes_max: u64,
    /// What happens to a message for a session whose queue has no room by these two.
    pub queue_full: QueueFull,
    /// Where a message goes that a full queue drops by [`QueueFull::DropNewest`] or [`QueueFull::DropOldest`]: its own topic, below this one. `None`: nowhere.
    pub dead_letter_topic: Option<Box<str>>,
    /// How long a message waits in a queue at most, in milliseconds; MQTT 5 subscribers see it as its message expiry interval. `None`: as long as its publisher says.
    pub queue_age_ms: Option<u64>,
    /// What becomes of QoS 0 messages for clients that are away.
    pub missed_qos0: MissedQos0,
    /// Messages at the front of a connected session's queue that stay in memory where the queue is long; the rest is read from disk again.
    pub hot_messages: usize,
    /// Bytes that these may stand for.
    pub hot_bytes: usize,
    /// Bytes of retained messages in memory, the newest ones; the others are read from disk.
    pub retained_bytes: usize,
    /// Bytes that one client may send in a second, and a second's worth at once; who sends more is read from later. `None`: as many as it likes.
    pub bytes_in: Option<Rate>,
    /// The same for PUBLISH packets.
    pub messages_in: Option<Rate>,
    /// Bytes of PUBLISH packets, as they would be without topic aliases, that one client is sent in a second, and a second's worth at once; what is more waits in
    /// its queue, or at QoS 0 is dropped. `None`: as many as it reads.
    pub bytes_out: Option<Rate>,
    /// The same in PUBLISH packets.
    pub messages_out: Option<Rate>,
    /// How often one client identifier may be let in within a minute, before it is banned for a while. `None`: as often as it likes.
    pub flapping_connects: Option<Rate>,
    /// For how long it is banned then, in milliseconds.
    pub ban_ms: u64,
    /// Entries of a queue read from disk at a time.
    pub cold_window: u16,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Topics whose route a shard remembers.
    pub cached_topics_max: usize,
    /// Connections of one user, on all shards together; those that came before there was a bound are not counted. `None`: as many as it likes.
    pub connections_per_user: Option<u32>,
    /// Work that the packets of one connection may be before others have their turn, in pieces of about 50 to 100 ns: what looks up one node of the filter
    /// index, or less. At least 1.
    pub work_max: u32,
    /// Connections of one shard.
    pub connections_max: usize,
    /// Response Information for MQTT 5 clients that ask for it: the beginning of topics for responses, most likely (§3.2.2.3.15).
    pub response_information: Option<Box<str>>,
    /// Where clients may go when this broker stops (§4.11); MQTT 5 clients are told.
    pub server_reference: Option<Box<str>>,
    /// By what clients show who they are; `None`: by nothing, and all are let in.
    pub login: Option<Login>,
    /// What clients may do; `None`: everything.
    pub acl: Option<Arc<Acl>>,
    /// What becomes of a publication that it denies.
    pub denied_publish: DeniedPublish,
    /// Listeners, by their index in the configuration, whose acknowledgements wait for [`Durable::Written`] only.
    pub written_listeners: Vec<u16>,
    /// By listener, in the order of the configuration; on further ones nothing is different.
    pub listeners: Vec<Terms>,
}

/// The work of taking a packet, whatever it is, in pieces as [`Config::work_max`] counts them. All small messages of one read, to a receiver each, are one turn:
/// who sends many is not interrupted for that.
pub(crate) const PACKET_WORK: u32 = 2;

/// Bytes of a packet that are one piece of work more.
pub(crate) const BYTES_PER_WORK: usize = 64;

/// The work of handing a message to one receiver.
pub(crate) const RECEIVER_WORK: u32 = 2;

/// The work of making a message its topic's retained one.
pub(crate) const RETAINED_WORK: u32 = 64;

/// The work of making a subscription or ending it, and of each of its levels.
pub(crate) const FILTER_WORK: u32 = 16;
pub(crate) const LEVEL_WORK: u32 = 4;

/// Subscriptions of a session that make room for one more, in a list in order, as one piece of work.
pub(crate) const SUBSCRIPTIONS_MOVED_PER_WORK: usize = 128;

/// Subscriptions of a session that ends that leave at once; where there are more they leave by turns.
pub(crate) const LEAVE_AT_ONCE_MAX: usize = 64;

/// Retained messages looked up at a time for one subscription: small, so that others get their turn.
pub(crate) const RETAINED_PAGE: usize = 64;

/// Retained messages looked for in one go, in topics that are named; a page of a wildcard counts as many. Then others get their turn.
pub(crate) const RETAINED_WORK_MAX: usize = 256;

/// The longest frame there is (§2.1.4): what a message came in can be shorter than what it goes out in, for aliases are resolved and subscriptions named.
pub(crate) const FRAME_MAX: u32 = 1 + 4 + VARINT_MAX;

/// After how long the search goes on, in milliseconds.
pub(crate) const RETAINED_PAUSE_MS: u64 = 1;

/// Bytes of topics that one client's aliases may stand for.
pub(crate) const ALIAS_BYTES_MAX: usize = 256 * 1024;

/// Aliases given to topics towards one client, which may allow more: enough for what comes often, and at most 32 KiB of topics.
pub(crate) const ALIASES_OUT_MAX: u16 = 32;

/// About the memory of one place in a queue, in bytes.
pub(crate) const REFERENCE_BYTES: usize = 64;

/// Entries that a connection's ring of held frames keeps allocated while it is empty.
pub(crate) const IDLE_RING_MAX: usize = 64;

/// Out-buffers kept for reuse, and the largest that is worth keeping.
pub(crate) const POOLED_BUFFERS_MAX: usize = 256;
pub(crate) const POOLED_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long drops are summed up before they are told, in milliseconds.
pub(crate) const DROPS_SUMMED_MS: u64 = 1_000;

/// How long a 3.x client whose publication was refused is still listened to, in milliseconds: its acknowledgements empty queues, its own messages are dropped.
pub(crate) const REFUSED_CLOSE_MS: u64 = 30_000;

/// Sessions, and wills of sessions that ended, looked at in one go when the time to come back after a crash is over.
pub(crate) const GRACE_WORK_MAX: usize = 1_024;

/// Messages of a group's queue that others may pass because they wait for a member of their own, by a hash.
pub(crate) const GROUP_PASSED_MAX: usize = 256;

/// After how long the look goes on, in milliseconds.
pub(crate) const GRACE_PAUSE_MS: u64 = 1;

/// Bytes that a connection must hold to be sent away for them when memory is spent: many small ones would be a lot of harm for little.
pub(crate) const SHED_BYTES_MIN: usize = 64 * 1024;

/// Bytes of a packet that is not whole, beyond which no more of it is read while memory is short.
pub(crate) const PARTIAL_UNDER_PRESSURE_MAX: usize = 16 * 1024;

/// Client identifiers that come often and are remembered, of one shard; those beyond are not counted.
pub(crate) const COMINGS_MAX: usize = 4_096;

/// In which time it is counted how often, in milliseconds.
pub(crate) const COMINGS_WINDOW_MS: u64 = 60_000;

/// Takeovers in that time that are a fight: a client that comes back from a lost connection takes itself over once or twice.
pub(crate) const FIGHT_TAKEOVERS: u32 = 3;

/// Messages of a queue that is being emptied, dropped in one go.
pub(crate) const PURGE_WORK_MAX: usize = 1_024;

/// After how long it goes on, in milliseconds.
pub(crate) const PURGE_PAUSE_MS: u64 = 1;

/// How often withheld acknowledgements are looked at again while there are any, in milliseconds.
pub(crate) const WITHHELD_CHECK_MS: u64 = 10;

/// Whether messages can be published below this topic by the broker: it is a topic, and not one of the broker's own.
pub fn is_dead_letter_topic(topic: &str) -> bool {
    TopicName::new(topic).is_ok() && !topic.starts_with('$')
}

/// What becomes of a QoS 0 message for a client that is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MissedQos0 {
    /// Nobody gets it.
    Lost,
    /// It waits in memory, within the bounds of a queue that is not on disk, and of a durable one where that is less (docs/adr/0035).
    Waits,
}

/// What happens to a message for a durable session whose queue is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueFull {
    /// Its publisher gets no acknowledgement (MQTT 5: one with 0x97): nothing that was acknowledged is lost.
    Reject,
    /// It is dropped for this session. Its publisher has an acknowledgement.
    DropNewest,
    /// The message that waits longest is dropped for this session. Its publisher had an acknowledgement.
    DropOldest,
    /// The session ends with all that it had; its client is sent away.
    Disconnect,
}

impl Config {
    /// The other server that a packet with this reason names (§3.2.2.3.16, §3.14.2.2.5).
    pub(crate) fn reference_with(&self, reason: ReasonCode) -> Option<&str> {
        let names = matches!(reason, ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED);
        self.server_reference.as_deref().filter(|_| names)
    }

    /// Whether queues of durable sessions have a bound of their own.
    pub fn limits_queues(&self) -> bool {
        self.queue_messages_max != u64::MAX || self.queue_bytes_max != u64::MAX
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_maximum: 1024,
            inflight: 100,
            max_packet_size: 2 * 1024 * 1024,
            max_payload: usize::MAX,
            max_qos: QoS::ExactlyOnce,
            retain: true,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            max_topic_alias: 64,
            topic_levels: 1_024,
            session_expiry_max_s: u32::MAX,
            max_keep_alive_s: 0,
            connect_wait_ms: 10_000,
            retry_interval_ms: 30_000,
            slow_consumer_timeout_ms: 30_000,
            will_grace_ms: 5_000,
            ephemeral_queue_max: 1_000,
            ephemeral_queue_bytes_max: 64 * 1024 * 1024,
            deliver_ahead_max: 256 * 1024,
            unread_answers_max: 1024 * 1024,
            held_frames_max: 8_192,
            held_bytes_max: 16 * 1024 * 1024,
            awaiting_pubrel_max: 65_535,
            awaiting_pubrel_bytes_max: 64 * 1024 * 1024,
            queue_messages_max: u64::MAX,
            queue_bytes_max: u64::MAX,
            queue_full: QueueFull::Reject,
            dead_letter_topic: None,
            queue_age_ms: None,
            missed_qos0: MissedQos0::Lost,
            hot_messages: 256,
            hot_bytes: 256 * 1024,
            retained_bytes: 16 * 1024 * 1024,
            bytes_in: None,
            messages_in: None,
            bytes_out: None,
            messages_out: None,
            flapping_connects: None,
            ban_ms: 300_000,
            cold_window: 64,
            subscriptions_max: 10_000,
            cached_topics_max: 65_536,
            connections_per_user: None,
            work_max: 4_096,
            connections_max: 1_000_000,
            response_information: None,
            server_reference: None,
            login: None,
            acl: None,
            denied_publish: DeniedPublish::Acknowledge,
            written_listeners: Vec::new(),
            listeners: Vec::new(),
        }
    }
}
