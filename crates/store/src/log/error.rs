//! What can be wrong with a journal, and with whose fault.

use std::io;

use thiserror::Error;

use super::{Commit, Position};

/// Why the journal cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk refused.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// There is no room for a new segment. Nothing was written; the same write may be tried again.
    #[error("no space left for a new journal segment ({file}): {source}")]
    NoSpace {
        /// The file that could not be made.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// The journal is damaged where it had been synced. What stands behind the damage was acknowledged.
    #[error("the journal is damaged: {file} at byte {offset}: {damage}. Restore a backup; the file is left as it is")]
    Corrupt {
        /// The damaged file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },

    /// A segment that is needed is not there.
    #[error("journal segment {file} is missing: {why}. Restore a backup")]
    Missing {
        /// The file that should be there.
        file: String,
        /// Who needs it.
        why: MissingBecause,
    },

    /// The file was written by a newer version.
    #[error("{file} has format {found}, this version reads up to {known}: use the newer version that wrote it")]
    NewerFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// What we know.
        known: u32,
    },

    /// One commit is longer than a frame can be.
    #[error("a commit of {bytes} bytes does not fit a journal frame (limit 4 GiB)")]
    FrameTooLarge {
        /// Its length.
        bytes: u64,
    },

    /// A reader fell behind: its segment has been recycled.
    #[error("journal position {at:?} has been recycled")]
    Recycled {
        /// Where the reader stood.
        at: Position,
    },

    /// An earlier write or sync failed; nothing is accepted until a restart has recovered.
    #[error("the journal failed earlier and takes no more writes until a restart")]
    Poisoned,

    /// The commit thread ended without saying why.
    #[error("the commit thread ended unexpectedly")]
    ThreadEnded,
}

/// What is wrong at a place in a segment.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum Damage {
    /// The segment header does not carry its checksum.
    #[error("the segment header is not valid")]
    Header,
    /// The file is not as long as its header says.
    #[error("the file has {found} bytes where its header says {expected}")]
    Length {
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// The header names another segment: files were renamed or copied over each other.
    #[error("the header says segment {found}")]
    WrongSegment {
        /// The number in the header.
        found: u64,
    },
    /// The segment belongs to another data directory.
    #[error("the segment belongs to another data directory")]
    WrongStore,
    /// No valid frame here, though later commits exist.
    #[error("commit {} is not readable here, but commit {} stands behind it", expected.0, found.0)]
    Frame {
        /// The commit that should stand here.
        expected: Commit,
        /// The later one that proves that it had been synced.
        found: Commit,
    },
    /// The checkpoint's position is not the start of a frame.
    #[error("the checkpoint position is not between two frames")]
    Position,
    /// A part inside a valid frame is cut off: written wrong, not read wrong.
    #[error("a frame's parts do not fill it")]
    Parts,
}

/// Who needs a missing segment.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum MissingBecause {
    /// The checkpoint ends in it.
    #[error("the checkpoint needs the journal from there on")]
    Checkpoint,
    /// Later segments exist.
    #[error("later segments exist")]
    Gap,
    /// The directory is not new, so its journal must exist.
    #[error("the data directory is not new")]
    NotNew,
}

impl LogError {
    pub(crate) fn io(action: &'static str, file: String) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, file, source }
    }
}

/// Whether the error only says that there is no room: nothing was lost and trying again is allowed.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
