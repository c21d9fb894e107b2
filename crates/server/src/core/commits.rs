//! Which of a shard's batches is in which commit of the journal.

use std::collections::VecDeque;

use columba_broker::id::ChangeSeq;
use columba_store::{Appender, Commit};

/// Where a shard's records go.
pub(crate) enum Ledger {
    /// To disk.
    Journal(Appender),
    /// Nowhere: what is never promised to survive is kept at once.
    Ephemeral,
}

impl Ledger {
    pub(super) fn append(&self, records: &[u8]) -> Commit {
        match self {
            Self::Journal(appender) => appender.append(records),
            Self::Ephemeral => Commit::NONE,
        }
    }

    pub(super) fn durable(&self) -> Commit {
        match self {
            Self::Journal(appender) => appender.durable(),
            Self::Ephemeral => Commit::NONE,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Journal(appender) => appender.failed().is_some(),
            Self::Ephemeral => false,
        }
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        match self {
            Self::Journal(appender) => appender.pending_bytes(),
            Self::Ephemeral => 0,
        }
    }

    /// From now on each commit wakes the shard. What became durable before, the answer tells.
    pub(super) fn wake_me(&self) -> Commit {
        match self {
            Self::Journal(appender) => appender.unmute(),
            Self::Ephemeral => Commit::NONE,
        }
    }

    /// The shard is awake and looks by itself.
    pub(super) fn let_me_be(&self) {
        match self {
            Self::Journal(appender) => appender.mute(),
            Self::Ephemeral => {}
        }
    }
}

/// The batches that are not yet known to be on disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Commits(VecDeque<(ChangeSeq, Commit)>);

impl Commits {
    pub(super) fn push(&mut self, batch: ChangeSeq, commit: Commit) {
        match self.0.back_mut() {
            // One commit takes many turns' batches; the last one stands for all.
            Some(last) if last.1 == commit => last.0 = batch,
            Some(_) | None => self.0.push_back((batch, commit)),
        }
    }

    /// Takes out what is on disk once `durable` is; the last batch of it.
    pub(super) fn reached(&mut self, durable: Commit) -> Option<ChangeSeq> {
        let mut last = None;
        while let Some(&(batch, commit)) = self.0.front()
            && commit <= durable
        {
            last = Some(batch);
            self.0.pop_front();
        }
        last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether [`reached`](Self::reached) would say something.
    pub(super) fn has_reached(&self, durable: Commit) -> bool {
        self.0.front().is_some_and(|&(_, commit)| commit <= durable)
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
        assert!(commits.is_empty());
    }
}
