//! Packets byte by byte, for those that no encoder makes.

use columba_proto::Version;
use columba_proto::wire::Writer;

use super::client::frame;

/// First byte of a CONNECT.
pub(super) const CONNECT: u8 = 0x10;
/// The connect flags (§3.1.2.3), by bit.
pub(super) const RESERVED: u8 = 0x01;
pub(super) const CLEAN: u8 = 0x02;
pub(super) const WILL: u8 = 0x04;
pub(super) const WILL_QOS_1: u8 = 0x08;
pub(super) const WILL_QOS_2: u8 = 0x10;
pub(super) const WILL_RETAIN: u8 = 0x20;
pub(super) const PASSWORD: u8 = 0x40;
pub(super) const USER_NAME: u8 = 0x80;

/// A string or binary value behind its length (§1.5.4, §1.5.6).
pub(super) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).binary(bytes.as_ref());
    out
}

/// These properties behind their length; nothing where the version has none (§2.2.2).
///
/// # Panics
///
/// With more of them than a variable byte integer counts.
pub(super) fn properties(version: Version, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if version.has_properties() {
        let mut writer = Writer::new(&mut out);
        writer.varint(u32::try_from(block.len()).expect("a block that a packet can have"));
        writer.raw(block);
    }
    out
}

/// A user property (§2.2.2.2).
pub(super) fn user_property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x26], text(name), text(value)].concat()
}

/// A CONNECT: name and level as given, keep-alive of a minute, then these bytes.
pub(super) fn connect_as(name: &str, level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    frame(CONNECT, &[&text(name)[..], &[level, flags, 0, 60], rest].concat())
}

/// A CONNECT of this version: its properties, then the fields of the payload.
pub(super) fn connect(version: Version, flags: u8, block: &[u8], payload: &[Vec<u8>]) -> Vec<u8> {
    let rest = [properties(version, block), payload.concat()].concat();
    connect_as(version.protocol_name(), version.level(), flags, &rest)
}

/// A PUBLISH with the low four bits of its first byte.
pub(super) fn publish(version: Version, flags: u8, topic: &[u8], id: Option<u16>, block: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = id.map_or(Vec::new(), |id| id.to_be_bytes().to_vec());
    frame(0x30 | flags, &[&text(topic)[..], &id, &properties(version, block), payload].concat())
}

/// A SUBSCRIBE to one filter at QoS 0.
pub(super) fn subscribe(version: Version, id: u16, filter: &[u8]) -> Vec<u8> {
    frame(0x82, &[&id.to_be_bytes()[..], &properties(version, &[]), &text(filter), &[0]].concat())
}

/// An UNSUBSCRIBE from one filter.
pub(super) fn unsubscribe(version: Version, id: u16, filter: &[u8]) -> Vec<u8> {
    frame(0xa2, &[&id.to_be_bytes()[..], &properties(version, &[]), &text(filter)].concat())
}
