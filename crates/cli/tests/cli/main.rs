//! The program from outside: its words, its exit status, and what passes between it and others.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod demo;
mod exit_codes;
mod interop;
mod support;
