//! What `columba serve` says when it is up.

use std::{
    env,
    fmt::{self, Display},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use crate::{
    config::{Access, Data, Scheme},
    listen::ListeningAt,
};

/// Addresses of this machine that are shown for one that stands for all of them.
const ADDRESSES_MAX: usize = 6;

/// Addresses in one line.
const ADDRESSES_IN_LINE: usize = 4;

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

/// A few lines: what runs where, who may come in, what to try. Where it listens on all addresses, those are shown that others can write.
#[derive(Clone, Debug)]
pub struct Banner {
    pub(crate) data: Data,
    pub(crate) access: Access,
    /// There is a way to log in.
    pub(crate) has_users: bool,
    pub(crate) places: Vec<ListeningAt>,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) recovered: Recovered,
    /// The addresses of this machine, in the order in which they are shown.
    pub(crate) here: Vec<SocketAddr>,
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
        write!(f, "  mqtt{}", in_lines(&self.shown_places()))?;
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
            write!(f, "  http{}", in_lines(&self.real(&self.http, "http")))?;
            writeln!(f, "       /api/v1 · /metrics · /healthz · /readyz")?;
        }
        let target = self.places.first().map(target).unwrap_or_default();
        let login = if self.has_users && self.access != Access::Anyone { " -u NAME -P -" } else { "" };
        write!(f, "Try:  columba sub{target}{login} -t 'hello/#' -v      columba pub{target}{login} -t hello/world -m hi")
    }
}

impl Banner {
    fn shown_places(&self) -> Vec<String> {
        // A listener on all addresses has one place for each family.
        let runs = self.places.chunk_by(|one, next| match (one, next) {
            (ListeningAt::Port(scheme, address), ListeningAt::Port(other, next)) => {
                scheme == other && address.port() == next.port()
            }
            (ListeningAt::Port(..) | ListeningAt::Path(_), _) => false,
        });
        let shown = |run: &[ListeningAt]| match &run[0] {
            ListeningAt::Port(scheme, _) => {
                let addresses: Vec<SocketAddr> = run.iter().filter_map(ListeningAt::address).collect();
                self.real(&addresses, scheme.name())
            }
            path @ ListeningAt::Path(_) => vec![path.to_string()],
        };
        runs.flat_map(shown).collect()
    }

    /// URLs of these addresses of one port, with those of this machine in the place of one that stands for all of its family.
    fn real(&self, addresses: &[SocketAddr], scheme: &str) -> Vec<String> {
        let (all, named): (Vec<SocketAddr>, Vec<_>) = addresses.iter().partition(|address| address.ip().is_unspecified());
        let url = |address: &SocketAddr| format!("{scheme}://{address}");
        let meant = |address: SocketAddr| {
            let any = all.iter().find(|any| any.is_ipv4() == address.is_ipv4())?;
            let mut address = address;
            address.set_port(any.port());
            Some(address)
        };
        let here: Vec<SocketAddr> = self.here.iter().copied().filter_map(meant).collect();
        // Of a family of which no address is known, what is listened on is shown as it is.
        let unknown = all.iter().filter(|any| !here.iter().any(|address| address.is_ipv4() == any.is_ipv4()));
        let left = here.len().saturating_sub(ADDRESSES_MAX);
        let shown = named.iter().chain(here.iter().take(ADDRESSES_MAX)).chain(unknown).map(url);
        shown.chain((left > 0).then(|| format!("and {left} more"))).collect()
    }
}

/// The options that lead a client on this machine there.
fn target(place: &ListeningAt) -> String {
    let ListeningAt::Port(scheme, address) = place else { return format!(" -L {place}") };
    let (ip, port) = (address.ip(), address.port());
    let is_localhost = ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    if !is_localhost {
        format!(" -L {place}")
    } else if *scheme != Scheme::Mqtt && ip.is_unspecified() {
        format!(" -L {}://localhost:{port}", scheme.name())
    } else if *scheme != Scheme::Mqtt {
        format!(" -L {place}")
    } else if port == scheme.default_port() {
        String::new()
    } else {
        format!(" -p {port}")
    }
}

/// Indented as below `  mqtt`.
fn in_lines(words: &[String]) -> String {
    let lines = words.chunks(ADDRESSES_IN_LINE).map(|line| format!("   {}", line.join("   ")));
    lines.collect::<Vec<_>>().join("\n      ")
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
            here: Vec::new(),
        };

        let shown = banner.to_string();

        assert!(
            shown.contains("  mqtt   wss://127.0.0.1:8084   unix:/run/columba.sock       no password: this machine only"),
            "{shown}"
        );
        assert!(shown.contains("columba sub -L wss://127.0.0.1:8084 -t"), "{shown}");
    }

    fn open(places: &[&str], here: &[&str]) -> Banner {
        Banner {
            data: Data::Ephemeral,
            access: Access::Anyone,
            has_users: false,
            places: places.iter().map(|address| mqtt(address)).collect(),
            http: vec!["0.0.0.0:8083".parse().unwrap()],
            recovered: Recovered::default(),
            here: here.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn what_stands_for_all_addresses_is_shown_as_those_that_others_can_write() {
        let here = ["192.0.2.7:0", "[2001:db8::7]:0", "127.0.0.1:0", "[::1]:0", "[fe80::7%2]:0"];

        let shown = open(&["0.0.0.0:1883", "[::]:1883"], &here).to_string();

        let mqtt = "  mqtt   mqtt://192.0.2.7:1883   mqtt://[2001:db8::7]:1883   mqtt://127.0.0.1:1883   mqtt://[::1]:1883\n         \
                    mqtt://[fe80::7%2]:1883       no password: anyone who reaches it may connect\n";
        assert!(shown.contains(mqtt), "{shown}");
        assert!(shown.contains("\n  http   http://192.0.2.7:8083   http://127.0.0.1:8083       /api"), "{shown}");
        assert!(shown.contains("Try:  columba sub -t"), "{shown}");
    }

    #[test]
    fn each_listener_has_its_own_addresses_and_not_too_many() {
        let here: Vec<String> = (1..=9).map(|host| format!("10.0.0.{host}:0")).collect();
        let here: Vec<&str> = here.iter().map(String::as_str).collect();

        let shown = open(&["127.0.0.1:1883", "0.0.0.0:1884", "[::]:1885"], &here).to_string();

        let first = "  mqtt   mqtt://127.0.0.1:1883   mqtt://10.0.0.1:1884   mqtt://10.0.0.2:1884   mqtt://10.0.0.3:1884\n";
        let second = "         mqtt://10.0.0.4:1884   mqtt://10.0.0.5:1884   mqtt://10.0.0.6:1884   and 3 more\n";
        // Of IPv6 no address is known.
        assert!(shown.contains(&format!("{first}{second}         mqtt://[::]:1885   ")), "{shown}");
    }

    #[test]
    fn what_to_try_gets_there_from_this_machine() {
        let tried = |place| {
            let shown = Banner { places: vec![place], ..open(&[], &["192.0.2.7:0"]) }.to_string();
            shown.split("columba sub").nth(1).and_then(|rest| rest.split(" -t ").next()).unwrap().to_owned()
        };

        assert_eq!(tried(mqtt("0.0.0.0:1883")), "");
        assert_eq!(tried(mqtt("[::]:1884")), " -p 1884");
        assert_eq!(tried(mqtt("192.0.2.7:1883")), " -L mqtt://192.0.2.7:1883");
        assert_eq!(tried(ListeningAt::Port(Scheme::Mqtts, "0.0.0.0:8883".parse().unwrap())), " -L mqtts://localhost:8883");
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
            here: Vec::new(),
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
            here: Vec::new(),
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
            here: Vec::new(),
        };

        let text = banner.to_string();
        assert!(text.contains("ephemeral: a restart forgets everything"), "{text}");
        assert!(text.contains("anyone who reaches it may connect"), "{text}");
        assert!(text.contains("columba sub -p 1884 "), "{text}");
    }
}
