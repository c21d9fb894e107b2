//! Points in time at which a shard wants to look at something again.
//!
//! Entries are never taken back: who is woken looks whether it still has a reason, and sets a new timer if it came too early.

use alloc::{collections::BinaryHeap, vec::Vec};
use core::cmp::Reverse;

use columba_proto::Time;

use crate::id::{ConnectionId, SessionNo};

/// What to look at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// A connection without CONNECT.
    ConnectWait(ConnectionId),
    /// A connection's keep-alive [MQTT-3.1.2-22].
    KeepAlive(ConnectionId),
    /// The end of the time for which a client has shown who it is.
    LoginEnds(ConnectionId),
    /// Packets of a 3.x client that may have to be repeated.
    Retry(ConnectionId),
    /// A 3.x client one of whose publications was refused.
    Refused(ConnectionId),
    /// A will whose delay passes.
    Will(u32, SessionNo),
    /// A session whose expiry interval passes.
    Expiry(u32, SessionNo),
    /// A client that has sent faster than it may.
    Pace(ConnectionId),
    /// A client that has been sent as much as it may be.
    PaceOut(ConnectionId),
    /// A reader whose queue is full.
    SlowConsumer(u32, SessionNo),
    /// A shared subscription whose queue is full.
    StuckGroup(SessionNo),
    /// A durable session whose queue is beyond its limit, and that ends for it.
    BeyondLimit(u32, SessionNo),
    /// A session whose queue an administrator has emptied, and that has more of it.
    Purge(u32, SessionNo),
    /// A session that has more retained messages to look for.
    Retained(u32, SessionNo),
    /// The end of the time in which clients may come back after a crash.
    Grace,
    /// Acknowledgements withheld for a full queue.
    Withheld,
    /// Drops that have not been told.
    Drops,
}

/// A heap of timers; equal times in a fixed order.
///
/// A client that comes and goes, or stops and reads on, leaves timers behind that have no reason any more, and some of them are years away: whenever the heap
/// has doubled, those go.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Timer)>>,
    /// What was left by the last tidying.
    tidied: usize,
}

/// Fewer timers are never tidied.
const TIDIED_MIN: usize = 1024;

impl Timers {
    pub(crate) fn set(&mut self, at: Time, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether it is time to tidy up.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.heap.len() > (self.tidied * 2).max(TIDIED_MIN)
    }

    /// Keeps the timers that have a reason, the earliest of each: who is woken too early sets a new one.
    pub(crate) fn tidy(&mut self, mut has_reason: impl FnMut(Timer) -> bool) {
        let mut kept: Vec<_> = core::mem::take(&mut self.heap).into_vec();
        kept.retain(|Reverse((_, timer))| has_reason(*timer));
        kept.sort_unstable_by_key(|Reverse((at, timer))| (*timer, *at));
        kept.dedup_by_key(|Reverse((_, timer))| *timer);
        kept.shrink_to(kept.len() * 2);
        self.tidied = kept.len();
        self.heap = kept.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_the_order_of_their_times_and_not_early() {
        let mut timers = Timers::default();
        let id = |slot| ConnectionId { slot, generation: 0 };
        timers.set(Time(20), Timer::KeepAlive(id(1)));
        timers.set(Time(10), Timer::KeepAlive(id(2)));

        assert_eq!(timers.due(Time(9)), None);
        assert_eq!(timers.due(Time(30)), Some(Timer::KeepAlive(id(2))));
        assert_eq!(timers.due(Time(30)), Some(Timer::KeepAlive(id(1))));
        assert_eq!(timers.due(Time(30)), None);
    }
}
