//! Points in time at which a shard wants to look at something again.
//!
//! Entries are never taken back: who is woken looks whether it still has a reason, and sets a new timer if it came too early.

use alloc::collections::BinaryHeap;
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
    /// Packets of a 3.x client that may have to be repeated.
    Retry(ConnectionId),
    /// A will whose delay passes.
    Will(u32, SessionNo),
    /// A session whose expiry interval passes.
    Expiry(u32, SessionNo),
    /// A reader whose queue is full.
    SlowConsumer(u32, SessionNo),
    /// The wills of clients whose sessions ended with a crash.
    LoneWills,
    /// Acknowledgements withheld for a full queue.
    Withheld,
    /// Drops that have not been told.
    Drops,
}

/// A heap of timers; equal times in a fixed order.
#[derive(Debug, Default)]
pub(crate) struct Timers(BinaryHeap<Reverse<(Time, Timer)>>);

impl Timers {
    pub(crate) fn set(&mut self, at: Time, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, timer))| timer)
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
