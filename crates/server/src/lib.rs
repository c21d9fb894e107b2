//! The broker's process: shards on threads, sockets, configuration, start and stop.

pub mod config;
mod error;
mod holder;
mod listen;
pub mod log;

pub use config::Config;
pub use error::StartError;
pub use holder::Holder;
