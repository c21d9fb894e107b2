//! Frames: the fixed header and what follows it (§2.1).

use thiserror::Error;

use super::{VARINT_MAX, Varint, varint_len};
use crate::error::{Malformed, PeerError, Violation};

/// The largest frame there can be: one byte, four of length, and the largest remaining length.
pub const FRAME_LEN_MAX: u32 = VARINT_MAX + 5;

/// The front of a read buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Split<'a> {
    /// Not a whole frame yet; read more.
    Need,
    /// A frame.
    Frame {
        /// Packet type and flags.
        first: u8,
        /// Variable header and payload.
        body: &'a [u8],
        /// Bytes of the whole frame: where the next one begins.
        len: usize,
    },
}

/// There is no frame here, and none will come: close.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// The remaining length is no variable byte integer.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Larger than the limit; known as soon as the fixed header is there.
    #[error("a packet of {size} bytes is larger than our maximum packet size [MQTT-3.2.2-15]")]
    TooLarge {
        /// Of the whole packet, fixed header included (§3.1.2.11.4).
        size: u32,
    },
}

impl From<FrameError> for PeerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Malformed(malformed) => Self::Malformed(malformed),
            FrameError::TooLarge { size } => Self::Violation(Violation::PacketTooLarge { size }),
        }
    }
}

/// Finds the first frame in `bytes`. `max_packet_size` counts the whole frame, as Maximum Packet Size does (§3.1.2.11.4).
///
/// ```
/// use columba_proto::wire::{Split, split};
///
/// let bytes = [0xc0, 0x00, 0xc0]; // a PINGREQ and the beginning of the next
/// assert_eq!(split(&bytes, 1_024), Ok(Split::Frame { first: 0xc0, body: &[], len: 2 }));
/// assert_eq!(split(&bytes[2..], 1_024), Ok(Split::Need));
/// ```
#[inline]
pub fn split(bytes: &[u8], max_packet_size: u32) -> Result<Split<'_>, FrameError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Split::Need);
    };
    let Varint::Read { value, len } = Varint::read(rest)? else {
        return Ok(Split::Need);
    };
    let size = frame_len(value);
    if size > max_packet_size {
        return Err(FrameError::TooLarge { size });
    }
    match rest.get(len..len + value as usize) {
        Some(body) => Ok(Split::Frame { first, body, len: size as usize }),
        None => Ok(Split::Need),
    }
}

/// How long the frame is that has this remaining length.
#[inline]
pub const fn frame_len(remaining: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "1 to 4")]
    let length_bytes = varint_len(remaining) as u32;
    1 + length_bytes + remaining
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_only_when_its_last_byte_is_there() {
        let bytes = [0x30, 0x04, 0, 1, b'a', b'x', 0xff];

        for short in 0..6 {
            assert_eq!(split(&bytes[..short], 1_024), Ok(Split::Need));
        }
        assert_eq!(split(&bytes, 1_024), Ok(Split::Frame { first: 0x30, body: &bytes[2..6], len: 6 }));
    }

    #[test]
    fn a_frame_that_is_too_large_is_known_by_its_header() {
        let header = [0x30, 0xff, 0xff, 0xff, 0x7f];

        assert_eq!(split(&header, FRAME_LEN_MAX), Ok(Split::Need));
        assert_eq!(split(&header, FRAME_LEN_MAX - 1), Err(FrameError::TooLarge { size: FRAME_LEN_MAX }));
    }

    #[test]
    fn the_limit_counts_the_fixed_header() {
        let bytes = [0x30, 0x04, 0, 1, b'a', b'x'];

        assert!(split(&bytes, 6).is_ok());
        assert_eq!(split(&bytes, 5), Err(FrameError::TooLarge { size: 6 }));
    }
}
