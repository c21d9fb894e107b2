//! What came of a check, for people and programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use columba_check::script::runner::{Case, Outcome, Played};
use serde_json::{Value, json};

/// Columns of the longest clause.
const CLAUSE: usize = 14;

/// Whether the broker did not do what it must; or, where that counts, what it should.
pub(super) fn has_failed(played: &Played, strict: bool) -> bool {
    match &played.outcome {
        Outcome::Failed { .. } => true,
        Outcome::Passed => strict && !played.told.advice.is_empty(),
        Outcome::Skipped(_) => false,
    }
}

fn word(played: &Played, strict: bool) -> &'static str {
    match played.outcome {
        Outcome::Skipped(_) => "skip",
        Outcome::Passed | Outcome::Failed { .. } if has_failed(played, strict) => "FAIL",
        Outcome::Passed | Outcome::Failed { .. } => "PASS",
    }
}

fn clauses(case: &Case) -> Vec<&'static str> {
    case.script.clauses_in(case.version).map(|clause| clause.id).collect()
}

/// The scripts and what they show.
pub(super) fn list(cases: &[Case]) -> String {
    let line = |case: &Case| format!("{:<6} {}\n         {}", case.version.name(), case.script.title, clauses(case).join(" "));
    cases.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Lines to read: the verdict of each script, the conversations that went wrong packet by packet, and the sum.
pub(super) fn text(played: &[Played], strict: bool, verbose: bool) -> String {
    let mut out = String::new();
    let mut version = None;
    for one in played {
        if version != Some(one.version) {
            version = Some(one.version);
            push(&mut out, format_args!("MQTT {}\n", one.version.name()));
        }
        let first = one.clauses.first().copied().unwrap_or("");
        let millis = one.took.as_secs_f64() * 1_000.0;
        push(&mut out, format_args!(" {}  {first:<CLAUSE$}  {:<64} {millis:>8.1} ms\n", word(one, strict), one.title));
        if has_failed(one, strict) || verbose {
            conversation(one, &mut out);
        }
        if let Outcome::Skipped(why) = &one.outcome {
            push(&mut out, format_args!("       {why}\n"));
        }
        one.told.advice.iter().for_each(|advice| push(&mut out, format_args!("       advised: {advice}\n")));
        if verbose {
            one.told.notes.iter().for_each(|note| push(&mut out, format_args!("       note: {note}\n")));
        }
    }
    out.push_str(&sum(played, strict));
    out
}

fn conversation(played: &Played, out: &mut String) {
    for said in &played.told.transcript {
        push(out, format_args!("         {:>9.3} s  {:<12} {}\n", said.at.as_secs_f64(), said.who, said.what));
    }
    if let Outcome::Failed { expected, got } = &played.outcome {
        push(out, format_args!("         expected {expected}\n         got      {got}\n"));
        push(out, format_args!("         clauses  {}\n", played.clauses.join(" ")));
    }
}

fn sum(played: &[Played], strict: bool) -> String {
    let failed = played.iter().filter(|one| has_failed(one, strict)).count();
    let skipped = played.iter().filter(|one| matches!(one.outcome, Outcome::Skipped(_))).count();
    let advised = played.iter().filter(|one| !one.told.advice.is_empty()).count();
    let shown: BTreeSet<(bool, &str)> = played
        .iter()
        .filter(|one| matches!(one.outcome, Outcome::Passed))
        .flat_map(|one| one.clauses.iter().map(|clause| (one.version.has_properties(), *clause)))
        .collect();
    let mut text = format!("{} passed, {failed} failed, {skipped} skipped", played.len() - failed - skipped);
    if advised > 0 {
        push(&mut text, format_args!(", {advised} against advice"));
    }
    push(&mut text, format_args!("; {} clauses shown", shown.len()));
    text
}

/// Test Anything Protocol, version 13.
pub(super) fn tap(played: &[Played], strict: bool) -> String {
    let mut out = format!("TAP version 13\n1..{}", played.len());
    for (number, one) in (1..).zip(played) {
        let not = if has_failed(one, strict) { "not " } else { "" };
        let name = format!("MQTT {}: {}", one.version.name(), one.title).replace('#', "\\#");
        push(&mut out, format_args!("\n{not}ok {number} - {name}"));
        match &one.outcome {
            Outcome::Skipped(why) => push(&mut out, format_args!(" # SKIP {why}")),
            Outcome::Failed { expected, got } => {
                let said = |text: &str| Value::from(text).to_string();
                push(&mut out, format_args!("\n  ---\n  expected: {}\n  got: {}\n", said(expected), said(got)));
                push(&mut out, format_args!("  clauses: {}\n  ...", said(&one.clauses.join(" "))));
            }
            Outcome::Passed => {}
        }
    }
    out
}

/// What build servers read.
pub(super) fn junit(played: &[Played], strict: bool) -> String {
    let failed = played.iter().filter(|one| has_failed(one, strict)).count();
    let skipped = played.iter().filter(|one| matches!(one.outcome, Outcome::Skipped(_))).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"columba check\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">\n",
        played.len()
    );
    for one in played {
        let class = format!("MQTT {}", one.version.name());
        let (class, name, seconds) = (xml(&class), xml(one.title), one.took.as_secs_f64());
        push(&mut out, format_args!("  <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\">"));
        match &one.outcome {
            Outcome::Skipped(why) => push(&mut out, format_args!("<skipped message=\"{}\"/>", xml(why))),
            Outcome::Failed { .. } | Outcome::Passed if has_failed(one, strict) => {
                let mut story = String::new();
                conversation(one, &mut story);
                one.told.advice.iter().for_each(|advice| push(&mut story, format_args!("advised: {advice}\n")));
                let message = one.clauses.join(" ");
                push(&mut out, format_args!("<failure message=\"{}\">{}</failure>", xml(&message), xml(&story)));
            }
            Outcome::Failed { .. } | Outcome::Passed => {}
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>");
    out
}

/// Text inside of XML; what XML cannot hold becomes a question mark.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            _ => out.push(letter),
        }
    }
    out
}

/// Everything, for programs.
pub(super) fn json(played: &[Played], strict: bool) -> String {
    let scripts: Vec<Value> = played
        .iter()
        .map(|one| {
            let said: Vec<Value> = (one.told.transcript.iter())
                .map(|said| json!({ "at": said.at.as_secs_f64(), "who": said.who, "what": said.what }))
                .collect();
            let mut value = json!({
                "title": one.title,
                "version": one.version.name(),
                "clauses": one.clauses,
                "result": word(one, strict).to_lowercase(),
                "seconds": one.took.as_secs_f64(),
                "advice": one.told.advice,
                "notes": one.told.notes,
            });
            match &one.outcome {
                Outcome::Failed { expected, got } => {
                    value["expected"] = json!(expected);
                    value["got"] = json!(got);
                    value["conversation"] = json!(said);
                }
                Outcome::Skipped(why) => value["why"] = json!(why),
                Outcome::Passed => {}
            }
            value
        })
        .collect();
    let failed = played.iter().filter(|one| has_failed(one, strict)).count();
    json!({ "failed": failed, "scripts": scripts }).to_string()
}

/// Appends to a text, which cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
