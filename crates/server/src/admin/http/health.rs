//! `/healthz`: does it live? `/readyz`: should it be given work?

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{admin::outside::Outside, watch::FileState};

/// Why a broker is not to be given work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    Recovering,
    Draining,
    ShardStuck,
    JournalFailed,
    DiskFull,
}

impl Reason {
    /// A stable word, and what it means.
    fn said(self) -> (&'static str, &'static str) {
        match self {
            Self::Recovering => ("recovering", "what was stored is being read back"),
            Self::Draining => ("draining", "the broker is shutting down"),
            Self::ShardStuck => ("shard-stuck", "an event loop does not answer"),
            Self::JournalFailed => ("journal-failed", "the journal cannot be written; nothing durable is taken until a restart"),
            Self::DiskFull => ("disk-full", "the disk has no room; nothing new is stored"),
        }
    }
}

/// Whether its event loops turn. A broker that reads its data back lives.
pub(super) async fn alive(State(outside): State<Arc<Outside>>) -> Response {
    let Some(shards) = outside.live() else {
        return tell("alive", &[], &[]);
    };
    for shard in 0..shards.len() {
        if shards.ask(shard, |_, _| ()).await.is_err() {
            return tell("stuck", &[Reason::ShardStuck], &[]);
        }
    }
    tell("alive", &[], &[])
}

/// Whether it takes everything that clients may bring.
pub(super) async fn ready(State(outside): State<Arc<Outside>>) -> Response {
    let reasons = reasons(&outside).await;
    tell(if reasons.is_empty() { "ready" } else { "not ready" }, &reasons, &notes(&outside))
}

/// What somebody should see to, though the broker takes everything.
fn notes(outside: &Outside) -> Vec<Value> {
    let Some(live) = outside.alive() else { return Vec::new() };
    let config = live.shards.has_refused_reload().then(|| {
        let detail = "the configuration was read again and not taken: what it said before is in force (columba reload says why)";
        json!({ "note": "config-refused", "detail": detail })
    });
    let file = |file: FileState| {
        // Whoever asks is not told where it is.
        let detail = format!("the {} was not taken: what it said before is in force (the log says why)", file.what);
        file.is_refused.then(|| json!({ "note": "file-refused", "detail": detail }))
    };
    config.into_iter().chain(live.files.now().into_iter().filter_map(file)).collect()
}

async fn reasons(outside: &Outside) -> Vec<Reason> {
    if outside.is_draining() {
        return vec![Reason::Draining];
    }
    let Some(shards) = outside.live() else {
        return vec![Reason::Recovering];
    };
    let mut reasons = Vec::new();
    for shard in 0..shards.len() {
        let found = match shards.ask(shard, |brain, _| (brain.journal_has_failed(), brain.is_room_scarce())).await {
            Ok((failed, scarce)) => [failed.then_some(Reason::JournalFailed), scarce.then_some(Reason::DiskFull)],
            Err(_) => [Some(Reason::ShardStuck), None],
        };
        for reason in found.into_iter().flatten() {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    reasons
}

fn tell(status: &str, reasons: &[Reason], notes: &[Value]) -> Response {
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| {
            let (word, detail) = reason.said();
            json!({ "reason": word, "detail": detail })
        })
        .collect();
    let mut said = json!({ "status": status, "reasons": reasons });
    if !notes.is_empty() {
        said["notes"] = notes.into();
    }
    (code, Json(said)).into_response()
}
