//! How fast the journal commits on this disk.
//!
//! `cargo run --release -p columba-store --example journal -- [DIR]`; without DIR in the current directory's file system.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people")]

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use columba_store::journal::Wake;
use columba_store::{Appender, Commit, Journal, JournalOptions, StoreDir};

const RECORD: usize = 300;
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let parent = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let begun = Instant::now();
    let store = StoreDir::open(dir.path().join("data")).unwrap();
    println!("a new data directory: {:.1} ms", ms(begun.elapsed()));
    println!("records of {RECORD} bytes; latency from append to wake");
    println!(
        "{:>7} {:>9} {:>11} {:>11} {:>9} {:>9} {:>9}",
        "shards", "in flight", "records/s", "commits/s", "p50 us", "p99 us", "CPU us"
    );
    for (shards, in_flight) in [(1, 1), (1, 10), (1, 100), (2, 100), (2, 1000), (4, 1000)] {
        measure(&store, shards, in_flight);
    }
    let begun = Instant::now();
    let (log, recovered) = store.open_journal(None).unwrap();
    let bytes = log.handle().usage().segment_bytes;
    println!("recovery of {} frames in {} MB of segments: {:.0} ms", recovered.frames, bytes >> 20, ms(begun.elapsed()));
}

/// Each shard keeps a fixed number of records in flight, as connections with full windows would.
fn measure(store: &StoreDir, shards: u16, in_flight: usize) {
    let (log, _) = store.open_journal(None).unwrap();
    let before = log.durable();
    let mut wakes: Vec<Wake> = Vec::new();
    let mut woken = Vec::new();
    for _ in 0..shards {
        let (wake, wait) = mpsc::sync_channel(1);
        // Full means that a wake is on its way already.
        wakes.push(Box::new(move || wake.try_send(()).unwrap_or(())));
        woken.push(wait);
    }
    let journal = Journal::start(log, &JournalOptions::default(), wakes).unwrap();
    let cpu = cpu_time();
    let begun = Instant::now();
    let mut latencies: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0_u16..)
            .zip(woken)
            .map(|(shard, wait)| {
                let appender = journal.appender(shard);
                scope.spawn(move || shard_loop(&appender, &wait, in_flight / usize::from(shards)))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let used = cpu_time().saturating_sub(cpu);
    let commits = journal.durable().0 - before.0;
    journal.stop().unwrap();
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |percent: usize| latencies[(count - 1) * percent / 100];
    println!(
        "{shards:>7} {in_flight:>9} {:>11.0} {:>11.0} {:>9} {:>9} {:>9.2}",
        count as f64 / elapsed,
        commits as f64 / elapsed,
        at(50),
        at(99),
        used.as_secs_f64() * 1e6 / count as f64,
    );
}

/// The latency of each record in microseconds.
fn shard_loop(appender: &Appender, wait: &mpsc::Receiver<()>, in_flight: usize) -> Vec<u64> {
    let record = [7; RECORD];
    let mut held: std::collections::VecDeque<(Commit, Instant)> = std::collections::VecDeque::new();
    let mut latencies = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TIME || !held.is_empty() {
        appender.mute();
        while held.len() < in_flight.max(1) && begun.elapsed() < TIME {
            let since = Instant::now();
            held.push_back((appender.append(&record), since));
        }
        let mut durable = appender.unmute();
        if held.front().is_some_and(|&(commit, _)| commit > durable) {
            wait.recv().unwrap();
            durable = appender.durable();
        }
        let now = Instant::now();
        while let Some((_, since)) = held.pop_front_if(|&mut (commit, _)| commit <= durable) {
            latencies.push(u64::try_from((now.saturating_duration_since(since)).as_micros()).unwrap());
        }
    }
    latencies
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
