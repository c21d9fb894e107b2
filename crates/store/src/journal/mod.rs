//! Group commit: N shards append, one thread writes and syncs for all of them.
//!
//! All shards' buffers are cut at one point, so a consequence is never in an earlier commit than its cause: what shard B
//! appends after it has heard from shard A is in A's commit or in a later one. There is no timer: the next commit begins
//! when the last one has ended, and without appends the thread sleeps.

mod commit;
mod manual;
mod shared;
mod times;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

pub use manual::ManualJournal;
pub use times::Histogram;

use crate::disk::Disk;
use crate::file::RealDisk;
use crate::log::{Commit, Log, LogError, LogHandle, Position, Reader, Usage};
use shared::Shared;

/// Calls a shard that waits for a commit. It is called by the commit thread, so it must be short and never block: one
/// write to an eventfd, one unpark.
pub type Wake = Box<dyn Fn() + Send>;

/// How the journal commits.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// When commits are synced.
    pub sync: Schedule,
    /// Whether shards are woken also when a commit is written and not yet synced ([`Appender::written`]).
    pub wake_when_written: bool,
    /// When a commit is announced; counts only where each is synced.
    pub release: Release,
    /// What the commit thread is called, for debuggers and `top`.
    pub thread_name: String,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            sync: Schedule::EachCommit,
            wake_when_written: false,
            release: Release::AfterSync,
            thread_name: "journal".to_owned(),
        }
    }
}

/// When commits are synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Schedule {
    /// Each at once, before the next is begun. It takes all that was appended while the one before was synced.
    EachCommit,
    /// So long after the first one that is not, and before a new segment and at the end. A power failure loses what was not; the death of the process loses
    /// nothing that was written.
    Every(Duration),
}

/// When a commit is announced. **All but the first break every promise the journal makes**: they exist so that tests which look for lost
/// acknowledgements can be shown to find them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// When it is on disk.
    AfterSync,
    /// When it is written; it is never synced. The process may die, the machine may not.
    BeforeSync,
    /// Some milliseconds before it is written.
    BeforeWrite,
}

/// A running journal: the commit thread and, beside it, the thread that zeroes spare segments.
pub struct Journal<D: Disk = RealDisk> {
    shared: Arc<Shared>,
    handle: LogHandle<D>,
    committer: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl<D: Disk> Journal<D> {
    /// Starts the commit thread for as many shards as there are `wakes`.
    ///
    /// A shard's wake is called after each commit that holds bytes of it, unless it is muted ([`Appender::mute`]), and
    /// for everyone when the journal fails.
    pub fn start(log: Log<D>, options: &JournalOptions, wakes: Vec<Wake>) -> io::Result<Self> {
        let handle = log.handle();
        let shared = Arc::new(Shared::new(wakes.len(), log.durable()));
        let keeper = {
            let (shared, handle) = (Arc::clone(&shared), handle.clone());
            let name = format!("{}-spare", options.thread_name);
            thread::Builder::new().name(name).stack_size(128 << 10).spawn(move || commit::keep(&shared, &handle))?
        };
        let committer = {
            let shared = Arc::clone(&shared);
            let options = options.clone();
            let keeper = keeper.thread().clone();
            thread::Builder::new()
                .name(options.thread_name.clone())
                .spawn(move || commit::run(&shared, log, &wakes, &options, &keeper))
        };
        let mut journal = Self { shared, handle, committer: None, keeper: Some(keeper) };
        // From here on dropping ends the keeper, also if there is no committer.
        let committer = committer?;
        journal.shared.set_thread(committer.thread().clone());
        journal.committer = Some(committer);
        Ok(journal)
    }

    /// What shard number `shard` appends with.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn appender(&self, shard: u16) -> Appender {
        assert!(usize::from(shard) < self.shared.lanes.len(), "shard {shard} of {}", self.shared.lanes.len());
        Appender { shared: Arc::clone(&self.shared), shard: usize::from(shard) }
    }

    /// Looks at what is appended, from any thread.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// The last commit that is on disk.
    pub fn durable(&self) -> Commit {
        self.shared.durable()
    }

    /// The last commit that is written: it outlives this process, but not a power failure.
    pub fn written(&self) -> Commit {
        self.shared.written()
    }

    /// Why no further commit will ever be durable, if that is so.
    pub fn failed(&self) -> Option<Arc<LogError>> {
        self.shared.failed()
    }

    /// Whether the disk has no room for the next segment. The journal goes on by itself when there is room again.
    pub fn waits_for_space(&self) -> bool {
        self.shared.waits_for_space.load(SeqCst)
    }

    /// Bytes appended and not yet durable; where commits are synced now and then, not yet written. From a few MiB on, stop reading from those who cause them.
    pub fn pending_bytes(&self) -> u64 {
        self.shared.pending_bytes()
    }

    /// Waits until `commit` is durable. For shutdown and tests: a shard never waits.
    pub fn wait_durable(&self, commit: Commit) -> Result<(), Arc<LogError>> {
        self.shared.wait_durable(commit)
    }

    /// Waits until everything appended so far is durable.
    pub fn sync_now(&self) -> Result<(), Arc<LogError>> {
        self.wait_durable(self.watch().appended())
    }

    /// Reads durable frames from `from` on, in any thread.
    pub fn reader(&self, from: Position) -> Reader<D> {
        self.handle.reader(from)
    }

    /// Frees the segments before the one that `below` is in. What they hold must be durable elsewhere.
    pub fn recycle(&self, below: Position) -> Result<(), LogError> {
        self.handle.recycle(below)?;
        // There may be room now.
        self.shared.unpark();
        Ok(())
    }

    /// What the journal takes on the disk.
    pub fn usage(&self) -> Usage {
        self.handle.usage()
    }

    /// What a checkpoint calls when the journal is longer than it needs to be.
    pub fn shrinker(&self) -> Shrinker {
        Shrinker(Arc::clone(&self.shared))
    }

    /// Commits what has been appended, then ends the threads. What is appended from now on is lost.
    pub fn stop(mut self) -> Result<(), Arc<LogError>> {
        self.end();
        self.shared.failed().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        self.shared.unpark();
        if let Some(committer) = self.committer.take() {
            // A panic there has been reported through `failed`.
            drop(committer.join());
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.thread().unpark();
            drop(keeper.join());
        }
    }
}

impl<D: Disk> Drop for Journal<D> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a journal go on in a short segment.
pub struct Shrinker(Arc<Shared>);

impl Shrinker {
    /// Asks for it; it happens when there is nothing to commit. See [`Log::shrink`].
    pub fn shrink(&self) {
        self.0.shrink.store(true, SeqCst);
        self.0.unpark();
    }
}

/// Sees what shards append, and how long the disk takes.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// The commit that has, or will have, everything appended so far.
    pub fn appended(&self) -> Commit {
        (self.0.lanes.iter()).map(|lane| lane.lock().last).max().unwrap_or_default()
    }

    /// The last commit that is written.
    pub fn written(&self) -> Commit {
        self.0.written()
    }

    /// Whether it moves on only when somebody else does something: it has failed, or the disk has no room.
    pub fn is_held(&self) -> bool {
        self.0.failed().is_some() || self.0.waits_for_space.load(SeqCst)
    }

    /// How long syncs have taken.
    pub fn sync_times(&self) -> Histogram {
        self.0.sync_times.read()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// A shard's end of the journal.
pub struct Appender {
    shared: Arc<Shared>,
    shard: usize,
}

impl Appender {
    /// Adds `bytes` to the open commit and says which one that is. Never touches the disk: it costs a short lock and a
    /// copy.
    ///
    /// Bytes of one shard come back in the order in which they were appended.
    pub fn append(&self, bytes: &[u8]) -> Commit {
        self.shared.append(self.shard, bytes)
    }

    /// The same for bytes that nobody waits for: they go with the next commit that somebody waits for, or after 50 milliseconds.
    pub fn append_idly(&self, bytes: &[u8]) -> Commit {
        self.shared.append_idly(self.shard, bytes)
    }

    /// Somebody waits now for what was [appended idly](Appender::append_idly).
    pub fn hurry(&self) {
        self.shared.hurry();
    }

    /// The last commit that is on disk.
    pub fn durable(&self) -> Commit {
        self.shared.durable()
    }

    /// The last commit that is written: it outlives this process, but not a power failure.
    pub fn written(&self) -> Commit {
        self.shared.written()
    }

    /// Why no further commit will ever be durable, if that is so.
    pub fn failed(&self) -> Option<Arc<LogError>> {
        self.shared.failed()
    }

    /// Bytes of all shards appended and not yet durable.
    pub fn pending_bytes(&self) -> u64 {
        self.shared.pending_bytes()
    }

    /// Says that this shard is awake and looks at [`Appender::durable`] by itself: no wake is needed.
    pub fn mute(&self) {
        self.shared.lanes[self.shard].muted.store(true, SeqCst);
    }

    /// Says that this shard may sleep now, and returns what is durable: whatever becomes so later wakes it.
    pub fn unmute(&self) -> Commit {
        self.shared.lanes[self.shard].muted.store(false, SeqCst);
        self.shared.durable()
    }
}
