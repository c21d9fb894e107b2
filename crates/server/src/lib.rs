//! The broker's process: shards on threads, sockets, configuration, start and stop.
//!
//! ```no_run
//! use columba_server::{Config, Server};
//!
//! let running = Server::start(Config::default())?;
//! println!("{}", running.banner());
//! running.stop();
//! # Ok::<(), columba_server::StartError>(())
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`config`] | what can be set, where it comes from, and what is wrong with it |
//! | `server`, `reload` | start and stop, everything in its order; another configuration in between |
//! | `core` | the data plane: shards with their sockets, and the threads that drive them |
//! | `store`, `checkpoint`, `tidy`, `room`, `loader` | what survives: recovery, the journal's follower, space given back and kept free, windows of long queues |
//! | `damage` | a journal that cannot be read everywhere: what is lost, and going on without it |
//! | [`tools`], `control` | the same data without a broker, or beside it: check, dump, export, import, statistics, backup |
//! | `durability`, `honesty`, [`guarantees`] | what acknowledgements wait for; what the disk is; all that said to people |
//! | [`acl`] | what clients may do |
//! | [`users`], `login`, `watch` | who may log in, by what, and how often; files that are read again |
//! | [`tokens`] | who may use the API |
//! | `admin` | what is seen from outside |
//! | `listen`, `holder`, `interfaces` | addresses, taken exclusively; who else has them, and which this machine has |
//! | `entrance`, `certificates`, `authorities` | TLS, WebSocket and PROXY protocol of a listener; its files, watched |
//! | [`log`], `events`, `notify` | what is told, to people and to the service manager |

pub mod acl;
mod admin;
mod authorities;
mod banner;
mod certificates;
mod checkpoint;
mod clock;
mod cold;
mod commons;
pub mod config;
mod control;
mod core;
mod damage;
mod durability;
mod entrance;
mod error;
mod events;
pub mod guarantees;
mod holder;
mod honesty;
mod interfaces;
mod listen;
mod listeners;
mod loader;
pub mod log;
mod login;
mod machine;
mod notify;
mod owners;
mod policy;
mod pressure;
mod process;
mod reload;
mod replay;
mod room;
mod server;
mod signals;
mod store;
mod tidy;
pub mod tokens;
pub mod tools;
pub mod users;
mod watch;
mod ways_out;

pub use banner::{Banner, Recovered};
pub use certificates::CertificateError;
pub use config::Config;
pub use damage::{Affected, Damage, LostCommits};
pub use error::{RecoverError, StartError};
pub use holder::Holder;
pub use listen::ListeningAt;
pub use login::{KeyError, KeyFileError, NoMethod, ServiceError};
pub use server::{Failure, ReloadError, Running, Server};
