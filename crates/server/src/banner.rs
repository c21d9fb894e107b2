//! What `columba serve` says when it is up.

use std::{
    env,
    fmt::{self, Display},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use crate::{
    config::{Access, Data, Scheme},
    listen::ListeningAt,
};

/// The figures of a start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Sessions that are there again.
    pub sessions: usize,
    /// Retained messages that are there again.
    pub retained: usize,
    /// How long it took.
    pub took: Duration,
}

/// Three to five lines: what runs where, who may come in, what to try.
#[derive(Clone, Debug)]
pub struct Banner {
    pub(crate) data: Data,
    pub(crate) access: Access,
    /// There is a way to log in.
    pub(crate) has_users: bool,
    pub(crate) places: Vec<ListeningAt>,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) recovered: Recovered,
}

impl Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "columba {}  ", env!("CARGO_PKG_VERSION"))?;
        match &self.data {
            Data::Directory(path) => {
                let Recovered { sessions, retained, took } = self.recovered;
                let path = short(path);
                let what = if sessions == 1 { "session" } else { "sessions" };
                let ms = took.as_millis();
                writeln!(f, "data {path} ({sessions} {what}, {retained} retained, recovered in {ms} ms)")?;
            }
            Data::Ephemeral => writeln!(f, "ephemeral: a restart forgets everything")?,
        }
        write!(f, "  mqtt")?;
        for place in &self.places {
            write!(f, "   {place}")?;
        }
        let reachable = self.places.iter().any(|place| !place.is_local());
        match (self.access, reachable) {
            (Access::ThisMachine | Access::Users, _) if self.has_users => {
                writeln!(f, "       by user name and password")?;
            }
            (Access::Anyone, true) => {
                writeln!(f, "       no password: anyone who reaches it may connect")?;
            }
            (Access::ThisMachine | Access::Users, true) => {
                writeln!(f, "       no password: this machine, and who has a certificate")?;
            }
            (Access::Anyone | Access::ThisMachine | Access::Users, false) => {
                writeln!(f, "       no password: this machine only")?;
            }
        }
        if !self.http.is_empty() {
            write!(f, "  http")?;
            for address in &self.http {
                write!(f, "   http://{address}")?;
            }
            writeln!(f, "       /api/v1 · /metrics · /healthz · /readyz")?;
        }
        let target = match self.places.first() {
            None => String::new(),
            Some(ListeningAt::Port(Scheme::Mqtt, address)) if address.port() == Scheme::Mqtt.default_port() => String::new(),
            Some(ListeningAt::Port(Scheme::Mqtt, address)) => format!(" -p {}", address.port()),
            Some(place) => format!(" -L {place}"),
        };
        let login = if self.has_users && self.access != Access::Anyone { " -u NAME -P -" } else { "" };
        write!(f, "Try:  columba sub{target}{login} -t 'hello/#' -v      columba pub{target}{login} -t hello/world -m hi")
    }
}

/// With `~` for the home directory.
fn short(path: &Path) -> String {
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mqtt(address: &str) -> ListeningAt {
        ListeningAt::Port(Scheme::Mqtt, address.parse().unwrap())
    }

    #[test]
    fn each_transport_is_shown_as_it_is_written() {
        let banner = Banner {
            data: Data::Ephemeral,
            access: Access::ThisMachine,
            has_users: false,
            places: vec![
                ListeningAt::Port(Scheme::Wss, "127.0.0.1:8084".parse().unwrap()),
                ListeningAt::Path("/run/columba.sock".into()),
            ],
            http: Vec::new(),
            recovered: Recovered::default(),
        };

        let shown = banner.to_string();

        assert!(
            shown.contains("  mqtt   wss://127.0.0.1:8084   unix:/run/columba.sock       no password: this machine only"),
            "{shown}"
        );
        assert!(shown.contains("columba sub -L wss://127.0.0.1:8084 -t"), "{shown}");
    }

    #[test]
    fn who_has_to_log_in_is_told_how() {
        let banner = Banner {
            data: Data::Ephemeral,
            access: Access::ThisMachine,
            has_users: true,
            places: vec![mqtt("0.0.0.0:1883")],
            http: Vec::new(),
            recovered: Recovered::default(),
        };

        let shown = banner.to_string();

        assert!(shown.contains("by user name and password"), "{shown}");
        assert!(shown.contains("columba sub -u NAME -P - -t 'hello/#'"), "{shown}");
    }

    #[test]
    fn the_banner_names_data_addresses_and_what_to_try() {
        let banner = Banner {
            data: Data::Directory("/srv/columba".into()),
            access: Access::ThisMachine,
            has_users: false,
            places: vec![mqtt("127.0.0.1:1883"), mqtt("[::1]:1883")],
            http: vec!["127.0.0.1:8083".parse().unwrap()],
            recovered: Recovered { sessions: 2, retained: 14, took: Duration::from_millis(3) },
        };

        let mut expected =
            format!("columba {}  data /srv/columba (2 sessions, 14 retained, recovered in 3 ms)\n", env!("CARGO_PKG_VERSION"));
        expected += "  mqtt   mqtt://127.0.0.1:1883   mqtt://[::1]:1883       no password: this machine only\n";
        expected += "  http   http://127.0.0.1:8083       /api/v1 · /metrics · /healthz · /readyz\n";
        expected += "Try:  columba sub -t 'hello/#' -v      columba pub -t hello/world -m hi";
        assert_eq!(banner.to_string(), expected);
    }

    #[test]
    fn an_open_and_forgetful_broker_says_so() {
        let banner = Banner {
            data: Data::Ephemeral,
            access: Access::Anyone,
            has_users: false,
            places: vec![mqtt("0.0.0.0:1884")],
            http: Vec::new(),
            recovered: Recovered::default(),
        };

        let text = banner.to_string();
        assert!(text.contains("ephemeral: a restart forgets everything"), "{text}");
        assert!(text.contains("anyone who reaches it may connect"), "{text}");
        assert!(text.contains("columba sub -p 1884 "), "{text}");
    }
}
