//! `/overview`: the broker on one page.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use columba_broker::stats::Counters;
use columba_proto::Version;
use serde_json::{Value, json};

use super::{
    access::{Admin, Viewer},
    live,
};
use crate::{
    admin::{
        http::problem::Problem,
        outside::{Live, Outside},
        process::Memory,
        status::Status,
    },
    listeners::online_by_name,
};

/// Reads the configuration again, as SIGHUP does.
pub(super) async fn reload(_: Admin, State(outside): State<Arc<Outside>>) -> Result<Json<Value>, Problem> {
    let shards = live(&outside)?.shards.clone();
    match tokio::task::spawn_blocking(move || shards.reload()).await {
        Ok(Some(Ok(waiting))) => Ok(Json(json!({ "waits_for_start": waiting }))),
        Ok(Some(Err(error))) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("nothing has changed: {error}"))),
        Ok(None) | Err(_) => Err(Problem::unavailable("the broker stops")),
    }
}

/// The configuration in force, with who said what.
pub(super) async fn config(_: Admin, State(outside): State<Arc<Outside>>) -> Json<Value> {
    let in_force = outside.in_force();
    Json(json!({ "items": in_force.items, "waits_for_start": in_force.waiting }))
}

pub(super) async fn show(_: Viewer, State(outside): State<Arc<Outside>>) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    Ok(Json(shown(&outside, live, &live.shards.status().await?)))
}

/// Everything of one moment.
pub(super) fn shown(outside: &Outside, live: &Live, status: &Status) -> Value {
    let (counters, census) = (&status.counters, &status.census);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": outside.started.elapsed().as_secs(),
        "recovery_ms": u64::try_from(live.recovery.as_millis()).unwrap_or(u64::MAX),
        "memory_bytes": Memory::read().map(|memory| memory.resident),
        "listeners": shown_listeners(live, counters),
        "clients": { "connected": census.attached, "away": census.detached },
        "sockets": status.connections,
        "subscriptions": status.subscriptions,
        "retained": status.retained_messages.saturating_sub(outside.own_retained(&live.shards)),
        "queued": { "messages": census.queued_messages, "bytes": census.queued_bytes },
        "in_flight": { "out": census.in_flight_out, "in": census.in_flight_in },
        "published": { "received": status.publishes_received(), "sent": status.publishes_sent(), "dropped": status.dropped() },
        "bytes": { "received": counters.bytes_received, "sent": counters.bytes_sent },
    })
}

/// Where the broker listens, who is there, and until when its certificates are good.
pub(super) async fn listeners(_: Viewer, State(outside): State<Arc<Outside>>) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    let status = live.shards.status().await?;
    Ok(Json(json!({ "items": shown_listeners(live, &status.counters) })))
}

fn shown_listeners(live: &Live, counters: &Counters) -> Vec<Value> {
    let (names, certificates) = (live.shards.listeners(), live.shards.certificates_expire_s());
    let one = |(listener, online): (&str, [u64; 3])| {
        let by_version: serde_json::Map<String, Value> =
            Version::ALL.into_iter().zip(online).map(|(version, count)| (version.name().into(), count.into())).collect();
        json!({ "listener": listener, "connected": by_version, "certificate_ends_s": certificates.get(listener) })
    };
    online_by_name(&names, &counters.online).into_iter().map(one).collect()
}
