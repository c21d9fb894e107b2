//! What the configuration's modes mean for the journal, and for whom it is asked when an acknowledgement may leave.

use std::time::Duration;

use columba_store::Schedule;

use crate::config::{Config, Sync};

/// How often the journal is synced for nobody's sake but the checkpoint's.
pub(crate) const LAZY_INTERVAL: Duration = Duration::from_secs(30);

/// One journal for all listeners.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// When it is synced: as often as the strictest listener wants.
    pub(crate) schedule: Schedule,
    /// What acknowledgements wait for.
    pub(crate) waits: Waits,
    /// Listeners that wait for less than the others.
    pub(crate) written_listeners: Vec<u16>,
}

/// What acknowledgements wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waits {
    /// The disk.
    Synced,
    /// The write, on all listeners.
    Written,
    /// The disk on some, the write on the others.
    Both,
}

impl Plan {
    pub(crate) fn of(config: &Config) -> Self {
        let syncs: Vec<Sync> = config.listeners.iter().map(|listener| config.sync_of(listener)).collect();
        let is_strict = |sync: &Sync| matches!(sync, Sync::Group | Sync::Always);
        let interval = |sync: &Sync| match sync {
            Sync::Interval => config.durability.sync_interval,
            Sync::Group | Sync::Always | Sync::None => LAZY_INTERVAL,
        };
        if !syncs.is_empty() && !syncs.iter().any(is_strict) {
            let interval = syncs.iter().map(interval).min().unwrap_or(LAZY_INTERVAL);
            return Self { schedule: Schedule::Every(interval), waits: Waits::Written, written_listeners: Vec::new() };
        }
        let written_listeners: Vec<u16> =
            (0..).zip(&syncs).filter(|(_, sync)| !is_strict(sync)).map(|(listener, _)| listener).collect();
        let waits = if written_listeners.is_empty() { Waits::Synced } else { Waits::Both };
        Self { schedule: Schedule::EachCommit, waits, written_listeners }
    }
}

/// Says once, at the start, what may be lost.
pub(crate) fn warn(config: &Config) {
    for listener in &config.listeners {
        let sync = config.sync_of(listener);
        if let Some(lost) = lost_in_power_failure(config, sync) {
            let (listener, sync) = (listener.address.to_string(), sync.name());
            tracing::warn!(listener, sync, lost, "a power failure loses what was acknowledged");
        }
    }
}

/// What a power failure takes although it was acknowledged; `None`: nothing.
pub(crate) fn lost_in_power_failure(config: &Config, sync: Sync) -> Option<String> {
    match sync {
        Sync::Group | Sync::Always => None,
        Sync::Interval => Some(format!("in the last {} ms", config.durability.sync_interval.as_millis())),
        Sync::None => Some(format!("in the last {} seconds", LAZY_INTERVAL.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    fn plan(global: Sync, listeners: &[Option<Sync>]) -> Plan {
        let mut config = Config { listeners: Vec::new(), ..Config::default() };
        config.durability.sync = global;
        config.listeners.extend(listeners.iter().map(|&sync| Listener { sync, ..Listener::local() }));
        Plan::of(&config)
    }

    #[test]
    fn the_strictest_listener_says_how_often_the_journal_is_synced() {
        let each = |waits, written_listeners| Plan { schedule: Schedule::EachCommit, waits, written_listeners };
        let every = |ms| Plan {
            schedule: Schedule::Every(Duration::from_millis(ms)),
            waits: Waits::Written,
            written_listeners: Vec::new(),
        };

        assert_eq!(plan(Sync::Group, &[None]), each(Waits::Synced, vec![]));
        assert_eq!(plan(Sync::Always, &[None, None]), each(Waits::Synced, vec![]));
        assert_eq!(plan(Sync::Interval, &[None]), every(200));
        assert_eq!(plan(Sync::None, &[None]), every(30_000));
        assert_eq!(plan(Sync::None, &[None, Some(Sync::Interval)]), every(200));
        assert_eq!(plan(Sync::None, &[None, Some(Sync::Group), Some(Sync::Interval)]), each(Waits::Both, vec![0, 2]));
        assert_eq!(plan(Sync::Group, &[Some(Sync::None)]), every(30_000));
    }
}
