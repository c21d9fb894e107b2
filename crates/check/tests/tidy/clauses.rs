//! Every clause that the code, its tests or its documents cite exists in the standard.

use std::collections::BTreeSet;

use columba_check::script::{
    self,
    clause::{self, By, Clause, Standard},
};

use super::sources::{self, Source};

/// Clauses that nothing shows yet: this only shrinks.
const OPEN_MAX: usize = 392;

fn known() -> BTreeSet<&'static str> {
    clause::all().iter().map(|entry| entry.clause.id).collect()
}

fn cited_by_scripts() -> BTreeSet<Clause> {
    script::all().flat_map(|script| script.clauses).copied().collect()
}

fn unknown_citations(known: &BTreeSet<&str>, source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let cited = line.match_indices("MQTT-").filter_map(|(start, _)| citation(&line[start..]));
        broken.extend(cited.filter(|id| !known.contains(id)).map(|id| format!("{}:{}: no clause {id}", source.path, at + 1)));
    }
    broken
}

/// The id at the start of `text`: `MQTT-`, section, `-`, number. Not one: a pattern (`MQTT-4.3.3-*`), a placeholder, a word.
fn citation(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("MQTT-")?;
    let section = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let number = rest[section..].strip_prefix('-')?;
    let digits = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
    (section > 0 && digits > 0).then(|| &text[.."MQTT-".len() + section + 1 + digits])
}

#[test]
fn every_cited_clause_exists() {
    let known = known();
    let broken: Vec<String> = sources::with_ending(&[".rs", ".md", ".toml"])
        .iter()
        .filter(|source| !source.path.ends_with("tidy/clauses.rs"))
        .flat_map(|source| unknown_citations(&known, source))
        .collect();

    super::judge(&broken);
}

#[test]
fn the_list_holds_both_standards() {
    let count = |standard| clause::all().iter().filter(|entry| entry.clause.standard == standard).count();

    assert_eq!((count(Standard::Mqtt5), count(Standard::Mqtt311)), (251, 141));
}

#[test]
fn what_a_script_cites_stands_in_the_list_of_that_standard() {
    let known: BTreeSet<_> = clause::all().iter().map(|entry| entry.clause).collect();
    let broken: Vec<String> = cited_by_scripts()
        .difference(&known)
        .map(|clause| format!("no clause {clause} in MQTT {}", clause.standard.name()))
        .collect();

    super::judge(&broken);
}

#[test]
fn open_clauses_only_become_fewer() {
    let cited = cited_by_scripts();
    let open: Vec<String> = clause::all()
        .iter()
        .filter(|entry| entry.by == By::Script && !cited.contains(&entry.clause))
        .map(|entry| format!("{} {}: {}", entry.clause.standard.name(), entry.clause, entry.says))
        .collect();

    assert!(open.len() <= OPEN_MAX, "{} clauses are open, {OPEN_MAX} may be:\n{}", open.len(), open.join("\n"));
}

#[test]
fn an_invented_clause_is_found() {
    let source = Source::new(
        "a.rs",
        "/// fine [MQTT-4.3.3-6]\n/// MQTT-4.3.3-* and [MQTT-x.y.z-n]\n/// [MQTT-4.3.3-66]\n/// [MQTT-9.9.9-1]",
    );

    assert_eq!(unknown_citations(&known(), &source), ["a.rs:3: no clause MQTT-4.3.3-66", "a.rs:4: no clause MQTT-9.9.9-1"]);
}
