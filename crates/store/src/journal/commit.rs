//! The commit thread, and the one that keeps spare segments ready for it.

use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::{JournalOptions, Release, Schedule, Wake};
use crate::disk::Disk;
use crate::log::{Commit, Log, LogError, LogHandle};

/// How often a full disk is tried again when nobody says that there is room.
const SPACE_RETRY: Duration = Duration::from_millis(250);
/// How long a commit that was announced before its write stays unwritten: long enough that a kill at a random moment
/// often meets one.
const LIE_SHOWS: Duration = Duration::from_millis(10);
/// A buffer longer than this is given back when commits have become much smaller.
const BUFFER_KEPT_MAX: usize = 256 << 10;
/// How long what nobody waits for may wait for company: a commit of its own costs as much as one that somebody waits for, and delays the next one of those.
const IDLE_MAX: Duration = Duration::from_millis(50);

/// The shards' bytes of one commit.
struct Cut {
    commit: Commit,
    /// By shard; the other halves of the double buffers.
    bytes: Vec<Vec<u8>>,
    total: u64,
}

pub(super) fn run<D: Disk>(shared: &Shared, log: Log<D>, wakes: &[Wake], options: &JournalOptions, keeper: &Thread) {
    let guard = FailOnUnwind { shared, wakes };
    go_first();
    Committer {
        shared,
        wakes,
        options,
        sync_at: None,
        keeper,
        segment: log.end().segment,
        cut_bytes: 0,
        idle_until: None,
        cut: Cut { commit: log.durable(), bytes: wakes.iter().map(|_| Vec::new()).collect(), total: 0 },
        log,
    }
    .run();
    std::mem::forget(guard);
}

/// Every acknowledgement waits for this thread, so it should not wait for a processor behind the shards. Where we may
/// not ask for that it works as well, with a longer tail.
fn go_first() {
    // On Linux this is the calling thread's priority; elsewhere it would be the whole process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, -10) {
        tracing::debug!(%error, "the journal's thread keeps its normal priority");
    }
}

/// Says that the journal has failed if the thread panics: nobody may wait for ever.
struct FailOnUnwind<'a> {
    shared: &'a Shared,
    wakes: &'a [Wake],
}

impl Drop for FailOnUnwind<'_> {
    fn drop(&mut self) {
        self.shared.fail(LogError::ThreadEnded);
        self.wakes.iter().for_each(|wake| wake());
    }
}

struct Committer<'a, D: Disk> {
    shared: &'a Shared,
    wakes: &'a [Wake],
    options: &'a JournalOptions,
    /// When what is written and not synced is to be.
    sync_at: Option<Instant>,
    keeper: &'a Thread,
    log: Log<D>,
    /// The segment of the last commit; a new one has taken a spare.
    segment: u64,
    cut: Cut,
    /// Bytes ever cut.
    cut_bytes: u64,
    /// When what is appended and nobody waits for is committed all the same.
    idle_until: Option<Instant>,
}

impl<D: Disk> Committer<'_, D> {
    fn run(&mut self) {
        loop {
            // Before the cut: what was appended before the stop is in it.
            let last = self.shared.stopping.load(SeqCst);
            if (last || self.is_due()) && self.cut() {
                if let Err(error) = self.commit() {
                    return self.fail(error);
                }
            } else if last {
                // Nobody waits for it: without the seal nothing is lost.
                match self.log.seal() {
                    Ok(()) => self.shared.publish(self.cut.commit),
                    Err(error) if self.sync_at.is_some() => return self.fail(error),
                    Err(error) => tracing::warn!(%error, "cannot seal the journal"),
                }
                return;
            } else if self.shared.shrink.swap(false, SeqCst) {
                match self.log.shrink() {
                    Ok(()) => {}
                    // Another time.
                    Err(error @ LogError::NoSpace { .. }) => tracing::debug!(%error, "the journal stays as long as it is"),
                    Err(error) => return self.fail(error),
                }
                self.segment = self.log.end().segment;
                self.keeper.unpark();
            } else {
                self.sleep();
            }
            if self.sync_at.is_some_and(|at| at <= Instant::now())
                && let Err(error) = self.sync_now()
            {
                return self.fail(error);
            }
        }
    }

    fn fail(&self, error: LogError) {
        tracing::error!(%error, "the journal failed: nothing is acknowledged until a restart");
        self.shared.fail(error);
        self.wakes.iter().for_each(|wake| wake());
    }

    /// Whether what is appended, if anything is, should be committed now.
    fn is_due(&mut self) -> bool {
        if self.shared.urgent.swap(false, SeqCst) {
            return true;
        }
        if self.shared.appended.load(SeqCst) == self.cut_bytes {
            return false;
        }
        let now = Instant::now();
        *self.idle_until.get_or_insert(now + IDLE_MAX) <= now
    }

    /// Takes what all shards have appended, at one point in time. False if that is nothing.
    fn cut(&mut self) -> bool {
        if self.shared.appended.load(SeqCst) == self.cut_bytes {
            return false;
        }
        self.idle_until = None;
        // Before the locks: who appends after the cut finds it cleared.
        self.shared.idle_noticed.store(false, SeqCst);
        let mut open: Vec<_> = self.shared.lanes.iter().map(super::shared::Lane::lock).collect();
        let next = self.cut.commit.next();
        self.cut.total = 0;
        for (open, bytes) in open.iter_mut().zip(&mut self.cut.bytes) {
            std::mem::swap(&mut open.bytes, bytes);
            self.cut.total += bytes.len() as u64;
            open.commit = next.next();
        }
        self.cut.commit = next;
        self.cut_bytes += self.cut.total;
        true
    }

    fn commit(&mut self) -> Result<(), LogError> {
        match self.options.sync {
            Schedule::EachCommit => self.write_and_sync()?,
            Schedule::Every(interval) => {
                self.write()?;
                self.sync_at.get_or_insert_with(|| Instant::now() + interval);
                self.shared.count_written(self.cut.total);
                self.shared.publish_written(self.cut.commit);
                self.wake();
            }
        }
        for bytes in &mut self.cut.bytes {
            let used = bytes.len();
            bytes.clear();
            if bytes.capacity() > BUFFER_KEPT_MAX && used < bytes.capacity() / 4 {
                bytes.shrink_to(BUFFER_KEPT_MAX);
            }
        }
        let segment = self.log.end().segment;
        if self.segment != segment {
            self.segment = segment;
            self.keeper.unpark();
        }
        Ok(())
    }

    fn write_and_sync(&mut self) -> Result<(), LogError> {
        let release = self.options.release;
        if release == Release::BeforeWrite {
            self.announce();
            thread::sleep(LIE_SHOWS);
        }
        self.write()?;
        self.shared.publish_written(self.cut.commit);
        if self.options.wake_when_written {
            self.wake();
        }
        match release {
            Release::AfterSync | Release::BeforeWrite => self.sync()?,
            Release::BeforeSync => self.log.skip_sync()?,
        }
        self.shared.count_written(self.cut.total);
        if release != Release::BeforeWrite {
            self.announce();
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let began = Instant::now();
        self.log.sync()?;
        self.shared.sync_times.add(began.elapsed());
        Ok(())
    }

    /// What was written is on disk now.
    fn sync_now(&mut self) -> Result<(), LogError> {
        self.sync()?;
        self.sync_at = None;
        self.shared.publish(self.cut.commit);
        Ok(())
    }

    /// Writes the frame; without room for a segment it waits until there is, or until the journal is stopped.
    fn write(&mut self) -> Result<(), LogError> {
        let parts: Vec<_> = (0_u16..)
            .zip(&self.cut.bytes)
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(shard, bytes)| (shard, bytes.as_slice()))
            .collect();
        loop {
            let written = match self.options.sync {
                Schedule::EachCommit => self.log.write(&parts),
                Schedule::Every(_) => self.log.write_behind(&parts),
            };
            match written {
                Ok(commit) => {
                    debug_assert_eq!(commit, self.cut.commit, "one frame for each cut");
                    self.shared.waits_for_space.store(false, SeqCst);
                    return Ok(());
                }
                Err(no_space @ LogError::NoSpace { .. }) => {
                    if self.shared.stopping.load(SeqCst) {
                        return Err(no_space);
                    }
                    if !self.shared.waits_for_space.swap(true, SeqCst) {
                        tracing::error!(error = %no_space, "acknowledgements wait for space");
                    }
                    thread::park_timeout(SPACE_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn announce(&self) {
        self.shared.publish(self.cut.commit);
        self.wake();
    }

    /// Those that have something in the commit.
    fn wake(&self) {
        for ((bytes, lane), wake) in self.cut.bytes.iter().zip(&self.shared.lanes).zip(self.wakes) {
            if !bytes.is_empty() && !lane.muted.load(SeqCst) {
                wake();
            }
        }
    }

    fn sleep(&self) {
        self.shared.sleeping.store(true, SeqCst);
        let is_new = self.idle_until.is_none() && self.shared.appended.load(SeqCst) != self.cut_bytes;
        let is_asked =
            [&self.shared.urgent, &self.shared.stopping, &self.shared.shrink].into_iter().any(|flag| flag.load(SeqCst));
        if !is_new && !is_asked {
            match self.sync_at.into_iter().chain(self.idle_until).min() {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
            }
        }
        self.shared.sleeping.store(false, SeqCst);
    }
}

/// Keeps spare segments ready until the journal stops.
pub(super) fn keep<D: Disk>(shared: &Shared, handle: &LogHandle<D>) {
    while !shared.stopping.load(SeqCst) {
        if let Err(error) = handle.prepare() {
            // The commit thread makes a segment itself when it needs one, and says so if it cannot.
            tracing::warn!(%error, "cannot prepare a spare journal segment");
        }
        thread::park();
    }
}
