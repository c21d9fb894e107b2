//! kill -9 under load, at moments from a printed seed: nothing acknowledged is lost, nothing at QoS 2 comes twice, no session is
//! forgotten, order is kept. The same storm over a broker that lies must show it. `COLUMBA_CRASH_ROUNDS` says how many kills.

use columba_check::broker::Broker;
use columba_check::crash::{Storm, announced, rounds, storm};
use columba_check::outside::say;
use columba_proto::QoS;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
/// Sessions that meet in one message live on different shards, and shards share threads.
const FOUR_SHARDS: &[&str] = &["--set", "runtime.shards=4", "--set", "runtime.workers=2"];
const ONE_SHARD: &[&str] = &["--set", "runtime.shards=1", "--set", "runtime.workers=1"];

fn survives(test: &str, qos: QoS, shards: &[&str]) {
    let rounds = rounds("COLUMBA_CRASH_ROUNDS", 10);
    let mut broker = Broker::start(COLUMBA, shards);

    let verdict = storm(&mut broker, Storm::at(qos, rounds), &mut announced(test));

    say(&format!("{test}: {verdict}"));
    assert!(verdict.is_clean(), "{verdict}");
    // A storm in a glass of water shows nothing.
    assert!(verdict.delivered > rounds * 100 && verdict.takeovers >= rounds / 2, "{verdict}");
}

#[test]
fn kills_at_qos_1_break_no_promise() {
    survives("kills_at_qos_1_break_no_promise", QoS::AtLeastOnce, ONE_SHARD);
}

#[test]
fn kills_at_qos_2_break_no_promise() {
    survives("kills_at_qos_2_break_no_promise", QoS::ExactlyOnce, ONE_SHARD);
}

#[test]
fn kills_at_qos_1_with_four_shards_break_no_promise() {
    survives("kills_at_qos_1_with_four_shards_break_no_promise", QoS::AtLeastOnce, FOUR_SHARDS);
}

#[test]
fn kills_at_qos_2_with_four_shards_break_no_promise() {
    survives("kills_at_qos_2_with_four_shards_break_no_promise", QoS::ExactlyOnce, FOUR_SHARDS);
}

#[test]
fn a_broker_that_acknowledges_before_it_writes_is_found_out() {
    let test = "a_broker_that_acknowledges_before_it_writes_is_found_out";
    let mut broker = Broker::start(COLUMBA, &["--set", "durability.unsafe_release_before_write=true"]);

    let verdict = storm(&mut broker, Storm::at(QoS::AtLeastOnce, 20), &mut announced(test));

    say(&format!("{test}: {verdict}"));
    assert!(!verdict.is_clean(), "the judge saw nothing: {verdict}");
}
