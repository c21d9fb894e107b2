//! Simulated lives: many new ones each run, the named ones of `seeds/`, and planted faults that must be found.
//!
//! `COLUMBA_SIM_BASE` is what the seeds are drawn from (CI: the commit's hash), `COLUMBA_SIM_SEEDS` how many. `just sim SEED` repeats one.

#![expect(clippy::print_stdout, reason = "which seeds were lived, and how soon faults were found, is worth a line")]

use std::panic::catch_unwind;

use columba_check::{
    model::{Breach, Wrong},
    sim::{self, PlantedFault},
};

/// How many seeds a planted fault may take to be found.
const FOUND_WITHIN: usize = 1_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn assert_good(seeds: &[u64]) {
    let bad = sim::live_all(seeds, None);
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
        let seed = text.split_whitespace().next().and_then(|word| word.parse().ok());
        seeds.push(seed.unwrap_or_else(|| panic!("{} does not begin with a seed", path.display())));
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
