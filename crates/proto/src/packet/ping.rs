//! PINGREQ and PINGRESP (§3.12, §3.13): a fixed header and nothing else.

use alloc::vec::Vec;

use super::PacketType;
use crate::error::PeerError;
use crate::wire::{Reader, Writer};

pub(super) fn decode(body: &[u8]) -> Result<(), PeerError> {
    Reader::new(body).finish()
}

pub(super) fn encode(packet: PacketType, out: &mut Vec<u8>) {
    Writer::frame(out, packet.first_byte(), |_| {});
}
