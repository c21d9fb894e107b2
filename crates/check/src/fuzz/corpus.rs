//! The committed corpora, and how `cargo test` goes through them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

/// Where the corpora of all targets are, in a checkout of the sources.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Gives every committed input of a target to its body, in the order of their names, and says how many there were.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn replay(target: &str, body: impl Fn(&[u8])) -> io::Result<usize> {
    let mut inputs = fs::read_dir(folder().join(target))?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    inputs.sort();
    for input in &inputs {
        let bytes = fs::read(input)?;
        let name = NameOnPanic(input);
        body(&bytes);
        drop(name);
    }
    Ok(inputs.len())
}

/// Says which input it was.
struct NameOnPanic<'a>(&'a Path);

impl Drop for NameOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}
