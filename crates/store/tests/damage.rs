//! Damage is not a crash: what had been synced and cannot be read is refused, with the place. And what looks like damage
//! but is the rest of a crash, or of an earlier use of the file, is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use columba_store::log::{Damage, MissingBecause, WhenEmpty};
use columba_store::sim::{Rng, SimDisk};
use columba_store::{Commit, Disk as _, DiskFile as _, Log, LogError, LogOptions, Position, StoreId};

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 8192, segment_bytes_max: 8192, spares: 1, ..LogOptions::new(StoreId([3; 16]), 11) }
}

fn open(disk: &SimDisk, from: Option<Position>) -> Result<Log<SimDisk>, LogError> {
    disk.kill();
    Log::open(disk.clone(), options(), from).map(|(log, _)| log)
}

/// Twelve commits of 700 to 1,800 bytes over several segments; where each ends.
fn filled(disk: &SimDisk) -> Vec<Position> {
    let mut log = open(disk, None).unwrap();
    let mut ends = Vec::new();
    for number in 0_u8..12 {
        log.write(&[(0, &vec![number + 1; 700 + 100 * usize::from(number)])]).unwrap();
        log.sync().unwrap();
        ends.push(log.end());
    }
    ends
}

fn name(segment: u64) -> String {
    format!("{segment:016x}.seg")
}

#[test]
fn every_flipped_bit_before_the_last_frame_is_refused_or_harmless_padding() {
    let disk = SimDisk::new(1);
    let ends = filled(&disk);
    let before_last = ends[ends.len() - 2];
    assert!(before_last.segment >= 3, "the test needs several segments, not {before_last:?}");
    let mut rng = Rng::new(77);
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..3000 {
        let segment = 1 + rng.below(before_last.segment);
        let header_or_frames = if rng.one_in(10) { 0..72 } else { 4096..end_of(&ends, segment, before_last) };
        let offset = header_or_frames.start + rng.below(header_or_frames.end - header_or_frames.start);
        let bit = 1 << rng.below(8);
        let damaged = disk.fork();

        damaged.damage(&name(segment), offset, bit);

        match open(&damaged, None) {
            Err(LogError::Corrupt { file, .. }) => {
                assert_eq!(file, format!("sim/{}", name(segment)));
                refused += 1;
            }
            Err(LogError::NewerFormat { .. }) => refused += 1,
            Err(error) => panic!("byte {offset} of segment {segment}: {error}"),
            Ok(log) => {
                assert_eq!(log.durable(), Commit(12), "byte {offset} of segment {segment}");
                harmless += 1;
            }
        }
    }
    eprintln!("{refused} refused, {harmless} in padding");
    // Frames are padded to 8 bytes; nothing else may be harmless.
    assert!(harmless < 30, "{harmless} of 3000 flips were not seen");
}

fn end_of(ends: &[Position], segment: u64, limit: Position) -> u64 {
    ends.iter().filter(|end| end.segment == segment && **end <= limit).map(|end| end.offset).max().unwrap()
}

#[test]
fn the_error_names_the_file_the_place_and_the_proof() {
    let disk = SimDisk::new(2);
    let ends = filled(&disk);

    disk.damage(&name(1), ends[1].offset + 100, 1);

    let Err(LogError::Corrupt { file, offset, damage }) = open(&disk, None) else { panic!("not refused") };
    assert_eq!(file, "sim/0000000000000001.seg");
    assert_eq!(offset, ends[1].offset);
    // The proof is in the same segment or the header of the next one, whichever comes first.
    assert!(matches!(damage, Damage::Frame { expected: Commit(3), found } if found > Commit(3)), "{damage}");
}

#[test]
fn damage_to_the_last_frame_is_seen_after_a_clean_stop() {
    let disk = SimDisk::new(3);
    let end = *filled(&disk).last().unwrap();
    let unsealed = disk.fork();
    open(&disk, None).unwrap().seal().unwrap();

    for disk in [&disk, &unsealed] {
        disk.damage(&name(end.segment), end.offset - 16, 4);
    }

    assert!(matches!(open(&disk, None), Err(LogError::Corrupt { .. })));
    // Without the seal nothing tells it from a frame that was being written.
    assert_eq!(open(&unsealed, None).unwrap().durable(), Commit(11));
}

#[test]
fn a_seal_is_written_once() {
    let disk = SimDisk::new(4);
    filled(&disk);
    for _ in 0..3 {
        let mut log = open(&disk, None).unwrap();
        log.seal().unwrap();
        assert_eq!(log.durable(), Commit(13));
    }
}

#[test]
fn garbage_behind_the_last_frame_is_removed() {
    let mut rng = Rng::new(5);
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let end = *filled(&disk).last().unwrap();
        for offset in end.offset..8192 {
            disk.damage(&name(end.segment), offset, u8::try_from(rng.below(256)).unwrap());
        }

        let mut log = open(&disk, None).unwrap();

        assert_eq!(log.durable(), Commit(12), "seed {seed}");
        let file = disk.open(&name(end.segment)).unwrap();
        let mut tail = vec![0xff; usize::try_from(8192 - end.offset).unwrap()];
        while file.read_at(&mut tail, end.offset).unwrap() < tail.len() {}
        assert!(tail.iter().all(|&byte| byte == 0));
        log.write(&[(0, b"next")]).unwrap();
        log.sync().unwrap();
        assert_eq!(open(&disk, None).unwrap().durable(), Commit(13));
    }
}

#[test]
fn a_payload_cannot_pretend_to_be_a_frame() {
    let disk = SimDisk::new(6);
    // Somebody knows all but the salt: a journal with the same identity and numbers.
    let theirs = SimDisk::new(7);
    let mut impostor = Log::open(theirs.clone(), LogOptions { salt: 12, ..options() }, None).unwrap().0;
    for _ in 0..3 {
        impostor.write(&[(0, &[1; 32])]).unwrap();
        impostor.sync().unwrap();
    }
    let mut forged = vec![0; 512];
    let file = theirs.open(&name(1)).unwrap();
    while file.read_at(&mut forged, 4096).unwrap() < forged.len() {}
    let mut log = open(&disk, None).unwrap();
    let shift = log.end().offset + 24 + 6;
    let aligned: Vec<u8> = vec![0; usize::try_from(shift.next_multiple_of(8) - shift).unwrap()];
    log.write(&[(0, &[aligned, forged].concat())]).unwrap();
    log.sync().unwrap();

    // The frame around it is torn.
    disk.damage(&name(1), 4096 + 4, 1);

    assert_eq!(open(&disk, None).unwrap().durable(), Commit(0));
}

#[test]
fn a_missing_segment_is_refused() {
    let disk = SimDisk::new(8);
    let ends = filled(&disk);
    let last = ends.last().unwrap().segment;
    assert!(last >= 3);

    let gap = disk.fork();
    gap.remove(&name(2)).unwrap();
    let Err(LogError::Missing { file, why }) = open(&gap, None) else { panic!("a gap was not seen") };
    assert_eq!((file.as_str(), why), ("sim/0000000000000002.seg", MissingBecause::Gap));

    let checkpoint = disk.fork();
    checkpoint.remove(&name(1)).unwrap();
    let from = Some(Position { segment: 1, offset: ends[0].offset });
    let Err(LogError::Missing { why, .. }) = open(&checkpoint, from) else { panic!("a lost start was not seen") };
    assert_eq!(why, MissingBecause::Checkpoint);

    let lost_tail = disk.fork();
    lost_tail.remove(&name(last)).unwrap();
    assert!(open(&lost_tail, Some(*ends.last().unwrap())).is_err());

    let all = disk.fork();
    for segment in 1..=last {
        all.remove(&name(segment)).unwrap();
    }
    let refusing = LogOptions { when_empty: WhenEmpty::Refuse, ..options() };
    all.kill();
    let Err(LogError::Missing { why, .. }) = Log::open(all, refusing, None) else { panic!("an empty directory") };
    assert_eq!(why, MissingBecause::NotNew);
}

#[test]
fn a_position_that_is_none_is_refused() {
    let disk = SimDisk::new(9);
    let ends = filled(&disk);

    for (end, delta) in [(ends[0], 8), (ends[0], -8), (*ends.last().unwrap(), 64)] {
        let from = Position { segment: end.segment, offset: end.offset.checked_add_signed(delta).unwrap() };
        let refused = open(&disk, Some(from));
        assert!(matches!(refused, Err(LogError::Corrupt { damage: Damage::Position, .. })), "{from:?}");
    }
    for end in ends {
        assert_eq!(open(&disk, Some(end)).unwrap().durable(), Commit(12));
    }
}

#[test]
fn a_short_file_another_store_and_a_swapped_name_are_refused() {
    let disk = SimDisk::new(10);
    let last = filled(&disk).last().unwrap().segment;

    let short = disk.fork();
    short.truncate(&name(last), 8000);
    assert!(matches!(open(&short, None), Err(LogError::Corrupt { damage: Damage::Length { .. }, .. })));

    let other = disk.fork();
    let strange = LogOptions { id: StoreId([4; 16]), ..options() };
    let refused = Log::open(other, strange, None);
    assert!(matches!(refused, Err(LogError::Corrupt { damage: Damage::WrongStore, .. })));

    let swapped = disk.fork();
    swapped.rename(&name(1), "aside").unwrap();
    swapped.rename(&name(2), &name(1)).unwrap();
    swapped.rename("aside", &name(2)).unwrap();
    let refused = open(&swapped, None);
    assert!(matches!(refused, Err(LogError::Corrupt { damage: Damage::WrongSegment { found: 2 }, .. })));
}

#[test]
fn what_a_recycled_segment_held_is_no_frame_of_it() {
    let disk = SimDisk::new(11);
    let mut log = open(&disk, None).unwrap();
    let mut follower = log.reader(Position::START);
    let mut crashes = 0;
    for round in 0..200_u64 {
        log.write(&[(0, &round.to_le_bytes().repeat(100))]).unwrap();
        log.sync().unwrap();
        while follower.next_frame().unwrap().is_some() {}
        log.recycle(follower.position()).unwrap();
        if round % 7 == 6 {
            // Files are reused by now, so behind the last frame stand old ones.
            disk.crash(round);
            crashes += 1;
            log = Log::open(disk.clone(), options(), Some(follower.position())).unwrap().0;
            follower = log.reader(follower.position());
            assert_eq!(log.durable(), Commit(round + 1));
        }
    }
    assert!(crashes > 20 && log.end().segment > 20);
    assert!(disk.list().unwrap().len() <= 3, "{:?}", disk.list());
}

#[test]
fn a_frame_of_a_newer_version_is_not_taken_for_a_torn_one() {
    let disk = SimDisk::new(12);
    let mut log = open(&disk, None).unwrap();
    log.write(&[(0, b"from the future")]).unwrap();
    log.sync().unwrap();
    let file = disk.open(&name(1)).unwrap();
    let mut bytes = [0; 4096 + 24];
    let mut read = 0;
    while read < bytes.len() {
        read += file.read_at(&mut bytes[read..], read as u64).unwrap();
    }
    // As a later version would write it: another number, the right checksum.
    let (header, head) = bytes.split_at_mut(4096);
    let seed = crc32c::crc32c_append(crc32c::crc32c(&header[32..40]), &header[40..48]);
    head[16] = 3;
    let check = crc32c::crc32c_append(seed, &head[..20]).to_le_bytes();
    head[20..24].copy_from_slice(&check);
    file.write_at(&[std::io::IoSlice::new(head)], 4096).unwrap();

    assert!(matches!(open(&disk, None), Err(LogError::NewerFormat { found: 3, known: 2, .. })));
}

#[test]
fn a_segment_that_says_it_begins_with_no_commit_is_damaged() {
    let disk = SimDisk::new(13);
    drop(open(&disk, None).unwrap());
    let file = disk.open(&name(1)).unwrap();
    let mut header = [0; 72];
    let mut read = 0;
    while read < header.len() {
        read += file.read_at(&mut header[read..], read as u64).unwrap();
    }
    header[48..56].fill(0);
    let check = crc32c::crc32c(&header[..68]).to_le_bytes();
    header[68..72].copy_from_slice(&check);
    file.write_at(&[std::io::IoSlice::new(&header)], 0).unwrap();

    assert!(matches!(open(&disk, None), Err(LogError::Corrupt { damage: Damage::Header, .. })));
}
