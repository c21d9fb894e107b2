//! What was read and is written again is read as the same.

use columba_proto::{
    Peer, Version, decode,
    packet::Packet,
    wire::{FRAME_LEN_MAX, Split, split},
};

/// A packet that can be read can be written, in at most as many bytes, and what was written is read as the packet.
///
/// # Panics
///
/// When it is not.
pub fn round_trip(data: &[u8]) {
    for version in Version::ALL {
        for from in [Peer::Client, Peer::Server] {
            let mut rest = data;
            while let Ok(Split::Frame { first, body, len }) = split(rest, FRAME_LEN_MAX) {
                if let Ok(packet) = decode(version, from, first, body) {
                    there_and_back(version, from, &packet, len);
                }
                rest = &rest[len..];
            }
        }
    }
}

fn there_and_back(version: Version, from: Peer, packet: &Packet<'_>, len: usize) {
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("it came in a frame");
    assert!(frame.len() <= len, "{packet:?} has grown from {len} bytes to {}", frame.len());
    let Ok(Split::Frame { first, body, len }) = split(&frame, FRAME_LEN_MAX) else { panic!("{packet:?} became no frame") };
    assert_eq!(len, frame.len(), "{packet:?} became more than a frame");
    let again = decode(version, from, first, body);
    assert_eq!(again.as_ref(), Ok(packet));
    let mut twice = Vec::new();
    packet.encode(version, &mut twice).expect("it was written before");
    assert_eq!(frame, twice);
}
