//! What a measured payload carries: who sent it, its number, when it was meant to leave, and a checksum.

/// Publisher, sequence, time, checksum.
pub(crate) const STAMP: usize = 4 + 8 + 8 + 4;

/// The stamp of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) sequence: u64,
    /// Nanoseconds since the run began at which the message was due.
    pub(crate) due: u64,
}

impl Stamp {
    /// Writes the stamp over the first bytes of `payload`, which must have room for it.
    pub(crate) fn write(self, payload: &mut [u8]) {
        payload[0..4].copy_from_slice(&self.publisher.to_le_bytes());
        payload[4..12].copy_from_slice(&self.sequence.to_le_bytes());
        payload[12..20].copy_from_slice(&self.due.to_le_bytes());
        let sum = checksum(payload);
        payload[20..24].copy_from_slice(&sum.to_le_bytes());
    }

    /// Nothing when the payload is not what [`Stamp::write`] made.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let publisher = u32::from_le_bytes(*payload.first_chunk()?);
        let sequence = u64::from_le_bytes(*payload.get(4..)?.first_chunk()?);
        let due = u64::from_le_bytes(*payload.get(12..)?.first_chunk()?);
        let sum = u32::from_le_bytes(*payload.get(20..)?.first_chunk()?);
        (sum == checksum(payload)).then_some(Self { publisher, sequence, due })
    }
}

/// Over everything but its own four bytes.
fn checksum(payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&payload[..20]), &payload[STAMP..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_and_one_changed_bit_is_noticed() {
        let stamp = Stamp { publisher: 3, sequence: 1 << 40, due: 99 };
        let mut payload = vec![0x5a; 64];
        stamp.write(&mut payload);

        assert_eq!(Stamp::read(&payload), Some(stamp));

        payload[63] ^= 1;
        assert_eq!(Stamp::read(&payload), None);
        assert_eq!(Stamp::read(&payload[..STAMP - 1]), None);
    }
}
