//! The journal's core: segments, frames, recovery and readers, single-threaded, on any [`Disk`](crate::Disk).
//!
//! A frame is one commit. Each is synced before the next is begun, and that is what recovery stands on: at most the last
//! frame can be torn, so a bad frame with a later commit behind it is damage, not a crash.

mod error;
pub(crate) mod format;
mod reader;
mod recover;
mod segments;
mod survey;
pub(crate) mod window;
mod writer;

use core::fmt;

pub use error::{Damage, LogError, MissingBecause};
pub use format::{Parts, guess_parts};
pub use reader::{Frame, Reader};
pub use recover::{Recovered, Torn};
pub(crate) use segments::segment_name as segment_file_name;
pub use segments::{LogHandle, Usage};
pub use survey::{Gap, Harm, Survey, Surveyed, Wound};
pub(crate) use window::valid_header;
pub use writer::Log;

/// The number of a commit: 1 is the first, 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Commit(pub u64);

impl Commit {
    /// Before the first commit.
    pub const NONE: Self = Self(0);

    /// The commit after this one. The last that a number can say has none: only a forged journal gets so far.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A place between two frames; ordered as the journal is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The segment's number, from 1.
    pub segment: u64,
    /// Bytes from the start of its file.
    pub offset: u64,
}

impl Position {
    /// Where the first frame of a new journal stands.
    pub const START: Self = Self { segment: 1, offset: format::FRAMES_START };

    /// As 16 bytes whose order is the positions' order.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.segment.to_be_bytes());
        out[8..].copy_from_slice(&self.offset.to_be_bytes());
        out
    }

    /// The inverse of [`Position::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        let low = both & u128::from(u64::MAX);
        Self { segment: u64::try_from(both >> 64).unwrap_or(u64::MAX), offset: u64::try_from(low).unwrap_or(u64::MAX) }
    }
}

/// The identity of a data directory; every segment carries it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// How a journal is laid out. Sizes count only for segments made from now on.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The data directory's identity.
    pub id: StoreId,
    /// A random number for a new journal; an existing one keeps its own. It makes frames unguessable.
    pub salt: u64,
    /// Bytes of the first segments.
    pub segment_bytes_min: u64,
    /// What they double up to while traffic fills them faster than checkpoints empty them.
    pub segment_bytes_max: u64,
    /// How many zeroed segments are kept ready.
    pub spares: usize,
    /// Whether an empty directory is a new journal or a lost one.
    pub when_empty: WhenEmpty,
}

impl LogOptions {
    /// The sizes that a broker uses: 2 MiB at first, 64 MiB at most, two spares.
    pub fn new(id: StoreId, salt: u64) -> Self {
        Self { id, salt, segment_bytes_min: 2 << 20, segment_bytes_max: 64 << 20, spares: 2, when_empty: WhenEmpty::Create }
    }
}

/// What an empty directory means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenEmpty {
    /// A new journal begins.
    Create,
    /// The journal has been lost: refuse.
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_highest_commit_there_is_no_panic() {
        assert_eq!(Commit(7).next(), Commit(8));
        assert_eq!(Commit(u64::MAX).next(), Commit(u64::MAX));
    }

    #[test]
    fn positions_sort_as_their_bytes() {
        let positions = [(1, 4096), (1, u64::MAX), (2, 0), (255, 7), (256, 7), (u64::MAX, u64::MAX)];
        let positions = positions.map(|(segment, offset)| Position { segment, offset });

        assert!(positions.is_sorted() && positions.map(Position::to_bytes).is_sorted());
        assert_eq!(positions.map(|position| Position::from_bytes(position.to_bytes())), positions);
    }
}
