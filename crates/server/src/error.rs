//! Why the broker does not start, and what to do about it.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use columba_broker::durable::{self, ApplyError, RecordError};
use columba_store::{ColdError, DirError, LogError};
use thiserror::Error;

use crate::{
    acl::AclError,
    certificates::CertificateError,
    config::{ConfigError, Interface, ListenAddress, Problem, Sources},
    damage::Damage,
    holder::Holder,
    login::{KeyFileError, NoMethod, ServiceError},
    owners,
    users::UsersError,
    ways_out,
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
    /// Who does not log in is refused, and there is no way to log in.
    #[error("auth.anonymous = false, and there is no way to log in: nobody could connect")]
    NobodyMayConnect,
    /// The users file cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The keys of tokens cannot be taken.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The service that is to be asked who clients are cannot be.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A way to log in is named, and not there.
    #[error(transparent)]
    Method(#[from] NoMethod),
    /// The ACL file cannot be taken.
    #[error(transparent)]
    Acl(#[from] AclError),
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
    /// A listener's network interface is not there.
    #[error("there is no network interface \"{interface}\"")]
    NoInterface {
        /// Which.
        interface: Interface,
    },
    /// The system does not let a listener have a network interface for itself.
    #[error("cannot listen on the network interface \"{interface}\" alone: {error}")]
    Interface {
        /// Which.
        interface: Interface,
        /// Its words.
        error: io::Error,
    },
    /// The system refuses the path of a Unix socket.
    #[error("cannot listen at {}: {error}", path.display())]
    ListenAt {
        /// Where.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
    /// A listener's certificates cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The name of a listener has no address.
    #[error("host \"{host}\" not found: {error}")]
    UnknownHost {
        /// The name.
        host: Box<str>,
        /// The resolver's words.
        error: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The journal is damaged.
    #[error(transparent)]
    Damaged(Box<Damage>),
    /// What the data directory holds cannot be brought back.
    #[error(transparent)]
    Recover(#[from] RecoverError),
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

/// Why the state of the last run cannot be brought back. Nothing is thrown away to go on without it.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The journal cannot be read, or is damaged.
    #[error(transparent)]
    Journal(#[from] LogError),
    /// The cold store cannot be opened.
    #[error(transparent)]
    Cold(#[from] ColdError),
    /// The cold store holds what cannot be read.
    #[error(transparent)]
    Keys(#[from] durable::ColdError),
    /// The journal holds what cannot be read.
    #[error("the journal holds an unreadable record: {0}")]
    Record(#[from] RecordError),
    /// The journal's records do not fit each other.
    #[error("the journal contradicts itself: {0}")]
    Apply(#[from] ApplyError),
}

impl RecoverError {
    /// Whether the cold store holds what cannot be read, or lacks what it must have.
    pub(crate) fn is_damaged_cold(&self) -> bool {
        match self {
            Self::Cold(error) => error.is_damage(),
            Self::Keys(durable::ColdError::Store(error)) => error.downcast_ref::<ColdError>().is_some_and(ColdError::is_damage),
            Self::Keys(
                durable::ColdError::Value { .. }
                | durable::ColdError::Key { .. }
                | durable::ColdError::MessageMissing(_)
                | durable::ColdError::SessionMissing(_),
            ) => true,
            Self::Journal(_) | Self::Record(_) | Self::Apply(_) => false,
        }
    }
}

impl StartError {
    /// What stands behind it, line by line.
    pub fn notes(&self) -> Vec<String> {
        if let Self::Damaged(damage) = self {
            return damage.shown();
        }
        // Mostly it is a service with a user of its own, and the file is root's.
        let denied = self.io().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        denied.then(|| format!("this process runs as {}", owners::effective_user())).into_iter().collect()
    }

    /// What the system said, where it refused something.
    fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Config(ConfigError { problem: Problem::Unreadable(error), .. })
            | Self::Users(UsersError::Io { error, .. })
            | Self::Acl(AclError::Io { error, .. })
            | Self::Keys(KeyFileError::Io { error, .. })
            | Self::Service(ServiceError::Io { error, .. })
            | Self::Certificate(CertificateError::Unreadable { error, .. })
            | Self::Directory(DirError::Io { source: error, .. })
            | Self::Listen { error, .. }
            | Self::Interface { error, .. }
            | Self::ListenAt { error, .. } => Some(error),
            Self::Config(_)
            | Self::Users(_)
            | Self::Acl(_)
            | Self::Keys(_)
            | Self::Service(_)
            | Self::Certificate(_)
            | Self::Directory(_)
            | Self::Reachable { .. }
            | Self::NobodyMayConnect
            | Self::Method(_)
            | Self::Taken { .. }
            | Self::UnknownHost { .. }
            | Self::NoInterface { .. }
            | Self::Damaged(_)
            | Self::Recover(_)
            | Self::TooManyListeners
            | Self::System { .. } => None,
        }
    }

    /// Commands that lead on, the most likely first: `columba serve` as it was typed (`asked`), with what has to change.
    pub fn tries(&self, asked: &Sources) -> Vec<String> {
        match self {
            Self::Reachable { listener } => ways_out::from_reachable(asked, listener),
            Self::NobodyMayConnect => ways_out::from_nobody(asked),
            Self::Taken { address, .. } => ways_out::from_taken(asked, *address),
            Self::NoInterface { .. } => vec!["ip -brief link   # the network interfaces of this machine".to_owned()],
            // Since Linux 5.7 anybody may.
            Self::Interface { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                vec!["setcap cap_net_raw+ep \"$(command -v columba)\"   # what Linux before 5.7 asks for".to_owned()]
            }
            Self::Certificate(CertificateError::NoAuthority { directory }) => ways_out::from_unnamed(directory),
            Self::Damaged(damage) => ways_out::from_damage(asked, Some(&damage.dir.display().to_string())),
            Self::Recover(error) if error.is_damaged_cold() => ways_out::from_damage(asked, None),
            Self::Directory(DirError::Damaged { path, .. }) => {
                let dir = Path::new(path).parent().unwrap_or_else(|| Path::new(path));
                let again = ways_out::accepting_loss(asked, Some(&dir.display().to_string()));
                vec![format!("{again}   # makes it anew from the journal")]
            }
            Self::Config(_)
            | Self::Users(_)
            | Self::Acl(_)
            | Self::Listen { .. }
            | Self::ListenAt { .. }
            | Self::Interface { .. }
            | Self::Certificate(_)
            | Self::UnknownHost { .. }
            | Self::Directory(_)
            | Self::Recover(_)
            | Self::TooManyListeners
            | Self::Keys(_)
            | Self::Service(_)
            | Self::Method(_)
            | Self::System { .. } => Vec::new(),
        }
    }

    /// Whether the user's words are at fault rather than the world.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Reachable { .. }
                | Self::NobodyMayConnect
                | Self::Users(_)
                | Self::Certificate(_)
                | Self::Acl(_)
                | Self::TooManyListeners
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_open_a_file_is_named() {
        let denied = |kind: io::ErrorKind| {
            StartError::from(UsersError::Io { what: "read", path: "/etc/columba/users".into(), error: kind.into() }).notes()
        };

        let uid = format!("uid {}", rustix::process::geteuid().as_raw());
        let [note] = &denied(io::ErrorKind::PermissionDenied)[..] else { panic!("one note") };
        assert!(note.starts_with("this process runs as ") && note.contains(&uid), "{note}");
        assert!(denied(io::ErrorKind::NotFound).is_empty());
    }
}
