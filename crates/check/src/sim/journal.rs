//! The journal, the cold store and the checkpoint in a simulated world: the real code on a simulated disk, with every wait made visible.

use std::{collections::VecDeque, sync::Arc};

use columba_broker::{
    durable::{self, ColdError, ColdRead, Fold, Record, State, Visit},
    id::{ChangeSeq, MessageId, SessionNo},
    seam::{Loaded, LoadedRetained},
};
use columba_store::{
    Batch, Cold as _, Commit, Log, LogError, LogOptions, MemCold, Position, SimDisk, Space, StoreId,
    cold::{ColdRead as _, MemFault},
    log::WhenEmpty,
};

use super::{
    air::{Air, awaiting_pubrel},
    faults::PlantedFault,
    rng::Rng,
    tally::Tally,
};

/// What outlives a crash.
#[derive(Clone)]
pub(crate) struct Medium {
    pub(crate) disk: SimDisk,
    pub(crate) cold: MemCold,
    options: LogOptions,
}

impl Medium {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut options = LogOptions::new(StoreId(*b"simulated store!"), rng.next_u64());
        // Small enough that a run sees segments end, go and come back.
        options.segment_bytes_min = rng.pick(&[8 << 10, 16 << 10]);
        options.segment_bytes_max = 32 << 10;
        options.spares = rng.index(2);
        options.when_empty = WhenEmpty::Create;
        Self { disk: SimDisk::new(rng.next_u64()), cold: MemCold::new(), options }
    }
}

/// Why a start failed.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The power failed again: try again.
    Power,
    /// What is on disk was refused.
    Refused(String),
}

/// One shard's part of the next commit.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    last: Option<ChangeSeq>,
}

/// The commit thread and the checkpoint thread of one life of the process, by hand.
pub(crate) struct Journal {
    medium: Medium,
    log: Log<SimDisk>,
    open: Vec<Part>,
    /// What was written and is not synced: its number, and how far it goes for each shard.
    written: Option<(Commit, Vec<Option<ChangeSeq>>)>,
    /// What is synced and not yet told.
    synced: Vec<Option<ChangeSeq>>,
    fold: Fold,
    folded: Position,
    folded_commit: Commit,
    /// For commits that are not in the cold store: every publication up to here is in them or before.
    marks: VecDeque<(Commit, MessageId)>,
    /// What the cold store has since it was asked last.
    stored: Option<MessageId>,
    fault: Option<PlantedFault>,
    /// The world has planned the next commit.
    pub(crate) commit_is_planned: bool,
    /// What was handed over and is not written, and what is written and not synced.
    pub(crate) waiting: Air,
    pub(crate) on_its_way: Air,
    /// QoS 2 messages that await their PUBREL in what was folded since the start, and publications that the fold has.
    received: i64,
    pub(crate) folded_to: MessageId,
    /// A sync or write failed: what is acknowledged from here on would be a lie.
    pub(crate) failed: Option<String>,
}

/// What came of writing a commit.
pub(crate) enum Wrote {
    /// It is on its way to the disk.
    Commit(Commit),
    /// The disk is full: it is as if nothing had been tried.
    NoSpace,
    /// The journal is lost.
    Failed,
}

/// The cold store as durable state reads it.
struct Reading<'a>(&'a MemCold);

impl ColdRead for Reading<'_> {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.0.get(Space(space), key).map_err(|error| ColdError::Store(Box::new(error)))
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.0.visit(Space(space), from, to, visit).map_err(|error| ColdError::Store(Box::new(error)))
    }
}

impl Journal {
    /// Opens what is on the disk, as a starting server does.
    pub(crate) fn start(medium: Medium, shards: usize, fault: Option<PlantedFault>) -> Result<(Self, State), StartError> {
        let from = medium.cold.position();
        let (log, recovered) =
            Log::open(medium.disk.clone(), medium.options.clone(), from).map_err(|error| unreadable(&error))?;
        let state = replay(&log, recovered.from, &medium.cold)?;
        let fold = Fold::new(&Reading(&medium.cold)).map_err(|error| refused(&error))?;
        let journal = Self {
            log,
            open: (0..shards).map(|_| Part::default()).collect(),
            written: None,
            synced: vec![None; shards],
            fold,
            folded: recovered.from,
            folded_commit: Commit::NONE,
            marks: VecDeque::new(),
            stored: None,
            medium,
            fault,
            commit_is_planned: false,
            waiting: Air::default(),
            on_its_way: Air::default(),
            received: 0,
            folded_to: MessageId(0),
            failed: None,
        };
        Ok((journal, state))
    }

    /// A shard's records of one turn; the answer is whether the commit thread has to be woken.
    pub(crate) fn append(&mut self, shard: usize, seq: ChangeSeq, bytes: &[u8], tally: &mut Tally) {
        self.waiting.take_in(bytes, tally);
        self.open[shard].bytes.extend_from_slice(bytes);
        self.open[shard].last = Some(seq);
    }

    /// Whether there is something to commit, and no commit is under way.
    pub(crate) fn can_commit(&self) -> bool {
        self.failed.is_none() && self.written.is_none() && self.open.iter().any(|part| part.last.is_some())
    }

    /// Cuts all shards at this point and writes one frame. They have recorded and handed on every publication up to `mark`.
    pub(crate) fn write(&mut self, mark: MessageId) -> Wrote {
        let mut parts: Vec<(u16, &[u8])> = (0_u16..)
            .zip(&self.open)
            .filter(|(_, part)| part.last.is_some())
            .map(|(shard, part)| (shard, part.bytes.as_slice()))
            .collect();
        if self.fault == Some(PlantedFault::LaneLost) && parts.len() > 1 {
            parts.pop();
        }
        let commit = match self.log.write(&parts) {
            Ok(commit) => commit,
            Err(LogError::NoSpace { .. }) => return Wrote::NoSpace,
            Err(error) => {
                self.failed = Some(error.to_string());
                return Wrote::Failed;
            }
        };
        self.on_its_way = core::mem::take(&mut self.waiting);
        let lasts = self.open.iter_mut().map(|part| {
            part.bytes.clear();
            part.last.take()
        });
        let lasts: Vec<_> = lasts.collect();
        self.written = Some((commit, lasts));
        self.marks.push_back((commit, mark));
        Wrote::Commit(commit)
    }

    /// Syncs what was written; it may be told from now on.
    pub(crate) fn sync(&mut self) -> Option<Commit> {
        let (commit, lasts) = self.written.take()?;
        if let Err(error) = self.log.sync() {
            self.failed = Some(error.to_string());
            return None;
        }
        self.on_its_way = Air::default();
        for (synced, last) in self.synced.iter_mut().zip(lasts) {
            *synced = last.or(*synced);
        }
        Some(commit)
    }

    /// Writes and syncs all there is, as a stopping server does.
    pub(crate) fn finish(&mut self) {
        let _under_way = self.sync();
        if self.can_commit() && matches!(self.write(MessageId(0)), Wrote::Commit(_)) {
            let _last = self.sync();
        }
        if self.failed.is_none()
            && let Err(error) = self.log.seal()
        {
            self.failed = Some(error.to_string());
        }
    }

    /// How far the cold store has come, where nobody was told yet.
    pub(crate) fn take_stored(&mut self) -> Option<MessageId> {
        self.stored.take()
    }

    /// How far a shard's records are on disk, where it does not know yet.
    pub(crate) fn take_synced(&mut self, shard: usize) -> Option<ChangeSeq> {
        self.synced[shard].take()
    }

    /// Whether a shard has something to be told.
    pub(crate) fn has_news(&self, shard: usize) -> bool {
        self.synced[shard].is_some()
    }

    /// Takes up to `most` commits into the fold; then the checkpoint may be written, or wait.
    pub(crate) fn fold(&mut self, most: usize) -> Result<Commit, String> {
        self.follow(most).map_err(|error| format!("{error:?}"))?;
        Ok(self.folded_commit)
    }

    /// Whether a QoS 2 message stands in the fold without its PUBREL.
    pub(crate) fn awaits_pubrel(&self) -> bool {
        self.received > 0
    }

    /// A checkpoint has failed: what it would have written is folded again.
    pub(crate) fn begin_anew(&mut self) -> Result<(), String> {
        self.fold = Fold::new(&Reading(&self.medium.cold)).map_err(|error| error.to_string())?;
        self.folded = self.medium.cold.position().unwrap_or(Position::START);
        self.received = 0;
        Ok(())
    }

    /// Writes the checkpoint, and perhaps recycles.
    pub(crate) fn checkpoint(&mut self, rng: &mut Rng) -> Result<Commit, String> {
        let mut batch = Batch::new();
        let mut changes = self.fold.take_changes();
        if self.fault == Some(PlantedFault::CheckpointTorn) && changes.len() > 1 {
            changes.remove(rng.index(changes.len()));
        }
        for change in changes {
            match change.value {
                Some(value) => batch.put(Space(change.space), change.key, value),
                None => batch.remove(Space(change.space), change.key),
            }
        }
        self.medium.cold.write(batch, self.folded).map_err(|error| error.to_string())?;
        while let Some(&(commit, mark)) = self.marks.front()
            && commit <= self.folded_commit
        {
            self.stored = Some(mark);
            self.marks.pop_front();
        }
        if rng.chance(1, 2) {
            self.log.recycle(self.folded).map_err(|error| error.to_string())?;
        }
        Ok(self.folded_commit)
    }

    fn follow(&mut self, most: usize) -> Result<(), StartError> {
        let mut reader = self.log.reader(self.folded);
        let cold = Reading(&self.medium.cold);
        for _ in 0..most {
            let Some(frame) = reader.next_frame().map_err(|error| unreadable(&error))? else { break };
            for (_, part) in frame.parts() {
                let mut rest = part;
                while !rest.is_empty() {
                    let record = Record::decode(&mut rest).map_err(|error| refused(&error))?;
                    self.fold.record(&record, &cold).map_err(|error| refused(&error))?;
                    self.received += awaiting_pubrel(&record);
                    if let Record::Published { id, .. } | Record::Released { id, .. } = record {
                        self.folded_to = self.folded_to.max(id);
                    }
                }
            }
            self.fold.end_of_commit();
            self.folded = frame.next;
            self.folded_commit = frame.commit;
        }
        Ok(())
    }

    /// Reads retained messages.
    pub(crate) fn load_retained(&self, session: SessionNo, topics: Vec<Arc<str>>) -> Option<LoadedRetained> {
        let cold = Reading(&self.medium.cold);
        let read = |topic: Arc<str>| Some((Arc::clone(&topic), durable::load_retained(&cold, &topic).ok()?));
        Some(LoadedRetained { session, messages: topics.into_iter().map(read).collect::<Option<_>>()? })
    }

    /// Reads a window of a queue.
    pub(crate) fn load(&self, session: SessionNo, after: MessageId, count: u16) -> Option<Loaded> {
        durable::load_window(&Reading(&self.medium.cold), session, after, usize::from(count)).ok()
    }

    /// All durable state, as a restart would find it now.
    pub(crate) fn state(&self) -> Option<State> {
        let cold = &self.medium.cold;
        let from = cold.position().unwrap_or(Position::START);
        let mut state = replay(&self.log, from, cold).ok()?;
        state.load_queues(&Reading(cold)).ok()?;
        Some(state)
    }
}

/// The fold of the cold store and the journal behind it.
fn replay(log: &Log<SimDisk>, from: Position, cold: &MemCold) -> Result<State, StartError> {
    // So few bytes of retained messages that most have to be read later.
    let mut state = durable::recover_within(&Reading(cold), 100).map_err(|error| refused(&error))?;
    let mut reader = log.reader(from);
    while let Some(frame) = reader.next_frame().map_err(|error| unreadable(&error))? {
        for (_, part) in frame.parts() {
            let mut rest = part;
            while !rest.is_empty() {
                let record = Record::decode(&mut rest).map_err(|error| refused(&error))?;
                state.apply(&record).map_err(|error| refused(&error))?;
            }
        }
        state.end_of_commit();
    }
    state.finish(&Reading(cold)).map_err(|error| refused(&error))?;
    Ok(state)
}

/// The disk itself does nothing wrong but to lose its power.
fn unreadable(error: &LogError) -> StartError {
    if matches!(error, LogError::Io { .. } | LogError::NoSpace { .. }) { StartError::Power } else { refused(error) }
}

fn refused(error: &dyn core::error::Error) -> StartError {
    StartError::Refused(error.to_string())
}

/// A crash between two steps of a checkpoint.
pub(crate) fn interrupt_checkpoint(medium: &Medium, rng: &mut Rng) {
    medium.cold.fail_next(rng.pick(&[MemFault::BeforeWrite, MemFault::AfterWrite]));
}
