//! Why the broker does not start, and what to do about it.

use std::{io, net::SocketAddr};

use thiserror::Error;

use crate::{
    config::{ConfigError, Host, ListenAddress},
    holder::Holder,
};

/// Why the broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Others can reach a listener, and nobody said that they may.
    #[error("listener {listener} is reachable from other machines and has no authentication")]
    Reachable {
        /// Which.
        listener: ListenAddress,
    },
    /// Somebody else listens there.
    #[error("{address} is taken{}", holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default())]
    Taken {
        /// Where.
        address: SocketAddr,
        /// Who.
        holder: Option<Holder>,
    },
    /// The system refuses the address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Its words.
        error: io::Error,
    },
    /// The name of a listener has no address.
    #[error("host \"{host}\" not found: {error}")]
    UnknownHost {
        /// The name.
        host: Box<str>,
        /// The resolver's words.
        error: io::Error,
    },
    /// More listeners than can be numbered.
    #[error("more than 65535 listeners")]
    TooManyListeners,
    /// The system refuses what an event loop or a thread needs.
    #[error("cannot start {what}: {error}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// Its words.
        error: io::Error,
    },
}

impl StartError {
    /// Commands or steps that lead on, the most likely first.
    pub fn tries(&self) -> Vec<String> {
        match self {
            Self::Reachable { listener } => vec![
                format!(
                    "columba serve --listen {}   # this machine only",
                    ListenAddress {
                        host: Host::Local,
                        ..*listener
                    }
                ),
                format!(
                    "columba serve --listen {listener} --allow-anonymous   # anyone on the network may connect"
                ),
            ],
            Self::Taken { address, .. } => vec![format!(
                "columba serve --listen {}   # a free port",
                SocketAddr::new(address.ip(), 0)
            )],
            Self::Config(_)
            | Self::Listen { .. }
            | Self::UnknownHost { .. }
            | Self::TooManyListeners
            | Self::System { .. } => Vec::new(),
        }
    }

    /// Whether the user's words are at fault rather than the world.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::Reachable { .. } | Self::TooManyListeners
        )
    }
}
