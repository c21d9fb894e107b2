//! The scripts, by chapter of the standard. Each file holds its list and, below, the stories.

mod connecting;

use super::Script;

/// All scripts.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [connecting::SCRIPTS].into_iter().flatten()
}
