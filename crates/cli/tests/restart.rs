//! Killed with stored messages, the broker serves them all again. `columba bench restart` does the same with a million.

use std::time::Duration;

use columba_check::load::{Peer, RestartPlan, restart};
use columba_proto::Version;

#[test]
fn what_was_stored_when_the_broker_was_killed_is_delivered_in_order() {
    for version in [Version::V311, Version::V5] {
        let dir = tempfile::tempdir().unwrap();
        let peer = Peer::columba(env!("CARGO_BIN_EXE_columba"), &[]);
        let plan = RestartPlan { sessions: 200, messages: 20_000, payload: 256, version, window: 1_000, idle: Duration::ZERO };

        let found = restart(&peer, plan, dir.path(), |_| {}).unwrap();

        assert_eq!((found.delivered, found.flaws, found.forgotten), (20_000, 0, 0), "{found:?}");
    }
}
