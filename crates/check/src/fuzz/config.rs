//! A configuration file that anyone may have written.

use core::fmt::Display;

/// How a file is called in messages.
const FILE: &str = "columba.toml";

/// Any text is a configuration, or wrong at a line and a column that it has. `read` is the server's reader: the server's tests and the fuzz target give it.
///
/// # Panics
///
/// When an error is without a place or a reason.
pub fn config<T, E: Display>(data: &[u8], read: impl Fn(&str, &str) -> Result<T, E>) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Err(error) = read(FILE, text) else { return };
    let message = error.to_string();
    let place = message.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| {
        let (line, rest) = rest.split_once(':')?;
        let (column, problem) = rest.split_once(": ")?;
        Some((line.parse::<usize>().ok()?, column.parse::<usize>().ok()?, problem))
    });
    let Some((line, column, problem)) = place else { panic!("no line and column in {message:?}") };
    assert!(!problem.trim().is_empty(), "nothing is said in {message:?}");
    // Behind the last line there may be one more, which is empty.
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "line {line} of {}: {message:?}", lines.len());
    let columns = lines[line - 1].chars().count();
    assert!((1..=columns + 1).contains(&column), "column {column} of {columns} in line {line}: {message:?}");
}

#[cfg(test)]
mod tests {
    use super::config;

    #[test]
    fn a_place_that_the_text_has_not_is_found() {
        let says = |message: &'static str| std::panic::catch_unwind(|| config(b"one\ntwo", |_, _| Err::<(), _>(message))).is_ok();

        assert!(says("columba.toml:2:4: the end of it"));
        for wrong in [
            "columba.toml: no place",
            "columba.toml:3:1: behind it",
            "columba.toml:2:5: behind it",
            "columba.toml:0:1: before it",
            "columba.toml:1:1: ",
        ] {
            assert!(!says(wrong), "{wrong}");
        }
    }
}
