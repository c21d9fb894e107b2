//! After a busy time: gives back the space that the journal and the cold store have kept from it. Runs on the checkpoint thread, only while little happens.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use columba_store::{ColdError, FjallCold, LogError, RealDisk, Shrinker, cold::Rebuilt, log::LogHandle};

/// How long it must be quiet, also while the disk is full and somebody waits for room, and how much journal is quiet.
const QUIET_TIME: Duration = Duration::from_secs(5);
const QUIET_TIME_SCARCE: Duration = Duration::from_millis(500);
const QUIET_BYTES: usize = 256 << 10;

/// What may live in a cold store that is written anew; a larger one is compacted beside the traffic.
const REBUILD_MAX: u64 = 64 << 20;

/// A cold store this small is left alone, and so is one that is not twice as large as what lives in it.
const SMALL_BYTES: u64 = 2 << 20;

/// How soon the cold store is looked at again after a rebuild, and after one that failed.
const REBUILD_PAUSE: Duration = Duration::from_secs(30);
const FAILED_PAUSE: Duration = Duration::from_mins(10);

/// The same while the disk is full, if more was removed meanwhile, and if not.
const SCARCE_PAUSE: Duration = Duration::from_secs(2);
const SCARCE_PAUSE_IDLE: Duration = Duration::from_secs(15);

/// What of a full disk a copy leaves free, for the files around its keys and values.
const COPY_RESERVE: u64 = 1 << 20;

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
    /// When what lives last did not find room on a full disk, and how many those were then.
    tried: Option<(Instant, u64)>,
    not_before: Instant,
    compacting: Option<JoinHandle<()>>,
}

impl Tidy {
    pub(crate) fn new(shrinker: Shrinker) -> Self {
        let now = Instant::now();
        Self { shrinker, since: now, read: 0, live: 0, removed: 0, tried: None, not_before: now, compacting: None }
    }

    /// So much journal was read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// So many keys were removed from the cold store.
    pub(crate) fn removed(&mut self, keys: usize) {
        self.removed += keys as u64;
    }

    /// Whether it has been quiet; says so once for each quiet time, which is short while room `is_scarce`.
    pub(crate) fn is_quiet(&mut self, is_scarce: bool) -> bool {
        if self.since.elapsed() < if is_scarce { QUIET_TIME_SCARCE } else { QUIET_TIME } {
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

    /// Gives back what the cold store does not need, if that is worth it; while room `is_scarce`, all that it can. `is_stopping` ends it early.
    pub(crate) fn cold(
        &mut self,
        cold: &mut FjallCold,
        log: &LogHandle<RealDisk>,
        is_scarce: bool,
        is_stopping: &mut dyn FnMut() -> bool,
    ) -> Result<(), ColdError> {
        if let Some(thread) = self.compacting.take_if(|thread| thread.is_finished()) {
            // Its error is in the log.
            drop(thread.join());
            self.live = cold.disk_bytes()?;
        }
        if self.compacting.is_some() {
            return Ok(());
        }
        if is_scarce {
            return self.scarce(cold, log, is_stopping);
        }
        if Instant::now() < self.not_before {
            return Ok(());
        }
        let disk = cold.disk_bytes()?;
        let is_emptied = self.removed > 0 && self.removed * 2 >= cold.keys_about() && disk > self.live + SMALL_BYTES;
        if !is_emptied && disk <= 2 * self.live + SMALL_BYTES {
            return Ok(());
        }
        self.not_before = Instant::now() + REBUILD_PAUSE;
        let free = cold.free_bytes()?;
        match rebuild(cold, log, REBUILD_MAX.min(free.saturating_sub(COPY_RESERVE)), is_stopping)? {
            Rebuilt::Done { live } => self.rebuilt(cold, disk, live)?,
            Rebuilt::TooLarge => {
                self.live = disk;
                // At most half of it lives, and a compaction writes that anew.
                if is_emptied && free > disk / 2 {
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

    /// On a full disk: what lives has to fit into what is free. What was removed since the last attempt may have made it fit.
    fn scarce(
        &mut self,
        cold: &mut FjallCold,
        log: &LogHandle<RealDisk>,
        is_stopping: &mut dyn FnMut() -> bool,
    ) -> Result<(), ColdError> {
        let disk = cold.disk_bytes()?;
        let was_tried =
            |(at, removed): (Instant, u64)| at.elapsed() < if removed == self.removed { SCARCE_PAUSE_IDLE } else { SCARCE_PAUSE };
        if disk <= SMALL_BYTES || self.tried.is_some_and(was_tried) {
            return Ok(());
        }
        self.tried = Some((Instant::now(), self.removed));
        let live_max = cold.free_bytes()?.saturating_sub(COPY_RESERVE).min(REBUILD_MAX);
        match rebuild(cold, log, live_max, is_stopping)? {
            Rebuilt::Done { live } => {
                self.rebuilt(cold, disk, live)?;
                log.take_back_spare();
            }
            Rebuilt::TooLarge => {}
            Rebuilt::GivenUp => self.tried = None,
            Rebuilt::CopyFailed(error) => {
                tracing::debug!(%error, "cannot write the cold store anew on a full disk; trying on");
                give_up_spare(log);
            }
        }
        Ok(())
    }

    fn rebuilt(&mut self, cold: &FjallCold, before: u64, live: u64) -> Result<(), ColdError> {
        tracing::info!(before, after = cold.disk_bytes()?, "gave back space of the cold store");
        (self.live, self.removed, self.tried) = (live, 0, Some((Instant::now(), 0)));
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

/// The cold store needs its room.
pub(crate) fn give_up_spare(log: &LogHandle<RealDisk>) {
    if let Err(error) = log.give_up_spare() {
        tracing::debug!(%error, "cannot give up a spare segment of the journal");
    }
}

fn rebuild(
    cold: &mut FjallCold,
    log: &LogHandle<RealDisk>,
    live_max: u64,
    is_stopping: &mut dyn FnMut() -> bool,
) -> Result<Rebuilt, ColdError> {
    cold.rebuild(live_max, &mut || {
        thread::sleep(COPY_REST);
        log.usage().segments <= SEGMENTS_BEHIND_MAX && !is_stopping()
    })
}
