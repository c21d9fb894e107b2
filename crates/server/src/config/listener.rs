//! Where the broker listens: what stands behind `--listen` and `url`, and what it means in addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use super::Sync;

/// The port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// One `[[listener]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// The address to listen on.
    pub address: ListenAddress,
    /// How many connections it carries at once, where bounded.
    pub max_connections: Option<u32>,
    /// What acknowledgements on its connections wait for, where that is not what `durability.sync` says.
    pub sync: Option<Sync>,
}

/// A host and a port to listen on. Port 0 takes a free one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenAddress {
    /// The interface.
    pub host: Host,
    /// The port.
    pub port: u16,
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
    #[error("listeners speak mqtt only: write mqtt://HOST:PORT or HOST:PORT")]
    Scheme,
    /// No number from 0 to 65535 behind the colon.
    #[error("the port is a number from 0 to 65535")]
    Port,
    /// Nothing before the port, or brackets that do not close.
    #[error("write HOST:PORT, [IPv6]:PORT or *:PORT")]
    Host,
}

impl Listener {
    /// This machine only, the standard's port.
    pub fn local() -> Self {
        Self { address: ListenAddress { host: Host::Local, port: MQTT_PORT }, max_connections: None, sync: None }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let rest = match text.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => rest,
            Some(_) => return Err(ListenAddressError::Scheme),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
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
        let port = if port.is_empty() { MQTT_PORT } else { port.parse().map_err(|_| ListenAddressError::Port)? };
        Ok(Self { host, port })
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
        match &self.host {
            Host::Any => write!(f, "*:{}", self.port),
            Host::Local => write!(f, "localhost:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
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
        assert_eq!("localhost:7".parse::<ListenAddress>().map(|a| a.host), Ok(Host::Local));
    }

    #[test]
    fn what_is_not_a_listener_says_why() {
        assert_eq!(parsed("mqtts://*:8883"), Err(ListenAddressError::Scheme));
        assert_eq!(parsed("127.0.0.1:mqtt"), Err(ListenAddressError::Port));
        assert_eq!(parsed("127.0.0.1:70000"), Err(ListenAddressError::Port));
        assert_eq!(parsed(":1883"), Err(ListenAddressError::Host));
        assert_eq!(parsed("[::1"), Err(ListenAddressError::Host));
    }
}
