//! Space that a mass delete leaves behind, given back while the broker runs.
//!
//! fjall keeps its journal at 64 MiB once it was full, and removes tables only when later versions are installed. So a store that has become small is written
//! anew: what lives goes to a directory beside it, is compared, and takes its place. A store that is still large is compacted where it stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::engine::{Engine, Upkeep};
use super::{FjallCold, Slot, exists, io, open};
use crate::cold::ColdError;
use crate::dir::{disk_usage, free_bytes};
use crate::file::sync_dir;

/// How long is waited for readers that are in the middle of something.
const READERS_MAX_MS: u64 = 200;

/// What became of a rebuild.
#[derive(Debug)]
pub enum Rebuilt {
    /// The store holds what lives and nothing else.
    Done {
        /// Bytes of all keys and values.
        live: u64,
    },
    /// More lives than may be copied; nothing has changed.
    TooLarge,
    /// The caller wanted to stop, or a reader did not end; nothing has changed.
    GivenUp,
    /// The copy could not be made, or is not what it should be; nothing has changed.
    CopyFailed(ColdError),
}

impl FjallCold {
    /// Bytes that the store takes on the disk, as blocks.
    pub fn disk_bytes(&self) -> Result<u64, ColdError> {
        disk_usage(&self.shared.path).map_err(io("measure", &self.shared.path))
    }

    /// Bytes that its file system has free.
    pub fn free_bytes(&self) -> Result<u64, ColdError> {
        // The directory itself is made by the first write.
        let parent = self.shared.path.parent().unwrap_or(&self.shared.path);
        free_bytes(parent).map_err(io("see how much is free in", parent))
    }

    /// About how many keys there are, removed ones that still take space included.
    pub fn keys_about(&self) -> u64 {
        match self.shared.slot() {
            Slot::Open(engine) => engine.keys_about(),
            Slot::Absent | Slot::Closed => 0,
        }
    }

    /// Writes the store anew if at most `live_max` bytes live in it; `goes_on` is asked now and then, and may take its time to spare the disk.
    ///
    /// A crash at any moment leaves the old store or the new one. After an error the store is closed, or as it was: [`reopen`](Self::reopen) it.
    pub fn rebuild(&mut self, live_max: u64, goes_on: &mut dyn FnMut() -> bool) -> Result<Rebuilt, ColdError> {
        let Slot::Open(engine) = self.shared.slot() else {
            return Ok(Rebuilt::Done { live: 0 });
        };
        let path = self.shared.path.clone();
        let unfinished = path.with_extension("new");
        remove(&unfinished)?;
        let outcome = match copy(&engine, &path, &unfinished, live_max, goes_on) {
            Ok(Rebuilt::Done { live }) if self.swap(engine, &unfinished)? => return Ok(Rebuilt::Done { live }),
            Ok(Rebuilt::Done { .. }) => Rebuilt::GivenUp,
            Ok(outcome) => outcome,
            Err(error) => Rebuilt::CopyFailed(error),
        };
        remove(&unfinished)?;
        Ok(outcome)
    }

    /// Puts the new store in the place of the old one, if no reader holds on to that.
    fn swap(&mut self, engine: Arc<Engine>, unfinished: &Path) -> Result<bool, ColdError> {
        let path = self.shared.path.clone();
        let mut slot = self.shared.slot.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Slot::Closed;
        if !is_alone(&engine) {
            *slot = Slot::Open(engine);
            return Ok(false);
        }
        drop(engine);
        let old = old_of(&path);
        fs::rename(&path, &old).map_err(io("rename", &path))?;
        sync_parent(&path)?;
        fs::rename(unfinished, &path).map_err(io("rename", unfinished))?;
        sync_parent(&path)?;
        let position;
        (*slot, position) = open(&path, Upkeep::Full)?;
        drop(slot);
        debug_assert_eq!(position, self.position, "compared before the swap");
        self.position = position;
        remove(&old)?;
        Ok(true)
    }

    /// What to call, from another thread, to have a large store compacted where it stands. It takes as long as rewriting all of it.
    pub fn compaction(&self) -> Option<impl FnOnce() -> Result<(), ColdError> + Send + 'static> {
        let Slot::Open(engine) = self.shared.slot() else { return None };
        let path = self.shared.path.clone();
        Some(move || engine.compact(&path))
    }
}

/// Waits a little for readers to end. Nobody new comes as long as the caller has the slot locked.
pub(super) fn is_alone(engine: &Arc<Engine>) -> bool {
    for _ in 0..READERS_MAX_MS {
        if Arc::strong_count(engine) == 1 {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Arc::strong_count(engine) == 1
}

fn copy(
    engine: &Arc<Engine>,
    path: &Path,
    unfinished: &Path,
    live_max: u64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Rebuilt, ColdError> {
    let fresh = Engine::open(unfinished, Upkeep::Full)?;
    let Some(position) = engine.position(path)? else {
        return Ok(Rebuilt::GivenUp);
    };
    let (outcome, sum) = engine.copy_to(&fresh, path, live_max, goes_on)?;
    if matches!(outcome, Rebuilt::Done { .. }) {
        fresh.write(unfinished, Vec::new(), position)?;
        if fresh.position(unfinished)? != Some(position) || fresh.sum(unfinished)? != sum {
            return Err(ColdError::CopyDiffers { path: path.display().to_string() });
        }
    }
    Ok(outcome)
}

fn old_of(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn sync_parent(path: &Path) -> Result<(), ColdError> {
    path.parent().map_or(Ok(()), sync_dir).map_err(io("sync the parent of", path))
}

fn remove(path: &Path) -> Result<(), ColdError> {
    if exists(path)? {
        fs::remove_dir_all(path).map_err(io("remove", path))?;
    }
    Ok(())
}

/// Settles what a crash in the middle of a swap has left, and removes what is not needed.
pub(super) fn settle(path: &Path) -> Result<(), ColdError> {
    let old = old_of(path);
    if !exists(path)? && exists(&old)? {
        fs::rename(&old, path).map_err(io("rename", &old))?;
        sync_parent(path)?;
    }
    remove(&old)?;
    remove(&path.with_extension("new"))
}
