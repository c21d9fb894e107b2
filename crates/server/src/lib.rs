//! The broker's process: shards on threads, sockets, configuration, start and stop.

pub mod config;

pub use config::Config;
