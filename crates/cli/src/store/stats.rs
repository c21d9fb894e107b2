//! `columba store stats`.

use columba_server::tools::{Stats, stats};
use serde_json::json;

use super::{Format, StatsArgs, bytes, count, failure};
use crate::exit::{Exit, Failure};

/// Counts what is there.
pub(super) fn run(args: &StatsArgs) -> Result<(String, Exit), Failure> {
    let found = stats(&args.dir, args.top).map_err(|error| failure(Exit::Other, &error, &args.dir))?;
    let text = match args.format {
        Format::Text => text(&args.dir.display().to_string(), &found),
        Format::Json => as_json(&found).to_string(),
    };
    Ok((text, Exit::Done))
}

fn text(dir: &str, it: &Stats) -> String {
    let sessions = count(it.sessions as u64, "session");
    let mut lines = vec![
        dir.to_owned(),
        format!(
            "  sessions    {sessions}, {}, {}",
            count(it.subscriptions as u64, "subscription"),
            count(it.wills as u64, "will")
        ),
        format!(
            "  queued      {}, {} and {} that sessions share",
            count(it.queued, "message"),
            bytes(it.queued_bytes),
            bytes(it.shared_bytes)
        ),
        format!("  retained    {}, {}", count(it.retained as u64, "message"), bytes(it.retained_bytes)),
        format!("  cold store  {} on disk", bytes(it.cold_bytes)),
        format!(
            "  journal     {}, {} in spares; {} behind the cold store",
            count(it.segments.len() as u64, "segment"),
            bytes(it.spare_bytes),
            count(it.commits, "commit")
        ),
    ];
    lines.extend(it.segments.iter().map(|segment| format!("    {}  {}", segment.name, bytes(segment.bytes))));
    if !it.queues.is_empty() {
        lines.push("  longest queues".to_owned());
    }
    for queue in &it.queues {
        lines.push(format!("    {:?}  {}, {}", queue.client_id, count(queue.messages, "message"), bytes(queue.bytes)));
    }
    lines.join("\n")
}

fn as_json(it: &Stats) -> serde_json::Value {
    let queue = |queue: &columba_server::tools::QueueSize| json!({"client_id": &*queue.client_id, "messages": queue.messages, "bytes": queue.bytes});
    json!({
        "sessions": it.sessions,
        "subscriptions": it.subscriptions,
        "wills": it.wills,
        "queued": it.queued,
        "queued_bytes": it.queued_bytes,
        "shared_bytes": it.shared_bytes,
        "queues": it.queues.iter().map(queue).collect::<Vec<_>>(),
        "retained": it.retained,
        "retained_bytes": it.retained_bytes,
        "segments": it.segments.iter().map(|segment| json!({"name": segment.name, "bytes": segment.bytes})).collect::<Vec<_>>(),
        "spare_bytes": it.spare_bytes,
        "cold_bytes": it.cold_bytes,
        "commits": it.commits,
    })
}
