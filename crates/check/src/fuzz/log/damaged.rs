//! A journal that was written well, then changed on the disk.

use std::io::IoSlice;

use columba_store::{Commit, Disk as _, DiskFile as _, Log, LogError, Position, SimDisk};

use super::{Parts, goes_on, open, read};
use crate::fuzz::choices::Choices;

/// Steps of the writer at most: enough for several segments.
const STEPS_MAX: usize = 40;
/// Lengths of parts: nothing, a little, a sector or so, more than half a segment, more than one.
const LENGTHS: [usize; 6] = [0, 9, 100, 600, 5_000, 20_000];

/// What was written, and where it stands.
#[derive(Default)]
struct Written {
    frames: Vec<Parts>,
    /// Where each frame begins and ends.
    places: Vec<(Position, Position)>,
    /// The cold store's position, and the commits before it.
    checkpoint: Option<(Position, usize)>,
}

/// Where bytes were changed: file, from, to.
type Touched = (String, u64, u64);

pub(super) fn run(choices: &mut Choices<'_>) {
    let disk = SimDisk::new(1);
    let written = write(&disk, choices);
    let mut touched = Vec::new();
    let changes = choices.below(6);
    for _ in 0..changes {
        touched.push(change(&disk, choices));
    }
    let from = written.checkpoint.map(|(position, _)| position);
    let before = written.checkpoint.map_or(0, |(_, commits)| commits);
    match open(&disk, from) {
        Ok((log, recovered)) => {
            let (first, frames) = read(&log, &recovered);
            assert!(first.is_none_or(|first| first == before as u64 + 1), "the first is the one behind the checkpoint");
            let expected = &written.frames[before..];
            assert!(frames.len() <= expected.len() && frames == expected[..frames.len()], "a frame that nobody wrote");
            if loses_nothing(&written, &touched) {
                assert_eq!(frames.len(), expected.len(), "a loss that nobody was told of: {touched:?}");
            }
            goes_on(&disk, log, &recovered, &frames);
        }
        Err(error) => {
            assert!(!touched.is_empty(), "refused as it was written: {error}");
            assert!(!matches!(error, LogError::Poisoned | LogError::NoSpace { .. }), "{error}");
        }
    }
}

/// Writes a journal with checkpoints, recycled segments and restarts.
fn write(disk: &SimDisk, choices: &mut Choices<'_>) -> Written {
    let mut written = Written::default();
    let mut log = open(disk, None).expect("a new journal").0;
    for _ in 0..choices.among(STEPS_MAX) {
        match choices.below(8) {
            0..=4 => append(&mut log, &mut written, choices),
            5 => {
                log.sync().expect("a good disk");
                log.recycle(log.end()).expect("a good disk");
                written.checkpoint = Some((log.end(), written.frames.len()));
            }
            6 => log.handle().prepare().expect("a good disk"),
            _ => {
                drop(log);
                log = open(disk, written.checkpoint.map(|(at, _)| at)).expect("a good disk").0;
                assert_eq!(log.durable(), Commit(written.frames.len() as u64));
            }
        }
    }
    log.sync().expect("a good disk");
    written
}

fn append(log: &mut Log<SimDisk>, written: &mut Written, choices: &mut Choices<'_>) {
    let parts: Parts =
        (0..choices.below(3)).map(|label| (u16::from(label), vec![choices.byte(); choices.pick(&LENGTHS)])).collect();
    let borrowed: Vec<(u16, &[u8])> = parts.iter().map(|(label, bytes)| (*label, bytes.as_slice())).collect();
    let before = log.end();
    log.write(&borrowed).expect("a good disk");
    let end = log.end();
    let begin = if end.segment == before.segment { before } else { Position { segment: end.segment, ..Position::START } };
    written.frames.push(parts);
    written.places.push((begin, end));
}

/// One change of one file; where it was, if it was a change of bytes in place.
fn change(disk: &SimDisk, choices: &mut Choices<'_>) -> Option<Touched> {
    let names = disk.list().expect("a good disk");
    let name = names[choices.among(names.len())].clone();
    let len = length(disk, &name);
    let place = choices.index(len);
    let at = place as u64;
    match choices.below(7) {
        0 => {
            let mut byte = bytes(disk, &name, at, 1);
            for byte in &mut byte {
                *byte ^= 1 << choices.below(8);
            }
            Some(put(disk, &name, at, &byte))
        }
        1 => Some(put(disk, &name, at, choices.block())),
        2 => Some(put(disk, &name, at, &vec![0; choices.index(len - place)])),
        3 => {
            let other = &names[choices.among(names.len())];
            let from = choices.index(length(disk, other)) as u64;
            let copied = bytes(disk, other, from, choices.u16().into());
            Some(put(disk, &name, at, &copied))
        }
        4 => {
            disk.truncate(&name, at);
            None
        }
        5 => {
            disk.remove(&name).expect("a good disk");
            // Recovery must not find an empty directory: that is a new journal.
            if disk.list().is_ok_and(|names| names.is_empty()) {
                disk.create("not ours").map(drop).expect("a good disk");
            }
            None
        }
        _ => {
            let other = &names[choices.among(names.len())];
            for (from, to) in [(&name, "aside"), (other, &name), (&"aside".to_owned(), other)] {
                // The second is not there when both are the same.
                disk.rename(from, to).ok();
            }
            None
        }
    }
}

fn length(disk: &SimDisk, name: &str) -> usize {
    let len = disk.open(name).and_then(|file| file.len()).expect("a good disk");
    usize::try_from(len).expect("a small file")
}

fn bytes(disk: &SimDisk, name: &str, at: u64, len: usize) -> Vec<u8> {
    let file = disk.open(name).expect("a good disk");
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], at + filled as u64).expect("a good disk") {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Overwrites, as far as the file goes.
fn put(disk: &SimDisk, name: &str, at: u64, bytes: &[u8]) -> Touched {
    let room = length(disk, name).saturating_sub(usize::try_from(at).expect("a place in a small file"));
    let bytes = &bytes[..bytes.len().min(room)];
    disk.open(name).and_then(|file| file.write_at(&[IoSlice::new(bytes)], at)).expect("a good disk");
    (name.to_owned(), at, at + bytes.len() as u64)
}

/// Whether what happened must be refused, or do no harm: nothing at all, or one change inside one frame that is not the last.
fn loses_nothing(written: &Written, touched: &[Option<Touched>]) -> bool {
    match touched {
        [] => true,
        [Some((name, from, to))] => {
            let before_last = &written.places[..written.places.len().saturating_sub(1)];
            before_last
                .iter()
                .any(|(begin, end)| *name == format!("{:016x}.seg", begin.segment) && begin.offset <= *from && *to <= end.offset)
        }
        _ => false,
    }
}
