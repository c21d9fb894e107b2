//! What every key takes, and what holds where nobody says anything: for whoever prints a configuration, and for editors. Tests hold all of it against what
//! the keys do.

use serde_json::{Value as Json, json};

use super::{Config, Data};

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) preset: Preset,
    shape: Shape,
}

/// What holds where nobody says anything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// This, as it would stand in a file.
    Is(&'static str),
    /// What the machine gives.
    Of(fn(&Config) -> String),
    /// Nothing: what that means is for the guide to say.
    Unset,
}

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Flag,
    Number(u64, u64),
    NumberOrNone(u64, u64),
    Size,
    SizeOrNone,
    /// A part of what there is, too.
    Quota,
    Duration,
    DurationOrNone,
    Text,
    Choice(&'static [&'static str]),
    /// Several texts, or one.
    Texts,
}

use Preset::{Is, Of, Unset};
use Shape::{Choice, Duration, DurationOrNone, Flag, Number, NumberOrNone, Quota, Size, SizeOrNone, Text, Texts};

const fn fact(name: &'static str, preset: Preset, shape: Shape) -> Fact {
    Fact { name, preset, shape }
}

const U16: u64 = u16::MAX as u64;
const U32: u64 = u32::MAX as u64;
const STRATEGIES: Shape = Choice(&["round-robin", "least-in-flight", "sticky", "hash-topic", "hash-client"]);
const SYNCS: Shape = Choice(&["group", "always", "interval", "none"]);

/// All keys but those of listeners and groups.
pub(super) static FACTS: &[Fact] = &[
    fact("data_dir", Of(data_dir), Text),
    fact("ephemeral", Is("false"), Flag),
    fact("response_information", Unset, Text),
    fact("server_reference", Unset, Text),
    fact("auth.anonymous", Unset, Flag),
    fact("auth.password.file", Unset, Text),
    fact("auth.password.upgrade", Is("false"), Flag),
    fact("auth.order", Unset, Texts),
    fact("auth.jwt.secret_file", Unset, Text),
    fact("auth.jwt.key_file", Unset, Text),
    fact("auth.jwt.jwks", Unset, Text),
    fact("auth.jwt.jwks_url", Unset, Text),
    fact("auth.jwt.jwks_ca", Unset, Text),
    fact("auth.jwt.jwks_refresh", Is("\"5m\""), Duration),
    fact("auth.jwt.issuer", Is("[]"), Texts),
    fact("auth.jwt.audience", Is("[]"), Texts),
    fact("auth.jwt.leeway", Is("\"30s\""), Duration),
    fact("auth.jwt.claims.username", Is("\"sub\""), Text),
    fact("auth.jwt.claims.acl", Is("\"acl\""), Text),
    fact("auth.jwt.claims.client_id", Unset, Text),
    fact("auth.jwt.match_username", Is("false"), Flag),
    fact("auth.jwt.disconnect_expired", Is("true"), Flag),
    fact("auth.http.url", Unset, Text),
    fact("auth.http.ca", Unset, Text),
    fact("auth.http.timeout", Is("\"3s\""), Duration),
    fact("auth.http.connections", Is("8"), Number(1, 256)),
    fact("auth.http.cache", Is("\"10s\""), Duration),
    fact("auth.http.cache_denied", Is("\"2s\""), Duration),
    fact("acl.file", Unset, Text),
    fact("acl.denied_publish", Is("\"acknowledge\""), Choice(&["acknowledge", "disconnect"])),
    fact("limits.max_connections", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.connections_per_address", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.connect_rate_per_address", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.connections_per_user", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.subscriptions", Is("10000"), Number(1, U32)),
    fact("limits.memory", Is("\"80%\""), Quota),
    fact("limits.max_packet_size", Is("\"2MiB\""), Size),
    fact("limits.max_payload", Is("\"none\""), SizeOrNone),
    fact("limits.receive_maximum", Is("1024"), Number(1, U16)),
    fact("limits.inflight", Is("100"), Number(1, U16)),
    fact("limits.max_qos", Is("2"), Number(0, 2)),
    fact("limits.retain", Is("true"), Flag),
    fact("limits.wildcard_subscriptions", Is("true"), Flag),
    fact("limits.shared_subscriptions", Is("true"), Flag),
    fact("limits.max_topic_alias", Is("64"), Number(0, U16)),
    fact("limits.topic_levels", Is("1024"), Number(1, U16)),
    fact("limits.session_expiry_max", Is("\"none\""), DurationOrNone),
    fact("limits.max_keep_alive", Is("\"none\""), DurationOrNone),
    fact("limits.connect_wait", Is("\"10s\""), Duration),
    fact("limits.retry_interval", Is("\"30s\""), DurationOrNone),
    fact("limits.slow_consumer_timeout", Is("\"30s\""), Duration),
    fact("limits.queue_messages", Is("\"none\""), NumberOrNone(1, u64::MAX - 1)),
    fact("limits.queue_bytes", Is("\"none\""), SizeOrNone),
    fact("limits.dead_letter_topic", Is("\"none\""), Text),
    fact("limits.queue_age", Is("\"none\""), DurationOrNone),
    fact("limits.queue_qos0", Is("false"), Flag),
    fact("limits.queue_full", Is("\"reject\""), Choice(&["reject", "drop-newest", "drop-oldest", "disconnect"])),
    fact("limits.bytes_in", Is("\"none\""), SizeOrNone),
    fact("limits.messages_in", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.bytes_out", Is("\"none\""), SizeOrNone),
    fact("limits.messages_out", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.flapping_connects", Is("\"none\""), NumberOrNone(1, U32)),
    fact("limits.ban", Is("\"5m\""), Duration),
    fact("limits.retained_cache", Is("\"16MiB\""), Size),
    fact("limits.will_grace", Is("\"5s\""), Duration),
    fact("shared.strategy", Is("\"round-robin\""), STRATEGIES),
    fact("durability.sync", Is("\"group\""), SYNCS),
    fact("durability.sync_interval", Is("\"200ms\""), Duration),
    fact("durability.on_failure", Is("\"stay\""), Choice(&["stay", "exit"])),
    fact("durability.disk_reserve", Unset, Size),
    fact("durability.disk_quota", Is("\"none\""), Quota),
    fact("http.url", Of(http_url), Text),
    fact("http.metrics", Is("true"), Flag),
    fact("http.hosts", Is("[]"), Texts),
    fact("http.tokens_file", Unset, Text),
    fact("sys.interval", Is("\"10s\""), Duration),
    fact("log.format", Is("\"text\""), Choice(&["text", "json"])),
    fact("log.filter", Is("\"info\""), Text),
    fact("runtime.workers", Of(|config| config.runtime.workers.to_string()), Number(1, super::keys::SHARDS_MAX as u64)),
    fact("runtime.shards", Of(|config| config.runtime.shards.to_string()), Number(1, super::keys::SHARDS_MAX as u64)),
];

/// Those of one `[[listener]]`.
pub(super) static OF_LISTENERS: &[Fact] = &[
    fact("url", Is("\"mqtt://localhost:1883\""), Text),
    fact("interface", Unset, Text),
    fact("max_connections", Is("\"none\""), NumberOrNone(1, U32)),
    fact("protocols", Is("[\"3.1\", \"3.1.1\", \"5\"]"), Texts),
    fact("max_qos", Unset, Number(0, 2)),
    fact("max_topic_alias", Unset, Number(0, U16)),
    fact("mount_point", Unset, Text),
    fact("connect_rate", Is("\"none\""), NumberOrNone(1, U32)),
    fact("auth", Unset, Texts),
    fact("sync", Unset, SYNCS),
    fact("cert", Unset, Text),
    fact("key", Unset, Text),
    fact("ca", Unset, Text),
    fact("ca_dir", Unset, Text),
    fact("crl", Unset, Text),
    fact("client_cert", Is("\"none\""), Choice(&["none", "optional", "require"])),
    fact("identity", Is("\"none\""), Choice(&["none", "cn", "subject"])),
    fact("tls_version", Is("\"1.2\""), Choice(&["1.2", "1.3", "tlsv1.2", "tlsv1.3"])),
    fact("websocket", Is("false"), Flag),
    fact("path", Unset, Text),
    fact("origins", Is("[]"), Texts),
    fact("proxy_protocol", Is("false"), Flag),
    fact("proxy_trust", Unset, Texts),
    fact("mode", Is("\"0660\""), Text),
];

/// Those of one `[[shared.group]]`.
pub(super) static OF_GROUPS: &[Fact] = &[fact("name", Unset, Text), fact("strategy", Unset, STRATEGIES)];

fn data_dir(config: &Config) -> String {
    match &config.data {
        Data::Directory(path) => toml::Value::String(path.display().to_string()).to_string(),
        Data::Ephemeral => "\"\"".into(),
    }
}

fn http_url(_: &Config) -> String {
    format!("\"http://127.0.0.1:{}\"", super::http::PORT)
}

/// A JSON Schema (2020-12) of configuration files, for editors.
pub fn schema() -> String {
    let mut root = object(FACTS);
    let listeners = array(object(OF_LISTENERS), &["url"]);
    let groups = array(object(OF_GROUPS), &["name", "strategy"]);
    place(&mut root, super::keys::LISTENER, listeners);
    place(&mut root, super::keys::SHARED_GROUP, groups);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "columba.toml".into();
    format!("{root:#}")
}

/// What may stand behind a key, in a few words; keys of a listener are `listener.url` and its like. `None`: there is no such key.
pub fn takes(key: &str) -> Option<String> {
    let of = |table: &str, facts: &'static [Fact]| {
        let name = key.strip_prefix(table)?.strip_prefix('.')?;
        facts.iter().find(|fact| fact.name == name)
    };
    let fact = FACTS.iter().find(|fact| fact.name == key);
    let fact = fact.or_else(|| of(super::keys::LISTENER, OF_LISTENERS)).or_else(|| of(super::keys::SHARED_GROUP, OF_GROUPS));
    fact.map(|fact| fact.shape.words())
}

fn object(facts: &[Fact]) -> Json {
    let mut root = empty();
    for fact in facts {
        let mut of_key = fact.shape.schema();
        if let (Is(preset), Some(key)) = (fact.preset, of_key.as_object_mut())
            && let Ok(table) = format!("it = {preset}").parse::<toml::Table>()
            && let Ok(preset) = serde_json::to_value(&table["it"])
        {
            key.insert("default".into(), preset);
        }
        place(&mut root, fact.name, of_key);
    }
    root
}

fn empty() -> Json {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}

fn array(mut items: Json, required: &[&str]) -> Json {
    items["required"] = required.into();
    json!({ "type": "array", "items": items })
}

/// `a.b.c` stands in the object `b` of the object `a`.
fn place(root: &mut Json, name: &str, schema: Json) {
    let mut within = root;
    let mut words = name.split('.').peekable();
    while let Some(word) = words.next() {
        let Some(properties) = within["properties"].as_object_mut() else { return };
        if words.peek().is_none() {
            properties.insert(word.into(), schema);
            return;
        }
        within = properties.entry(word).or_insert_with(empty);
    }
}

impl Shape {
    fn words(self) -> String {
        let number = |least, most| match most {
            0..=U16 => format!("a number from {least} to {most}"),
            _ => format!("a number, {least} or more"),
        };
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Number(least, most) => number(least, most),
            Self::NumberOrNone(least, most) => format!("{}, or \"none\"", number(least, most)),
            Self::Size => "a size".to_owned(),
            Self::SizeOrNone => "a size, or \"none\"".to_owned(),
            Self::Quota => "a size, a part like \"90%\", or \"none\"".to_owned(),
            Self::Duration => "a duration".to_owned(),
            Self::DurationOrNone => "a duration, or \"none\"".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Choice(choices) => format!("one of \"{}\"", choices.join("\", \"")),
            Self::Texts => "a list of texts".to_owned(),
        }
    }

    fn schema(self) -> Json {
        let size = || json!({ "type": "string", "pattern": "^[0-9]+ ?([kKMGT]i?B?|B)?$" });
        let duration = || json!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d|w)?$" });
        let text = || json!({ "type": "string" });
        let or_none = |mut schemas: Vec<Json>| {
            schemas.push(json!({ "const": "none" }));
            json!({ "anyOf": schemas })
        };
        let natural = || json!({ "type": "integer", "minimum": 0 });
        match self {
            Self::Flag => json!({ "type": "boolean" }),
            Self::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::NumberOrNone(least, most) => or_none(vec![Self::Number(least, most).schema()]),
            Self::Size => json!({ "anyOf": [natural(), size()] }),
            Self::SizeOrNone => or_none(vec![natural(), size()]),
            Self::Quota => or_none(vec![natural(), size(), json!({ "type": "string", "pattern": "^[0-9]+%$" })]),
            Self::Duration => json!({ "anyOf": [natural(), duration()] }),
            Self::DurationOrNone => or_none(vec![natural(), duration()]),
            Self::Text => text(),
            Self::Choice(choices) => json!({ "enum": choices }),
            Self::Texts => json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{
        Listener,
        keys::{Keyed, SharedGroup, shown},
        value::Value,
    };

    fn value(toml: &str) -> Value {
        Value::from_text(toml)
    }

    fn names(facts: &[Fact]) -> BTreeSet<&'static str> {
        facts.iter().map(|fact| fact.name).collect()
    }

    #[test]
    fn every_key_has_its_facts_and_no_other() {
        assert_eq!(names(FACTS), shown::<Config>().collect());
        assert_eq!(names(OF_LISTENERS), shown::<Listener>().collect());
        assert_eq!(names(OF_GROUPS), shown::<SharedGroup>().collect());
    }

    /// What is said to hold changes nothing when it is said.
    fn presets_hold<T: Keyed + std::fmt::Debug>(facts: &[Fact], fresh: impl Fn() -> T) {
        for fact in facts {
            let Is(preset) = fact.preset else { continue };
            let mut said = fresh();
            let key = T::key(fact.name).unwrap();
            (key.set)(&mut said, &value(preset)).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", fact.name));
            assert_eq!(format!("{said:?}"), format!("{:?}", fresh()), "{}", fact.name);
        }
    }

    #[test]
    fn what_is_said_to_hold_without_a_word_does() {
        presets_hold(FACTS, Config::default);
        presets_hold(OF_LISTENERS, Listener::local);
    }

    /// What the shape allows is taken, and what it does not is not.
    fn shapes_hold<T: Keyed>(facts: &[Fact], fresh: impl Fn() -> T) {
        for fact in facts {
            let takes = |text: &str| (T::key(fact.name).unwrap().set)(&mut fresh(), &value(text)).is_ok();
            let (good, bad): (Vec<String>, Vec<String>) = match fact.shape {
                Flag => (vec!["true".into(), "false".into()], vec!["\"true\"".into(), "1".into()]),
                Number(least, most) => (vec![least.to_string(), most.to_string()], vec!["-1".into(), "\"none\"".into()]),
                NumberOrNone(least, _) => (vec![least.to_string(), "\"none\"".into()], vec!["-1".into(), "true".into()]),
                Size => (vec!["\"64MiB\"".into(), "67108864".into()], vec!["\"none\"".into(), "\"64 apples\"".into()]),
                SizeOrNone => (vec!["\"64MiB\"".into(), "\"none\"".into()], vec!["\"64 apples\"".into()]),
                Quota => (vec!["\"64MiB\"".into(), "\"none\"".into(), "\"50%\"".into()], vec!["\"0%\"".into(), "true".into()]),
                Duration => (vec!["\"5s\"".into(), "5".into()], vec!["\"none\"".into(), "\"5 apples\"".into()]),
                DurationOrNone => (vec!["\"5s\"".into(), "\"none\"".into()], vec!["\"5 apples\"".into()]),
                Choice(choices) => (choices.iter().map(|choice| format!("\"{choice}\"")).collect(), vec!["\"another\"".into()]),
                // Which text is for each key to say.
                Text | Texts => (vec![], vec!["true".into(), "1".into()]),
            };
            for text in good {
                assert!(takes(&text), "{} = {text}", fact.name);
            }
            for text in bad {
                assert!(!takes(&text), "{} = {text}", fact.name);
            }
        }
    }

    #[test]
    fn what_may_stand_behind_a_key_is_what_it_takes() {
        shapes_hold(FACTS, Config::default);
        shapes_hold(OF_LISTENERS, Listener::local);
        shapes_hold(OF_GROUPS, SharedGroup::default);
    }

    #[test]
    fn in_words_a_key_takes_what_its_shape_does() {
        assert_eq!(takes("limits.max_qos").as_deref(), Some("a number from 0 to 2"));
        assert_eq!(takes("listener.max_connections").as_deref(), Some("a number, 1 or more, or \"none\""));
        assert_eq!(takes("listener.client_cert").as_deref(), Some("one of \"none\", \"optional\", \"require\""));
        assert_eq!(takes("shared.group.name").as_deref(), Some("a text"));
        assert_eq!(takes("listener"), None);
        assert_eq!(takes("limits.max_qo"), None);
    }

    #[test]
    fn the_schema_has_every_key_at_its_place() {
        let schema: Json = serde_json::from_str(&schema()).unwrap();

        assert_eq!(schema["properties"]["limits"]["properties"]["inflight"]["default"], 100);
        assert_eq!(schema["properties"]["listener"]["items"]["required"], json!(["url"]));
        let shared = &schema["properties"]["shared"]["properties"];
        assert!(shared["group"].is_object() && shared["strategy"].is_object());
        assert_eq!(schema["additionalProperties"], false);
    }
}
