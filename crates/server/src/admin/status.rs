//! The broker at one moment, in numbers.

use columba_broker::stats::{Census, Counters};

use crate::core::Refused;

/// All shards together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) counters: Counters,
    pub(crate) census: Census,
    /// Open connections, with those that have not said CONNECT yet.
    pub(crate) connections: usize,
    /// Connections that were not let in or sent away, by [`Refused::ALL`](crate::core::Refused::ALL).
    pub(crate) refused: [u64; Refused::ALL.len()],
    /// Shared ones included.
    pub(crate) subscriptions: usize,
    /// The broker's own in `$SYS` included, as mosquitto counts.
    pub(crate) retained_messages: usize,
    /// Of those that are in memory, but for the broker's own.
    pub(crate) retained_bytes: usize,
}

impl Status {
    /// PUBLISH from clients.
    pub(crate) fn publishes_received(&self) -> u64 {
        self.counters.publishes_received.iter().sum()
    }

    /// PUBLISH to clients.
    pub(crate) fn publishes_sent(&self) -> u64 {
        self.counters.publishes_sent.iter().sum()
    }

    /// Messages that somebody did not get.
    pub(crate) fn dropped(&self) -> u64 {
        self.counters.dropped.iter().sum()
    }

    /// Messages that are kept for somebody.
    pub(crate) fn stored(&self) -> u64 {
        self.retained_messages as u64 + self.census.queued_messages + self.census.in_flight_out
    }
}
