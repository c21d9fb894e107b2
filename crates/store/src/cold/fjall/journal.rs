//! fjall's own journal, read before fjall does: it takes damage inside a journal for a torn end, cuts the file there, and checkpoints are gone in silence
//! (fjall-rs/fjall#311). It also believes a batch's sequence number, which no checksum covers.
//!
//! Batches stand one behind the other: `1, items u32, sequence number u64`, the items, `3, XXH3-64 of the items u64, "FJL" 3`. An item is
//! `2, type, compression, keyspace u64, key length u16, value length u32, the same again, key, value`, or `4, keyspace u64`. Numbers are little-endian.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::cold::ColdError;
use crate::disk::Disk as _;
use crate::file::{RealDisk, RealFile};
use crate::log::window::Window;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const START_LEN: u64 = 13;
const ITEM_LEN: u64 = 21;
const END_LEN: u64 = 13;
const CLEAR_LEN: u64 = 9;
const TRAILER: &[u8] = b"FJL\x03";

/// What an item does: its keyspace, its key, and the new value or none.
pub(super) type Sink<'a> = dyn FnMut(u64, &[u8], Option<&[u8]>) + 'a;

/// The journal files in their order.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, ColdError> {
    let failed = |source| ColdError::Io { action: "list", path: path.display().to_string(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let number = file.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| file.extension() == Some(OsStr::new("jnl"))) {
            found.push((number, file));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Refuses a journal in which something whole stands behind something that is not.
pub(super) fn check(path: &Path) -> Result<(), ColdError> {
    let files = files(path)?;
    let mut last = None;
    for (number, file) in files.iter().enumerate() {
        let display = file.display().to_string();
        let failed = |source| ColdError::Io { action: "read", path: display.clone(), source };
        let damaged = |offset| ColdError::Journal { file: display.clone(), offset };
        let mut walk = Walk::open(file).map_err(failed)?;
        while let Some(batch) = walk.next().map_err(failed)? {
            if last.is_some_and(|last| batch.sequence <= last) {
                return Err(damaged(batch.at));
            }
            last = Some(batch.sequence);
        }
        let end = walk.at;
        // Only the newest file can end in a batch that was being written.
        let is_newest = number + 1 == files.len();
        if !walk.rest_is_empty().map_err(failed)? && (!is_newest || walk.find().map_err(failed)?.is_some()) {
            return Err(damaged(end));
        }
    }
    Ok(())
}

/// Where a whole batch stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchAt {
    pub(super) sequence: u64,
    pub(super) at: u64,
    next: u64,
}

/// One file from its front to its end.
pub(super) struct Walk {
    file: RealFile,
    window: Window,
    at: u64,
    end: u64,
}

impl Walk {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let disk = RealDisk::open(path.parent().unwrap_or(path))?;
        let name = path.file_name().and_then(OsStr::to_str).ok_or(io::ErrorKind::InvalidFilename)?;
        let file = disk.open(name)?;
        let end = file.written_end()?;
        Ok(Self { file, window: Window::default(), at: 0, end })
    }

    /// The batch that stands here, if a whole one does.
    pub(super) fn next(&mut self) -> io::Result<Option<BatchAt>> {
        let found = self.batch(self.at, None)?;
        if let Some(batch) = found {
            self.at = batch.next;
        }
        Ok(found)
    }

    /// The next whole batch behind this place, where none stands; the walk goes on behind it.
    pub(super) fn find(&mut self) -> io::Result<Option<BatchAt>> {
        const PIECE: u64 = 1 << 20;
        let mut piece_at = self.at + 1;
        while piece_at < self.end {
            let piece = self.window.get(&self.file, piece_at, PIECE, self.end)?;
            let starts: Vec<u64> = (piece_at..).zip(piece).filter(|(_, byte)| **byte == START).map(|(at, _)| at).collect();
            for at in starts {
                if let Some(batch) = self.batch(at, None)? {
                    self.at = batch.next;
                    return Ok(Some(batch));
                }
            }
            piece_at += PIECE;
        }
        Ok(None)
    }

    /// Whether nothing but zeros is left.
    pub(super) fn rest_is_empty(&mut self) -> io::Result<bool> {
        const PIECE: u64 = 1 << 20;
        let mut at = self.at;
        while at < self.end {
            if self.window.get(&self.file, at, PIECE, self.end)?.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += PIECE;
        }
        Ok(true)
    }

    /// Gives the items of a batch.
    pub(super) fn items(&mut self, batch: BatchAt, sink: &mut Sink<'_>) -> io::Result<()> {
        self.batch(batch.at, Some(sink)).map(drop)
    }

    /// Reads a batch; what the sink is given counts only if one is found.
    fn batch(&mut self, at: u64, mut sink: Option<&mut Sink<'_>>) -> io::Result<Option<BatchAt>> {
        let begin = at;
        let Some(start) = self.bytes(at, START_LEN)?.filter(|start| start[0] == START) else {
            return Ok(None);
        };
        let (count, sequence) = (number(&start[1..5]), number(&start[5..13]));
        let mut at = at + START_LEN;
        let mut hash = Xxh3::new();
        for _ in 0..count {
            let Some(len) = self.item_len(at)? else {
                return Ok(None);
            };
            let Some(item) = self.bytes(at, len)? else {
                return Ok(None);
            };
            hash.update(item);
            if let Some(sink) = sink.as_mut().filter(|_| item[0] == ITEM) {
                let head = usize::try_from(ITEM_LEN).unwrap_or(usize::MAX);
                let (key, value) = item[head..].split_at(usize::try_from(number(&item[11..13])).unwrap_or(0));
                sink(number(&item[3..11]), key, (item[1] == 0).then_some(value));
            }
            at += len;
        }
        let Some(end) = self.bytes(at, END_LEN)? else {
            return Ok(None);
        };
        let is_whole = end[0] == END && number(&end[1..9]) == hash.digest() && &end[9..] == TRAILER;
        Ok(is_whole.then_some(BatchAt { sequence, at: begin, next: at + END_LEN }))
    }

    /// The length of the item at a place, if one can begin there.
    fn item_len(&mut self, at: u64) -> io::Result<Option<u64>> {
        let Some(tag) = self.bytes(at, 1)?.map(|bytes| bytes[0]) else {
            return Ok(None);
        };
        if tag == CLEAR {
            return Ok(Some(CLEAR_LEN));
        }
        let Some(head) = self.bytes(at, ITEM_LEN)? else {
            return Ok(None);
        };
        let lengths_agree = head[13..17] == head[17..21];
        let is_item = head[0] == ITEM && head[1] <= 2 && head[2] == 0 && lengths_agree;
        Ok(is_item.then(|| ITEM_LEN + number(&head[11..13]) + number(&head[13..17])))
    }

    /// Bytes that must all be there.
    fn bytes(&mut self, at: u64, len: u64) -> io::Result<Option<&[u8]>> {
        if at.checked_add(len).is_none_or(|upto| upto > self.end) {
            return Ok(None);
        }
        let bytes = self.window.get(&self.file, at, len, self.end)?;
        Ok((bytes.len() as u64 == len).then_some(bytes))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
