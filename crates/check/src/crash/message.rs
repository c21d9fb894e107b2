//! What publishers of a storm send: each message says who sent it and which of his it is, and can be seen to be whole.

/// Publisher, number, and whether it is the publisher's last: what stands before it has arrived once this has.
const HEAD: usize = 8 + 8 + 1;
/// Most messages have fewer bytes than this behind the head.
const BODY_MAX: u64 = 500;
/// Each so many'th is longer than what a file system writes at once.
const LONG_EVERY: u64 = 8;
const LONG: usize = 9_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub(super) publisher: usize,
    pub(super) sequence: u64,
    pub(super) is_last: bool,
}

impl Message {
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.body_len());
        bytes.extend_from_slice(&(self.publisher as u64).to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.push(u8::from(self.is_last));
        bytes.resize(HEAD + self.body_len(), self.body_byte());
        bytes
    }

    /// Nothing unless every byte is as it was sent.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (publisher, rest) = bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (&is_last, body) = rest.split_first()?;
        let publisher = usize::try_from(u64::from_le_bytes(*publisher)).ok()?;
        let message = Self { publisher, sequence: u64::from_le_bytes(*sequence), is_last: is_last == 1 };
        let is_whole = body.len() == message.body_len() && body.iter().all(|&byte| byte == message.body_byte());
        is_whole.then_some(message)
    }

    fn body_len(self) -> usize {
        if self.sequence % LONG_EVERY == LONG_EVERY - 1 {
            return LONG;
        }
        // Lengths that look like chance and come from the number.
        (self.sequence.wrapping_mul(0x9e37_79b9).wrapping_add(self.publisher as u64) % BODY_MAX) as usize
    }

    fn body_byte(self) -> u8 {
        (self.sequence.wrapping_mul(31).wrapping_add(self.publisher as u64) % 251) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_an_altered_one_is_not() {
        for sequence in [0, 1, 63, 1_000_000] {
            let message = Message { publisher: 3, sequence, is_last: sequence == 1 };
            let bytes = message.bytes();
            assert_eq!(Message::read(&bytes), Some(message));
            assert_eq!(Message::read(&bytes[..bytes.len() - 1]), None);
            let mut altered = bytes.clone();
            altered[8] ^= 2;
            assert_eq!(Message::read(&altered), None, "{sequence}");
        }
    }
}
