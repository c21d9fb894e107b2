//! The journal on the real disk in a process that is killed at any moment: what it had announced is there.
//!
//! A kill keeps the page cache, so this says nothing about syncs; `tests/crash.rs` does. It covers what a simulated disk
//! does not have: the operating system's calls.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use columba_store::journal::Wake;
use columba_store::sim::Rng;
use columba_store::{Commit, Journal, JournalOptions, Position, StoreDir};

const DIR: &str = "COLUMBA_STORE_TEST_DIR";

/// Not a test of its own: the process that is killed. It prints each commit that is durable, and how much it appended.
#[test]
fn the_writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = StoreDir::open(dir).unwrap();
    let (log, _) = dir.open_journal(None).unwrap();
    let mut number = read_all(&dir).1;
    let wakes: Vec<Wake> = vec![Box::new(|| {})];
    let journal = Journal::start(log, &JournalOptions::default(), wakes).unwrap();
    let appender = journal.appender(0);
    let mut out = std::io::stdout().lock();
    loop {
        let mut commit = Commit::NONE;
        for _ in 0..=number % 50 {
            number += 1;
            commit = appender.append(&[&number.to_le_bytes()[..], &[1; 992]].concat());
        }
        journal.wait_durable(commit).unwrap();
        writeln!(out, "durable {number}").unwrap();
    }
}

/// The last commit and the last number in the journal, which must hold all numbers from 1 on.
fn read_all(dir: &StoreDir) -> (Commit, u64) {
    let (log, recovered) = dir.open_journal(None).unwrap();
    let mut reader = log.reader(Position::START);
    let mut last = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        for record in frame.parts().flat_map(|(_, bytes)| bytes.chunks(1000)) {
            last += 1;
            assert_eq!(record[..8], u64::to_le_bytes(last));
        }
    }
    (recovered.last, last)
}

#[test]
fn what_was_announced_survives_a_kill() {
    let seed = std::env::var("COLUMBA_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("seed {seed}");
    let mut rng = Rng::new(seed);
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    for round in 0..12 {
        let announced = write_until_killed(&path, 1 + rng.below(60));
        let dir = StoreDir::open(&path).unwrap();
        let (_, found) = read_all(&dir);
        assert!(found >= announced, "round {round}: {announced} announced, {found} found");
    }
}

/// Lets a process write until it has announced some commits, and kills it; returns what it announced last.
fn write_until_killed(path: &Path, announcements: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_writer", "--nocapture"])
        .env(DIR, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut announced = 0;
    let mut heard = |line: std::io::Result<String>| {
        let number = line.ok()?.split_once("durable ")?.1.parse().ok()?;
        announced = announced.max(number);
        Some(())
    };
    let mut left = announcements;
    while left > 0 {
        let line = lines.next().expect("the writer goes on until it is killed");
        left -= u64::from(heard(line).is_some());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died, a last line that is cut off aside.
    for line in lines {
        heard(line);
    }
    announced
}
