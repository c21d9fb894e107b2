//! The HTTP port: where it is, and what it shows.

use std::path::PathBuf;

use super::{
    Host, HostPort,
    value::{Value, Wrong},
};

/// The port of the default address.
pub(super) const PORT: u16 = 8083;

/// What is configured of the HTTP port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    /// Where it listens; `None`: nowhere.
    pub address: Option<HostPort>,
    /// What a start does where the address is taken.
    pub wanted: Wanted,
    /// Whether `/metrics` is there.
    pub metrics: bool,
    /// Names under which it is reached, beside addresses and `localhost`: pages of other names are kept out (DNS rebinding).
    pub hosts: Vec<Box<str>>,
    /// Who may use the API from other machines; `None`: `tokens` in the data directory.
    pub tokens_file: Option<PathBuf>,
}

/// How much the HTTP port matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Nobody asked for it: where its port is taken, the broker goes without and says so.
    IfFree,
    /// Somebody wrote it down: without it the broker does not start.
    Always,
}

impl Http {
    /// None at all.
    pub fn off() -> Self {
        Self { address: None, wanted: Wanted::IfFree, metrics: true, hosts: Vec::new(), tokens_file: None }
    }

    pub(super) fn read_address(&mut self, value: &Value) -> Result<(), Wrong> {
        self.set_address(value.text().unwrap_or_default()).map_err(|()| Wrong("http://HOST:PORT, or \"off\"".into()))
    }

    pub(super) fn set_address(&mut self, text: &str) -> Result<(), ()> {
        self.wanted = Wanted::Always;
        if text == "off" {
            self.address = None;
            return Ok(());
        }
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(()),
            None => text,
        };
        let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':').ok_or(())?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host: Host = host.parse().map_err(|_| ())?;
        self.address = Some(HostPort { host, port: port.parse().map_err(|_| ())? });
        Ok(())
    }

    pub(super) fn read_hosts(&mut self, value: &Value) -> Result<(), Wrong> {
        let wrong = || Wrong("names in a list, like [\"broker.example\"]".into());
        let names = match value {
            Value::List(items) => items.iter().map(|item| item.text().map_err(|_| wrong())).collect::<Result<Vec<_>, _>>()?,
            Value::Text(name) => vec![&**name],
            Value::Number(_) | Value::Flag(_) | Value::Other(_) => return Err(wrong()),
        };
        let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !names.iter().all(is_name) {
            return Err(wrong());
        }
        self.hosts = names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect();
        Ok(())
    }
}

impl Default for Http {
    /// This machine only.
    fn default() -> Self {
        let address = HostPort { host: Host::Ip(std::net::Ipv4Addr::LOCALHOST.into()), port: PORT };
        Self { address: Some(address), ..Self::off() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<String> {
        let mut http = Http::default();
        http.set_address(text).ok()?;
        Some(http.address.map_or_else(|| "nowhere".into(), |address| address.to_string()))
    }

    #[test]
    fn an_address_is_a_url_or_a_host_with_its_port() {
        assert_eq!(at("http://127.0.0.1:0").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(at("http://[::1]:8083/").as_deref(), Some("[::1]:8083"));
        assert_eq!(at("*:8083").as_deref(), Some("*:8083"));
        assert_eq!(at("off").as_deref(), Some("nowhere"));
        for wrong in ["https://127.0.0.1:8083", "http://127.0.0.1", "8083", "http://:8083", "http://a/b:1", ""] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_writes_it_down_wants_it() {
        assert_eq!(Http::default().wanted, Wanted::IfFree);
        let mut http = Http::default();
        http.set_address("http://127.0.0.1:8083").unwrap();

        assert_eq!((http.address, http.wanted), (Http::default().address, Wanted::Always));
    }
}
