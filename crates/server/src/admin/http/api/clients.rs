//! Clients and their sessions.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use columba_broker::{SessionView, Wanted};
use serde_json::{Value, json};

use super::{
    NOT_KEPT,
    access::{Admin, Viewer},
    live,
    paging::{Asked, Page, cursor},
    subscriptions,
};
use crate::admin::{
    http::problem::Problem,
    outside::{Live, Outside},
};

/// Slots of sessions that are looked at in one turn of a shard.
const LOOK: usize = 1024;

pub(super) async fn list_clients(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    list(&outside, &page, true).await
}

pub(super) async fn list_sessions(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    list(&outside, &page, false).await
}

async fn list(outside: &Outside, page: &Page, connected: bool) -> Result<Json<Value>, Problem> {
    let live = live(outside)?;
    let limit = page.limit();
    let [mut shard, mut slot] = page.place()?;
    let mut items = Vec::new();
    while shard < live.shards.len() && items.len() < limit {
        let (wanted, max) = (Wanted { connected, part: page.q.as_str().into() }, limit - items.len());
        let (found, next) = live.shards.ask(shard, move |brain, cx| brain.sessions_from(cx, slot, &wanted, max, LOOK)).await?;
        items.extend(found.iter().map(|view| shown(view, live)));
        (shard, slot) = match next {
            Some(slot) => (shard, slot),
            None => (shard + 1, 0),
        };
    }
    let next = (shard < live.shards.len()).then_some([shard, slot]);
    Ok(Json(json!({ "items": items, "cursor": cursor(next) })))
}

pub(super) async fn show(_: Viewer, State(outside): State<Arc<Outside>>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    let asked = id.clone();
    let found = live.shards.ask(live.shards.owner(&id), move |brain, cx| brain.session(cx, &asked)).await?;
    found.map(|view| Json(shown(&view, live))).ok_or_else(|| nobody(&id))
}

pub(super) async fn subscriptions(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
    Path(id): Path<String>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    let (limit, [from, _]) = (page.limit(), page.place()?);
    let asked = id.clone();
    let found = live.shards.ask(live.shards.owner(&id), move |brain, cx| {
        brain.session(cx, &asked).map(|view| (view.subscriptions, brain.subscriptions(&asked, from, limit)))
    });
    let (count, found) = found.await?.ok_or_else(|| nobody(&id))?;
    let items: Vec<Value> = found.iter().map(|(filter, grant)| subscriptions::shown(filter, *grant)).collect();
    let end = from.saturating_add(items.len());
    Ok(Json(json!({ "items": items, "cursor": cursor((end < count && !items.is_empty()).then_some([end, 0])) })))
}

/// Ends the connection; the session stays.
pub(super) async fn kick(_: Admin, State(outside): State<Arc<Outside>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let live = live(&outside)?;
    let asked = id.clone();
    let kicked = live.shards.ask(live.shards.owner(&id), move |brain, cx| brain.kick(cx, &asked)).await?;
    if kicked { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found(format!("{id:?} is not connected"))) }
}

/// Ends the session, and the connection with it; when that is on disk the answer goes.
pub(super) async fn end_session(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let live = live(&outside)?;
    let asked = id.clone();
    let ended = live.shards.ask_kept(live.shards.owner(&id), move |brain, cx| {
        let until = brain.end_session(cx, &asked);
        (until.is_some(), until.unwrap_or_default())
    });
    match ended.await? {
        Some(true) => Ok(StatusCode::NO_CONTENT),
        Some(false) => Err(nobody(&id)),
        None => Err(Problem::unavailable(NOT_KEPT)),
    }
}

/// Drops what waits for a client; how many messages these are.
pub(super) async fn purge(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let live = live(&outside)?;
    let asked = id.clone();
    let waiting = live.shards.ask(live.shards.owner(&id), move |brain, cx| brain.purge(cx, &asked)).await?;
    let waiting = waiting.ok_or_else(|| nobody(&id))?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "messages": waiting }))))
}

fn nobody(id: &str) -> Problem {
    Problem::not_found(format!("no session of {id:?}"))
}

fn shown(view: &SessionView, live: &Live) -> Value {
    let connection = view.connection.as_ref().map(|connection| {
        json!({
            "peer": connection.peer,
            "user": connection.user,
            "version": connection.version.name(),
            "listener": live.shards.listener(connection.listener),
            "connected_ms": connection.for_ms,
            "unread_bytes": connection.unread_bytes,
        })
    });
    json!({
        "client_id": &*view.client_id,
        "connection": connection,
        "session_expiry_s": (view.expiry_s != u32::MAX).then_some(view.expiry_s),
        "durable": view.durable,
        "subscriptions": view.subscriptions,
        "queued": { "messages": view.queued.messages, "bytes": view.queued.bytes },
        "in_flight": { "out": view.in_flight_out.0, "out_max": view.in_flight_out.1, "in": view.in_flight_in },
        "will_topic": view.will_topic.as_deref(),
    })
}
