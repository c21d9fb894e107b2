//! What must hold for any bytes at all.
//!
//! Each target is a function that panics when something does not hold. libFuzzer calls them from `fuzz/fuzz_targets` and looks for bytes that make them
//! panic; `cargo test` calls them with the committed corpora (`tests/corpora.rs` here and in the server). docs/fuzzing.md says how to run them for long.

mod choices;
mod cold;
mod config;
mod connection;
pub mod corpus;
mod decode;
mod keys;
mod log;
mod record;
mod round_trip;
mod topics;
mod websocket;

pub use cold::cold;
pub use config::config;
pub use connection::connection;
pub use decode::decode;
pub use log::log;
pub use record::record;
pub use round_trip::round_trip;
pub use topics::topics;
pub use websocket::websocket;

/// What looks at the bytes.
pub type Body = fn(&[u8]);

/// Every target but [`config()`], which needs the server to read for it.
pub const TARGETS: [(&str, Body); 8] = [
    ("cold", cold),
    ("connection", connection),
    ("decode", decode),
    ("log", log),
    ("record", record),
    ("round_trip", round_trip),
    ("topics", topics),
    ("websocket", websocket),
];
