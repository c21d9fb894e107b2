//! A broker that goes down under load, again and again, and a judge of what its clients saw.
//!
//! Publishers and subscribers keep their half of each session as the standard demands ([`Sender`] and [`Receiver`] of proto), so
//! whatever goes wrong is the broker's doing; some subscribers are away when it dies, and all clients take over their own
//! connections now and then. The moments of the crashes come from a seed: each is a number of packets that the clients have yet to
//! receive.
//!
//! [`Sender`]: columba_proto::qos::Sender
//! [`Receiver`]: columba_proto::qos::Receiver

mod judge;
mod link;
mod message;
mod power;
mod publisher;
mod seed;
mod storm;
mod subscriber;

pub use judge::{Fault, Verdict};
pub use power::OnLoopDisk;
pub use seed::{announced, rounds};
pub use storm::{Storm, Victim, storm};
