use std::io;
use std::path::PathBuf;

use columba_proto::ReasonCode;
use thiserror::Error;

/// Why a measurement could not be made; a broker that loses messages is not an error but a figure of the report.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The broker answered CONNECT with a failure (§3.2.2.2).
    #[error("the broker refused the connection with {reason}")]
    Refused {
        /// Why.
        reason: ReasonCode,
    },
    /// The broker answered SUBSCRIBE with a failure (§3.9.3).
    #[error("the broker refused a subscription with {reason}")]
    SubscriptionRefused {
        /// Why.
        reason: ReasonCode,
    },
    /// The broker closed a connection, or sent what no broker may send.
    #[error("the connection of {client} ended: {why}")]
    Lost {
        /// The client's identifier.
        client: String,
        /// What happened.
        why: &'static str,
    },
    /// Nothing moved for too long.
    #[error("no progress while {doing}")]
    Stalled {
        /// What was going on.
        doing: &'static str,
    },
    /// The payload cannot carry what verification and latency need.
    #[error("a payload needs at least {min} bytes for sequence, time and checksum")]
    PayloadTooSmall {
        /// The least size.
        min: usize,
    },
    /// A broker to measure did not start.
    #[error("{program} does not listen; its output is in {}", log.display())]
    NotListening {
        /// Its name.
        program: String,
        /// Where its output went.
        log: PathBuf,
    },
    /// The broker's process is gone, or `/proc` is not there.
    #[error("process {pid} cannot be read")]
    NoProcess {
        /// Its process id.
        pid: u32,
    },
}

impl LoadError {
    /// For `map_err`: names what was being done.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
