//! The journal without a thread, through crashes: one commit is one step, and a lie about it is found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use columba_store::sim::{Rng, SimDisk};
use columba_store::{Commit, JournalOptions, Log, LogError, LogOptions, ManualJournal, Position, Release, StoreId};

const SHARDS: u16 = 3;

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 8192, segment_bytes_max: 16384, ..LogOptions::new(StoreId([2; 16]), 5) }
}

/// Appends and commits until the power fails; false if an announced append is gone afterwards.
fn keeps_its_word(seed: u64, release: Release) -> bool {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let log = Log::open(disk.clone(), options(), None).unwrap().0;
    let mut journal = ManualJournal::new(log, &JournalOptions { release, ..JournalOptions::default() }, SHARDS);
    let mut appended: Vec<Vec<Commit>> = vec![Vec::new(); usize::from(SHARDS)];
    disk.cut_power_after(rng.below(40));
    loop {
        let shard = rng.index(usize::from(SHARDS));
        let number = appended[shard].len() as u64;
        let commit = journal.append(u16::try_from(shard).unwrap(), &number.to_le_bytes());
        appended[shard].push(commit);
        if rng.one_in(5) && journal.commit().is_err() {
            break;
        }
    }
    disk.crash(rng.next_u64());

    let log = Log::open(disk, options(), None).unwrap().0;
    let mut found = vec![0; usize::from(SHARDS)];
    let mut reader = log.reader(Position::START);
    while let Some(frame) = reader.next_frame().unwrap() {
        for (label, bytes) in frame.parts() {
            let count = &mut found[usize::from(label)];
            for number in bytes.chunks_exact(8) {
                assert_eq!(number, u64::to_le_bytes(*count), "seed {seed}");
                assert_eq!(appended[usize::from(label)][usize::try_from(*count).unwrap()], frame.commit);
                *count += 1;
            }
        }
    }
    appended.iter().zip(found).all(|(commits, found)| {
        let announced = commits.iter().filter(|&&commit| commit <= journal.durable()).count();
        announced as u64 <= found
    })
}

#[test]
fn what_was_announced_is_there_after_a_crash() {
    for seed in 0..2000 {
        assert!(keeps_its_word(seed, Release::AfterSync), "seed {seed}");
    }
}

#[test]
fn announced_before_the_write_is_found_out() {
    let lies = (0..200).filter(|&seed| !keeps_its_word(seed, Release::BeforeWrite)).count();
    assert!(lies > 100, "only {lies} of 200 seeds");
}

#[test]
fn a_commit_that_found_no_room_is_tried_again_as_it_was() {
    let disk = SimDisk::new(1);
    let log = Log::open(disk.clone(), LogOptions { spares: 0, ..options() }, None).unwrap().0;
    let mut journal = ManualJournal::new(log, &JournalOptions::default(), 1);
    disk.limit_space(Some(8192));
    journal.append(0, &[1; 3000]);
    assert!(journal.commit().unwrap());
    let waiting = journal.append(0, &[2; 3000]);
    assert!(matches!(journal.commit(), Err(LogError::NoSpace { .. })));
    let later = journal.append(0, &[3; 10]);
    assert!(later > waiting && journal.is_pending());

    disk.limit_space(None);

    assert!(journal.commit().unwrap());
    assert_eq!(journal.durable(), waiting);
    assert!(journal.commit().unwrap() && !journal.commit().unwrap());
    assert_eq!(journal.durable(), later);
}
