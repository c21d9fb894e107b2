//! The judge: what watches columba and other brokers from outside.
//!
//! - [`script`] knows the conversations of the standard;
//! - [`load`] sends traffic and measures;
//! - [`attack`] does harm and looks at what it did;
//! - [`crash`] kills a broker under load and judges what clients saw;
//! - [`sim`] lets a broker live through a bad life on a simulated disk and network, and [`model`] judges what clients saw of it;
//! - [`talk`] is a client that says one thing at a time;
//! - [`fuzz`] holds what must be true whatever the bytes, for fuzzers and their corpora;
//! - [`broker`] and [`program`] start what a test talks to, [`outside`] finds the programs of others, [`loopdisk`] is a disk to break.

pub mod attack;
pub mod broker;
pub mod crash;
pub mod fuzz;
pub mod load;
pub mod loopdisk;
pub mod model;
pub mod outside;
mod passwords;
pub mod program;
pub mod script;
pub mod sim;
pub mod talk;
