//! Segments come and go: how long they are, who makes them, when there is no room.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use columba_store::sim::SimDisk;
use columba_store::{Commit, Disk as _, DiskFile as _, Log, LogError, LogOptions, Position, StoreDir, StoreId};

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 8 << 10, segment_bytes_max: 64 << 10, spares: 2, ..LogOptions::new(StoreId([5; 16]), 3) }
}

fn open(disk: &SimDisk, from: Option<Position>) -> Log<SimDisk> {
    Log::open(disk.clone(), options(), from).unwrap().0
}

fn lengths(disk: &SimDisk, kind: &str) -> Vec<u64> {
    let names = disk.list().unwrap().into_iter().filter(|name| name.ends_with(kind));
    names.map(|name| disk.open(&name).unwrap().len().unwrap()).collect()
}

/// Fills the active segment.
fn fill(log: &mut Log<SimDisk>) {
    let segment = log.end().segment;
    while log.end().segment == segment {
        log.write(&[(1, &[1; 1500])]).unwrap();
        log.sync().unwrap();
        log.handle().prepare().unwrap();
    }
}

#[test]
fn a_new_data_directory_is_small() {
    let temp = tempfile::tempdir().unwrap();
    let dir = StoreDir::open(temp.path().join("data")).unwrap();
    let (log, _) = dir.open_journal(None).unwrap();

    log.handle().prepare().unwrap();

    let usage = log.handle().usage();
    assert_eq!((usage.segments, usage.spares), (1, 2));
    assert!(usage.segment_bytes + usage.spare_bytes <= 8 << 20, "{usage:?}");
}

#[test]
fn segments_grow_while_they_fill_faster_than_they_are_freed() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk, None);
    for _ in 0..12 {
        fill(&mut log);
    }
    let sizes = lengths(&disk, ".seg");
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert_eq!((sizes[0], sizes[sizes.len() - 1]), (8 << 10, 64 << 10));
}

#[test]
fn segments_keep_their_length_while_checkpoints_keep_up() {
    let disk = SimDisk::new(2);
    let mut log = open(&disk, None);
    for _ in 0..12 {
        log.recycle(log.end()).unwrap();
        fill(&mut log);
    }
    log.recycle(log.end()).unwrap();
    assert_eq!(lengths(&disk, ".seg"), [8 << 10]);
    assert_eq!(lengths(&disk, ".spare"), [8 << 10, 8 << 10]);
}

#[test]
fn a_frame_longer_than_any_segment_has_its_own() {
    let disk = SimDisk::new(3);
    let mut log = open(&disk, None);
    log.write(&[(1, b"before")]).unwrap();
    let huge = vec![3; 1_000_000];
    log.write(&[(1, &huge), (2, b"and more")]).unwrap();
    log.write(&[(1, b"after")]).unwrap();
    log.sync().unwrap();

    disk.crash(1);
    let log = open(&disk, None);
    let mut reader = log.reader(Position::START);
    let mut lens = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        lens.push(frame.parts().map(|(_, bytes)| bytes.len()).sum::<usize>());
    }
    assert_eq!(lens, [6, 1_000_008, 5]);

    // Nobody keeps a spare of that length.
    log.recycle(log.end()).unwrap();
    assert!(lengths(&disk, ".spare").iter().all(|&len| len <= 64 << 10));
}

#[test]
fn without_room_nothing_is_lost_and_a_checkpoint_makes_room() {
    let disk = SimDisk::new(4);
    let mut log = open(&disk, None);
    disk.limit_space(Some(24 << 10));
    let mut written = 0;
    let full = loop {
        match log.write(&[(1, &[1; 1500])]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::NoSpace { .. }), "{full}");
    assert!(written >= 6);
    assert_eq!(log.durable(), Commit(written), "what was written before is synced");

    log.recycle(log.end()).unwrap();

    assert_eq!(log.write(&[(1, &[2; 1500])]).unwrap(), Commit(written + 1));
    log.sync().unwrap();
    disk.crash(3);
    disk.heal();
    let from = Position { segment: log.end().segment, offset: Position::START.offset };
    assert_eq!(open(&disk, Some(from)).durable(), Commit(written + 1));
}

#[test]
fn a_spare_is_given_up_once_and_taken_back() {
    let disk = SimDisk::new(9);
    let mut log = open(&disk, None);
    for _ in 0..6 {
        fill(&mut log);
    }
    let handle = log.handle();
    handle.prepare().unwrap();
    let spares = lengths(&disk, ".spare");

    assert_eq!(handle.give_up_spare().unwrap(), *spares.iter().max().unwrap());

    assert!(handle.lacks_room(), "who stores has to wait");
    handle.prepare().unwrap();
    assert_eq!(lengths(&disk, ".spare").len(), 1, "the room is not taken again");
    assert_eq!(handle.give_up_spare().unwrap(), 0, "acknowledgements need the last one");
    log.recycle(log.end()).unwrap();
    assert_eq!(lengths(&disk, ".spare").len(), 1, "nor by what a checkpoint frees");
    handle.take_back_spare();
    handle.prepare().unwrap();
    assert!(!handle.lacks_room());
    assert_eq!(lengths(&disk, ".spare").len(), 2);
}

#[test]
fn a_reader_that_is_overtaken_by_recycling_hears_of_it() {
    let disk = SimDisk::new(5);
    let mut log = open(&disk, None);
    let mut late = log.reader(Position::START);
    fill(&mut log);
    assert!(late.next_frame().unwrap().is_some());

    log.recycle(log.end()).unwrap();

    assert!(matches!(late.next_frame(), Err(LogError::Recycled { .. })));
}

#[test]
fn a_poisoned_log_stays_poisoned() {
    let disk = SimDisk::new(6);
    let mut log = open(&disk, None);
    log.write(&[(1, b"good")]).unwrap();
    log.sync().unwrap();
    log.write(&[(1, b"bad")]).unwrap();
    disk.fail(columba_store::sim::Fault::Sync, 0);

    assert!(!log.handle().has_failed());
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    assert!(log.handle().has_failed());
    assert!(matches!(log.sync(), Err(LogError::Poisoned)));
    assert!(matches!(log.write(&[(1, b"more")]), Err(LogError::Poisoned)));
    assert_eq!(log.durable(), Commit(1));
}

#[test]
fn a_journal_that_was_busy_becomes_as_small_as_a_new_one() {
    let disk = SimDisk::new(11);
    let mut log = open(&disk, None);
    for _ in 0..12 {
        fill(&mut log);
    }
    let handle = log.handle();
    assert!(handle.is_grown());

    // Everything is in the cold store; then it is quiet.
    handle.recycle(log.end()).unwrap();
    handle.forget_growth().unwrap();
    log.shrink().unwrap();
    handle.recycle(log.end()).unwrap();
    handle.prepare().unwrap();

    assert!(!handle.is_grown());
    assert_eq!(lengths(&disk, ".seg"), [8 << 10]);
    assert_eq!(lengths(&disk, ".spare"), [8 << 10, 8 << 10]);
    // Traffic makes it grow again.
    for _ in 0..3 {
        fill(&mut log);
    }
    assert!(handle.is_grown());
}

#[test]
fn a_crash_at_any_moment_of_shrinking_loses_nothing() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut log = open(&disk, None);
        for _ in 0..6 {
            fill(&mut log);
        }
        let last = log.write(&[(1, b"the last one")]).unwrap();
        let from = log.handle();
        log.sync().unwrap();
        let checkpoint = log.end();
        from.recycle(checkpoint).unwrap();
        let newest = log.write(&[(1, b"behind the checkpoint")]).unwrap();
        log.sync().unwrap();
        if seed % 4 > 0 {
            from.forget_growth().unwrap();
        }
        if seed % 4 > 1 {
            log.shrink().unwrap();
        }

        disk.crash(seed);

        let log = open(&disk, Some(checkpoint));
        assert_eq!(log.durable(), newest);
        let mut reader = log.reader(checkpoint);
        assert_eq!(reader.next_frame().unwrap().unwrap().commit, last.next());
        assert!(reader.next_frame().unwrap().is_none());
    }
}
