//! Every clause that the code, its tests or its documents cite exists in the standard.

use std::{collections::BTreeSet, fs, path::Path};

use columba_check::script::{
    self,
    clause::{self, By, Clause, Standard},
    conformance,
};

use super::sources::{self, Source};

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
fn no_clause_is_open() {
    let cited = cited_by_scripts();
    let open: Vec<String> = clause::all()
        .iter()
        .filter(|entry| entry.by == By::Script && !cited.contains(&entry.clause))
        .map(|entry| format!("{} {}: {}", entry.clause.standard.name(), entry.clause, entry.says))
        .collect();

    assert!(open.is_empty(), "nothing shows these {} clauses:\n{}", open.len(), open.join("\n"));
}

#[test]
fn the_page_about_conformance_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let page = conformance::page();
    if std::env::var_os("COLUMBA_BLESS").is_some() {
        fs::write(&file, &page).unwrap();
    }

    assert!(fs::read_to_string(&file).unwrap() == page, "COLUMBA_BLESS=1 cargo test -p columba-check --test tidy");
}

/// Of the statements for which a broker can be tested from outside, scripts play almost all.
#[test]
fn scripts_play_at_least_ninety_seven_of_a_hundred_clauses() {
    let cited = cited_by_scripts();
    for standard in [Standard::Mqtt5, Standard::Mqtt311] {
        let testable = clause::all().iter().filter(|entry| entry.clause.standard == standard && entry.broker_testable);
        let (played, left): (Vec<_>, Vec<_>) = testable.partition(|entry| cited.contains(&entry.clause));

        let left: Vec<_> = left.iter().map(|entry| entry.clause.id).collect();
        assert!(played.len() * 100 >= (played.len() + left.len()) * 97, "MQTT {}: no script plays {left:?}", standard.name());
    }
}

#[test]
fn an_invented_clause_is_found() {
    let source = Source::new(
        "a.rs",
        "/// fine [MQTT-4.3.3-6]\n/// MQTT-4.3.3-* and [MQTT-x.y.z-n]\n/// [MQTT-4.3.3-66]\n/// [MQTT-9.9.9-1]",
    );

    assert_eq!(unknown_citations(&known(), &source), ["a.rs:3: no clause MQTT-4.3.3-66", "a.rs:4: no clause MQTT-9.9.9-1"]);
}
