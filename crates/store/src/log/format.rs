//! The bytes of a segment: header and frames. `docs/format.md` draws them.

use std::io::IoSlice;

use super::error::Damage;
use super::{Commit, StoreId};

/// The newest segment format we read and the one we write.
pub(crate) const FORMAT: u32 = 1;
/// The version of a frame.
pub(crate) const FRAME_VERSION: u8 = 2;
/// Of a frame that was begun when all before it were synced.
const FRAME_VERSION_ALONE: u8 = 1;
/// How many frames may be written and not synced: what a head can count.
pub(crate) const UNSYNCED_MAX: u32 = (1 << 24) - 1;
const MAGIC: &[u8; 8] = b"COLUMBAJ";
/// The header's length; the rest of its page stays zero.
pub(crate) const HEADER_LEN: usize = 72;
/// Where frames begin: the header has a page of its own, which no frame write touches again.
pub(crate) const FRAMES_START: u64 = 4096;
/// The fixed part before a frame's parts.
pub(crate) const HEAD_LEN: usize = 24;
/// The fixed part before the bytes of one part.
const PART_HEAD_LEN: usize = 6;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// The first page of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) id: StoreId,
    pub(crate) salt: u64,
    pub(crate) segment: u64,
    pub(crate) first: Commit,
    pub(crate) size: u64,
}

/// Why a header was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeaderError {
    Damaged(Damage),
    Newer(u32),
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.id.0);
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..48].copy_from_slice(&self.segment.to_le_bytes());
        out[48..56].copy_from_slice(&self.first.0.to_le_bytes());
        out[56..64].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32c::crc32c(&out[..68]);
        out[68..72].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let damaged = HeaderError::Damaged(Damage::Header);
        if bytes.len() < HEADER_LEN || &bytes[0..8] != MAGIC || u32_at(bytes, 68) != crc32c::crc32c(&bytes[..68]) {
            return Err(damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT => {}
            newer if newer > FORMAT => return Err(HeaderError::Newer(newer)),
            _ => return Err(damaged),
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            id: StoreId(id),
            salt: u64_at(bytes, 32),
            segment: u64_at(bytes, 40),
            first: Commit(u64_at(bytes, 48)),
            size: u64_at(bytes, 56),
        })
    }

    /// What the checksums of this segment's frames start from.
    ///
    /// It holds the salt, which no peer knows, so that no payload can pretend to be a frame; and the segment number,
    /// so that what a recycled segment held before is no frame of this one.
    pub(crate) fn seed(&self) -> u32 {
        seed(self.salt, self.segment)
    }
}

pub(crate) fn seed(salt: u64, segment: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &segment.to_le_bytes())
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    /// Bytes of the parts that follow.
    pub(crate) len: u32,
    /// Checksum of these bytes.
    pub(crate) crc: u32,
    pub(crate) commit: Commit,
    pub(crate) version: u8,
    /// How many frames before this one were not yet known to be synced when it was begun; 24 bits.
    pub(crate) unsynced: u32,
}

impl Head {
    /// The head of a frame that is begun while `unsynced` frames before it may still be lost.
    pub(crate) fn new(len: u32, crc: u32, commit: Commit, unsynced: u32) -> Self {
        debug_assert!(unsynced <= UNSYNCED_MAX, "the writer syncs before");
        let version = if unsynced == 0 { FRAME_VERSION_ALONE } else { FRAME_VERSION };
        Self { len, crc, commit, version, unsynced }
    }

    /// The last commit that was on disk before this frame was begun: what proves that the frames up to it were whole.
    pub(crate) fn synced_before(&self) -> Commit {
        Commit(self.commit.0.saturating_sub(1 + u64::from(self.unsynced)))
    }

    /// Whether the frame shows that `lost`, which cannot be read, had been on disk: that is damage, and not a crash.
    pub(crate) fn proves(&self, lost: Commit) -> bool {
        self.commit >= lost && (self.unsynced == 0 || self.synced_before() >= lost)
    }

    pub(crate) fn encode(&self, seed: u32) -> [u8; HEAD_LEN] {
        let mut out = [0; HEAD_LEN];
        out[0..4].copy_from_slice(&self.len.to_le_bytes());
        out[4..8].copy_from_slice(&self.crc.to_le_bytes());
        out[8..16].copy_from_slice(&self.commit.0.to_le_bytes());
        out[16] = self.version;
        out[17..20].copy_from_slice(&self.unsynced.to_le_bytes()[..3]);
        let check = crc32c::crc32c_append(seed, &out[..20]);
        out[20..24].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// A head with its checksum; its version may be one that we cannot read.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let looks_right = bytes.len() >= HEAD_LEN
            && bytes[16] >= FRAME_VERSION_ALONE
            && (bytes[16] > FRAME_VERSION_ALONE || bytes[17..20] == [0, 0, 0]);
        if !looks_right || u32_at(bytes, 20) != crc32c::crc32c_append(seed, &bytes[..20]) {
            return None;
        }
        Some(Self {
            len: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            commit: Commit(u64_at(bytes, 8)),
            version: bytes[16],
            unsynced: u32::from_le_bytes([bytes[17], bytes[18], bytes[19], 0]),
        })
    }

    /// How far the next frame is from the start of this one.
    pub(crate) fn stride(&self) -> u64 {
        stride(u64::from(self.len))
    }
}

/// What stands around the bytes of a frame's parts.
pub(crate) struct Encoded {
    head: [u8; HEAD_LEN],
    part_heads: Vec<[u8; PART_HEAD_LEN]>,
    padding: usize,
}

impl Encoded {
    /// `None`: the parts are longer than a frame can be.
    pub(crate) fn new(commit: Commit, unsynced: u32, parts: &[(u16, &[u8])], seed: u32) -> Option<Self> {
        let len = u32::try_from(parts_len(parts)).ok()?;
        let mut crc = seed;
        let mut part_heads = Vec::with_capacity(parts.len());
        for (label, bytes) in parts {
            let head = part_head(*label, u32::try_from(bytes.len()).ok()?);
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &head), bytes);
            part_heads.push(head);
        }
        let head = Head::new(len, crc, commit, unsynced);
        let padding = usize::try_from(head.stride()).ok()? - HEAD_LEN - usize::try_from(len).ok()?;
        Some(Self { head: head.encode(seed), part_heads, padding })
    }

    /// All bytes of the frame, in order.
    pub(crate) fn slices<'a>(&'a self, parts: &[(u16, &'a [u8])]) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(2 * parts.len() + 2);
        slices.push(IoSlice::new(&self.head));
        for (head, (_, bytes)) in self.part_heads.iter().zip(parts) {
            slices.push(IoSlice::new(head));
            slices.push(IoSlice::new(bytes));
        }
        slices.push(IoSlice::new(&[0; ALIGN][..self.padding]));
        slices
    }
}

/// How long the parts of a frame are together.
pub(crate) fn parts_len(parts: &[(u16, &[u8])]) -> u64 {
    parts.iter().map(|(_, bytes)| (PART_HEAD_LEN + bytes.len()) as u64).sum()
}

/// How much room a frame takes whose parts have `len` bytes.
pub(crate) fn stride(len: u64) -> u64 {
    (HEAD_LEN as u64 + len).next_multiple_of(ALIGN as u64)
}

/// The parts of one frame: a label and opaque bytes each.
#[derive(Clone, Debug)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Accepts only bytes that the parts fill exactly.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split_part(rest)?.1;
        }
        Some(Self(bytes))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (part, rest) = split_part(self.0)?;
        self.0 = rest;
        Some(part)
    }
}

/// What may be the parts of a frame whose checksums do not hold, as far as their lengths make sense; and whether that is to the end.
pub fn guess_parts(bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut parts = Vec::new();
    let Some((head, mut rest)) = bytes.split_first_chunk::<HEAD_LEN>() else {
        return (parts, bytes.is_empty());
    };
    // Its length, where that is possible; else as if the frame filled the place.
    let len = u64::from(u32_at(head, 0));
    let fits = stride(len) == bytes.len() as u64;
    if let Ok(len) = usize::try_from(len)
        && fits
    {
        rest = &rest[..len];
    }
    while !rest.is_empty() {
        let Some(((_, part), behind)) = split_part(rest) else {
            return (parts, false);
        };
        parts.push(part);
        rest = behind;
    }
    (parts, fits)
}

/// A part with its label, and what stands behind it.
type Split<'a> = ((u16, &'a [u8]), &'a [u8]);

fn split_part(bytes: &[u8]) -> Option<Split<'_>> {
    let (label, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (part, rest) = rest.split_at_checked(len)?;
    Some(((u16::from_le_bytes(*label), part), rest))
}

/// The fixed part before the bytes of a part.
fn part_head(label: u16, len: u32) -> [u8; PART_HEAD_LEN] {
    let mut out = [0; PART_HEAD_LEN];
    out[..2].copy_from_slice(&label.to_le_bytes());
    out[2..].copy_from_slice(&len.to_le_bytes());
    out
}

/// Reads a number that the caller has checked to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

/// Reads a number that the caller has checked to be inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { id: StoreId([7; 16]), salt: 42, segment: 3, first: Commit(100), size: 8192 }
    }

    #[test]
    fn a_header_comes_back_and_a_flipped_bit_is_seen() {
        let bytes = header().encode();

        assert_eq!(Header::decode(&bytes), Ok(header()));
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = header().encode();
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..68]);
        bytes[68..72].copy_from_slice(&crc.to_le_bytes());

        assert_eq!(Header::decode(&bytes), Err(HeaderError::Newer(2)));
    }

    #[test]
    fn a_frame_of_another_segment_is_no_frame_here() {
        let head = Head::new(5, 9, Commit(1), 0);
        let other = Header { segment: 4, ..header() };

        let bytes = head.encode(header().seed());

        assert_eq!(Head::decode(&bytes, header().seed()), Some(head));
        assert_eq!(Head::decode(&bytes, other.seed()), None);
    }

    #[test]
    fn parts_must_fill_their_frame() {
        let mut bytes = part_head(2, 3).to_vec();
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&part_head(9, 0));

        let parts: Vec<_> = Parts::parse(&bytes).unwrap().collect();
        assert_eq!(parts, [(2, &b"abc"[..]), (9, &b""[..])]);
        assert!(Parts::parse(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn a_head_says_what_must_be_on_disk_because_it_is() {
        let alone = Head::new(5, 9, Commit(10), 0);
        let behind = Head::new(5, 9, Commit(10), 3);

        let (bytes, seed) = (behind.encode(header().seed()), header().seed());
        assert_eq!(Head::decode(&bytes, seed), Some(behind));
        assert_eq!((alone.synced_before(), behind.synced_before()), (Commit(9), Commit(6)));
        assert!(alone.proves(Commit(9)) && alone.proves(Commit(10)) && !alone.proves(Commit(11)));
        assert!(behind.proves(Commit(6)) && !behind.proves(Commit(7)));
        assert_eq!(Head::new(0, 0, Commit(1), UNSYNCED_MAX).synced_before(), Commit(0));
    }
}
