//! Variable byte integers (§1.5.5).

use crate::error::Malformed;

/// The largest number that four bytes of seven bits hold.
pub const VARINT_MAX: u32 = 268_435_455;

/// What the first bytes of a buffer say about a variable byte integer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Varint {
    /// The buffer ends before the number does.
    Need,
    /// A number, and the bytes it took.
    Read { value: u32, len: usize },
}

impl Varint {
    /// Reads at most four bytes, and no more bytes than the number needs [MQTT-1.5.5-1].
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        // Nearly all packets and all usual property blocks are shorter than 128 bytes.
        match bytes.first() {
            None => Ok(Self::Need),
            Some(&byte) if byte < 0x80 => Ok(Self::Read { value: u32::from(byte), len: 1 }),
            Some(_) => Self::read_long(bytes),
        }
    }

    fn read_long(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut value = 0;
        for (at, &byte) in bytes.iter().take(4).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                if byte == 0 && at > 0 {
                    return Err(Malformed::VarintNotMinimal);
                }
                return Ok(Self::Read { value, len: at + 1 });
            }
        }
        if bytes.len() < 4 { Ok(Self::Need) } else { Err(Malformed::VarintTooLong) }
    }
}

/// How many bytes a number takes.
#[inline]
pub const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::Writer;

    #[test]
    fn the_limits_of_table_1_1_survive_the_trip() {
        for (value, len) in
            [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4), (VARINT_MAX, 4)]
        {
            let mut out = Vec::new();
            Writer::new(&mut out).varint(value);

            assert_eq!(out.len(), len);
            assert_eq!(varint_len(value), len);
            assert_eq!(Varint::read(&out), Ok(Varint::Read { value, len }));
            for short in 0..len {
                assert_eq!(Varint::read(&out[..short]), Ok(Varint::Need));
            }
        }
    }

    #[test]
    fn a_fifth_byte_and_a_useless_last_byte_are_malformed() {
        assert_eq!(Varint::read(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed::VarintTooLong));
        assert_eq!(Varint::read(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(Malformed::VarintTooLong));
        assert_eq!(Varint::read(&[0x80, 0x00]), Err(Malformed::VarintNotMinimal));
        assert_eq!(Varint::read(&[0xff, 0x80, 0x00]), Err(Malformed::VarintNotMinimal));
    }
}
