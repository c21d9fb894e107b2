//! What the control plane knows of the broker.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, SetOnce, watch};

use columba_broker::seam::Commons as _;
use columba_store::ColdRead;

use super::{
    http::api::{Keys, Ticks},
    shards::Shards,
};
use crate::{
    config::{Access, Config, Data},
    login::Fetched,
    tokens,
    watch::WatchedFiles,
};

/// The broker as it is seen from outside: before, while and after it has shards.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) started: Instant,
    /// Who may use the API.
    pub(super) keys: Keys,
    in_force: RwLock<Arc<InForce>>,
    /// The log is to say how it is going.
    pub(super) is_asked: Notify,
    /// The keys of tokens that are fetched.
    pub(super) key_set: watch::Sender<Option<Arc<Fetched>>>,
    /// Held while it is changed.
    pub(super) users_file: tokio::sync::Mutex<()>,
    /// What is made once a second for those who look.
    pub(super) ticks: Ticks,
    live: SetOnce<Live>,
    is_draining: AtomicBool,
    /// What stands in `$SYS`.
    said: Mutex<BTreeMap<String, String>>,
}

/// What the journal does not have any more.
#[derive(Clone)]
pub(crate) struct Cold(pub(crate) Arc<dyn ColdRead>);

impl fmt::Debug for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cold")
    }
}

/// What is known once everything is brought back.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) shards: Shards,
    /// How long the recovery took.
    pub(crate) recovery: Duration,
    /// The journal, where there is one.
    pub(crate) journal: Option<columba_store::Watch>,
    /// The cold store, where there is one.
    pub(crate) cold: Option<Cold>,
    /// The files that are looked at.
    pub(crate) files: WatchedFiles,
}

/// What the configuration says that is in force.
#[derive(Debug)]
pub(super) struct InForce {
    /// Clients have to say who they are, or may not do everything: who is on this machine is nobody special.
    pub(super) has_rules: bool,
    /// Who may log in.
    pub(super) password_file: Option<PathBuf>,
    /// By which names the HTTP port is known, beside addresses and `localhost`.
    pub(super) hosts: Vec<Box<str>>,
    /// Whether there is `/metrics`.
    pub(super) has_metrics: bool,
    /// All of it, with who said it.
    pub(super) items: Vec<serde_json::Value>,
    /// Keys that say something else by now, and wait for the next start.
    pub(super) waiting: Vec<&'static str>,
}

impl InForce {
    fn of(config: &Config, waiting: Vec<&'static str>) -> Self {
        Self {
            has_rules: config.access == Access::Users || config.password_file.is_some() || config.acl_file.is_some(),
            password_file: config.password_file.clone(),
            hosts: config.http.hosts.clone(),
            has_metrics: config.http.metrics,
            items: config.provenance.shown(config),
            waiting,
        }
    }
}

/// Where the tokens of the API stand, if they are kept anywhere.
fn tokens_file(config: &Config) -> Option<PathBuf> {
    match (&config.http.tokens_file, &config.data) {
        (Some(path), _) => Some(path.clone()),
        (None, Data::Directory(path)) => Some(path.join(tokens::FILE)),
        (None, Data::Ephemeral) => None,
    }
}

impl Outside {
    pub(super) fn new(config: &Config, key_set: Option<Arc<Fetched>>) -> Self {
        Self {
            keys: Keys::new(tokens_file(config)),
            in_force: RwLock::new(Arc::new(InForce::of(config, Vec::new()))),
            is_asked: Notify::new(),
            key_set: watch::Sender::new(key_set),
            users_file: tokio::sync::Mutex::default(),
            ticks: Ticks::default(),
            started: Instant::now(),
            live: SetOnce::new(),
            is_draining: AtomicBool::new(false),
            said: Mutex::default(),
        }
    }

    /// Another configuration is in force.
    pub(super) fn set_config(&self, config: &Config, waiting: &[&'static str], key_set: Option<Arc<Fetched>>) {
        self.keys.stand_in(tokens_file(config));
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(InForce::of(config, waiting.to_vec()));
        self.key_set.send_if_modified(|now| {
            let is_same = now.as_ref().map(Arc::as_ptr) == key_set.as_ref().map(Arc::as_ptr);
            *now = key_set;
            !is_same
        });
    }

    /// What the configuration says.
    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The recovery is over.
    pub(super) fn set_live(&self, live: Live) {
        // It goes live once.
        drop(self.live.set(live));
    }

    /// The shards, unless the broker is still bringing back what was stored.
    pub(super) fn live(&self) -> Option<&Shards> {
        self.live.get().map(|live| &live.shards)
    }

    /// All that is known then.
    pub(super) fn alive(&self) -> Option<&Live> {
        self.live.get()
    }

    /// Waits for the end of the recovery.
    pub(super) async fn wait_live(&self) -> &Live {
        self.live.wait().await
    }

    /// How many retained messages are the broker's own.
    pub(super) fn own_retained(&self, shards: &Shards) -> usize {
        let (said, mut own) = (self.said(), 0);
        shards.commons().read_retained(&mut |store| {
            own = said.keys().filter(|name| store.get(&format!("$SYS/broker/{name}"), shards.now()).is_some()).count();
        });
        own
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
