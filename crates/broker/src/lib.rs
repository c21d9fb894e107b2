//! The brain of a broker's shard: sessions, routing, delivery, and what of it must survive.
//!
//! Everything here decides and nothing acts: there is no socket, file, clock, thread, lock or randomness in this crate. A shard is driven through the calls
//! and outputs of [`seam`]; what shards share stands behind [`seam::Commons`].
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod durable;
pub mod event;
pub mod id;
pub mod message;
pub mod placement;
pub mod retained;
pub mod route;
pub mod seam;
