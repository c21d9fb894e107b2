//! What QoS 0, 1 and 2 mean on this deployment: the configuration and the disk under it, said for people.

use std::{
    fmt::{self, Display},
    path::Path,
};

use columba_broker::{MissedQos0, QueueFull, limits};
use columba_store::place::{FileSystem, Kind};

use crate::{
    config::{Config, Data, OnFailure, Quota, Sync},
    durability,
};

/// Everything that is promised, and everything that is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guarantees {
    /// Where it is kept, like `/var/lib/columba (ext4)`.
    pub place: String,
    /// Why that cannot be relied on.
    pub place_warning: Option<&'static str>,
    /// What each listener's clients can count on.
    pub listeners: Vec<Promises>,
    /// What configured bounds do when they are reached.
    pub bounds: Vec<Row>,
    /// Which QoS to choose.
    pub advice: [Row; 3],
}

/// One listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Promises {
    /// Its address.
    pub listener: String,
    /// Its mode: group, always, interval, none or ephemeral.
    pub sync: &'static str,
    /// What each QoS means.
    pub qos: [Row; 3],
    /// What each failure takes of what was acknowledged.
    pub failures: Vec<Row>,
}

/// Something and what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub means: String,
}

impl Row {
    fn new(name: &'static str, means: impl Into<String>) -> Self {
        Self { name, means: means.into() }
    }
}

/// How safe what was acknowledged is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kept<'a> {
    /// Nowhere but in memory.
    InMemory,
    /// In a file: it outlives the process.
    Written { on: &'a str },
    /// On disk.
    Synced { on: &'a str },
}

impl Guarantees {
    /// Reads the configuration, and looks at the file system that the data directory is on or will be made on.
    pub fn of(config: &Config) -> Self {
        let kind = match &config.data {
            Data::Directory(path) => {
                existing(path).and_then(|path| FileSystem::of(path).ok()).map_or(Kind::Unknown, |disk| disk.kind)
            }
            Data::Ephemeral => Kind::Unknown,
        };
        Self::on(config, kind)
    }

    fn on(config: &Config, kind: Kind) -> Self {
        let (place, place_warning) = match &config.data {
            Data::Directory(path) => (format!("{} ({})", path.display(), kind.name()), kind.warning()),
            Data::Ephemeral => ("memory only (--ephemeral)".to_owned(), None),
        };
        let promises = |listener| promises(config, config.sync_of(listener), listener.address.to_string(), &place);
        let listeners = config.listeners.iter().map(promises).collect();
        Self { listeners, bounds: bounds(config), advice: advice(), place, place_warning }
    }
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above }).find(|above| above.exists())
}

fn promises(config: &Config, sync: Sync, listener: String, place: &str) -> Promises {
    let kept = match (&config.data, sync) {
        (Data::Ephemeral, _) => Kept::InMemory,
        (Data::Directory(_), Sync::Group | Sync::Always) => Kept::Synced { on: place },
        (Data::Directory(_), Sync::Interval | Sync::None) => Kept::Written { on: place },
    };
    let name = if kept == Kept::InMemory { "ephemeral" } else { sync.name() };
    Promises { listener, sync: name, qos: qos(kept, config.limits.missed_qos0), failures: failures(config, sync, kept) }
}

fn qos(kept: Kept<'_>, missed: MissedQos0) -> [Row; 3] {
    let at_most_once = match missed {
        MissedQos0::Lost => "at most once: forwarded at once and kept nowhere; a loss is not noticed",
        MissedQos0::Waits => "at most once: forwarded at once, and kept in memory for who is away; a loss is not noticed",
    };
    let state = match kept {
        Kept::InMemory => "in memory".to_owned(),
        Kept::Written { on } => format!("written to {on}, not yet synced"),
        Kept::Synced { on } => format!("fsynced on {on}"),
    };
    let at_least_once =
        format!("at least once: PUBACK => {state}, for every session that outlives its connection; a repetition is possible");
    let exactly_once = format!(
        "exactly once: PUBREC => the message and its identifier {state}; PUBCOMP => {state} for every session that outlives its connection; \
         a repetition is recognised"
    );
    [Row::new("QoS 0", at_most_once), Row::new("QoS 1", at_least_once), Row::new("QoS 2", exactly_once)]
}

fn failures(config: &Config, sync: Sync, kept: Kept<'_>) -> Vec<Row> {
    let nothing = "nothing that was acknowledged is lost, nothing of QoS 2 repeated";
    let everything = "all sessions, queued and retained messages are lost";
    let process = if kept == Kept::InMemory { everything } else { nothing };
    let lost = durability::lost_in_power_failure(config, sync);
    let power = match (kept, &lost) {
        (Kept::InMemory, _) => everything.to_owned(),
        (_, None) => nothing.to_owned(),
        (_, Some(lost)) => format!("what was acknowledged {lost} can be lost; QoS 2 of that time can be repeated or lost"),
    };
    let mut rows = vec![
        Row::new(
            "a connection is cut",
            "nothing: what was not acknowledged is sent again when the client comes back to its session",
        ),
        Row::new("the process is killed", process),
        Row::new("the power fails", power),
    ];
    if kept != Kept::InMemory {
        let after = match config.durability.on_failure {
            OnFailure::Stay => {
                "nothing durable is acknowledged until a restart; QoS 0 and sessions that end with their connection go on"
            }
            OnFailure::Exit => "the process leaves with an error, for a supervisor to start it again",
        };
        let before = lost.map(|lost| format!("what was acknowledged {lost} can be lost; ")).unwrap_or_default();
        rows.push(Row::new("a write or sync fails", format!("{before}{after}")));
        rows.push(Row::new(
            "the disk lies about syncs",
            "a power failure can take anything; the start measures a sync and says so where it is too fast",
        ));
    }
    rows
}

/// What happens at each bound that can refuse or drop something. A new policy gets a row here.
fn bounds(config: &Config) -> Vec<Row> {
    let mut rows = Vec::new();
    if config.data != Data::Ephemeral {
        let refused = "what would be stored is refused (0x97; a 3.x client is not answered and disconnected after 30 s), acknowledgements and \
                       deletions go on; nothing that was acknowledged is dropped";
        let quota = match config.disk.quota {
            Quota::Percent(percent) => format!("{percent} % of the file system: {refused}"),
            Quota::Bytes(bytes) => format!("{} MiB in the data directory: {refused}", bytes >> 20),
            Quota::None => format!("none but the reserve (durability.disk_reserve): {refused}"),
        };
        rows.push(Row::new("durability.disk_quota", quota));
        rows.push(Row::new("queues of durable sessions", durable_queues(&config.limits)));
        if let Some(age) = config.limits.queue_age_ms {
            let lost = format!("acknowledged messages that have waited for {} s are dropped and told", age.div_ceil(1000));
            rows.push(Row::new("limits.queue_age", lost));
        }
    }
    rows.push(Row::new(
        "queues of other sessions",
        format!(
            "{} messages: then QoS 1 and 2 publishers are slowed down; a reader that does not read for {} s is disconnected, QoS 0 is dropped \
             and counted",
            config.limits.ephemeral_queue_max,
            config.limits.slow_consumer_timeout_ms / 1000
        ),
    ));
    rows
}

/// What a full queue loses, by the policy that was chosen.
fn durable_queues(limits: &limits::Config) -> String {
    if !limits.limits_queues() {
        return "no bound of their own: nothing is dropped but what expires, and what is larger than its reader takes".to_owned();
    }
    let bound = |max: u64, unit| (max != u64::MAX).then(|| format!("{max} {unit}"));
    let bounds = [bound(limits.queue_messages_max, "messages"), bound(limits.queue_bytes_max, "bytes")];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    let lost = match limits.queue_full {
        QueueFull::Reject => "the publisher is refused (0x97; in 3.x dropped unanswered): nothing that was acknowledged is lost",
        QueueFull::DropNewest => "LOSES acknowledged messages: the new one is dropped for that session, and told",
        QueueFull::DropOldest => "LOSES acknowledged messages: the one that waits longest is dropped for that session, and told",
        QueueFull::Disconnect => "LOSES acknowledged messages: the session ends with all that it had",
    };
    let letters = match (&limits.dead_letter_topic, limits.queue_full) {
        (Some(topic), QueueFull::DropNewest | QueueFull::DropOldest) => format!("; it is published below {topic}/"),
        (Some(_) | None, QueueFull::Reject | QueueFull::Disconnect) | (None, QueueFull::DropNewest | QueueFull::DropOldest) => {
            String::new()
        }
    };
    format!("at {}: {lost}{letters}", bounds.join(" or "))
}

fn advice() -> [Row; 3] {
    [
        Row::new("QoS 0", "for a steady network, where a loss can be borne and nobody needs what came while away"),
        Row::new("QoS 1", "where every message is wanted and a repetition does no harm; faster than QoS 2"),
        Row::new(
            "QoS 2",
            "where every message is wanted and a repetition would do harm; twice the frames, the highest cost and latency",
        ),
    ]
}

impl Display for Guarantees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kept in {}", self.place)?;
        if let Some(warning) = self.place_warning {
            writeln!(f, "WARNING: {warning}")?;
        }
        for Promises { listener, sync, qos, failures } in &self.listeners {
            writeln!(f, "\nlistener {listener} (sync = {sync})")?;
            rows(f, qos)?;
            writeln!(f, "  when")?;
            rows(f, failures)?;
        }
        writeln!(f, "\nbounds")?;
        rows(f, &self.bounds)?;
        writeln!(f, "\nwhich QoS to choose (a message is delivered at the lower of the publication's and the subscription's)")?;
        rows(f, &self.advice)
    }
}

fn rows(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|Row { name, means }| writeln!(f, "  {name:width$}  {means}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    fn config(sync: Sync) -> Config {
        let mut config = Config { data: Data::Directory("/data".into()), ..Config::default() };
        config.durability.sync = sync;
        config
    }

    fn on_ext4(config: &Config) -> Guarantees {
        Guarantees::on(config, Kind::Local("ext4"))
    }

    fn means<'a>(rows: &'a [Row], name: &str) -> &'a str {
        &rows.iter().find(|row| row.name == name).unwrap().means
    }

    #[test]
    fn group_says_fsynced_and_loses_nothing() {
        let told = on_ext4(&config(Sync::Group));

        let listener = &told.listeners[0];
        assert!(listener.qos[1].means.contains("PUBACK => fsynced on /data (ext4)"), "{told}");
        assert!(listener.qos[2].means.contains("PUBCOMP => fsynced on /data (ext4)"), "{told}");
        for failure in ["the process is killed", "the power fails"] {
            assert!(means(&listener.failures, failure).starts_with("nothing that was acknowledged is lost"), "{told}");
        }
        assert_eq!(on_ext4(&config(Sync::Always)).listeners[0].qos, listener.qos);
    }

    #[test]
    fn the_weaker_modes_say_what_a_power_failure_takes() {
        for (sync, lost) in
            [(Sync::Interval, "in the last 200 ms can be lost"), (Sync::None, "in the last 30 seconds can be lost")]
        {
            let told = on_ext4(&config(sync));
            let listener = &told.listeners[0];
            assert!(listener.qos[1].means.contains("not yet synced"), "{told}");
            assert!(means(&listener.failures, "the process is killed").starts_with("nothing"), "{told}");
            assert!(means(&listener.failures, "the power fails").contains(lost), "{told}");
        }
    }

    #[test]
    fn each_listener_speaks_for_itself() {
        let mut config = config(Sync::Group);
        config.listeners.push(Listener { sync: Some(Sync::None), ..Listener::local() });

        let told = on_ext4(&config);

        assert_eq!(told.listeners.iter().map(|listener| listener.sync).collect::<Vec<_>>(), ["group", "none"]);
    }

    #[test]
    fn memory_and_a_directory_that_cannot_be_relied_on_are_named() {
        let told = Guarantees::of(&Config { data: Data::Ephemeral, ..Config::default() });
        assert!(means(&told.listeners[0].failures, "the process is killed").contains("lost"), "{told}");
        assert_eq!(told.listeners[0].sync, "ephemeral");
        assert!(!told.to_string().contains("fsync"), "{told}");

        let told = Guarantees::on(&config(Sync::Group), Kind::Memory("tmpfs"));
        assert!(told.to_string().contains("WARNING: it is in memory"), "{told}");
    }

    #[test]
    fn the_bounds_are_those_of_the_configuration() {
        let quota = |quota| {
            let mut config = config(Sync::Group);
            config.disk.quota = quota;
            means(&on_ext4(&config).bounds, "durability.disk_quota").to_owned()
        };

        assert!(quota(Quota::Percent(80)).starts_with("80 % of the file system"));
        assert!(quota(Quota::Bytes(64 << 20)).starts_with("64 MiB"));
        assert!(quota(Quota::None).starts_with("none but the reserve"));
    }

    #[test]
    fn a_queue_policy_says_what_it_loses() {
        let told = |full| {
            let mut config = config(Sync::Group);
            config.limits.queue_messages_max = 1000;
            config.limits.queue_full = full;
            means(&on_ext4(&config).bounds, "queues of durable sessions").to_owned()
        };

        assert!(means(&on_ext4(&config(Sync::Group)).bounds, "queues of durable sessions").starts_with("no bound"));
        let mut with_letters = config(Sync::Group);
        with_letters.limits.queue_messages_max = 1000;
        with_letters.limits.queue_full = QueueFull::DropOldest;
        with_letters.limits.dead_letter_topic = Some("dead".into());
        assert!(means(&on_ext4(&with_letters).bounds, "queues of durable sessions").ends_with("it is published below dead/"));
        assert!(told(QueueFull::Reject).ends_with("nothing that was acknowledged is lost"));
        for policy in [QueueFull::DropNewest, QueueFull::DropOldest, QueueFull::Disconnect] {
            assert!(told(policy).starts_with("at 1000 messages: LOSES acknowledged messages"));
        }
        let mut aged = config(Sync::Group);
        aged.limits.queue_age_ms = Some(60_000);
        assert!(means(&on_ext4(&aged).bounds, "limits.queue_age").contains("60 s"));
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(&dir.path().join("a/b")), Some(dir.path()));
        assert_eq!(existing(Path::new("not-there/at-all")), Some(Path::new(".")));
    }
}
