//! One listener of a mosquitto.conf: its line, what stands below it, and the address that all of that makes.

use std::net::IpAddr;

use super::{
    super::{Host, ListenAddress, Listener, ListenerError, Problem, Scheme, source, value::Value},
    Setting,
};

/// Keys of TLS.
const OF_TLS: &[&str] = &["cert", "key", "ca", "ca_dir", "crl", "client_cert", "identity", "tls_version"];

/// A listener with the keys that its lines set.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// The lines that make its address, by their number in the report.
    pub(super) lines: Vec<usize>,
    pub(super) host: Option<String>,
    /// `None`: a unix socket, whose path is in `host`.
    pub(super) port: Option<u16>,
    pub(super) is_websocket: bool,
    /// Which family of addresses, where not both are wanted.
    pub(super) family: Option<Family>,
    /// What of a certificate names its user: the common name, or the whole subject.
    pub(super) by_common_name: Option<Said<bool>>,
    pub(super) by_subject: Option<Said<bool>>,
    pub(super) settings: Vec<Setting>,
    /// What lines said whose keys later lines say, too.
    pub(super) replaced: Vec<Setting>,
    pub(super) security: Security,
}

/// What does not fit: the number in the report of the line that says it, if one does, and why.
pub(super) type Misfit = (Option<usize>, String);

/// A family of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// Who may come in and do what: of the whole broker, or of one listener with `per_listener_settings true`.
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) may_be_anonymous: Option<Said<bool>>,
    pub(super) passwords: Option<Said<String>>,
    pub(super) rules: Option<Said<String>>,
}

/// Something, and the number in the report of the line that says it.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) what: T,
    pub(super) line: usize,
}

impl Security {
    /// The lines that say it.
    pub(super) fn lines(&self) -> Vec<usize> {
        let Self { may_be_anonymous, passwords, rules } = self;
        let files = [passwords, rules].into_iter().flatten().map(|said| said.line);
        may_be_anonymous.iter().map(|said| said.line).chain(files).collect()
    }
}

impl Bound {
    /// Sets a key. Of two lines the later one counts; lists grow.
    pub(super) fn set(&mut self, mut setting: Setting) {
        let Some(known) = self.settings.iter_mut().find(|known| known.key == setting.key) else {
            self.settings.push(setting);
            return;
        };
        if let (Value::List(items), Value::List(more)) = (&known.value, &mut setting.value) {
            more.splice(..0, items.iter().cloned());
        }
        self.replaced.push(std::mem::replace(known, setting));
    }

    /// Sets what names the users, now that all is read. The answer is what each line that says something of it comes to, by its number.
    pub(super) fn name_users(&mut self) -> Vec<(usize, &'static str)> {
        let mut said = [(self.by_subject.take(), "subject"), (self.by_common_name.take(), "cn")];
        // Of both the common name is wanted; and what is not wanted takes nothing from the other.
        said.sort_by_key(|(said, _)| said.as_ref().is_some_and(|said| said.what));
        let mut told = Vec::new();
        for (said, name) in said {
            let Some(Said { what: is_wanted, line }) = said else { continue };
            let name = if is_wanted { name } else { "none" };
            self.set(Setting { key: "identity", value: Value::Text(name.into()), line: Some(line) });
            told.push((line, name));
        }
        told
    }

    fn is_tls(&self) -> bool {
        self.settings.iter().any(|setting| setting.key == "cert")
    }

    /// Whether whoever comes in has shown a certificate that says who it is.
    pub(super) fn names_its_users(&self) -> bool {
        let says = |key, value: &str| {
            self.settings.iter().any(|setting| setting.key == key && matches!(&setting.value, Value::Text(text) if text == value))
        };
        says("client_cert", "require") && (says("identity", "cn") || says("identity", "subject"))
    }

    /// The address to listen on. The error says what does not go together.
    pub(super) fn url(&self) -> Result<String, &'static str> {
        let Some(port) = self.port else { return Ok(format!("unix:{}", self.host.as_deref().unwrap_or_default())) };
        let (scheme, host) = (self.scheme().name(), self.host()?);
        Ok(if host.contains(':') { format!("{scheme}://[{host}]:{port}") } else { format!("{scheme}://{host}:{port}") })
    }

    fn scheme(&self) -> Scheme {
        match (self.is_websocket, self.is_tls()) {
            (false, false) => Scheme::Mqtt,
            (false, true) => Scheme::Mqtts,
            (true, false) => Scheme::Ws,
            (true, true) => Scheme::Wss,
        }
    }

    fn host(&self) -> Result<&str, &'static str> {
        let host = self.host.as_deref().unwrap_or("*");
        let Some(family) = self.family else { return Ok(host) };
        match (host, family, host.parse::<IpAddr>()) {
            ("*", Family::Ipv4, _) => Ok("0.0.0.0"),
            ("*", Family::Ipv6, _) => Ok("::"),
            ("localhost", Family::Ipv4, _) => Ok("127.0.0.1"),
            ("localhost", Family::Ipv6, _) => Ok("::1"),
            (_, Family::Ipv4, Ok(IpAddr::V4(_))) | (_, Family::Ipv6, Ok(IpAddr::V6(_))) => Ok(host),
            (_, _, Ok(_)) => Err("socket_domain and the address of the listener are of two families"),
            (_, _, Err(_)) => Err("with socket_domain write an address instead of a name"),
        }
    }

    /// The listener that it is here, or all of its lines that do not fit.
    pub(super) fn listener(&self) -> Result<Listener, Vec<Misfit>> {
        let mut misfits = Vec::new();
        let mut listener = Listener::local();
        if let Err(why) = self.set_address(&mut listener) {
            misfits.push((self.lines.last().copied(), why));
            // What is spoken there is known all the same, and by that the other lines are judged.
            let (scheme, port) = (self.scheme(), self.port.unwrap_or_default());
            listener.address = ListenAddress::Net { scheme, host: Host::Local, port };
        }
        let bare = listener.clone();
        for setting in &self.settings {
            let result = source::set(&mut listener, setting.key, &setting.value);
            misfits.extend(result.err().map(|problem| (setting.line, wants(&problem))));
        }
        misfits.extend(listener.misfits().into_iter().flat_map(|error| self.blame(error, &bare)));
        if misfits.is_empty() { Ok(listener) } else { Err(misfits) }
    }

    fn set_address(&self, listener: &mut Listener) -> Result<(), String> {
        let url = self.url()?;
        source::set(listener, "url", &Value::Text(url)).map_err(|problem| wants(&problem))
    }

    /// The lines to look at, and what is wrong with them in the words of mosquitto. `bare` is the listener without what they set.
    fn blame(&self, error: ListenerError, bare: &Listener) -> Vec<Misfit> {
        let (keys, why): (&[&str], _) = match error {
            ListenerError::NoTls => (OF_TLS, "a listener without certfile does not speak TLS"),
            ListenerError::NoCertificate => (&["cert", "key"], "certfile and keyfile belong together"),
            ListenerError::NotAsked => (&["identity", "crl"], "clients show no certificate without `require_certificate true`"),
            ListenerError::NoAuthorities => {
                (&["client_cert"], "it needs cafile or capath: the authorities that sign clients' certificates")
            }
            ListenerError::NoWebSocket => (&["origins"], "it is for `protocol websockets`"),
            ListenerError::InterfaceOnUnix => (&["interface"], "a unix socket is on no network"),
            ListenerError::NoProxies | ListenerError::NoProxyProtocol | ListenerError::ProxyOnUnix => {
                (&[], "no line of mosquitto's says anything of proxies")
            }
        };
        // A line that says what holds anyway does no harm.
        let is_at_fault = |setting: &&Setting| {
            let mut alone = bare.clone();
            let is_set = source::set(&mut alone, setting.key, &setting.value).is_ok();
            keys.contains(&setting.key) && is_set && alone.misfits().contains(&error)
        };
        let said = self.replaced.iter().chain(&self.settings);
        let mut lines: Vec<usize> = said.filter(is_at_fault).filter_map(|setting| setting.line).collect();
        if lines.is_empty() {
            lines.extend(self.lines.last());
        }
        lines.into_iter().map(|line| (Some(line), why.to_owned())).collect()
    }
}

/// What a value should be, without the name of our key.
pub(super) fn wants(problem: &Problem) -> String {
    if let Problem::WrongValue { expected, .. } = problem { format!("it wants {expected}") } else { problem.to_string() }
}
