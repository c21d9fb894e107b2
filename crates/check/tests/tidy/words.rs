//! Words that do not belong into a repository: promises without an issue, half-done code, paths of one machine.

use super::sources::{self, Source};

/// Put together here, so that this file does not break its own rules.
const PROMISES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const HALF_DONE: [&str; 2] = [concat!("to", "do!("), concat!("unimple", "mented!(")];
const MACHINES: [&str; 4] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

fn misplaced(source: &Source) -> Vec<String> {
    let of_line = |(at, line): (usize, &str)| {
        let promise =
            PROMISES.iter().find(|word| promises(line, word)).map(|word| format!("{word} without an issue, as in {word}(#7)"));
        let half = HALF_DONE.iter().find(|word| line.contains(**word)).map(|word| format!("{word}...) is not done"));
        let machine = MACHINES.iter().find(|path| names_a_path(line, path)).map(|path| format!("a path of one machine: {path}"));
        let found: Vec<String> = [promise, half, machine].into_iter().flatten().collect();
        found.into_iter().map(move |problem| format!("{}:{}: {problem}", source.path, at + 1))
    };
    source.text.lines().enumerate().flat_map(of_line).collect()
}

/// A word of its own that is not followed by an issue's number.
fn promises(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        let part_of_a_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        let issue = after.strip_prefix("(#").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
        !part_of_a_word && !issue
    })
}

/// `path` at the start of a path, not in the middle of one.
fn names_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(start, _)| !line[..start].ends_with(|letter: char| letter.is_alphanumeric() || "-_.~}".contains(letter)))
}

#[test]
fn nothing_is_promised_half_done_or_bound_to_a_machine() {
    let files = sources::with_ending(&[".rs", ".md", ".toml", ".py", ".js", ".sh", "justfile", "run", ".yml"]);
    let broken: Vec<String> = files.iter().flat_map(misplaced).collect();

    super::judge(&broken);
}

#[test]
fn a_misplaced_word_is_found() {
    let found = |line: &str| misplaced(&Source::new("a.rs", line)).len();

    assert_eq!(found(&format!("// {}: later", PROMISES[0])), 1);
    assert_eq!(found(&format!("// {}(#12): later", PROMISES[0])), 0);
    assert_eq!(found(&format!("{})", HALF_DONE[0])), 1);
    assert_eq!(found(&format!("let file = \"{}me/file\";", MACHINES[0])), 1);
    assert_eq!(found(&format!("~{}x and check{}y.rs", MACHINES[0], MACHINES[3])), 0);
}
