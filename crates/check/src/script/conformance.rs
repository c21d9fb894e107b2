//! docs/conformance.md: every statement, and how it is known that columba keeps it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::clause::{self, By, Clause, Entry, Standard};
use super::faulty;
use super::plays;

/// The whole page.
pub fn page() -> String {
    let mut scripts: BTreeMap<Clause, Vec<&'static str>> = BTreeMap::new();
    for script in plays::all() {
        for clause in script.clauses {
            scripts.entry(*clause).or_default().push(script.title);
        }
    }
    let mut page = String::from(
        "# Conformance\n\n\
         Every normative statement of MQTT 5.0 and MQTT 3.1.1 in our words, and how it is known that columba keeps it. Made from `crates/check/clauses.toml` and the\n\
         scripts by `COLUMBA_BLESS=1 cargo test -p columba-check --test tidy`. The scripts are played in memory and over TCP by the tests, and by `columba check` on any\n\
         broker. \u{2717} marks a statement that a broker of the tests breaks on purpose, and its script finds it. What the standards leave open\n\
         is in [choices](choices.md).\n",
    );
    for standard in [Standard::Mqtt5, Standard::Mqtt311] {
        section(standard, &scripts, &mut page);
    }
    page
}

fn section(standard: Standard, scripts: &BTreeMap<Clause, Vec<&'static str>>, page: &mut String) {
    let entries: Vec<&Entry> = clause::all().iter().filter(|entry| entry.clause.standard == standard).collect();
    let is_played = |entry: &&&Entry| scripts.contains_key(&entry.clause);
    let testable = entries.iter().filter(|entry| entry.broker_testable);
    let (played, of) = (testable.clone().filter(is_played).count(), testable.count());
    let open = entries.iter().filter(|entry| entry.by == By::Script && !scripts.contains_key(&entry.clause)).count();
    push(
        page,
        format_args!(
            "\n## MQTT {}\n\n{} statements, {open} open. Of the {of} for which a broker can be tested from outside, scripts play {played}.\n\n| clause | says | known by |\n|---|---|---|\n",
            standard.name(),
            entries.len(),
        ),
    );
    for entry in entries {
        let broken = if faulty::all().any(|fault| fault.breaks.contains(&entry.clause)) { " \u{2717}" } else { "" };
        let known = match (&entry.by, scripts.get(&entry.clause)) {
            (By::Script, None) => "**open**".to_owned(),
            (By::Script, Some(titles)) => titles.join("; "),
            (By::Construction(why), _) => format!("construction: {why}"),
            (By::Test(why), _) => format!("tests: {why}"),
            (By::NotApplicable(why), _) => format!("not applicable: {why}"),
            (By::Client(why), _) => format!("for clients: {why}"),
        };
        push(page, format_args!("| {}{broken} | {} | {} |\n", entry.clause, cell(&entry.says), cell(&known)));
    }
}

/// Text inside of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Appends to a text, which cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}
