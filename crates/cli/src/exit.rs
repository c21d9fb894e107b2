//! What the shell and the reader are told when a command ends.

use std::fmt;
use std::process::ExitCode;

/// The exit status of a command; mosquitto's numbers where it has one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything asked for happened, and the broker said so.
    Done = 0,
    /// Something else went wrong.
    Other = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nobody was reached: name, route or port.
    NotConnected = 4,
    /// The broker answered CONNECT with a refusal.
    Refused = 5,
    /// An established connection ended.
    Lost = 7,
    /// TLS did not come about.
    Tls = 8,
    /// A message is larger than the broker takes.
    TooLarge = 9,
    /// Publishing or subscribing is not permitted.
    Denied = 12,
    /// The broker acknowledged with another failure.
    Rejected = 13,
    /// The time limit of `-W` or `--timeout` passed.
    TimeLimit = 27,
    /// Interrupted while messages were unacknowledged.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: what happened, and what the reader may try next.
///
/// Shown as `error:`, then `note:` and `try:` lines, each one line long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// The status that the command ends with.
    pub(crate) exit: Exit,
    what: String,
    notes: Vec<String>,
    tries: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), notes: Vec::new(), tries: Vec::new() }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds a command or an option that can be pasted.
    pub(crate) fn try_this(mut self, command: impl Into<String>) -> Self {
        self.tries.push(command.into());
        self
    }

    /// Adds a line of background.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        for command in &self.tries {
            write!(f, "\ntry: {command}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_and_what_to_try() {
        let failure = Failure::new(Exit::NotConnected, "nothing is listening on 127.0.0.1:1883").try_this("columba serve");

        assert_eq!(failure.to_string(), "error: nothing is listening on 127.0.0.1:1883\ntry: columba serve");
    }
}
