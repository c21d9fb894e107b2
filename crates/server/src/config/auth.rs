//! By what clients show who they are, beside the users file.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::value::{Value, Wrong};

/// One way to show who one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// A password that the users file knows, or SCRAM by the same file.
    Password,
    /// A JSON Web Token in the place of the password.
    Jwt,
    /// A user name and a password that a service of the operator's is asked about.
    Http,
    /// Not at all.
    Anonymous,
}

/// What is configured of all ways together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Auth {
    /// In which order they are asked, on listeners that say nothing else; `None`: all that there are.
    pub order: Option<Vec<Method>>,
    /// Tokens.
    pub jwt: Jwt,
    /// A service that is asked.
    pub http: Service,
}

/// A service that is asked over HTTP who somebody is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Where; `None`: nobody is asked.
    pub url: Option<HttpUrl>,
    /// The authorities of its certificate, PEM; `None`: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many questions may be on their way at once, each on a connection of its own.
    pub connections: usize,
    /// How long a yes is kept.
    pub cache: Duration,
    /// How long anything else is.
    pub cache_denied: Duration,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            url: None,
            ca: None,
            timeout: Duration::from_secs(3),
            connections: 8,
            cache: Duration::from_secs(10),
            cache_denied: Duration::from_secs(2),
        }
    }
}

/// An address that is asked over HTTP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpUrl {
    /// Whether in TLS.
    pub is_tls: bool,
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is asked for there, from the first slash on.
    pub path: String,
}

/// The text is no such address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write http://HOST:PORT/PATH or https://HOST:PORT/PATH")]
pub struct HttpUrlError;

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(HttpUrlError)?;
        let (is_tls, usual) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(HttpUrlError),
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']').ok_or(HttpUrlError)?;
                let _: std::net::Ipv6Addr = host.parse().map_err(|_| HttpUrlError)?;
                (host, port)
            }
            None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| HttpUrlError)?,
            None if port.is_empty() => usual,
            None => return Err(HttpUrlError),
        };
        let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
        if !is_host || !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(HttpUrlError);
        }
        Ok(Self { is_tls, host: host.into(), port, path: path.into() })
    }
}

impl HttpUrl {
    /// Host and port, as they stand in a request.
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Questions on their way at once, at most.
const CONNECTIONS_MAX: u64 = 256;

/// Longer than this no client waits; and what is kept for longer is not true any more.
const TIMEOUT_MAX_MS: u64 = 60_000;
const CACHE_MAX_MS: u64 = 3_600_000;

/// How often a set of keys is fetched: a day is long for a key that was taken back.
const REFRESH_MIN_MS: u64 = 1_000;
const REFRESH_MAX_MS: u64 = 86_400_000;

impl Service {
    pub(super) fn read_url(&mut self, value: &Value) -> Result<(), Wrong> {
        self.url = Some(address(value)?);
        Ok(())
    }

    pub(super) fn read_timeout(&mut self, value: &Value) -> Result<(), Wrong> {
        self.timeout = between(value, 10, TIMEOUT_MAX_MS, "a duration from \"10ms\" to \"1m\"")?;
        Ok(())
    }

    pub(super) fn read_connections(&mut self, value: &Value) -> Result<(), Wrong> {
        self.connections = usize::try_from(value.number(1..=CONNECTIONS_MAX)?).unwrap_or(1);
        Ok(())
    }

    pub(super) fn read_cache(value: &Value) -> Result<Duration, Wrong> {
        between(value, 0, CACHE_MAX_MS, "a duration up to \"1h\", or 0")
    }
}

fn address(value: &Value) -> Result<HttpUrl, Wrong> {
    value.text()?.parse().map_err(|error: HttpUrlError| Wrong(format!("an address ({error})")))
}

fn between(value: &Value, least: u64, most: u64, expected: &str) -> Result<Duration, Wrong> {
    let ms = value.duration_ms()?;
    if (least..=most).contains(&ms) { Ok(Duration::from_millis(ms)) } else { Err(Wrong(expected.into())) }
}

/// What makes a JSON Web Token (RFC 7519) a good one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwt {
    /// The secret of HS256, HS384 and HS512.
    pub secret_file: Option<PathBuf>,
    /// A public key or a certificate, or several, PEM: RSA, EC on P-256 and P-384, Ed25519.
    pub key_file: Option<PathBuf>,
    /// A set of keys (RFC 7517).
    pub jwks: Option<PathBuf>,
    /// Where another one is fetched.
    pub jwks_url: Option<HttpUrl>,
    /// The authorities of that one's certificate, PEM; `None`: those that this machine trusts.
    pub jwks_ca: Option<PathBuf>,
    /// How often it is fetched again.
    pub jwks_refresh: Duration,
    /// Who may have issued it (`iss`); empty: anybody who has a key.
    pub issuers: Vec<Box<str>>,
    /// For whom it must be (`aud`), one of these; empty: for anybody.
    pub audiences: Vec<Box<str>>,
    /// How far the clock of whoever issues it may be from ours.
    pub leeway: Duration,
    /// Which claim is the user name.
    pub username_claim: Box<str>,
    /// Which claim holds what the client may do.
    pub acl_claim: Box<str>,
    /// Which claim must be the client identifier, if any.
    pub client_id_claim: Option<Box<str>>,
    /// What the user name in CONNECT has to do with it.
    pub user_name: UserName,
    /// Whether the connection ends when the token does.
    pub at_expiry: AtExpiry,
}

/// What the user name in CONNECT has to do with that of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UserName {
    /// Nothing: who it is stands in the token.
    Ignored,
    /// It must be the same.
    Same,
}

/// What becomes of a connection whose token expires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtExpiry {
    /// It ends.
    Disconnect,
    /// It goes on: the token was for CONNECT.
    Stay,
}

/// The largest leeway: beyond that a clock is wrong.
const LEEWAY_MAX_MS: u64 = 300_000;

impl Default for Jwt {
    fn default() -> Self {
        Self {
            secret_file: None,
            key_file: None,
            jwks: None,
            jwks_url: None,
            jwks_ca: None,
            jwks_refresh: Duration::from_mins(5),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            username_claim: "sub".into(),
            acl_claim: "acl".into(),
            client_id_claim: None,
            user_name: UserName::Ignored,
            at_expiry: AtExpiry::Disconnect,
        }
    }
}

impl Jwt {
    /// Whether there is anything to hold a token against.
    pub fn is_configured(&self) -> bool {
        self.secret_file.is_some() || self.key_file.is_some() || self.jwks.is_some() || self.jwks_url.is_some()
    }

    pub(super) fn read_jwks(&mut self, value: &Value) -> Result<(), Wrong> {
        let text = value.text()?;
        if text.contains("://") {
            return Err(Wrong("a file; an address is written behind auth.jwt.jwks_url".into()));
        }
        self.jwks = Some(super::source::expand_home(text));
        Ok(())
    }

    pub(super) fn read_jwks_url(&mut self, value: &Value) -> Result<(), Wrong> {
        self.jwks_url = Some(address(value)?);
        Ok(())
    }

    pub(super) fn read_jwks_refresh(&mut self, value: &Value) -> Result<(), Wrong> {
        self.jwks_refresh = between(value, REFRESH_MIN_MS, REFRESH_MAX_MS, "a duration from \"1s\" to \"1d\"")?;
        Ok(())
    }

    pub(super) fn read_leeway(&mut self, value: &Value) -> Result<(), Wrong> {
        let ms = value.duration_ms()?;
        if ms > LEEWAY_MAX_MS {
            return Err(Wrong("a duration up to \"5m\"".into()));
        }
        self.leeway = Duration::from_millis(ms);
        Ok(())
    }
}

impl Auth {
    /// What a listener asks for that says nothing of its own: cheap ways first, where no order is given.
    pub(crate) fn methods(&self, has_users: bool) -> Vec<Method> {
        let all =
            [(Method::Jwt, self.jwt.is_configured()), (Method::Password, has_users), (Method::Http, self.http.url.is_some())];
        let there = || all.iter().filter(|(_, is_there)| *is_there).map(|(method, _)| *method).collect();
        self.order.clone().unwrap_or_else(there)
    }
}

impl Method {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Http => "http",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Methods in their order, each once.
pub(super) fn methods(value: &Value, allowed: &[Method]) -> Result<Vec<Method>, Wrong> {
    let choices: Vec<(&str, Method)> = allowed.iter().map(|method| (method.name(), *method)).collect();
    let mut methods = Vec::new();
    for item in value.list()? {
        let method = item.one_of(&choices).map_err(|Wrong(expected)| Wrong(format!("a list of {expected}")))?;
        if methods.contains(&method) {
            return Err(Wrong(format!("\"{}\" once", method.name())));
        }
        methods.push(method);
    }
    if methods.is_empty() {
        return Err(Wrong("at least one way to come in".into()));
    }
    Ok(methods)
}

/// The name of a claim.
pub(super) fn claim(value: &Value) -> Result<Box<str>, Wrong> {
    let name = value.text()?;
    if name.is_empty() { Err(Wrong("the name of a claim".into())) } else { Ok(name.into()) }
}

/// One text or several.
pub(super) fn texts(value: &Value) -> Result<Vec<Box<str>>, Wrong> {
    value.list()?.iter().map(|item| item.text().map(Box::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_asked_is_a_url() {
        for (text, expected) in [
            ("http://localhost/auth", "http://localhost:80/auth"),
            ("https://auth.example/v1/mqtt?from=columba", "https://auth.example:443/v1/mqtt?from=columba"),
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090/"),
            ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ] {
            assert_eq!(text.parse::<HttpUrl>().map(|url| url.to_string()), Ok(expected.to_owned()));
        }
        for text in [
            "",
            "localhost",
            "ftp://a/",
            "http://",
            "http:///a",
            "http://a:b/",
            "http://u:p@a/",
            "http://a/#b",
            "http://a/ b",
            "http://[a]/",
            "http://a\r\nb/",
        ] {
            assert_eq!(text.parse::<HttpUrl>(), Err(HttpUrlError), "{text:?}");
        }
    }
}
