//! The plain reference model: what a history of clients must look like if the broker keeps its promises.
//!
//! The model has never heard of shards, journals or records. It knows what clients did and saw ([`History`]), works out for every message and subscriber whether
//! a delivery *must*, *may* or *must not* have happened, and names every promise that was broken ([`judge`]). Where the order of two things cannot be known
//! from outside (a PUBLISH and a SUBSCRIBE under way at the same time), both outcomes are right.

mod deliveries;
pub mod history;
mod order;
mod publications;
mod retained;
mod sessions;
mod shared;
pub mod topics;
mod verdict;

pub use history::{
    Breach, ClientInfo, ClientNo, Difference, Fact, History, LinkNo, MessageInfo, MessageNo, Micros, Retained, Step,
    SubscriptionInfo, SubscriptionNo,
};
pub use topics::{FilterNo, TopicNo, Vocabulary};
pub use verdict::{Violation, Wrong, judge};

#[cfg(test)]
mod tests;
