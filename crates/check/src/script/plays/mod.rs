//! The scripts, by chapter of the standard. Each file holds its list and, below, the stories.

mod bad_connects;
mod connecting;
mod disconnecting;
mod malformed;
mod naming;
mod order;
mod phrases;
mod qos1;
mod qos2;
mod resuming;
mod strings;
mod subscribing;
mod unsubscribing;

use super::Script;

/// All scripts.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [
        bad_connects::SCRIPTS,
        connecting::SCRIPTS,
        malformed::SCRIPTS,
        naming::SCRIPTS,
        resuming::SCRIPTS,
        strings::SCRIPTS,
        subscribing::SCRIPTS,
        unsubscribing::SCRIPTS,
        disconnecting::SCRIPTS,
        qos1::SCRIPTS,
        qos2::SCRIPTS,
        order::SCRIPTS,
    ]
    .into_iter()
    .flatten()
}
