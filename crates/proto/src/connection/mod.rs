//! Connection phases: which packet may come when (§3.1, §3.2, §4.12). A phase is consumed to reach the next, so what
//! belongs to an earlier one finds nothing to land on.

pub mod client;
mod open;
pub mod server;

pub use open::Open;
