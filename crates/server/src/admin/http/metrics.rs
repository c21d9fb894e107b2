//! `/metrics`: `OpenMetrics` under our names, or what an exporter makes of mosquitto's `$SYS`.

use std::{collections::BTreeMap, fmt, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use columba_broker::{
    auth::Way,
    event::DropReason,
    stats::{LoginOutcome, REFUSALS},
};
use columba_proto::{PacketType, Version};
use columba_store::Histogram;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::Registry,
};
use serde::Deserialize;

use super::problem::Problem;
use crate::{
    admin::{outside::Outside, process::Memory, status::Status},
    core::Refused,
    listeners::online_by_name,
    login::KeySetSeen,
    watch::WatchedFiles,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a request may ask for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    names: Option<Names>,
}

/// Whose names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Names {
    Columba,
    Mosquitto,
}

pub(super) async fn show(
    State(outside): State<Arc<Outside>>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if !outside.in_force().has_metrics {
        return Problem::not_found("http.metrics is false").into_response();
    }
    let names = match asked {
        Ok(Query(asked)) => asked.names.unwrap_or(Names::Columba),
        Err(_) => return Problem::new(StatusCode::BAD_REQUEST, "names is columba or mosquitto").into_response(),
    };
    match names {
        Names::Columba => match ours(&outside).await {
            Ok(text) => text_of(OPEN_METRICS, text),
            Err(problem) => problem.into_response(),
        },
        Names::Mosquitto => {
            let said = outside.said().clone();
            if said.is_empty() {
                return Problem::not_found("$SYS is not published: sys.interval is 0, or the broker has just begun")
                    .into_response();
            }
            text_of(PROMETHEUS, mosquittos(&said))
        }
    }
}

fn text_of(kind: &'static str, text: String) -> Response {
    let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, kind)];
    (headers, text).into_response()
}

async fn ours(outside: &Outside) -> Result<String, Problem> {
    let Some(live) = outside.alive() else {
        return Err(Problem::unavailable("the broker is bringing back what was stored"));
    };
    let status = live.shards.status().await.map_err(|error| Problem::unavailable(error.to_string()))?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Seen {
        retained: status.retained_messages.saturating_sub(outside.own_retained(&live.shards)),
        status,
        listeners: live.shards.listeners(),
        certificates: live.shards.certificates_expire_s(),
        files: refused(&live.files),
        key_set: outside.key_set.borrow().as_ref().map(|set| (set.url().to_string(), set.seen())),
        has_refused_reload: live.shards.has_refused_reload(),
        syncs: live.journal.as_ref().map(columba_store::Watch::sync_times),
        memory: Memory::read(),
        uptime: outside.started.elapsed(),
        recovery: live.recovery,
    }));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Problem::unavailable("the numbers cannot be written"))?;
    Ok(text)
}

/// Each file once, also where several listeners have the same.
fn refused(files: &WatchedFiles) -> Vec<(&'static str, String, bool)> {
    let mut all = BTreeMap::new();
    for file in files.now() {
        *all.entry((file.what, file.path.display().to_string())).or_insert(false) |= file.is_refused;
    }
    all.into_iter().map(|((what, path), refused)| (what, path, refused)).collect()
}

/// Everything that is shown, of one moment.
#[derive(Debug)]
struct Seen {
    status: Status,
    retained: usize,
    listeners: Vec<String>,
    /// When they end, by listener, in seconds since 1970.
    certificates: BTreeMap<String, u64>,
    files: Vec<(&'static str, String, bool)>,
    /// Where the keys of tokens are fetched, and what has come of it.
    key_set: Option<(String, KeySetSeen)>,
    has_refused_reload: bool,
    syncs: Option<Histogram>,
    memory: Option<Memory>,
    uptime: Duration,
    recovery: Duration,
}

const QOS: [&str; 3] = ["0", "1", "2"];

type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

/// Writes families one after the other.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value.as_secs_f64())
    }
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.clients(&mut families)?;
        self.traffic(&mut families)?;
        self.kept(&mut families)?;
        self.files(&mut families)?;
        self.process(&mut families)
    }
}

impl Seen {
    fn clients(&self, families: &mut Families<'_>) -> fmt::Result {
        let counters = &self.status.counters;
        let mut connections = Vec::new();
        for (listener, counts) in online_by_name(&self.listeners, &counters.online) {
            for (version, count) in Version::ALL.into_iter().zip(counts) {
                connections.push(([("listener", listener), ("version", version.name())], count));
            }
        }
        families.gauges("columba_connections", "Clients that are connected", connections)?;
        let sessions = &self.status.census;
        let states = [([("state", "connected")], sessions.attached), ([("state", "away")], sessions.detached)];
        families.gauges("columba_sessions", "Sessions, by whether their client is here", states)?;
        families.gauge(
            "columba_sockets",
            "Open connections, with those that have not said CONNECT",
            self.status.connections as u64,
        )?;
        families.counter("columba_sockets_opened", "Connections accepted from the network", counters.opened)?;
        let results = [([("result", "accepted")], counters.accepted), ([("result", "refused")], counters.refused)];
        families.counters("columba_connects", "Connections, by what became of their CONNECT", results)?;
        let logins = LoginOutcome::ALL.into_iter().flat_map(|outcome| {
            let counts = &counters.logins[outcome as usize];
            let one = move |way: &Way| ([("method", way.name()), ("result", outcome.name())], counts[*way as usize]);
            outcome.ways().iter().map(one)
        });
        families.counters("columba_auth", "Clients that were to say who they are, by how, and by what became of it", logins)?;
        let words = REFUSALS.map(|reason| reason.name().to_lowercase().replace(' ', "-"));
        let refusals = words.iter().zip(counters.refusals).map(|(word, count)| ([("reason", &**word)], count));
        let help = "What clients were refused, or sent away for, by reason code";
        families.counters("columba_reason_codes", help, refusals)?;
        let limits = Refused::ALL.into_iter().zip(self.status.refused).map(|(limit, count)| ([("limit", limit.name())], count));
        families.counters("columba_refused", "Connections refused or sent away for a limit", limits)?;
        families.counter(
            "columba_takeover_fights",
            "Several connections that fight for one client identifier",
            counters.fights,
        )?;
        families.counter("columba_bans", "Client identifiers that came too often and were banned", counters.bans)?;
        families.counter("columba_disconnects", "Accepted connections that ended", counters.ended)?;
        families.counter(
            "columba_takeovers",
            "Those that ended because their client came on another one",
            counters.taken_over,
        )?;
        families.counter("columba_sessions_expired", "Sessions whose expiry interval passed", counters.expired)?;
        let shared = sessions.shared_subscriptions;
        let plain = (self.status.subscriptions as u64).saturating_sub(shared);
        let kinds = [([("kind", "plain")], plain), ([("kind", "shared")], shared)];
        families.gauges("columba_subscriptions", "Subscriptions", kinds)
    }

    fn traffic(&self, families: &mut Families<'_>) -> fmt::Result {
        let counters = &self.status.counters;
        let by_qos = |counts: [u64; 3]| QOS.into_iter().zip(counts).map(|(qos, count)| ([("qos", qos)], count));
        families.counters("columba_publish_received", "PUBLISH from clients", by_qos(counters.publishes_received))?;
        families.counters("columba_publish_sent", "PUBLISH to clients", by_qos(counters.publishes_sent))?;
        let payloads =
            [([("direction", "in")], counters.publish_bytes_received), ([("direction", "out")], counters.publish_bytes_sent)];
        families.counters("columba_payload_bytes", "Bytes of the payloads of PUBLISH", payloads)?;
        let bytes = [([("direction", "in")], counters.bytes_received), ([("direction", "out")], counters.bytes_sent)];
        families.counters("columba_bytes", "Bytes of MQTT, without those of TLS and WebSocket", bytes)?;
        let packets =
            [("in", counters.packets_received), ("out", counters.packets_sent)].into_iter().flat_map(|(direction, counts)| {
                PacketType::ALL
                    .into_iter()
                    .map(move |kind| ([("direction", direction), ("type", kind.name())], counts[kind as usize]))
            });
        families.counters("columba_packets", "Control packets", packets)?;
        let dropped =
            DropReason::ALL.into_iter().zip(counters.dropped).map(|(reason, count)| ([("reason", reason.name())], count));
        families.counters("columba_dropped", "Messages that a client did not get, or may not publish", dropped)?;
        families.counter("columba_redelivered", "PUBLISH sent again, with DUP", counters.repeated)
    }

    fn kept(&self, families: &mut Families<'_>) -> fmt::Result {
        let census = &self.status.census;
        families.gauge("columba_queued_messages", "Messages that wait for clients", census.queued_messages)?;
        families.gauge("columba_queued_bytes", "Bytes that wait for clients", census.queued_bytes)?;
        let inflight = [([("direction", "in")], census.in_flight_in), ([("direction", "out")], census.in_flight_out)];
        families.gauges("columba_inflight", "QoS 1 and 2 messages whose exchange is open", inflight)?;
        let stages = [
            ([("stage", "awaiting_pubrec")], census.awaiting_pubrec),
            ([("stage", "awaiting_pubrel")], census.in_flight_in),
            ([("stage", "awaiting_pubcomp")], census.awaiting_pubcomp),
        ];
        families.gauges("columba_qos2_stage", "Exchanges of QoS 2, by what they wait for", stages)?;
        families.gauge("columba_retained_messages", "Retained messages, without those of $SYS", self.retained as u64)?;
        families.gauge(
            "columba_retained_bytes",
            "Bytes of the retained messages in memory",
            self.status.retained_bytes as u64,
        )?;
        let Some(syncs) = &self.syncs else { return Ok(()) };
        let help = "Syncs of the journal to disk";
        let mut metric = families.0.encode_descriptor("columba_fsync_seconds", help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(syncs.sum, syncs.count, &syncs.buckets, None)
    }

    fn files(&self, families: &mut Families<'_>) -> fmt::Result {
        let ends = self.certificates.iter().map(|(listener, end)| ([("listener", &**listener)], *end));
        families.gauges("columba_certificate_expires_timestamp_seconds", "When the certificate in use ends", ends)?;
        let files = self.files.iter().map(|(what, path, refused)| ([("what", *what), ("path", &**path)], u64::from(*refused)));
        families.gauges("columba_file_refused", "1: what stands in the file was not taken; 0: it is in force", files)?;
        if let Some((url, seen)) = &self.key_set {
            let fetched = [([("url", &**url)], seen.fetched_s)];
            let help = "When the keys of tokens in force were fetched last; 0: never";
            families.gauges("columba_key_set_fetched_timestamp_seconds", help, fetched)?;
            let results = [([("result", "good")], seen.good), ([("result", "failed")], seen.failed)];
            families.counters("columba_key_set_fetches", "Fetches of the keys of tokens, by what came of them", results)?;
        }
        let help = "1: the configuration was read again and not taken; 0: it is in force";
        families.gauge("columba_config_refused", help, u64::from(self.has_refused_reload))
    }

    fn process(&self, families: &mut Families<'_>) -> fmt::Result {
        if let Some(memory) = self.memory {
            families.gauge("process_resident_memory_bytes", "Memory of the process", memory.resident)?;
        }
        families.seconds("columba_uptime_seconds", "Since the start", self.uptime)?;
        families.seconds("columba_recovery_seconds", "How long the start took to bring everything back", self.recovery)?;
        families.gauges("columba_build", "What runs", [([("version", env!("CARGO_PKG_VERSION"))], 1)])
    }
}

/// What a mosquitto exporter shows: topics with underscores.
fn mosquittos(said: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (topic, value) in said {
        let number = value.strip_suffix(" seconds").unwrap_or(value);
        if number.parse::<f64>().is_err() {
            continue;
        }
        let name: String = topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let kind = if is_counted(topic) { "counter" } else { "gauge" };
        writeln!(text, "# TYPE broker_{name} {kind}\nbroker_{name} {number}").expect("a String takes all that fits memory");
    }
    text
}

fn is_counted(topic: &str) -> bool {
    let ends = ["/received", "/sent", "messages/dropped", "uptime", "/expired", "/refused", "/ended", "/repeated"];
    !topic.starts_with("load/") && ends.iter().any(|end| topic.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> String {
        let mut status = Status::default();
        status.counters.online = vec![[0, 1, 2]];
        status.counters.publishes_received = [1, 2, 3];
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Seen {
            status,
            retained: 7,
            listeners: vec!["mqtt://127.0.0.1:1883".into()],
            certificates: [("mqtt://127.0.0.1:1883".into(), 1_900_000_000)].into(),
            files: vec![("users file", "/etc/columba/users".into(), true)],
            key_set: Some(("https://login.example:443/jwks".into(), KeySetSeen::default())),
            has_refused_reload: false,
            syncs: Some(Histogram { buckets: vec![(0.001, 2), (f64::INFINITY, 1)], count: 3, sum: 0.5 }),
            memory: None,
            uptime: Duration::from_millis(1500),
            recovery: Duration::from_millis(3),
        }));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_names_are_those_of_the_documentation() {
        let text = seen();

        for line in [
            "columba_connections{listener=\"mqtt://127.0.0.1:1883\",version=\"5\"} 2",
            "columba_sessions{state=\"away\"} 0",
            "columba_publish_received_total{qos=\"2\"} 3",
            "columba_packets_total{direction=\"in\",type=\"publish\"} 0",
            "columba_dropped_total{reason=\"queue-full\"} 0",
            "columba_refused_total{limit=\"address-rate\"} 0",
            "columba_inflight{direction=\"out\"} 0",
            "columba_qos2_stage{stage=\"awaiting_pubcomp\"} 0",
            "columba_auth_total{method=\"scram\",result=\"unjudged\"} 0",
            "columba_reason_codes_total{reason=\"packet-too-large\"} 0",
            "columba_reason_codes_total{reason=\"quota-exceeded\"} 0",
            "columba_certificate_expires_timestamp_seconds{listener=\"mqtt://127.0.0.1:1883\"} 1900000000",
            "columba_file_refused{what=\"users file\",path=\"/etc/columba/users\"} 1",
            "columba_key_set_fetched_timestamp_seconds{url=\"https://login.example:443/jwks\"} 0",
            "columba_key_set_fetches_total{result=\"failed\"} 0",
            "columba_config_refused 0",
            "columba_retained_messages 7",
            "columba_fsync_seconds_bucket{le=\"0.001\"} 2",
            "columba_fsync_seconds_bucket{le=\"+Inf\"} 3",
            "columba_fsync_seconds_count 3",
            "columba_uptime_seconds 1.5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_guide_lists_what_is_shown() {
        const GUIDE: &str = include_str!("../../../../../docs/operating.md");
        let text = seen();
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next());

        for family in families {
            assert!(GUIDE.contains(&format!("`{family}")), "docs/operating.md does not know {family}");
        }
    }

    #[test]
    fn mosquittos_names_are_topics_with_underscores() {
        let said = [
            ("retained messages/count", "3"),
            ("uptime", "20 seconds"),
            ("version", "columba version 1"),
            ("load/bytes/sent/1min", "0.25"),
        ];
        let said = said.into_iter().map(|(topic, value)| (topic.to_owned(), value.to_owned())).collect();

        let text = mosquittos(&said);

        let expected = "# TYPE broker_load_bytes_sent_1min gauge\nbroker_load_bytes_sent_1min 0.25\n\
                        # TYPE broker_retained_messages_count gauge\nbroker_retained_messages_count 3\n\
                        # TYPE broker_uptime counter\nbroker_uptime 20\n";
        assert_eq!(text, expected);
    }
}
