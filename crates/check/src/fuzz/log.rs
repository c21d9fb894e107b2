//! The journal's recovery, on segments that something has happened to.

mod damaged;
mod forged;

use columba_store::{Log, LogError, LogOptions, Position, Recovered, SimDisk, StoreId};

use super::choices::Choices;

const ID: StoreId = StoreId(*b"fuzzed journal!!");
const SALT: u64 = 0x5a17;

/// The labelled parts of a commit.
type Parts = Vec<(u16, Vec<u8>)>;

/// Recovery refuses, or shows the beginning of what was written: never a record that nobody wrote, never a panic.
///
/// The first byte tells which of two ways to go: a journal that was written well and then damaged, or one that was forged with the right checksums.
///
/// # Panics
///
/// When that does not hold.
pub fn log(data: &[u8]) {
    let mut choices = Choices::new(data);
    if choices.bit() { forged::run(&mut choices) } else { damaged::run(&mut choices) }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes_min: 8 << 10, segment_bytes_max: 16 << 10, spares: 1, ..LogOptions::new(ID, SALT) }
}

fn open(disk: &SimDisk, from: Option<Position>) -> Result<(Log<SimDisk>, Recovered), LogError> {
    disk.kill();
    Log::open(disk.clone(), options(), from)
}

/// All that recovery shows, with the number of the first.
fn read(log: &Log<SimDisk>, recovered: &Recovered) -> (Option<u64>, Vec<Parts>) {
    let mut reader = log.reader(recovered.from);
    let (mut first, mut frames): (_, Vec<Parts>) = (None, Vec::new());
    while let Some(frame) = reader.next_frame().expect("what recovery has taken can be read") {
        let begin = *first.get_or_insert(frame.commit.0);
        assert_eq!(frame.commit.0, begin + frames.len() as u64, "commits follow each other");
        frames.push(frame.parts().map(|(label, bytes)| (label, bytes.to_vec())).collect());
    }
    assert_eq!((recovered.frames, recovered.end), (frames.len() as u64, log.end()));
    assert_eq!(log.durable(), recovered.last);
    if let Some(first) = first {
        assert_eq!(recovered.last.0, first + frames.len() as u64 - 1);
    }
    (first, frames)
}

/// A journal that was recovered goes on: one more commit, and another start finds everything again.
fn goes_on(disk: &SimDisk, mut log: Log<SimDisk>, recovered: &Recovered, before: &[Parts]) {
    let commit = log.write(&[(7, b"and on")]).and_then(|commit| log.sync().map(|()| commit));
    assert_eq!(commit.expect("a recovered journal can be written"), recovered.last.next());
    drop(log);
    let (log, again) = open(disk, Some(recovered.from)).expect("what was recovered is recovered again");
    let (_, frames) = read(&log, &again);
    assert_eq!(again.torn, None, "what was torn is gone");
    assert_eq!(frames.split_last(), Some((&vec![(7, b"and on".to_vec())], before)));
}
