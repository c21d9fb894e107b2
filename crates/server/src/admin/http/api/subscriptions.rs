//! Who is subscribed.

use std::sync::Arc;

use axum::{Json, extract::State};
use columba_broker::{Shard, route::Grant, seam::Cx};
use columba_proto::{SubscriptionFilter, packet::RetainHandling};
use serde_json::{Value, json};

use super::{
    access::Viewer,
    live,
    messages::bad,
    paging::{Asked, Page, cursor},
};
use crate::admin::{http::problem::Problem, outside::Outside};

/// Slots of sessions that are looked at in one turn of a shard.
const LOOK: usize = 1024;

/// Turns that one request takes: what it has not found by then is on the next page.
const TURNS_MAX: usize = 256;

/// Subscriptions of all sessions; with a filter, those that have exactly this one.
pub(super) async fn list(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Problem> {
    let live = live(&outside)?;
    if let Some(filter) = &page.filter {
        filter.parse::<SubscriptionFilter>().map_err(|error| bad(format!("filter: {error}")))?;
    }
    let (limit, [mut shard, slot, number]) = (page.limit(), page.place()?);
    let (mut items, mut at) = (Vec::new(), (slot, number));
    for _ in 0..TURNS_MAX {
        if shard >= live.shards.len() || items.len() == limit {
            break;
        }
        let (filter, max) = (page.filter.clone(), limit - items.len());
        let look = move |brain: &mut Shard, _: &Cx<'_>| brain.subscriptions_from(at, filter.as_deref(), max, LOOK);
        let (found, next) = live.shards.ask(shard, look).await?;
        items.extend(found.iter().map(|it| {
            let mut shown = shown(&it.filter, it.grant);
            shown["client_id"] = (*it.client_id).into();
            shown
        }));
        (shard, at) = match next {
            Some(at) => (shard, at),
            None => (shard + 1, (0, 0)),
        };
    }
    let next = (shard < live.shards.len()).then_some([shard, at.0, at.1]);
    Ok(Json(json!({ "items": items, "cursor": cursor(next) })))
}

/// What was asked for and granted (§3.8.3).
pub(super) fn shown(filter: &str, grant: Grant) -> Value {
    let handling = match grant.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    json!({
        "filter": filter, "qos": grant.qos as u8, "no_local": grant.no_local,
        "retain_as_published": grant.retain_as_published, "retain_handling": handling,
        "subscription_id": grant.id,
    })
}
