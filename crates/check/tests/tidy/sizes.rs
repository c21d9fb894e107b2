//! Not rules but a look in the mirror: the longest files and functions, and the structs with the most bools.

use super::sources::{self, Source};

const SHOWN: usize = 10;

/// Lines of each function, from its `fn` to the brace that stands in the same column.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let end = lines[at..]
            .iter()
            .position(|later| later.starts_with('}') && indent == 0 || later.trim_end() == format!("{}}}", " ".repeat(indent)));
        let one_line = line.trim_end().ends_with(['}', ';']);
        let length = if one_line { 1 } else { end.map_or(1, |end| end + 1) };
        found.push((length, format!("{}:{} {name}", source.path, at + 1)));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let start = if words.starts_with("fn ") { 0 } else { words.find(" fn ")? + 1 };
    let before = &words[..start];
    if before.contains("//") || before.contains('"') {
        return None;
    }
    words[start + 3..].split(['(', '<']).next().filter(|name| !name.is_empty())
}

/// How many bools each struct holds.
fn bools(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in source.text.lines().enumerate() {
        let words = line.trim();
        if let Some(name) = words.split_once("struct ").map(|(_, rest)| rest)
            && words.ends_with('{')
        {
            let name = name.split(['<', ' ']).next().unwrap_or_default();
            open = Some((0, format!("{}:{} {name}", source.path, at + 1)));
        } else if words == "}" {
            found.extend(open.take());
        } else if let Some((count, _)) = &mut open
            && words.ends_with(": bool,")
        {
            *count += 1;
        }
    }
    found
}

fn top(title: &str, mut sizes: Vec<(usize, String)>) {
    sizes.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    println!("\n{title}");
    for (size, name) in sizes.iter().take(SHOWN).filter(|(size, _)| *size > 1) {
        println!("{size:>6}  {name}");
    }
}

#[test]
fn the_ten_longest_are_printed() {
    let sources = sources::with_ending(&[".rs"]);

    top("longest files (lines)", sources.iter().map(|source| (source.text.lines().count(), source.path.clone())).collect());
    top("longest functions (lines)", sources.iter().flat_map(functions).collect());
    top("structs by bools", sources.iter().flat_map(bools).collect());
}

#[test]
fn a_function_is_as_long_as_its_braces_are_apart() {
    let source = Source::new(
        "a.rs",
        "impl A {\n    pub fn long(&self) {\n        if x {\n        }\n    }\n    fn short() {}\n}\nfn free() {\n}\n",
    );

    assert_eq!(
        functions(&source),
        [(4, "a.rs:2 long".to_owned()), (1, "a.rs:6 short".to_owned()), (2, "a.rs:8 free".to_owned())]
    );
}

#[test]
fn bools_are_counted_by_struct() {
    let source = Source::new("a.rs", "struct A {\n    one: bool,\n    two: u8,\n    three: bool,\n}\nstruct B {\n}\n");

    assert_eq!(bools(&source), [(2, "a.rs:1 A".to_owned()), (0, "a.rs:6 B".to_owned())]);
}
