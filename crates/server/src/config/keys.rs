//! Every key there is: its name and what it sets.

use std::time::Duration;

use columba_broker::{MissedQos0, MountPointError, QueueFull, access::DeniedPublish, limits::Rate, route::Strategy};
use columba_net::tls::MinVersion;
use columba_proto::{QoS, Version, wire::FRAME_LEN_MAX as FRAME_MAX};
use tracing_subscriber::filter::Targets;

use super::{
    Access, AtExpiry, ClientCert, Config, Data, Identity, InterfaceError, Listener, LogFormat, Method, Network, OnFailure, Quota,
    Release, Service, Sync, UserName, auth, suggest,
    value::{Value, Wrong},
};

/// A data directory has so many lanes, and a shard owns at least one.
pub(super) const SHARDS_MAX: u16 = 64;

/// The key under which the listeners stand, as an array of tables.
pub(super) const LISTENER: &str = "listener";

/// Keys that have moved, and where they stand now.
pub(super) const MOVED: &[(&str, &str)] = &[("auth.users_file", "auth.password.file")];

/// The same for groups of shared subscriptions.
pub(super) const SHARED_GROUP: &str = "shared.group";

/// One key of the configuration.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) set: fn(&mut T, &Value) -> Result<(), Wrong>,
    shown: Shown,
}

/// Whether a key is suggested.
#[derive(Eq, PartialEq)]
enum Shown {
    Yes,
    /// It exists for tests.
    No,
}

const fn key<T>(name: &'static str, set: fn(&mut T, &Value) -> Result<(), Wrong>) -> Key<T> {
    Key { name, set, shown: Shown::Yes }
}

/// All keys but those of the listeners.
static KEYS: &[Key<Config>] = &[
    key("data_dir", |config, value| {
        config.data = Data::Directory(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("ephemeral", |config, value| {
        match (value.flag()?, &config.data) {
            (true, _) => config.data = Data::Ephemeral,
            (false, Data::Ephemeral) => config.data = Config::default().data,
            // The directory may have been named before.
            (false, Data::Directory(_)) => {}
        }
        Ok(())
    }),
    key("response_information", |config, value| {
        config.limits.response_information = Some(said(value)?);
        Ok(())
    }),
    key("server_reference", |config, value| {
        config.limits.server_reference = Some(said(value)?);
        Ok(())
    }),
    key("auth.anonymous", |config, value| {
        config.access = if value.flag()? { Access::Anyone } else { Access::Users };
        Ok(())
    }),
    key("auth.password.file", |config, value| {
        config.password_file = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("auth.password.upgrade", |config, value| {
        config.password_upgrade = value.flag()?;
        Ok(())
    }),
    key("auth.order", |config, value| {
        config.auth.order = Some(auth::methods(value, &[Method::Password, Method::Jwt, Method::Http])?);
        Ok(())
    }),
    key("auth.jwt.secret_file", |config, value| {
        config.auth.jwt.secret_file = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("auth.jwt.key_file", |config, value| {
        config.auth.jwt.key_file = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("auth.jwt.jwks", |config, value| config.auth.jwt.read_jwks(value)),
    key("auth.jwt.jwks_url", |config, value| config.auth.jwt.read_jwks_url(value)),
    key("auth.jwt.jwks_ca", |config, value| {
        config.auth.jwt.jwks_ca = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("auth.jwt.jwks_refresh", |config, value| config.auth.jwt.read_jwks_refresh(value)),
    key("auth.jwt.issuer", |config, value| {
        config.auth.jwt.issuers = auth::texts(value)?;
        Ok(())
    }),
    key("auth.jwt.audience", |config, value| {
        config.auth.jwt.audiences = auth::texts(value)?;
        Ok(())
    }),
    key("auth.jwt.leeway", |config, value| config.auth.jwt.read_leeway(value)),
    key("auth.jwt.claims.username", |config, value| {
        config.auth.jwt.username_claim = auth::claim(value)?;
        Ok(())
    }),
    key("auth.jwt.claims.acl", |config, value| {
        config.auth.jwt.acl_claim = auth::claim(value)?;
        Ok(())
    }),
    key("auth.jwt.claims.client_id", |config, value| {
        config.auth.jwt.client_id_claim = Some(auth::claim(value)?);
        Ok(())
    }),
    key("auth.jwt.match_username", |config, value| {
        config.auth.jwt.user_name = if value.flag()? { UserName::Same } else { UserName::Ignored };
        Ok(())
    }),
    key("auth.jwt.disconnect_expired", |config, value| {
        config.auth.jwt.at_expiry = if value.flag()? { AtExpiry::Disconnect } else { AtExpiry::Stay };
        Ok(())
    }),
    key("auth.http.url", |config, value| config.auth.http.read_url(value)),
    key("auth.http.ca", |config, value| {
        config.auth.http.ca = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("auth.http.timeout", |config, value| config.auth.http.read_timeout(value)),
    key("auth.http.connections", |config, value| config.auth.http.read_connections(value)),
    key("auth.http.cache", |config, value| {
        config.auth.http.cache = Service::read_cache(value)?;
        Ok(())
    }),
    key("auth.http.cache_denied", |config, value| {
        config.auth.http.cache_denied = Service::read_cache(value)?;
        Ok(())
    }),
    key("acl.file", |config, value| {
        config.acl_file = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("acl.denied_publish", |config, value| {
        config.limits.denied_publish =
            value.one_of(&[("acknowledge", DeniedPublish::Acknowledge), ("disconnect", DeniedPublish::Disconnect)])?;
        Ok(())
    }),
    key("limits.max_connections", |config, value| {
        config.max_connections = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("limits.connections_per_address", |config, value| {
        config.connections_per_address = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("limits.connect_rate_per_address", |config, value| {
        config.connect_rate_per_address = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("limits.connections_per_user", |config, value| {
        config.limits.connections_per_user = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("limits.subscriptions", |config, value| {
        config.limits.subscriptions_max = count(value, 1)? as usize;
        Ok(())
    }),
    key("limits.memory", |config, value| {
        config.memory_max = quota(value, "memory", MEMORY_MIN)?;
        Ok(())
    }),
    key("limits.max_packet_size", |config, value| {
        config.limits.max_packet_size = size(value, 64, FRAME_MAX)?;
        Ok(())
    }),
    key("limits.max_payload", |config, value| {
        config.limits.max_payload = value.or_none(|value| size(value, 1, FRAME_MAX))?.map_or(usize::MAX, |bytes| bytes as usize);
        Ok(())
    }),
    key("limits.receive_maximum", |config, value| {
        config.limits.receive_maximum = short(value, 1)?;
        Ok(())
    }),
    key("limits.inflight", |config, value| {
        config.limits.inflight = short(value, 1)?;
        Ok(())
    }),
    key("limits.max_qos", |config, value| {
        config.limits.max_qos = qos(value)?;
        Ok(())
    }),
    key("limits.retain", |config, value| {
        config.limits.retain = value.flag()?;
        Ok(())
    }),
    key("limits.wildcard_subscriptions", |config, value| {
        config.limits.wildcard_subscriptions = value.flag()?;
        Ok(())
    }),
    key("limits.shared_subscriptions", |config, value| {
        config.limits.shared_subscriptions = value.flag()?;
        Ok(())
    }),
    key("limits.max_topic_alias", |config, value| {
        config.limits.max_topic_alias = short(value, 0)?;
        Ok(())
    }),
    key("limits.topic_levels", |config, value| {
        config.limits.topic_levels = short(value, 1)?;
        Ok(())
    }),
    key("limits.session_expiry_max", |config, value| {
        let seconds = value.or_none(seconds)?;
        // The last value below "never" is 136 years.
        config.limits.session_expiry_max_s = seconds.map_or(u32::MAX, |seconds| seconds.min(u32::MAX - 1));
        Ok(())
    }),
    key("limits.max_keep_alive", |config, value| {
        let seconds = value.or_none(seconds)?;
        config.limits.max_keep_alive_s = seconds.map_or(0, |seconds| u16::try_from(seconds).unwrap_or(u16::MAX));
        Ok(())
    }),
    key("limits.connect_wait", |config, value| {
        config.limits.connect_wait_ms = value.duration_ms()?;
        Ok(())
    }),
    key("limits.retry_interval", |config, value| {
        config.limits.retry_interval_ms = value.or_none(Value::duration_ms)?.unwrap_or(0);
        Ok(())
    }),
    key("limits.slow_consumer_timeout", |config, value| {
        config.limits.slow_consumer_timeout_ms = value.duration_ms()?;
        Ok(())
    }),
    key("limits.queue_messages", |config, value| {
        config.limits.queue_messages_max = value.or_none(|value| value.number(1..=u64::MAX - 1))?.unwrap_or(u64::MAX);
        Ok(())
    }),
    key("limits.queue_bytes", |config, value| {
        config.limits.queue_bytes_max = value.or_none(Value::size)?.unwrap_or(u64::MAX);
        Ok(())
    }),
    key("limits.dead_letter_topic", |config, value| {
        let topic = value.or_none(|value| value.text().map(str::to_owned))?;
        if topic.as_deref().is_some_and(|topic| !columba_broker::is_dead_letter_topic(topic)) {
            return Err(Wrong("a topic without wildcards and without $ at its beginning".into()));
        }
        config.limits.dead_letter_topic = topic.map(String::into_boxed_str);
        Ok(())
    }),
    key("limits.queue_age", |config, value| {
        config.limits.queue_age_ms = value.or_none(Value::duration_ms)?;
        Ok(())
    }),
    key("limits.queue_qos0", |config, value| {
        config.limits.missed_qos0 = if value.flag()? { MissedQos0::Waits } else { MissedQos0::Lost };
        Ok(())
    }),
    key("limits.queue_full", |config, value| {
        config.limits.queue_full = value.one_of(&[
            ("reject", QueueFull::Reject),
            ("drop-newest", QueueFull::DropNewest),
            ("drop-oldest", QueueFull::DropOldest),
            ("disconnect", QueueFull::Disconnect),
        ])?;
        Ok(())
    }),
    key("limits.bytes_in", |config, value| {
        config.limits.bytes_in = value.or_none(|value| rate(value.size()?))?;
        Ok(())
    }),
    key("limits.messages_in", |config, value| {
        config.limits.messages_in = value.or_none(|value| rate(value.number(1..=u64::from(u32::MAX))?))?;
        Ok(())
    }),
    key("limits.bytes_out", |config, value| {
        config.limits.bytes_out = value.or_none(|value| rate(value.size()?))?;
        Ok(())
    }),
    key("limits.messages_out", |config, value| {
        config.limits.messages_out = value.or_none(|value| rate(value.number(1..=u64::from(u32::MAX))?))?;
        Ok(())
    }),
    key("limits.flapping_connects", |config, value| {
        config.limits.flapping_connects = value.or_none(|value| rate(value.number(1..=u64::from(u32::MAX))?))?;
        Ok(())
    }),
    key("limits.ban", |config, value| {
        config.limits.ban_ms = value.duration_ms()?;
        Ok(())
    }),
    key("limits.retained_cache", |config, value| {
        config.limits.retained_bytes = usize::try_from(value.size()?).unwrap_or(usize::MAX);
        Ok(())
    }),
    key("limits.will_grace", |config, value| {
        config.limits.will_grace_ms = value.duration_ms()?;
        Ok(())
    }),
    key("shared.strategy", |config, value| {
        config.shared.default = value.one_of(STRATEGIES)?;
        Ok(())
    }),
    key("durability.sync", |config, value| {
        config.durability.sync = value.one_of(SYNCS)?;
        Ok(())
    }),
    key("durability.sync_interval", |config, value| {
        config.durability.sync_interval = Duration::from_millis(value.duration_ms()?.clamp(1, SYNC_INTERVAL_MAX_MS));
        Ok(())
    }),
    key("durability.on_failure", |config, value| {
        config.durability.on_failure = value.one_of(&[("stay", OnFailure::Stay), ("exit", OnFailure::Exit)])?;
        Ok(())
    }),
    key("durability.disk_reserve", |config, value| {
        config.disk.reserve = Some(value.size()?);
        Ok(())
    }),
    key("durability.disk_quota", |config, value| {
        config.disk.quota = quota(value, "the file system", QUOTA_BYTES_MIN)?;
        Ok(())
    }),
    // The promise broken on purpose, so that tests can show that they notice.
    Key {
        name: "durability.unsafe_release_before_write",
        set: |config, value| {
            config.durability.release = if value.flag()? { Release::BeforeWrite } else { Release::AfterSync };
            Ok(())
        },
        shown: Shown::No,
    },
    Key {
        name: "durability.unsafe_release_before_sync",
        set: |config, value| {
            config.durability.release = if value.flag()? { Release::BeforeSync } else { Release::AfterSync };
            Ok(())
        },
        shown: Shown::No,
    },
    key("http.url", |config, value| config.http.read_address(value)),
    key("http.metrics", |config, value| {
        config.http.metrics = value.flag()?;
        Ok(())
    }),
    key("http.hosts", |config, value| config.http.read_hosts(value)),
    key("http.tokens_file", |config, value| {
        config.http.tokens_file = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("sys.interval", |config, value| {
        let ms = value.duration_ms()?;
        config.sys_interval = (ms > 0).then(|| Duration::from_millis(ms.max(SYS_INTERVAL_MIN_MS)));
        Ok(())
    }),
    key("log.format", |config, value| {
        config.log.format = value.one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
        Ok(())
    }),
    key("log.filter", |config, value| {
        let filter: Result<Targets, _> = value.text()?.parse();
        config.log.filter = filter.map_err(|_| Wrong("levels like \"info\" or \"columba_server=debug,warn\"".into()))?;
        Ok(())
    }),
    key("runtime.workers", |config, value| {
        config.runtime.workers = shards(value)?;
        Ok(())
    }),
    key("runtime.shards", |config, value| {
        config.runtime.shards = shards(value)?;
        Ok(())
    }),
];

/// The keys of one `[[listener]]`.
static LISTENER_KEYS: &[Key<Listener>] = &[
    key("url", |listener, value| {
        listener.address = value
            .text()?
            .parse()
            .map_err(|error: super::ListenAddressError| Wrong(format!("an address to listen on ({error})")))?;
        Ok(())
    }),
    key("interface", |listener, value| {
        let name = value.text()?.parse();
        listener.interface = Some(name.map_err(|error: InterfaceError| Wrong(error.to_string()))?);
        Ok(())
    }),
    key("max_connections", |listener, value| {
        listener.max_connections = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("auth", |listener, value| {
        listener.auth = Some(auth::methods(value, &[Method::Password, Method::Jwt, Method::Http, Method::Anonymous])?);
        Ok(())
    }),
    key("protocols", |listener, value| {
        let names = Version::ALL.map(|version| (version.name(), version));
        let wanted: Result<Vec<Version>, Wrong> = value.list()?.iter().map(|item| item.one_of(&names)).collect();
        let wanted = wanted.map_err(|Wrong(expected)| Wrong(format!("a list of {expected}")))?;
        if wanted.is_empty() {
            return Err(Wrong("at least one version of MQTT".into()));
        }
        listener.terms.versions = Version::ALL.into_iter().filter(|version| wanted.contains(version)).collect();
        Ok(())
    }),
    key("max_qos", |listener, value| {
        listener.terms.max_qos = Some(qos(value)?);
        Ok(())
    }),
    key("max_topic_alias", |listener, value| {
        listener.terms.max_topic_alias = Some(short(value, 0)?);
        Ok(())
    }),
    key("mount_point", |listener, value| {
        let parsed = value.text()?.parse();
        listener.terms.mount_point = Some(parsed.map_err(|error: MountPointError| Wrong(error.to_string()))?);
        Ok(())
    }),
    key("connect_rate", |listener, value| {
        listener.connect_rate = value.or_none(|value| count(value, 1))?;
        Ok(())
    }),
    key("sync", |listener, value| {
        listener.sync = Some(value.one_of(SYNCS)?);
        Ok(())
    }),
    key("cert", |listener, value| {
        listener.tls.cert = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("key", |listener, value| {
        listener.tls.key = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("ca", |listener, value| {
        listener.tls.ca = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("ca_dir", |listener, value| {
        listener.tls.ca_dir = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("crl", |listener, value| {
        listener.tls.crl = Some(super::source::expand_home(value.text()?));
        Ok(())
    }),
    key("client_cert", |listener, value| {
        let choices = [("none", ClientCert::None), ("optional", ClientCert::Optional), ("require", ClientCert::Require)];
        listener.tls.client_cert = value.one_of(&choices)?;
        Ok(())
    }),
    key("identity", |listener, value| {
        let choices = [("none", Identity::None), ("cn", Identity::CommonName), ("subject", Identity::Subject)];
        listener.tls.identity = value.one_of(&choices)?;
        Ok(())
    }),
    key("tls_version", |listener, value| {
        let choices = [
            ("1.2", MinVersion::Tls12),
            ("1.3", MinVersion::Tls13),
            // As mosquitto writes them.
            ("tlsv1.2", MinVersion::Tls12),
            ("tlsv1.3", MinVersion::Tls13),
        ];
        listener.tls.min_version = value.one_of(&choices)?;
        Ok(())
    }),
    key("websocket", |listener, value| {
        listener.web.beside_mqtt = value.flag()?;
        Ok(())
    }),
    key("path", |listener, value| {
        let path = value.text()?;
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains('?') {
            return Err(Wrong("a path like \"/mqtt\"".into()));
        }
        listener.web.path = Some(path.into());
        Ok(())
    }),
    key("origins", |listener, value| {
        let origins: Result<_, Wrong> = value.list()?.iter().map(|origin| origin.text().map(Box::from)).collect();
        listener.web.origins = origins?;
        Ok(())
    }),
    key("proxy_protocol", |listener, value| {
        if value.flag()? {
            listener.proxies.get_or_insert_default();
        }
        Ok(())
    }),
    key("proxy_trust", |listener, value| {
        let network = |value: &Value| value.text()?.parse::<Network>().map_err(|error| Wrong(error.to_string()));
        let networks: Result<Vec<_>, Wrong> = value.list()?.iter().map(network).collect();
        listener.proxies.get_or_insert_default().extend(networks?);
        Ok(())
    }),
    key("mode", |listener, value| {
        let mode = value.text().ok().and_then(|text| u32::from_str_radix(text, 8).ok()).filter(|mode| *mode <= 0o777);
        listener.mode = mode.ok_or_else(|| Wrong("permissions in octal, like \"0660\"".into()))?;
        Ok(())
    }),
];

/// The keys of one `[[shared.group]]`.
static GROUP_KEYS: &[Key<SharedGroup>] = &[
    key("name", |group, value| {
        let name = value.text()?;
        if name.is_empty() || name.contains(['/', '+', '#']) {
            return Err(Wrong("what stands behind \"$share/\", without \"/\", \"+\" and \"#\"".into()));
        }
        group.name = name.into();
        Ok(())
    }),
    key("strategy", |group, value| {
        group.strategy = value.one_of(STRATEGIES)?;
        Ok(())
    }),
];

/// One `[[shared.group]]`.
#[derive(Debug, Default)]
pub(super) struct SharedGroup {
    pub(super) name: Box<str>,
    pub(super) strategy: Strategy,
}

const STRATEGIES: &[(&str, Strategy)] = &[
    ("round-robin", Strategy::RoundRobin),
    ("least-in-flight", Strategy::LeastInFlight),
    ("sticky", Strategy::Sticky),
    ("hash-topic", Strategy::HashTopic),
    ("hash-client", Strategy::HashClient),
];

const SYNCS: &[(&str, Sync)] =
    &[("group", Sync::Group), ("always", Sync::Always), ("interval", Sync::Interval), ("none", Sync::None)];

/// Who wants it more often wants something else than a summary.
const SYS_INTERVAL_MIN_MS: u64 = 100;

/// A longer one would be `none` in all but name.
const SYNC_INTERVAL_MAX_MS: u64 = 30_000;

/// A part of what there is, or a size of so many bytes at least, or nothing.
fn quota(value: &Value, what: &str, least: u64) -> Result<Quota, Wrong> {
    let percent = value.text().ok().and_then(|text| text.strip_suffix('%')).map(str::parse::<u8>);
    match percent {
        Some(Ok(percent @ 1..=100)) => Ok(Quota::Percent(percent)),
        Some(_) => Err(Wrong(format!("a part of {what} from \"1%\" to \"100%\""))),
        None if value.text() == Ok("none") => Ok(Quota::None),
        None => match value.size() {
            Ok(bytes) if bytes >= least => Ok(Quota::Bytes(bytes)),
            Ok(_) => Err(Wrong(format!("a size of {} MiB or more", least >> 20))),
            Err(Wrong(expected)) => Err(Wrong(format!("{expected}, a part of {what} like \"90%\", or \"none\""))),
        },
    }
}

/// What an empty data directory takes, and a little.
const QUOTA_BYTES_MIN: u64 = 16 << 20;

/// What a broker takes that has nothing to do, and a little.
const MEMORY_MIN: u64 = 32 << 20;

/// A text that packets can carry beside others.
fn said(value: &Value) -> Result<Box<str>, Wrong> {
    let text = value.text()?;
    let is_good = !text.is_empty() && text.len() <= SAID_LEN_MAX && !text.chars().any(char::is_control);
    if is_good { Ok(text.into()) } else { Err(Wrong(format!("a text of 1 to {SAID_LEN_MAX} bytes, on one line"))) }
}

/// Bytes of a text that clients are told: no client that takes small packets could be told more.
const SAID_LEN_MAX: usize = 1_024;

fn count(value: &Value, least: u64) -> Result<u32, Wrong> {
    let number = value.number(least..=u64::from(u32::MAX))?;
    u32::try_from(number).map_err(|_| Wrong("a smaller number".into()))
}

fn qos(value: &Value) -> Result<QoS, Wrong> {
    let qos = u8::try_from(value.number(0..=2)?).ok().and_then(|qos| QoS::try_from(qos).ok());
    qos.ok_or_else(|| Wrong("0, 1 or 2".into()))
}

fn short(value: &Value, least: u64) -> Result<u16, Wrong> {
    let number = value.number(least..=u64::from(u16::MAX))?;
    u16::try_from(number).map_err(|_| Wrong("a smaller number".into()))
}

fn size(value: &Value, least: u32, most: u32) -> Result<u32, Wrong> {
    let bytes = u32::try_from(value.size()?).ok().filter(|bytes| (least..=most).contains(bytes));
    bytes.ok_or_else(|| Wrong(format!("a size from {least} to {most} bytes")))
}

fn rate(number: u64) -> Result<Rate, Wrong> {
    u32::try_from(number).ok().and_then(Rate::new).ok_or_else(|| Wrong("something from 1 to 4294967295".into()))
}

fn seconds(value: &Value) -> Result<u32, Wrong> {
    Ok(u32::try_from(value.duration_ms()?.div_ceil(1000)).unwrap_or(u32::MAX))
}

fn shards(value: &Value) -> Result<u16, Wrong> {
    let number = value.number(1..=u64::from(SHARDS_MAX))?;
    u16::try_from(number).map_err(|_| Wrong("a smaller number".into()))
}

/// Something that has keys.
pub(super) trait Keyed: Sized + 'static {
    fn keys() -> &'static [Key<Self>];

    fn key(name: &str) -> Option<&'static Key<Self>> {
        Self::keys().iter().find(|key| key.name == name)
    }

    /// Whether `name` is a section, like `limits`.
    fn is_section(name: &str) -> bool {
        Self::keys().iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The key that was meant by `name`, a full name: one of its own section by a slip of the finger, or one that stands elsewhere.
    fn nearest(name: &str) -> Option<&'static str> {
        let (section, word) = name.rsplit_once('.').unwrap_or(("", name));
        let shown = || Self::keys().iter().filter(|key| key.shown == Shown::Yes).map(|key| key.name);
        let inside = |key: &'static str| {
            let rest =
                if section.is_empty() { Some(key) } else { key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) };
            rest.map(|rest| rest.split('.').next().unwrap_or(rest))
        };
        let sections = shown().filter_map(inside).chain(section.is_empty().then_some(LISTENER));
        suggest::nearest(word, sections)
            .or_else(|| shown().find(|key| key.rsplit('.').next() == Some(word)))
            .or_else(|| suggest::nearest(name, shown()))
    }
}

impl Keyed for Config {
    fn keys() -> &'static [Key<Self>] {
        KEYS
    }
}

impl Keyed for Listener {
    fn keys() -> &'static [Key<Self>] {
        LISTENER_KEYS
    }
}

impl Keyed for SharedGroup {
    fn keys() -> &'static [Key<Self>] {
        GROUP_KEYS
    }
}

/// The keys that everybody may know of.
#[cfg(test)]
pub(super) fn shown<T: Keyed>() -> impl Iterator<Item = &'static str> {
    T::keys().iter().filter(|key| key.shown == Shown::Yes).map(|key| key.name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Data;

    const GUIDE: &str = include_str!("../../../../docs/configuration.md");

    #[test]
    fn the_guide_names_every_key_and_no_other() {
        let listener = LISTENER_KEYS.iter().map(|key| format!("{LISTENER}.{}", key.name));
        let groups = GROUP_KEYS.iter().map(|key| format!("{SHARED_GROUP}.{}", key.name));
        let shown = KEYS.iter().filter(|key| key.shown == Shown::Yes).map(|key| key.name.to_owned());
        let mut expected: Vec<String> = listener.chain(groups).chain(shown).collect();
        let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut found: Vec<String> = rows.map(str::to_owned).collect();

        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_example_of_the_guide_is_a_configuration() {
        let example = GUIDE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, example).unwrap();

        let sources = crate::config::Sources { file: Some(file.path().into()), ..Default::default() };
        let config = Config::load(&sources).unwrap();

        assert_eq!(config.data, Data::Directory("/var/lib/columba".into()));
        assert_eq!(config.password_file.as_deref(), Some(Path::new("/etc/columba/users")));
        assert_eq!(config.limits.max_packet_size, 2 << 20);
    }

    #[test]
    fn a_quota_is_a_part_of_the_file_system_or_a_size() {
        let quota = |text: &str| quota(&Value::Text(text.into()), "the file system", QUOTA_BYTES_MIN);

        assert_eq!(quota("90%"), Ok(Quota::Percent(90)));
        assert_eq!(quota("2GiB"), Ok(Quota::Bytes(2 << 30)));
        assert_eq!(quota("none"), Ok(Quota::None));
        for wrong in ["0%", "101%", "1MiB", "much", "%"] {
            assert!(quota(wrong).is_err(), "{wrong}");
        }
    }
}
