//! Entries of the store's queues, read ahead of the acknowledgements that come for them in the order of the queue: one visit of many entries costs little more
//! than looking up one.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    fold::{FoldError, scan_some},
    keys::{ColdError, ColdRead, behind_session, parse_queue_key, parse_queued, queue_key, space},
    window::Source,
};
use crate::id::{MessageId, SessionNo};

/// Entries that a visit reads at first, and at most once they are asked for one after the other.
const FIRST: usize = 16;
const MOST: usize = 1024;

/// Entries of all sessions together: a bound on memory, about 1 MiB.
const HELD_MAX: usize = 64 << 10;

/// Holds for as long as the store does not change.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    runs: BTreeMap<SessionNo, Run>,
    held: usize,
}

/// All entries of a queue between two messages, both included.
#[derive(Debug)]
struct Run {
    from: MessageId,
    to: MessageId,
    entries: Vec<(MessageId, Source)>,
    /// How many of them were asked for.
    asked: usize,
}

impl Ahead {
    /// Where the message of an entry of the store is, `None` if there is no such entry.
    pub(super) fn find(
        &mut self,
        session: SessionNo,
        message: MessageId,
        cold: &dyn ColdRead,
    ) -> Result<Option<Source>, FoldError> {
        if let Some(run) = self.runs.get_mut(&session)
            && (run.from..=run.to).contains(&message)
        {
            return Ok(run.find(message));
        }
        let count = self.runs.remove(&session).map_or(FIRST, |run| {
            self.held -= run.entries.len();
            run.worth_next()
        });
        if self.held + count > HELD_MAX {
            self.clear();
        }
        let mut run = Run::read(session, message, count, cold)?;
        let found = run.find(message);
        self.held += run.entries.len();
        self.runs.insert(session, run);
        Ok(found)
    }

    /// The store changes.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Run {
    fn read(session: SessionNo, from: MessageId, count: usize, cold: &dyn ColdRead) -> Result<Self, FoldError> {
        let mut entries = Vec::with_capacity(count);
        let behind = behind_session(session);
        scan_some(cold, space::QUEUE, &queue_key(session, from), behind.as_deref(), |key, value| {
            let (_, message) = parse_queue_key(key).ok_or(ColdError::Key { space: space::QUEUE })?;
            entries.push((message, parse_queued(session, value)?.source()));
            Ok(entries.len() < count)
        })?;
        // Fewer than asked for: nothing follows.
        let to = entries.last().filter(|_| entries.len() == count).map_or(MessageId(u64::MAX), |(last, _)| *last);
        Ok(Self { from, to, entries, asked: 0 })
    }

    fn find(&mut self, message: MessageId) -> Option<Source> {
        let at = self.entries.binary_search_by_key(&message, |(id, _)| *id).ok()?;
        self.asked += 1;
        Some(self.entries[at].1)
    }

    /// How many entries the visit behind this one should read: more, if these were asked for.
    fn worth_next(&self) -> usize {
        if self.asked * 2 > self.entries.len() { (self.entries.len() * 2).clamp(FIRST, MOST) } else { FIRST }
    }
}
