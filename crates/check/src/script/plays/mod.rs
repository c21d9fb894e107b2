//! The scripts, by chapter of the standard. Each file holds its list and, below, the stories.

mod acknowledging;
mod aliases;
mod authentication;
mod bad_connects;
mod connecting;
mod disconnecting;
mod flow;
mod keeping_alive;
mod malformed;
mod matching;
mod naming;
mod old_devices;
mod order;
mod phrases;
mod properties;
mod publishing;
mod qos1;
mod qos2;
mod restarts;
mod resuming;
mod retained;
mod scram;
mod sessions;
mod sharing;
mod sizes;
mod strings;
mod subscribing;
mod unsubscribing;
mod wills;

use super::Script;

/// All scripts.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [
        acknowledging::SCRIPTS,
        aliases::SCRIPTS,
        authentication::SCRIPTS,
        bad_connects::SCRIPTS,
        connecting::SCRIPTS,
        disconnecting::SCRIPTS,
        flow::SCRIPTS,
        keeping_alive::SCRIPTS,
        malformed::SCRIPTS,
        matching::SCRIPTS,
        naming::SCRIPTS,
        old_devices::SCRIPTS,
        order::SCRIPTS,
        properties::SCRIPTS,
        publishing::SCRIPTS,
        qos1::SCRIPTS,
        qos2::SCRIPTS,
        restarts::SCRIPTS,
        resuming::SCRIPTS,
        retained::SCRIPTS,
        scram::SCRIPTS,
        sessions::SCRIPTS,
        sharing::SCRIPTS,
        sizes::SCRIPTS,
        strings::SCRIPTS,
        subscribing::SCRIPTS,
        unsubscribing::SCRIPTS,
        wills::SCRIPTS,
    ]
    .into_iter()
    .flatten()
}
