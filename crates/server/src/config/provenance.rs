//! Who said what a configuration says: for whoever prints it, and for who asks a running broker.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};
use toml::de::{DeTable, DeValue};

use super::{
    Config, Sources,
    facts::{FACTS, Fact, OF_LISTENERS, Preset},
    keys::{LISTENER, SHARED_GROUP},
    source::{self, Place},
    value::Value,
};

/// What is said of a value that nobody has said.
pub(super) const DEFAULT: &str = "default";

/// URLs in whose query part a secret can stand.
const SECRET_IN_QUERY: [&str; 2] = ["auth.http.url", "auth.jwt.jwks_url"];

/// Who said what a configuration says. What a program has put there by itself nobody has said: it is not known here.
#[derive(Clone, Default)]
pub struct Provenance(Arc<Survey>);

/// It says nothing of what is in force.
impl fmt::Debug for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provenance")
    }
}

/// A key, what holds, as it stands in a file, and who said that. Nothing: what that means is for the guide to say.
pub(super) struct Line<'a> {
    pub(super) key: &'a str,
    pub(super) value: Option<Cow<'a, str>>,
    pub(super) place: &'a str,
}

/// What was said, by key.
type Table = BTreeMap<String, Said>;

/// A value as it stands in a file, and who said it.
#[derive(Clone, Debug)]
struct Said {
    value: String,
    place: String,
}

/// Everything that was said, the later word over the earlier.
#[derive(Clone, Debug, Default)]
struct Survey {
    keys: Table,
    listeners: Vec<Table>,
    groups: Vec<Table>,
}

impl Provenance {
    /// A file that is right. Its listeners come to those before it.
    pub(super) fn read(&mut self, text: &str, place: impl Fn(usize) -> String) {
        Arc::make_mut(&mut self.0).read(text, place);
    }

    /// What the environment and the command line say.
    pub(super) fn hear(&mut self, sources: &Sources) {
        Arc::make_mut(&mut self.0).hear(sources);
    }

    /// That of the next configuration, but for the keys that wait for the next start: of them what is said now is in force.
    pub(crate) fn followed_by(&self, next: &Self, waiting: &[&str]) -> Self {
        let mut survey = Survey::clone(&next.0);
        survey.keys.retain(|key, _| !waits(key, waiting));
        let kept = self.0.keys.iter().filter(|(key, _)| waits(key, waiting));
        survey.keys.extend(kept.map(|(key, said)| (key.clone(), said.clone())));
        Self(Arc::new(survey))
    }

    /// All keys, but for those of listeners and groups.
    pub(super) fn lines(&self, config: &Config) -> Vec<Line<'_>> {
        let keys = &self.0.keys;
        let known = FACTS.iter().map(|fact| match (keys.get(fact.name), fact.preset) {
            (Some(said), _) => said.line(fact.name),
            (None, Preset::Is(value)) => Line { key: fact.name, value: Some(value.into()), place: DEFAULT },
            (None, Preset::Of(value)) => Line { key: fact.name, value: Some(value(config).into()), place: DEFAULT },
            (None, Preset::Unset) => Line { key: fact.name, value: None, place: DEFAULT },
        });
        // What exists for tests.
        let hidden = keys.iter().filter(|(key, _)| !FACTS.iter().any(|fact| fact.name == **key));
        known.chain(hidden.map(|(key, said)| said.line(key))).collect()
    }

    /// Those of each listener.
    pub(super) fn listeners(&self) -> Vec<Vec<Line<'_>>> {
        static NONE_SAID: Table = Table::new();
        let default = [&NONE_SAID];
        let said: Vec<&Table> = self.0.listeners.iter().collect();
        let tables = if said.is_empty() { &default[..] } else { &said };
        tables.iter().map(|table| lines_of(table, OF_LISTENERS)).collect()
    }

    /// Those of each group with a strategy of its own.
    pub(super) fn groups(&self) -> Vec<Vec<Line<'_>>> {
        self.0.groups.iter().map(|table| lines_of(table, &[])).collect()
    }

    /// Everything, without secrets: those of them that are not in files of their own are left out.
    pub(crate) fn shown(&self, config: &Config) -> Vec<Json> {
        let mut items: Vec<Json> = self.lines(config).iter().map(|line| line.shown(line.key)).collect();
        for (head, tables) in [(LISTENER, self.listeners()), (SHARED_GROUP, self.groups())] {
            for (number, lines) in tables.iter().enumerate() {
                items.extend(lines.iter().map(|line| line.shown(&format!("{head}[{number}].{}", line.key))));
            }
        }
        items
    }
}

/// One of several tables: what was said in it, and what holds beside that.
fn lines_of<'t>(table: &'t Table, facts: &[Fact]) -> Vec<Line<'t>> {
    let said = table.iter().map(|(key, said)| said.line(key));
    let beside = facts.iter().filter(|fact| !table.contains_key(fact.name)).filter_map(|fact| match fact.preset {
        Preset::Is(value) => Some(Line { key: fact.name, value: Some(value.into()), place: DEFAULT }),
        Preset::Of(_) | Preset::Unset => None,
    });
    said.chain(beside).collect()
}

/// Whether a key is among those that wait for the next start.
fn waits(key: &str, waiting: &[&str]) -> bool {
    let named = match key {
        "ephemeral" => "data_dir",
        // They are taken at once.
        "durability.on_failure" | "durability.disk_quota" | "durability.disk_reserve" => return false,
        key => key,
    };
    waiting.iter().any(|name| named.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

impl Said {
    fn line<'s>(&'s self, key: &'s str) -> Line<'s> {
        Line { key, value: Some(self.value.as_str().into()), place: &self.place }
    }
}

impl Line<'_> {
    fn shown(&self, key: &str) -> Json {
        let toml = |value: &Cow<'_, str>| serde_json::to_value(&format!("it = {value}").parse::<toml::Table>().ok()?["it"]).ok();
        let value = self.value.as_ref().and_then(toml);
        let query = value.as_ref().and_then(Json::as_str).and_then(|url| url.split_once('?'));
        match query.filter(|_| SECRET_IN_QUERY.contains(&self.key)) {
            // Behind `=` an option has the value once more.
            Some((url, _)) => json!({ "key": key, "value": format!("{url}?..."), "origin": self.place.split('=').next() }),
            None => json!({ "key": key, "value": value, "origin": self.place }),
        }
    }
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
    use super::*;

    fn item<'i>(items: &'i [Json], key: &str) -> (&'i Json, &'i str) {
        let found = items.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("{key}"));
        (&found["value"], found["origin"].as_str().unwrap())
    }

    #[test]
    fn each_key_is_shown_as_json_with_who_said_it() {
        let sources = Sources {
            env: vec![("COLUMBA__LIMITS__INFLIGHT".into(), "60".into())],
            set: vec!["http.hosts=[\"broker.example\"]".into(), "log.filter=debug".into()],
            listen: vec!["127.0.0.1:1".into(), "[::1]:2".into()],
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();

        let items = config.provenance.shown(&config);

        assert_eq!(item(&items, "limits.inflight"), (&json!(60), "COLUMBA__LIMITS__INFLIGHT"));
        assert_eq!(item(&items, "http.hosts"), (&json!(["broker.example"]), "--set http.hosts=[\"broker.example\"]"));
        assert_eq!(item(&items, "limits.retain"), (&json!(true), DEFAULT));
        assert_eq!(item(&items, "acl.file"), (&Json::Null, DEFAULT));
        assert_eq!(item(&items, "listener[1].url"), (&json!("[::1]:2"), "--listen [::1]:2"));
        assert_eq!(item(&items, "listener[0].max_connections"), (&json!("none"), DEFAULT));
        assert_eq!(items.iter().filter(|item| item["key"] == "listener[0].url").count(), 1);
    }

    #[test]
    fn what_stands_in_the_query_of_a_url_is_not_shown() {
        let set = vec!["auth.http.url=https://auth.example/in?key=secret".into()];
        let config = Config::load(&Sources { set, ..Sources::default() }).unwrap();

        let items = config.provenance.shown(&config);

        assert_eq!(item(&items, "auth.http.url"), (&json!("https://auth.example/in?..."), "--set auth.http.url"));
        assert!(!format!("{items:?}").contains("secret\""), "nowhere");
    }

    #[test]
    fn of_what_waits_for_the_next_start_that_is_shown_which_is_in_force() {
        let of = |text: &str| Config::parse("columba.toml", text).unwrap();
        let now = of("data_dir = \"/now\"\n[runtime]\nshards = 2\n[durability]\non_failure = \"stay\"\n");
        let next = of(
            "ephemeral = true\n[limits]\ninflight = 5\n[durability]\nsync = \"none\"\non_failure = \"exit\"\ndisk_quota = \"90%\"\n",
        );

        let both = now.provenance.followed_by(&next.provenance, &["data_dir", "durability", "runtime"]);

        let items = both.shown(&now);
        assert_eq!(item(&items, "data_dir"), (&json!("/now"), "columba.toml:1:1"));
        assert_eq!(item(&items, "ephemeral"), (&json!(false), DEFAULT));
        assert_eq!(item(&items, "runtime.shards"), (&json!(2), "columba.toml:3:1"));
        assert_eq!(item(&items, "durability.sync"), (&json!("group"), DEFAULT));
        assert_eq!(item(&items, "durability.on_failure"), (&json!("exit"), "columba.toml:6:1"));
        assert_eq!(item(&items, "durability.disk_quota"), (&json!("90%"), "columba.toml:7:1"));
        assert_eq!(item(&items, "limits.inflight"), (&json!(5), "columba.toml:3:1"));
    }
}
