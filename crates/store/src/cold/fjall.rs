//! The cold store on fjall, a log-structured merge tree.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Change, Cold, ColdError, ColdRead, Space, Visit};
use crate::file::sync_dir;
use crate::log::Position;

/// What one keyspace gathers in memory before it writes a table.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Recently read blocks.
const CACHE_BYTES: u64 = 16 << 20;
/// Threads that flush and compact.
const WORKERS: usize = 2;
/// The smallest that fjall accepts for its own journals.
const JOURNALING_BYTES: u64 = 64 << 20;
/// Where the position is kept.
const META: &str = "meta";
const POSITION: &[u8] = b"journal position";
/// The longest key that fjall takes.
const KEY_LEN_MAX: usize = u16::MAX as usize;

/// A [`Cold`] store in a directory.
pub struct FjallCold {
    database: Database,
    meta: Keyspace,
    spaces: Arc<Spaces>,
    position: Option<Position>,
}

struct Spaces {
    path: PathBuf,
    keyspaces: BTreeMap<Space, Keyspace>,
}

impl FjallCold {
    /// Opens the store in `path`, whose parent must exist. A new one is made under another name and then renamed: a
    /// half-made one is never met again.
    pub fn open(path: &Path, spaces: &[Space]) -> Result<Self, ColdError> {
        if !exists(path)? {
            Self::create(path, spaces)?;
        }
        Self::open_existing(path, spaces)
    }

    fn create(path: &Path, spaces: &[Space]) -> Result<(), ColdError> {
        let unfinished = path.with_extension("new");
        if exists(&unfinished)? {
            fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
        }
        drop(Self::open_existing(&unfinished, spaces)?);
        fs::rename(&unfinished, path).map_err(io("rename", &unfinished))?;
        path.parent()
            .map_or(Ok(()), sync_dir)
            .map_err(io("sync the parent of", path))
    }

    fn open_existing(path: &Path, spaces: &[Space]) -> Result<Self, ColdError> {
        let engine = engine(path);
        let database = (Database::builder(path).cache_size(CACHE_BYTES))
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNALING_BYTES)
            // Each batch says itself how durable it is.
            .manual_journal_persist(true)
            .open()
            .map_err(&engine)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let meta = database.keyspace(META, options).map_err(&engine)?;
        let mut keyspaces = BTreeMap::new();
        for &space in spaces {
            let keyspace = database
                .keyspace(&format!("space-{:03}", space.0), options)
                .map_err(&engine)?;
            keyspaces.insert(space, keyspace);
        }
        let position = match meta.get(POSITION).map_err(&engine)? {
            None => None,
            Some(bytes) => {
                let bytes = <[u8; 16]>::try_from(&*bytes).map_err(|_| ColdError::Position {
                    path: path.display().to_string(),
                })?;
                Some(Position::from_bytes(bytes))
            }
        };
        Ok(Self {
            database,
            meta,
            spaces: Arc::new(Spaces {
                path: path.to_owned(),
                keyspaces,
            }),
            position,
        })
    }
}

impl Spaces {
    fn keyspace(&self, space: Space) -> Result<&Keyspace, ColdError> {
        self.keyspaces
            .get(&space)
            .ok_or(ColdError::UnknownSpace(space))
    }
}

impl ColdRead for Spaces {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        let value = self.keyspace(space)?.get(key).map_err(engine(&self.path))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), ColdError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let range = (
            Bound::Included(from),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        for pair in self.keyspace(space)?.range::<&[u8], _>(range) {
            let (key, value) = pair.into_inner().map_err(engine(&self.path))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl ColdRead for FjallCold {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.spaces.get(space, key)
    }

    fn visit(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), ColdError> {
        self.spaces.visit(space, from, to, visit)
    }
}

impl Cold for FjallCold {
    fn write(&mut self, batch: Batch, position: Position) -> Result<(), ColdError> {
        let mut writes = self.database.batch().durability(Some(PersistMode::SyncAll));
        for change in last_of_each_key(batch) {
            let keyspace = self.spaces.keyspace(change.space)?;
            if change.key.is_empty() || change.key.len() > KEY_LEN_MAX {
                return Err(ColdError::KeyLength {
                    space: change.space,
                    len: change.key.len(),
                });
            }
            match change.value {
                Some(value) => writes.insert(keyspace, change.key, value),
                None => writes.remove(keyspace, change.key),
            }
        }
        writes.insert(&self.meta, POSITION, position.to_bytes());
        writes.commit().map_err(engine(&self.spaces.path))?;
        self.position = Some(position);
        Ok(())
    }

    fn position(&self) -> Option<Position> {
        self.position
    }

    fn reader(&self) -> Arc<dyn ColdRead> {
        Arc::clone(&self.spaces) as Arc<dyn ColdRead>
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
    move |source| ColdError::Engine {
        path: path.display().to_string(),
        source,
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ColdError {
    move |source| ColdError::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}
