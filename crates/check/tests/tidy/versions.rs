//! Versions of the protocol are compared by name in one file; everyone else asks a `Version` a named question.

use super::sources::{self, Source};

const ONLY_IN: &str = "crates/proto/src/version.rs";
const NAMES: [&str; 3] = ["V31", "V311", "V5"];

fn comparisons(source: &Source) -> Vec<String> {
    if source.path == ONLY_IN {
        return Vec::new();
    }
    let compares = |line: &&str| NAMES.iter().any(|name| compares(line, name));
    let lines =
        source.shipped_lines().filter(|(_, line)| !line.trim_start().starts_with("//")).filter(|(_, line)| compares(line));
    lines.map(|(at, line)| format!("{}:{at}: compares versions: {}", source.path, line.trim())).collect()
}

/// Whether `name` stands in `line` as an operand of a comparison or as a pattern (a value after `=>` is neither).
fn compares(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + name.len()..]);
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        let before = before.trim_end_matches("Version::").trim_end_matches("Self::").trim_end();
        let after = after.trim_start();
        let operand = ["==", "!=", "<=", ">=", "<", ">"].iter().any(|sign| before.ends_with(sign) || after.starts_with(sign));
        // `a => V5` is a value; `V5 => a` and `V311 | V5` are patterns.
        let pattern = after.starts_with("=>")
            || after.starts_with('|')
            || before.ends_with('|')
            || before.ends_with("if let")
            || before.contains("matches!(");
        (operand && !before.ends_with("=>") && !before.ends_with("->")) || pattern
    })
}

#[test]
fn versions_are_compared_in_one_file_only() {
    let broken: Vec<String> = sources::with_ending(&[".rs"]).iter().flat_map(comparisons).collect();

    super::judge(&broken);
}

#[test]
fn a_comparison_is_found_however_it_is_written() {
    for line in [
        "if version == Version::V5 {",
        "if Version::V311 != version {",
        "if version >= V311 {",
        "    Version::V31 | Version::V311 => false,",
        "    V5 => true,",
        "let five = matches!(version, Version::V5);",
        "if let Version::V5 = version {",
    ] {
        assert_eq!(comparisons(&Source::new("crates/broker/src/a.rs", line)).len(), 1, "{line}");
        assert_eq!(comparisons(&Source::new(ONLY_IN, line)).len(), 0, "{line}");
    }
}

#[test]
fn a_version_may_be_named_where_nothing_is_compared() {
    for line in [
        "use columba_proto::Version::{V5, V31};",
        "\"5\" | \"5.0\" => Ok(Version::V5),",
        "\"5\" => Version::V5,",
        "let version = Version::V5;",
        "connect(Version::V5, id)",
        "// if version == Version::V5",
        "fn five() -> Version { Version::V5 }",
    ] {
        assert_eq!(comparisons(&Source::new("crates/cli/src/a.rs", line)), [""; 0], "{line}");
    }
}
