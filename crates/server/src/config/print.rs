//! A configuration as it is in force, as a file of ours, and for each key who said it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError, Sources,
    facts::{FACTS, Fact, OF_LISTENERS, Preset},
    keys::{LISTENER, SHARED_GROUP},
    mosquitto::Import,
    source::{self, Place},
    value::Value,
};

/// What is said of a value that nobody has said.
const DEFAULT: &str = "default";

/// Whether it is said where each value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origins {
    /// Behind each.
    Shown,
    /// Not at all.
    Hidden,
}

/// What was said, by key.
type Table = BTreeMap<String, Said>;

/// A value as it stands in a file, and who said it.
#[derive(Debug)]
struct Said {
    value: String,
    place: String,
}

/// Everything that was said, the later word over the earlier.
#[derive(Debug, Default)]
struct Survey {
    keys: Table,
    listeners: Vec<Table>,
    groups: Vec<Table>,
}

/// The configuration of these sources as one file, with what holds where they say nothing.
///
/// # Errors
///
/// What is wrong with them, as [`Config::load`] says it.
pub fn print(sources: &Sources, origins: Origins) -> Result<String, ConfigError> {
    let config = Config::load(sources)?;
    let mut survey = Survey::default();
    if let Some(path) = &sources.file {
        if source::is_mosquittos(path) {
            let import = Import::read(path)?;
            survey.read(&import.to_toml(), |_| path.display().to_string());
        } else {
            for (path, text) in source::read_files(path)? {
                survey.read(&text, |offset| source::place(&path, &text, offset).to_string());
            }
        }
    }
    survey.hear(sources);
    Ok(survey.show(&config, origins))
}

impl Survey {
    /// A file that is right. Its listeners come to those before it.
    fn read(&mut self, text: &str, place: impl Fn(usize) -> String) {
        let Ok(table) = DeTable::parse(text) else { return };
        self.read_table("", table.get_ref(), &place);
    }

    fn read_table(&mut self, section: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> String) {
        for (key, value) in table {
            let name = if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            match value.get_ref() {
                DeValue::Table(inner) => self.read_table(&name, inner, place),
                DeValue::Array(items) if name == LISTENER => self.listeners.extend(tables(items, place)),
                DeValue::Array(items) if name == SHARED_GROUP => self.groups = tables(items, place).collect(),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let value = Value::from_toml(value.get_ref()).to_toml();
                    self.keys.insert(name, Said { value, place: place(key.span().start) });
                }
            }
        }
    }

    /// What the environment and the command line say.
    fn hear(&mut self, sources: &Sources) {
        for (name, value) in &sources.env {
            if let Some(key) = source::key_of_variable(name) {
                self.say(&key, &Value::from_text(value), &Place::Variable(name.clone()));
            }
        }
        for given in &sources.set {
            if let Some((key, value)) = given.split_once('=') {
                let place = Place::Option { name: "--set", given: given.clone() };
                self.say(key.trim(), &Value::from_text(value.trim()), &place);
            }
        }
        if !sources.listen.is_empty() {
            self.listeners = sources.listen.iter().map(|given| listener_of_option(given, sources)).collect();
        }
        let option = |name, given: &str| Place::Option { name, given: given.to_owned() };
        if let Some(given) = &sources.http {
            self.say("http.url", &Value::Text(given.clone()), &option("--http", given));
        }
        if let Some(path) = &sources.data_dir {
            let given = path.display().to_string();
            self.say("data_dir", &Value::Text(given.clone()), &option("--data-dir", &given));
        }
        if sources.ephemeral {
            self.say("ephemeral", &Value::Flag(true), &option("--ephemeral", ""));
        }
        if sources.allow_anonymous {
            self.say("auth.anonymous", &Value::Flag(true), &option("--allow-anonymous", ""));
        }
    }

    fn say(&mut self, key: &str, value: &Value, place: &Place) {
        let place = place.to_string().trim_end().to_owned();
        self.keys.insert(key.to_owned(), Said { value: value.to_toml(), place });
    }

    fn show(&self, config: &Config, origins: Origins) -> String {
        let mut text = String::new();
        for fact in FACTS {
            match (self.keys.get(fact.name), fact.preset) {
                (Some(said), _) => line(&mut text, origins, fact.name, &said.value, &said.place),
                (None, Preset::Is(value)) => line(&mut text, origins, fact.name, value, DEFAULT),
                (None, Preset::Of(value)) => line(&mut text, origins, fact.name, &value(config), DEFAULT),
                (None, Preset::Unset) => writeln!(text, "# {} is not set", fact.name).unwrap_or_default(),
            }
        }
        // What exists for tests.
        for (key, said) in self.keys.iter().filter(|(key, _)| !FACTS.iter().any(|fact| fact.name == **key)) {
            line(&mut text, origins, key, &said.value, &said.place);
        }
        let default = [BTreeMap::new()];
        let listeners = if self.listeners.is_empty() { &default[..] } else { &self.listeners };
        for table in listeners {
            text += &shown_table(LISTENER, OF_LISTENERS, table, origins);
        }
        for table in &self.groups {
            text += &shown_table(SHARED_GROUP, &[], table, origins);
        }
        text
    }
}

fn line(text: &mut String, origins: Origins, key: &str, value: &str, place: &str) {
    match origins {
        Origins::Shown => writeln!(text, "{key} = {value}  # {place}"),
        Origins::Hidden => writeln!(text, "{key} = {value}"),
    }
    .unwrap_or_default();
}

/// One of several tables: what was said in it, and what holds beside that.
fn shown_table(head: &str, facts: &[Fact], table: &Table, origins: Origins) -> String {
    let mut text = format!("\n[[{head}]]\n");
    for (key, said) in table {
        line(&mut text, origins, key, &said.value, &said.place);
    }
    for fact in facts.iter().filter(|fact| !table.contains_key(fact.name)) {
        if let Preset::Is(value) = fact.preset {
            line(&mut text, origins, fact.name, value, DEFAULT);
        }
    }
    text
}

fn tables<'t>(items: &'t toml::de::DeArray<'_>, place: &'t dyn Fn(usize) -> String) -> impl Iterator<Item = Table> + 't {
    items.iter().filter_map(|item| item.get_ref().as_table()).map(|table| {
        let said = |value: &DeValue<'_>, at: usize| Said { value: Value::from_toml(value).to_toml(), place: place(at) };
        table.iter().map(|(key, value)| (key.get_ref().to_string(), said(value.get_ref(), key.span().start))).collect()
    })
}

/// `--listen`, with the files that `--cert` and `--key` name where it speaks TLS.
fn listener_of_option(given: &str, sources: &Sources) -> Table {
    let said = |name, given: &str| Said {
        value: Value::Text(given.to_owned()).to_toml(),
        place: Place::Option { name, given: given.to_owned() }.to_string(),
    };
    let mut table = Table::from([("url".to_owned(), said("--listen", given))]);
    if given.parse().is_ok_and(|address| super::Listener::at(address).has_tls()) {
        let file = |name: &'static str, path: &Option<PathBuf>| {
            path.as_deref().map(Path::display).map(|path| said(name, &path.to_string()))
        };
        table.extend(file("--cert", &sources.cert).map(|said| ("cert".to_owned(), said)));
        table.extend(file("--key", &sources.key).map(|said| ("key".to_owned(), said)));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn debug(config: &Config) -> String {
        format!("{config:?}")
    }

    /// What is printed means the same as what it was printed from.
    fn comes_back(sources: &Sources) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("printed.toml");
        for origins in [Origins::Shown, Origins::Hidden] {
            fs::write(&path, print(sources, origins).unwrap()).unwrap();
            let mut again = Config::load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
            let config = Config::load(sources).unwrap();
            // A default that is written down is wanted for sure.
            again.http.wanted = config.http.wanted;
            again.notes.clone_from(&config.notes);
            again.is_mosquittos = config.is_mosquittos;
            assert_eq!(debug(&again), debug(&config));
        }
    }

    #[test]
    fn a_configuration_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("columba.toml");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        fs::write(
            &file,
            "data_dir = \"/srv/columba\"\n[limits]\ninflight = 50\nqueue_age = \"1d\"\n[[listener]]\nurl = \"mqtt://*:1884\"\nsync = \"none\"\n\
             [auth]\nanonymous = true\n[shared]\nstrategy = \"sticky\"\n[[shared.group]]\nname = \"g\"\nstrategy = \"hash-topic\"\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("conf.d/more.toml"),
            "limits.inflight = 60\n[[listener]]\nurl = \"ws://localhost:9001\"\npath = \"/m\"\n",
        )
        .unwrap();
        comes_back(&Sources::default());
        comes_back(&Sources { file: Some(file.clone()), ..Sources::default() });
        comes_back(&Sources {
            file: Some(file),
            env: vec![("COLUMBA__LIMITS__MAX_QOS".into(), "1".into()), ("HOME".into(), "/".into())],
            set: vec!["log.filter=columba_server=debug,warn".into(), "durability.disk_quota=90%".into()],
            listen: vec!["unix:/run/x.sock".into(), "mqtts://localhost:8883".into()],
            cert: Some("/c.pem".into()),
            key: Some("/k.pem".into()),
            ..Sources::default()
        });
    }

    #[test]
    fn each_value_names_who_said_it_last() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("columba.toml");
        fs::write(&file, "[limits]\nretain = false\ninflight = 50\nmax_qos = 0\n").unwrap();
        let text = print(
            &Sources {
                file: Some(file.clone()),
                env: vec![("COLUMBA__LIMITS__INFLIGHT".into(), "60".into())],
                set: vec!["limits.max_qos=1".into()],
                data_dir: Some("/srv".into()),
                ..Sources::default()
            },
            Origins::Shown,
        )
        .unwrap();
        for line in [
            &*format!("limits.retain = false  # {}:2:1", file.display()),
            "limits.inflight = 60  # COLUMBA__LIMITS__INFLIGHT",
            "limits.max_qos = 1  # --set limits.max_qos=1",
            "data_dir = \"/srv\"  # --data-dir /srv",
            "limits.receive_maximum = 1024  # default",
            "url = \"mqtt://localhost:1883\"  # default",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_configuration_of_mosquitto_is_printed_as_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mosquitto.conf");
        fs::write(&file, "listener 1884 127.0.0.1\nallow_anonymous true\nmax_queued_messages 50\n").unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };

        comes_back(&sources);
        let text = print(&sources, Origins::Shown).unwrap();
        assert!(text.contains(&format!("limits.queue_messages = 50  # {}", file.display())), "{text}");
    }
}
