//! A new data directory from an export.

use std::{fs::File, io::BufReader, path::Path};

use columba_broker::durable::{Fold, Record, recover_within};
use columba_store::{Cold as _, ExportError, ExportReader, FjallCold, Position, StoreDir, dir::ImportError};

use super::ToolError;
use crate::cold::{ColdKeys, batch};

/// Changes that are gathered before they are written: a bound on memory.
const CHANGES_BYTES_MAX: usize = 8 << 20;

/// What an import has made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// Sessions that outlive their connections.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
    /// When the export was made, in milliseconds since 1970.
    pub made: u64,
}

/// Makes a data directory, which must be new or empty, from an export. The file is read twice: a damaged one changes nothing.
pub fn import(file: &Path, dir: &Path) -> Result<Imported, ToolError> {
    let broken = |error| ToolError::Export { file: file.display().to_string(), error };
    let open = || -> Result<_, ToolError> {
        let opened = File::open(file).map_err(ToolError::file("open", file))?;
        ExportReader::new(BufReader::new(opened)).map_err(broken)
    };
    let mut first = open()?;
    while first.next_commit().map_err(broken)?.is_some() {}
    let mut reader = open()?;
    let mut imported = Imported { made: reader.origin().made, ..Imported::default() };
    let take_in = |cold: &mut FjallCold| -> Result<(), ToolError> {
        replay(&mut reader, cold, &broken)?;
        let state = recover_within(&ColdKeys(cold), 0)?;
        (imported.sessions, imported.retained) = (state.sessions.len(), state.retained.len());
        Ok(())
    };
    match StoreDir::import(dir, take_in) {
        Ok(_) => Ok(imported),
        Err(ImportError::Directory(error)) => Err(error.into()),
        Err(ImportError::Cold(error)) => Err(error.into()),
        Err(ImportError::Fill(error)) => Err(error),
    }
}

fn replay(
    reader: &mut ExportReader<BufReader<File>>,
    cold: &mut FjallCold,
    broken: &dyn Fn(ExportError) -> ToolError,
) -> Result<(), ToolError> {
    let mut fold = Fold::new(&ColdKeys(cold))?;
    while let Some(parts) = reader.next_commit().map_err(broken)? {
        for (_, mut bytes) in parts {
            while !bytes.is_empty() {
                fold.record(&Record::decode(&mut bytes)?, &ColdKeys(cold))?;
            }
        }
        fold.end_of_commit();
        if fold.bytes() >= CHANGES_BYTES_MAX {
            cold.write(batch(fold.take_changes()), Position::START)?;
        }
    }
    Ok(cold.write(batch(fold.take_changes()), Position::START)?)
}
