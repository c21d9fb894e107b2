//! From the lines of a mosquitto.conf to keys of ours, and what is to be told of each line.

use std::path::{Path, PathBuf};

use super::{
    super::{Place, value::Value},
    Import, Remark, Setting, Verdict,
    bound::{Bound, Family, Said, Security},
    lines::{INCLUDE, Line},
    options::{self, Means, Take},
};

/// Port of a listener that names none.
const PORT: u16 = 1883;

/// The directory below `persistence_location`: what mosquitto stored there is left alone.
const DATA_DIR: &str = "columba";

/// Where Debian's mosquitto stores.
const PERSISTENCE_LOCATION: &str = "/var/lib/mosquitto";

/// How many messages mosquitto has on their way where nobody says how many, in both directions.
const INFLIGHT: i64 = 20;

/// How many wait there for a client.
const QUEUE_MESSAGES: i64 = 1000;

/// What becomes of a line.
type Told = (Verdict, String);

/// Reads one line after the other.
#[derive(Debug)]
pub(super) struct Reading {
    import: Import,
    /// Lines before the first `listener` are those of one without a line of its own.
    first: Bound,
    /// Whether that one listens.
    is_first_meant: bool,
    /// Whether who may come in is said for each listener.
    is_per_listener: bool,
    /// What is said of that for all.
    security: Security,
    is_persistent: Option<Said<bool>>,
    location: Option<Said<PathBuf>>,
    levels: Vec<Said<Option<Level>>>,
    /// The line that says that nothing is logged.
    silenced: Option<usize>,
}

/// How much is logged, in rising order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Reading {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            import: Import { path: path.to_owned(), ..Import::default() },
            first: Bound { port: Some(PORT), ..Bound::default() },
            is_first_meant: false,
            is_per_listener: false,
            security: Security::default(),
            is_persistent: None,
            location: None,
            levels: Vec::new(),
            silenced: None,
        }
    }

    /// Takes a line, and notes what becomes of it.
    pub(super) fn take(&mut self, line: Line) {
        let number = self.import.remarks.len();
        let (place, (verdict, why)) = match self.mean(&line, number) {
            Ok(told) => (line.place, told),
            Err(expected) => (line.value_place, (Verdict::Refused, format!("it wants {expected}"))),
        };
        self.import.remarks.push(Remark { place, option: line.option.into(), verdict, why: why.into() });
    }

    /// What a line means; the error is what its value should be.
    fn mean(&mut self, line: &Line, number: usize) -> Result<Told, &'static str> {
        let set = |key: &'static str, take: Take| -> Result<(Told, Setting), &'static str> {
            let (value, read) = take.read(&line.value)?;
            Ok((honoured(key, &value, (read != line.value).then_some(read)), Setting { key, value, line: Some(number) }))
        };
        Ok(match options::means(&line.option) {
            Some(Means::Key(key, take)) => {
                let (told, setting) = set(key, take)?;
                self.import.settings.push(setting);
                let is_raised = key == "limits.memory" && (1..options::MEMORY_MIN).contains(&options::number(&line.value)?.0);
                if is_raised { (Verdict::Noted, format!("{}, the least that it can be", told.1)) } else { told }
            }
            Some(Means::Listener(key, take)) => {
                let (told, setting) = set(key, take)?;
                self.is_first_meant |= self.import.listeners.is_empty();
                self.bound().set(setting);
                told
            }
            Some(Means::Always(values, why)) => {
                if values.contains(&options::word(&line.value)) {
                    (Verdict::Honoured, "it is always so".into())
                } else {
                    (Verdict::Refused, why.into())
                }
            }
            Some(Means::Nothing(why)) => (Verdict::NoCounterpart, why.into()),
            Some(Means::Refused(why)) => (Verdict::Refused, why.into()),
            Some(Means::Special) => self.special(line, number)?,
            None => {
                let nearest = options::nearest(&line.option);
                let meant = nearest.map(|nearest| format!("; did you mean \"{nearest}\"?")).unwrap_or_default();
                (Verdict::Refused, format!("not an option of mosquitto 2.0{meant}"))
            }
        })
    }

    /// The listener that a line is for.
    fn bound(&mut self) -> &mut Bound {
        self.import.listeners.last_mut().unwrap_or(&mut self.first)
    }

    /// Whose security a line speaks of.
    fn security(&mut self) -> &mut Security {
        if self.is_per_listener { &mut self.bound().security } else { &mut self.security }
    }

    /// Options that are more than one key. What is only known at the end is told there.
    fn special(&mut self, line: &Line, number: usize) -> Result<Told, &'static str> {
        let later = || (Verdict::Honoured, String::new());
        let port = |text: &str| {
            let (port, _) = options::number(text).map_err(|_| PORT_EXPECTED)?;
            u16::try_from(port).map_err(|_| PORT_EXPECTED)
        };
        let is_first = self.import.listeners.is_empty();
        match &*line.option {
            INCLUDE => return Ok((Verdict::Honoured, "the files in there that end in .conf are read at this place".into())),
            "listener" => {
                let (number_, host) = line.value.split_once([' ', '\t']).unwrap_or((&line.value, ""));
                let host = host.split(" #").next().map(str::trim).filter(|host| !host.is_empty() && !host.starts_with('#'));
                let port = port(number_)?;
                let is_socket = port == 0 && host.is_some_and(|host| host.starts_with('/'));
                let (host, port) = (host.map(str::to_owned), (!is_socket).then_some(port));
                self.import.listeners.push(Bound { lines: vec![number], host, port, ..Bound::default() });
            }
            "port" => {
                self.first.port = Some(port(&line.value)?);
                self.is_first_meant = true;
                self.first.lines.push(number);
            }
            "bind_address" => {
                self.first.host = Some(options::word(&line.value).to_owned());
                self.is_first_meant = true;
                self.first.lines.push(number);
            }
            "protocol" => {
                let is_websocket = match options::word(&line.value) {
                    "mqtt" => false,
                    "websockets" => true,
                    _ => return Err("mqtt or websockets"),
                };
                self.is_first_meant |= is_first && is_websocket;
                let bound = self.bound();
                bound.is_websocket = is_websocket;
                bound.lines.push(number);
            }
            "socket_domain" => {
                let family = match options::word(&line.value) {
                    "ipv4" => Family::Ipv4,
                    "ipv6" => Family::Ipv6,
                    _ => return Err("ipv4 or ipv6"),
                };
                self.is_first_meant |= is_first;
                let bound = self.bound();
                bound.family = Some(family);
                bound.lines.push(number);
            }
            "use_identity_as_username" | "use_subject_as_username" => {
                let (what, _) = options::flag(&line.value)?;
                let said = Some(Said { what, line: number });
                self.is_first_meant |= is_first;
                let bound = self.bound();
                if line.option == "use_subject_as_username" { bound.by_subject = said } else { bound.by_common_name = said }
            }
            "max_inflight_messages" => {
                let (window, _) = options::number(&line.value)?;
                options::natural(window)?;
                let window = if window == 0 { 65_535 } else { window.min(65_535) };
                self.inflight(window, Some(number));
                return Ok((Verdict::Honoured, format!("limits.inflight and limits.receive_maximum = {window}")));
            }
            "persistence" => {
                let (what, _) = options::flag(&line.value)?;
                self.is_persistent = Some(Said { what, line: number });
            }
            "persistence_location" if line.value.is_empty() => return Err("a directory"),
            "persistence_location" => self.location = Some(Said { what: line.value.clone().into(), line: number }),
            "log_type" => return self.log_type(options::word(&line.value), number),
            "log_dest" => return self.log_dest(options::word(&line.value), number),
            "user" if options::word(&line.value) == "root" => {
                return Ok((Verdict::Honoured, "it stays whoever starts it".into()));
            }
            "user" => {
                let why = "it stays whoever starts it, root too: have the service manager start it as that user";
                return Ok((Verdict::NoCounterpart, why.into()));
            }
            "per_listener_settings" => return self.per_listener_settings(&line.value),
            "allow_anonymous" => {
                let (what, _) = options::flag(&line.value)?;
                self.security().may_be_anonymous = Some(Said { what, line: number });
            }
            "password_file" | "acl_file" if line.value.is_empty() => return Err("a file"),
            "password_file" => {
                self.is_first_meant |= self.is_per_listener && is_first;
                self.security().passwords = Some(Said { what: line.value.clone(), line: number });
            }
            "acl_file" => self.security().rules = Some(Said { what: line.value.clone(), line: number }),
            _ => unreachable!("every option that is more than a key stands here"),
        }
        Ok(later())
    }

    fn inflight(&mut self, window: i64, line: Option<usize>) {
        for key in ["limits.inflight", "limits.receive_maximum"] {
            self.import.settings.push(Setting { key, value: Value::Number(window), line });
        }
    }

    fn log_type(&mut self, word: &str, line: usize) -> Result<Told, &'static str> {
        let level = match word {
            "error" => Level::Error,
            "warning" => Level::Warn,
            "notice" | "information" => Level::Info,
            "debug" | "all" => Level::Debug,
            "none" => {
                self.levels.clear();
                self.levels.push(Said { what: None, line });
                return Ok((Verdict::Honoured, "from here on only what later lines name is logged".into()));
            }
            "subscribe" | "unsubscribe" | "websockets" | "internal" => {
                self.levels.push(Said { what: None, line });
                return Ok((Verdict::NoCounterpart, "`log_type debug` has the most there is".into()));
            }
            _ => return Err("error, warning, notice, information, debug, subscribe, unsubscribe, websockets, none or all"),
        };
        self.levels.push(Said { what: Some(level), line });
        Ok((Verdict::Honoured, String::new()))
    }

    fn log_dest(&mut self, word: &str, line: usize) -> Result<Told, &'static str> {
        let told = match word {
            "none" => {
                self.silenced = Some(line);
                return Ok((Verdict::Honoured, String::new()));
            }
            "stderr" => (Verdict::Honoured, "logs go there".into()),
            "stdout" | "syslog" | "topic" | "file" | "dlt" => {
                (Verdict::NoCounterpart, "logs go to the standard error output, for the service manager".into())
            }
            _ => return Err("none, syslog, stdout, stderr, topic or file FILE"),
        };
        if let Some(silent) = self.silenced.take() {
            self.import.say(silent, "a later line names a place");
        }
        Ok(told)
    }

    fn per_listener_settings(&mut self, value: &str) -> Result<Told, &'static str> {
        let (is_per_listener, _) = options::flag(value)?;
        let Security { may_be_anonymous, passwords, rules } = &self.security;
        if is_per_listener && (may_be_anonymous.is_some() || passwords.is_some() || rules.is_some()) {
            return Ok((Verdict::Refused, "it stands before everything that it is about, there too".into()));
        }
        self.is_per_listener = is_per_listener;
        let why = if is_per_listener { "auth of each [[listener]]" } else { "it is always so" };
        Ok((Verdict::Honoured, why.into()))
    }

    /// What follows from the file as a whole, and from what it does not say; and whether all of it goes together.
    pub(super) fn conclude(mut self) -> Import {
        if self.is_first_meant {
            self.import.listeners.insert(0, std::mem::take(&mut self.first));
        }
        let note = |import: &mut Import, option: &str, why: &str| {
            let (place, option, why) = (Place::File(import.path.clone()), option.into(), why.into());
            import.remarks.push(Remark { place, option, verdict: Verdict::Noted, why });
        };
        self.logs();
        self.identities();
        let is_unsaid = if self.is_per_listener { self.access_of_each() } else { self.access() };
        if is_unsaid {
            note(&mut self.import, "allow_anonymous", "not said, and there is a listener: only who logs in may connect");
        }
        if !self.store() {
            let why = "off, as mosquitto has it: a restart forgets sessions, queues and retained messages. `persistence true` keeps them";
            note(&mut self.import, "persistence", why);
        }
        let import = &mut self.import;
        // What mosquitto does when its queues are full.
        import.settings.push(Setting::unsaid("limits.queue_full", Value::Text("drop-newest".into())));
        let has = |import: &Import, key| import.settings.iter().any(|setting| setting.key == key);
        if !has(import, "limits.queue_messages") {
            import.settings.push(Setting::unsaid("limits.queue_messages", Value::Number(QUEUE_MESSAGES)));
        }
        if !has(import, "limits.max_packet_size") {
            import.settings.push(Setting::unsaid("limits.max_packet_size", Value::Number(options::PACKET_MAX)));
            let why = "not said: packets may be as large as MQTT allows, 256 MiB, as mosquitto has it. memory_limit bounds what they take together";
            note(import, "max_packet_size", why);
        }
        if !has(import, "limits.inflight") {
            self.inflight(INFLIGHT, None);
        }
        self.import.prove();
        self.import
    }

    /// By what of their certificates users are named.
    fn identities(&mut self) {
        let told: Vec<_> = self.import.listeners.iter_mut().map(Bound::name_users).collect();
        for of_listener in told {
            let Some(&(_, in_force)) = of_listener.last() else { continue };
            for (line, name) in of_listener {
                let is_beaten = name != in_force && name != "none";
                if is_beaten {
                    self.import.say(line, "use_identity_as_username is true, too, and comes first, as there");
                } else {
                    self.import.say(line, &format!("identity = \"{in_force}\""));
                }
            }
        }
    }

    fn logs(&mut self) {
        let filter = match (self.silenced, self.levels.iter().map(|said| said.what).max()) {
            (Some(_), _) => "off",
            (None, None) => return,
            (None, Some(level)) => level.map_or("off", Level::name),
        };
        for line in self.levels.iter().filter(|said| said.what.is_some()).map(|said| said.line).chain(self.silenced) {
            self.import.say(line, &format!("log.filter = \"{filter}\""));
        }
        self.import.settings.push(Setting::unsaid("log.filter", Value::Text(filter.into())));
    }

    /// Where what is kept is kept; the answer is whether anything was said of that.
    fn store(&mut self) -> bool {
        let location = self.location.as_ref();
        let Some(Said { what: true, line }) = self.is_persistent else {
            if let Some(said) = location {
                self.import.say(said.line, "of no use without `persistence true`");
            }
            self.import.settings.push(Setting::unsaid("ephemeral", Value::Flag(true)));
            if let Some(said) = &self.is_persistent {
                self.import.say(said.line, "ephemeral = true");
            }
            return self.is_persistent.is_some();
        };
        let data_dir = location.map_or_else(|| Path::new(PERSISTENCE_LOCATION), |said| &said.what).join(DATA_DIR);
        let value = Value::Text(data_dir.display().to_string());
        let why = format!("data_dir = {}", value.to_toml());
        for line in [Some(line), location.map(|said| said.line)].into_iter().flatten() {
            self.import.say(line, &why);
        }
        self.import.settings.push(Setting { key: "data_dir", value, line: Some(line) });
        true
    }

    /// Who may come in everywhere, and do what. The answer is whether nothing was said of who, and somebody ought to have.
    fn access(&mut self) -> bool {
        let Security { may_be_anonymous, passwords, rules } = std::mem::take(&mut self.security);
        for (key, said) in [("auth.password.file", passwords), ("acl.file", rules)] {
            if let Some(Said { what, line }) = said {
                self.import.set_and_say(key, Value::Text(what), line);
            }
        }
        match may_be_anonymous {
            Some(Said { what, line }) => self.import.set_and_say("auth.anonymous", Value::Flag(what), line),
            None if self.import.listeners.is_empty() => return false,
            None => self.import.settings.push(Setting::unsaid("auth.anonymous", Value::Flag(false))),
        }
        may_be_anonymous.is_none()
    }

    /// The same where each listener has its own. One file of passwords and one of rules are for all here; whether a listener asks for passwords, and whether
    /// it lets in who has none, is its own.
    fn access_of_each(&mut self) -> bool {
        if self.import.listeners.is_empty() {
            self.security = std::mem::take(&mut self.first.security);
            return self.access();
        }
        for line in self.first.security.lines() {
            self.import.refuse(line, "with per_listener_settings it stands below its listener");
        }
        let own: Vec<Security> = self.import.listeners.iter_mut().map(|bound| std::mem::take(&mut bound.security)).collect();
        self.one_file("auth.password.file", own.iter().filter_map(|own| own.passwords.as_ref()).collect(), own.len());
        self.one_file("acl.file", own.iter().filter_map(|own| own.rules.as_ref()).collect(), own.len());
        let ways: Vec<(bool, bool)> = own
            .iter()
            .map(|own| (own.passwords.is_some(), own.may_be_anonymous.as_ref().is_some_and(|said| said.what)))
            .collect();
        let is_same = ways.iter().all(|way| *way == ways[0]);
        let lets_all_in = is_same && ways[0].1;
        self.import.settings.push(Setting::unsaid("auth.anonymous", Value::Flag(lets_all_in)));
        for (place, (own, way)) in own.iter().zip(ways).enumerate() {
            let names: Vec<Value> = [(way.0, "password"), (way.1, "anonymous")]
                .into_iter()
                .filter(|(is_open, _)| *is_open)
                .map(|(_, name)| Value::Text(name.into()))
                .collect();
            let bound = &mut self.import.listeners[place];
            let line = own.may_be_anonymous.as_ref().map(|said| said.line);
            let why = match (is_same, names.is_empty()) {
                (true, _) => format!("auth.anonymous = {lets_all_in}"),
                (false, false) => {
                    let value = Value::List(names);
                    let why = format!("auth = {}", value.to_toml());
                    bound.set(Setting { key: "auth", value, line });
                    why
                }
                (false, true) if bound.names_its_users() => "who comes in has shown a certificate".into(),
                (false, true) => {
                    if let Some(line) = line.or_else(|| bound.lines.first().copied()) {
                        self.import.refuse(line, "nobody could come in here: there is no password_file");
                    }
                    continue;
                }
            };
            if let Some(line) = line {
                self.import.say(line, &why);
            }
        }
        own.iter().all(|own| own.may_be_anonymous.is_none())
    }

    /// A file that is one for all listeners, as those name it that do.
    fn one_file(&mut self, key: &'static str, said: Vec<&Said<String>>, listeners: usize) {
        let Some(Said { what: file, .. }) = said.first() else { return };
        let is_one = said.iter().all(|said| said.what == *file);
        let why = match key {
            "acl.file" if !is_one || said.len() != listeners => {
                "one file of rules holds for all listeners: name it below each of them"
            }
            _ if !is_one => {
                "one file of passwords is for all listeners: put all users into one, and say with rules what they may do"
            }
            _ => "",
        };
        for Said { what, line } in said {
            if why.is_empty() {
                self.import.set_and_say(key, Value::Text(what.clone()), *line);
            } else {
                self.import.refuse(*line, why);
            }
        }
    }
}

const PORT_EXPECTED: &str = "a port from 0 to 65535";

/// What a line sets, and how much of it says so where that is not all.
fn honoured(key: &str, value: &Value, part: Option<&str>) -> Told {
    let set = format!("{key} = {}", value.to_toml());
    match part {
        None => (Verdict::Honoured, set),
        Some(part) => (Verdict::Noted, format!("only \"{part}\" of it is read, as there: {set}")),
    }
}
