//! What went wrong, in the words of the person at the keyboard.

use std::io;
use std::net::{IpAddr, SocketAddr};

use columba_client::{
    CertificateFault, ConnectError, LayerError, Lost, PublishError, ReasonCode, Refusal, ScramError, Spoken, SubscribeError,
    Version,
};
use columba_proto::{SubscriptionFilterError, TopicFilterError, TopicNameError};

use crate::args::CommonArgs;
use crate::connect::{Target, exit_of};
use crate::exit::{Exit, Failure};
use crate::target::{MQTT_PORT, Scheme};

/// Why there is no connection.
pub(crate) fn connecting(error: &ConnectError, args: &CommonArgs, target: &Target) -> Failure {
    match error {
        ConnectError::Resolve { host, .. } => Failure::new(Exit::NotConnected, format!("host \"{host}\" not found (DNS)")),
        ConnectError::Tcp { address, source } => unreachable_address(*address, source),
        ConnectError::Unix { path, source } => {
            Failure::new(Exit::NotConnected, format!("nobody listens at {} ({})", path.display(), io(source)))
        }
        ConnectError::ServerName(name) => Failure::usage(format!("\"{name}\" is no name that a certificate could have")),
        ConnectError::Layer(error) => layer(error, args, target),
        ConnectError::TimedOut { after } => Failure::new(
            Exit::NotConnected,
            format!("no answer from {}:{} within {} s", target.host, target.port, after.as_secs()),
        ),
        ConnectError::Closed(_) => closed(target),
        ConnectError::ClosedInHandshake(_) if target.scheme.has_tls() => {
            let place = place(target);
            Failure::new(Exit::Tls, format!("{place} closed the connection in the middle of the TLS handshake"))
                .note("a port without TLS does so")
                .try_this(format!("-L {}", url(target, target.scheme.plain())))
        }
        ConnectError::ClosedInHandshake(_) => Failure::new(
            Exit::NotConnected,
            format!("{} closed the connection in the middle of the WebSocket handshake", place(target)),
        ),
        ConnectError::Speaks(Spoken::Tls) => Failure::new(Exit::Tls, format!("{} speaks TLS", place(target)))
            .try_this(format!("-L {}", url(target, Scheme::Mqtts))),
        ConnectError::Speaks(Spoken::Http) => {
            let failure = Failure::new(Exit::NotConnected, format!("{} speaks HTTP, not MQTT", place(target)));
            failure.try_this(format!("-L {}   # MQTT in WebSockets", url(target, target.scheme.web())))
        }
        ConnectError::NotMqtt(why) => {
            let what = format!("{} answered, but not as an MQTT broker", place(target));
            Failure::new(Exit::NotConnected, what).note(why.to_string())
        }
        ConnectError::Authentication(ScramError::Signature) => {
            Failure::new(Exit::Refused, format!("{}:{} does not prove that it knows the user", target.host, target.port))
                .note("somebody else may be answering in the broker's place; the password was not sent")
        }
        ConnectError::Authentication(why) => Failure::new(Exit::Refused, format!("the authentication failed: {why}")),
        ConnectError::NoAuthentication(_) => Failure::usage("--auth-method needs MQTT 5").try_this("-V 5"),
        ConnectError::Refused(refusal) => refused(refusal, args, target),
    }
}

fn place(target: &Target) -> String {
    match (&target.path, target.scheme) {
        (Some(path), Scheme::Unix) => path.clone(),
        _ if target.host.contains(':') => format!("[{}]:{}", target.host, target.port),
        _ => format!("{}:{}", target.host, target.port),
    }
}

/// The same host and port by another way.
fn url(target: &Target, scheme: Scheme) -> String {
    format!("{}://{}", scheme.name(), place(target))
}

/// There was a server, and it went away without a word.
fn closed(target: &Target) -> Failure {
    let failure = Failure::new(Exit::Lost, format!("{} closed the connection before CONNACK", place(target)));
    if target.scheme.has_tls() || target.scheme == Scheme::Unix {
        return failure;
    }
    // Some servers say with an alert that they speak TLS, others, like mosquitto, go without a word.
    let usual = target.port == Scheme::Mqtts.port();
    let note = if usual { "that port usually speaks TLS" } else { "a port that speaks TLS does so" };
    failure.note(note).try_this(format!("-L {}", url(target, target.scheme.secured())))
}

/// TLS or WebSocket did not come about.
fn layer(error: &LayerError, args: &CommonArgs, target: &Target) -> Failure {
    let place = place(target);
    match error {
        LayerError::Tls(error) if error.is_not_tls() => Failure::new(Exit::Tls, format!("{place} answered, but not with TLS"))
            .try_this(format!("-L {}", url(target, target.scheme.plain()))),
        LayerError::Tls(error) if error.is_certificate_wanted() => {
            Failure::new(Exit::Tls, format!("{place} wants a certificate of its clients")).try_this("--cert FILE --key FILE")
        }
        LayerError::Tls(error) => match error.certificate() {
            Some(fault) => certificate(&fault, args, target),
            None => Failure::new(Exit::Tls, format!("no TLS with {place}")).note(error.to_string()),
        },
        LayerError::WebSocket(_) | LayerError::Proxy(_) => {
            Failure::new(Exit::NotConnected, format!("no WebSocket with {place}")).note(error.to_string())
        }
    }
}

/// The server's certificate does not do.
fn certificate(fault: &CertificateFault, args: &CommonArgs, target: &Target) -> Failure {
    let place = place(target);
    let failure = |what: String| Failure::new(Exit::Tls, what);
    let blindly = "--insecure   # whoever answers reads along";
    match fault {
        CertificateFault::Untrusted => {
            let who = match (&args.cafile, &args.capath) {
                (Some(known), _) | (None, Some(known)) => format!("no authority in {}", known.display()),
                (None, None) => "none of the authorities that this machine knows".to_owned(),
            };
            let failure = failure(format!("the certificate of {place} is not trusted: {who} has signed it"));
            failure.try_this("--cafile ca.pem   # of the authority that has").try_this(blindly)
        }
        CertificateFault::OtherName { wanted, names } => {
            let whom =
                if names.is_empty() { "names nobody whom it is for".to_owned() } else { format!("is for {}", names.join(", ")) };
            let failure = failure(format!("the certificate of {place} {whom}, not for {wanted}"));
            match names.iter().find(|name| !name.starts_with("*.")) {
                Some(name) => failure.try_this(format!("-h {name} -p {}", target.port)).try_this(blindly),
                None => failure.try_this(blindly),
            }
        }
        CertificateFault::Expired { not_after } => {
            let when = not_after.map_or_else(String::new, |end| format!(" on {}", day(end)));
            failure(format!("the certificate of {place} expired{when}")).note("the broker needs a new one").try_this(blindly)
        }
        CertificateFault::NotYet { not_before } => {
            let when = not_before.map_or_else(String::new, |begin| format!(" before {}", day(begin)));
            failure(format!("the certificate of {place} is not valid{when}"))
                .try_this("date   # is the clock of this machine right?")
        }
        CertificateFault::Revoked => failure(format!("the certificate of {place} has been revoked")),
        CertificateFault::Authority => failure(format!("{place} shows an authority's certificate as its own"))
            .note("it is one to sign others with; the broker needs one of its own, like that of the command below")
            .try_this(own_certificate(&target.host)),
        CertificateFault::Version1 => {
            failure(format!("the certificate of {place} is of version 1, which cannot say whom it is for"))
                .note("the broker needs another one, like that of the command below")
                .try_this(own_certificate(&target.host))
        }
        CertificateFault::Other(words) => failure(format!("the certificate of {place} does not do: {words}")),
    }
}

/// A command that makes a certificate that a server can show and `--cafile` can name.
fn own_certificate(host: &str) -> String {
    let kind = if host.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 365 -subj /CN={host} \
         -addext subjectAltName={kind}:{host} -addext basicConstraints=critical,CA:FALSE"
    )
}

/// Seconds since 1970 as a day of the calendar, in UTC.
fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds} of 1970"), |time| time.strftime("%Y-%m-%d").to_string())
}

fn unreachable_address(address: SocketAddr, source: &io::Error) -> Failure {
    if source.kind() != io::ErrorKind::ConnectionRefused {
        return Failure::new(Exit::NotConnected, format!("cannot reach {address} ({})", io(source)));
    }
    let failure = Failure::new(Exit::NotConnected, format!("nothing is listening on {address} (connection refused)"));
    match (address.ip().is_loopback(), address.port()) {
        (true, MQTT_PORT) => failure.try_this("columba serve"),
        (true, _) => failure.try_this(format!("columba serve --listen {address}")),
        (false, _) => failure,
    }
}

fn refused(refusal: &Refusal, args: &CommonArgs, target: &Target) -> Failure {
    let words = words(refusal);
    let bad_login = matches!(refusal.reason, ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::NOT_AUTHORIZED);
    let what = match (&target.username, bad_login) {
        (Some(username), true) => format!("broker refused user \"{username}\": {words}"),
        (None, true) => {
            return Failure::new(Exit::Refused, format!("this broker does not allow anonymous clients: {words}"))
                .try_this("-u NAME -P -");
        }
        (_, false) => format!("broker refused the connection: {words}"),
    };
    let failure = Failure::new(Exit::Refused, what);
    match refusal.reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION if args.protocol_version == Some(Version::V5) => failure.try_this("-V 3.1.1"),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => failure.try_this("-i NAME"),
        _ => failure,
    }
}

/// A refusal as `not authorised (0x87): text of the broker`.
pub(crate) fn words(refusal: &Refusal) -> String {
    let text = refusal.text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    format!("{}{text}", reason_words(refusal.reason))
}

/// A reason code as `not authorised (0x87)`.
pub(crate) fn reason_words(reason: ReasonCode) -> String {
    let name = match reason {
        ReasonCode::NOT_AUTHORIZED => "not authorised".to_owned(),
        _ => reason.name().to_lowercase(),
    };
    format!("{name} ({:#04x})", reason.get())
}

/// Why an established connection ended.
pub(crate) fn lost(lost: &Lost, client_id: Option<&str>) -> Failure {
    let Lost::ByServer(refusal) = lost else {
        return Failure::new(Exit::Lost, format!("connection lost: {lost}"));
    };
    match refusal.reason {
        ReasonCode::SESSION_TAKEN_OVER => {
            let name = client_id.map_or_else(String::new, |id| format!(" as \"{id}\""));
            let what = format!("another client has connected{name} (session taken over, 0x8e); every client needs its own -i");
            Failure::new(Exit::Lost, what)
        }
        ReasonCode::NOT_AUTHORIZED => Failure::new(Exit::Denied, format!("broker ended the connection: {}", words(refusal))),
        ReasonCode::PACKET_TOO_LARGE => Failure::new(Exit::TooLarge, format!("broker ended the connection: {}", words(refusal))),
        _ => Failure::new(Exit::Lost, format!("broker ended the connection: {}", words(refusal))),
    }
}

/// Why a message was not delivered to the broker.
pub(crate) fn publishing(error: &PublishError, topic: &str, version: Version, client_id: Option<&str>) -> Failure {
    match error {
        PublishError::Topic(error) => topic_name(topic, *error),
        PublishError::Refused(refusal) => {
            Failure::new(exit_of(refusal.reason, version), format!("publish to \"{topic}\" was refused: {}", words(refusal)))
        }
        PublishError::TooLarge { size, max } => Failure::new(
            Exit::TooLarge,
            format!("the message to \"{topic}\" is too large: {size} bytes, and the broker takes {max}"),
        ),
        PublishError::QoS { max } => Failure::new(Exit::Rejected, format!("the broker takes at most QoS {}", *max as u8))
            .try_this(format!("-q {}", *max as u8)),
        PublishError::Retain => Failure::new(Exit::Rejected, "the broker keeps no retained messages"),
        PublishError::Text(error) => Failure::usage(format!("a property cannot be sent: {error}")),
        PublishError::SessionLost => Failure::new(Exit::Lost, error.to_string()),
        PublishError::Full => Failure::new(Exit::Other, error.to_string()),
        PublishError::Closed(closed) => {
            let failure = match &closed.0 {
                Some(why) => lost(why, client_id),
                None => Failure::new(Exit::Lost, "connection lost"),
            };
            if version.has_properties() {
                return failure;
            }
            failure.note(format!("MQTT {} cannot report a refused publish; use -V 5", version.name()))
        }
    }
}

/// Why a subscription was not made.
pub(crate) fn subscribing(error: &SubscribeError, client_id: Option<&str>) -> Failure {
    match error {
        SubscribeError::Closed(closed) => match &closed.0 {
            Some(why) => lost(why, client_id),
            None => Failure::new(Exit::Lost, "connection lost"),
        },
        SubscribeError::Filter(_) | SubscribeError::NoFilters => Failure::usage(error.to_string()),
        SubscribeError::Refused(refusal) => Failure::new(Exit::Rejected, words(refusal)),
    }
}

/// An error of the system without its number.
pub(crate) fn io(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// What is wrong with a topic to publish to.
pub(crate) fn topic_name(topic: &str, error: TopicNameError) -> Failure {
    match error {
        TopicNameError::Empty => Failure::usage("the topic is empty").try_this("-t TOPIC"),
        TopicNameError::Wildcard => {
            let at = topic.find(['+', '#']).unwrap_or(0);
            Failure::usage(format!(
                "\"{topic}\" is no topic to publish to\n{}",
                caret(topic, at, "'+' and '#' only work in subscriptions")
            ))
        }
        TopicNameError::Nul => Failure::usage("a topic cannot hold a NUL character"),
        TopicNameError::TooLong => Failure::usage("a topic has at most 65535 bytes"),
    }
}

/// What is wrong with a filter to subscribe to.
pub(crate) fn topic_filter(filter: &str, error: SubscriptionFilterError) -> Failure {
    let (at, why) = match error {
        SubscriptionFilterError::Filter(TopicFilterError::MisplacedHash) => hash_at(filter),
        SubscriptionFilterError::Filter(TopicFilterError::MisplacedPlus) => {
            (lone(filter, '+').unwrap_or(0), "'+' must fill a whole level")
        }
        SubscriptionFilterError::Filter(TopicFilterError::Empty) => {
            return Failure::usage("the topic filter is empty").try_this("-t FILTER");
        }
        SubscriptionFilterError::Filter(TopicFilterError::Nul) => {
            return Failure::usage("a topic filter cannot hold a NUL character");
        }
        SubscriptionFilterError::Filter(TopicFilterError::TooLong) => {
            return Failure::usage("a topic filter has at most 65535 bytes");
        }
        SubscriptionFilterError::EmptyShareName => ("$share/".len(), "the name of the group is missing"),
        SubscriptionFilterError::WildcardInShareName => {
            (filter.find(['+', '#']).unwrap_or(0), "the name of the group cannot hold wildcards")
        }
        SubscriptionFilterError::MissingFilter => (filter.len(), "the filter behind the group is missing"),
    };
    Failure::usage(format!("\"{filter}\" is no topic filter\n{}", caret(filter, at, why)))
}

fn hash_at(filter: &str) -> (usize, &'static str) {
    match lone(filter, '#') {
        Some(at) => (at, "'#' must fill a whole level"),
        None => (filter.find('#').unwrap_or(0), "'#' must be the last level"),
    }
}

/// Where a wildcard shares its level with something else.
fn lone(filter: &str, wildcard: char) -> Option<usize> {
    let mut start = 0;
    for level in filter.split('/') {
        if level.len() > 1
            && let Some(at) = level.find(wildcard)
        {
            return Some(start + at);
        }
        start += level.len() + 1;
    }
    None
}

fn caret(text: &str, at: usize, why: &str) -> String {
    let before = text.get(..at).unwrap_or(text).chars().count();
    format!("  {text}\n  {}^ {why}", " ".repeat(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> String {
        let error = text.parse::<columba_proto::SubscriptionFilter>().unwrap_err();
        topic_filter(text, error).to_string()
    }

    #[test]
    fn a_caret_stands_under_the_misplaced_wildcard() {
        assert_eq!(filter("a/#/b"), "error: \"a/#/b\" is no topic filter\n  a/#/b\n    ^ '#' must be the last level");
        assert_eq!(filter("ä/b#"), "error: \"ä/b#\" is no topic filter\n  ä/b#\n     ^ '#' must fill a whole level");
        assert_eq!(filter("a/b+/c"), "error: \"a/b+/c\" is no topic filter\n  a/b+/c\n     ^ '+' must fill a whole level");
        let error = topic_name("home/+", TopicNameError::Wildcard).to_string();
        assert!(error.ends_with("  home/+\n       ^ '+' and '#' only work in subscriptions"), "{error}");
    }

    fn target(scheme: Scheme) -> Target {
        Target { scheme, host: "10.0.0.5".into(), port: 2883, ..Target::default() }
    }

    #[test]
    fn tls_where_there_is_none_and_none_where_it_is_are_told_on_any_port() {
        let told = |error: &ConnectError, scheme| connecting(error, &CommonArgs::default(), &target(scheme));

        let plain = told(&ConnectError::Speaks(Spoken::Tls), Scheme::Mqtt);
        assert_eq!(plain.to_string(), "error: 10.0.0.5:2883 speaks TLS\ntry: -L mqtts://10.0.0.5:2883");
        let silent = told(&ConnectError::Closed(None), Scheme::Mqtt);
        assert_eq!(
            silent.to_string(),
            "error: 10.0.0.5:2883 closed the connection before CONNACK\nnote: a port that speaks TLS does so\ntry: -L mqtts://10.0.0.5:2883"
        );
        let secure = told(&ConnectError::ClosedInHandshake(None), Scheme::Wss);
        assert_eq!(
            secure.to_string(),
            "error: 10.0.0.5:2883 closed the connection in the middle of the TLS handshake\nnote: a port without TLS does so\n\
             try: -L ws://10.0.0.5:2883"
        );
        assert_eq!((plain.exit, silent.exit, secure.exit), (Exit::Tls, Exit::Lost, Exit::Tls));
        assert!(!told(&ConnectError::Closed(None), Scheme::Mqtts).to_string().contains("try:"), "it was TLS");
    }

    #[test]
    fn a_certificate_that_does_not_do_is_told_with_what_to_try() {
        let told = |fault| certificate(&fault, &CommonArgs::default(), &target(Scheme::Mqtts)).to_string();

        let wanted = "10.0.0.5".to_owned();
        let names = vec!["*.example".to_owned(), "broker.example".to_owned()];
        let text = told(CertificateFault::OtherName { wanted, names });
        assert!(
            text.starts_with("error: the certificate of 10.0.0.5:2883 is for *.example, broker.example, not for 10.0.0.5\n"),
            "{text}"
        );
        assert!(text.contains("\ntry: -h broker.example -p 2883\n"), "{text}");
        let text = told(CertificateFault::Expired { not_after: Some(978_307_200) });
        assert!(text.contains(" expired on 2001-01-01\n") && text.contains("\ntry: --insecure"), "{text}");
        let text = told(CertificateFault::NotYet { not_before: Some(13_569_465_600) });
        assert!(text.contains(" is not valid before 2400-01-01\ntry: date"), "{text}");
        let text = told(CertificateFault::Authority);
        assert!(text.contains("-addext subjectAltName=IP:10.0.0.5 -addext basicConstraints=critical,CA:FALSE"), "{text}");
        let known = CommonArgs { cafile: Some("ca.pem".into()), ..CommonArgs::default() };
        let text = certificate(&CertificateFault::Untrusted, &known, &target(Scheme::Mqtts)).to_string();
        assert!(text.contains("no authority in ca.pem has signed it\ntry: --cafile"), "{text}");
    }

    #[test]
    fn a_broker_that_is_not_there_is_offered() {
        let refused = |address: &str| {
            let address = address.parse().unwrap();
            unreachable_address(address, &io::ErrorKind::ConnectionRefused.into()).to_string()
        };

        assert_eq!(
            refused("127.0.0.1:1883"),
            "error: nothing is listening on 127.0.0.1:1883 (connection refused)\ntry: columba serve"
        );
        assert!(refused("127.0.0.1:1999").ends_with("try: columba serve --listen 127.0.0.1:1999"));
        assert!(!refused("10.0.0.5:1883").contains("try:"));
    }

    #[test]
    fn a_bad_login_is_told_apart_from_none() {
        let refusal = Refusal { reason: ReasonCode::BAD_USER_NAME_OR_PASSWORD, text: None, server_reference: None };
        let alice = Target { username: Some("alice".into()), ..Target::default() };

        let with = refused(&refusal, &CommonArgs::default(), &alice);
        let without = refused(&refusal, &CommonArgs::default(), &Target::default());

        assert_eq!(with.to_string(), "error: broker refused user \"alice\": bad user name or password (0x86)");
        assert!(without.to_string().starts_with("error: this broker does not allow anonymous clients"));
        assert_eq!((with.exit, without.exit), (Exit::Refused, Exit::Refused));
    }
}
