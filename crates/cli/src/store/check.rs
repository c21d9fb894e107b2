//! `columba store check`.

use columba_server::tools::{CheckReport, check};
use serde_json::json;

use super::{CheckArgs, Format, bytes, count, failure};
use crate::exit::{Exit, Failure};

/// The exit status says whether the directory is whole; where that cannot be told it is that of a wrong command line.
pub(super) fn run(args: &CheckArgs) -> Result<(String, Exit), Failure> {
    let report = check(&args.dir).map_err(|error| failure(Exit::Usage, &error, &args.dir))?;
    let text = match args.format {
        Format::Text => text(&args.dir.display().to_string(), &report),
        Format::Json => as_json(&report).to_string(),
    };
    Ok((text, if report.is_whole() { Exit::Done } else { Exit::Other }))
}

fn text(dir: &str, report: &CheckReport) -> String {
    let mut lines = vec![format!("{dir}: {}", if report.is_whole() { "whole" } else { "damaged" })];
    if let Some(it) = &report.inventory {
        let holds = [
            count(it.sessions, "session"),
            count(it.subscriptions, "subscription"),
            count(it.queued, "queued message"),
            count(it.retained, "retained message"),
        ];
        lines.push(format!("  cold store  {}; {} in {}", holds.join(", "), bytes(it.bytes), count(it.keys, "key")));
    }
    if report.damage.is_none() {
        let commits = count(report.commits, "commit");
        lines.push(format!("  journal     {commits} with {} behind the cold store", count(report.records, "record")));
    }
    lines.extend(report.problems.iter().map(|problem| format!("problem: {problem}")));
    if report.more > 0 {
        lines.push(format!("problem: {} more", report.more));
    }
    if let Some(damage) = &report.damage {
        lines.push(format!("problem: {damage}"));
        lines.extend(damage.lines().into_iter().map(|line| format!("  {line}")));
        lines.push(format!("try: columba serve --data-dir {dir} --accept-loss   # keeps the damaged files aside"));
    }
    lines.join("\n")
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let cold = report.inventory.as_ref().map(|it| {
        json!({
            "keys": it.keys,
            "bytes": it.bytes,
            "sessions": it.sessions,
            "subscriptions": it.subscriptions,
            "wills": it.wills,
            "queued": it.queued,
            "shared_messages": it.shared_messages,
            "received": it.received,
            "in_flight": it.in_flight,
            "retained": it.retained,
        })
    });
    json!({
        "whole": report.is_whole(),
        "cold": cold,
        "journal": {"commits": report.commits, "records": report.records},
        "problems": report.problems,
        "more_problems": report.more,
        "damage": report.damage.as_ref().map(|damage| damage.lines()),
    })
}
