//! Retained messages, and messages of an administrator.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use columba_broker::{
    NotPublished, Shard,
    durable::load_retained,
    id::{ChangeSeq, MessageId},
    message::Message,
    retained::{Kept, Page as RetainedPage},
    seam::{Commons as _, Cx},
};
use columba_proto::{QoS, TopicFilter, TopicName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    NOT_KEPT,
    access::{Admin, Viewer},
    live,
    paging::{Asked, Page},
};
use crate::{
    admin::{
        http::problem::Problem,
        outside::{Cold, Live, Outside},
    },
    cold::ColdKeys,
    tokens,
};

/// Topics in order; without a filter, all that are not the broker's own.
pub(super) async fn list_retained(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    let filter: TopicFilter = page.filter.as_deref().unwrap_or("#").parse().map_err(|error| bad(format!("filter: {error}")))?;
    let mut found = Vec::new();
    let mut end = RetainedPage::Done;
    let now = live.shards.now();
    live.shards.commons().read_retained(&mut |store| {
        end = store.page(&filter, page.cursor.as_deref(), MessageId(u64::MAX), now, page.limit(), &mut found);
    });
    let items: Vec<Value> = found
        .iter()
        .map(|(topic, _, kept)| {
            let message = kept.message();
            json!({ "topic": &**topic, "payload_bytes": message.map(|it| it.payload().len()), "qos": message.map(|it| it.qos as u8) })
        })
        .collect();
    let cursor = match &end {
        RetainedPage::Done => None,
        RetainedPage::After(topic) => Some(&**topic),
    };
    Ok(Json(json!({ "items": items, "cursor": cursor })))
}

pub(super) async fn show_retained(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(topic): Path<String>,
) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    let message = find(live, &topic).await?.ok_or_else(|| Problem::not_found(format!("nothing is retained in {topic:?}")))?;
    let mut shown = json!({
        "topic": topic, "qos": message.qos as u8,
        "expires_in_s": message.seconds_left(live.shards.now()), "payload_bytes": message.payload().len(),
    });
    match std::str::from_utf8(message.payload()) {
        Ok(text) => shown["payload"] = text.into(),
        Err(_) => shown["payload_hex"] = tokens::hex(message.payload()).into(),
    }
    Ok(Json(shown))
}

async fn find(live: &Live, topic: &str) -> Result<Option<Arc<Message>>, Problem> {
    let mut kept = None;
    let now = live.shards.now();
    live.shards.commons().read_retained(&mut |store| kept = store.get(topic, now).map(|(_, kept)| kept.clone()));
    match (kept, &live.cold) {
        (None, _) | (Some(Kept::Cold { .. }), None) => Ok(None),
        (Some(Kept::Here(message)), _) => Ok(Some(message)),
        (Some(Kept::Cold { .. }), Some(Cold(cold))) => {
            let (cold, topic) = (Arc::clone(cold), topic.to_owned());
            let read = tokio::task::spawn_blocking(move || load_retained(&ColdKeys(&*cold), &topic)).await;
            let unreadable = |_| Problem::unavailable("the cold store cannot be read; the log says why");
            Ok(read
                .map_err(|_| Problem::unavailable("the cold store cannot be read"))?
                .map_err(unreadable)?
                .map(|(_, message)| message))
        }
    }
}

pub(super) async fn clear_retained(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(topic): Path<String>,
) -> Result<StatusCode, Problem> {
    let live = live(&outside)?;
    let mut is_there = false;
    live.shards.commons().read_retained(&mut |store| is_there = store.get(&topic, live.shards.now()).is_some());
    if !is_there {
        return Err(Problem::not_found(format!("nothing is retained in {topic:?}")));
    }
    let put = put(Publication { topic, qos: 1, retain: true, ..Publication::default() })?;
    // It stays cleared: the answer waits for the disk.
    let cleared = live.shards.ask_kept(live.shards.speaker(), move |brain, cx| {
        let cleared = put(brain, cx);
        let until = cleared.unwrap_or_default();
        (cleared, until)
    });
    cleared.await?.ok_or_else(|| Problem::unavailable(NOT_KEPT))?.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A message as an administrator writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publication {
    topic: String,
    #[serde(default)]
    payload: String,
    /// In place of `payload`, for what is no text.
    payload_hex: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    expiry_s: Option<u32>,
}

/// Only with a body of this kind, which no form of a page has.
pub(super) async fn publish(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    body: Result<Json<Publication>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(publication) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let live = live(&outside)?;
    live.shards.ask(live.shards.speaker(), put(publication)?).await?.map_err(refusal)?;
    Ok(StatusCode::ACCEPTED)
}

type Put = dyn FnOnce(&mut Shard, &Cx<'_>) -> Result<ChangeSeq, NotPublished> + Send;

/// What the shard that publishes in nobody's name is to do.
fn put(publication: Publication) -> Result<Box<Put>, Problem> {
    let Publication { topic, payload, payload_hex, qos, retain, expiry_s } = publication;
    let qos = QoS::try_from(qos).map_err(|_| bad("qos is 0, 1 or 2"))?;
    TopicName::new(&topic).map_err(|error| bad(format!("topic: {error}")))?;
    let payload = match payload_hex {
        Some(hex) => bytes(&hex).ok_or_else(|| bad("payload_hex is two digits for each byte"))?,
        None => payload.into_bytes(),
    };
    Ok(Box::new(move |brain, cx| {
        let topic = TopicName::new(&topic).expect("it was read before");
        brain.publish(cx, topic, qos, retain, expiry_s, &payload)
    }))
}

fn refusal(refused: NotPublished) -> Problem {
    match refused {
        NotPublished::OwnTopic => Problem::new(StatusCode::FORBIDDEN, "topics below $SYS are the broker's own"),
        NotPublished::NotOffered => {
            bad("limits.max_qos, limits.retain, limits.topic_levels or limits.max_payload do not allow this")
        }
        NotPublished::Unstorable => {
            Problem::unavailable("it cannot be stored now: the disk, or the queue of a subscriber, is full")
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_hex = hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex
        .then(|| hex.as_bytes().chunks(2).filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect())
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
