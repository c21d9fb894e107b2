//! The brain of a shard: sessions, routing, delivery. No lock, no await, no clock, no chance: plain values in, plain values out.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod auth;
pub mod commons;
pub mod durable;
pub mod event;
pub mod id;
pub mod limits;
pub mod message;
pub mod placement;
pub mod retained;
pub mod route;
pub mod seam;
pub mod seats;
pub mod stats;

mod connection;
mod hold;
mod mount;
mod out_buffer;
mod pace;
mod session;
mod shard;
#[cfg(test)]
mod testing;
mod timers;

pub use limits::{Config, MissedQos0, QueueFull, is_dead_letter_topic};
pub use mount::{MountPoint, MountPointError};
pub use out_buffer::OutBuffer;
pub use session::{ColdSnapshot, SessionSnapshot, queue::Stock};
pub use shard::{ConnectionView, NotPublished, Pressure, Room, SessionView, Shard, ShardSnapshot, SubscriptionView, Wanted};
