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
mod presence;
mod shared;
mod strategy;
mod target;
#[cfg(test)]
mod tests;
mod versions;

pub use cache::{TopicCache, Unfinished};
pub use claim::Claim;
pub(crate) use claim::UNCLAIMED;
pub use fanout::{Audience, Receiver};
pub use index::{FilterIndex, Inserted};
pub use presence::Presence;
pub use shared::{Group, Member, Turn};
use strategy::affinity;
pub use strategy::{Strategies, Strategy};
pub use target::{Merged, Route, Target};
pub use versions::Versions;

use alloc::sync::Arc;
use core::num::NonZeroU32;

use columba_proto::{QoS, packet::RetainHandling};

use crate::{
    durable::GrantRecord,
    id::{Lane, MessageId, SessionNo},
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

/// Who publishes, as far as the choice of receivers goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Publisher {
    /// Its session, where it has one: its own messages are kept from it by No Local.
    pub session: Option<SessionNo>,
    /// The lane of its client: what a message still knows of its publisher when it has waited.
    pub lane: Lane,
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
