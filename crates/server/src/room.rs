//! Looks how much room the disk has, and tells all shards, and who gives back space, when it becomes scarce or ample.
//!
//! While it is scarce nothing new is stored, so that what is left suffices for acknowledgements and for what makes room: a queue that is emptied, a session
//! that ends, a checkpoint that frees the journal.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_broker::Room;
use columba_store::{RealDisk, dir::disk_usage, log::LogHandle};

use crate::{
    config::{DiskLimits, Quota},
    core::{Mail, Shared},
};

/// How often the disk is looked at, and how often when little is free beyond the reserve: what comes in between two looks comes out of the reserve.
const INTERVAL: Duration = Duration::from_millis(250);
const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// What a fast disk may take in each millisecond.
const BYTES_PER_MS: u64 = 1 << 20;

/// The share of the file system that is kept free unless configured, and its bounds: acknowledgements need no more on a large one, and
/// a checkpoint no less on a small one.
const RESERVE_PART: u64 = 20;
const RESERVE_MIN: u64 = 16 << 20;
const RESERVE_MAX: u64 = 1 << 30;

/// Room is ample again when so many parts of a bound are free, beyond the bound: a state that changes with each message helps nobody.
const SLACK_PART: u64 = 8;

/// What was seen last, for who gives back space.
#[derive(Debug, Default)]
pub(crate) struct Space {
    is_scarce: AtomicBool,
    lacks_free: AtomicBool,
}

impl Space {
    /// Whether the shards refuse what would have to be stored.
    pub(crate) fn is_scarce(&self) -> bool {
        self.is_scarce.load(Relaxed)
    }

    /// The same for the disk alone, without regard to the journal's spares.
    pub(crate) fn lacks_free(&self) -> bool {
        self.lacks_free.load(Relaxed)
    }
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Other limits; dropped to stop it.
    orders: Sender<DiskLimits>,
    thread: JoinHandle<()>,
}

struct Watching {
    dir: PathBuf,
    limits: DiskLimits,
    log: LogHandle<RealDisk>,
    shared: Arc<Shared>,
    room: Room,
    /// The same without regard to the journal's spares.
    disk: Room,
}

/// What was seen, in bytes.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// What the file system has, and what of it is free.
    total: u64,
    free: u64,
    /// What the data directory takes, or everyone on the file system, as the quota has it; not counted without one.
    used: u64,
    /// The journal cannot have another spare segment.
    lacks_spares: bool,
}

impl Watch {
    /// Watches the data directory `dir`.
    pub(crate) fn start(dir: &Path, limits: DiskLimits, log: LogHandle<RealDisk>, shared: &Arc<Shared>) -> io::Result<Self> {
        let (orders, heard) = mpsc::channel();
        let watching =
            Watching { dir: dir.to_owned(), limits, log, shared: Arc::clone(shared), room: Room::Ample, disk: Room::Ample };
        let thread = thread::Builder::new().name("room".into()).spawn(move || watching.run(&heard))?;
        Ok(Self { orders, thread })
    }

    /// From now on these limits hold.
    pub(crate) fn has_limits(&self, limits: DiskLimits) {
        // A thread that has ended by itself is told of where it is stopped.
        self.orders.send(limits).unwrap_or_default();
    }

    pub(crate) fn stop(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("the thread that watches the disk has ended by itself");
        }
    }
}

impl Watching {
    fn run(mut self, orders: &Receiver<DiskLimits>) {
        loop {
            let mut interval = INTERVAL;
            match self.look() {
                Ok(seen) => {
                    self.tell(seen);
                    interval = self::interval(self.room, self.limits, seen);
                }
                // Writes will say the same more loudly.
                Err(error) => tracing::debug!(%error, "cannot see how much room the disk has"),
            }
            match orders.recv_timeout(interval) {
                Ok(limits) => self.limits = limits,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&self) -> io::Result<Seen> {
        if self.log.lacks_room() {
            // If there is room by now, this says so.
            self.log.prepare().unwrap_or_default();
        }
        let space = rustix::fs::statvfs(&*self.dir)?;
        let used = match self.limits.quota {
            Quota::None => 0,
            Quota::Percent(_) => space.f_blocks.saturating_sub(space.f_bavail).saturating_mul(space.f_frsize),
            Quota::Bytes(_) => disk_usage(&self.dir)?,
        };
        Ok(Seen {
            total: space.f_blocks.saturating_mul(space.f_frsize),
            free: space.f_bavail.saturating_mul(space.f_frsize),
            used,
            lacks_spares: self.log.lacks_room(),
        })
    }

    fn tell(&mut self, seen: Seen) {
        self.disk = judge(self.disk, self.limits, Seen { lacks_spares: false, ..seen });
        self.shared.space.lacks_free.store(self.disk == Room::Scarce, Relaxed);
        let room = judge(self.room, self.limits, seen);
        if room == self.room {
            return;
        }
        self.room = room;
        self.shared.space.is_scarce.store(room == Room::Scarce, Relaxed);
        let Seen { free, used, .. } = seen;
        match room {
            Room::Scarce => {
                tracing::error!(free, used, "the disk is full: what would have to be stored is refused until there is room");
            }
            Room::Ample => tracing::info!(free, used, "the disk has room again"),
        }
        for shard in 0..self.shared.mesh.len() {
            self.shared.mesh.post_one(shard, Mail::Room(room));
        }
    }
}

fn reserve(limits: DiskLimits, seen: Seen) -> u64 {
    limits.reserve.unwrap_or_else(|| (seen.total / RESERVE_PART).clamp(RESERVE_MIN, RESERVE_MAX))
}

/// Until the next look: so short that a fast disk cannot have eaten the reserve.
fn interval(room: Room, limits: DiskLimits, seen: Seen) -> Duration {
    if room == Room::Scarce {
        return INTERVAL;
    }
    let surplus = seen.free.saturating_sub(reserve(limits, seen));
    Duration::from_millis(surplus / BYTES_PER_MS).clamp(INTERVAL_MIN, INTERVAL)
}

fn judge(before: Room, limits: DiskLimits, seen: Seen) -> Room {
    let reserve = reserve(limits, seen);
    let quota = match limits.quota {
        Quota::None => u64::MAX,
        Quota::Percent(percent) => seen.total / 100 * u64::from(percent),
        Quota::Bytes(bytes) => bytes,
    };
    let (wanted_free, allowed) = match before {
        Room::Ample => (reserve, quota),
        Room::Scarce => (reserve + reserve / SLACK_PART, quota - quota / SLACK_PART),
    };
    if seen.lacks_spares || seen.free < wanted_free || seen.used > allowed { Room::Scarce } else { Room::Ample }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SEEN: Seen = Seen { total: 100 * MIB, free: 50 * MIB, used: 0, lacks_spares: false };
    const UNSET: DiskLimits = DiskLimits { reserve: None, quota: Quota::None };

    #[test]
    fn a_reserve_is_kept_free_and_ends_with_some_slack() {
        let seen = |free| Seen { free: free * MIB, ..SEEN };
        assert_eq!(judge(Room::Ample, UNSET, seen(16)), Room::Ample);
        assert_eq!(judge(Room::Ample, UNSET, seen(15)), Room::Scarce);
        assert_eq!(judge(Room::Scarce, UNSET, seen(17)), Room::Scarce);
        assert_eq!(judge(Room::Scarce, UNSET, seen(18)), Room::Ample);
        let none = DiskLimits { reserve: Some(0), ..UNSET };
        assert_eq!(judge(Room::Ample, none, seen(0)), Room::Ample);
    }

    #[test]
    fn the_closer_the_reserve_the_sooner_it_is_looked_at() {
        let wait = |room| move |free: u64| interval(room, UNSET, Seen { free: free * MIB, ..SEEN }).as_millis();
        assert_eq!([1_000, 266, 116, 21, 17, 0].map(wait(Room::Ample)), [250, 250, 100, 5, 5, 5]);
        assert_eq!(wait(Room::Scarce)(0), 250);
    }

    #[test]
    fn a_quota_and_a_journal_without_spares_count_too() {
        for quota in [Quota::Bytes(80 * MIB), Quota::Percent(80)] {
            judged_by(DiskLimits { quota, ..UNSET });
        }
        assert_eq!(judge(Room::Ample, UNSET, Seen { lacks_spares: true, ..SEEN }), Room::Scarce);
    }

    fn judged_by(limits: DiskLimits) {
        let seen = |used| Seen { used: used * MIB, ..SEEN };
        assert_eq!(judge(Room::Ample, limits, seen(80)), Room::Ample);
        assert_eq!(judge(Room::Ample, limits, seen(81)), Room::Scarce);
        assert_eq!(judge(Room::Scarce, limits, seen(71)), Room::Scarce);
        assert_eq!(judge(Room::Scarce, limits, seen(70)), Room::Ample);
    }
}
