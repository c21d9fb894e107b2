//! Every option of mosquitto 2.0's manual page, and what it means here.

use columba_proto::{Version, wire::FRAME_LEN_MAX};

use super::super::value::Value;

/// What an option means.
#[derive(Clone, Copy)]
pub(super) enum Means {
    /// A key of the whole broker.
    Key(&'static str, Take),
    /// A key of the listener above it.
    Listener(&'static str, Take),
    /// More than one key, or none alone.
    Special,
    /// Nothing here, and why that is harmless.
    Nothing(&'static str),
    /// Nothing here, and the broker would be weaker without it.
    Refused(&'static str),
}

/// Reads the value, or says what it should be.
type Take = fn(&str) -> Result<Value, &'static str>;

use Means::{Key, Listener, Nothing, Refused, Special};

static OPTIONS: &[(&str, Means)] = &[
    // Where to listen.
    ("listener", Special),
    ("port", Special),
    ("bind_address", Special),
    ("protocol", Special),
    ("bind_interface", Refused("write the interface's address behind `listener PORT`")),
    ("socket_domain", Refused("write 0.0.0.0 or :: behind `listener PORT`")),
    ("max_connections", Listener("max_connections", count)),
    ("mount_point", Listener("mount_point", mount_point)),
    ("max_qos", Listener("max_qos", number)),
    ("max_topic_alias", Listener("max_topic_alias", number)),
    // Of 2.1.
    ("accept_protocol_versions", Listener("protocols", versions)),
    ("http_dir", Nothing("files are served by a web server")),
    ("websockets_log_level", Nothing("log.filter says what is logged")),
    ("websockets_origin", Listener("origins", list)),
    ("websockets_headers_size", Nothing("8 KiB are always enough")),
    ("use_username_as_clientid", Refused("a client's identifier is what it says")),
    // TLS.
    ("certfile", Listener("cert", text)),
    ("keyfile", Listener("key", text)),
    ("cafile", Listener("ca", text)),
    ("capath", Refused("write the certificates into one file and name it with cafile")),
    ("crlfile", Listener("crl", text)),
    ("require_certificate", Listener("client_cert", required)),
    ("use_identity_as_username", Listener("identity", by_common_name)),
    ("use_subject_as_username", Listener("identity", by_subject)),
    ("tls_version", Listener("tls_version", text)),
    ("ciphers", Nothing("only suites that are still good are offered")),
    ("ciphers_tls1.3", Nothing("only suites that are still good are offered")),
    ("dhparamfile", Nothing("keys are agreed on by elliptic curves")),
    ("tls_engine", Refused("keys are read from files")),
    ("tls_engine_kpass_sha1", Refused("keys are read from files")),
    ("tls_keyform", Refused("keys are read from files")),
    ("psk_file", Refused("there are no pre-shared keys")),
    ("psk_hint", Refused("there are no pre-shared keys")),
    // Who may do what.
    ("per_listener_settings", Special),
    ("allow_anonymous", Key("auth.anonymous", flag)),
    ("password_file", Key("auth.password.file", text)),
    ("acl_file", Key("acl.file", text)),
    ("auth_plugin", Refused("there are no plugins")),
    ("auth_plugin_deny_special_chars", Refused("there are no plugins")),
    ("plugin", Refused("there are no plugins")),
    ("allow_zero_length_clientid", Refused("clients without an identifier are always given one")),
    ("auto_id_prefix", Nothing("identifiers that are given begin with `auto-`")),
    ("clientid_prefixes", Refused("write rules for client identifiers into the ACL")),
    // What is kept.
    ("persistence", Special),
    ("persistence_location", Special),
    ("persistence_file", Nothing("what is kept stands in a directory of many files")),
    ("autosave_interval", Nothing("everything acknowledged is on disk already")),
    ("autosave_on_changes", Nothing("everything acknowledged is on disk already")),
    ("persistent_client_expiration", Key("limits.session_expiry_max", expiration)),
    ("retain_available", Key("limits.retain", flag)),
    ("check_retain_source", Nothing("a retained message is checked when it is published")),
    // Limits.
    ("max_inflight_messages", Special),
    ("max_inflight_bytes", Nothing("what is in flight is bounded by the number of messages")),
    ("max_queued_messages", Key("limits.queue_messages", count)),
    ("max_queued_bytes", Key("limits.queue_bytes", bytes)),
    ("queue_qos0_messages", Nothing("QoS 0 is for those who are there")),
    ("upgrade_outgoing_qos", Refused("the standard's minimum of both counts [MQTT-3.8.4-8]")),
    ("max_packet_size", Key("limits.max_packet_size", packet_size)),
    ("message_size_limit", Key("limits.max_payload", bytes)),
    ("max_keepalive", Key("limits.max_keep_alive", keep_alive)),
    ("memory_limit", Nothing("every queue has a bound, and what waits stands on disk")),
    ("allow_duplicate_messages", Nothing("a client gets a message once for each publication [MQTT-3.3.5-1]")),
    ("set_tcp_nodelay", Nothing("always so")),
    // What is told.
    ("sys_interval", Key("sys.interval", number)),
    ("connection_messages", Nothing("log.filter says what is logged")),
    ("log_type", Special),
    ("log_dest", Nothing("logs go to the standard error output, for the service manager")),
    ("log_facility", Nothing("logs go to the standard error output, for the service manager")),
    ("log_timestamp", Nothing("every line has a time")),
    ("log_timestamp_format", Nothing("every line has a time")),
    ("pid_file", Nothing("the service manager knows it")),
    ("user", Nothing("start it as that user")),
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

pub(super) fn flag(value: &str) -> Result<Value, &'static str> {
    match value {
        "true" | "1" => Ok(Value::Flag(true)),
        "false" | "0" => Ok(Value::Flag(false)),
        _ => Err("true or false"),
    }
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

pub(super) fn whole(value: &str) -> Result<i64, &'static str> {
    value.parse::<u32>().map(i64::from).map_err(|_| "a whole number")
}

fn number(value: &str) -> Result<Value, &'static str> {
    whole(value).map(Value::Number)
}

/// A number of which -1 and 0 mean that there is no bound.
fn count(value: &str) -> Result<Value, &'static str> {
    match value.parse::<i64>() {
        Ok(-1 | 0) => Ok(Value::Text("none".into())),
        Ok(number) if number > 0 => Ok(Value::Number(number)),
        Ok(_) | Err(_) => Err("a whole number, or -1"),
    }
}

/// Bytes of which 0 means that there is no bound.
fn bytes(value: &str) -> Result<Value, &'static str> {
    if value == "0" { Ok(Value::Text("none".into())) } else { number(value) }
}

fn packet_size(value: &str) -> Result<Value, &'static str> {
    let most = i64::from(FRAME_LEN_MAX);
    match whole(value)? {
        0 => Ok(Value::Number(most)),
        // The smallest that our own packets fit into.
        size => Ok(Value::Number(size.clamp(64, most))),
    }
}

fn keep_alive(value: &str) -> Result<Value, &'static str> {
    Ok(match whole(value)? {
        0 | 65_535 => Value::Text("none".into()),
        seconds => Value::Number(seconds),
    })
}

fn required(value: &str) -> Result<Value, &'static str> {
    let is_required = flag(value)? == Value::Flag(true);
    Ok(Value::Text(if is_required { "require" } else { "none" }.into()))
}

fn by_common_name(value: &str) -> Result<Value, &'static str> {
    identity(value, "cn")
}

fn by_subject(value: &str) -> Result<Value, &'static str> {
    identity(value, "subject")
}

fn identity(value: &str, by: &str) -> Result<Value, &'static str> {
    let is_on = flag(value)? == Value::Flag(true);
    Ok(Value::Text(if is_on { by } else { "none" }.into()))
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
