//! The commit thread: order, causality, poison.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use columba_store::journal::Wake;
use columba_store::sim::{Fault, SimDisk};
use columba_store::{
    Appender, Commit, Disk as _, DiskFile as _, Journal, JournalOptions, Log, LogError, LogOptions, Position, Release, Schedule,
    StoreId,
};

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 16 << 10, segment_bytes_max: 64 << 10, ..LogOptions::new(StoreId([1; 16]), 7) }
}

fn open(disk: &SimDisk) -> Log<SimDisk> {
    Log::open(disk.clone(), options(), None).unwrap().0
}

fn no_wakes(shards: usize) -> Vec<Wake> {
    (0..shards).map(|_| Box::new(|| {}) as Wake).collect()
}

/// (commit, shard, bytes) of everything durable.
fn read_all(log: &Log<SimDisk>) -> Vec<(Commit, u16, Vec<u8>)> {
    let mut reader = log.reader(Position::START);
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let commit = frame.commit;
        all.extend(frame.parts().map(|(label, bytes)| (commit, label, bytes.to_vec())));
    }
    all
}

#[test]
fn what_is_appended_comes_back_in_the_commit_that_was_promised() {
    let disk = SimDisk::new(1);
    let journal = Journal::start(open(&disk), &JournalOptions::default(), no_wakes(2)).unwrap();
    let (a, b) = (journal.appender(0), journal.appender(1));

    let first = a.append(b"one");
    journal.wait_durable(first).unwrap();
    let second = b.append(b"two");
    journal.stop().unwrap();

    disk.crash(5);
    let all = read_all(&open(&disk));
    assert_eq!(all, [(first, 0, b"one".to_vec()), (second, 1, b"two".to_vec())]);
    assert!(first < second);
}

#[test]
fn each_shard_keeps_its_order_and_no_consequence_is_before_its_cause() {
    const SHARDS: u16 = 4;
    const APPENDS: u64 = 3000;
    let disk = SimDisk::new(2);
    let journal = Journal::start(open(&disk), &JournalOptions::default(), no_wakes(4)).unwrap();
    // A clock that ticks between one thread's append and another's: what has a lower number happened before.
    let clock = AtomicU64::new(0);
    let mut promised: Vec<(u64, u64, Commit)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SHARDS)
            .map(|shard| {
                let (appender, clock) = (journal.appender(shard), &clock);
                scope.spawn(move || {
                    let append = |number: u64| {
                        let begun = clock.fetch_add(1, SeqCst);
                        let commit = appender.append(&number.to_le_bytes());
                        (begun, clock.fetch_add(1, SeqCst), commit)
                    };
                    (0..APPENDS).map(append).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    journal.stop().unwrap();

    promised.sort_unstable();
    let mut ended: Vec<_> = promised.iter().map(|&(_, end, commit)| (end, commit)).collect();
    ended.sort_unstable();
    let (mut highest, mut done) = (Commit::NONE, ended.into_iter().peekable());
    for (begun, _, commit) in promised {
        while let Some((_, earlier)) = done.next_if(|&(end, _)| end < begun) {
            highest = highest.max(earlier);
        }
        assert!(highest <= commit, "appended after {highest:?} was promised, but goes with {commit:?}");
    }

    let all = read_all(&open(&disk));
    for shard in 0..SHARDS {
        let bytes: Vec<u8> = all.iter().filter(|(_, label, _)| *label == shard).flat_map(|(_, _, bytes)| bytes.clone()).collect();
        let numbers: Vec<u64> = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect();
        assert_eq!(numbers, (0..APPENDS).collect::<Vec<_>>());
    }
}

#[test]
fn a_failed_sync_is_the_last_word() {
    let disk = SimDisk::new(3);
    let woken = Arc::new(AtomicU64::new(0));
    let wake = {
        let woken = Arc::clone(&woken);
        Box::new(move || {
            woken.fetch_add(1, SeqCst);
        })
    };
    let log = open(&disk);
    let journal = Journal::start(log, &JournalOptions::default(), vec![wake]).unwrap();
    let appender = journal.appender(0);
    let good = appender.append(b"good");
    journal.wait_durable(good).unwrap();

    // The spare thread may sync too, so let every sync fail from here on.
    for spare in 0..8 {
        disk.fail(Fault::Write, spare);
    }
    let bad = appender.append(b"bad");
    let reason = journal.wait_durable(bad).unwrap_err();

    assert!(matches!(&*reason, LogError::Io { .. }), "{reason}");
    assert!(woken.load(SeqCst) >= 1);
    assert_eq!(appender.durable(), good);
    let after = appender.append(b"after");
    assert!(journal.wait_durable(after).is_err());
    assert!(appender.failed().is_some());
    assert!(journal.stop().is_err());
}

#[test]
fn released_before_the_write_is_a_lie_that_a_test_can_see() {
    let disk = SimDisk::new(4);
    let options = JournalOptions { release: Release::BeforeWrite, ..JournalOptions::default() };
    let journal = Journal::start(open(&disk), &options, no_wakes(1)).unwrap();
    for spare in 0..8 {
        disk.fail(Fault::Write, spare);
    }

    let commit = journal.appender(0).append(b"lost");

    journal.wait_durable(commit).unwrap();
    assert!(journal.stop().is_err());
    disk.crash(1);
    disk.heal();
    assert_eq!(read_all(&open(&disk)), []);
}

#[test]
fn a_follower_reads_across_segments_while_they_are_written_and_recycled() {
    const APPENDS: u64 = 20_000;
    let disk = SimDisk::new(5);
    let journal = Journal::start(open(&disk), &JournalOptions::default(), no_wakes(1)).unwrap();
    let mut reader = journal.reader(Position::START);
    let (mut next, mut checkpoints) = (0, 0);
    let taken = AtomicU64::new(0);

    thread::scope(|scope| {
        let (appender, taken) = (journal.appender(0), &taken);
        scope.spawn(move || {
            for number in 0..APPENDS {
                appender.append(&[&number.to_le_bytes()[..], &[7; 92]].concat());
                // Small commits, and never more than a few segments ahead of the follower.
                while appender.pending_bytes() > 8 << 10 || number > taken.load(SeqCst) + 2000 {
                    thread::yield_now();
                }
            }
        });
        while next < APPENDS {
            while let Some(frame) = reader.next_frame().unwrap() {
                for (_, bytes) in frame.parts() {
                    for record in bytes.chunks_exact(100) {
                        assert_eq!(record[..8], u64::to_le_bytes(next));
                        next += 1;
                    }
                }
                taken.store(next, SeqCst);
            }
            if journal.usage().segments > 2 {
                journal.recycle(reader.position()).unwrap();
                checkpoints += 1;
            }
            thread::yield_now();
        }
    });

    assert!(reader.position().segment > 10, "{:?}", reader.position());
    // The reader may have been ahead of the commit thread's own accounts.
    journal.sync_now().unwrap();
    assert!(checkpoints > 2 && journal.pending_bytes() == 0);
}

#[test]
fn an_idle_journal_goes_on_in_a_short_segment_when_asked_to() {
    let disk = SimDisk::new(21);
    let journal = Journal::start(open(&disk), &JournalOptions::default(), no_wakes(1)).unwrap();
    let appender = journal.appender(0);
    journal.wait_durable(appender.append(b"before")).unwrap();
    // This fits no short segment.
    let last = appender.append(&vec![1; 20_000]);
    journal.wait_durable(last).unwrap();
    let long = journal.usage().segments as u64;

    journal.shrinker().shrink();
    let mut reader = journal.reader(Position::START);
    while reader.position().segment <= long {
        // Steps into the new segment as soon as it is there.
        assert!(reader.next_frame().unwrap().is_none_or(|frame| frame.commit <= last));
        thread::yield_now();
    }
    let next = appender.append(b"after");
    journal.wait_durable(next).unwrap();
    assert_eq!(reader.next_frame().unwrap().unwrap().commit, last.next());
    journal.stop().unwrap();

    disk.crash(3);
    assert_eq!(read_all(&open(&disk)).len() as u64, next.0);
}

#[test]
fn a_shard_is_woken_for_its_own_commits_unless_it_is_awake() {
    let disk = SimDisk::new(6);
    let woken: [_; 2] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
    let wakes = woken.iter().map(|count| {
        let count = Arc::clone(count);
        Box::new(move || {
            count.fetch_add(1, SeqCst);
        }) as Wake
    });
    let journal = Journal::start(open(&disk), &JournalOptions::default(), wakes.collect()).unwrap();
    let counts = || [woken[0].load(SeqCst), woken[1].load(SeqCst)];
    let a = journal.appender(0);

    for expected in 1..=20 {
        let commit = a.append(b"x");
        // The next commit's write comes after this one's wake.
        journal.wait_durable(commit).unwrap();
        while counts()[0] < expected {
            thread::yield_now();
        }
        assert_eq!(counts(), [expected, 0]);
    }
    a.mute();
    journal.wait_durable(a.append(b"y")).unwrap();
    let commit = a.append(b"z");
    journal.wait_durable(commit).unwrap();
    // The wake of the first would have come before the write of the second; that of the second may meet a shard that is heard again.
    assert_eq!(counts(), [20, 0]);
    assert_eq!(a.unmute(), commit);
    journal.stop().unwrap();
    assert_eq!(counts()[1], 0);
}

#[test]
fn a_full_disk_holds_commits_back_until_there_is_room() {
    let disk = SimDisk::new(7);
    let mut options = options();
    (options.segment_bytes_min, options.segment_bytes_max, options.spares) = (16 << 10, 16 << 10, 0);
    let log = Log::open(disk.clone(), options, None).unwrap().0;
    disk.limit_space(Some(20 << 10));
    let journal = Journal::start(log, &JournalOptions::default(), no_wakes(1)).unwrap();
    let appender = journal.appender(0);
    let mut last = Commit::NONE;
    while !journal.waits_for_space() {
        last = appender.append(&[1; 1000]);
        thread::yield_now();
    }
    assert!(journal.failed().is_none() && journal.durable() < last);
    assert!(journal.pending_bytes() > 0);

    disk.limit_space(None);

    journal.wait_durable(last).unwrap();
    assert!(!journal.waits_for_space());
}

/// What a shard was told before the power failed.
struct Said {
    shard: u16,
    /// By number of the append.
    commits: Vec<Commit>,
    durable: Commit,
}

#[test]
fn what_was_called_durable_survives_any_crash_under_many_threads() {
    for seed in 0..150_u64 {
        let disk = SimDisk::new(seed);
        let log = open(&disk);
        disk.cut_power_after(1 + seed % 97);
        let journal = Journal::start(log, &JournalOptions::default(), no_wakes(3)).unwrap();
        let said: Vec<Said> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3_u16)
                .map(|shard| {
                    let appender = journal.appender(shard);
                    scope.spawn(move || {
                        let mut commits = Vec::new();
                        while appender.failed().is_none() {
                            commits.push(appender.append(&(commits.len() as u64).to_le_bytes()));
                            thread::yield_now();
                        }
                        Said { shard, commits, durable: appender.durable() }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(journal.stop().is_err());

        disk.crash(seed);

        let all = read_all(&open(&disk));
        for Said { shard, commits, durable } in said {
            let found: Vec<u8> =
                all.iter().filter(|(_, label, _)| *label == shard).flat_map(|(_, _, bytes)| bytes.clone()).collect();
            let promised = commits.iter().filter(|&&commit| commit <= durable).count();
            assert!(found.len() / 8 >= promised, "seed {seed}: {promised} promised, {} found", found.len() / 8);
            let expected: Vec<u8> = (0..found.len() as u64 / 8).flat_map(u64::to_le_bytes).collect();
            assert_eq!(found, expected, "seed {seed}: a gap or another order");
        }
    }
}

#[test]
fn no_wake_is_lost_between_looking_and_sleeping() {
    let disk = SimDisk::new(8);
    let mut wakes: Vec<Wake> = Vec::new();
    let mut woken = Vec::new();
    for _ in 0..2 {
        let (wake, wait) = mpsc::sync_channel(1);
        // Full means that a wake is on its way already.
        wakes.push(Box::new(move || wake.try_send(()).unwrap_or(())));
        woken.push(wait);
    }
    let journal = Journal::start(open(&disk), &JournalOptions::default(), wakes).unwrap();
    thread::scope(|scope| {
        for (shard, wait) in (0_u16..).zip(woken) {
            let appender = journal.appender(shard);
            scope.spawn(move || {
                for _ in 0..3000 {
                    appender.mute();
                    let commit = appender.append(b"x");
                    // As a shard does it: look, then sleep. Each time the commit thread goes to sleep too.
                    let mut durable = appender.unmute();
                    while durable < commit {
                        wait.recv_timeout(Duration::from_secs(30)).expect("a wake was lost");
                        durable = appender.durable();
                    }
                }
            });
        }
    });
    journal.stop().unwrap();
}

/// A journal that syncs when it is told to, and never before.
fn rarely() -> JournalOptions {
    JournalOptions { sync: Schedule::Every(Duration::from_hours(1)), ..JournalOptions::default() }
}

fn wait_written(appender: &Appender, commit: Commit) {
    while appender.written() < commit {
        thread::yield_now();
    }
}

#[test]
fn what_is_written_outlives_the_process_though_it_was_never_synced() {
    let disk = SimDisk::new(40);
    let journal = Journal::start(open(&disk), &rarely(), no_wakes(1)).unwrap();
    let appender = journal.appender(0);
    let mut last = Commit::NONE;
    for number in 0..20_u8 {
        last = appender.append(&[number; 100]);
        wait_written(&appender, last);
    }
    assert_eq!((journal.durable(), journal.pending_bytes()), (Commit::NONE, 0));

    disk.kill();
    let log = open(&disk);

    assert_eq!(log.durable(), last);
    assert_eq!(read_all(&log).len() as u64, last.0);
}

#[test]
fn a_power_failure_loses_what_was_not_synced_and_nothing_else() {
    let mut lost_some = false;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut log = open(&disk);
        let mut synced = Commit::NONE;
        for number in 0..30 + seed {
            log.write_behind(&[(0, &[7; 700])]).unwrap();
            if number % 11 == 10 {
                log.sync().unwrap();
            }
            synced = log.durable();
        }
        let written = Commit(log.next().0 - 1);

        disk.crash(seed);

        // Never taken for damage, and what is left begins at the beginning.
        let log = open(&disk);
        assert!((synced..=written).contains(&log.durable()), "{synced:?} {:?} {written:?}", log.durable());
        let commits: Vec<_> = read_all(&log).into_iter().map(|(commit, ..)| commit.0).collect();
        assert_eq!(commits, (1..=log.durable().0).collect::<Vec<_>>());
        lost_some |= log.durable() < written;
        drop(log);

        // What was read may have been in memory only: it is on disk now.
        disk.crash(seed + 1);
        assert_eq!(open(&disk).durable().0, commits.len() as u64);
    }
    assert!(lost_some, "the disk is too kind to show anything");
}

#[test]
fn damage_before_a_sync_is_not_taken_for_a_crash() {
    let disk = SimDisk::new(70);
    let mut log = open(&disk);
    let mut begins = Vec::new();
    for number in 0..12 {
        begins.push(log.end().offset);
        log.write_behind(&[(0, &[7; 300])]).unwrap();
        if number == 5 {
            log.sync().unwrap();
        }
    }
    log.sync().unwrap();
    drop(log);
    let flip = |offset: u64| {
        let file = disk.open("0000000000000001.seg").unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, offset).unwrap();
        file.write_at(&[std::io::IoSlice::new(&[byte[0] ^ 1])], offset).unwrap();
        file.sync_data().unwrap();
    };

    // Frame 3 was synced before frame 7 was begun, and that one says so.
    flip(begins[3] + 50);
    assert!(matches!(Log::open(disk.clone(), options(), None), Err(LogError::Corrupt { .. })));
    flip(begins[3] + 50);
    // Nothing behind frame 8 says that it was synced: as far as anyone can know a crash has torn it.
    flip(begins[8] + 50);
    assert_eq!(open(&disk).durable(), Commit(8));
}

#[test]
fn commits_are_synced_after_the_interval_and_at_the_end() {
    let disk = SimDisk::new(71);
    let often = JournalOptions { sync: Schedule::Every(Duration::from_millis(5)), ..JournalOptions::default() };
    let journal = Journal::start(open(&disk), &often, no_wakes(1)).unwrap();
    let appender = journal.appender(0);
    let first = appender.append(b"one");
    journal.wait_durable(first).unwrap();
    journal.stop().unwrap();

    let journal = Journal::start(open(&disk), &rarely(), no_wakes(1)).unwrap();
    let last = journal.appender(0).append(b"two");
    journal.stop().unwrap();

    disk.crash(9);
    assert!(open(&disk).durable() >= last);
}

#[test]
fn a_sync_that_fails_later_is_the_last_word_too() {
    let disk = SimDisk::new(72);
    let often = JournalOptions { sync: Schedule::Every(Duration::from_millis(5)), ..JournalOptions::default() };
    // Only commits sync: none of the faults hits a segment that is being made ready, which nothing depends on.
    let (log, _) = Log::open(disk.clone(), LogOptions { spares: 0, ..options() }, None).unwrap();
    let journal = Journal::start(log, &often, no_wakes(1)).unwrap();
    for sync in 0..8 {
        disk.fail(Fault::Sync, sync);
    }

    let commit = journal.appender(0).append(b"never on disk");

    assert!(journal.wait_durable(commit).is_err());
    assert!(journal.failed().is_some());
    assert!(journal.stop().is_err());
}

#[test]
fn what_nobody_waits_for_is_committed_all_the_same_and_at_once_when_somebody_does() {
    let disk = SimDisk::new(9);
    let (committed, commits) = mpsc::channel();
    let wake: Wake = Box::new(move || committed.send(()).unwrap());
    let journal = Journal::start(open(&disk), &JournalOptions::default(), vec![wake]).unwrap();
    let appender = journal.appender(0);

    let alone = appender.append_idly(b"alone");
    commits.recv().unwrap();
    assert!(appender.durable() >= alone);

    let idle = appender.append_idly(b"idle");
    let urgent = appender.append(b"urgent");
    while appender.durable() < urgent {
        commits.recv().unwrap();
    }
    assert!(idle <= urgent);

    let late = appender.append_idly(b"late");
    appender.hurry();
    while appender.durable() < late {
        commits.recv().unwrap();
    }

    // Much of it does not wait for company.
    let much = appender.append_idly(&vec![1; 1 << 20]);
    while appender.durable() < much {
        commits.recv().unwrap();
    }
    appender.append_idly(b"at the end");
    journal.stop().unwrap();
    let all: Vec<usize> = read_all(&open(&disk)).into_iter().map(|(_, _, bytes)| bytes.len()).collect();
    assert_eq!(all.iter().sum::<usize>(), b"aloneidleurgentlateat the end".len() + (1 << 20));
}
