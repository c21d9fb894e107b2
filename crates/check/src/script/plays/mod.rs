//! The scripts, by chapter of the standard. Each file holds its list and, below, the stories.

mod bad_connects;
mod connecting;
mod malformed;
mod naming;
mod resuming;
mod strings;

use super::Script;

/// All scripts.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [bad_connects::SCRIPTS, connecting::SCRIPTS, malformed::SCRIPTS, naming::SCRIPTS, resuming::SCRIPTS, strings::SCRIPTS]
        .into_iter()
        .flatten()
}
