//! Every clause that the code, its tests or its documents cite exists in the standard.

use std::collections::BTreeSet;

use super::sources::{self, Source};

/// Both standards: version, id, section, whom it binds, whether a broker can be tested for it.
const CLAUSES: &str = include_str!("../../clauses.tsv");

fn known() -> BTreeSet<&'static str> {
    CLAUSES.lines().skip(1).map(|line| line.split('\t').nth(1).unwrap()).collect()
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
    let count = |version| CLAUSES.lines().skip(1).filter(|line| line.split('\t').next() == Some(version)).count();

    assert_eq!((count("5"), count("3.1.1")), (251, 141));
}

#[test]
fn an_invented_clause_is_found() {
    let source = Source::new(
        "a.rs",
        "/// fine [MQTT-4.3.3-6]\n/// MQTT-4.3.3-* and [MQTT-x.y.z-n]\n/// [MQTT-4.3.3-66]\n/// [MQTT-9.9.9-1]",
    );

    assert_eq!(unknown_citations(&known(), &source), ["a.rs:3: no clause MQTT-4.3.3-66", "a.rs:4: no clause MQTT-9.9.9-1"]);
}
