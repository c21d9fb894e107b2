//! `columba check` on the installed mosquitto: what it finds is known and explained, nothing else is said to be wrong, and what is known is found again.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use columba_check::broker::Broker;
use columba_check::load::{Durability, Peer};
use columba_check::outside;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_columba");
/// Each deviation by version and title, with the clause that it breaks and what the broker does.
const KNOWN: &str = include_str!("../../check/findings/mosquitto-2.0.11.toml");
const VERSION: &str = "2.0.11";

/// A script in a version.
type Finding = (String, String);

/// The clause, the explanation, and whether it is there every time.
type Known = (String, String, bool);

fn known() -> BTreeMap<Finding, Known> {
    let table: toml::Table = KNOWN.parse().unwrap();
    let text = |finding: &toml::Value, key: &str| finding.get(key).and_then(toml::Value::as_str).unwrap().to_owned();
    let always = |finding: &toml::Value| finding.get("sometimes").is_none();
    let findings = table["finding"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| {
            ((text(finding, "version"), text(finding, "title")), (text(finding, "clause"), text(finding, "why"), always(finding)))
        })
        .collect()
}

fn is_known_version() -> bool {
    let program = outside::program("mosquitto").unwrap();
    let output = Command::new(program).arg("-h").output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(VERSION)
}

#[test]
fn every_finding_on_mosquitto_is_known_and_explained() {
    let test = "every_finding_on_mosquitto_is_known_and_explained";
    let Some(mosquitto) = outside::or_skip(Peer::mosquitto(Durability::Memory), test, "mosquitto") else { return };
    if !is_known_version() {
        return outside::say(&format!("\n{test}: the list is of mosquitto {VERSION}, and another one is installed\n"));
    }
    let broker = Broker::of(mosquitto);
    let target = format!("127.0.0.1:{}", broker.port());
    let output = Command::new(PROGRAM).args(["check", &target, "--format", "json", "--patience", "5s"]).output().unwrap();

    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scripts = verdict["scripts"].as_array().unwrap();
    let field = |script: &Value, key: &str| script[key].as_str().unwrap().to_owned();
    let failed: BTreeMap<Finding, &Value> = scripts
        .iter()
        .filter(|script| script["result"] == "fail")
        .map(|script| ((field(script, "version"), field(script, "title")), script))
        .collect();
    let known = known();
    let unexplained: Vec<String> = failed
        .iter()
        .filter(|(finding, _)| !known.contains_key(finding))
        .map(|(finding, script)| {
            format!("{finding:?}: expected {}, got {}, {}", script["expected"], script["got"], script["conversation"])
        })
        .collect();
    assert!(unexplained.is_empty(), "{} findings are not explained:\n{}", unexplained.len(), unexplained.join("\n"));
    let expected = known.iter().filter(|(_, (_, _, always))| *always).map(|(finding, _)| finding);
    let not_found: BTreeSet<_> = expected.filter(|finding| !failed.contains_key(finding)).collect();
    assert!(not_found.is_empty(), "known deviations that no script finds any more: {not_found:?}");
}

#[test]
fn every_known_finding_names_a_clause_that_its_script_cites() {
    let output = Command::new(PROGRAM).args(["check", "--list"]).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    let cites: BTreeMap<Finding, &str> = lines
        .chunks_exact(2)
        .filter_map(|pair| {
            let (version, title) = pair[0].split_once(' ')?;
            Some(((version.to_owned(), title.trim().to_owned()), pair[1]))
        })
        .collect();
    for (finding, (clause, why, _)) in known() {
        let clauses = cites.get(&finding).unwrap_or_else(|| panic!("no script {finding:?}"));
        assert!(clauses.split_whitespace().any(|id| id == clause), "{finding:?} does not cite {clause}");
        assert!(why.len() > 20, "{finding:?} is not explained");
    }
}
