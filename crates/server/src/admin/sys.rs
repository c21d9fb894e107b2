//! `$SYS/broker/...`: the topics of mosquitto with its words, for the tools that read them, and a few of our own (docs/operating.md).

use std::{collections::BTreeMap, time::Duration};

use columba_broker::Shard;
use columba_proto::{PacketType, TopicName};
use columba_store::Histogram;
use tokio::{
    sync::watch,
    time::{self, MissedTickBehavior},
};

use super::{
    outside::{Live, Outside},
    process::Memory,
    shards::Shards,
    status::Status,
};

/// Publishes every so often, as `interval` says now; where it says never, nothing is left there of what was said before.
pub(super) async fn publish(outside: &Outside, mut interval: watch::Receiver<Option<Duration>>) {
    let live = outside.wait_live().await;
    let mut tree = Tree::new(live.recovery);
    loop {
        let every = *interval.borrow_and_update();
        let publishing = async {
            if let Some(every) = every {
                publish_every(outside, live, &mut tree, every).await;
            } else {
                take_back(outside, live, &mut tree).await;
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = publishing => {}
            changed = interval.changed() => {
                if changed.is_err() {
                    // Nobody is there any more who could change it.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Publishes what has changed, at once and then every `interval`.
async fn publish_every(outside: &Outside, Live { shards, journal, .. }: &Live, tree: &mut Tree, interval: Duration) {
    let mut ticks = time::interval(interval);
    // A machine that slept has nothing to make up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = match shards.status().await {
            Ok(status) => status,
            Err(error) => {
                tracing::warn!(%error, "$SYS is not published");
                continue;
            }
        };
        let syncs = journal.as_ref().map(columba_store::Watch::sync_times).unwrap_or_default();
        let news = tree.grow(&status, &syncs, Memory::read().unwrap_or_default(), outside.started.elapsed());
        outside.said().clone_from(&tree.said);
        announce(shards, news).await;
    }
}

/// Clears what was said, where anything was.
async fn take_back(outside: &Outside, Live { shards, .. }: &Live, tree: &mut Tree) {
    let said = std::mem::take(&mut tree.said);
    outside.said().clear();
    if !said.is_empty() {
        announce(shards, said.into_keys().map(|name| (topic(&name), String::new())).collect()).await;
    }
}

async fn announce(shards: &Shards, news: Vec<(String, String)>) {
    let told = shards.ask(shards.speaker(), move |brain, cx| {
        for (topic, payload) in &news {
            let topic = TopicName::new(topic).expect("a topic of our own has no wildcard");
            Shard::announce(brain, cx, topic, payload.as_bytes());
        }
    });
    if let Err(error) = told.await {
        tracing::warn!(%error, "$SYS is not published");
    }
}

fn topic(name: &str) -> String {
    format!("$SYS/broker/{name}")
}

/// What stands in the topics.
#[derive(Debug)]
struct Tree {
    said: BTreeMap<String, String>,
    loads: Loads,
    syncs: Syncs,
    recovery: Duration,
    /// The most sessions there ever were.
    clients_max: u64,
}

impl Tree {
    fn new(recovery: Duration) -> Self {
        Self { said: BTreeMap::new(), loads: Loads::default(), syncs: Syncs::default(), recovery, clients_max: 0 }
    }

    /// What is to be published: that which is new or has changed.
    fn grow(&mut self, status: &Status, syncs: &Histogram, memory: Memory, uptime: Duration) -> Vec<(String, String)> {
        self.clients_max = self.clients_max.max(status.census.attached + status.census.detached);
        let mut leaves: Vec<(String, String)> = Vec::new();
        leaves.push(("version".into(), format!("columba version {}", env!("CARGO_PKG_VERSION"))));
        leaves.push(("uptime".into(), format!("{} seconds", uptime.as_secs())));
        for (name, value) in numbers(status, memory, self.clients_max) {
            leaves.push((name.into(), value.to_string()));
        }
        leaves.push(("columba/recovery/ms".into(), self.recovery.as_millis().to_string()));
        self.syncs.advance(syncs, uptime);
        leaves.extend(self.syncs.p99_ms().map(|ms| ("columba/fsync/p99".into(), format!("{ms:.2}"))));
        self.loads.advance(status, uptime);
        leaves.extend(self.loads.shown());
        leaves.retain(|(name, text)| self.said.get(name) != Some(text));
        self.said.extend(leaves.iter().cloned());
        leaves.into_iter().map(|(name, text)| (topic(&name), text)).collect()
    }
}

/// All that is a whole number.
fn numbers(status: &Status, memory: Memory, clients_max: u64) -> [(&'static str, u64); 32] {
    let Status { counters, census, .. } = status;
    let shared = census.shared_subscriptions;
    [
        ("clients/total", census.attached + census.detached),
        ("clients/maximum", clients_max),
        ("clients/inactive", census.detached),
        ("clients/disconnected", census.detached),
        ("clients/active", census.attached),
        ("clients/connected", census.attached),
        ("clients/expired", counters.expired),
        ("messages/stored", status.stored()),
        ("messages/received", counters.packets_received.iter().sum()),
        ("messages/sent", counters.packets_sent.iter().sum()),
        ("store/messages/count", status.stored()),
        ("store/messages/bytes", status.retained_bytes as u64 + census.queued_bytes),
        ("subscriptions/count", (status.subscriptions as u64).saturating_sub(shared)),
        ("shared_subscriptions/count", shared),
        ("retained messages/count", status.retained_messages as u64),
        ("heap/current", memory.resident),
        ("heap/maximum", memory.peak),
        ("publish/messages/dropped", status.dropped()),
        ("publish/messages/received", status.publishes_received()),
        ("publish/messages/sent", status.publishes_sent()),
        ("publish/bytes/received", counters.publish_bytes_received),
        ("publish/bytes/sent", counters.publish_bytes_sent),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("connections/socket/count", status.connections as u64),
        ("columba/inflight", census.in_flight_out),
        ("columba/queue/messages", census.queued_messages),
        ("columba/queue/bytes", census.queued_bytes),
        ("columba/qos2/awaiting_rel", census.in_flight_in),
        ("columba/connections/refused", counters.refused),
        ("columba/connections/ended", counters.ended),
        ("columba/messages/repeated", counters.repeated),
    ]
}

type Count = fn(&Status) -> u64;

/// What a load is an average of.
const LOADS: [(&str, Count); 9] = [
    ("messages/received", |status| status.counters.packets_received.iter().sum()),
    ("messages/sent", |status| status.counters.packets_sent.iter().sum()),
    ("publish/dropped", Status::dropped),
    ("publish/received", Status::publishes_received),
    ("publish/sent", Status::publishes_sent),
    ("bytes/received", |status| status.counters.bytes_received),
    ("bytes/sent", |status| status.counters.bytes_sent),
    ("sockets", |status| status.counters.opened),
    ("connections", |status| status.counters.packets_received[PacketType::Connect as usize]),
];

/// Over how many minutes, and under which name.
const SPANS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Averages of what happens in a minute, in which the past fades as in the load of a Unix system.
#[derive(Debug, Default)]
struct Loads {
    /// When it was looked at last, and what the counters said then.
    last: Option<(Duration, [u64; LOADS.len()])>,
    values: [[f64; SPANS.len()]; LOADS.len()],
}

impl Loads {
    fn advance(&mut self, status: &Status, uptime: Duration) {
        let counts = LOADS.map(|(_, count)| count(status));
        if let Some((then, before)) = self.last {
            let minutes = uptime.saturating_sub(then).as_secs_f64() / 60.0;
            if minutes <= 0.0 {
                return;
            }
            for ((values, now), before) in self.values.iter_mut().zip(counts).zip(before) {
                #[expect(clippy::cast_precision_loss, reason = "two decimals of a rate are shown")]
                let rate = now.saturating_sub(before) as f64 / minutes;
                for (value, (_, span)) in values.iter_mut().zip(SPANS) {
                    let fading = (-minutes / span).exp();
                    *value = rate + fading * (*value - rate);
                }
            }
        }
        self.last = Some((uptime, counts));
    }

    fn shown(&self) -> impl Iterator<Item = (String, String)> + '_ {
        LOADS.iter().zip(&self.values).flat_map(|((name, _), values)| {
            SPANS.iter().zip(values).map(move |((span, _), value)| (format!("load/{name}/{span}"), format!("{value:.2}")))
        })
    }
}

/// Minutes in which the past of the syncs fades.
const SYNCS_SPAN: f64 = 5.0;

/// How long the journal's syncs take, of late.
#[derive(Debug, Default)]
struct Syncs {
    /// When there were new ones last, and how many there were then, by bucket.
    last: (Duration, Vec<u64>),
    /// Upper bounds in seconds, the last one infinite, and the syncs of each bucket, older ones for less.
    buckets: Vec<(f64, f64)>,
}

impl Syncs {
    fn advance(&mut self, seen: &Histogram, uptime: Duration) {
        let counts: Vec<u64> = seen.buckets.iter().map(|(_, count)| *count).collect();
        let (then, before) = &mut self.last;
        if counts.iter().sum::<u64>() == before.iter().sum::<u64>() {
            return;
        }
        before.resize(counts.len(), 0);
        self.buckets.resize(counts.len(), (0.0, 0.0));
        let fading = (-uptime.saturating_sub(*then).as_secs_f64() / 60.0 / SYNCS_SPAN).exp();
        for (((bound, value), (known, now)), before) in self.buckets.iter_mut().zip(&seen.buckets).zip(&*before) {
            #[expect(clippy::cast_precision_loss, reason = "a share of them is looked for")]
            let new = now.saturating_sub(*before) as f64;
            (*bound, *value) = (*known, *value * fading + new);
        }
        self.last = (uptime, counts);
    }

    /// Milliseconds that 99 of 100 do not exceed, as Prometheus' `histogram_quantile` would have it: spread evenly between the bounds of a bucket, and the last finite bound for what is beyond it.
    fn p99_ms(&self) -> Option<f64> {
        let wanted = 0.99 * self.buckets.iter().map(|(_, value)| value).sum::<f64>();
        let (mut below, mut low) = (0.0, 0.0);
        for &(high, value) in &self.buckets {
            if value > 0.0 && below + value >= wanted {
                let seconds = if high.is_finite() { low + (high - low) * (wanted - below) / value } else { low };
                return Some(seconds * 1000.0);
            }
            (below, low) = (below + value, high);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syncs(counts: [u64; 3]) -> Histogram {
        let buckets = [0.001, 0.01, f64::INFINITY].into_iter().zip(counts).collect();
        Histogram { buckets, count: counts.iter().sum(), sum: 0.0 }
    }

    #[test]
    fn of_syncs_the_late_ones_count() {
        let mut tree = Tree::new(Duration::ZERO);
        let mut p99 = |counts, seconds| {
            let news = tree.grow(&Status::default(), &syncs(counts), Memory::default(), Duration::from_secs(seconds));
            said(&news, "columba/fsync/p99").map(str::to_owned)
        };

        assert_eq!(p99([0, 0, 0], 0), None, "nothing is known yet");
        assert_eq!(p99([100, 0, 0], 10).as_deref(), Some("0.99"));
        assert_eq!(p99([198, 2, 0], 20).as_deref(), Some("1.15"));
        assert_eq!(p99([198, 2, 0], 3600), None, "nothing new");
        assert_eq!(p99([198, 102, 0], 3601).as_deref(), Some("9.91"));
        assert_eq!(p99([198, 102, 900], 3602).as_deref(), Some("10.00"), "that it takes longer is all that is known");
    }

    fn received(bytes: u64) -> Status {
        let mut status = Status::default();
        status.counters.bytes_received = bytes;
        status
    }

    fn said<'n>(news: &'n [(String, String)], name: &str) -> Option<&'n str> {
        let topic = format!("$SYS/broker/{name}");
        news.iter().find(|(known, _)| *known == topic).map(|(_, text)| &**text)
    }

    #[test]
    fn all_is_said_once_and_then_what_has_changed() {
        let mut tree = Tree::new(Duration::from_millis(3));

        let first = tree.grow(&received(0), &Histogram::default(), Memory::default(), Duration::ZERO);
        let second = tree.grow(&received(6), &Histogram::default(), Memory::default(), Duration::from_secs(10));

        assert_eq!(said(&first, "uptime"), Some("0 seconds"));
        assert_eq!(said(&first, "columba/recovery/ms"), Some("3"));
        let topics: Vec<&str> = second.iter().map(|(topic, _)| &**topic).collect();
        let expected =
            ["uptime", "bytes/received", "load/bytes/received/1min", "load/bytes/received/5min", "load/bytes/received/15min"];
        assert_eq!(topics, expected.map(|name| format!("$SYS/broker/{name}")));
    }

    #[test]
    fn loads_are_those_of_mosquitto() {
        let mut tree = Tree::new(Duration::ZERO);
        tree.grow(&received(0), &Histogram::default(), Memory::default(), Duration::ZERO);

        // What mosquitto 2.0.11 said of 30 bytes in 11 seconds.
        let news = tree.grow(&received(30), &Histogram::default(), Memory::default(), Duration::from_secs(11));

        let load = |span| said(&news, &format!("load/bytes/received/{span}"));
        assert_eq!((load("1min"), load("5min"), load("15min")), (Some("27.41"), Some("5.89"), Some("1.99")));
    }

    #[test]
    fn the_most_clients_ever_are_remembered() {
        let mut tree = Tree::new(Duration::ZERO);
        let mut status = Status::default();
        (status.census.attached, status.census.detached) = (3, 2);
        tree.grow(&status, &Histogram::default(), Memory::default(), Duration::ZERO);
        (status.census.attached, status.census.detached) = (1, 0);

        let news = tree.grow(&status, &Histogram::default(), Memory::default(), Duration::from_secs(1));

        assert_eq!(said(&news, "clients/total"), Some("1"));
        assert_eq!(said(&news, "clients/maximum"), None);
    }
}
