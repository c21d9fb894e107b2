//! kill -9 under load, at moments from a printed seed: nothing acknowledged is lost, nothing at QoS 2 comes twice, no session is
//! forgotten, order is kept. The same storm over a broker that lies must show it.

use columba_check::broker::Broker;
use columba_check::crash::{Storm, announced, storm};
use columba_check::outside::say;
use columba_proto::QoS;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
const KILLS: u64 = 20;

fn survives(test: &str, qos: QoS) {
    let mut broker = Broker::start(COLUMBA, &[]);

    let verdict = storm(&mut broker, Storm::at(qos, KILLS), &mut announced(test));

    say(&format!("{test}: {verdict}"));
    assert!(verdict.is_clean(), "{verdict}");
    // A storm in a glass of water shows nothing.
    assert!(verdict.delivered > KILLS * 100, "{verdict}");
}

#[test]
fn twenty_kills_at_qos_1_break_no_promise() {
    survives("twenty_kills_at_qos_1_break_no_promise", QoS::AtLeastOnce);
}

#[test]
fn twenty_kills_at_qos_2_break_no_promise() {
    survives("twenty_kills_at_qos_2_break_no_promise", QoS::ExactlyOnce);
}

#[test]
fn a_broker_that_acknowledges_before_it_writes_is_found_out() {
    let test = "a_broker_that_acknowledges_before_it_writes_is_found_out";
    let mut broker = Broker::start(COLUMBA, &["--set", "durability.unsafe_release_before_write=true"]);

    let verdict = storm(&mut broker, Storm::at(QoS::AtLeastOnce, KILLS), &mut announced(test));

    say(&format!("{test}: {verdict}"));
    assert!(!verdict.is_clean(), "the judge saw nothing: {verdict}");
}
