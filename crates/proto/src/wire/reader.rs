//! Reading fields from the body of a frame (§1.5). Everything is borrowed.

use super::Varint;
use crate::error::{Malformed, PeerError};
use crate::packet_id::PacketId;
use crate::text;

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Is nothing left?
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left, as a payload.
    #[inline]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Malformed::Truncated);
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(Malformed::Truncated);
        };
        self.rest = rest;
        Ok(byte)
    }

    /// A two byte integer (§1.5.2).
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(Malformed::Truncated);
        };
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A four byte integer (§1.5.3).
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(Malformed::Truncated);
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer (§1.5.5).
    #[inline]
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        match Varint::read(self.rest)? {
            Varint::Need => Err(Malformed::Truncated),
            Varint::Read { value, len } => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Ok(value)
            }
        }
    }

    /// Binary data behind its length (§1.5.6).
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string behind its length (§1.5.4).
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        text::from_wire(self.binary()?)
    }

    /// A topic name behind its length, not yet checked to be one: whoever reads it as a [`crate::TopicName`] looks for
    /// U+0000 together with the wildcards.
    #[inline]
    pub(crate) fn unchecked_topic(&mut self) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.binary()?).map_err(|_| Malformed::NotUtf8)
    }

    /// A packet identifier (§2.2.1).
    #[inline]
    pub fn packet_id(&mut self) -> Result<PacketId, Malformed> {
        PacketId::try_from(self.u16()?)
    }

    /// Ends the packet: nothing may be left.
    #[inline]
    pub fn finish(self) -> Result<(), PeerError> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes.into()) }
    }
}
