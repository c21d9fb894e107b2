//! The committed inputs of all fuzz targets, once more: what they once found does not come back.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{collections::BTreeSet, fs};

use columba_check::fuzz::{self, TARGETS, corpus};

fn replay(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let inputs = corpus::replay(target, body).unwrap();
    assert!(inputs > 0, "the corpus of {target} is empty");
}

#[test]
fn any_cold_store_is_taken_or_refused() {
    replay("cold");
}

#[test]
fn whatever_clients_and_the_disk_do_the_broker_keeps_to_the_standard() {
    replay("connection");
}

#[test]
fn any_bytes_are_packets_or_an_error() {
    replay("decode");
}

#[test]
fn recovery_shows_a_prefix_or_refuses() {
    replay("log");
}

#[test]
fn any_records_are_folded_or_refused() {
    replay("record");
}

#[test]
fn what_was_read_can_be_written_and_read_again() {
    replay("round_trip");
}

#[test]
fn the_filter_index_finds_what_a_search_finds() {
    replay("topics");
}

#[test]
fn any_bytes_of_a_web_socket_are_a_stream_or_an_error() {
    replay("websocket");
}

/// A target without a corpus, without a program for libFuzzer or without a test here would be forgotten.
#[test]
fn every_target_has_a_program_and_a_corpus() {
    let entries = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(corpus::folder().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).chain(["config".to_owned()]).collect();

    assert_eq!(entries("."), known);
    assert_eq!(entries("../fuzz_targets"), known);
}

/// The judge of the targets must be able to find something.
#[test]
fn a_panic_is_passed_on() {
    let found = std::panic::catch_unwind(|| corpus::replay("decode", |_| panic!("on purpose")));
    assert!(found.is_err());
    fuzz::decode(b"");
}
