//! The cold store on fjall, a log-structured merge tree.

mod engine;
mod journal;
mod rebuild;
mod rescue;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use self::engine::Upkeep;
use self::engine::{Engine, View};
pub use self::rebuild::Rebuilt;
pub use self::rescue::Rescued;
use super::{Batch, Change, Cold, ColdError, ColdRead, KEY_LEN_MAX, MemCold, Space, Visit};
use crate::file::sync_dir;
use crate::log::Position;

/// A [`Cold`] store in a directory, which is made by the first write: a broker that has nothing to keep starts at once.
pub struct FjallCold {
    shared: Arc<Shared>,
    position: Option<Position>,
}

/// What readers hold.
struct Shared {
    path: PathBuf,
    slot: RwLock<Slot>,
}

#[derive(Clone)]
enum Slot {
    /// Nothing was ever written: there is no directory.
    Absent,
    Open(Arc<Engine>),
    /// It failed and could not be opened again.
    Closed,
}

impl FjallCold {
    /// Opens the store in `path`, whose parent must exist. Where there is none yet, the first write makes it.
    pub fn open(path: &Path) -> Result<Self, ColdError> {
        rebuild::settle(path)?;
        let (slot, position) = open(path, Upkeep::Full)?;
        Ok(Self { shared: Arc::new(Shared { path: path.to_owned(), slot: RwLock::new(slot) }), position })
    }

    /// Closes the engine and opens it again: after a failed write it takes no other; on a full disk without upkeep, which would fail again. Readers go on with the new one.
    ///
    /// While a snapshot is alive this fails, and until it is tried again with success everything does.
    pub fn reopen(&mut self, upkeep: Upkeep) -> Result<(), ColdError> {
        let mut slot = self.shared.slot.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Slot::Closed;
        let position;
        (*slot, position) = open(&self.shared.path, upkeep)?;
        self.position = position;
        Ok(())
    }

    /// Closes a healthy engine and opens it again with another upkeep. Returns whether it did: while a reader holds on to it, nothing changes.
    ///
    /// After an error the store is closed: [`reopen`](Self::reopen) it.
    pub fn set_upkeep(&mut self, upkeep: Upkeep) -> Result<bool, ColdError> {
        let mut slot = self.shared.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Open(engine) = std::mem::replace(&mut *slot, Slot::Closed)
            && !rebuild::is_alone(&engine)
        {
            *slot = Slot::Open(engine);
            return Ok(false);
        }
        (*slot, self.position) = open(&self.shared.path, upkeep)?;
        Ok(true)
    }

    /// Whether it writes and compacts tables by itself.
    pub fn upkeep(&self) -> Upkeep {
        match self.shared.slot() {
            Slot::Open(engine) => engine.upkeep(),
            Slot::Absent | Slot::Closed => Upkeep::Full,
        }
    }
}

/// What is in `path`, and how far it has taken the journal in.
fn open(path: &Path, upkeep: Upkeep) -> Result<(Slot, Option<Position>), ColdError> {
    if !exists(path)? {
        return Ok((Slot::Absent, None));
    }
    // Before the engine, which cuts off what it cannot read.
    journal::check(path)?;
    versions::check(path)?;
    let engine = Engine::open(path, upkeep)?;
    let position = engine.position(path)?;
    Ok((Slot::Open(Arc::new(engine)), position))
}

/// Makes an empty store, under another name and then renamed: a half-made one is never met again.
fn create(path: &Path) -> Result<Arc<Engine>, ColdError> {
    let unfinished = path.with_extension("new");
    if exists(&unfinished)? {
        fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
    }
    drop(Engine::open(&unfinished, Upkeep::Full)?);
    fs::rename(&unfinished, path).map_err(io("rename", &unfinished))?;
    path.parent().map_or(Ok(()), sync_dir).map_err(io("sync the parent of", path))?;
    Engine::open(path, Upkeep::Full).map(Arc::new)
}

impl Shared {
    fn slot(&self) -> Slot {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The engine, made if there is none.
    fn engine(&self) -> Result<Arc<Engine>, ColdError> {
        match self.slot() {
            Slot::Open(engine) => Ok(engine),
            Slot::Closed => Err(self.closed()),
            Slot::Absent => {
                let engine = create(&self.path)?;
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Slot::Open(Arc::clone(&engine));
                Ok(engine)
            }
        }
    }

    /// What is there to read, `None` if nothing was ever written.
    fn view(&self) -> Result<Option<View>, ColdError> {
        match self.slot() {
            Slot::Open(engine) => Ok(Some(View::new(engine, &self.path))),
            Slot::Closed => Err(self.closed()),
            Slot::Absent => Ok(None),
        }
    }

    fn closed(&self) -> ColdError {
        ColdError::Closed { path: self.path.display().to_string() }
    }
}

impl ColdRead for Shared {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.view()?.map_or(Ok(None), |view| view.get(space, key))
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.view()?.map_or(Ok(()), |view| view.visit(space, from, to, visit))
    }

    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
        Ok(self.view()?.map_or_else(|| Box::new(MemCold::new()) as Box<dyn ColdRead>, |view| Box::new(view)))
    }
}

impl ColdRead for FjallCold {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.shared.get(space, key)
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.shared.visit(space, from, to, visit)
    }

    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
        self.shared.snapshot()
    }
}

impl Cold for FjallCold {
    fn write(&mut self, batch: Batch, position: Position) -> Result<(), ColdError> {
        let changes = last_of_each_key(batch)?;
        self.shared.engine()?.write(&self.shared.path, changes, position)?;
        self.position = Some(position);
        Ok(())
    }

    fn position(&self) -> Option<Position> {
        self.position
    }

    fn reader(&self) -> Arc<dyn ColdRead> {
        Arc::clone(&self.shared) as Arc<dyn ColdRead>
    }
}

/// fjall gives all changes of a batch one sequence number: two changes of one key would have no order.
fn last_of_each_key(batch: Batch) -> Result<Vec<Change>, ColdError> {
    let mut changes = batch.changes;
    if let Some(change) = changes.iter().find(|change| change.key.len() > KEY_LEN_MAX) {
        return Err(ColdError::KeyTooLong { space: change.space, len: change.key.len() });
    }
    // Stable: changes of one key stay in their order.
    changes.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
    changes.dedup_by(|later, kept| {
        let same = later.space == kept.space && later.key == kept.key;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    Ok(changes)
}

fn exists(path: &Path) -> Result<bool, ColdError> {
    path.try_exists().map_err(io("look for", path))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ColdError {
    move |source| ColdError::Io { action, path: path.display().to_string(), source }
}
