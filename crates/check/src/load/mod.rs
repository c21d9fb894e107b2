//! The load generator: publishers and subscribers on one event loop of their own, and what they measure.
//!
//! It runs against any broker. What it says about a broker's process (CPU per delivered message, private memory) it reads
//! from `/proc`, so these figures exist on Linux only.

mod client;
mod compare;
mod durable;
mod error;
pub(crate) mod frames;
mod generator;
mod idle;
mod line;
mod payload;
mod peer;
mod plan;
mod process;
mod report;
mod restart;
mod tally;
mod transports;
pub(crate) mod via;

pub use compare::{ComparePlan, Comparison, Row, compare};
pub use durable::{BareSync, Durable, DurablePlan, DurableRow, durable};
pub use error::LoadError;
pub use generator::{run, run_and_tell};
pub(crate) use idle::raise_descriptor_limit;
pub use idle::{Idle, IdlePlan, idle};
pub use line::Line;
pub use peer::{Durability, Peer, Running, free_port};
pub use plan::{Pace, Plan, SessionKind, Stop, Topics};
pub use process::Process;
pub use report::Report;
pub use restart::{OnDisk, Restart, RestartPlan, restart};
pub use transports::{TransportCosts, TransportPlan, TransportRow, transports};
pub use via::{Via, WEB_SOCKET_PATH, write_certificate};
pub(crate) use via::{tls_first_words, write_authority, wrong_identities};
