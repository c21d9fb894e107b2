//! How a shared subscription spreads its messages, by configuration (docs/shared-subscriptions.md).

use alloc::{boxed::Box, collections::BTreeMap};
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::id::SessionNo;

/// How a shared subscription chooses a member for each message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that has the fewest messages unacknowledged.
    LeastInFlight,
    /// One gets everything as long as it is there; the others stand by.
    Sticky,
    /// The same one for all messages of a topic, as long as it is there.
    HashTopic,
    /// The same one for all messages of a publishing client, as long as it is there. Clients are told apart by their lanes.
    HashClient,
}

/// The strategy of each group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Strategies {
    /// Of groups without one of their own.
    pub default: Strategy,
    /// By the name of the group: what stands between `$share/` and the filter.
    pub by_group: BTreeMap<Box<str>, Strategy>,
}

impl Strategy {
    /// Whether a member is chosen for what a message is, and not for having room: then the message waits for that member.
    pub fn has_affinity(self) -> bool {
        match self {
            Self::Sticky | Self::HashTopic | Self::HashClient => true,
            Self::RoundRobin | Self::LeastInFlight => false,
        }
    }
}

impl Strategies {
    /// Of a group.
    pub fn of(&self, group: &str) -> Strategy {
        self.by_group.get(group).copied().unwrap_or(self.default)
    }
}

/// By what messages of one topic are known as such. The same in every run of the broker.
pub(super) fn affinity(topic: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(topic.as_bytes());
    hasher.finish()
}

/// How much a member wants messages of this affinity: the one with the highest wish gets them, so that nobody else's change when one comes or goes.
pub(super) fn wish(affinity: u64, member: SessionNo) -> u64 {
    let mut mixed = affinity ^ member.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
