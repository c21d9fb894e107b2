//! See the crate's description.
#![no_std]
extern crate alloc;
