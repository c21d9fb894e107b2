//! From the options that `pub` and `sub` share to a connected client.

use std::fs;

use columba_client::{Builder, Client, ConnectError, MessageProperties, Options, QoS, ReasonCode, Version, Will};

use crate::args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::property::{self, Property, PropertyFlag, PropertyOf};
use crate::target::{self, Scheme, Url, WEB_SOCKET_PATH};
use crate::{explain, prompt, security, trace};

/// The command that connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

/// Whom to talk to, as whom, and the topic that a URL may name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Of a WebSocket, or of a Unix socket.
    pub(crate) path: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) topic: Option<String>,
}

impl Target {
    /// A flag counts more than the URL of `-L`, that more than the environment, that more than the default.
    pub(crate) fn new(args: &CommonArgs, env: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let url = match (&args.url, &args.host) {
            _ if args.unix.is_some() => Url::default(),
            (Some(url), _) => Url::parse(url)?,
            (None, Some(_)) => Url::default(),
            (None, None) => env("COLUMBA_URL").map_or_else(|| Ok(Url::default()), |url| Url::parse(&url))?,
        };
        if let Some(host) = &args.host {
            target::check_host(host)?;
        }
        let from_url = Some(url.host).filter(|host| !host.is_empty());
        let mut scheme = if args.unix.is_some() { Scheme::Unix } else { url.scheme };
        if args.web_socket && scheme != Scheme::Unix {
            scheme = if scheme.has_tls() { Scheme::Wss } else { Scheme::Ws };
        }
        if args.asks_for_tls() {
            scheme = scheme.secured();
        }
        let path = args.unix.as_ref().map(|path| path.display().to_string()).or(url.path);
        Ok(Self {
            scheme,
            path,
            host: args.host.clone().or(from_url).unwrap_or_else(|| "localhost".to_owned()),
            port: args.port.or(url.port).unwrap_or_else(|| scheme.port()),
            username: args.username.clone().or(url.username).or_else(|| env("COLUMBA_USERNAME")),
            password: password(args)?.or(url.password).or_else(|| env("COLUMBA_PASSWORD")),
            topic: url.topic,
        })
    }
}

/// An environment variable, if it is there and readable.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn password(args: &CommonArgs) -> Result<Option<String>, Failure> {
    let Some(file) = &args.password_file else {
        let asked_for = args.password.as_deref() == Some("-");
        return if asked_for { prompt::password().map(Some) } else { Ok(args.password.clone()) };
    };
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {}", file.display(), explain::io(&error))))?;
    Ok(text.lines().next().map(str::to_owned))
}

/// Connects with the version that was asked for, or with 5, and 3.1.1 where the broker refuses 5.
pub(crate) async fn connect<T>(
    args: &CommonArgs,
    target: &Target,
    role: Role,
    prepare: impl Fn(&mut Builder) -> T,
) -> Result<(Client, T), Failure> {
    let version = args.protocol_version.unwrap_or(Version::V5);
    match attempt(args, target, role, version, &prepare).await? {
        Ok(connected) => Ok(connected),
        Err(ConnectError::Refused(refusal))
            if refusal.reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION && args.protocol_version.is_none()
                // In 3.1.1 the password would travel as it is.
                && args.auth_method.is_none() =>
        {
            say_fallback(args);
            let again = attempt(args, target, role, Version::V311, &prepare).await?;
            again.map_err(|error| explain::connecting(&error, args, target))
        }
        Err(error) => Err(explain::connecting(&error, args, target)),
    }
}

fn say_fallback(args: &CommonArgs) {
    if args.quiet {
        return;
    }
    eprintln!("columba: note: the broker refuses MQTT 5; going on with 3.1.1 (-V 3.1.1 says so from the start)");
    if !args.properties.is_empty() {
        eprintln!("columba: note: MQTT 3.1.1 has no properties; those of -D are left out");
    }
}

async fn attempt<T>(
    args: &CommonArgs,
    target: &Target,
    role: Role,
    version: Version,
    prepare: &impl Fn(&mut Builder) -> T,
) -> Result<Result<(Client, T), ConnectError>, Failure> {
    let mut builder = Builder::new(options(args, target, role, version)?);
    let prepared = prepare(&mut builder);
    let builder = trace::attach(builder, args, role)?;
    Ok(builder.connect().await.map(|client| (client, prepared)))
}

fn options(args: &CommonArgs, target: &Target, role: Role, version: Version) -> Result<Options, Failure> {
    if args.keep_session && args.id.is_none() && args.id_prefix.is_none() {
        return Err(Failure::usage("-c keeps a session, and a session needs a name").try_this("-c -i NAME"));
    }
    if args.protocol_version.is_some_and(|version| !version.has_properties()) && !args.properties.is_empty() {
        return Err(property::need_version_5());
    }
    if args.auth_method.is_some() && target.username.is_none() {
        return Err(Failure::usage("--auth-method shows who somebody is, and there is no user name").try_this("-u NAME -P -"));
    }
    let mut options = Options::new(target.host.clone(), target.port);
    match target.scheme {
        Scheme::Mqtt | Scheme::Mqtts => {}
        Scheme::Ws | Scheme::Wss => {
            options.web_socket = Some(target.path.clone().unwrap_or_else(|| WEB_SOCKET_PATH.to_owned()));
        }
        Scheme::Unix => options.unix = target.path.as_ref().map(Into::into),
    }
    if target.scheme.has_tls() {
        options.tls = Some(security::tls(args)?);
    }
    options.version = version;
    options.bind_address = args.bind_address;
    options.client_id = client_id(args, role, version);
    options.clean_start = !args.keep_session;
    options.session_expiry = args.session_expiry.unwrap_or(if args.keep_session { u32::MAX } else { 0 });
    options.keep_alive = args.keepalive;
    options.username.clone_from(&target.username);
    options.password = target.password.clone().map(Into::into);
    options.auth_method = args.auth_method;
    options.inflight_max = args.inflight;
    if let Some(receive_maximum) = args.receive_maximum {
        options.receive_maximum = receive_maximum;
    }
    options.maximum_packet_size = args.max_packet_size;
    options.will = will(args)?;
    apply_connect_properties(&args.properties, &mut options);
    let by_default = role == Role::Subscriber;
    let reconnects = args.reconnect || (by_default && !args.no_reconnect);
    options.reconnect = options.reconnect.filter(|_| reconnects);
    Ok(options)
}

/// Empty lets the broker choose, where the version allows that.
fn client_id(args: &CommonArgs, role: Role, version: Version) -> String {
    let process = std::process::id();
    match (&args.id, &args.id_prefix) {
        (Some(id), _) => id.clone(),
        (None, Some(prefix)) => format!("{prefix}{process}"),
        (None, None) if version.allows_empty_client_id() => String::new(),
        (None, None) => match role {
            Role::Publisher => format!("columba-pub-{process}"),
            Role::Subscriber => format!("columba-sub-{process}"),
        },
    }
}

fn will(args: &CommonArgs) -> Result<Option<Will>, Failure> {
    let Some(topic) = &args.will_topic else {
        if args.properties.iter().any(|flag| flag.of == PropertyOf::Will) {
            return Err(Failure::usage("-D will says something about a will, and there is none").try_this("--will-topic TOPIC"));
        }
        return Ok(None);
    };
    let topic = topic.parse().map_err(|error| explain::topic_name(topic, error))?;
    let mut delay = args.will_delay;
    for flag in args.properties.iter().filter(|flag| flag.of == PropertyOf::Will) {
        if let Property::WillDelay(seconds) = flag.property {
            delay = Some(seconds);
        }
    }
    Ok(Some(Will {
        topic,
        payload: args.will_payload.clone().unwrap_or_default().into(),
        qos: args.will_qos.unwrap_or(QoS::AtMostOnce),
        retain: args.will_retain,
        delay: delay.unwrap_or(0),
        properties: message_properties(&args.properties, PropertyOf::Will),
    }))
}

fn apply_connect_properties(flags: &[PropertyFlag], options: &mut Options) {
    for flag in flags.iter().filter(|flag| flag.of == PropertyOf::Connect) {
        match &flag.property {
            Property::MaximumPacketSize(bytes) => options.maximum_packet_size = Some(*bytes),
            Property::ReceiveMaximum(messages) => options.receive_maximum = (*messages).max(1),
            Property::RequestProblemInformation(wanted) => options.request_problem_information = *wanted,
            Property::RequestResponseInformation(wanted) => options.request_response_information = *wanted,
            Property::SessionExpiry(seconds) => options.session_expiry = *seconds,
            Property::TopicAliasMaximum(aliases) => options.topic_alias_maximum = *aliases,
            Property::User(name, value) => options.user_properties.push((name.clone(), value.clone())),
            // Belong to other packets; the command line has been checked.
            Property::ContentType(_)
            | Property::CorrelationData(_)
            | Property::MessageExpiry(_)
            | Property::PayloadFormat(_)
            | Property::ResponseTopic(_)
            | Property::SubscriptionId(_)
            | Property::WillDelay(_) => {}
        }
    }
}

/// The properties that a message of this packet carries.
pub(crate) fn message_properties(flags: &[PropertyFlag], of: PropertyOf) -> MessageProperties {
    let mut properties = MessageProperties::default();
    for flag in flags.iter().filter(|flag| flag.of == of) {
        match &flag.property {
            Property::ContentType(text) => properties.content_type = Some(text.clone()),
            Property::CorrelationData(text) => properties.correlation_data = Some(text.clone().into()),
            Property::MessageExpiry(seconds) => properties.message_expiry = Some(*seconds),
            Property::PayloadFormat(is_text) => properties.utf8_payload = *is_text,
            Property::ResponseTopic(topic) => properties.response_topic = Some(topic.clone()),
            Property::User(name, value) => properties.user_properties.push((name.clone(), value.clone())),
            // Belong to other packets; the command line has been checked.
            Property::MaximumPacketSize(_)
            | Property::ReceiveMaximum(_)
            | Property::RequestProblemInformation(_)
            | Property::RequestResponseInformation(_)
            | Property::SessionExpiry(_)
            | Property::SubscriptionId(_)
            | Property::TopicAliasMaximum(_)
            | Property::WillDelay(_) => {}
        }
    }
    properties
}

/// The user properties of a packet that carries no message.
pub(crate) fn user_properties(flags: &[PropertyFlag], of: PropertyOf) -> Vec<(String, String)> {
    message_properties(flags, of).user_properties
}

/// DISCONNECT as `-D disconnect` wants it.
pub(crate) fn goodbye(flags: &[PropertyFlag]) -> columba_client::Goodbye {
    let mut goodbye = columba_client::Goodbye {
        user_properties: user_properties(flags, PropertyOf::Disconnect),
        ..columba_client::Goodbye::default()
    };
    for flag in flags.iter().filter(|flag| flag.of == PropertyOf::Disconnect) {
        if let Property::SessionExpiry(seconds) = flag.property {
            goodbye.session_expiry = Some(seconds);
        }
    }
    goodbye
}

/// Says once, to a person, that a password on the command line is no secret.
pub(crate) fn warn_of_visible_password(args: &CommonArgs) {
    use std::io::IsTerminal;
    let is_visible = args.password.as_deref().is_some_and(|password| password != "-");
    if is_visible && !args.quiet && std::io::stderr().is_terminal() {
        eprintln!("columba: note: other users of this machine can see -P; better are -P -, --password-file and COLUMBA_PASSWORD");
    }
}

/// The exit status of a failure that the broker named by a reason code.
pub(crate) fn exit_of(reason: ReasonCode, version: Version) -> Exit {
    match reason {
        ReasonCode::NOT_AUTHORIZED => Exit::Denied,
        ReasonCode::PACKET_TOO_LARGE => Exit::TooLarge,
        // The only failure that SUBACK of 3.x has, and mostly that of an access rule.
        ReasonCode::UNSPECIFIED_ERROR if !version.has_properties() => Exit::Denied,
        _ => Exit::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(args: &CommonArgs) -> Target {
        Target::new(args, |name| (name == "COLUMBA_URL").then(|| "mqtt://eve:pw@env:1999/t".to_owned())).unwrap()
    }

    #[test]
    fn a_flag_counts_more_than_the_url_and_that_more_than_the_environment() {
        let url = Some("mqtt://url:1884".to_owned());

        let from_env = target(&CommonArgs::default());
        assert_eq!((from_env.host.as_str(), from_env.port, from_env.topic.as_deref()), ("env", 1999, Some("t")));
        let from_url = target(&CommonArgs { url: url.clone(), ..CommonArgs::default() });
        assert_eq!((from_url.host.as_str(), from_url.port, from_url.username), ("url", 1884, None));
        let from_flags = target(&CommonArgs { url, host: Some("flag".into()), port: Some(1), ..CommonArgs::default() });
        assert_eq!((from_flags.host.as_str(), from_flags.port), ("flag", 1));
        let host_alone = target(&CommonArgs { host: Some("flag".into()), ..CommonArgs::default() });
        assert_eq!((host_alone.host.as_str(), host_alone.port, host_alone.username), ("flag", 1883, None));
    }

    #[test]
    fn a_kept_session_needs_a_name() {
        let args = CommonArgs { keep_session: true, ..CommonArgs::default() };

        let error = options(&args, &Target::default(), Role::Subscriber, Version::V5).unwrap_err();

        assert_eq!(error.exit, Exit::Usage);
    }

    #[test]
    fn a_kept_session_stays_for_ever_unless_told_otherwise() {
        let mut args = CommonArgs { keep_session: true, id: Some("me".into()), ..CommonArgs::default() };
        let expiry = |args: &CommonArgs| {
            let options = options(args, &Target::default(), Role::Subscriber, Version::V5).unwrap();
            (options.clean_start, options.session_expiry)
        };

        assert_eq!(expiry(&args), (false, u32::MAX));
        args.session_expiry = Some(60);
        assert_eq!(expiry(&args), (false, 60));
        args.keep_session = false;
        assert_eq!(expiry(&args), (true, 60));
    }
}
