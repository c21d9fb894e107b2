//! The cold store on fjall, a log-structured merge tree.

mod engine;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use self::engine::{Engine, View};
use super::{Batch, Change, Cold, ColdError, ColdRead, KEY_LEN_MAX, Space, Visit};
use crate::file::sync_dir;
use crate::log::Position;

/// A [`Cold`] store in a directory.
pub struct FjallCold {
    shared: Arc<Shared>,
    position: Option<Position>,
}

/// What readers hold.
struct Shared {
    path: PathBuf,
    /// `None` after it could not be opened again.
    engine: RwLock<Option<Arc<Engine>>>,
}

impl FjallCold {
    /// Opens the store in `path`, whose parent must exist. A new one is made under another name and then renamed: a
    /// half-made one is never met again.
    pub fn open(path: &Path) -> Result<Self, ColdError> {
        if !exists(path)? {
            create(path)?;
        }
        let engine = Engine::open(path)?;
        let position = engine.position(path)?;
        let engine = RwLock::new(Some(Arc::new(engine)));
        Ok(Self { shared: Arc::new(Shared { path: path.to_owned(), engine }), position })
    }

    /// Closes the engine and opens it again: after a failed write it takes no other. Readers go on with the new one.
    ///
    /// While a snapshot is alive this fails, and until it is tried again with success everything does.
    pub fn reopen(&mut self) -> Result<(), ColdError> {
        let mut slot = self.shared.engine.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        let engine = Engine::open(&self.shared.path)?;
        self.position = engine.position(&self.shared.path)?;
        *slot = Some(Arc::new(engine));
        Ok(())
    }
}

fn create(path: &Path) -> Result<(), ColdError> {
    let unfinished = path.with_extension("new");
    if exists(&unfinished)? {
        fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
    }
    drop(Engine::open(&unfinished)?);
    fs::rename(&unfinished, path).map_err(io("rename", &unfinished))?;
    path.parent().map_or(Ok(()), sync_dir).map_err(io("sync the parent of", path))
}

impl Shared {
    fn engine(&self) -> Result<Arc<Engine>, ColdError> {
        let slot = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or_else(|| ColdError::Closed { path: self.path.display().to_string() })
    }

    fn view(&self) -> Result<View, ColdError> {
        Ok(View::new(self.engine()?, &self.path))
    }
}

impl ColdRead for Shared {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.view()?.get(space, key)
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.view()?.visit(space, from, to, visit)
    }

    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
        Ok(Box::new(self.view()?))
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
