//! A broker killed under load, again and again, and a judge of what its clients saw.
//!
//! Publishers and subscribers keep their half of each session as the standard demands ([`Sender`] and [`Receiver`] of proto), so
//! whatever goes wrong is the broker's doing; some subscribers are away when it dies. The moments of the kills come from a seed:
//! each is a number of packets that the clients have yet to receive.
//!
//! [`Sender`]: columba_proto::qos::Sender
//! [`Receiver`]: columba_proto::qos::Receiver

mod client;
mod judge;
mod seed;
mod storm;

pub use judge::{Fault, Verdict};
pub use seed::announced;
pub use storm::{Storm, storm};
