//! A configuration of mosquitto 2.0, read as ours: `columba serve -c mosquitto.conf`, and `columba config import`, which writes it down.
//!
//! Each of its lines is honoured, has no counterpart and says why that is harmless, or is refused: a broker that started without it would let in or show more
//! than its owner wanted.

mod lines;
mod options;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use self::{
    lines::Line,
    options::{Means, means},
};
use super::{Config, ConfigError, Listener, Place, Problem, keys, source, value::Value};

/// Port of a listener that names none.
const PORT: u16 = 1883;

/// The directory below `persistence_location`: what mosquitto stored there is left alone.
const DATA_DIR: &str = "columba";

/// Where Debian's mosquitto stores.
const PERSISTENCE_LOCATION: &str = "/var/lib/mosquitto";

/// What a mosquitto.conf says, in our words.
#[derive(Debug, Default)]
pub struct Import {
    settings: Vec<Setting>,
    listeners: Vec<Bound>,
    /// The lines without a counterpart, and how they were taken.
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
    /// Why, or what to do instead.
    pub why: Box<str>,
}

/// What becomes of a line that is not simply honoured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Honoured, but there is something to know.
    Honoured,
    /// There is nothing like it here, and nothing is the weaker for that.
    NoCounterpart,
    /// Without it the broker would be weaker than its owner wanted: it does not start.
    Refused,
}

impl Verdict {
    /// In the words of the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
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
    place: Place,
}

/// A listener with the keys that its lines set.
#[derive(Debug)]
struct Bound {
    place: Place,
    host: Option<String>,
    /// `None`: a unix socket, whose path is in `host`.
    port: Option<u16>,
    is_websocket: bool,
    is_tls: bool,
    settings: Vec<Setting>,
}

impl Bound {
    fn new(place: Place, host: Option<String>, port: Option<u16>) -> Self {
        Self { place, host, port, is_websocket: false, is_tls: false, settings: Vec::new() }
    }

    fn url(&self) -> String {
        let Some(port) = self.port else { return format!("unix:{}", self.host.as_deref().unwrap_or_default()) };
        let scheme = match (self.is_websocket, self.is_tls) {
            (false, false) => "mqtt",
            (false, true) => "mqtts",
            (true, false) => "ws",
            (true, true) => "wss",
        };
        match self.host.as_deref() {
            None => format!("{scheme}://*:{port}"),
            Some(host) if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
            Some(host) => format!("{scheme}://{host}:{port}"),
        }
    }
}

/// What is said once for the whole file.
#[derive(Debug, Default)]
struct Whole {
    /// `persistence`, and the line that says so.
    is_persistent: Option<(bool, Place)>,
    location: Option<PathBuf>,
    may_be_anonymous: bool,
    has_passwords: bool,
}

impl Import {
    /// Reads a file and what it includes. What is refused is in the remarks; an error is a file that cannot be read, or a value that its option does not take.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::of(lines::read(path)?, path)
    }

    fn of(lines: Vec<Line>, path: &Path) -> Result<Self, ConfigError> {
        let mut import = Self::default();
        let mut whole = Whole::default();
        // Lines before the first `listener` are those of one without a line of its own.
        let mut first = Bound::new(Place::File(path.to_owned()), None, Some(PORT));
        let mut is_first_meant = false;
        for line in lines {
            let wrong = |expected: &str| ConfigError {
                place: line.place.clone(),
                problem: Problem::WrongValue { key: line.option.as_str().into(), expected: expected.into() },
            };
            let listener = import.listeners.last_mut();
            match means(&line.option) {
                Some(Means::Key(key, take)) => {
                    let value = take(&line.value).map_err(wrong)?;
                    whole.has_passwords |= line.option == "password_file";
                    whole.may_be_anonymous |= line.option == "allow_anonymous";
                    import.settings.push(Setting { key, value, place: line.place });
                }
                Some(Means::Listener(key, take)) => {
                    let value = take(&line.value).map_err(wrong)?;
                    is_first_meant |= listener.is_none();
                    let bound = listener.unwrap_or(&mut first);
                    bound.is_tls |= line.option == "certfile";
                    bound.settings.push(Setting { key, value, place: line.place });
                }
                Some(Means::Nothing(why)) => import.remark(line, Verdict::NoCounterpart, why),
                Some(Means::Refused(why)) => import.remark(line, Verdict::Refused, why),
                Some(Means::Special) => {
                    is_first_meant |=
                        matches!(&*line.option, "port" | "bind_address") || (listener.is_none() && line.option == "protocol");
                    import.special(line, &mut first, &mut whole)?;
                }
                None => import.remark(line, Verdict::Refused, "not an option of mosquitto 2.0"),
            }
        }
        if is_first_meant {
            import.listeners.insert(0, first);
        }
        import.conclude(&whole, path);
        Ok(import)
    }

    fn remark(&mut self, line: Line, verdict: Verdict, why: &str) {
        self.remarks.push(Remark { place: line.place, option: line.option.into(), verdict, why: why.into() });
    }

    /// Options that are more than one key.
    fn special(&mut self, line: Line, first: &mut Bound, whole: &mut Whole) -> Result<(), ConfigError> {
        let wrong = |expected: &str| ConfigError {
            place: line.place.clone(),
            problem: Problem::WrongValue { key: line.option.as_str().into(), expected: expected.into() },
        };
        let port = |text: &str| text.parse::<u16>().map_err(|_| wrong("a port from 0 to 65535"));
        match &*line.option {
            "listener" => {
                let (number, host) = line.value.split_once([' ', '\t']).unwrap_or((&line.value, ""));
                let host = Some(host.trim()).filter(|host| !host.is_empty()).map(str::to_owned);
                let number = port(number)?;
                let is_socket = number == 0 && host.as_ref().is_some_and(|host| host.starts_with('/'));
                self.listeners.push(Bound::new(line.place, host, (!is_socket).then_some(number)));
            }
            "port" => {
                first.port = Some(port(&line.value)?);
                first.place = line.place;
            }
            "bind_address" => first.host = Some(line.value),
            "protocol" => {
                let is_websocket = match &*line.value {
                    "mqtt" => false,
                    "websockets" => true,
                    _ => return Err(wrong("mqtt or websockets")),
                };
                self.listeners.last_mut().unwrap_or(first).is_websocket = is_websocket;
            }
            "max_inflight_messages" => {
                let window = match options::whole(&line.value).map_err(wrong)? {
                    0 => 65_535,
                    window => window.min(65_535),
                };
                for key in ["limits.inflight", "limits.receive_maximum"] {
                    self.settings.push(Setting { key, value: Value::Number(window), place: line.place.clone() });
                }
            }
            "persistence" => {
                whole.is_persistent = Some((options::flag(&line.value).map_err(wrong)? == Value::Flag(true), line.place));
            }
            "persistence_location" => whole.location = Some(line.value.into()),
            "log_type" => {
                let filter = match &*line.value {
                    "all" | "debug" => "debug",
                    "none" => "off",
                    _ => return Ok(()),
                };
                self.settings.push(Setting { key: "log.filter", value: Value::Text(filter.into()), place: line.place });
            }
            "per_listener_settings" => {
                if options::flag(&line.value).map_err(wrong)? == Value::Flag(true) {
                    let why = "who may connect is the same on all listeners: write one configuration for each, or settings that hold for all";
                    self.remark(line, Verdict::Refused, why);
                }
            }
            _ => unreachable!("every option that is more than a key stands here"),
        }
        Ok(())
    }

    /// What follows from the file as a whole, and from what it does not say.
    fn conclude(&mut self, whole: &Whole, path: &Path) {
        let file = || Place::File(path.to_owned());
        let mut note = |option: &str, why: &str| {
            self.remarks.push(Remark { place: file(), option: option.into(), verdict: Verdict::Honoured, why: why.into() });
        };
        if !self.listeners.is_empty() && !whole.may_be_anonymous {
            note("allow_anonymous", "not said, and there is a listener: only who logs in may connect");
            self.settings.push(Setting { key: "auth.anonymous", value: Value::Flag(false), place: file() });
        }
        if let Some((true, place)) = &whole.is_persistent {
            let location = whole.location.as_deref().unwrap_or_else(|| Path::new(PERSISTENCE_LOCATION));
            let data_dir = location.join(DATA_DIR).display().to_string();
            self.settings.push(Setting { key: "data_dir", value: Value::Text(data_dir), place: place.clone() });
        } else {
            let why = "off, as mosquitto has it: a restart forgets sessions, queues and retained messages. `persistence true` keeps them";
            note("persistence", why);
            self.settings.push(Setting { key: "ephemeral", value: Value::Flag(true), place: file() });
        }
        // What mosquitto does when its queues are full, and how long it makes them.
        self.settings.push(Setting { key: "limits.queue_full", value: Value::Text("drop-newest".into()), place: file() });
        if !self.settings.iter().any(|setting| setting.key == "limits.queue_messages") {
            self.settings.push(Setting { key: "limits.queue_messages", value: Value::Number(1000), place: file() });
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
        for setting in &self.settings {
            source::set(config, setting.key, &setting.value).map_err(|problem| at(&setting.place, problem))?;
        }
        let listeners: Result<Vec<_>, _> = self.listeners.iter().map(listener).collect();
        let listeners = listeners?;
        if !listeners.is_empty() {
            config.listeners = listeners;
        }
        config.notes = self.remarks.iter().map(ToString::to_string).collect();
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
            let url = ("url", Value::Text(bound.url()).to_toml());
            let keys = bound.settings.iter().map(|setting| (setting.key, setting.value.to_toml()));
            write(format!("[[{}]]", keys::LISTENER), &mut [url].into_iter().chain(keys));
        }
        for (section, keys) in sections {
            write(format!("[{section}]"), &mut keys.into_iter());
        }
        text
    }
}

fn listener(bound: &Bound) -> Result<Listener, ConfigError> {
    let mut listener = Listener::local();
    source::set(&mut listener, "url", &Value::Text(bound.url())).map_err(|problem| at(&bound.place, problem))?;
    for setting in &bound.settings {
        source::set(&mut listener, setting.key, &setting.value).map_err(|problem| at(&setting.place, problem))?;
    }
    listener.check().map_err(|error| at(&bound.place, error.into()))?;
    Ok(listener)
}

fn at(place: &Place, problem: Problem) -> ConfigError {
    ConfigError { place: place.clone(), problem }
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}: {}", self.place, self.option, self.verdict.name(), self.why)
    }
}

#[cfg(test)]
mod tests;
