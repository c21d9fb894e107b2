//! What appenders and the commit thread share.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use super::times::Times;
use crate::log::{Commit, LogError};

/// Bytes of one shard that wait for company, before they are committed all the same.
const IDLE_BYTES_MAX: usize = 64 << 10;

pub(super) struct Shared {
    pub(super) lanes: Box<[Lane]>,
    durable: AtomicU64,
    /// The last commit that is in the file, synced or not.
    in_file: AtomicU64,
    /// Bytes ever appended; grows under the shard's lock.
    pub(super) appended: AtomicU64,
    /// Bytes ever made durable.
    written: AtomicU64,
    /// Someone waits for what is appended: the next commit begins when the last has ended.
    pub(super) urgent: AtomicBool,
    /// The commit thread knows that something is appended that nobody waits for.
    pub(super) idle_noticed: AtomicBool,
    /// Set by the commit thread before it parks. Whoever appends and sees it wakes the thread.
    pub(super) sleeping: AtomicBool,
    pub(super) stopping: AtomicBool,
    pub(super) waits_for_space: AtomicBool,
    /// Someone wants the next segment to be a short one.
    pub(super) shrink: AtomicBool,
    failed: OnceLock<Arc<LogError>>,
    thread: OnceLock<Thread>,
    waiters: AtomicUsize,
    waiting: Mutex<()>,
    progress: Condvar,
    /// How long syncs take.
    pub(super) sync_times: Times,
}

/// One shard's half of the double buffer, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Lane {
    open: Mutex<Open>,
    pub(super) muted: AtomicBool,
}

/// What is appended and not yet cut.
pub(super) struct Open {
    pub(super) bytes: Vec<u8>,
    /// The commit that will carry them. It changes under this lock, at the cut, so nothing is ever promised to a commit
    /// that does not carry it.
    pub(super) commit: Commit,
    /// The commit of the last append.
    pub(super) last: Commit,
}

impl Lane {
    pub(super) fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn new(shards: usize, durable: Commit) -> Self {
        let lane = || Lane {
            open: Mutex::new(Open { bytes: Vec::new(), commit: durable.next(), last: durable }),
            muted: AtomicBool::new(false),
        };
        Self {
            lanes: (0..shards).map(|_| lane()).collect(),
            durable: AtomicU64::new(durable.0),
            in_file: AtomicU64::new(durable.0),
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            urgent: AtomicBool::new(false),
            idle_noticed: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            waits_for_space: AtomicBool::new(false),
            shrink: AtomicBool::new(false),
            failed: OnceLock::new(),
            thread: OnceLock::new(),
            waiters: AtomicUsize::new(0),
            waiting: Mutex::new(()),
            progress: Condvar::new(),
            sync_times: Times::default(),
        }
    }

    pub(super) fn set_thread(&self, thread: Thread) {
        // Set once, right after the thread was made.
        drop(self.thread.set(thread));
    }

    pub(super) fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn append(&self, shard: usize, bytes: &[u8]) -> Commit {
        let (commit, _) = self.add(shard, bytes);
        self.hurry();
        commit
    }

    pub(super) fn append_idly(&self, shard: usize, bytes: &[u8]) -> Commit {
        let (commit, open) = self.add(shard, bytes);
        if open >= IDLE_BYTES_MAX {
            self.hurry();
        } else if !self.idle_noticed.swap(true, SeqCst) {
            self.wake_thread();
        }
        commit
    }

    pub(super) fn hurry(&self) {
        self.urgent.store(true, SeqCst);
        self.wake_thread();
    }

    /// The commit that will carry the bytes, and how many the shard has in it.
    fn add(&self, shard: usize, bytes: &[u8]) -> (Commit, usize) {
        let mut open = self.lanes[shard].lock();
        // After a failure nobody takes the bytes any more: do not gather them.
        if self.failed.get().is_none() {
            open.bytes.extend_from_slice(bytes);
            self.appended.fetch_add(bytes.len() as u64, SeqCst);
        }
        open.last = open.commit;
        (open.commit, open.bytes.len())
    }

    /// The thread sets `sleeping`, then looks for work once more; callers made the work and look here now. One of us sees.
    fn wake_thread(&self) {
        if self.sleeping.load(SeqCst) && self.sleeping.swap(false, SeqCst) {
            self.unpark();
        }
    }

    pub(super) fn durable(&self) -> Commit {
        Commit(self.durable.load(SeqCst))
    }

    pub(super) fn written(&self) -> Commit {
        Commit(self.in_file.load(SeqCst))
    }

    pub(super) fn publish_written(&self, commit: Commit) {
        self.in_file.store(commit.0, SeqCst);
    }

    pub(super) fn failed(&self) -> Option<Arc<LogError>> {
        self.failed.get().cloned()
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        // `written` first: it never overtakes an `appended` that is read later.
        let written = self.written.load(SeqCst);
        self.appended.load(SeqCst).saturating_sub(written)
    }

    pub(super) fn publish(&self, commit: Commit) {
        self.durable.store(commit.0, SeqCst);
        self.notify();
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Relaxed);
    }

    pub(super) fn fail(&self, error: LogError) {
        // The first reason is the one that counts.
        drop(self.failed.set(Arc::new(error)));
        self.notify();
    }

    fn notify(&self) {
        if self.waiters.load(SeqCst) > 0 {
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.progress.notify_all();
        }
    }

    pub(super) fn wait_durable(&self, commit: Commit) -> Result<(), Arc<LogError>> {
        self.hurry();
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiters.fetch_add(1, SeqCst);
        let result = loop {
            if self.durable() >= commit {
                break Ok(());
            }
            if let Some(error) = self.failed() {
                break Err(error);
            }
            guard = self.progress.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.waiters.fetch_sub(1, SeqCst);
        result
    }
}
