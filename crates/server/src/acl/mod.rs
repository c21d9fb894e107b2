//! The ACL file: what clients may do, in TOML of ours or as mosquitto's `acl_file` (docs/security.md).

mod mosquitto;
mod native;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use columba_broker::access::{Acl, Rule};
use thiserror::Error;

/// Bytes of a file, and rules in it: more than anybody writes by hand.
const BYTES_MAX: u64 = 16 << 20;
const RULES_MAX: usize = 200_000;

/// Why an ACL file cannot be taken.
#[derive(Debug, Error)]
pub enum AclError {
    /// The system refuses it.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}{}: {problem}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where, from 1, where that is one line.
        line: Option<usize>,
        /// What.
        problem: Box<str>,
    },
}

/// What is wrong, and in which line.
type Wrong = (Option<usize>, Box<str>);

/// Reads a file: TOML of ours if its name ends in `.toml`, else mosquitto's words.
pub fn read(path: &Path) -> Result<Acl, AclError> {
    let io = |error| AclError::Io { path: path.into(), error };
    let wrong = |(line, problem)| AclError::Wrong { path: path.into(), line, problem };
    if fs::metadata(path).map_err(io)?.len() > BYTES_MAX {
        return Err(wrong((None, "more than 16 MiB".into())));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let is_ours = path.extension().is_some_and(|extension| extension == "toml");
    if is_ours { native::parse(&text) } else { mosquitto::parse(&text) }.map_err(wrong)
}

/// Not one more than there may be.
fn push(rules: &mut Vec<Rule>, rule: Rule, line: Option<usize>) -> Result<(), Wrong> {
    if rules.len() >= RULES_MAX {
        return Err((line, format!("more than {RULES_MAX} rules").into()));
    }
    rules.push(rule);
    Ok(())
}
