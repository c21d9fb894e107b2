//! After a busy time: gives back the space that the journal and the cold store have kept from it. Runs on the checkpoint thread, only while little happens.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use columba_store::{ColdError, FjallCold, LogError, RealDisk, Shrinker, cold::Rebuilt, log::LogHandle};

/// How long it must be quiet, and how much journal is quiet.
const QUIET_TIME: Duration = Duration::from_secs(5);
const QUIET_BYTES: usize = 256 << 10;

/// What may live in a cold store that is written anew; a larger one is compacted beside the traffic.
const REBUILD_MAX: u64 = 64 << 20;

/// A cold store this small is left alone, and so is one that is not twice as large as what lives in it.
const SMALL_BYTES: u64 = 2 << 20;

/// How soon the cold store is looked at again after a rebuild, and after one that failed.
const REBUILD_PAUSE: Duration = Duration::from_secs(30);
const FAILED_PAUSE: Duration = Duration::from_mins(10);

/// Journal segments that may gather while the cold store is written anew: publishers come first.
const SEGMENTS_BEHIND_MAX: usize = 3;

/// How long the copy rests after each piece, so that it does not take the disk from the journal.
const COPY_REST: Duration = Duration::from_millis(1);

/// What the follower knows about space.
pub(crate) struct Tidy {
    shrinker: Shrinker,
    /// The time that is being looked at, and the journal read in it.
    since: Instant,
    read: usize,
    /// Bytes of the cold store after it was last tidied.
    live: u64,
    /// Keys removed since then.
    removed: u64,
    not_before: Instant,
    compacting: Option<JoinHandle<()>>,
}

impl Tidy {
    pub(crate) fn new(shrinker: Shrinker) -> Self {
        let now = Instant::now();
        Self { shrinker, since: now, read: 0, live: 0, removed: 0, not_before: now, compacting: None }
    }

    /// So much journal was read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// So many keys were removed from the cold store.
    pub(crate) fn removed(&mut self, keys: usize) {
        self.removed += keys as u64;
    }

    /// Whether it has been quiet; says so once for each quiet time.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if self.since.elapsed() < QUIET_TIME {
            return false;
        }
        let is_quiet = self.read <= QUIET_BYTES;
        (self.since, self.read) = (Instant::now(), 0);
        is_quiet
    }

    /// Lets the journal go on in short segments; the long ones go when checkpoints have passed them.
    pub(crate) fn shrink(&self, log: &LogHandle<RealDisk>) -> Result<(), LogError> {
        log.forget_growth()?;
        self.shrinker.shrink();
        Ok(())
    }

    /// Gives back what the cold store does not need, if that is worth it. `is_stopping` ends it early.
    pub(crate) fn cold(
        &mut self,
        cold: &mut FjallCold,
        log: &LogHandle<RealDisk>,
        is_stopping: &mut dyn FnMut() -> bool,
    ) -> Result<(), ColdError> {
        if let Some(thread) = self.compacting.take_if(|thread| thread.is_finished()) {
            // Its error is in the log.
            drop(thread.join());
            self.live = cold.disk_bytes()?;
        }
        if self.compacting.is_some() || Instant::now() < self.not_before {
            return Ok(());
        }
        let disk = cold.disk_bytes()?;
        let is_emptied = self.removed > 0 && self.removed * 2 >= cold.keys_about() && disk > self.live + SMALL_BYTES;
        if !is_emptied && disk <= 2 * self.live + SMALL_BYTES {
            return Ok(());
        }
        let mut goes_on = || {
            thread::sleep(COPY_REST);
            log.usage().segments <= SEGMENTS_BEHIND_MAX && !is_stopping()
        };
        self.not_before = Instant::now() + REBUILD_PAUSE;
        match cold.rebuild(REBUILD_MAX, &mut goes_on)? {
            Rebuilt::Done { live } => {
                tracing::info!(before = disk, after = cold.disk_bytes()?, "gave back space of the cold store");
                (self.live, self.removed) = (live, 0);
            }
            Rebuilt::TooLarge => {
                self.live = disk;
                if is_emptied {
                    self.removed = 0;
                    self.compact(cold);
                }
            }
            Rebuilt::GivenUp => self.not_before = Instant::now(),
            Rebuilt::CopyFailed(error) => {
                tracing::error!(%error, "cannot write the cold store anew; the old one stays in use");
                self.not_before = Instant::now() + FAILED_PAUSE;
            }
        }
        Ok(())
    }

    /// Beside everything else: it may take minutes. A stop does not wait for it; what it has not finished, a start removes.
    fn compact(&mut self, cold: &FjallCold) {
        let Some(compact) = cold.compaction() else { return };
        let body = move || {
            if let Err(error) = compact() {
                tracing::error!(%error, "cannot compact the cold store");
            }
        };
        match thread::Builder::new().name("cold-compact".into()).spawn(body) {
            Ok(thread) => self.compacting = Some(thread),
            Err(error) => tracing::warn!(%error, "no thread to compact the cold store with"),
        }
    }
}
