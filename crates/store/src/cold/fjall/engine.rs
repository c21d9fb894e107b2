//! How spaces and keys stand in a fjall database.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::PartitioningPolicy;
use fjall::{AbstractTree as _, Database, Iter, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot};

use super::Rebuilt;
use crate::cold::{Change, ColdError, ColdRead, KEY_LEN_MAX, Space, Visit};
use crate::log::Position;

/// What is gathered in memory before a table is written; and while keys are removed, because tables of removals would otherwise be so short, and each brings
/// a compaction with it.
const MEMTABLE_BYTES: u64 = 4 << 20;
const MEMTABLE_REMOVALS_BYTES: u64 = 16 << 20;
/// Full ones that may wait for the disk before the next write.
const SEALED_MAX: usize = 1;
const SEALED_WAIT: Duration = Duration::from_millis(2);
const SEALED_WAIT_MAX: Duration = Duration::from_secs(2);
/// The length of a table behind the first level: what a compaction rewrites is a multiple of it.
const TABLE_BYTES: u64 = 16 << 20;
/// Recently read blocks.
const CACHE_BYTES: u64 = 8 << 20;
/// Threads that flush and compact. Of two or more, one passes each compaction on to the others, again and again until one of them is free.
const WORKERS: usize = 1;
/// What a store without upkeep gathers in memory.
const GATHERED_MAX: u64 = 64 << 20;
/// Where fjall lets a writer wait for its worker: runs of the first level, sealed memtables.
const RUNS_HALT: usize = 30;
const SEALED_HALT: usize = 4;
/// The smallest that fjall accepts for its own journals.
const JOURNALING_BYTES: u64 = 64 << 20;
/// The keyspace for all spaces. Each keyspace costs some twenty syncs to make and a memtable to keep; a prefix costs
/// nothing.
const KEYSPACE: &str = "columba";
/// Keys in it begin with this byte, or with [`DATA`] and a space.
const META: u8 = 0;
const DATA: u8 = 1;
const POSITION: &[u8] = &[META, b'p'];
const PREFIX_LEN: usize = 2;
/// How much is copied before the caller is asked whether to go on.
const COPIED_AT_ONCE: u64 = 256 << 10;
/// The longest key that fjall takes.
const STORED_KEY_MAX: usize = u16::MAX as usize;
const _: () = assert!(KEY_LEN_MAX == STORED_KEY_MAX, "a key fits without a prefix");
/// A key that is too long for the prefix stands without it in a keyspace of its space, made for the first one.
const LONG: &str = "long-";

/// An open database.
pub(super) struct Engine {
    database: Database,
    keyspace: Keyspace,
    long: Mutex<BTreeMap<Space, Keyspace>>,
    upkeep: Upkeep,
    /// While a batch is applied, the state before it. fjall shows a batch that is half applied when a flush or a compaction ends in the meantime: that takes a
    /// later sequence number, and makes everything up to it visible.
    before: Mutex<Option<Snapshot>>,
}

/// Whether the store writes and compacts tables by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Upkeep {
    /// As always.
    Full,
    /// It only takes what is written into its journal and its memory. An upkeep that finds no room ends the engine's worker, and the engine with it.
    None,
}

fn options() -> KeyspaceCreateOptions {
    let leveled = Leveled::default().with_table_target_size(TABLE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_REMOVALS_BYTES)
        .compaction_strategy(Arc::new(leveled))
        // An index or filter in one piece is too large for the cache: each lookup would read all of it from the file.
        .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .expect_point_read_hits(true)
}

impl Engine {
    pub(super) fn open(path: &Path, upkeep: Upkeep) -> Result<Self, ColdError> {
        guarded(path, || Self::open_files(path, upkeep))
    }

    fn open_files(path: &Path, upkeep: Upkeep) -> Result<Self, ColdError> {
        let database = (Database::builder(path).cache_size(CACHE_BYTES))
            // The checked one takes no 0.
            .worker_threads_unchecked(if upkeep == Upkeep::Full { WORKERS } else { 0 })
            .max_journaling_size(JOURNALING_BYTES)
            // Each batch says itself how durable it is.
            .manual_journal_persist(true)
            .open()
            .map_err(refused(path))?;
        let keyspace = database.keyspace(KEYSPACE, options).map_err(refused(path))?;
        let mut long = BTreeMap::new();
        for name in database.list_keyspace_names() {
            let number = name.strip_prefix(LONG).and_then(|number| number.parse().ok());
            if let Some(space) = number.map(Space) {
                long.insert(space, database.keyspace(&name, options).map_err(refused(path))?);
            }
        }
        Ok(Self { database, keyspace, long: Mutex::new(long), upkeep, before: Mutex::default() })
    }

    pub(super) fn position(&self, path: &Path) -> Result<Option<Position>, ColdError> {
        let Some(bytes) = self.keyspace.get(POSITION).map_err(refused(path))? else {
            return Ok(None);
        };
        let bytes = <[u8; 16]>::try_from(&*bytes);
        let bytes = bytes.map_err(|_| ColdError::Position { path: path.display().to_string() })?;
        Ok(Some(Position::from_bytes(bytes)))
    }

    /// One atomic batch, durable on return.
    pub(super) fn write(&self, path: &Path, changes: Vec<Change>, position: Position) -> Result<(), ColdError> {
        if self.upkeep == Upkeep::None && self.is_full() {
            return Err(ColdError::NoUpkeep { path: path.display().to_string() });
        }
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        let removals = changes.iter().filter(|change| change.value.is_none()).count();
        let full = if removals * 2 > changes.len() { MEMTABLE_REMOVALS_BYTES } else { MEMTABLE_BYTES };
        for Change { space, key, value } in changes {
            let (keyspace, key) = match stored_key(space, &key) {
                Some(stored) => (self.keyspace.clone(), stored),
                None => (self.make_long(path, space)?, key),
            };
            match value {
                Some(value) => writes.insert(&keyspace, key, value),
                None => writes.remove(&keyspace, key),
            }
        }
        writes.insert(&self.keyspace, POSITION, position.to_bytes());
        // Readers that come during the commit do not wait for it.
        *self.before() = Some(self.database.snapshot());
        let committed = writes.commit();
        *self.before() = None;
        committed.map_err(refused(path))?;
        if self.upkeep == Upkeep::None { Ok(()) } else { self.seal_memtables(path, full) }
    }

    pub(super) fn upkeep(&self) -> Upkeep {
        self.upkeep
    }

    /// Whether a write would wait for a worker, or take more memory than it should.
    fn is_full(&self) -> bool {
        let long = self.long().clone();
        let mut trees = [&self.keyspace].into_iter().chain(long.values()).map(|keyspace| &keyspace.tree);
        trees.any(|tree| {
            tree.active_memtable().size() >= GATHERED_MAX
                || tree.l0_run_count() >= RUNS_HALT
                || tree.sealed_memtable_count() >= SEALED_HALT
        })
    }

    fn before(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All whole batches.
    fn snapshot(&self) -> Snapshot {
        // Under the lock, so that no commit begins before it is taken.
        let before = self.before();
        before.as_ref().map_or_else(|| self.database.snapshot(), Clone::clone)
    }

    /// Seals those that hold at least `full` bytes. The engine's thread would not do it before it has ended a compaction, and until then they would grow. Waits
    /// a little for sealed ones to become tables: of those the engine would keep four.
    fn seal_memtables(&self, path: &Path, full: u64) -> Result<(), ColdError> {
        let long = self.long().clone();
        for keyspace in [&self.keyspace].into_iter().chain(long.values()) {
            if keyspace.tree.active_memtable().size() < full {
                continue;
            }
            keyspace.rotate_memtable().map_err(refused(path))?;
            let begun = Instant::now();
            // Not for ever: if it cannot write, the next write says so.
            while keyspace.tree.sealed_memtable_count() > SEALED_MAX && begun.elapsed() < SEALED_WAIT_MAX {
                thread::sleep(SEALED_WAIT);
            }
        }
        Ok(())
    }

    pub(super) fn keys_about(&self) -> u64 {
        let long: usize = self.long().values().map(Keyspace::approximate_len).sum();
        (self.keyspace.approximate_len() + long) as u64
    }

    /// Copies all data, but not the position, into an empty store, in the order of the keys; with a sum of it to compare.
    pub(super) fn copy_to(
        &self,
        to: &Self,
        path: &Path,
        live_max: u64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Rebuilt, u32), ColdError> {
        let (mut live, mut asked_at, mut sum) = (0, 0, 0);
        let long = self.long().clone();
        let pairs = [(None, &self.keyspace)].into_iter().chain(long.iter().map(|(space, long)| (Some(*space), long)));
        let snapshot = self.database.snapshot();
        for (space, from) in pairs {
            let target = space.map_or(Ok(to.keyspace.clone()), |space| to.make_long(path, space))?;
            let mut ingestion = target.start_ingestion().map_err(refused(path))?;
            for pair in snapshot.iter(from) {
                let (key, value) = pair.into_inner().map_err(refused(path))?;
                if space.is_none() && *key == *POSITION {
                    continue;
                }
                live += (key.len() + value.len()) as u64;
                if live > live_max {
                    return Ok((Rebuilt::TooLarge, sum));
                }
                if live - asked_at >= COPIED_AT_ONCE {
                    asked_at = live;
                    if !goes_on() {
                        return Ok((Rebuilt::GivenUp, sum));
                    }
                }
                sum = add(sum, &key, &value);
                ingestion.write(key, value).map_err(refused(path))?;
            }
            ingestion.finish().map_err(refused(path))?;
        }
        Ok((Rebuilt::Done { live }, sum))
    }

    /// The same sum as [`copy_to`](Self::copy_to) gives.
    pub(super) fn sum(&self, path: &Path) -> Result<u32, ColdError> {
        let mut sum = 0;
        let long = self.long().clone();
        let snapshot = self.database.snapshot();
        for keyspace in [&self.keyspace].into_iter().chain(long.values()) {
            for pair in snapshot.iter(keyspace) {
                let (key, value) = pair.into_inner().map_err(refused(path))?;
                if *key != *POSITION {
                    sum = add(sum, &key, &value);
                }
            }
        }
        Ok(sum)
    }

    /// Compacts everything, then flushes once more: tables that went are removed when the next version is installed.
    pub(super) fn compact(&self, path: &Path) -> Result<(), ColdError> {
        let long = self.long().clone();
        for keyspace in [&self.keyspace].into_iter().chain(long.values()) {
            keyspace.rotate_memtable_and_wait().map_err(refused(path))?;
            keyspace.major_compact().map_err(refused(path))?;
            keyspace.rotate_memtable_and_wait().map_err(refused(path))?;
        }
        Ok(())
    }

    fn long(&self) -> MutexGuard<'_, BTreeMap<Space, Keyspace>> {
        self.long.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_long(&self, path: &Path, space: Space) -> Result<Keyspace, ColdError> {
        let mut long = self.long();
        if let Some(keyspace) = long.get(&space) {
            return Ok(keyspace.clone());
        }
        let name = format!("{LONG}{}", space.0);
        let keyspace = self.database.keyspace(&name, options).map_err(refused(path))?;
        long.insert(space, keyspace.clone());
        Ok(keyspace)
    }
}

/// A checksum over keys and values in their order.
fn add(sum: u32, key: &[u8], value: &[u8]) -> u32 {
    let lengths = ((key.len() as u64) << 32 | value.len() as u64).to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c_append(sum, &lengths), key), value)
}

/// What a key in the engine's journal is.
pub(super) enum Meaning<'a> {
    /// Up to where the journal has been taken in.
    Position,
    /// A key of ours.
    Data(Space, &'a [u8]),
}

/// `None`: a key of the engine's own, or one that stands in a keyspace for long keys.
pub(super) fn meaning_of(key: &[u8]) -> Option<Meaning<'_>> {
    match key {
        POSITION => Some(Meaning::Position),
        [DATA, space, key @ ..] => Some(Meaning::Data(Space(*space), key)),
        _ => None,
    }
}

/// A key with its prefix, `None` if there is no room for one.
fn stored_key(space: Space, key: &[u8]) -> Option<Vec<u8>> {
    let len = PREFIX_LEN + key.len();
    (len <= STORED_KEY_MAX).then(|| {
        let mut stored = Vec::with_capacity(len);
        stored.extend_from_slice(&[DATA, space.0]);
        stored.extend_from_slice(key);
        stored
    })
}

/// The same, cut off where there is no room: as a bound between keys that do have room it is not different.
fn stored_bound(space: Space, key: &[u8]) -> (Vec<u8>, bool) {
    let cut = &key[..key.len().min(STORED_KEY_MAX - PREFIX_LEN)];
    let mut stored = vec![DATA, space.0];
    stored.extend_from_slice(cut);
    (stored, cut.len() < key.len())
}

/// All whole checkpoints up to one point in time. Keyspaces read without a snapshot show half of the batch that is just
/// being applied.
pub(super) struct View {
    snapshot: Snapshot,
    engine: Arc<Engine>,
    path: PathBuf,
}

impl View {
    pub(super) fn new(engine: Arc<Engine>, path: &Path) -> Self {
        Self { snapshot: engine.snapshot(), engine, path: path.to_owned() }
    }

    fn long(&self, space: Space) -> Option<Keyspace> {
        self.engine.long().get(&space).cloned()
    }
}

impl ColdRead for View {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        guarded(&self.path, || {
            let value = match (stored_key(space, key), self.long(space)) {
                (Some(stored), _) => self.snapshot.get(&self.engine.keyspace, stored),
                (None, Some(long)) => self.snapshot.get(&long, key),
                (None, None) => return Ok(None),
            };
            Ok(value.map_err(refused(&self.path))?.map(|value| value.to_vec()))
        })
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let cursor = |pairs| Cursor { pairs, path: &self.path };
        let short = self.short_range(space, from, to).map(cursor);
        let long = self.long(space).map(|long| match to {
            Some(to) => self.snapshot.range(&long, from..to),
            None => self.snapshot.range(&long, from..),
        });
        merge(short, long.map(cursor), visit)
    }

    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
        let (snapshot, engine) = (self.snapshot.clone(), Arc::clone(&self.engine));
        Ok(Box::new(Self { snapshot, engine, path: self.path.clone() }))
    }
}

impl View {
    /// The keys with a prefix, `None` if there is no place for one between the bounds.
    fn short_range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Option<Iter> {
        // A bound that was cut off is itself in front of the key it stands for.
        let from = match stored_bound(space, from) {
            (stored, true) => Bound::Excluded(stored),
            (stored, false) => Bound::Included(stored),
        };
        let to = match to.map(|to| stored_bound(space, to)) {
            Some((stored, true)) => Bound::Included(stored),
            Some((stored, false)) => Bound::Excluded(stored),
            // Behind the last key of the space.
            None => Bound::Excluded(space.0.checked_add(1).map_or_else(|| vec![DATA + 1], |next| vec![DATA, next])),
        };
        match (&from, &to) {
            (Bound::Excluded(from), Bound::Included(to)) if from == to => None,
            _ => Some(self.snapshot.range(&self.engine.keyspace, (from, to))),
        }
    }
}

struct Cursor<'a> {
    pairs: Iter,
    path: &'a Path,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<Option<fjall::KvPair>, ColdError> {
        let path = self.path;
        guarded(path, || self.pairs.next().map(|pair| pair.into_inner().map_err(refused(path))).transpose())
    }
}

/// Visits both in the order of their keys.
fn merge<'a>(mut short: Option<Cursor<'a>>, mut long: Option<Cursor<'a>>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
    let step = |cursor: &mut Option<Cursor<'a>>| cursor.as_mut().map_or(Ok(None), Cursor::next);
    let (mut next_short, mut next_long) = (step(&mut short)?, step(&mut long)?);
    loop {
        let short_key = next_short.as_ref().map(|(key, _)| &key[PREFIX_LEN..]);
        let long_key = next_long.as_ref().map(|(key, _)| &key[..]);
        let short_is_first = match (short_key, long_key) {
            (None, None) => return Ok(()),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(short), Some(long)) => short < long,
        };
        let (cursor, next) = if short_is_first { (&mut short, &mut next_short) } else { (&mut long, &mut next_long) };
        let prefix_len = if short_is_first { PREFIX_LEN } else { 0 };
        if let Some((key, value)) = next
            && visit(&key[prefix_len..], value).is_break()
        {
            return Ok(());
        }
        *next = step(cursor)?;
    }
}

/// fjall gives up some damaged files with a panic. What is on a disk must not end a thread.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ColdError>) -> Result<T, ColdError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ColdError::Damaged { path: path.display().to_string() }))
}

fn refused(path: &Path) -> impl Fn(fjall::Error) -> ColdError {
    move |source| ColdError::Engine { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_no_full_memtable_behind() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), Upkeep::Full).unwrap();
        for key in 0..8_u8 {
            let change = Change { space: Space(1), key: vec![key], value: Some(vec![7; 5 << 20]) };
            engine.write(dir.path(), vec![change], Position::START).unwrap();
            assert_eq!(engine.keyspace.tree.active_memtable().size(), 0);
        }
    }
}
