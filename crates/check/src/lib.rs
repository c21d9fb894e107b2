//! The judge: what watches columba and other brokers from outside.
//!
//! - [`load`] sends traffic and measures;
//! - [`outside`] finds the programs of others that tests talk to.

pub mod load;
pub mod outside;
