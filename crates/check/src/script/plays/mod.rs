//! The scripts, by chapter of the standard. Each file holds its list and, below, the stories.

mod authentication;
mod bad_connects;
mod connecting;
mod disconnecting;
mod flow;
mod malformed;
mod matching;
mod naming;
mod order;
mod phrases;
mod qos1;
mod qos2;
mod restarts;
mod resuming;
mod scram;
mod sessions;
mod sharing;
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
        matching::SCRIPTS,
        sharing::SCRIPTS,
        flow::SCRIPTS,
        sessions::SCRIPTS,
        authentication::SCRIPTS,
        scram::SCRIPTS,
        restarts::SCRIPTS,
    ]
    .into_iter()
    .flatten()
}
