//! Commits in one portable file: a snapshot of a data directory, and what followed it.
//!
//! The frames are those of a journal (docs/format.md). A file is whole if its last frame has no parts and nothing follows.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::log::format::{ALIGN, Encoded, FRAME_VERSION, HEAD_LEN, Head, Parts, seed, stride, u32_at, u64_at};
use crate::log::{Commit, StoreId};

const MAGIC: &[u8; 8] = b"COLUMBAX";
const FORMAT: u32 = 1;
const HEADER_LEN: usize = 64;
/// A frame is read in pieces of this size: what its head says of its length is believed only as far as there are bytes.
const PIECE: u64 = 1 << 20;

/// Where an export comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The data directory.
    pub id: StoreId,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
    /// What makes its frames unguessable.
    pub salt: u64,
}

/// Why a file is no export that can be read.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The operating system refused.
    #[error("cannot read the export: {0}")]
    Io(#[from] io::Error),
    /// Another kind of file.
    #[error("this is no export of columba")]
    NotAnExport,
    /// The file was written by a newer version.
    #[error("the export has format {found}, this version reads up to {known}: use the version that wrote it, or a newer one")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// What we know.
        known: u32,
    },
    /// The file ends too early: whoever wrote it was interrupted.
    #[error("the export ends after {commits} commits without its last one: it is not complete")]
    Incomplete {
        /// Whole commits before the end.
        commits: u64,
    },
    /// A checksum is wrong.
    #[error("the export is damaged at byte {offset}, behind {commits} commits")]
    Damaged {
        /// Where.
        offset: u64,
        /// Whole commits before.
        commits: u64,
    },
}

impl Origin {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.id.0);
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..48].copy_from_slice(&self.made.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, ExportError> {
        if &bytes[0..8] != MAGIC {
            return Err(ExportError::NotAnExport);
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(ExportError::Damaged { offset: 0, commits: 0 });
        }
        match u32_at(bytes, 8) {
            FORMAT => {}
            found => return Err(ExportError::NewerFormat { found, known: FORMAT }),
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        Ok(Self { id: StoreId(id), salt: u64_at(bytes, 32), made: u64_at(bytes, 40) })
    }

    fn seed(&self) -> u32 {
        seed(self.salt, 0)
    }
}

/// Writes an export.
pub struct ExportWriter<W> {
    out: W,
    seed: u32,
    next: Commit,
}

impl<W: Write> ExportWriter<W> {
    /// Begins one.
    pub fn new(mut out: W, origin: &Origin) -> io::Result<Self> {
        out.write_all(&origin.encode())?;
        Ok(Self { out, seed: origin.seed(), next: Commit::NONE.next() })
    }

    /// Writes one commit of at most 4 GiB; one without parts is left out.
    pub fn commit(&mut self, parts: &[(u16, &[u8])]) -> io::Result<()> {
        if parts.is_empty() { Ok(()) } else { self.frame(parts) }
    }

    fn frame(&mut self, parts: &[(u16, &[u8])]) -> io::Result<()> {
        let encoded = Encoded::new(self.next, 0, parts, self.seed).ok_or(io::ErrorKind::FileTooLarge)?;
        for slice in encoded.slices(parts) {
            self.out.write_all(&slice)?;
        }
        self.next = self.next.next();
        Ok(())
    }

    /// Says that it is whole, and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame(&[])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads an export.
pub struct ExportReader<R> {
    input: R,
    origin: Origin,
    seed: u32,
    next: Commit,
    offset: u64,
    /// Parts of the last commit.
    parts: Vec<u8>,
}

impl<R: Read> ExportReader<R> {
    /// Begins to read.
    pub fn new(mut input: R) -> Result<Self, ExportError> {
        let mut header = [0; HEADER_LEN];
        match input.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ExportError::NotAnExport),
            read => read?,
        }
        let origin = Origin::decode(&header)?;
        let offset = HEADER_LEN as u64;
        Ok(Self { input, origin, seed: origin.seed(), next: Commit::NONE.next(), offset, parts: Vec::new() })
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The next commit; `None`: this was all, and the export is whole.
    pub fn next_commit(&mut self) -> Result<Option<Parts<'_>>, ExportError> {
        let mut head = [0; HEAD_LEN];
        self.fill(&mut head)?;
        let whole = Head::decode(&head, self.seed)
            .filter(|head| head.commit == self.next && head.unsynced == 0 && head.version <= FRAME_VERSION);
        let Some(head) = whole else {
            return Err(self.damaged());
        };
        let len = u64::from(head.len);
        let padded = stride(len) - HEAD_LEN as u64;
        self.parts.clear();
        let read = (&mut self.input).take(padded);
        read_pieces(read, &mut self.parts, padded)?;
        if (self.parts.len() as u64) < padded {
            return Err(self.incomplete());
        }
        self.parts.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        if crc32c::crc32c_append(self.seed, &self.parts) != head.crc {
            return Err(self.damaged());
        }
        if head.len == 0 {
            return self.end();
        }
        if Parts::parse(&self.parts).is_none() {
            return Err(self.damaged());
        }
        self.offset += head.stride();
        self.next = self.next.next();
        Ok(Parts::parse(&self.parts))
    }

    fn end(&mut self) -> Result<Option<Parts<'_>>, ExportError> {
        self.offset += HEAD_LEN.next_multiple_of(ALIGN) as u64;
        match self.input.read(&mut [0])? {
            0 => Ok(None),
            _ => Err(self.damaged()),
        }
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), ExportError> {
        match self.input.read_exact(buf) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.incomplete()),
            read => Ok(read?),
        }
    }

    fn incomplete(&self) -> ExportError {
        ExportError::Incomplete { commits: self.next.0 - 1 }
    }

    fn damaged(&self) -> ExportError {
        ExportError::Damaged { offset: self.offset, commits: self.next.0 - 1 }
    }
}

fn read_pieces(mut input: impl Read, out: &mut Vec<u8>, len: u64) -> io::Result<()> {
    while (out.len() as u64) < len {
        let before = out.len();
        (&mut input).take(PIECE).read_to_end(out)?;
        if out.len() == before {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { id: StoreId([7; 16]), made: 99, salt: 42 }
    }

    fn exported(commits: &[&[(u16, &[u8])]]) -> Vec<u8> {
        let mut writer = ExportWriter::new(Vec::new(), &origin()).unwrap();
        for parts in commits {
            writer.commit(parts).unwrap();
        }
        writer.finish().unwrap()
    }

    /// Commits of parts, copied.
    type Commits = Vec<Vec<(u16, Vec<u8>)>>;

    fn read(bytes: &[u8]) -> Result<Commits, ExportError> {
        let mut reader = ExportReader::new(bytes)?;
        assert_eq!(*reader.origin(), origin());
        let mut commits = Vec::new();
        while let Some(parts) = reader.next_commit()? {
            commits.push(parts.map(|(label, bytes)| (label, bytes.to_vec())).collect());
        }
        Ok(commits)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let long = vec![9; 3 << 20];
        let bytes = exported(&[&[(1, b"one"), (0, b"")], &[], &[(3, &long)]]);

        let expected: Commits = vec![vec![(1, b"one".to_vec()), (0, vec![])], vec![(3, long)]];
        assert_eq!(read(&bytes).unwrap(), expected);
        assert_eq!(read(&exported(&[])).unwrap(), Commits::new());
    }

    #[test]
    fn a_flipped_bit_is_seen_wherever_it_is_not_padding() {
        let bytes = exported(&[&[(1, b"eleven long")], &[(2, b"two")]]);
        let whole = read(&bytes).unwrap();
        let mut harmless = 0;
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&bad) {
                Err(_) => {}
                Ok(read) => {
                    assert_eq!(read, whole, "bit {bit}");
                    harmless += 1;
                }
            }
        }
        // 7 bytes behind each commit.
        assert_eq!(harmless, 2 * 7 * 8);
    }

    #[test]
    fn a_shorter_file_is_not_complete_and_a_longer_one_is_damaged() {
        let bytes = exported(&[&[(1, b"one")], &[(2, b"two")]]);
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).unwrap_err();
            let incomplete = matches!(error, ExportError::Incomplete { .. });
            assert!(incomplete || len < HEADER_LEN && matches!(error, ExportError::NotAnExport), "{len}: {error}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(matches!(read(&longer), Err(ExportError::Damaged { .. })));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = exported(&[]);
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());

        assert!(matches!(read(&bytes), Err(ExportError::NewerFormat { found: 2, known: 1 })));
    }
}
