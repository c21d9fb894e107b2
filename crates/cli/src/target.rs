//! Which broker a command talks to: a URL, or a host and a port.

use crate::exit::Failure;

/// The port of plain MQTT.
pub(crate) const MQTT_PORT: u16 = 1883;

/// The path of a WebSocket where none is named.
pub(crate) const WEB_SOCKET_PATH: &str = "/mqtt";

/// How MQTT travels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Scheme {
    #[default]
    Mqtt,
    Mqtts,
    Ws,
    Wss,
    Unix,
}

impl Scheme {
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    pub(crate) fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The same in TLS.
    pub(crate) fn secured(self) -> Self {
        match self {
            Self::Mqtt | Self::Mqtts => Self::Mqtts,
            Self::Ws | Self::Wss => Self::Wss,
            Self::Unix => Self::Unix,
        }
    }

    /// The same without TLS.
    pub(crate) fn plain(self) -> Self {
        match self {
            Self::Mqtt | Self::Mqtts => Self::Mqtt,
            Self::Ws | Self::Wss => Self::Ws,
            Self::Unix => Self::Unix,
        }
    }

    /// The same inside a WebSocket.
    pub(crate) fn web(self) -> Self {
        if self.has_tls() { Self::Wss } else { Self::Ws }
    }

    /// As it stands in front of `://`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    /// The port where none is named.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Mqtt | Self::Unix => MQTT_PORT,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// What a URL says: `mqtt://user:password@host:port/topic`, of which only the host is needed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// Empty with `unix:`.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Everything behind the first slash, so that `mqtt://host/home/#` names a filter although `#` starts a
    /// fragment in other URLs.
    pub(crate) topic: Option<String>,
    /// What stands there in `ws://host/path`, or behind `unix:`.
    pub(crate) path: Option<String>,
}

impl Url {
    /// Reads a URL of the transports that exist.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:/run/x, and unix:///run/x as other URLs are written.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Failure::usage("the URL names no path").try_this("-L unix:/run/columba/mqtt.sock"));
            }
            return Ok(Self { scheme: Scheme::Unix, path: Some(path.to_owned()), ..Self::default() });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Failure::usage(format!("\"{text}\" is not a URL")).try_this(format!("-L mqtt://{text}")));
        };
        let scheme = supported(scheme)?;
        let (authority, behind) = match rest.split_once('/') {
            Some((authority, behind)) => (authority, Some(behind).filter(|behind| !behind.is_empty())),
            None => (rest, None),
        };
        let (topic, path) = if scheme.is_web_socket() { (None, behind.map(|path| format!("/{path}"))) } else { (behind, None) };
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place)?;
        let (username, password) = match login {
            None => (None, None),
            Some(login) => match login.split_once(':') {
                Some((username, password)) => (Some(username), Some(password)),
                None => (Some(login), None),
            },
        };
        Ok(Self {
            scheme,
            host,
            port,
            username: username.map(decoded).transpose()?,
            password: password.map(decoded).transpose()?,
            topic: topic.map(decoded).transpose()?,
            path,
        })
    }
}

/// Looks at what was given to `-h`, which takes a host and nothing else.
pub(crate) fn check_host(host: &str) -> Result<(), Failure> {
    let bare = host.trim_start_matches("mqtt://");
    if host.contains("://") || host.contains('@') || host.contains('/') {
        return Err(Failure::usage(format!("-h takes a host; did you mean -L mqtt://{bare}?")));
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && !name.contains(':')
    {
        return Err(Failure::usage(format!("-h takes a host, not \"{host}\"")).try_this(format!("-h {name} -p {port}")));
    }
    if host.is_empty() {
        return Err(Failure::usage("-h takes a host, and it is empty"));
    }
    Ok(())
}

fn supported(scheme: &str) -> Result<Scheme, Failure> {
    match scheme.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => Ok(Scheme::Mqtt),
        "mqtts" | "ssl" | "tls" => Ok(Scheme::Mqtts),
        "ws" => Ok(Scheme::Ws),
        "wss" => Ok(Scheme::Wss),
        "quic" => Err(Failure::usage("quic:// is not built into this version").try_this("-L mqtts://HOST:8883")),
        other => Err(Failure::usage(format!("unknown URL scheme \"{other}\"")).try_this("-L mqtt://HOST:1883")),
    }
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), Failure> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').ok_or_else(|| Failure::usage(format!("\"{place}\" has no closing ']'")))?;
        (host, tail.strip_prefix(':'))
    } else {
        match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    if host.is_empty() {
        return Err(Failure::usage("the URL names no host").try_this("-L mqtt://localhost"));
    }
    let port = port
        .map(str::parse)
        .transpose()
        .map_err(|_| Failure::usage(format!("\"{}\" is no port number", port.unwrap_or_default())))?;
    Ok((host.to_owned(), port))
}

/// Resolves `%41` escapes.
fn decoded(text: &str) -> Result<String, Failure> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()))
            .flatten();
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("\"{text}\" does not decode to UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_url_names_login_place_and_topic() {
        assert_eq!(
            url("mqtt://alice:s%40crt@broker.example:1884/home/kitchen"),
            Url {
                host: "broker.example".into(),
                port: Some(1884),
                username: Some("alice".into()),
                password: Some("s@crt".into()),
                topic: Some("home/kitchen".into()),
                ..Url::default()
            }
        );
        assert_eq!(url("tcp://localhost"), Url { host: "localhost".into(), ..Url::default() });
        assert_eq!(url("mqtt://[::1]:1999").host, "::1");
        assert_eq!(url("mqtt://[::1]:1999").port, Some(1999));
        assert_eq!(url("mqtt://localhost/").topic, None);
    }

    #[test]
    fn a_topic_in_a_url_may_hold_wildcards_and_empty_levels() {
        assert_eq!(url("mqtt://localhost/home/#").topic.as_deref(), Some("home/#"));
        assert_eq!(url("mqtt://localhost//a").topic.as_deref(), Some("/a"));
        assert_eq!(url("mqtt://localhost/+/b?c").topic.as_deref(), Some("+/b?c"));
        assert_eq!(url("mqtt://localhost/100%").topic.as_deref(), Some("100%"));
    }

    #[test]
    fn a_url_names_its_transport() {
        assert_eq!((url("mqtts://x/a/b").scheme, url("mqtts://x/a/b").topic.as_deref()), (Scheme::Mqtts, Some("a/b")));
        assert_eq!((url("wss://x:1/a/b").scheme, url("wss://x:1/a/b").path.as_deref()), (Scheme::Wss, Some("/a/b")));
        assert_eq!((url("ws://x").path, url("ws://x/").topic), (None, None));
        for text in ["unix:/run/x.sock", "unix:///run/x.sock"] {
            assert_eq!((url(text).scheme, url(text).path.as_deref()), (Scheme::Unix, Some("/run/x.sock")));
        }
    }

    #[test]
    fn what_cannot_be_spoken_is_refused_by_name() {
        let failure = Url::parse("quic://broker").unwrap_err().to_string();
        assert!(failure.starts_with("error: quic:// is not built into this version"), "{failure}");
        assert!(Url::parse("unix:").is_err());
        assert!(Url::parse("http://broker").is_err());
        assert!(Url::parse("broker:1883").is_err());
        assert!(Url::parse("mqtt://").is_err());
        assert!(Url::parse("mqtt://host:99999").is_err());
    }

    #[test]
    fn a_url_given_as_a_host_is_explained() {
        let failure = check_host("mqtt://broker").unwrap_err().to_string();
        assert_eq!(failure, "error: -h takes a host; did you mean -L mqtt://broker?");
        assert!(check_host("user@broker").unwrap_err().to_string().contains("-L mqtt://user@broker"));
        assert!(check_host("broker:1883").unwrap_err().to_string().contains("-h broker -p 1883"));
        assert!(check_host("::1").is_ok());
        assert!(check_host("localhost").is_ok());
    }
}
