//! How far each shard has come with what it accepted, for the follower of the journal; and how much its queues gathered meanwhile (docs/adr/0017).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use columba_broker::id::{Clock, MessageId};

/// Bytes that may come into the queues of all shards, and stay there, between two checkpoints. From here on publishers are slowed down.
const BACKLOG_BYTES_MAX: usize = 6 << 20;

/// A shard that holds nothing back.
const NOTHING: u64 = u64::MAX;

/// The progress of all shards.
#[derive(Debug)]
pub(crate) struct Progress(Box<[Shard]>);

/// On cache lines of its own: it is written twice in every turn.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    /// Every publication up to here is recorded and handed on.
    done: AtomicU64,
    backlog: AtomicUsize,
}

impl Progress {
    pub(crate) fn new(shards: usize) -> Self {
        // Before its first turn is over, nothing is known of a shard.
        Self((0..shards).map(|_| Shard { done: AtomicU64::new(0), backlog: AtomicUsize::new(0) }).collect())
    }

    /// A turn begins: what is accepted from now on is not done.
    pub(super) fn begin(&self, shard: usize, clock: &Clock) {
        let done = &self.0[shard].done;
        let before = done.load(Ordering::Relaxed);
        done.store(before.min(clock.latest().0), Ordering::SeqCst);
        // Whoever sees the value from before this sees no identity either that is given out after it.
        fence(Ordering::SeqCst);
    }

    /// A turn is over, its records are in the journal and its mail is posted. What the shard still holds begins at `holds_from`.
    pub(super) fn end(&self, shard: usize, holds_from: Option<MessageId>, backlog: usize) {
        self.0[shard].backlog.store(backlog, Ordering::Relaxed);
        self.0[shard].done.store(holds_from.map_or(NOTHING, |first| first.0 - 1), Ordering::SeqCst);
    }

    /// The highest publication up to which all are recorded and handed on.
    pub(crate) fn reached(&self, clock: &Clock) -> MessageId {
        let latest = clock.latest();
        fence(Ordering::SeqCst);
        self.0.iter().map(|shard| MessageId(shard.done.load(Ordering::SeqCst))).fold(latest, MessageId::min)
    }

    /// Whether the queues have gathered so much that nobody may add to it; once they have, until it is half of that.
    pub(crate) fn is_heavy(&self, was_heavy: bool) -> bool {
        let max = if was_heavy { BACKLOG_BYTES_MAX / 2 } else { BACKLOG_BYTES_MAX };
        self.0.iter().map(|shard| shard.backlog.load(Ordering::Relaxed)).sum::<usize>() > max
    }
}

#[cfg(test)]
mod tests {
    use columba_broker::id::Lane;

    use super::*;

    #[test]
    fn what_a_turn_accepts_counts_when_it_is_over_and_what_is_held_when_it_is_handed_on() {
        let (clock, progress) = (Clock::default(), Progress::new(2));
        (0..2).for_each(|shard| progress.end(shard, None, 0));
        let first = clock.message(Lane(0));
        assert!(progress.reached(&clock) >= first);

        progress.begin(0, &clock);
        let second = clock.message(Lane(0));
        assert!(progress.reached(&clock) >= first);
        assert!(progress.reached(&clock) < second);

        progress.end(0, Some(second), 0);
        progress.begin(0, &clock);
        let third = clock.message(Lane(1));
        assert!(progress.reached(&clock) < second, "it is still held");
        progress.end(0, None, 0);

        assert!(progress.reached(&clock) >= third);
    }

    #[test]
    fn it_is_heavy_until_half_is_gone() {
        let progress = Progress::new(2);
        progress.end(0, None, BACKLOG_BYTES_MAX);
        assert!(!progress.is_heavy(false));
        progress.end(1, None, 1);
        assert!(progress.is_heavy(false));

        progress.end(0, None, BACKLOG_BYTES_MAX / 2);
        assert!(progress.is_heavy(true));
        progress.end(1, None, 0);

        assert!(!progress.is_heavy(true));
    }
}
