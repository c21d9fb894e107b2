//! Writing fields behind each other into an out-buffer (§1.5).

use alloc::vec::Vec;

use super::{VARINT_MAX, varint_len};
use crate::packet_id::PacketId;
use crate::property::Property;
use crate::reason::ReasonCode;

/// Appends to a buffer. What it appends fits the standard's length fields, or the caller is wrong: it panics on a string
/// or binary value of more than 65,535 bytes, which no packet from the network can hold (see [`crate::check_text`]).
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Behind what the buffer already holds.
    #[inline]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// A two byte integer (§1.5.2).
    #[inline]
    pub fn u16(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    /// A four byte integer (§1.5.3).
    #[inline]
    pub fn u32(&mut self, number: u32) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    /// A variable byte integer in the fewest bytes [MQTT-1.5.5-1].
    ///
    /// # Panics
    ///
    /// Above [`VARINT_MAX`].
    #[inline]
    pub fn varint(&mut self, number: u32) {
        let (bytes, len) = varint_bytes(number);
        self.out.extend_from_slice(&bytes[..len]);
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Binary data behind its length (§1.5.6).
    ///
    /// # Panics
    ///
    /// On more than 65,535 bytes.
    #[inline]
    pub fn binary(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).expect("the caller keeps strings and binary data to 65,535 bytes");
        self.u16(len);
        self.raw(bytes);
    }

    /// A UTF-8 string behind its length (§1.5.4).
    ///
    /// # Panics
    ///
    /// On more than 65,535 bytes.
    #[inline]
    pub fn text(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    /// A packet identifier (§2.2.1).
    #[inline]
    pub fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    /// A reason code (§2.4).
    #[inline]
    pub fn reason(&mut self, reason: ReasonCode) {
        self.u8(reason.get());
    }

    /// A property, if there is one (§2.2.2.2).
    #[inline]
    pub(crate) fn property(&mut self, property: Option<Property<'_>>) {
        if let Some(property) = property {
            property.write(self);
        }
    }

    /// A fixed header and the body that `write` appends (§2.1).
    #[inline]
    pub fn frame(out: &'a mut Vec<u8>, first: u8, write: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = Self::new(out);
        writer.u8(first);
        writer.measured(write);
    }

    /// What `write` appends, behind its length as a variable byte integer: a frame's body, a property block. No properties
    /// have length zero [MQTT-2.2.2-1].
    ///
    /// One byte is kept free for the length. The few bodies that need more are moved; PUBLISH, which may be long,
    /// knows its length beforehand and does not come here.
    pub(crate) fn measured(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        let length_at = self.out.len();
        self.out.push(0);
        write(&mut Writer { out: self.out });
        let body_at = length_at + 1;
        let end = self.out.len();
        let (bytes, len) = varint_bytes(u32::try_from(end - body_at).unwrap_or(u32::MAX));
        if len > 1 {
            self.out.resize(end + len - 1, 0);
            self.out.copy_within(body_at..end, length_at + len);
        }
        self.out[length_at..length_at + len].copy_from_slice(&bytes[..len]);
    }
}

/// A number as a variable byte integer, and how many bytes of it count.
#[inline]
fn varint_bytes(number: u32) -> ([u8; 4], usize) {
    assert!(number <= VARINT_MAX, "{number} does not fit into a variable byte integer (§1.5.5)");
    let len = varint_len(number);
    let mut bytes = [0; 4];
    let mut left = number;
    for byte in &mut bytes {
        *byte = (left & 0x7f) as u8 | 0x80;
        left >>= 7;
    }
    bytes[len - 1] &= 0x7f;
    (bytes, len)
}
