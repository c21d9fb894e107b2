//! Programs of others that tests talk to: found on this machine, or said loudly to be missing.
//!
//! `cargo test` must pass on a machine that has none of them, yet nobody may mistake a skipped test for a passed one:
//! the `SKIPPED` line goes straight to file descriptor 2, which the test harness does not capture, and under
//! `COLUMBA_NO_SKIP=1` a skip is a failure.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A program of `PATH`, of the administrator's folders or of the folder of outside programs.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.push(folder().join("bin"));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// Node and the folder of modules in which `module` is installed.
pub fn node_with(module: &str) -> Option<(PathBuf, PathBuf)> {
    let modules = folder().join("node_modules");
    let node = program("node")?;
    modules.join(module).is_dir().then_some((node, modules))
}

/// The Python interpreter of the virtual environment `name`, as `.ci/run outside` makes it.
pub fn python(name: &str) -> Option<PathBuf> {
    let interpreter = folder().join(name).join("bin/python");
    is_executable(&interpreter).then_some(interpreter)
}

/// Gives back what was found, or says that `test` is skipped because `what` is missing.
///
/// # Panics
///
/// Under `COLUMBA_NO_SKIP=1` when nothing was found.
pub fn or_skip<T>(found: Option<T>, test: &str, what: &str) -> Option<T> {
    if found.is_none() {
        skip(test, &format!("{what} is not installed (.ci/run outside installs it)"));
    }
    found
}

/// Says that `test` does not run here, past the harness, or fails it where skipping is forbidden.
///
/// # Panics
///
/// Under `COLUMBA_NO_SKIP=1`.
pub fn skip(test: &str, why: &str) {
    assert!(!skipping_is_forbidden(), "{test} may not be skipped under COLUMBA_NO_SKIP=1: {why}");
    // On a line of its own, whatever the harness has begun to print.
    say(&format!("\nSKIPPED: {test}: {why}\n"));
}

/// As [`skip`], for what a whole run may have allowed by name in `COLUMBA_MAY_SKIP`, because its machine cannot do it.
///
/// # Panics
///
/// Under `COLUMBA_NO_SKIP=1` without that.
pub fn skip_named(name: &str, test: &str, why: &str) {
    if may_skip(name) {
        say(&format!("\nSKIPPED: {test}: {why}\n"));
    } else {
        skip(test, why);
    }
}

/// Whether this run was told that tests of this name cannot run here.
pub fn may_skip(name: &str) -> bool {
    env::var("COLUMBA_MAY_SKIP").is_ok_and(|names| names.split(',').any(|allowed| allowed == name))
}

/// Writes to the real standard error, also inside a test whose output is captured.
pub fn say(text: &str) {
    // The harness captures what `eprint!` prints, not what is written to the descriptor itself.
    if let Ok(descriptor) = std::io::stderr().as_fd().try_clone_to_owned() {
        // A closed stderr leaves nobody to tell.
        drop(File::from(descriptor).write_all(text.as_bytes()));
    }
}

fn skipping_is_forbidden() -> bool {
    env::var_os("COLUMBA_NO_SKIP").is_some_and(|value| value == "1")
}

/// `$COLUMBA_OUTSIDE`, or `target/outside` of this checkout.
fn folder() -> PathBuf {
    env::var_os("COLUMBA_OUTSIDE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/outside"), PathBuf::from)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_path_is_found_and_an_invented_one_is_not() {
        assert!(program("sh").is_some());
        assert_eq!(program("no-such-program-in-any-folder"), None);
    }

    #[test]
    fn what_was_found_is_handed_on_without_a_word() {
        assert_eq!(or_skip(Some(7), "a test", "seven"), Some(7));
    }
}
