//! The power cut under load, at moments from a printed seed: the data directory is on a disk of its own, and with the broker goes all that
//! was not synced. What was acknowledged before is there afterwards. The same cuts over a broker that does not sync must show it.
//! `COLUMBA_POWERCUT_ROUNDS` says how many cuts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use columba_check::crash::{OnLoopDisk, Storm, announced, rounds, storm};
use columba_check::loopdisk::LoopDisk;
use columba_check::outside::say;
use columba_proto::QoS;

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
/// Room for all segments of the journal and a cold store; the file behind it is sparse.
const DISK_MIB: u64 = 1024;
const TWO_SHARDS: &[&str] = &["--set", "runtime.shards=2", "--set", "runtime.workers=2"];

fn survives(test: &str, qos: QoS) {
    let Some(disk) = LoopDisk::or_skip(test, DISK_MIB) else { return };
    let rounds = rounds("COLUMBA_POWERCUT_ROUNDS", 5);
    let mut victim = OnLoopDisk::start(COLUMBA, TWO_SHARDS, disk);

    let verdict = storm(&mut victim, Storm { packets_max: 8_000, ..Storm::at(qos, rounds) }, &mut announced(test));

    say(&format!("{test}: {verdict}"));
    assert!(verdict.is_clean(), "{verdict}");
    // A cut without load shows nothing.
    assert!(verdict.delivered > rounds * 100 && verdict.takeovers >= rounds / 2, "{verdict}");
}

#[test]
fn power_cuts_at_qos_1_break_no_promise() {
    survives("power_cuts_at_qos_1_break_no_promise", QoS::AtLeastOnce);
}

#[test]
fn power_cuts_at_qos_2_break_no_promise() {
    survives("power_cuts_at_qos_2_break_no_promise", QoS::ExactlyOnce);
}

#[test]
fn a_broker_that_does_not_sync_is_found_out() {
    let test = "a_broker_that_does_not_sync_is_found_out";
    let Some(disk) = LoopDisk::or_skip(test, DISK_MIB) else { return };
    let mut victim = OnLoopDisk::start(COLUMBA, &["--set", "durability.unsafe_release_before_sync=true"], disk);

    // It loses everything at once, or finds its own journal damaged and does not start again.
    let rng = &mut announced(test);
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        storm(&mut victim, Storm { packets_max: 1_000, ..Storm::at(QoS::AtLeastOnce, 3) }, rng)
    }));

    match verdict {
        Ok(verdict) => {
            say(&format!("{test}: {verdict}"));
            assert!(!verdict.is_clean(), "the judge saw nothing: {verdict}");
        }
        Err(_) => say(&format!("{test}: it did not start again\n")),
    }
}
