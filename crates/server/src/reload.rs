//! Another configuration while the broker runs: what it is told by, what holds at once, and what waits for the next start.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc::{self, Sender},
};

use columba_broker::{limits, seam::Commons as _};

use crate::{
    config::{Config, Durability},
    core::{Bounds, Mail, Shared},
    listeners::Listeners,
    log,
};

/// Who has asked for a reload and waits to hear what came of it.
#[derive(Debug)]
pub(crate) struct Askers {
    waiting: Mutex<Option<Vec<Sender<Outcome>>>>,
    /// What came of the last one.
    refused: AtomicBool,
}

impl Default for Askers {
    fn default() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())), refused: AtomicBool::new(false) }
    }
}

/// What came of it: keys that wait for the next start, or why nothing has changed.
pub(crate) type Outcome = Result<Vec<&'static str>, String>;

impl Askers {
    /// Waits, once a reload was asked for by `ask`, for what came of it. `None`: the broker stops.
    pub(crate) fn wait(&self, ask: impl FnOnce()) -> Option<Outcome> {
        let (asker, answer) = mpsc::channel();
        self.waiting().as_mut()?.push(asker);
        ask();
        answer.recv().ok()
    }

    /// Tells everyone who waits.
    pub(crate) fn tell(&self, outcome: &Outcome) {
        self.refused.store(outcome.is_err(), Ordering::Relaxed);
        for asker in self.waiting().iter_mut().flat_map(|askers| askers.drain(..)) {
            // It may have gone.
            asker.send(outcome.clone()).unwrap_or_default();
        }
    }

    /// Nobody hears anything any more, and nobody waits for it.
    pub(crate) fn close(&self) {
        *self.waiting() = None;
    }

    /// Whether the configuration was read again and not taken: what it said before is in force.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Nothing panics while the lock is held.
    fn waiting(&self) -> MutexGuard<'_, Option<Vec<Sender<Outcome>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the next configuration in force; the answer names the keys that wait for the next start. `limits` is what shards have now, `listeners` what is open from now on.
pub(crate) fn apply(
    shared: &Shared,
    now: &mut Config,
    limits: &mut Arc<limits::Config>,
    listeners: &Listeners,
    next: Config,
) -> Vec<&'static str> {
    let waiting = wait_for_start(now, &next);
    *limits = Arc::new(limits::Config {
        login: limits.login.clone(),
        written_listeners: listeners.written().to_vec(),
        listeners: listeners.terms().to_vec(),
        ..next.limits.clone()
    });
    for shard in 0..shared.mesh.len() {
        shared.mesh.post_one(shard, Mail::Config(Arc::clone(limits)));
    }
    shared.commons.write_index(&mut |index| index.set_strategies(next.shared.clone()));
    now.listeners = next.listeners;
    log::change(&next.log);
    shared.retained_cache.store(next.limits.retained_bytes, Ordering::Relaxed);
    now.limits = next.limits;
    now.shared = next.shared;
    now.max_connections = next.max_connections;
    now.connections_per_address = next.connections_per_address;
    now.connect_rate_per_address = next.connect_rate_per_address;
    now.memory_max = next.memory_max;
    shared.doorkeeper.allow(&Bounds::of(now));
    now.access = next.access;
    now.password_file = next.password_file;
    now.password_upgrade = next.password_upgrade;
    now.auth = next.auth;
    now.acl_file = next.acl_file;
    now.sys_interval = next.sys_interval;
    now.http = next.http;
    now.provenance = now.provenance.followed_by(&next.provenance, &waiting);
    now.log = next.log;
    now.disk = next.disk;
    now.durability = Durability { on_failure: next.durability.on_failure, ..now.durability };
    waiting
}

/// The keys that differ and are looked at when the broker starts, and only then.
fn wait_for_start(now: &Config, next: &Config) -> Vec<&'static str> {
    let durability = Durability { on_failure: now.durability.on_failure, ..next.durability };
    let differs = [
        ("data_dir", now.data != next.data),
        ("durability", now.durability != durability),
        ("runtime", now.runtime != next.runtime),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("columba.toml", text).unwrap()
    }

    #[test]
    fn what_is_looked_at_only_at_the_start_is_named() {
        let now = config("");
        for (text, expected) in [
            ("[limits]\ninflight = 5\n[log]\nfilter = \"debug\"\n[durability]\non_failure = \"exit\"\n", &[][..]),
            ("[[listener]]\nurl = \"localhost:1883\"\nmax_connections = 5\n", &[]),
            ("data_dir = \"/elsewhere\"\n[log]\nformat = \"json\"\n", &["data_dir"]),
            ("[auth.jwt]\nissuer = \"us\"\n", &[]),
            ("[[listener]]\nurl = \"localhost:1884\"\n[auth]\nanonymous = true\n", &[]),
            ("[acl]\nfile = \"other.toml\"\ndenied_publish = \"disconnect\"\n", &[]),
            ("[durability]\nsync = \"none\"\n[limits]\nretained_cache = 0\n", &["durability"]),
            ("[durability]\ndisk_quota = \"90%\"\ndisk_reserve = \"64MiB\"\n", &[]),
        ] {
            assert_eq!(wait_for_start(&now, &config(text)), expected, "{text}");
        }
    }
}
