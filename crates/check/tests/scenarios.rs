//! The worst moments of a broker's life, by name: each of a series of simulated lives is led into one of them and dies there, several times over, and the
//! reference model judges what its clients saw. The seeds are drawn as in `tests/sim.rs`.

#![expect(clippy::print_stdout, reason = "how often a moment came is worth a line")]

use columba_check::sim::{self, Happening};

/// Lives led into each moment; a tenth of them must get there.
const LIVES: usize = 40;

fn survive(moment: Happening) {
    survive_in(LIVES, LIVES / 10, moment);
}

fn survive_in(lives: usize, must_arrive: usize, moment: Happening) {
    let base = std::env::var("COLUMBA_SIM_BASE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (mut arrived, mut times) = (0, 0);
    for seed in sim::seeds(base, lives) {
        let outcome = sim::run_into(seed, moment);
        if let Some(complaint) = outcome.complaint() {
            panic!("led into {moment:?}: {complaint}");
        }
        times += outcome.tally.of(moment);
        arrived += usize::from(outcome.tally.of(moment) > 0);
    }
    println!("{moment:?}: {times} times in {arrived} of {lives} lives drawn from {base}");
    assert!(arrived >= must_arrive, "{moment:?} came in {arrived} of {lives} lives only");
}

#[test]
fn a_publish_repeated_before_its_first_record_is_synced() {
    survive(Happening::RepeatBeforeSync);
}

#[test]
fn a_crash_between_qos_2_hand_on_and_sync() {
    survive(Happening::CrashBeforeHandOnSync);
}

#[test]
fn a_cut_between_two_lanes() {
    survive(Happening::CutBetweenLanes);
}

#[test]
fn a_checkpoint_between_pubrec_and_pubrel() {
    survive(Happening::CheckpointBeforePubrel);
}

#[test]
fn a_checkpoint_between_publication_and_taking() {
    survive(Happening::CheckpointBeforeTaking);
}

#[test]
fn a_shared_group_assignment_cut_in_half() {
    // Rare also where it is looked for: the member must end, and the broker die before its messages are moved.
    survive_in(4 * LIVES, 4, Happening::AssignmentCutInHalf);
}

#[test]
fn a_pubrel_on_a_full_disk() {
    survive(Happening::PubrelOnFullDisk);
}

#[test]
fn another_shard_count_after_a_restart() {
    survive(Happening::OtherShardCount);
}

#[test]
fn a_crash_within_a_recovery() {
    survive(Happening::CrashInRecovery);
}

#[test]
fn a_crash_in_the_middle_of_a_checkpoint() {
    survive(Happening::CrashInCheckpoint);
}

#[test]
fn a_failed_checkpoint_that_is_taken_again() {
    survive(Happening::CheckpointFailed);
}
