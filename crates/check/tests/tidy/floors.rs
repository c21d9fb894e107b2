//! Imports go down only; neighbours never import each other. What a crate does not depend on it cannot import.

use std::process::Command;

use serde_json::Value;

/// Every crate and its floor. A ninth needs a decision record.
const FLOORS: [(&str, u8); 8] = [
    ("columba-proto", 0),
    ("columba-net", 0),
    ("columba-store", 0),
    ("columba-broker", 1),
    ("columba-client", 1),
    ("columba-server", 2),
    ("columba-check", 2),
    ("columba-cli", 3),
];

/// Tests of the server and of the client may use the judge.
const TESTS_MAY: [(&str, &str); 2] = [("columba-server", "columba-check"), ("columba-client", "columba-check")];

struct Dependency {
    from: String,
    to: String,
    only_tests: bool,
}

fn climbing(dependencies: &[Dependency]) -> Vec<String> {
    dependencies.iter().filter_map(climbs).collect()
}

fn climbs(Dependency { from, to, only_tests }: &Dependency) -> Option<String> {
    if *only_tests && TESTS_MAY.contains(&(from, to)) {
        return None;
    }
    let Some(from_floor) = floor(from) else {
        return Some(format!("{from} stands on no floor"));
    };
    let Some(to_floor) = floor(to) else {
        return Some(format!("{to}, used by {from}, stands on no floor"));
    };
    (to_floor >= from_floor).then(|| format!("{from} (floor {from_floor}) imports {to} (floor {to_floor})"))
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Dependencies between crates of the workspace, from the output of `cargo metadata`.
fn inside_the_house(metadata: &Value) -> Vec<Dependency> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let of_package = |package: &Value| {
        let from = package["name"].as_str().unwrap().to_owned();
        let uses = package["dependencies"].as_array().unwrap().clone();
        uses.into_iter().map(move |uses| Dependency {
            from: from.clone(),
            to: uses["name"].as_str().unwrap().to_owned(),
            only_tests: uses["kind"] == "dev",
        })
    };
    packages.iter().flat_map(of_package).filter(|dependency| names.contains(&dependency.to.as_str())).collect()
}

#[test]
fn imports_go_down_only() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(super::sources::root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let crates: Vec<&str> =
        metadata["packages"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();

    assert_eq!(crates.len(), FLOORS.len(), "the crates are {crates:?}");
    super::judge(&climbing(&inside_the_house(&metadata)));
}

#[test]
fn an_import_that_climbs_is_found() {
    let uses = |from: &str, to: &str, only_tests| Dependency { from: from.to_owned(), to: to.to_owned(), only_tests };

    assert_eq!(
        climbing(&[uses("columba-broker", "columba-proto", false), uses("columba-server", "columba-check", true)]),
        [""; 0]
    );

    for (from, to, only_tests) in [
        ("columba-proto", "columba-broker", false),
        ("columba-proto", "columba-net", false),
        ("columba-server", "columba-check", false),
        ("columba-broker", "columba-client", true),
        ("columba-cli", "columba-ninth", false),
    ] {
        assert_eq!(climbing(&[uses(from, to, only_tests)]).len(), 1, "{from} may not use {to}");
    }
}

#[test]
fn dependencies_are_read_from_cargo_metadata() {
    let metadata = serde_json::json!({"packages": [
        {"name": "columba-proto", "dependencies": [{"name": "columba-cli", "kind": null}, {"name": "smallvec", "kind": null}]},
        {"name": "columba-cli", "dependencies": []},
    ]});

    assert_eq!(climbing(&inside_the_house(&metadata)), ["columba-proto (floor 0) imports columba-cli (floor 3)"]);
}
