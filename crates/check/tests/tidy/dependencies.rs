//! What proto and broker may stand on: nothing that could bring a clock, a socket, a file or a thread with it.
//!
//! `cargo check --target wasm32v1-none` proves the same where that target is installed; this rule holds everywhere, because a
//! dependency gets at `std` only through a feature (or a version) that is named here.

use std::process::Command;

/// Package and the features that it may have on, with everything that it brings along.
type Allowed = (&'static str, &'static [&'static str]);

const PROTO: &[Allowed] = &[
    ("block-buffer", &[]),
    ("cfg-if", &[]),
    ("cmov", &[]),
    ("columba-proto", &[]),
    ("cpufeatures", &[]),
    ("crypto-common", &[]),
    ("ctutils", &[]),
    ("digest", &["block-api", "default", "mac"]),
    ("hashbrown", &[]),
    ("hmac", &[]),
    ("hybrid-array", &[]),
    ("pbkdf2", &["hmac"]),
    ("sha2", &[]),
    ("siphasher", &[]),
    ("smallvec", &["const_generics", "const_new", "union"]),
    ("subtle", &[]),
    ("thiserror", &[]),
    ("typenum", &["const-generics"]),
];

const BROKER: &[Allowed] = &[
    ("block-buffer", &[]),
    ("cfg-if", &[]),
    ("cmov", &[]),
    ("columba-broker", &[]),
    ("columba-proto", &[]),
    ("cpufeatures", &[]),
    ("crypto-common", &[]),
    ("ctutils", &[]),
    ("digest", &["block-api", "default", "mac"]),
    ("foldhash", &[]),
    ("hashbrown", &[]),
    ("hmac", &[]),
    ("hybrid-array", &[]),
    ("pbkdf2", &["hmac"]),
    ("sha2", &[]),
    ("siphasher", &[]),
    ("slab", &[]),
    ("smallvec", &["const_generics", "const_new", "union"]),
    ("subtle", &[]),
    ("thiserror", &[]),
    ("typenum", &["const-generics"]),
];

/// `tree` has one line for each package: its name, its version, and its features after a `|`.
fn not_allowed(allowed: &[Allowed], tree: &str) -> Vec<String> {
    let mut broken: Vec<String> = tree.lines().filter(|line| !line.is_empty()).flat_map(|line| problems(allowed, line)).collect();
    broken.sort();
    broken.dedup();
    broken
}

fn problems(allowed: &[Allowed], line: &str) -> Vec<String> {
    let (package, features) = line.split_once('|').unwrap();
    let name = package.split_whitespace().next().unwrap();
    let Some((_, may)) = allowed.iter().find(|(known, _)| *known == name) else {
        return vec![format!("{name} is not on the list")];
    };
    let features = features.split(',').map(str::trim).filter(|feature| !feature.is_empty());
    features
        .filter(|feature| !may.contains(feature))
        .map(|feature| format!("{name} has feature {feature}, which is not on the list"))
        .collect()
}

fn tree_of(package: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            package,
            "-e",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p}|{f}",
        ])
        .current_dir(super::sources::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn proto_stands_on_what_is_listed() {
    super::judge(&not_allowed(PROTO, &tree_of("columba-proto")));
}

#[test]
fn broker_stands_on_what_is_listed() {
    super::judge(&not_allowed(BROKER, &tree_of("columba-broker")));
}

#[test]
fn a_dependency_or_a_feature_that_is_not_listed_is_found() {
    assert_eq!(not_allowed(PROTO, "columba-proto v0.1.0 (here)|\nsmallvec v1.16.5|const_new,union\n"), [""; 0]);
    assert_eq!(not_allowed(PROTO, "mio v1.2.4|net\n"), ["mio is not on the list"]);
    assert_eq!(not_allowed(PROTO, "slab v0.4.12|\n"), ["slab is not on the list"]);
    assert_eq!(not_allowed(BROKER, "slab v0.4.12|std\n"), ["slab has feature std, which is not on the list"]);
}
