//! The configuration: defaults < file < `COLUMBA__SECTION__KEY` < `--set section.key=value` < the options with a name of their own.

mod auth;
mod facts;
mod http;
mod interface;
mod keys;
mod listener;
pub mod mosquitto;
mod network;
mod print;
mod provenance;
mod source;
mod suggest;
mod value;

use std::{
    env,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub use auth::{AtExpiry, Auth, HttpUrl, HttpUrlError, Jwt, Method, Service, UserName};
use columba_broker::{limits, route::Strategies};
pub use columba_store::Release;
pub use facts::{schema, takes};
pub use http::{Http, Wanted};
pub use interface::{Interface, InterfaceError};
pub(crate) use listener::Needed;
pub use listener::{
    ClientCert, Host, HostPort, Identity, ListenAddress, ListenAddressError, Listener, ListenerError, Scheme, TlsFiles, Web,
};
pub use network::{Network, NetworkError};
pub use print::{Origins, print};
pub use provenance::Provenance;
pub use source::{ConfigError, Place, Problem, Sources};
use tracing_subscriber::filter::Targets;

/// All that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where what must survive is kept.
    pub data: Data,
    /// What to do where that is damaged. No file and no environment can set it: it is for one start, and for somebody who has read what is lost.
    pub on_damage: OnDamage,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Who may connect.
    pub access: Access,
    /// Where it is written who may log in, by password or SCRAM; who is in there may connect from anywhere. With [`Access::Anyone`] the others may, too.
    pub password_file: Option<PathBuf>,
    /// Whether hashes of mosquitto's in that file are replaced by better ones when their users log in.
    pub password_upgrade: bool,
    /// By what else they show who they are, and in which order that is asked.
    pub auth: Auth,
    /// Where it is written what clients may do; without it, everything.
    pub acl_file: Option<PathBuf>,
    /// Connections of all listeners together, where bounded.
    pub max_connections: Option<u32>,
    /// Connections of one address, where bounded.
    pub connections_per_address: Option<u32>,
    /// Connections of one address in a second, where bounded.
    pub connect_rate_per_address: Option<u32>,
    /// Memory of the whole process.
    pub memory_max: Quota,
    /// What a shard's brain allows.
    pub limits: limits::Config,
    /// How shared subscriptions spread their messages.
    pub shared: Strategies,
    /// How acknowledgements and the disk go together.
    pub durability: Durability,
    /// How much of the disk may be used.
    pub disk: DiskLimits,
    /// How often `$SYS` is published; `None`: never.
    pub sys_interval: Option<Duration>,
    /// The HTTP port: metrics, health, the API.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
    /// Threads.
    pub runtime: Runtime,
    /// What its source has to say beside it, for the log.
    pub notes: Vec<String>,
    /// It was written for mosquitto, which gives up what root may as soon as it has its files and ports.
    pub is_mosquittos: bool,
    /// Who said what stands here, as far as it was read somewhere.
    pub provenance: Provenance,
}

/// That of mosquitto: there are clients that call themselves not ready when `$SYS/broker/uptime` falls silent for longer than this.
const SYS_INTERVAL: Duration = Duration::from_secs(10);

/// Where what must survive a restart is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Data {
    /// In this directory, which is made if need be.
    Directory(PathBuf),
    /// Nowhere: a restart forgets everything.
    Ephemeral,
}

/// What to do where stored data is damaged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnDamage {
    /// Start not, and say what is lost.
    #[default]
    Refuse,
    /// Set the damaged files aside, write down what is lost, and start with the rest.
    SetAside,
}

/// Who may connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Anyone on this machine; a listener that others can reach is refused at start. Where there is a way to log in: those who do, wherever they are.
    ThisMachine,
    /// Those who log in, wherever they are.
    Users,
    /// Anyone who can reach a listener.
    Anyone,
}

/// How acknowledgements and the disk go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Durability {
    /// What acknowledgements wait for, on listeners that say nothing else.
    pub sync: Sync,
    /// How long what is written may stay unsynced, with [`Sync::Interval`].
    pub sync_interval: Duration,
    /// What an acknowledgement waits for.
    pub release: Release,
    /// What happens when the journal cannot be written any more.
    pub on_failure: OnFailure,
}

/// From which point on nothing new is stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskLimits {
    /// Bytes of the file system that stay free; `None`: a twentieth of it, at least 16 MiB and at most 1 GiB.
    pub reserve: Option<u64>,
    /// How much may be used, where bounded.
    pub quota: Quota,
}

/// What an acknowledgement of durable traffic waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sync {
    /// One sync of the journal for all that came while the last one ran. Nothing acknowledged is lost.
    Group,
    /// The same promise under the name that people look for (docs/adr/0022).
    Always,
    /// The write only; synced every so often. A power failure loses what was acknowledged since.
    Interval,
    /// The write only; synced when a checkpoint needs it. A power failure loses what was acknowledged since.
    None,
}

impl Sync {
    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Always => "always",
            Self::Interval => "interval",
            Self::None => "none",
        }
    }
}

/// How much memory the process may have where nothing is said: what is left is for the system and its cache.
const MEMORY_PERCENT: u8 = 80;

/// How much of the disk, or of memory, may be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Quota {
    /// As much as there is; of the disk, but for the reserve.
    #[default]
    None,
    /// So many percent of the file system may be in use, by whomever; of memory, by this process.
    Percent(u8),
    /// The data directory, or the process, may have so many bytes.
    Bytes(u64),
}

/// What the process does when its journal failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// Goes on with what promises nothing durable.
    Stay,
    /// Leaves with an error, for a supervisor to start it anew.
    Exit,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// Which modules tell how much, like `info` or `columba_server=debug,warn`.
    pub filter: Targets,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Threads and shards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Runtime {
    /// Threads that carry traffic.
    pub workers: u16,
    /// Event loops, spread over the workers.
    pub shards: u16,
}

impl Config {
    /// What acknowledgements on this listener wait for.
    pub fn sync_of(&self, listener: &Listener) -> Sync {
        listener.sync.unwrap_or(self.durability.sync)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: Data::Directory(default_data_dir()),
            on_damage: OnDamage::Refuse,
            listeners: vec![Listener::local()],
            access: Access::ThisMachine,
            password_file: None,
            password_upgrade: false,
            auth: Auth::default(),
            acl_file: None,
            max_connections: None,
            connections_per_address: None,
            connect_rate_per_address: None,
            memory_max: Quota::Percent(MEMORY_PERCENT),
            limits: limits::Config::default(),
            shared: Strategies::default(),
            durability: Durability {
                sync: Sync::Group,
                sync_interval: Duration::from_millis(200),
                release: Release::AfterSync,
                on_failure: OnFailure::Stay,
            },
            disk: DiskLimits::default(),
            sys_interval: Some(SYS_INTERVAL),
            http: Http::default(),
            log: Log { format: LogFormat::Text, filter: Targets::new().with_default(tracing::Level::INFO) },
            runtime: Runtime::default(),
            notes: Vec::new(),
            is_mosquittos: false,
            provenance: Provenance::default(),
        }
    }
}

impl Default for Runtime {
    /// Half the cores: the commit thread and the clients want some, too.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = u16::try_from((cores / 2).max(1)).unwrap_or(u16::MAX).min(keys::SHARDS_MAX);
        Self { workers, shards: workers }
    }
}

/// `$STATE_DIRECTORY` of a service manager, else `$XDG_STATE_HOME/columba`, else `~/.local/state/columba`.
fn default_data_dir() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directories) = set("STATE_DIRECTORY") {
        return env::split_paths(&directories).next().unwrap_or_default();
    }
    let state =
        set("XDG_STATE_HOME").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state")));
    state.unwrap_or_else(|| ".".into()).join("columba")
}
