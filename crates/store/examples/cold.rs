//! How fast the cold store takes checkpoints, opens again and reads queues in windows.
//!
//! `cargo run --release -p columba-store --example cold -- [DIR]`; a million values of 256 bytes for 10,000 sessions.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use columba_store::sim::Rng;
use columba_store::{Batch, Cold, ColdRead as _, FjallCold, Position, Space};

const QUEUES: Space = Space(0);
const MESSAGES: u64 = 1_000_000;
const SESSIONS: u64 = 10_000;
const CHECKPOINT: usize = 16 << 20;

fn main() {
    let parent = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let path = dir.path().join("cold");
    let begun = Instant::now();
    let mut cold = FjallCold::open(&path).unwrap();
    println!("made: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);

    fill(&mut cold);
    drop(cold);
    let begun = Instant::now();
    let cold = FjallCold::open(&path).unwrap();
    println!("opened again: {:.1} ms, {} MB on disk", begun.elapsed().as_secs_f64() * 1e3, disk_mb(&path));

    let begun = Instant::now();
    let mut values = 0_u64;
    for session in 0..SESSIONS {
        let mut from = session.to_be_bytes().to_vec();
        let to = (session + 1).to_be_bytes();
        loop {
            let window = cold.scan(QUEUES, &from, Some(&to), 64).unwrap();
            values += window.len() as u64;
            let Some((last, _)) = window.last().filter(|_| window.len() == 64) else { break };
            from.clone_from(last);
            from.push(0);
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    println!("read in windows of 64: {values} values, {:.0}/s; resident {} MB", values as f64 / elapsed, rss_mb());
    assert_eq!(values, MESSAGES);
}

fn fill(cold: &mut FjallCold) {
    let mut rng = Rng::new(1);
    let mut batch = Batch::new();
    let mut slowest = 0.0_f64;
    let begun = Instant::now();
    for message in 0..MESSAGES {
        let mut key = rng.below(SESSIONS).to_be_bytes().to_vec();
        key.extend_from_slice(&message.to_be_bytes());
        let value: Vec<u8> = (0..32).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        batch.put(QUEUES, key, value);
        if batch.bytes() >= CHECKPOINT || message + 1 == MESSAGES {
            let write = Instant::now();
            let position = Position { segment: 1, offset: message };
            cold.write(std::mem::take(&mut batch), position).unwrap();
            slowest = slowest.max(write.elapsed().as_secs_f64());
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    println!(
        "filled: {:.0} values/s, slowest checkpoint {:.0} ms; resident {} MB",
        MESSAGES as f64 / elapsed,
        slowest * 1e3,
        rss_mb()
    );
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn disk_mb(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        bytes += if meta.is_dir() { disk_mb(&entry.path()) << 20 } else { meta.len() };
    }
    bytes >> 20
}
