//! Where the broker listens: what stands behind `--listen` and `url`, and what it means in addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use columba_broker::limits::Terms;
use columba_net::tls::MinVersion;
use thiserror::Error;

use super::{Interface, Method, Network, Sync};

/// One `[[listener]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// The address to listen on.
    pub address: ListenAddress,
    /// The only network interface through which connections come; `None`: any.
    pub interface: Option<Interface>,
    /// How many connections it carries at once, where bounded.
    pub max_connections: Option<u32>,
    /// By what clients show who they are on it, in this order, where that is not what all listeners have.
    pub auth: Option<Vec<Method>>,
    /// How many it takes in a second, where bounded; the others wait.
    pub connect_rate: Option<u32>,
    /// What acknowledgements on its connections wait for, where that is not what `durability.sync` says.
    pub sync: Option<Sync>,
    /// The files of its TLS.
    pub tls: TlsFiles,
    /// How it speaks WebSocket.
    pub web: Web,
    /// Proxies that say for whom they speak (PROXY protocol): nobody else may connect. `None`: nobody says so.
    pub proxies: Option<Vec<Network>>,
    /// Permissions of a Unix socket.
    pub mode: u32,
    /// What holds on it where that is not what holds everywhere.
    pub terms: Terms,
}

/// Where the files of a listener's TLS are, and what they are for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the root; PEM.
    pub cert: Option<PathBuf>,
    /// Its key; PEM.
    pub key: Option<PathBuf>,
    /// The authorities of client certificates; PEM.
    pub ca: Option<PathBuf>,
    /// More of them, in a directory as OpenSSL has it: PEM files `HHHHHHHH.N`, by the hash of their subjects.
    pub ca_dir: Option<PathBuf>,
    /// What they have revoked; PEM.
    pub crl: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_cert: ClientCert,
    /// What of it is the user name.
    pub identity: Identity,
    /// The oldest version.
    pub min_version: MinVersion,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCert {
    /// They are not asked.
    #[default]
    None,
    /// They may; one that is shown must be good.
    Optional,
    /// Nobody comes in without.
    Require,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Identity {
    /// Nothing: it opens the door, and who comes in says who it is.
    #[default]
    None,
    /// The common name.
    CommonName,
    /// The whole subject, as RFC 2253 writes it.
    Subject,
}

/// How MQTT is spoken over WebSocket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Web {
    /// The path to ask for; `None`: any.
    pub path: Option<Box<str>>,
    /// Origins of pages that may connect; empty: all.
    pub origins: Vec<Box<str>>,
    /// Also on an address of MQTT as it is: the first byte tells which.
    pub beside_mqtt: bool,
}

/// Where to listen, and what is spoken there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// A host and a port. Port 0 takes a free one.
    Net {
        /// What is spoken.
        scheme: Scheme,
        /// The interface.
        host: Host,
        /// The port.
        port: u16,
    },
    /// A Unix socket, for MQTT without TLS.
    Unix(PathBuf),
}

/// Where to listen, whatever is spoken there. Port 0 takes a free one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// The interface.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scheme {
    /// MQTT as it is.
    #[default]
    Mqtt,
    /// MQTT in TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket in TLS.
    Wss,
}

/// Which interfaces an address means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// `*`: all interfaces, IPv4 and IPv6.
    Any,
    /// `localhost`: this machine only, IPv4 and IPv6.
    Local,
    /// One address, of its own family only.
    Ip(IpAddr),
    /// A name to look up at start.
    Name(Box<str>),
}

/// What is wrong with the text of a listener.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ListenAddressError {
    /// A transport that is not there.
    #[error("listeners speak mqtt, mqtts, ws, wss and unix: write mqtt://HOST:PORT, HOST:PORT or unix:PATH")]
    Scheme,
    /// No number from 0 to 65535 behind the colon.
    #[error("the port is a number from 0 to 65535")]
    Port,
    /// Nothing before the port, or brackets that do not close.
    #[error("write HOST:PORT, [IPv6]:PORT or *:PORT")]
    Host,
    /// Something behind the port.
    #[error("nothing stands behind the port; the path of a WebSocket listener has a key of its own")]
    Path,
    /// `unix:` and nothing.
    #[error("write unix:PATH")]
    Unix,
}

/// Keys of a listener that do not go together.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ListenerError {
    /// TLS without a certificate.
    #[error("mqtts and wss need cert and key: the PEM files of the certificate and of its key")]
    NoCertificate,
    /// A certificate without TLS.
    #[error("cert, key, ca, ca_dir, crl, client_cert, identity and tls_version are for mqtts and wss")]
    NoTls,
    /// Client certificates that nobody can judge.
    #[error("client_cert needs ca or ca_dir: the PEM file or the directory of the authorities that sign clients' certificates")]
    NoAuthorities,
    /// An identity, and nobody who shows it.
    #[error("crl and identity are for client_cert = \"require\" or \"optional\"")]
    NotAsked,
    /// WebSocket keys where none is spoken.
    #[error("path and origins are for ws, wss and websocket = true")]
    NoWebSocket,
    /// A proxy that nobody trusts.
    #[error("proxy_protocol = true needs proxy_trust: the addresses of the proxies, like [\"10.0.0.5\", \"192.168.0.0/16\"]")]
    NoProxies,
    /// The other way round.
    #[error("proxy_trust is for proxy_protocol = true")]
    NoProxyProtocol,
    /// A path is on no network.
    #[error("interface is for addresses with a port")]
    InterfaceOnUnix,
    /// A proxy has an address.
    #[error("proxy_protocol is for addresses with a port")]
    ProxyOnUnix,
}

impl Listener {
    /// This machine only, the standard's port.
    pub fn local() -> Self {
        Self::at(ListenAddress::Net { scheme: Scheme::Mqtt, host: Host::Local, port: Scheme::Mqtt.default_port() })
    }

    /// Nothing but an address.
    pub fn at(address: ListenAddress) -> Self {
        Self {
            address,
            interface: None,
            max_connections: None,
            auth: None,
            connect_rate: None,
            sync: None,
            tls: TlsFiles::default(),
            web: Web::default(),
            proxies: None,
            mode: 0o660,
            terms: Terms::default(),
        }
    }

    /// Whether its connections begin with a TLS handshake.
    pub fn has_tls(&self) -> bool {
        matches!(self.address, ListenAddress::Net { scheme: Scheme::Mqtts | Scheme::Wss, .. })
    }

    /// Whether its connections may speak WebSocket, or have to.
    pub fn has_web_sockets(&self) -> bool {
        self.web.beside_mqtt || matches!(self.address, ListenAddress::Net { scheme: Scheme::Ws | Scheme::Wss, .. })
    }

    /// Whether nobody gets in without a certificate of ours.
    pub(crate) fn is_guarded(&self) -> bool {
        self.has_tls() && self.tls.client_cert == ClientCert::Require
    }

    /// Whether who gets in has a user name by that.
    pub(crate) fn names_its_users(&self) -> bool {
        self.is_guarded() && self.tls.identity != Identity::None
    }

    /// Whether its keys go together.
    pub(super) fn check(&self) -> Result<(), ListenerError> {
        self.misfits().into_iter().next().map_or(Ok(()), Err)
    }

    /// Which of its keys do not go together; what follows from another is not in it.
    pub(super) fn misfits(&self) -> Vec<ListenerError> {
        let is_unix = matches!(self.address, ListenAddress::Unix(_));
        let has_no_tls = !self.has_tls() && self.tls != TlsFiles::default();
        let tls = if self.has_tls() { self.tls.misfits() } else { Vec::new() };
        let others = [
            (has_no_tls, ListenerError::NoTls),
            (!self.has_web_sockets() && self.web != Web::default(), ListenerError::NoWebSocket),
            (is_unix && self.interface.is_some(), ListenerError::InterfaceOnUnix),
            (is_unix && self.proxies.is_some(), ListenerError::ProxyOnUnix),
            (!is_unix && self.proxies.as_ref().is_some_and(Vec::is_empty), ListenerError::NoProxies),
        ];
        tls.into_iter().chain(others.into_iter().filter(|(is_so, _)| *is_so).map(|(_, error)| error)).collect()
    }
}

impl TlsFiles {
    /// What does not go together where TLS is spoken.
    fn misfits(&self) -> Vec<ListenerError> {
        let Self { cert, key, ca, ca_dir, crl, client_cert, identity, min_version: _ } = self;
        let is_asked = *client_cert != ClientCert::None;
        // Authorities alone do no harm, and many a configuration names them for nothing.
        [
            (cert.is_none() || key.is_none(), ListenerError::NoCertificate),
            (!is_asked && (crl.is_some() || *identity != Identity::None), ListenerError::NotAsked),
            (is_asked && ca.is_none() && ca_dir.is_none(), ListenerError::NoAuthorities),
        ]
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, error)| error)
        .collect()
    }
}

impl Scheme {
    /// As it is written before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The port where none is named.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    fn of(text: &str) -> Option<Self> {
        match text {
            "mqtt" | "tcp" => Some(Self::Mqtt),
            "mqtts" | "ssl" | "tls" => Some(Self::Mqtts),
            "ws" => Some(Self::Ws),
            "wss" => Some(Self::Wss),
            _ => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:/run/x, and unix:///run/x as other URLs are written.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(ListenAddressError::Unix)
            } else {
                Ok(Self::Unix(super::source::expand_home(path)))
            };
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Scheme::of(scheme).ok_or(ListenAddressError::Scheme)?, rest),
            None => (Scheme::Mqtt, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('/') {
            return Err(ListenAddressError::Path);
        }
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (ip, port) = inner.split_once(']').ok_or(ListenAddressError::Host)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| ListenAddressError::Host)?;
            (
                Host::Ip(ip.into()),
                port.strip_prefix(':').or_else(|| port.is_empty().then_some("")).ok_or(ListenAddressError::Host)?,
            )
        } else if rest.parse::<Ipv6Addr>().is_ok() {
            (rest.parse()?, "")
        } else {
            let (host, port) = rest.split_once(':').unwrap_or((rest, ""));
            (host.parse()?, port)
        };
        let port = if port.is_empty() { scheme.default_port() } else { port.parse().map_err(|_| ListenAddressError::Port)? };
        Ok(Self::Net { scheme, host, port })
    }
}

impl FromStr for Host {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        match text {
            "*" => Ok(Self::Any),
            "localhost" => Ok(Self::Local),
            _ if text.is_empty() || text.contains(|c: char| c.is_whitespace() || "[]/:@?#*".contains(c)) => {
                Err(ListenAddressError::Host)
            }
            _ => Ok(Self::Name(text.into())),
        }
    }
}

impl Host {
    /// The addresses to bind, and whether one that the machine does not have is no error (the other family of a pair).
    pub(crate) fn addresses(&self) -> Vec<(IpAddr, Needed)> {
        let pair = |v4: Ipv4Addr, v6: Ipv6Addr| vec![(v4.into(), Needed::Always), (v6.into(), Needed::IfPossible)];
        match self {
            Self::Any => pair(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            Self::Local => pair(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            Self::Ip(ip) => vec![(*ip, Needed::Always)],
            Self::Name(_) => Vec::new(),
        }
    }
}

/// Whether an address must be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needed {
    /// The start fails without it.
    Always,
    /// The machine may lack the family.
    IfPossible,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Net { scheme, host, port } => (*scheme, host, *port),
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
        };
        if scheme != Scheme::Mqtt {
            write!(f, "{}://", scheme.name())?;
        }
        write_host_port(f, host, port)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(f, &self.host, self.port)
    }
}

fn write_host_port(f: &mut fmt::Formatter<'_>, host: &Host, port: u16) -> fmt::Result {
    match host {
        Host::Any => write!(f, "*:{port}"),
        Host::Local => write!(f, "localhost:{port}"),
        Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{port}"),
        Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{port}"),
        Host::Name(name) => write!(f, "{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, ListenAddressError> {
        text.parse::<ListenAddress>().map(|address| address.to_string())
    }

    #[test]
    fn a_listener_is_written_with_or_without_its_scheme() {
        assert_eq!(parsed("mqtt://0.0.0.0:1884"), Ok("0.0.0.0:1884".into()));
        assert_eq!(parsed("127.0.0.1:0"), Ok("127.0.0.1:0".into()));
        assert_eq!(parsed("mqtt://*"), Ok("*:1883".into()));
        assert_eq!(parsed("[::1]:9"), Ok("[::1]:9".into()));
        assert_eq!(parsed("::"), Ok("[::]:1883".into()));
        assert_eq!(parsed("broker.example:1883"), Ok("broker.example:1883".into()));
        let local = ListenAddress::Net { scheme: Scheme::Mqtt, host: Host::Local, port: 7 };
        assert_eq!("localhost:7".parse::<ListenAddress>(), Ok(local));
    }

    #[test]
    fn a_listener_names_its_transport() {
        assert_eq!(parsed("mqtts://*"), Ok("mqtts://*:8883".into()));
        assert_eq!(parsed("ssl://[::1]:7"), Ok("mqtts://[::1]:7".into()));
        assert_eq!(parsed("ws://localhost:8080/"), Ok("ws://localhost:8080".into()));
        assert_eq!(parsed("wss://broker.example"), Ok("wss://broker.example:443".into()));
        assert_eq!(parsed("unix:/run/columba.sock"), Ok("unix:/run/columba.sock".into()));
        assert_eq!(parsed("unix:///run/columba.sock"), Ok("unix:/run/columba.sock".into()));
    }

    #[test]
    fn what_is_not_a_listener_says_why() {
        assert_eq!(parsed("quic://*:8883"), Err(ListenAddressError::Scheme));
        assert_eq!(parsed("ws://*:80/mqtt"), Err(ListenAddressError::Path));
        assert_eq!(parsed("unix:"), Err(ListenAddressError::Unix));
        assert_eq!(parsed("127.0.0.1:mqtt"), Err(ListenAddressError::Port));
        assert_eq!(parsed("127.0.0.1:70000"), Err(ListenAddressError::Port));
        assert_eq!(parsed(":1883"), Err(ListenAddressError::Host));
        assert_eq!(parsed("[::1"), Err(ListenAddressError::Host));
    }
}
