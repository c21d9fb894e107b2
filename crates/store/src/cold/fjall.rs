//! The cold store on fjall, a log-structured merge tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Change, Cold, ColdError, ColdRead, KEY_LEN_MAX, Space, Visit};
use crate::file::sync_dir;
use crate::log::Position;

/// What is gathered in memory before a table is written.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Recently read blocks.
const CACHE_BYTES: u64 = 16 << 20;
/// Threads that flush and compact.
const WORKERS: usize = 2;
/// The smallest that fjall accepts for its own journals.
const JOURNALING_BYTES: u64 = 64 << 20;
/// The one keyspace. Each costs some twenty syncs to make and a memtable to keep; a prefix byte costs nothing.
const KEYSPACE: &str = "columba";
/// Keys begin with this byte, or with [`DATA`] and a space.
const META: u8 = 0;
const DATA: u8 = 1;
const POSITION: &[u8] = &[META, b'p'];
const PREFIX_LEN: usize = 2;
/// What fjall takes.
const _: () = assert!(PREFIX_LEN + KEY_LEN_MAX == u16::MAX as usize);

/// A [`Cold`] store in a directory.
pub struct FjallCold {
    database: Database,
    data: Arc<Data>,
    position: Option<Position>,
}

struct Data {
    path: PathBuf,
    keyspace: Keyspace,
}

impl FjallCold {
    /// Opens the store in `path`, whose parent must exist. A new one is made under another name and then renamed: a
    /// half-made one is never met again.
    pub fn open(path: &Path) -> Result<Self, ColdError> {
        if !exists(path)? {
            Self::create(path)?;
        }
        Self::open_existing(path)
    }

    fn create(path: &Path) -> Result<(), ColdError> {
        let unfinished = path.with_extension("new");
        if exists(&unfinished)? {
            fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
        }
        drop(Self::open_existing(&unfinished)?);
        fs::rename(&unfinished, path).map_err(io("rename", &unfinished))?;
        path.parent().map_or(Ok(()), sync_dir).map_err(io("sync the parent of", path))
    }

    fn open_existing(path: &Path) -> Result<Self, ColdError> {
        let engine = engine(path);
        let database = (Database::builder(path).cache_size(CACHE_BYTES))
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNALING_BYTES)
            // Each batch says itself how durable it is.
            .manual_journal_persist(true)
            .open()
            .map_err(&engine)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = database.keyspace(KEYSPACE, options).map_err(&engine)?;
        let position = match keyspace.get(POSITION).map_err(&engine)? {
            None => None,
            Some(bytes) => {
                let bytes =
                    <[u8; 16]>::try_from(&*bytes).map_err(|_| ColdError::Position { path: path.display().to_string() })?;
                Some(Position::from_bytes(bytes))
            }
        };
        Ok(Self { database, data: Arc::new(Data { path: path.to_owned(), keyspace }), position })
    }
}

fn stored_key(space: Space, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(PREFIX_LEN + key.len());
    stored.extend_from_slice(&[DATA, space.0]);
    stored.extend_from_slice(key);
    stored
}

impl ColdRead for Data {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        let value = self.keyspace.get(stored_key(space, key)).map_err(engine(&self.path))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let end = match to {
            Some(to) => stored_key(space, to),
            // Behind the last key of the space.
            None => space.0.checked_add(1).map_or_else(|| vec![DATA + 1], |next| vec![DATA, next]),
        };
        for pair in self.keyspace.range(stored_key(space, from)..end) {
            let (key, value) = pair.into_inner().map_err(engine(&self.path))?;
            if visit(key.get(PREFIX_LEN..).unwrap_or_default(), &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl ColdRead for FjallCold {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.data.get(space, key)
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.data.visit(space, from, to, visit)
    }
}

impl Cold for FjallCold {
    fn write(&mut self, batch: Batch, position: Position) -> Result<(), ColdError> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        let keyspace = &self.data.keyspace;
        for change in last_of_each_key(batch) {
            if change.key.len() > KEY_LEN_MAX {
                return Err(ColdError::KeyTooLong { space: change.space, len: change.key.len() });
            }
            let key = stored_key(change.space, &change.key);
            match change.value {
                Some(value) => writes.insert(keyspace, key, value),
                None => writes.remove(keyspace, key),
            }
        }
        writes.insert(keyspace, POSITION, position.to_bytes());
        writes.commit().map_err(engine(&self.data.path))?;
        self.position = Some(position);
        Ok(())
    }

    fn position(&self) -> Option<Position> {
        self.position
    }

    fn reader(&self) -> Arc<dyn ColdRead> {
        Arc::clone(&self.data) as Arc<dyn ColdRead>
    }
}

/// fjall gives all changes of a batch one sequence number: two changes of one key would have no order.
fn last_of_each_key(batch: Batch) -> Vec<Change> {
    let mut changes = batch.changes;
    // Stable: changes of one key stay in their order.
    changes.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
    changes.dedup_by(|later, kept| {
        let same = later.space == kept.space && later.key == kept.key;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    changes
}

fn exists(path: &Path) -> Result<bool, ColdError> {
    path.try_exists().map_err(io("look for", path))
}

fn engine(path: &Path) -> impl Fn(fjall::Error) -> ColdError {
    move |source| ColdError::Engine { path: path.display().to_string(), source }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ColdError {
    move |source| ColdError::Io { action, path: path.display().to_string(), source }
}
