//! What can be done with the data directory of a broker that does not run: look at it, copy it, make a new one from a copy.

mod check;
mod export;
mod import;
mod records;
mod running;
mod stats;

use std::{io, path::Path};

use columba_broker::durable::{ApplyError, RecordError};
use columba_store::{Cold as _, ColdError, DirError, ExportError, FjallCold, LogError, StoreDir};
use thiserror::Error;

pub use check::{CheckReport, check};
pub use export::{Exported, export};
pub(crate) use export::{begin as begin_export, snapshot_records as export_snapshot};
pub use import::{Imported, import};
pub use records::{Filter, Found, dump};
pub use running::{backup, reload};
pub use stats::{QueueSize, Segment, Stats, stats};

use crate::{
    damage::{Damage, diagnose},
    error::RecoverError,
};

/// Why a tool cannot do its work.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The journal is damaged.
    #[error(transparent)]
    Damaged(Box<Damage>),
    /// What it holds cannot be read.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The export cannot be read.
    #[error("{file}: {error}")]
    Export {
        /// The file.
        file: String,
        /// What is wrong with it.
        error: ExportError,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {file}: {error}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        file: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// Nobody answers at the directory's socket.
    #[error("no broker runs on {dir}: {error}")]
    NoBroker {
        /// The directory.
        dir: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The broker cannot do it.
    #[error("the broker says: {0}")]
    Refused(String),
    /// Whoever receives the output wants no more of it.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

impl ToolError {
    fn file(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.display().to_string();
        move |error| Self::File { action, file, error }
    }

    /// What stands behind it, line by line.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Damaged(damage) => damage.shown(),
            Self::Directory(_)
            | Self::Recover(_)
            | Self::Export { .. }
            | Self::File { .. }
            | Self::NoBroker { .. }
            | Self::Refused(_)
            | Self::Output(_) => Vec::new(),
        }
    }
}

macro_rules! from_recover {
    ($($error:ty),*) => {$(
        impl From<$error> for ToolError {
            fn from(error: $error) -> Self {
                Self::Recover(error.into())
            }
        }
    )*};
}

from_recover!(LogError, ColdError, columba_broker::durable::ColdError, RecordError, ApplyError);

/// A data directory that no broker has, and that none can have meanwhile.
struct Offline {
    dir: StoreDir,
    cold: FjallCold,
}

impl Offline {
    fn open(path: &Path) -> Result<Self, ToolError> {
        let dir = StoreDir::open_existing(path)?;
        let cold = dir.open_cold()?;
        Ok(Self { dir, cold })
    }

    /// The journal behind the cold store's position, which must be whole.
    fn whole_journal(&self) -> Result<columba_store::Survey<columba_store::RealDisk>, ToolError> {
        let survey = self.dir.survey_journal(self.cold.position())?;
        if survey.wounds().is_empty() && survey.gaps().is_empty() {
            return Ok(survey);
        }
        let cause = format!("the journal of {} is damaged", self.dir.path().display());
        Err(ToolError::Damaged(Box::new(diagnose(&self.dir, &self.cold, cause)?)))
    }
}
