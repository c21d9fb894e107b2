//! The rules of the house that a machine can judge. Each is a function over text or values, with a case that breaks it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by a panic, and prints")]

#[path = "tidy/clauses.rs"]
mod clauses;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/events.rs"]
mod events;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/versions.rs"]
mod versions;
#[path = "tidy/words.rs"]
mod words;

/// Fails with every broken rule, not only the first.
fn judge(broken: &[String]) {
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}
