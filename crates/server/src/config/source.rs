//! Reads the configuration from where it may stand, and says exactly where it is wrong.

use std::{
    collections::BTreeMap,
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

use columba_broker::route::Strategy;
use thiserror::Error;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Access, Config, Data, ListenAddressError, Listener, ListenerError,
    keys::{Keyed, LISTENER, MOVED, SHARED_GROUP, SharedGroup},
    mosquitto::Import,
    value::{Value, Wrong},
};

/// How a variable of the environment begins that sets a key.
const PREFIX: &str = "COLUMBA__";

/// Beside the file: further ones over it.
const DIRECTORY: &str = "conf.d";

/// Where the configuration comes from, in rising order of weight.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file, or one of mosquitto if its name ends in `.conf`.
    pub file: Option<PathBuf>,
    /// The environment: names and values; names without the prefix `COLUMBA__` are passed over.
    pub env: Vec<(String, String)>,
    /// `section.key=value`.
    pub set: Vec<String>,
    /// Addresses to listen on, instead of those of the file.
    pub listen: Vec<String>,
    /// The certificate of those that speak TLS, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// The HTTP port, or `off`, instead of that of the file.
    pub http: Option<String>,
    /// The data directory.
    pub data_dir: Option<PathBuf>,
    /// Keep nothing on disk.
    pub ephemeral: bool,
    /// Let anyone in who can reach a listener.
    pub allow_anonymous: bool,
}

/// What is wrong with the configuration, and where.
#[derive(Debug, Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// Where a piece of configuration stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A line and a column of a file, from 1.
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// An option of the command line with what was given to it.
    Option {
        /// Like `--set`.
        name: &'static str,
        /// What stood behind it.
        given: String,
    },
}

/// What is wrong with a piece of configuration.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// Not TOML.
    #[error("{0}")]
    Syntax(Box<str>),
    /// A key that does not exist.
    #[error("unknown key \"{key}\"{}", did_you_mean(*.nearest))]
    UnknownKey {
        /// What stands there.
        key: Box<str>,
        /// What may be meant.
        nearest: Option<&'static str>,
    },
    /// A key that has another name by now.
    #[error("\"{key}\" is \"{to}\" now")]
    Moved {
        /// What stands there.
        key: Box<str>,
        /// What to write.
        to: &'static str,
    },
    /// A value that is not what its key wants.
    #[error("\"{key}\" wants {expected}")]
    WrongValue {
        /// The key.
        key: Box<str>,
        /// What it wants.
        expected: Box<str>,
    },
    /// An address that is none.
    #[error("{0}")]
    Address(#[from] ListenAddressError),
    /// A listener whose keys do not go together.
    #[error("{0}")]
    Listener(#[from] ListenerError),
    /// An address of the HTTP port that is none.
    #[error("write http://HOST:PORT, or off")]
    HttpAddress,
    /// `--set` without `=`.
    #[error("write key=value, like limits.max_connections=1000")]
    NoEquals,
    /// `listener` is no table of its own.
    #[error("write each listener as [[listener]] with url = \"mqtt://HOST:PORT\"")]
    ListenerShape,
    /// `shared.group` is no table of its own, or lacks one of its keys.
    #[error("write each group as [[shared.group]] with name = \"GROUP\" and strategy = \"STRATEGY\"")]
    GroupShape,
    /// A group that has a strategy already.
    #[error("the group \"{0}\" has a strategy already")]
    GroupTwice(Box<str>),
    /// Groups given in a way that cannot hold them.
    #[error("groups with strategies of their own come from the file; shared.strategy is that of all others")]
    GroupHere,
    /// A line of a mosquitto.conf without which the broker would be weaker than its owner wanted.
    #[error("\"{option}\" is not honoured: {why}")]
    Refused {
        /// The option.
        option: Box<str>,
        /// Why, or what to do instead.
        why: Box<str>,
    },
    /// Listeners given in a way that cannot hold them.
    #[error("listeners come from the file or from --listen")]
    ListenerHere,
}

impl Sources {
    /// The environment of this process.
    pub fn process_env() -> Vec<(String, String)> {
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }
}

impl Config {
    /// Reads all sources, the later ones over the earlier ones.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = &sources.file {
            if is_mosquittos(path) {
                let import = Import::read(path)?;
                import.apply(&mut config)?;
                config.provenance.read(&import.to_toml(), |_| path.display().to_string());
            } else {
                config.read_files(path)?;
            }
        }
        for (name, value) in &sources.env {
            if let Some(key) = key_of_variable(name) {
                config.set(&key, value).map_err(|problem| ConfigError { place: Place::Variable(name.clone()), problem })?;
            }
        }
        for given in &sources.set {
            let (key, value) = given.split_once('=').map_or((None, ""), |(key, value)| (Some(key.trim()), value.trim()));
            let result = key.ok_or(Problem::NoEquals).and_then(|key| config.set(key, value));
            result.map_err(|problem| ConfigError { place: Place::Option { name: "--set", given: given.clone() }, problem })?;
        }
        if !sources.listen.is_empty() {
            let listeners: Result<Vec<Listener>, ConfigError> =
                sources.listen.iter().map(|given| listen(given, sources)).collect();
            config.listeners = listeners?;
        }
        if let Some(given) = &sources.http {
            config.http.set_address(given).map_err(|()| ConfigError {
                place: Place::Option { name: "--http", given: given.clone() },
                problem: Problem::HttpAddress,
            })?;
        }
        if let Some(path) = &sources.data_dir {
            config.data = Data::Directory(path.clone());
        }
        if sources.ephemeral {
            config.data = Data::Ephemeral;
        }
        if sources.allow_anonymous {
            config.access = Access::Anyone;
        }
        config.provenance.hear(sources);
        Ok(config)
    }

    /// The defaults with what `text` says over them; `name` is what an error calls it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.read_file(Path::new(name), text)?;
        Ok(config)
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), Problem> {
        if key == LISTENER {
            return Err(Problem::ListenerHere);
        }
        if key == SHARED_GROUP {
            return Err(Problem::GroupHere);
        }
        set(self, key, &Value::from_text(text))
    }

    /// A file, and those over it. Their listeners come to those of the file.
    fn read_files(&mut self, path: &Path) -> Result<(), ConfigError> {
        let default = std::mem::take(&mut self.listeners);
        let mut listeners = Vec::new();
        for (path, text) in read_files(path)? {
            self.read_file(&path, &text)?;
            listeners.append(&mut self.listeners);
        }
        self.listeners = if listeners.is_empty() { default } else { listeners };
        Ok(())
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let at = |offset: usize, problem| ConfigError { place: place(path, text, offset), problem };
        let table = DeTable::parse(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), Problem::Syntax(error.message().into())))?;
        self.read_table("", table.get_ref()).map_err(|(offset, problem)| at(offset, problem))?;
        self.provenance.read(text, |offset| place(path, text, offset).to_string());
        Ok(())
    }

    fn read_table(&mut self, section: &str, table: &DeTable<'_>) -> Result<(), (usize, Problem)> {
        for (key, value) in table {
            let name = if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            if name == LISTENER {
                self.listeners = read_listeners(value)?;
                continue;
            }
            if name == SHARED_GROUP {
                self.shared.by_group = read_groups(value)?;
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if Self::is_section(&name) => {
                    self.read_table(&name, inner)?;
                }
                _ if Self::is_section(&name) => {
                    let expected = format!("keys of its own, under [{name}]").into();
                    return Err((value.span().start, Problem::WrongValue { key: name.into(), expected }));
                }
                DeValue::Table(_)
                | DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => set(self, &name, &Value::from_toml(value.get_ref()))
                    .map_err(|problem| (offset(key, value, &problem), problem))?,
            }
        }
        Ok(())
    }
}

/// Whether a file of this name is one of mosquitto.
pub(super) fn is_mosquittos(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "conf")
}

/// The key that a variable of the environment sets.
pub(super) fn key_of_variable(name: &str) -> Option<String> {
    name.strip_prefix(PREFIX).map(|key| key.to_ascii_lowercase().replace("__", "."))
}

/// A file, and those that end in `.toml` in `conf.d` beside it, in the order of their names.
pub(super) fn read_files(path: &Path) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| ConfigError { place: Place::File(path), problem: Problem::Unreadable(error) }
    };
    let beside = path.with_file_name(DIRECTORY);
    let mut files = vec![path.to_owned()];
    match fs::read_dir(&beside) {
        Ok(entries) => {
            for entry in entries {
                let path = entry.map_err(unreadable(&beside))?.path();
                files.extend(path.extension().is_some_and(|extension| extension == "toml").then_some(path));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&beside)(error)),
    }
    files[1..].sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            Ok((path, text))
        })
        .collect()
}

fn read_listeners(value: &Spanned<DeValue<'_>>) -> Result<Vec<Listener>, (usize, Problem)> {
    let shape = |span: usize| (span, Problem::ListenerShape);
    let items = value.get_ref().as_array().ok_or_else(|| shape(value.span().start))?;
    let mut listeners = Vec::new();
    for item in items {
        let table = item.get_ref().as_table().ok_or_else(|| shape(item.span().start))?;
        if !table.contains_key("url") {
            return Err(shape(item.span().start));
        }
        let mut listener = Listener::local();
        for (key, value) in table {
            set(&mut listener, key.get_ref(), &Value::from_toml(value.get_ref()))
                .map_err(|problem| (offset(key, value, &problem), problem))?;
        }
        if table.contains_key("proxy_trust") && !trusts_proxies(table) {
            return Err((item.span().start, ListenerError::NoProxyProtocol.into()));
        }
        listener.check().map_err(|error| (item.span().start, error.into()))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Whether the proxies that are named are asked for whom they speak, too.
fn trusts_proxies(listener: &DeTable<'_>) -> bool {
    listener.get("proxy_protocol").is_some_and(|value| value.get_ref().as_bool() == Some(true))
}

fn read_groups(value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<Box<str>, Strategy>, (usize, Problem)> {
    let shape = |span: usize| (span, Problem::GroupShape);
    let items = value.get_ref().as_array().ok_or_else(|| shape(value.span().start))?;
    let mut groups = BTreeMap::new();
    for item in items {
        let table = item.get_ref().as_table().ok_or_else(|| shape(item.span().start))?;
        if !table.contains_key("name") || !table.contains_key("strategy") {
            return Err(shape(item.span().start));
        }
        let mut group = SharedGroup::default();
        for (key, value) in table {
            set(&mut group, key.get_ref(), &Value::from_toml(value.get_ref()))
                .map_err(|problem| (offset(key, value, &problem), problem))?;
        }
        if groups.insert(group.name.clone(), group.strategy).is_some() {
            return Err((item.span().start, Problem::GroupTwice(group.name)));
        }
    }
    Ok(groups)
}

pub(super) fn set<T: Keyed>(target: &mut T, name: &str, value: &Value) -> Result<(), Problem> {
    if let Some(&(_, to)) = MOVED.iter().find(|(from, _)| *from == name) {
        return Err(Problem::Moved { key: name.into(), to });
    }
    let key = T::key(name).ok_or_else(|| Problem::UnknownKey { key: name.into(), nearest: T::nearest(name) })?;
    (key.set)(target, value).map_err(|Wrong(expected)| Problem::WrongValue { key: name.into(), expected: expected.into() })
}

fn listen(given: &str, sources: &Sources) -> Result<Listener, ConfigError> {
    let wrong = |problem| ConfigError { place: Place::Option { name: "--listen", given: given.to_owned() }, problem };
    let mut listener = Listener::at(given.parse().map_err(|error: ListenAddressError| wrong(error.into()))?);
    if listener.has_tls() {
        listener.tls.cert.clone_from(&sources.cert);
        listener.tls.key.clone_from(&sources.key);
    }
    listener.check().map_err(|error| wrong(error.into()))?;
    Ok(listener)
}

/// An unknown key is wrong where it stands, a wrong value where that stands.
fn offset(key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>, problem: &Problem) -> usize {
    if matches!(problem, Problem::WrongValue { .. }) { value.span().start } else { key.span().start }
}

pub(super) fn place(path: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::Line {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// `~/x` in a file means the home directory, as in a shell.
pub(super) fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        (Some(_) | None, _) => text.into(),
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean \"{nearest}\"?")).unwrap_or_default()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Option { name, given } => write!(f, "{name} {given}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientCert, Durability, Identity, OnFailure};

    fn read(text: &str) -> Result<Config, String> {
        Config::parse("columba.toml", text).map_err(|error| error.to_string())
    }

    fn load(sources: &Sources) -> Result<Config, String> {
        Config::load(sources).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let config = read("data_dir = \"/srv/columba\"\n[[listener]]\nurl = \"mqtt://*:1884\"\nmax_connections = 50_000\n[durability]\nsync = \"group\"\non_failure = \"exit\"\n").unwrap();

        assert_eq!(config.data, Data::Directory("/srv/columba".into()));
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].address.to_string(), "*:1884");
        assert_eq!(config.listeners[0].max_connections, Some(50_000));
        assert_eq!(config.durability, Durability { on_failure: OnFailure::Exit, ..Config::default().durability });
    }

    #[test]
    fn a_listener_has_files_of_its_own_and_what_does_not_go_together_is_an_error() {
        let tls = "[[listener]]\nurl = \"mqtts://*:8883\"\ncert = \"/a.pem\"\nkey = \"/a.key\"\n";
        let listener = |more: &str| read(&format!("{tls}{more}")).map(|config| config.listeners[0].clone());
        let plain = |more: &str| read(&format!("[[listener]]\nurl = \"mqtt://*:1883\"\n{more}")).map(|_| ()).unwrap_err();

        let guarded = listener("ca = \"/ca.pem\"\nclient_cert = \"require\"\nidentity = \"cn\"\n").unwrap();
        assert_eq!(guarded.tls.ca.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!((guarded.tls.client_cert, guarded.tls.identity), (ClientCert::Require, Identity::CommonName));
        assert!(guarded.is_guarded());
        assert!(listener("ca_dir = \"/ca.d\"\nclient_cert = \"require\"\n").is_ok());
        let behind = listener("proxy_protocol = true\nproxy_trust = [\"10.0.0.0/8\"]\n").unwrap();
        assert_eq!(behind.proxies, Some(vec!["10.0.0.0/8".parse().unwrap()]));
        for (text, error) in [
            (listener("client_cert = \"require\"\n").unwrap_err(), ListenerError::NoAuthorities),
            (listener("identity = \"cn\"\n").unwrap_err(), ListenerError::NotAsked),
            (listener("path = \"/mqtt\"\n").unwrap_err(), ListenerError::NoWebSocket),
            (listener("proxy_protocol = true\n").unwrap_err(), ListenerError::NoProxies),
            (listener("proxy_trust = [\"10.0.0.5\"]\n").unwrap_err(), ListenerError::NoProxyProtocol),
            (plain("cert = \"/a.pem\"\n"), ListenerError::NoTls),
            (read("[[listener]]\nurl = \"unix:/x\"\ninterface = \"lo\"\n").unwrap_err(), ListenerError::InterfaceOnUnix),
        ] {
            assert_eq!(text, format!("columba.toml:1:1: {error}"));
        }
    }

    #[test]
    fn a_group_has_the_strategy_of_its_own_table_and_all_others_the_common_one() {
        let config = read(
            "[shared]\nstrategy = \"least-in-flight\"\n[[shared.group]]\nname = \"doors\"\nstrategy = \"sticky\"\n[[shared.group]]\nname = \"cars\"\nstrategy = \"hash-topic\"\n",
        )
        .unwrap();

        assert_eq!(config.shared.of("doors"), Strategy::Sticky);
        assert_eq!(config.shared.of("cars"), Strategy::HashTopic);
        assert_eq!(config.shared.of("bikes"), Strategy::LeastInFlight);
    }

    #[test]
    fn a_group_that_is_not_one_is_an_error_where_it_stands() {
        let wrong = |text: &str| read(text).unwrap_err();

        assert_eq!(
            wrong("[[shared.group]]\nname = \"a/b\"\nstrategy = \"sticky\"\n"),
            "columba.toml:2:8: \"name\" wants what stands behind \"$share/\", without \"/\", \"+\" and \"#\""
        );
        assert!(wrong("[shared.group]\nname = \"a\"\n").contains("write each group as [[shared.group]]"));
        assert!(wrong("[[shared.group]]\nname = \"a\"\n").contains("write each group as [[shared.group]]"));
        assert_eq!(
            wrong("[[shared.group]]\nname = \"a\"\nstrategy = \"random\"\n"),
            "columba.toml:3:12: \"strategy\" wants \"round-robin\" or \"least-in-flight\" or \"sticky\" or \"hash-topic\" or \"hash-client\""
        );
        let twice = "[[shared.group]]\nname = \"a\"\nstrategy = \"sticky\"\n";
        assert!(wrong(&twice.repeat(2)).ends_with("the group \"a\" has a strategy already"));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_what_was_meant() {
        assert_eq!(
            read("[log]\n\n[[listner]]\nurl = \"*:1\"\n").unwrap_err(),
            "columba.toml:3:3: unknown key \"listner\"; did you mean \"listener\"?"
        );
        assert_eq!(
            read("[limits]\n  max_conections = 5\n").unwrap_err(),
            "columba.toml:2:3: unknown key \"limits.max_conections\"; did you mean \"max_connections\"?"
        );
        assert_eq!(
            read("on_failure = 1").unwrap_err(),
            "columba.toml:1:1: unknown key \"on_failure\"; did you mean \"durability.on_failure\"?"
        );
        assert_eq!(
            read("[[listener]]\nurl = \"*:1\"\nmost_clients = 1\n").unwrap_err(),
            "columba.toml:3:1: unknown key \"most_clients\""
        );
        assert_eq!(read("[plugins]\nlua = true\n").unwrap_err(), "columba.toml:1:2: unknown key \"plugins\"");
    }

    #[test]
    fn a_wrong_value_is_an_error_where_it_stands() {
        assert_eq!(
            read("[log]\nformat = \"xml\"\n").unwrap_err(),
            "columba.toml:2:10: \"log.format\" wants \"text\" or \"json\""
        );
        assert_eq!(read("limits = 5").unwrap_err(), "columba.toml:1:10: \"limits\" wants keys of its own, under [limits]");
        assert!(read("data_dir = /tmp").unwrap_err().starts_with("columba.toml:1:12: "));
        assert!(
            read("[listener]\nurl = \"*:1\"")
                .unwrap_err()
                .ends_with("write each listener as [[listener]] with url = \"mqtt://HOST:PORT\"")
        );
    }

    #[test]
    fn later_sources_win() {
        let config = load(&Sources {
            env: vec![
                ("COLUMBA__LIMITS__MAX_CONNECTIONS".into(), "5".into()),
                ("COLUMBA__DATA_DIR".into(), "/a".into()),
                ("PATH".into(), "/bin".into()),
            ],
            set: vec!["limits.max_connections=6".into()],
            listen: vec!["127.0.0.1:0".into(), "[::1]:0".into()],
            ..Sources::default()
        })
        .unwrap();

        assert_eq!(config.max_connections, Some(6));
        assert_eq!(config.data, Data::Directory("/a".into()));
        assert_eq!(config.listeners.len(), 2);
    }

    #[test]
    fn files_in_conf_d_come_over_the_file_and_bring_listeners_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        write("columba.toml", "[[listener]]\nurl = \"*:1\"\n[limits]\ninflight = 1\nreceive_maximum = 1\n");
        write("conf.d/20.toml", "[limits]\ninflight = 3\n");
        write("conf.d/10.toml", "[[listener]]\nurl = \"*:2\"\n[limits]\ninflight = 2\n");
        write("conf.d/30.toml.off", "nonsense");
        let sources = Sources { file: Some(dir.path().join("columba.toml")), ..Sources::default() };

        let config = load(&sources).unwrap();
        let listeners: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
        assert_eq!((config.limits.inflight, config.limits.receive_maximum), (3, 1));
        assert_eq!(listeners, ["*:1", "*:2"]);

        write("conf.d/20.toml", "\n[limts]\n");
        let error = load(&sources).unwrap_err();
        assert!(error.contains("conf.d/20.toml:2:2: unknown key \"limts\""), "{error}");
    }

    #[test]
    fn each_source_is_named_when_it_is_wrong() {
        let set = |text: &str| load(&Sources { set: vec![text.into()], ..Sources::default() }).unwrap_err();

        assert_eq!(
            set("limits.max_connections"),
            "--set limits.max_connections: write key=value, like limits.max_connections=1000"
        );
        assert_eq!(
            set("limits.max_connections=many"),
            "--set limits.max_connections=many: \"limits.max_connections\" wants a number from 1 to 4294967295, or \"none\""
        );
        assert_eq!(set("listener=1"), "--set listener=1: listeners come from the file or from --listen");
        let env = load(&Sources { env: vec![("COLUMBA__LOG__FORMT".into(), "json".into())], ..Sources::default() });
        assert_eq!(env.unwrap_err(), "COLUMBA__LOG__FORMT: unknown key \"log.formt\"; did you mean \"format\"?");
        let listen = load(&Sources { listen: vec!["mqtts://*:8883".into()], ..Sources::default() });
        assert_eq!(
            listen.unwrap_err(),
            "--listen mqtts://*:8883: mqtts and wss need cert and key: the PEM files of the certificate and of its key"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(&Sources { file: Some("/nowhere/columba.toml".into()), ..Sources::default() }).unwrap_err();

        assert!(error.starts_with("/nowhere/columba.toml: cannot be read: "), "{error}");
    }
}
