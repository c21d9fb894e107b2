//! The journal on a disk that loses power at any moment: what recovery finds is a prefix of what was written, and holds
//! all that was synced.
//!
//! `COLUMBA_SEED=n cargo test -p columba-store --test crash` repeats one seed, `COLUMBA_SEEDS=n` runs that many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::time::Instant;

use columba_store::sim::{Fault, Rng, SimDisk};
use columba_store::{Commit, Log, LogError, LogOptions, Position, Reader, StoreId};

/// What is different about the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Disk {
    Honest,
    /// Says that it has synced and has not: the judge must find what that loses.
    Lying,
}

/// A frame as the model knows it.
type Parts = Vec<(u16, Vec<u8>)>;

/// What should be true, kept beside the log.
struct Model {
    /// Frame of commit `n` at `n - 1`.
    written: Vec<Parts>,
    synced: usize,
    /// The follower's place, as a cold store would hold it: position and the commit before it.
    checkpoint: Option<(Position, usize)>,
}

#[derive(Debug, Default)]
struct Stats {
    crashes: u64,
    frames: u64,
    torn: u64,
    rotations: u64,
    refused_by_disk: u64,
}

/// One run: several lives of one journal on one disk. An error is a broken promise.
fn run(seed: u64, kind: Disk, stats: &mut Stats) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(rng.next_u64());
    disk.ignore_syncs(kind == Disk::Lying);
    let options = LogOptions {
        segment_bytes_min: 8192 + 4096 * rng.below(2),
        segment_bytes_max: 8192 << rng.below(3),
        spares: rng.index(3),
        ..LogOptions::new(StoreId([9; 16]), rng.next_u64())
    };
    let mut model = Model { written: Vec::new(), synced: 0, checkpoint: None };
    for _ in 0..2 + rng.below(4) {
        if rng.one_in(2) {
            disk.cut_power_after(rng.below(60));
        } else if rng.one_in(8) {
            let fault = [Fault::Write, Fault::Sync, Fault::SyncDir][rng.index(3)];
            disk.fail(fault, rng.below(20));
        }
        disk.limit_space(rng.one_in(10).then(|| 20_000 + rng.below(60_000)));
        match live(&disk, &options, &mut model, &mut rng, stats)? {
            Ended::ByDisk => stats.refused_by_disk += 1,
            Ended::ByItself => {}
        }
        if rng.one_in(4) {
            disk.kill();
        } else {
            stats.crashes += 1;
            disk.crash(rng.next_u64());
        }
    }
    disk.heal();
    // Whatever happened: in the end it opens, twice with the same content.
    for _ in 0..2 {
        disk.kill();
        let (log, recovered) = Log::open(disk.clone(), options.clone(), model.checkpoint.map(|(at, _)| at))
            .map_err(|error| format!("the last recovery: {error}"))?;
        judge(&log, &recovered, &mut model, stats)?;
        disk.crash(rng.next_u64());
    }
    Ok(())
}

enum Ended {
    ByItself,
    ByDisk,
}

fn live(disk: &SimDisk, options: &LogOptions, model: &mut Model, rng: &mut Rng, stats: &mut Stats) -> Result<Ended, String> {
    let opened = Log::open(disk.clone(), options.clone(), model.checkpoint.map(|(at, _)| at));
    let (mut log, recovered) = match opened {
        Ok(opened) => opened,
        Err(LogError::Io { .. } | LogError::NoSpace { .. }) => return Ok(Ended::ByDisk),
        Err(error) => return Err(format!("refused: {error}")),
    };
    match judge(&log, &recovered, model, stats) {
        // The power may fail while the judge reads.
        Err(error) if error.contains("the power is off") => return Ok(Ended::ByDisk),
        result => result?,
    }
    let mut follower = log.reader(model.checkpoint.map_or(Position::START, |(at, _)| at));
    let mut taken = model.checkpoint.map_or(0, |(_, commit)| commit);
    for _ in 0..rng.below(40) {
        let segment = log.end().segment;
        let step = match rng.below(10) {
            0..=4 => write(&mut log, model, rng),
            5..=6 => log.sync().map(|()| model.synced = model.written.len()),
            7 => log.handle().prepare(),
            8 => follow(&mut follower, &mut taken, model, usize::MAX)?,
            _ => {
                let some = rng.index(6);
                follow(&mut follower, &mut taken, model, some)?.and_then(|()| {
                    model.checkpoint = Some((follower.position(), taken));
                    log.recycle(follower.position())
                })
            }
        };
        stats.rotations += log.end().segment - segment;
        match step {
            Ok(()) | Err(LogError::NoSpace { .. }) => {}
            Err(LogError::Io { .. }) => return Ok(Ended::ByDisk),
            Err(error) => return Err(format!("while running: {error}")),
        }
    }
    Ok(Ended::ByItself)
}

fn write(log: &mut Log<SimDisk>, model: &mut Model, rng: &mut Rng) -> Result<(), LogError> {
    let mut parts: Parts = (0..rng.below(4)).map(|label| (u16::try_from(label).unwrap(), bytes(rng))).collect();
    if rng.one_in(40) {
        // Longer than any segment.
        parts.push((77, vec![0xab; 40_000]));
    }
    let borrowed: Vec<_> = parts.iter().map(|(label, bytes)| (*label, bytes.as_slice())).collect();
    // A write syncs what is before it, so that counts even if the write itself fails.
    let before = model.written.len();
    match log.write(&borrowed) {
        Ok(commit) => {
            assert_eq!(commit, Commit(before as u64 + 1));
            model.synced = before;
            model.written.push(parts);
            Ok(())
        }
        Err(error) => {
            // It may have been written, in part or whole: recovery may find it or not.
            model.synced = usize::try_from(log.durable().0).unwrap();
            if !matches!(error, LogError::NoSpace { .. }) && log.next().0 == before as u64 + 1 {
                model.written.push(parts);
            }
            Err(error)
        }
    }
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(4) {
        0 => rng.index(20),
        1 => rng.index(600),
        _ => rng.index(3000),
    };
    let random = rng.next_u64().to_le_bytes();
    (0..len).map(|at| random[at % 8]).collect()
}

/// Lets the follower read some frames. The outer error is a broken promise.
fn follow(follower: &mut Reader<SimDisk>, taken: &mut usize, model: &Model, most: usize) -> Result<Result<(), LogError>, String> {
    for _ in 0..most {
        match follower.next_frame() {
            Ok(Some(frame)) => {
                let parts: Parts = frame.parts().map(|(label, bytes)| (label, bytes.to_vec())).collect();
                if frame.commit.0 != *taken as u64 + 1 || model.written.get(*taken) != Some(&parts) {
                    return Err(format!("the follower read another commit {:?}", frame.commit));
                }
                if *taken >= model.synced {
                    return Err(format!("the follower read commit {:?} before it was durable", frame.commit));
                }
                *taken += 1;
            }
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

/// What recovery shows must be what was written, from the checkpoint on, and all that was synced.
fn judge(log: &Log<SimDisk>, recovered: &columba_store::Recovered, model: &mut Model, stats: &mut Stats) -> Result<(), String> {
    let (from, before) = model.checkpoint.unwrap_or((Position::START, 0));
    let mut reader = log.reader(from);
    let mut count = before;
    while let Some(frame) = reader.next_frame().map_err(|error| error.to_string())? {
        let parts: Parts = frame.parts().map(|(label, bytes)| (label, bytes.to_vec())).collect();
        if model.written.get(count) != Some(&parts) || frame.commit.0 != count as u64 + 1 {
            return Err(format!("commit {} came back altered", count + 1));
        }
        count += 1;
    }
    stats.frames += (count - before) as u64;
    stats.torn += u64::from(recovered.torn.is_some());
    if count < model.synced {
        return Err(format!("{} commits were synced, {count} came back", model.synced));
    }
    if recovered.last.0 != count as u64 || recovered.frames != (count - before) as u64 || recovered.end != log.end() {
        return Err(format!("recovery says {recovered:?}, the reader found {count}"));
    }
    model.written.truncate(count);
    model.synced = count;
    Ok(())
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("COLUMBA_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("COLUMBA_SEEDS").map_or(count, |count| count.parse().unwrap()),
    }
}

#[test]
fn recovery_after_any_crash_finds_a_prefix_that_holds_all_that_was_synced() {
    let mut stats = Stats::default();
    let begun = Instant::now();
    for seed in seeds(4000) {
        if let Err(broken) = run(seed, Disk::Honest, &mut stats) {
            panic!("seed {seed}: {broken}");
        }
    }
    eprintln!("{stats:?} in {:?}", begun.elapsed());
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let mut stats = Stats::default();
    let found = (0..200).filter(|&seed| run(seed, Disk::Lying, &mut stats).is_err()).count();
    eprintln!("{found} of 200 seeds found the lie");
    assert!(found > 100, "only {found} of 200 seeds");
}
