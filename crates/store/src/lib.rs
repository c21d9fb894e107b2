//! Bytes on disk: the journal, the cold store, and the disk they stand on.
//!
//! Everything that is acknowledged is in the [`Journal`] first: one file that is synced, one thread that syncs it, one
//! frame per commit for all shards. What lives longer than a checkpoint is moved into the [`Cold`] store behind it.
//! Neither knows what the bytes mean; `docs/format.md` draws where they lie.
//!
//! | module | is |
//! |---|---|
//! | [`disk`] | what we ask of a directory of files; [`file`](mod@file) is a real one, [`sim`] one that can be crashed |
//! | [`log`] | segments, frames, recovery, readers: single-threaded, on any disk |
//! | [`journal`] | the commit thread: group commit for N shards around a [`Log`] |
//! | [`cold`] | ordered keys and values with a journal position: [`FjallCold`], [`MemCold`] |
//! | [`dir`] | the data directory: lock, format, identity |
//! | [`export`] | commits in one portable file |
//! | [`place`] | what it stands on: file system, room, how long a sync takes |

//!
//! ```
//! use columba_store::{Journal, JournalOptions, StoreDir};
//!
//! # let temporary = tempfile::tempdir()?;
//! # let path = temporary.path().join("data");
//! let dir = StoreDir::open(path)?;
//! let (log, recovered) = dir.open_journal(None)?;
//! let mut replay = log.reader(recovered.from);
//! while let Some(frame) = replay.next_frame()? {
//!     for (_shard, _records) in frame.parts() { /* fold */ }
//! }
//!
//! let wake = Box::new(|| { /* the shard looks at `durable` and lets its acknowledgements go */ });
//! let journal = Journal::start(log, &JournalOptions::default(), vec![wake])?;
//! let appender = journal.appender(0);
//! let commit = appender.append(b"a record");
//! journal.wait_durable(commit)?; // a shard would not wait
//! assert!(appender.durable() >= commit);
//! journal.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cold;
pub mod dir;
pub mod disk;
pub mod export;
pub mod file;
pub mod journal;
pub mod log;
pub mod place;
pub mod sim;

pub use cold::{Batch, Cold, ColdError, ColdRead, FjallCold, MemCold, Space};
pub use dir::{DirError, StoreDir};
pub use disk::{Disk, DiskFile};
pub use export::{ExportError, ExportReader, ExportWriter, Origin};
pub use file::RealDisk;
pub use journal::{Appender, Histogram, Journal, JournalOptions, ManualJournal, Release, Schedule, Shrinker, Watch};
pub use log::{Commit, Frame, Gap, Log, LogError, LogOptions, Position, Reader, Recovered, StoreId, Survey, Surveyed};
pub use sim::SimDisk;
