//! Payloads that say which message they are, and cannot be mistaken or cut short unnoticed.

use super::rng::splitmix;
use crate::model::MessageNo;

/// Writes the payload of a message: its number, then bytes that follow from it.
pub(crate) fn write(message: MessageNo, out: &mut Vec<u8>) {
    out.extend_from_slice(&message.0.to_be_bytes());
    for at in 0..filler_len(message) {
        out.push(filler(message, at));
    }
}

/// Which message this payload is, where it is one, whole.
pub(crate) fn read(payload: &[u8]) -> Option<MessageNo> {
    let (number, rest) = payload.split_first_chunk()?;
    let message = MessageNo(u32::from_be_bytes(*number));
    let whole = rest.len() == filler_len(message) && (0..).zip(rest).all(|(at, &byte)| byte == filler(message, at));
    whole.then_some(message)
}

/// Whether a message is one of the few large ones.
pub(crate) fn is_large(message: MessageNo) -> bool {
    filler_len(message) >= LARGE
}

const LARGE: usize = 900;

/// Mostly small; one in 32 does not fit one sector of the disk.
fn filler_len(message: MessageNo) -> usize {
    let drawn = splitmix(u64::from(message.0) ^ 0x005e_ed0f_1e57);
    if drawn.is_multiple_of(32) { LARGE } else { usize::from(drawn.to_le_bytes()[1] % 24) }
}

fn filler(message: MessageNo, at: usize) -> u8 {
    message.0.to_le_bytes()[at % 4] ^ at.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_recognised_whole_and_not_cut() {
        for number in 0..200 {
            let mut payload = Vec::new();
            write(MessageNo(number), &mut payload);

            assert_eq!(read(&payload), Some(MessageNo(number)));
            payload.push(0);
            assert_eq!(read(&payload), None);
            payload.truncate(payload.len() - 2);
            assert_eq!(read(&payload), None);
        }
    }
}
