//! Identities inside the broker: which session, which message, which connection, which change.

use core::{
    hash::Hasher,
    sync::atomic::{AtomicU64, Ordering},
};

use siphasher::sip::SipHasher13;

/// Bits of an identity that name its lane.
const LANE_BITS: u32 = 12;

/// One of the parts that all sessions are divided into, fixed when the data directory is made.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lane(pub u16);

/// A shard of this process: one event loop with the sessions of the lanes that it owns.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u16);

/// Names one Session for ever: never used again, not even after the session ended.
///
/// A sequence number of the whole broker with the session's lane in its low bits, so that a record tells which lane it belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionNo(pub u64);

/// Names one shared subscription: the hash of its filter as clients write it, `$share/...` included. The same in every run of the broker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupKey(pub u64);

/// Names one publication for ever. Greater means accepted later; a session's queue is sorted by it, live and after recovery.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId(pub u64);

/// A connection of one shard: a slot and how often it was used before, so that a late word about an old connection reaches nobody.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionId {
    /// Index into the shard's table.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// Numbers the batches of records that one shard hands to the journal, from 1.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChangeSeq(pub u64);

/// Set in a number that names the place of a shared subscription, and in no session's: the counter of identities does not come so far in ten years at ten million
/// messages a second.
const OF_GROUP: u64 = 0b11 << 62;

impl GroupKey {
    /// Of a shared subscription's filter.
    pub fn of(filter: &str) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(filter.as_bytes());
        Self(hasher.finish())
    }

    /// Where, in place of a session, the group's messages stand until a member has acknowledged them.
    pub fn place(self) -> SessionNo {
        SessionNo(self.0 | OF_GROUP)
    }
}

impl SessionNo {
    /// The lane that the session lives in.
    pub fn lane(self) -> Lane {
        lane_of(self.0)
    }

    /// Its number among all sessions and messages of the broker, in the order in which they began.
    pub fn seq(self) -> u64 {
        self.0 >> LANE_BITS
    }

    /// Whether it is no session but the [place](GroupKey::place) of a shared subscription's messages.
    pub fn is_group(self) -> bool {
        self.0 & OF_GROUP == OF_GROUP
    }
}

impl MessageId {
    /// The lane of the publisher.
    pub fn lane(self) -> Lane {
        lane_of(self.0)
    }

    /// Its number among all sessions and messages of the broker, in the order in which they began.
    pub fn seq(self) -> u64 {
        self.0 >> LANE_BITS
    }
}

fn lane_of(id: u64) -> Lane {
    Lane((id & ((1 << LANE_BITS) - 1)) as u16)
}

/// The counter from which all identities of one broker come.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// A new session of `lane`.
    pub fn session(&self, lane: Lane) -> SessionNo {
        SessionNo(self.next(lane))
    }

    /// A new publication by a publisher of `lane`.
    pub fn message(&self, lane: Lane) -> MessageId {
        MessageId(self.next(lane))
    }

    /// The greatest identity given out so far, whatever its lane.
    pub fn latest(&self) -> MessageId {
        MessageId((self.0.load(Ordering::Relaxed) << LANE_BITS) | ((1 << LANE_BITS) - 1))
    }

    /// Makes sure that nothing up to `id` (of a session or a message) is given out again.
    pub fn seen(&self, id: u64) {
        self.0.fetch_max(id >> LANE_BITS, Ordering::Relaxed);
    }

    fn next(&self, lane: Lane) -> u64 {
        debug_assert!(lane.0 < 1 << LANE_BITS, "a lane fits its bits");
        let seq = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        (seq << LANE_BITS) | u64::from(lane.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_grow_and_name_their_lane() {
        let clock = Clock::default();

        let first = clock.message(Lane(63));
        let second = clock.message(Lane(2));

        assert!(first < second);
        assert_eq!((first.lane(), second.lane()), (Lane(63), Lane(2)));
    }

    #[test]
    fn the_place_of_a_group_is_nobodys_number() {
        let place = GroupKey::of("$share/g/t").place();

        assert!(place.is_group() && place != GroupKey::of("$share/g/u").place());
        assert!(!Clock::default().session(Lane(4095)).is_group());
    }

    #[test]
    fn what_was_recovered_is_never_given_out_again() {
        let clock = Clock::default();
        let old = SessionNo((900 << LANE_BITS) | 7);

        clock.seen(old.0);

        assert!(clock.session(Lane(0)) > old);
    }
}
