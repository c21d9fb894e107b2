//! A configuration of mosquitto 2.0, read as ours: `columba serve -c mosquitto.conf`, and `columba config import`, which writes it down.
//!
//! Each of its lines is honoured, has no counterpart and says why that is harmless, or is refused: a broker that started without it would let in or show more
//! than its owner wanted.

mod bound;
mod lines;
mod options;
mod reading;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use self::{bound::Bound, reading::Reading};
use super::{Config, ConfigError, Listener, Place, Problem, keys, source, value::Value};

/// What a mosquitto.conf says, in our words.
#[derive(Debug, Default)]
pub struct Import {
    /// The file.
    path: PathBuf,
    settings: Vec<Setting>,
    listeners: Vec<Bound>,
    /// What became of each line, in their order, and behind them what follows from what the file does not say.
    pub remarks: Vec<Remark>,
}

/// A line, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// Where the line stands.
    pub place: Place,
    /// The option.
    pub option: Box<str>,
    /// What became of it.
    pub verdict: Verdict,
    /// What it is here, why it is not, or what to do instead.
    pub why: Box<str>,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It means here what it meant there.
    Honoured,
    /// The same, but there is something to know.
    Noted,
    /// There is nothing like it here; why says what that means.
    NoCounterpart,
    /// Without it the broker would be weaker than its owner wanted: it does not start.
    Refused,
}

impl Verdict {
    /// In the words of the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honoured | Self::Noted => "honoured",
            Self::NoCounterpart => "no counterpart",
            Self::Refused => "refused",
        }
    }
}

/// One of our keys, set by a line.
#[derive(Debug)]
struct Setting {
    key: &'static str,
    value: Value,
    /// The number of that line in the report; `None`: none says it.
    line: Option<usize>,
}

impl Setting {
    fn unsaid(key: &'static str, value: Value) -> Self {
        Self { key, value, line: None }
    }
}

impl Import {
    /// Reads a file and what it includes. What is refused is in the remarks.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut reading = Reading::new(path);
        for line in lines::read(path)? {
            reading.take(line);
        }
        Ok(reading.conclude())
    }

    /// Tells of a line what is only known now.
    fn say(&mut self, line: usize, why: &str) {
        let remark = &mut self.remarks[line];
        if remark.verdict == Verdict::Honoured {
            remark.why = why.into();
        }
    }

    fn refuse(&mut self, line: usize, why: &str) {
        let remark = &mut self.remarks[line];
        (remark.verdict, remark.why) = (Verdict::Refused, why.into());
    }

    fn set_and_say(&mut self, key: &'static str, value: Value, line: usize) {
        self.say(line, &format!("{key} = {}", value.to_toml()));
        self.settings.push(Setting { key, value, line: Some(line) });
    }

    /// Looks whether what was read is a configuration. What is not is refused, and left out of what is written down.
    fn prove(&mut self) {
        let mut wrong = Vec::new();
        let mut config = Config::default();
        self.settings.retain(|setting| {
            let result = source::set(&mut config, setting.key, &setting.value);
            result.map_err(|problem| wrong.push((setting.line, bound::wants(&problem)))).is_ok()
        });
        let mut addresses = Vec::new();
        self.listeners.retain(|bound| {
            let result = bound.listener().map_err(|misfits| wrong.extend(misfits)).is_ok();
            addresses.extend(bound.url().into_iter().flat_map(|url| bound.lines.iter().map(move |line| (*line, url.clone()))));
            result
        });
        for (line, url) in addresses {
            self.say(line, &format!("url = {}", Value::Text(url).to_toml()));
        }
        for (line, why) in wrong {
            if let Some(line) = line {
                // The first that is wrong with it is what the rest follows from.
                if self.remarks[line].verdict != Verdict::Refused {
                    self.refuse(line, &why);
                }
            } else {
                let (place, option, why) = (Place::File(self.path.clone()), "listener".into(), why.into());
                self.remarks.push(Remark { place, option, verdict: Verdict::Refused, why });
            }
        }
    }

    /// What keeps the broker from starting with this file.
    pub fn refused(&self) -> impl Iterator<Item = &Remark> {
        self.remarks.iter().filter(|remark| remark.verdict == Verdict::Refused)
    }

    /// Sets what the file says.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        if let Some(remark) = self.refused().next() {
            let problem = Problem::Refused { option: remark.option.clone(), why: remark.why.clone() };
            return Err(ConfigError { place: remark.place.clone(), problem });
        }
        let at = |(line, why): (Option<usize>, String)| ConfigError {
            place: line.map_or_else(|| Place::File(self.path.clone()), |line| self.remarks[line].place.clone()),
            problem: Problem::Refused {
                option: line.map_or("listener", |line| &self.remarks[line].option).into(),
                why: why.into(),
            },
        };
        for setting in &self.settings {
            source::set(config, setting.key, &setting.value).map_err(|problem| at((setting.line, bound::wants(&problem))))?;
        }
        let listeners: Result<Vec<Listener>, _> = self.listeners.iter().map(Bound::listener).collect();
        let listeners = listeners.map_err(|misfits| at(misfits.into_iter().next().unwrap_or_default()))?;
        if !listeners.is_empty() {
            config.listeners = listeners;
        }
        let noted = self.remarks.iter().filter(|remark| remark.verdict != Verdict::Honoured);
        config.notes = noted.map(ToString::to_string).collect();
        config.is_mosquittos = true;
        Ok(())
    }

    /// The same as a file of ours.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut sections: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
        for setting in &self.settings {
            let (section, key) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            let value = setting.value.to_toml();
            match sections.iter_mut().find(|(name, _)| *name == section) {
                Some((_, keys)) => {
                    // Of two lines the later one counts.
                    keys.retain(|(known, _)| *known != key);
                    keys.push((key, value));
                }
                None => sections.push((section, vec![(key, value)])),
            }
        }
        sections.sort_by_key(|(section, _)| *section);
        let mut write = |head: String, keys: &mut dyn Iterator<Item = (&str, String)>| {
            if !head.is_empty() {
                writeln!(text, "\n{head}").unwrap_or_default();
            }
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").unwrap_or_default();
            }
        };
        let mut sections = sections.into_iter().peekable();
        if let Some((_, keys)) = sections.next_if(|(section, _)| section.is_empty()) {
            write(String::new(), &mut keys.into_iter());
        }
        for bound in &self.listeners {
            // One without was refused.
            let Ok(url) = bound.url() else { continue };
            let url = ("url", Value::Text(url).to_toml());
            let keys = bound.settings.iter().map(|setting| (setting.key, setting.value.to_toml()));
            write(format!("[[{}]]", keys::LISTENER), &mut [url].into_iter().chain(keys));
        }
        for (section, keys) in sections {
            write(format!("[{section}]"), &mut keys.into_iter());
        }
        text
    }
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}: {}", self.place, self.option, self.verdict.name(), self.why)
    }
}

#[cfg(test)]
mod tests;
