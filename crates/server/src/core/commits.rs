//! Which of a shard's batches is in which commit of the journal.

use std::{collections::VecDeque, time::Instant};

use columba_broker::id::ChangeSeq;
use columba_store::{Appender, Commit};

use crate::durability::Waits;

/// Where a shard's records go.
pub(crate) enum Ledger {
    /// To disk; and what acknowledgements wait for.
    Journal(Appender, Waits),
    /// Nowhere: what is never promised to survive is kept at once.
    Ephemeral,
}

impl Ledger {
    pub(super) fn append(&self, records: &[u8]) -> Commit {
        match self {
            Self::Journal(appender, _) => appender.append(records),
            Self::Ephemeral => Commit::NONE,
        }
    }

    /// The same for records that nobody waits for.
    pub(super) fn append_idly(&self, records: &[u8]) -> Commit {
        match self {
            Self::Journal(appender, _) => appender.append_idly(records),
            Self::Ephemeral => Commit::NONE,
        }
    }

    /// Somebody waits for them now.
    pub(super) fn hurry(&self) {
        match self {
            Self::Journal(appender, _) => appender.hurry(),
            Self::Ephemeral => {}
        }
    }

    /// How far acknowledgements may go.
    pub(super) fn durable(&self) -> Commit {
        match self {
            Self::Journal(appender, Waits::Synced | Waits::Both) => appender.durable(),
            Self::Journal(appender, Waits::Written) => appender.written(),
            Self::Ephemeral => Commit::NONE,
        }
    }

    /// How far those may go that wait for less than the others; `None` where all wait for the same.
    pub(super) fn written(&self) -> Option<Commit> {
        match self {
            Self::Journal(appender, Waits::Both) => Some(appender.written()),
            Self::Journal(_, Waits::Synced | Waits::Written) | Self::Ephemeral => None,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Journal(appender, _) => appender.failed().is_some(),
            Self::Ephemeral => false,
        }
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        match self {
            Self::Journal(appender, _) => appender.pending_bytes(),
            Self::Ephemeral => 0,
        }
    }

    /// From now on each commit wakes the shard. What became durable before, the answer tells.
    pub(super) fn wake_me(&self) -> Commit {
        if let Self::Journal(appender, _) = self {
            appender.unmute();
        }
        self.durable()
    }

    /// The shard is awake and looks by itself.
    pub(super) fn let_me_be(&self) {
        match self {
            Self::Journal(appender, _) => appender.mute(),
            Self::Ephemeral => {}
        }
    }
}

/// The batches that are not yet known to be on disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Commits(VecDeque<Batches>);

/// The batches of one commit.
#[derive(Debug)]
struct Batches {
    /// The last of them.
    last: ChangeSeq,
    commit: Commit,
    /// When the first of them was given to the journal.
    since: Instant,
}

impl Commits {
    pub(super) fn push(&mut self, batch: ChangeSeq, commit: Commit) {
        match self.0.back_mut() {
            // One commit takes many turns' batches; the last one stands for all.
            Some(open) if open.commit == commit => open.last = batch,
            Some(_) | None => self.0.push_back(Batches { last: batch, commit, since: Instant::now() }),
        }
    }

    /// Takes out what is on disk once `durable` is; the last batch of it.
    pub(super) fn reached(&mut self, durable: Commit) -> Option<ChangeSeq> {
        let mut last = None;
        while let Some(front) = self.0.front()
            && front.commit <= durable
        {
            last = Some(front.last);
            self.0.pop_front();
        }
        last
    }

    /// Since when the oldest of them waits.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.0.front().map(|front| front.since)
    }

    /// Whether [`reached`](Self::reached) would say something.
    pub(super) fn has_reached(&self, durable: Commit) -> bool {
        self.0.front().is_some_and(|front| front.commit <= durable)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_says_how_far_the_batches_are_on_disk() {
        let mut commits = Commits::default();
        for (batch, commit) in [(1, 5), (2, 5), (3, 6), (4, 8)] {
            commits.push(ChangeSeq(batch), Commit(commit));
        }

        assert_eq!(commits.reached(Commit(4)), None);
        assert_eq!(commits.reached(Commit(5)), Some(ChangeSeq(2)));
        assert!(commits.has_reached(Commit(6)));
        assert_eq!(commits.reached(Commit(7)), Some(ChangeSeq(3)));
        assert_eq!(commits.reached(Commit(8)), Some(ChangeSeq(4)));
        assert!(!commits.has_reached(Commit(u64::MAX)), "nothing is left");
    }

    #[test]
    fn the_oldest_batch_says_how_long_acknowledgements_have_waited() {
        let mut commits = Commits::default();
        assert_eq!(commits.waits_since(), None);
        commits.push(ChangeSeq(1), Commit(1));
        let first = commits.waits_since();
        commits.push(ChangeSeq(2), Commit(1));
        commits.push(ChangeSeq(3), Commit(2));

        assert!(first.is_some() && commits.waits_since() == first);
        assert_eq!(commits.reached(Commit(1)), Some(ChangeSeq(2)));
        assert!(commits.waits_since() >= first);
    }
}
