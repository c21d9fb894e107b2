//! Ordered keys and values behind the journal: what lives longer than a checkpoint.
//!
//! What the keys mean is the broker's business. One write is one checkpoint: a batch that is there wholly or not at all,
//! together with the journal position up to which it is complete.

mod fjall;
mod mem;
mod salvage;

use std::ops::ControlFlow;

use thiserror::Error;

pub use self::fjall::{FjallCold, Rebuilt, Rescued, Upkeep};
pub use mem::{MemCold, MemFault};
pub use salvage::{Give, Unreadable, salvage};

use crate::log::Position;

/// The longest key: as long as the longest topic.
pub const KEY_LEN_MAX: usize = 65_535;

/// A namespace of keys.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Space(pub u8);

/// The changes of one checkpoint. Of two changes to one key the later one counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Batch {
    changes: Vec<Change>,
    bytes: usize,
    removals: usize,
}

/// One key and its new value, `None` if it is to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key of at most [`KEY_LEN_MAX`] bytes.
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(space, key.into(), Some(value.into()));
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.removals += 1;
        self.push(space, key.into(), None);
    }

    fn push(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.changes.push(Change { space, key, value });
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many of them remove a key.
    pub fn removals(&self) -> usize {
        self.removals
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a scan calls for each key and value; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reading, from any thread, also beside a write. One call sees whole checkpoints; two calls may see different ones, if
/// they are not made to a [`snapshot`](ColdRead::snapshot).
pub trait ColdRead: Send + Sync {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError>;

    /// Visits keys from `from` (included) to `to` (excluded, `None` = to the end) in their order.
    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError>;

    /// The store as it is now, whatever is written later. It holds back what the store would free: keep it short.
    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError>;

    /// The first `limit` keys and values of a range.
    fn scan(&self, space: Space, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, ColdError> {
        let mut pairs = Vec::new();
        if limit == 0 {
            return Ok(pairs);
        }
        self.visit(space, from, to, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(pairs)
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The store behind the journal.
pub trait Cold: ColdRead {
    /// Applies a checkpoint: all changes and the position, or nothing. Durable on return.
    fn write(&mut self, batch: Batch, position: Position) -> Result<(), ColdError>;

    /// Up to where the journal has been taken in, `None` before the first checkpoint.
    fn position(&self) -> Option<Position>;

    /// A reader for other threads.
    fn reader(&self) -> std::sync::Arc<dyn ColdRead>;
}

impl ColdError {
    /// Whether what is stored is at fault, and not the system or the caller.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Engine { source: ::fjall::Error::Io(error), .. } => {
                use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
                matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
            }
            Self::Engine { source, .. } => !matches!(
                source,
                ::fjall::Error::Locked
                    | ::fjall::Error::Poisoned
                    | ::fjall::Error::InvalidVersion(Some(_))
                    | ::fjall::Error::KeyspaceDeleted
            ),
            Self::Damaged { .. } | Self::Journal { .. } | Self::Position { .. } => true,
            Self::CopyDiffers { .. }
            | Self::Io { .. }
            | Self::Closed { .. }
            | Self::NoUpkeep { .. }
            | Self::KeyTooLong { .. }
            | Self::Injected => false,
        }
    }
}

/// The engine's errors for people.
fn said(error: &::fjall::Error) -> String {
    use ::fjall::Error;
    let words = if let Error::Io(error) = error {
        return error.to_string();
    } else if matches!(error, Error::Locked) {
        "another process has it open"
    } else if matches!(error, Error::Poisoned) {
        "an earlier write failed; it takes no more until it is opened again"
    } else if matches!(error, Error::JournalRecovery(_)) {
        "its own journal is damaged"
    } else if matches!(error, Error::Storage(error) if error.to_string().contains("ChecksumMismatch")) {
        "what was read is not what was written: a checksum does not hold"
    } else if matches!(error, Error::InvalidVersion(Some(_))) {
        "another version of the engine wrote it"
    } else {
        return format!("its files cannot be used ({error})");
    };
    words.to_owned()
}

/// Why the cold store cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum ColdError {
    /// The engine refused.
    #[error("cold store {path}: {}", said(source))]
    Engine {
        /// The directory.
        path: String,
        /// What the engine said.
        source: ::fjall::Error,
    },

    /// The directory cannot be made.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The directory.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// The engine failed and could not be opened again.
    #[error("cold store {path} is closed: it failed and has not been opened again")]
    Closed {
        /// The directory.
        path: String,
    },

    /// A copy that should be the same is not: the store, or the memory that it went through, is damaged. The old one stays in use.
    #[error("cold store {path}: a copy of it reads differently; the disk or the memory is damaged")]
    CopyDiffers {
        /// The directory.
        path: String,
    },

    /// A checkpoint in the engine's own journal cannot be read, and later ones can.
    #[error("cold store journal {file} is damaged at byte {offset}: later checkpoints stand behind it")]
    Journal {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
    },

    /// Opened without upkeep, and it has gathered what it may.
    #[error("cold store {path} takes no more until the disk has room for its upkeep")]
    NoUpkeep {
        /// The directory.
        path: String,
    },

    /// The engine could not make sense of its files.
    #[error("cold store {path} is damaged: its files contradict each other")]
    Damaged {
        /// The directory.
        path: String,
    },

    /// The stored position is not one.
    #[error("cold store {path}: the stored journal position is damaged")]
    Position {
        /// The directory.
        path: String,
    },

    /// A key that is longer than [`KEY_LEN_MAX`].
    #[error("a key of {len} bytes in space {}, longer than {KEY_LEN_MAX}", .space.0)]
    KeyTooLong {
        /// Its space.
        space: Space,
        /// Its length.
        len: usize,
    },

    /// A test asked for this failure.
    #[error("the cold store failed as it was told to")]
    Injected,
}
