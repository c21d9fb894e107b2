//! A new store from what can be read of a damaged one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::engine::{Engine, Meaning, Upkeep, View, meaning_of};
use super::journal::{self, Walk};
use super::{FjallCold, io, versions};
use crate::cold::{Batch, Cold as _, ColdError, Space, Unreadable, salvage};
use crate::log::Position;

/// Changes that are written at once.
const BATCH_BYTES: usize = 8 << 20;

/// What a rescue has found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rescued {
    /// The newest position of which anything was found.
    pub position: Option<Position>,
    /// Keys that cannot be read in the engine's tables.
    pub unreadable: Vec<Unreadable>,
    /// Places in the engine's journal where whole checkpoints can have been.
    pub lost_checkpoints: u64,
    /// Nothing of the tables can be read.
    pub tables_are_lost: bool,
}

impl FjallCold {
    /// Copies what can be read of the store in `damaged` into a new one in `fresh`. What is in `damaged` is changed by it: let it be a copy.
    ///
    /// The tables hold an older state, the engine's journal what came since; a checkpoint that cannot be read in the journal leaves its keys as they were before.
    pub fn rescue(damaged: &Path, fresh: &Path, spaces: &[Space]) -> Result<(Self, Rescued), ColdError> {
        let mut rescued = Rescued::default();
        let files = journal::files(damaged)?;
        let kept = damaged.with_extension("journals");
        fs::create_dir_all(&kept).map_err(io("create", &kept))?;
        let mut moved = Vec::new();
        for file in files {
            let to = kept.join(file.file_name().unwrap_or_default());
            fs::rename(&file, &to).map_err(io("rename", &file))?;
            moved.push(to);
        }
        let mut target = Self::open(fresh)?;
        match versions::check(damaged)
            .and_then(|()| Engine::open(damaged, Upkeep::Full))
            .and_then(|engine| engine.position(damaged).map(|position| (engine, position)))
        {
            Ok((engine, position)) => {
                rescued.position = position;
                rescued.unreadable = copy_tables(Arc::new(engine), damaged, &mut target, spaces, position)?;
            }
            Err(error) => {
                tracing::error!(%error, "nothing of the cold store's tables can be read");
                rescued.tables_are_lost = true;
            }
        }
        for file in moved {
            replay(&file, &mut target, &mut rescued).map_err(io("read", &file))??;
        }
        fs::remove_dir_all(&kept).map_err(io("remove", &kept))?;
        Ok((target, rescued))
    }
}

fn copy_tables(
    engine: Arc<Engine>,
    path: &Path,
    target: &mut FjallCold,
    spaces: &[Space],
    position: Option<Position>,
) -> Result<Vec<Unreadable>, ColdError> {
    let view = View::new(engine, path);
    // Without a position there was no checkpoint: nothing stands in the tables.
    let Some(position) = position else {
        return Ok(Vec::new());
    };
    let (mut batch, mut unreadable) = (Batch::new(), Vec::new());
    for &space in spaces {
        unreadable.extend(salvage(&view, space, &mut |key, value| {
            batch.put(space, key, value);
            if batch.bytes() >= BATCH_BYTES { target.write(std::mem::take(&mut batch), position) } else { Ok(()) }
        })?);
    }
    target.write(batch, position)?;
    Ok(unreadable)
}

/// Applies the checkpoints of one journal file that are whole and younger than what is there.
fn replay(file: &Path, target: &mut FjallCold, rescued: &mut Rescued) -> std::io::Result<Result<(), ColdError>> {
    let mut walk = Walk::open(file)?;
    loop {
        let found = match walk.next()? {
            Some(batch) => Some(batch),
            None if walk.rest_is_empty()? => None,
            // Something stands here that is none: damage, or at the very end a batch that was being written.
            None => {
                rescued.lost_checkpoints += 1;
                walk.find()?
            }
        };
        let Some(found) = found else {
            return Ok(Ok(()));
        };
        let (mut changes, mut at) = (Vec::new(), None);
        walk.items(found, &mut |keyspace, key, value| match meaning_of(key) {
            Some(Meaning::Position) => {
                let position = value.and_then(|value| value.try_into().ok()).map(Position::from_bytes);
                at = position.map(|position| (keyspace, position));
            }
            Some(Meaning::Data(space, key)) => changes.push((keyspace, space, key.to_vec(), value.map(<[u8]>::to_vec))),
            None => {}
        })?;
        let mut batch = Batch::new();
        let position = at.map(|(ours, position)| {
            for (_, space, key, value) in changes.into_iter().filter(|(keyspace, ..)| *keyspace == ours) {
                match value {
                    Some(value) => batch.put(space, key, value),
                    None => batch.remove(space, key),
                }
            }
            position
        });
        // The engine's own batches have none.
        if let Some(position) = position.filter(|position| rescued.position.is_none_or(|known| *position > known)) {
            if let Err(error) = target.write(batch, position) {
                return Ok(Err(error));
            }
            rescued.position = Some(position);
        }
    }
}
