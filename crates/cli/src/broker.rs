//! A broker for a demonstration: one in this process, or one that is there already.

use columba_server::config::{Data, Http, Listener};
use columba_server::{Config, Running, Server};

use crate::args::CommonArgs;
use crate::connect::Target;
use crate::exit::{Exit, Failure};

/// Where the broker is, and the broker itself if it is our own.
pub(crate) struct Broker {
    host: String,
    port: u16,
    own: Option<Running>,
}

impl Broker {
    /// The broker at `url`, or one in this process: loopback, a free port, nothing on disk.
    pub(crate) fn start(url: Option<&str>) -> Result<Self, Failure> {
        match url {
            Some(url) => Self::at(url),
            None => Self::own(),
        }
    }

    fn at(url: &str) -> Result<Self, Failure> {
        let args = CommonArgs { url: Some(url.to_owned()), ..CommonArgs::default() };
        let target = Target::new(&args, |_| None)?;
        Ok(Self { host: target.host, port: target.port, own: None })
    }

    fn own() -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Other, format!("the broker does not start: {error}"));
        let mut config = Config { data: Data::Ephemeral, http: Http::off(), ..Config::default() };
        let address = "127.0.0.1:0".parse().map_err(|error| failed(&error))?;
        config.listeners = vec![Listener { address, ..Listener::local() }];
        let running = Server::start(config).map_err(|error| failed(&error))?;
        let address = running.local_addrs().first().copied().ok_or_else(|| failed(&"it listens nowhere"))?;
        Ok(Self { host: address.ip().to_string(), port: address.port(), own: Some(running) })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends our own broker; leaves one of others alone.
    pub(crate) fn stop(self) {
        if let Some(running) = self.own {
            running.stop();
        }
    }
}
