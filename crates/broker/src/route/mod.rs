//! Routing: from the filters of all sessions to the receivers of one publication (§3.3.4, §4.7, §4.8.2).
//!
//! [`FilterIndex`] holds every subscription of the broker. A shard asks it only where its own [`TopicCache`] has no valid [`Route`]; [`Versions`] tell
//! which routes a change of the index has made stale. A route names sessions, never pointers to their state.

mod cache;
mod claim;
mod fanout;
mod holders;
mod index;
mod levels;
mod shared;
mod target;
#[cfg(test)]
mod tests;
mod versions;

pub use cache::TopicCache;
pub use claim::Claim;
pub(crate) use claim::UNCLAIMED;
pub use fanout::{Audience, Receiver};
pub use index::{FilterIndex, Inserted};
pub use shared::{Group, Member};
pub use target::{Merged, Route, Target};
pub use versions::Versions;

use alloc::sync::Arc;
use core::{
    num::NonZeroU32,
    sync::atomic::{AtomicU8, Ordering},
};

use columba_proto::{QoS, packet::RetainHandling};

use crate::{
    durable::GrantRecord,
    id::{MessageId, SessionNo},
};

/// How routing names a session: for ever by its number, quickly by its slot, and with what everybody may know about it.
#[derive(Clone, Debug)]
pub struct SessionRef {
    /// The session.
    pub no: SessionNo,
    /// Its slot in the table of the shard that owns it.
    pub slot: u32,
    /// What the owner tells about it.
    pub presence: Arc<Presence>,
}

/// What a session's shard tells all others about it. Only the owner writes; the others read what may be a moment old.
#[derive(Debug, Default)]
pub struct Presence(AtomicU8);

const ONLINE: u8 = 1;
const DURABLE: u8 = 2;
const FULL: u8 = 4;
const AT_LIMIT: u8 = 8;

impl Presence {
    /// A client is connected to the session.
    pub fn is_online(&self) -> bool {
        self.has(ONLINE)
    }

    /// The session outlives its connection.
    pub fn is_durable(&self) -> bool {
        self.has(DURABLE)
    }

    /// Its queue has no room.
    pub fn is_full(&self) -> bool {
        self.has(FULL)
    }

    /// Its queue on disk is as long as it may be.
    pub fn is_at_limit(&self) -> bool {
        self.has(AT_LIMIT)
    }

    /// For the owner.
    pub fn set_at_limit(&self, on: bool) {
        self.set(AT_LIMIT, on);
    }

    /// For the owner.
    pub fn set_online(&self, on: bool) {
        self.set(ONLINE, on);
    }

    /// For the owner.
    pub fn set_durable(&self, on: bool) {
        self.set(DURABLE, on);
    }

    /// For the owner.
    pub fn set_full(&self, on: bool) {
        self.set(FULL, on);
    }

    fn has(&self, flag: u8) -> bool {
        self.0.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8, on: bool) {
        // Nobody else writes; the result says only what was there before.
        let _before = if on { self.0.fetch_or(flag, Ordering::Relaxed) } else { self.0.fetch_and(!flag, Ordering::Relaxed) };
    }
}

/// What a subscription was granted (§3.8.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Not what the subscriber publishes itself [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Keep the publisher's RETAIN flag [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// When retained messages are sent (§3.8.3.1).
    pub retain_handling: RetainHandling,
    /// Subscription Identifier.
    pub id: Option<NonZeroU32>,
}

impl Grant {
    /// As it stands in the journal; `cursor`: retained messages up to this version are still to be taken.
    pub fn to_record(self, cursor: Option<MessageId>) -> GrantRecord {
        GrantRecord {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
            subscription_id: self.id.map_or(0, NonZeroU32::get),
            cursor,
        }
    }
}

impl From<&GrantRecord> for Grant {
    fn from(record: &GrantRecord) -> Self {
        Self {
            qos: record.qos,
            no_local: record.no_local,
            retain_as_published: record.retain_as_published,
            retain_handling: record.retain_handling,
            id: NonZeroU32::new(record.subscription_id),
        }
    }
}
