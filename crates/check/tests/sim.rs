//! Simulated lives: many new ones each run, the named ones of `seeds/`, and planted faults that must be found.
//!
//! `COLUMBA_SIM_BASE` is what the seeds are drawn from (CI: the commit's hash), `COLUMBA_SIM_SEEDS` how many. `just sim SEED` repeats one.

#![expect(clippy::print_stdout, reason = "which seeds were lived, and how soon faults were found, is worth a line")]

use std::panic::catch_unwind;

use columba_check::{
    model::{Breach, Difference, Wrong},
    sim::{self, Happening, PlantedFault},
};

/// How many seeds a planted fault may take to be found.
const FOUND_WITHIN: usize = 1_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn assert_good(seeds: &[u64]) {
    let bad = sim::live_all(seeds, None).bad;
    let report: Vec<&str> = bad.iter().take(3).map(|(_, complaint)| complaint.as_str()).collect();
    assert!(
        bad.is_empty(),
        "{} of {} lives were bad; `just sim SEED` repeats one\n{}",
        bad.len(),
        seeds.len(),
        report.join("\n\n")
    );
}

#[test]
fn the_broker_keeps_its_promises_through_any_life() {
    let base = number("COLUMBA_SIM_BASE", 1);
    let count = usize::try_from(number("COLUMBA_SIM_SEEDS", 50)).expect("fits");
    let seeds: Vec<u64> = sim::seeds(base, count).collect();
    println!("{count} lives drawn from {base}");

    assert_good(&seeds);
}

#[test]
fn what_once_went_wrong_does_not_come_back() {
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds")).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let mut words = text.split_whitespace();
        let seed = words.next().and_then(|word| word.parse().ok());
        let seed = seed.unwrap_or_else(|| panic!("{} does not begin with a seed", path.display()));
        match words.next() {
            Some("into") => {
                let name = words.next().unwrap_or_default().trim_end_matches(':');
                let moment = Happening::ALL.iter().find(|moment| format!("{moment:?}") == name);
                let moment = moment.unwrap_or_else(|| panic!("{} leads into no known moment", path.display()));
                assert_eq!(sim::run_into(seed, *moment).complaint(), None, "{}", path.display());
            }
            _ => seeds.push(seed),
        }
    }
    seeds.sort_unstable();

    assert_good(&seeds);
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in sim::seeds(number("COLUMBA_SIM_BASE", 1), 5) {
        let (one, other) = (sim::run(seed, None), sim::run(seed, None));

        assert_eq!(one.history.fingerprint(), other.history.fingerprint(), "seed {seed}");
        assert_eq!(one.history.facts, other.history.facts, "seed {seed}");
    }
}

#[test]
fn a_life_has_two_hundred_operations() {
    for seed in sim::seeds(number("COLUMBA_SIM_BASE", 1), 20) {
        assert!(sim::run(seed, None).operations >= 200, "seed {seed}");
    }
}

/// Looks for the first life in which a fault breaks one of the promises that it must break.
fn find(fault: PlantedFault, expected: impl Fn(Wrong) -> bool) {
    let base = number("COLUMBA_SIM_BASE", 1);
    let found = sim::seeds(base, FOUND_WITHIN).enumerate().find_map(|(index, seed)| {
        let outcome = catch_unwind(|| sim::run(seed, Some(fault))).ok()?;
        let violation = outcome.violations.iter().find(|violation| expected(violation.wrong))?;
        Some((index + 1, seed, violation.wrong))
    });
    let (lives, seed, wrong) =
        found.unwrap_or_else(|| panic!("{fault:?} was not found within {FOUND_WITHIN} lives drawn from {base}"));
    println!("{fault:?} was found in life {lives} (seed {seed}): {wrong:?}");
}

/// What a broker breaks that forgets what it has said is on disk.
fn is_broken_by_forgetting(wrong: Wrong) -> bool {
    matches!(wrong, Wrong::Lost | Wrong::Twice | Wrong::SessionForgotten | Wrong::RetainedLost)
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    find(PlantedFault::AckBeforeSync, is_broken_by_forgetting);
}

#[test]
fn a_forgotten_pubrel_is_found() {
    find(PlantedFault::PubrelForgotten, |wrong| wrong == Wrong::Lost);
}

#[test]
fn a_reused_identifier_is_found() {
    find(PlantedFault::IdentifierReused, |wrong| matches!(wrong, Wrong::Broke(Breach::IdentifierInUse(_)) | Wrong::Lost));
}

#[test]
fn a_swapped_order_is_found() {
    find(PlantedFault::OrderSwapped, |wrong| wrong == Wrong::OutOfOrder);
}

#[test]
fn a_skipped_queue_entry_is_found() {
    find(PlantedFault::QueueEntrySkipped, |wrong| wrong == Wrong::Lost);
}

/// The control: were the simulation good without syncs, it would prove nothing with them.
#[test]
fn a_disk_that_does_not_sync_is_found() {
    find(PlantedFault::LostSync, is_broken_by_forgetting);
}

/// What a broker breaks that loses a part of its state: it may also notice.
fn is_broken_by_a_part_missing(wrong: Wrong) -> bool {
    is_broken_by_forgetting(wrong) || matches!(wrong, Wrong::Differs(_))
}

#[test]
fn a_lost_letter_between_shards_is_found() {
    find(PlantedFault::LetterLost, |wrong| wrong == Wrong::Lost);
}

#[test]
fn a_torn_window_of_a_queue_is_found() {
    find(PlantedFault::WindowTorn, |wrong| wrong == Wrong::Lost);
}

#[test]
fn a_commit_without_one_shard_is_found() {
    find(PlantedFault::LaneLost, is_broken_by_a_part_missing);
}

#[test]
fn a_torn_checkpoint_is_found() {
    find(PlantedFault::CheckpointTorn, is_broken_by_a_part_missing);
}

#[test]
fn a_member_that_keeps_what_another_one_could_have_is_found() {
    find(PlantedFault::RecallLost, |wrong| wrong == Wrong::Differs(Difference::GroupHeldUp));
}

#[test]
fn what_a_group_has_forgotten_by_a_recovery_is_found() {
    find(PlantedFault::GroupForgotten, is_broken_by_a_part_missing);
}

#[test]
fn a_retained_message_forgotten_by_a_recovery_is_found() {
    find(PlantedFault::RetainedForgotten, |wrong| matches!(wrong, Wrong::RetainedLost));
}

#[test]
fn wills_forgotten_by_a_recovery_are_found() {
    find(PlantedFault::WillForgotten, |wrong| wrong == Wrong::Lost);
}
