//! Every option of mosquitto 2.0's manual page, and what it means here.

use columba_proto::{Version, wire::FRAME_LEN_MAX};

use super::super::{suggest, value::Value};

/// What an option means.
#[derive(Clone, Copy)]
pub(super) enum Means {
    /// A key of the whole broker.
    Key(&'static str, Take),
    /// A key of the listener above it.
    Listener(&'static str, Take),
    /// More than one key, or none alone.
    Special,
    /// It is always as one of these values says; for any other one, why it is refused.
    Always(&'static [&'static str], &'static str),
    /// Nothing here, and why that is harmless.
    Nothing(&'static str),
    /// Nothing here, and the broker would be weaker without it.
    Refused(&'static str),
}

/// How much of a line mosquitto reads as the value, and what that is here. What is not right says what it should be.
#[derive(Clone, Copy)]
pub(super) enum Take {
    /// The first word.
    Flag(fn(bool) -> Value),
    /// The number at its beginning.
    Number(fn(i64) -> Result<Value, &'static str>),
    /// The first word.
    Word(fn(&str) -> Result<Value, &'static str>),
    /// All of it.
    Line(fn(&str) -> Result<Value, &'static str>),
}

impl Take {
    /// The value, and the part of the text that says it.
    pub(super) fn read(self, text: &str) -> Result<(Value, &str), &'static str> {
        match self {
            Self::Flag(read) => flag(text).map(|(is_on, word)| (read(is_on), word)),
            Self::Number(read) => {
                let (number, digits) = number(text)?;
                read(number).map(|value| (value, digits))
            }
            Self::Word(read) => {
                let word = word(text);
                read(word).map(|value| (value, word))
            }
            Self::Line(read) => read(text).map(|value| (value, text)),
        }
    }
}

use Means::{Always, Key, Listener, Nothing, Refused, Special};
use Take::{Flag, Number, Word};

const YES: &[&str] = &["true", "1"];
const NO: &[&str] = &["false", "0"];

const STDERR: &str = "logs go to the standard error output, for the service manager";

static OPTIONS: &[(&str, Means)] = &[
    (super::lines::INCLUDE, Special),
    // Where to listen.
    ("listener", Special),
    ("port", Special),
    ("bind_address", Special),
    ("protocol", Special),
    ("bind_interface", Listener("interface", Take::Line(text))),
    ("socket_domain", Special),
    ("max_connections", Listener("max_connections", Number(count))),
    ("mount_point", Listener("mount_point", Take::Line(mount_point))),
    ("max_qos", Listener("max_qos", Number(natural))),
    ("max_topic_alias", Listener("max_topic_alias", Number(natural))),
    // Of 2.1.
    ("accept_protocol_versions", Listener("protocols", Take::Line(versions))),
    ("http_dir", Nothing("files are served by a web server")),
    ("websockets_log_level", Nothing("log.filter says what is logged")),
    ("websockets_origin", Listener("origins", Take::Line(list))),
    ("websockets_headers_size", Nothing("8 KiB are always enough")),
    ("use_username_as_clientid", Always(NO, "a client's identifier is what it says")),
    // TLS.
    ("certfile", Listener("cert", Take::Line(text))),
    ("keyfile", Listener("key", Take::Line(text))),
    ("cafile", Listener("ca", Take::Line(text))),
    ("capath", Listener("ca_dir", Take::Line(text))),
    ("crlfile", Listener("crl", Take::Line(text))),
    ("require_certificate", Listener("client_cert", Flag(required))),
    ("use_identity_as_username", Special),
    ("use_subject_as_username", Special),
    ("tls_version", Listener("tls_version", Word(tls_version))),
    ("ciphers", Nothing("only suites that are still good are offered")),
    ("ciphers_tls1.3", Nothing("only suites that are still good are offered")),
    ("dhparamfile", Nothing("keys are agreed on by elliptic curves")),
    ("tls_engine", Refused("keys are read from files")),
    ("tls_engine_kpass_sha1", Refused("keys are read from files")),
    ("tls_keyform", Always(&["pem"], "keys are read from files")),
    ("psk_file", Refused("there are no pre-shared keys")),
    ("psk_hint", Refused("there are no pre-shared keys")),
    // Who may do what.
    ("per_listener_settings", Special),
    ("allow_anonymous", Special),
    ("password_file", Special),
    ("acl_file", Special),
    ("auth_plugin", Refused("there are no plugins")),
    ("auth_plugin_deny_special_chars", Refused("there are no plugins")),
    ("plugin", Refused("there are no plugins")),
    ("allow_zero_length_clientid", Always(YES, "clients without an identifier are always given one")),
    ("auto_id_prefix", Nothing("identifiers that are given begin with `auto-`")),
    ("clientid_prefixes", Refused("write rules for client identifiers into the ACL")),
    // What is kept.
    ("persistence", Special),
    ("persistence_location", Special),
    ("persistence_file", Nothing("what is kept stands in a directory of many files")),
    ("autosave_interval", Nothing("everything acknowledged is on disk already")),
    ("autosave_on_changes", Nothing("everything acknowledged is on disk already")),
    ("persistent_client_expiration", Key("limits.session_expiry_max", Word(expiration))),
    ("retain_available", Key("limits.retain", Flag(Value::Flag))),
    ("check_retain_source", Nothing("a retained message is checked when it is published")),
    // Limits.
    ("max_inflight_messages", Special),
    ("max_inflight_bytes", Nothing("what is in flight is bounded by the number of messages")),
    ("max_queued_messages", Key("limits.queue_messages", Number(count))),
    ("max_queued_bytes", Key("limits.queue_bytes", Number(bytes))),
    ("queue_qos0_messages", Key("limits.queue_qos0", Flag(Value::Flag))),
    ("upgrade_outgoing_qos", Always(NO, "the standard's minimum of both counts [MQTT-3.8.4-8]")),
    ("max_packet_size", Key("limits.max_packet_size", Number(packet_size))),
    ("message_size_limit", Key("limits.max_payload", Number(payload))),
    ("max_keepalive", Key("limits.max_keep_alive", Number(keep_alive))),
    ("memory_limit", Key("limits.memory", Number(memory))),
    ("allow_duplicate_messages", Nothing("a client gets a message once for each publication [MQTT-3.3.5-1]")),
    ("set_tcp_nodelay", Nothing("always so")),
    // What is told.
    ("sys_interval", Key("sys.interval", Number(natural))),
    ("connection_messages", Nothing("log.filter says what is logged")),
    ("log_type", Special),
    ("log_dest", Special),
    ("log_facility", Nothing(STDERR)),
    ("log_timestamp", Nothing("every line has a time")),
    ("log_timestamp_format", Nothing("every line has a time")),
    ("pid_file", Nothing("the service manager knows it")),
    ("user", Special),
    // Of versions before.
    ("retry_interval", Nothing("mosquitto 2.0 does not look at it either")),
];

/// What an option means, `None` if mosquitto has none of that name.
pub(super) fn means(option: &str) -> Option<Means> {
    if let Some((_, means)) = OPTIONS.iter().find(|(name, _)| *name == option) {
        return Some(*means);
    }
    if BRIDGE.contains(&option) || option.starts_with("bridge_") {
        return Some(Refused("there are no bridges yet"));
    }
    (option.starts_with("auth_opt_") || option.starts_with("plugin_opt_")).then_some(Refused("there are no plugins"))
}

/// Options of a `connection`, but for those that begin with `bridge_`.
const BRIDGE: [&str; 27] = [
    "connection",
    "address",
    "addresses",
    "topic",
    "cleansession",
    "local_cleansession",
    "clientid",
    "remote_clientid",
    "local_clientid",
    "username",
    "remote_username",
    "local_username",
    "password",
    "remote_password",
    "local_password",
    "idle_timeout",
    "keepalive_interval",
    "notifications",
    "notifications_local_only",
    "notification_topic",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "try_private",
    "keepalive",
    "notify",
];

/// The option that may be meant by a name that is none.
pub(super) fn nearest(option: &str) -> Option<&'static str> {
    suggest::nearest(option, OPTIONS.iter().map(|(name, _)| *name).chain(BRIDGE))
}

/// The first word of a text.
pub(super) fn word(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or_default()
}

pub(super) fn flag(text: &str) -> Result<(bool, &str), &'static str> {
    let word = word(text);
    match word {
        "true" | "1" => Ok((true, word)),
        "false" | "0" => Ok((false, word)),
        _ => Err("true or false"),
    }
}

/// What stands behind the number is not looked at, as C's `atoi` has it; but nothing at all is no zero.
pub(super) fn number(text: &str) -> Result<(i64, &str), &'static str> {
    let unsigned = text.trim_start_matches(['-', '+']);
    let sign = text.len() - unsigned.len();
    let digits = unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = &text[..sign + digits];
    number.parse().map(|value| (value, number)).map_err(|_| "a whole number")
}

/// A number that is not below zero.
pub(super) fn natural(number: i64) -> Result<Value, &'static str> {
    u32::try_from(number).map(|number| Value::Number(number.into())).map_err(|_| "a whole number")
}

fn text(value: &str) -> Result<Value, &'static str> {
    if value.is_empty() { Err("a value") } else { Ok(Value::Text(value.to_owned())) }
}

/// One of several, as a list of one.
fn list(value: &str) -> Result<Value, &'static str> {
    Ok(Value::List(vec![text(value)?]))
}

/// There it may end without a slash, and then no filter can begin with a wildcard.
fn mount_point(value: &str) -> Result<Value, &'static str> {
    if value.ends_with('/') {
        text(value)
    } else {
        Err("a slash at its end: without one it would run into the first level of the topics")
    }
}

/// `3, 4, 5`
fn versions(value: &str) -> Result<Value, &'static str> {
    let version = |level: &str| {
        let version = Version::ALL.into_iter().find(|version| version.level().to_string() == level.trim());
        version.map(|version| Value::Text(version.name().into())).ok_or("3, 4 and 5, with commas between them")
    };
    value.split(',').map(version).collect::<Result<_, _>>().map(Value::List)
}

/// A number of which 0 and what is below mean that there is no bound.
fn count(number: i64) -> Result<Value, &'static str> {
    if number > 0 { natural(number) } else { Ok(Value::Text("none".into())) }
}

/// Bytes of which 0 means that there is no bound.
fn bytes(number: i64) -> Result<Value, &'static str> {
    if number == 0 { Ok(Value::Text("none".into())) } else { natural(number) }
}

/// The largest packet of the standard, and what frames it.
pub(super) const PACKET_MAX: i64 = FRAME_LEN_MAX as i64;

fn packet_size(number: i64) -> Result<Value, &'static str> {
    natural(number)?;
    // The smallest that our own packets fit into.
    Ok(Value::Number(if number == 0 { PACKET_MAX } else { number.clamp(64, PACKET_MAX) }))
}

fn payload(number: i64) -> Result<Value, &'static str> {
    bytes(number.min(PACKET_MAX))
}

/// What a broker that has nothing to do takes is more than some allow a mosquitto.
pub(super) const MEMORY_MIN: i64 = 32 << 20;

fn memory(number: i64) -> Result<Value, &'static str> {
    match number {
        0 => Ok(Value::Text("none".into())),
        1.. => Ok(Value::Number(number.max(MEMORY_MIN))),
        ..0 => Err("a whole number"),
    }
}

fn keep_alive(number: i64) -> Result<Value, &'static str> {
    if matches!(number, 0 | 65_535) { Ok(Value::Text("none".into())) } else { natural(number) }
}

fn tls_version(value: &str) -> Result<Value, &'static str> {
    match value {
        "tlsv1.2" | "tlsv1.3" => Ok(Value::Text(value.into())),
        _ => Err("tlsv1.2 or tlsv1.3: older ones are not spoken"),
    }
}

fn required(is_required: bool) -> Value {
    Value::Text(if is_required { "require" } else { "none" }.into())
}

/// `14d`: hours, days, weeks, months, years.
fn expiration(value: &str) -> Result<Value, &'static str> {
    const EXPECTED: &str = "a time like 12h, 14d, 2w, 3m (months) or 1y";
    let unit = value.chars().last().ok_or(EXPECTED)?;
    let count: i64 = value[..value.len() - unit.len_utf8()].parse().map_err(|_| EXPECTED)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 24 * 7,
        'm' => 24 * 30,
        'y' => 24 * 365,
        _ => return Err(EXPECTED),
    };
    let seconds = count.checked_mul(hours * 3600).filter(|seconds| *seconds > 0).ok_or(EXPECTED)?;
    Ok(Value::Number(seconds))
}
