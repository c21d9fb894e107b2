//! What the control plane knows of the broker.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::shards::Shards;
use crate::config::Http;

/// The broker as it is seen from outside: before, while and after it has shards.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) http: Http,
    pub(crate) started: Instant,
    live: OnceLock<Live>,
    goes_live: Notify,
    is_draining: AtomicBool,
    /// What stands in `$SYS`.
    said: Mutex<BTreeMap<String, String>>,
}

/// What is known once everything is brought back.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) shards: Shards,
    /// How long the recovery took.
    pub(crate) recovery: Duration,
    /// What each listener is called, by its number.
    pub(crate) listeners: Vec<String>,
    /// The journal, where there is one.
    pub(crate) journal: Option<columba_store::Watch>,
}

impl Outside {
    pub(super) fn new(http: Http) -> Self {
        Self {
            http,
            started: Instant::now(),
            live: OnceLock::new(),
            goes_live: Notify::new(),
            is_draining: AtomicBool::new(false),
            said: Mutex::default(),
        }
    }

    /// The recovery is over.
    pub(super) fn set_live(&self, live: Live) {
        // It goes live once.
        drop(self.live.set(live));
        self.goes_live.notify_one();
    }

    /// The shards, unless the broker is still bringing back what was stored.
    pub(super) fn live(&self) -> Option<&Shards> {
        self.live.get().map(|live| &live.shards)
    }

    /// All that is known then.
    pub(super) fn alive(&self) -> Option<&Live> {
        self.live.get()
    }

    /// Waits for the end of the recovery; for one who waits.
    pub(super) async fn wait_live(&self) -> &Live {
        loop {
            if let Some(live) = self.live.get() {
                return live;
            }
            self.goes_live.notified().await;
        }
    }

    pub(super) fn drains(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Nothing panics while the lock is held.
    pub(super) fn said(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
