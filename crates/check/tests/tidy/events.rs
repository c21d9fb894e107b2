//! The names of what the log tells, and their fields: programs read them, so none appears, changes or vanishes without the table in `docs/operating.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::sources::{self, Source};

const GUIDE: &str = "docs/operating.md";
const BEGIN: &str = "<!-- events: COLUMBA_BLESS=1 cargo test -p columba-check --test tidy -->\n";
const END: &str = "<!-- end of events -->\n";

/// The macros, those whose lines matter most first.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Level and name, and the fields of all places that tell it.
type Events = BTreeMap<(usize, String), BTreeSet<String>>;

/// Crates that run in the broker, but for the programs beside it.
fn is_the_brokers(source: &Source) -> bool {
    source.path.starts_with("crates/") && source.path.contains("/src/") && !source.path.starts_with("crates/check/")
}

/// Adds what a file tells; what cannot be read is said.
fn collect(source: &Source, events: &mut Events, broken: &mut Vec<String>) {
    let text = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for (level, name) in LEVELS.iter().enumerate() {
        let call = format!("tracing::{name}!(");
        for (at, _) in text.match_indices(&call) {
            let line = text[..at].matches('\n').count() + 1;
            match event(&text[at + call.len()..]) {
                Some((name, fields)) => events.entry((level, name)).or_default().extend(fields),
                None => broken.push(format!("{}:{line}: the name of an event is a literal without {{}}", source.path)),
            }
        }
    }
}

/// Name and fields of one call, from behind its parenthesis.
fn event(call: &str) -> Option<(String, Vec<String>)> {
    let (mut fields, mut argument, mut depth) = (Vec::new(), String::new(), 0_usize);
    let mut rest = call.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' if argument.trim().is_empty() => {
                let name = &call[at + 1..at + 1 + call[at + 1..].find('"')?];
                return (!name.contains('{')).then(|| (name.to_owned(), fields));
            }
            '"' => {
                argument.push(c);
                // No literal among the fields has an escaped quote.
                rest.by_ref().find(|(_, c)| *c == '"')?;
            }
            ',' if depth == 0 => {
                let name: String = argument
                    .trim()
                    .trim_start_matches(['%', '?'])
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                fields.push(name);
                argument.clear();
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => argument.push(c),
        }
    }
    None
}

fn table(events: &Events) -> String {
    let row = |((level, name), fields): (&(usize, String), &BTreeSet<String>)| {
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        format!("| {} | `{name}` | {} |\n", LEVELS[*level].to_uppercase(), fields.join(" ")).replace("|  |", "| |")
    };
    let rows: String = events.iter().map(row).collect();
    format!("\n| level | `event` | fields |\n|---|---|---|\n{rows}\n")
}

#[test]
fn the_guide_names_every_event_of_the_log_and_no_other() {
    let (mut events, mut broken) = (Events::new(), Vec::new());
    for source in sources::with_ending(&[".rs"]).iter().filter(|source| is_the_brokers(source)) {
        collect(source, &mut events, &mut broken);
    }
    super::judge(&broken);

    let path = sources::root().join(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let (before, rest) = guide.split_once(BEGIN).unwrap();
    let (known, behind) = rest.split_once(END).unwrap();
    let table = table(&events);
    if std::env::var_os("COLUMBA_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{behind}")).unwrap();
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (known, told) = (lines(known), lines(&table));
    let gone =
        known.difference(&told).map(|row| format!("the log does not tell this any more, which somebody may wait for: {row}"));
    let new = told.difference(&known).map(|row| format!("{GUIDE} does not know: {row}"));
    super::judge(&gone.chain(new).collect::<Vec<_>>());
}

#[test]
fn an_event_is_read_from_its_call() {
    let read = |text: &str| {
        let (mut events, mut broken) = (Events::new(), Vec::new());
        collect(&Source::new("a.rs", text), &mut events, &mut broken);
        (
            events.into_iter().next().map(|((_, name), fields)| (name, fields.into_iter().collect::<Vec<_>>().join(" "))),
            broken.len(),
        )
    };
    let told = |name: &str, fields: &str| (Some((name.to_owned(), fields.to_owned())), 0);

    assert_eq!(read("tracing::info!(\"stopped\");"), told("stopped", ""));
    let call = "tracing::warn!(\n  %peer, v = version.level(a, b), reason = \"a, b\", path = %file.name(),\n  \"login failed\");";
    assert_eq!(read(call), told("login failed", "path peer reason v"));
    assert_eq!(read("tracing::info!(\"{what} read\");"), (None, 1));
    assert_eq!(read("tracing::info!(what);"), (None, 1));
    assert_eq!(read("#[cfg(test)]\nmod tests {\n  tracing::info!(\"x\");\n}"), (None, 0));
}
