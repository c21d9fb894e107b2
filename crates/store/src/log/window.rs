//! A buffered view of a segment, from which frames are read one behind the other.

use std::io;

use super::format::{FRAME_VERSION, FRAMES_START, HEAD_LEN, HEADER_LEN, Head, Header, HeaderError, Parts};
use crate::disk::{DiskFile, read_full};

/// How much is read at once when there is more to come.
const READ_AHEAD: usize = 256 * 1024;

/// Bytes `start..start + buf.len()` of a file.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buf: Vec<u8>,
    start: u64,
}

/// What stands at an offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// A whole frame.
    Frame(Head),
    /// The head of a frame whose parts are not what its checksum says.
    HeadOnly(Head),
    /// Somebody wrote this and it is as it was written, but we cannot read it.
    Strange(Head),
    /// Anything else.
    Nothing,
}

impl Window {
    /// Forgets what was read: another file comes.
    pub(crate) fn clear(&mut self) {
        self.buf.clear();
    }

    /// Gives back memory that an unusually long frame needed.
    pub(crate) fn trim(&mut self) {
        if self.buf.capacity() > 4 * READ_AHEAD {
            *self = Self::default();
        }
    }

    /// Bytes `offset..offset + len`, fewer where `end` or the file's end comes first.
    pub(crate) fn get<F: DiskFile>(&mut self, file: &F, offset: u64, len: u64, end: u64) -> io::Result<&[u8]> {
        let upto = offset.saturating_add(len).min(end);
        let held = self.start <= offset && upto <= self.start + self.buf.len() as u64;
        if !held && offset < upto {
            let wanted = (end - offset).min(len.max(READ_AHEAD as u64));
            let wanted = usize::try_from(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.buf.resize(wanted, 0);
            // Whatever happens, never show the zeros that the buffer was filled with.
            let read = read_full(file, &mut self.buf, offset).inspect_err(|_| self.buf.clear())?;
            self.buf.truncate(read);
            self.start = offset;
        }
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.buf.len());
        let to = usize::try_from(upto.saturating_sub(self.start)).unwrap_or(usize::MAX).clamp(from, self.buf.len());
        Ok(&self.buf[from..to])
    }

    /// Reads and checks the frame at `offset`, which must end before `end`.
    pub(crate) fn frame<F: DiskFile>(&mut self, file: &F, seed: u32, offset: u64, end: u64) -> io::Result<Found> {
        let Some(head) = Head::decode(self.get(file, offset, HEAD_LEN as u64, end)?, seed) else {
            return Ok(Found::Nothing);
        };
        if head.version > FRAME_VERSION {
            return Ok(Found::Strange(head));
        }
        let parts = self.parts(file, &head, offset, end)?;
        let whole = parts.len() as u64 == u64::from(head.len) && crc32c::crc32c_append(seed, parts) == head.crc;
        Ok(match Parts::parse(parts) {
            _ if !whole => Found::HeadOnly(head),
            None => Found::Strange(head),
            Some(_) => Found::Frame(head),
        })
    }

    /// The bytes of a frame's parts.
    pub(crate) fn parts<F: DiskFile>(&mut self, file: &F, head: &Head, offset: u64, end: u64) -> io::Result<&[u8]> {
        self.get(file, offset + HEAD_LEN as u64, u64::from(head.len), end)
    }
}

/// Reads a segment's header; the outer error is the disk's.
pub(crate) fn read_header<F: DiskFile>(file: &F) -> io::Result<Result<Header, HeaderError>> {
    let mut bytes = [0; HEADER_LEN];
    let read = read_full(file, &mut bytes, 0)?;
    let header = Header::decode(&bytes[..read]);
    Ok(header.and_then(|header| {
        if header.size < FRAMES_START || header.first == super::Commit::NONE {
            Err(HeaderError::Damaged(super::Damage::Header))
        } else {
            Ok(header)
        }
    }))
}

/// A segment's header, if it can be read.
pub(crate) fn valid_header<F: DiskFile>(file: &F) -> Option<Header> {
    read_header(file).ok()?.ok()
}
