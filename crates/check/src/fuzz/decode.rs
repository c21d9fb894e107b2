//! Bytes from a peer, as every version and both sides read them.

use columba_proto::{
    Peer, Version, decode as decode_packet,
    wire::{FRAME_LEN_MAX, Split, split},
};

/// Whatever comes, reading ends in packets or in an error: the same ones, however the bytes were cut into reads.
///
/// # Panics
///
/// When it does not.
pub fn decode(data: &[u8]) {
    for version in Version::ALL {
        for from in [Peer::Client, Peer::Server] {
            stream(version, from, data);
        }
    }
}

fn stream(version: Version, from: Peer, data: &[u8]) {
    let mut rest = data;
    while let Ok(Split::Frame { first, body, len }) = split(rest, FRAME_LEN_MAX) {
        assert!(len <= rest.len() && body.len() < len, "a frame lies within what was read");
        assert_eq!(split(&rest[..len - 1], FRAME_LEN_MAX), Ok(Split::Need), "a frame without its last byte is no frame yet");
        assert_eq!(
            split(&rest[..len], FRAME_LEN_MAX),
            Ok(Split::Frame { first, body, len }),
            "what is behind a frame is not read"
        );
        if let Ok(packet) = decode_packet(version, from, first, body) {
            // Lists in a packet are read when they are walked over: also that ends well.
            let shown = format!("{packet:?}");
            assert_eq!(shown, format!("{:?}", packet.clone()), "it reads the same twice");
        }
        rest = &rest[len..];
    }
}
