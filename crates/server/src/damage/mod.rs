//! A journal that cannot be read in all places: what is lost with them, for whom, and how to go on with the rest.

mod cold;
mod diagnose;
mod named;
mod repair;

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf};

use columba_store::{Gap, log::Wound};

pub(crate) use cold::rescue;
pub(crate) use diagnose::diagnose;
pub(crate) use named::of_record;
pub(crate) use repair::set_aside;

/// Sessions that are named on the terminal; the report has them all.
const SHOWN_MAX: usize = 20;

/// What is damaged in a data directory, and what is lost with it.
#[derive(Clone, Debug)]
pub struct Damage {
    pub(crate) dir: PathBuf,
    /// Why the journal cannot be used as it is.
    pub(crate) cause: String,
    pub(crate) wounds: Vec<Wound>,
    pub(crate) gaps: Vec<LostCommits>,
    /// Sessions that are there and miss something or may do so, by client identifier.
    pub(crate) sessions: BTreeMap<Box<str>, Affected>,
    /// Sessions that began in what is lost: nobody knows their clients.
    pub(crate) unknown_sessions: Vec<u64>,
    /// Commits that can be read.
    pub(crate) readable: usize,
    /// Whether the unreadable bytes could be looked through to their end.
    pub(crate) all_named: bool,
}

/// Commits that are lost, and the numbers of messages and sessions that can have been in them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostCommits {
    /// The commits.
    pub gap: Gap,
    /// Numbers that nothing readable has; `None` at the end: what followed is not known.
    pub numbers: (u64, Option<u64>),
}

/// What a session misses, or may miss.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Affected {
    /// Numbers of the messages.
    pub messages: Option<RangeInclusive<u64>>,
    /// What happened to it.
    pub what: Vec<String>,
}

impl Affected {
    pub(crate) fn message(&mut self, number: u64) {
        let range = match self.messages.take() {
            None => number..=number,
            Some(range) => number.min(*range.start())..=number.max(*range.end()),
        };
        self.messages = Some(range);
    }

    pub(crate) fn say(&mut self, what: String) {
        if !self.what.contains(&what) {
            self.what.push(what);
        }
    }
}

impl fmt::Display for LostCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.gap)?;
        match self.numbers {
            (from, Some(to)) if from > to => f.write_str(": no message began in it"),
            (from, Some(to)) => write!(f, ": the messages and sessions with numbers {from} to {to}, as far as they were durable"),
            (from, None) => write!(f, ": the messages and sessions with numbers from {from} on, as far as they were durable"),
        }
    }
}

impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.messages.as_ref().map(|range| match (range.start(), range.end()) {
            (from, to) if from == to => format!("message {from} is lost, or what became of it"),
            (from, to) => format!("messages {from} to {to} are lost, or what became of them"),
        });
        let all: Vec<&str> = messages.iter().map(String::as_str).chain(self.what.iter().map(String::as_str)).collect();
        f.write_str(&all.join("; "))
    }
}

impl Damage {
    /// What is damaged, what is lost and for whom, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.wounds.iter().map(|wound| format!("damaged: {wound}")).collect();
        if self.gaps.is_empty() {
            lines.push("nothing is lost: all commits can be read".to_owned());
        }
        lines.extend(self.gaps.iter().map(|gap| format!("lost: {gap}")));
        lines.extend(self.sessions.iter().map(|(client, affected)| format!("session {client:?}: {affected}")));
        if !self.unknown_sessions.is_empty() {
            let numbers: Vec<_> = self.unknown_sessions.iter().map(u64::to_string).collect();
            lines.push(format!("sessions that began in what is lost, by number: {}", numbers.join(", ")));
        }
        if !self.gaps.is_empty() && !self.all_named {
            lines.push("other sessions can be affected: not all of what is lost can be looked at".to_owned());
        }
        lines.push(format!("kept: {} commits behind the last checkpoint, and all before it", self.readable));
        lines
    }

    /// The same for a terminal.
    pub(crate) fn shown(&self) -> Vec<String> {
        let mut lines = self.lines();
        let all = lines.len();
        if all > SHOWN_MAX {
            let kept = lines.split_off(all - 1);
            lines.truncate(SHOWN_MAX);
            lines.push(format!("and {} more lines: columba store check tells all", all - SHOWN_MAX - 1));
            lines.extend(kept);
        }
        lines
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Damage {}
