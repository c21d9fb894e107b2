//! The journal, the checkpoint and the cold store of the fuzzed broker: commits of records, kept as bytes.

use std::sync::Arc;

use columba_broker::{
    durable::{Fold, Record, State, load_retained, load_window, recover},
    id::{ChangeSeq, MessageId, SessionNo},
    seam::{Loaded, LoadedRetained},
};

use crate::fuzz::keys::Keys;

/// One shard's part of the next commit.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    last: Option<ChangeSeq>,
}

/// What is on disk, and what is on its way there.
#[derive(Debug)]
pub(super) struct Journal {
    cold: Keys,
    fold: Fold,
    /// Commits behind the checkpoint.
    commits: Vec<Vec<u8>>,
    /// Every publication up to here is in these commits or before.
    mark: Option<MessageId>,
    open: Vec<Part>,
}

impl Journal {
    pub(super) fn new(shards: u16) -> Self {
        let cold = Keys::default();
        let fold = Fold::new(&cold).expect("an empty cold store can be read");
        Self { cold, fold, commits: Vec::new(), mark: None, open: (0..shards).map(|_| Part::default()).collect() }
    }

    pub(super) fn append(&mut self, shard: usize, seq: ChangeSeq, bytes: &[u8]) {
        self.open[shard].bytes.extend_from_slice(bytes);
        self.open[shard].last = Some(seq);
    }

    /// Puts everything on disk in one commit; how far each shard's records are there now. The shards have recorded and handed on every publication up to `mark`.
    pub(super) fn sync(&mut self, mark: MessageId) -> Vec<Option<ChangeSeq>> {
        self.mark = Some(mark);
        let commit: Vec<u8> = self.open.iter_mut().flat_map(|part| std::mem::take(&mut part.bytes)).collect();
        if !commit.is_empty() {
            each_record(&commit, |record| self.fold.record(record, &self.cold).expect("the follower takes what shards record"));
            self.fold.end_of_commit();
            self.commits.push(commit);
        }
        self.open.iter_mut().map(|part| part.last.take()).collect()
    }

    /// Moves everything that is on disk into the cold store; the answer is how far the publications are there that were not before.
    pub(super) fn checkpoint(&mut self) -> Option<MessageId> {
        self.cold.write(self.fold.take_changes());
        self.commits.clear();
        self.mark.take()
    }

    /// What is not on disk is gone.
    pub(super) fn crash(&mut self) {
        for part in &mut self.open {
            *part = Part::default();
        }
        self.mark = None;
        self.fold = Fold::new(&self.cold).expect("the cold store can be read");
        for commit in &self.commits {
            each_record(commit, |record| self.fold.record(record, &self.cold).expect("the follower takes it again"));
            self.fold.end_of_commit();
        }
    }

    /// What a start finds.
    pub(super) fn state(&self) -> State {
        let mut state = recover(&self.cold).expect("the cold store can be read");
        for commit in &self.commits {
            each_record(commit, |record| state.apply(record).expect("a start takes what shards record"));
            state.end_of_commit();
        }
        state.finish(&self.cold).expect("nothing is missing in the cold store");
        state
    }

    /// What a start finds, with all that is in the cold store.
    pub(super) fn whole_state(&self) -> State {
        let mut state = self.state();
        state.load_queues(&self.cold).expect("nothing is missing in the cold store");
        state
    }

    pub(super) fn load_retained(&self, session: SessionNo, topics: Vec<Arc<str>>) -> LoadedRetained {
        let read = |topic: Arc<str>| (Arc::clone(&topic), load_retained(&self.cold, &topic).expect("the cold store can be read"));
        LoadedRetained { session, messages: topics.into_iter().map(read).collect() }
    }

    pub(super) fn load(&self, session: SessionNo, after: MessageId, count: u16) -> Loaded {
        load_window(&self.cold, session, after, usize::from(count)).expect("nothing is missing in the cold store")
    }
}

fn each_record(mut rest: &[u8], mut each: impl FnMut(&Record<'_>)) {
    while !rest.is_empty() {
        each(&Record::decode(&mut rest).expect("shards write records"));
    }
}
