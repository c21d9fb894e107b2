//! A packet that the other side sent.

use columba_proto::packet::{Ack, Connack, Disconnect, Packet, PacketType, Publish, Suback, Unsuback};
use columba_proto::wire::{FRAME_LEN_MAX, Split, split};
use columba_proto::{Peer, PeerError, Version, decode};

use super::words::describe;

/// A whole, well-formed packet with its bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    from: Peer,
    version: Version,
    first: u8,
    body: Vec<u8>,
    /// Bytes of the whole frame.
    pub size: usize,
}

/// An accessor was called on another packet than the one that was awaited: a mistake of the script.
const OTHER: &str = "a script asks a packet for what it has";

impl Heard {
    /// Takes the first frame out of `read`; `None` while it is not whole.
    pub(crate) fn take(from: Peer, version: Version, read: &mut Vec<u8>) -> Result<Option<Self>, PeerError> {
        let (first, body, size) = match split(read, FRAME_LEN_MAX)? {
            Split::Frame { first, body, len } => (first, body.to_vec(), len),
            Split::Need => return Ok(None),
        };
        read.drain(..size);
        decode(version, from, first, &body)?;
        Ok(Some(Self { from, version, first, body, size }))
    }

    /// The packet.
    ///
    /// # Panics
    ///
    /// Never: it was decoded when it came.
    pub fn packet(&self) -> Packet<'_> {
        decode(self.version, self.from, self.first, &self.body).expect("it was decoded when it came")
    }

    /// What it is.
    pub fn packet_type(&self) -> PacketType {
        self.packet().packet_type()
    }

    /// The bytes behind the fixed header.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The CONNACK that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn connack(&self) -> Connack<'_> {
        let Packet::Connack(connack) = self.packet() else { panic!("{OTHER}") };
        connack
    }

    /// The PUBLISH that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn publish(&self) -> Publish<'_> {
        let Packet::Publish(publish) = self.packet() else { panic!("{OTHER}") };
        publish
    }

    /// The topic of the PUBLISH that was awaited; empty where an alias stands for it.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn topic(&self) -> &str {
        let Packet::Publish(publish) = self.packet() else { panic!("{OTHER}") };
        publish.topic.map_or("", |topic| topic.as_str())
    }

    /// The PUBACK, PUBREC, PUBREL or PUBCOMP that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn ack(&self) -> Ack<'_> {
        let Packet::Ack(ack) = self.packet() else { panic!("{OTHER}") };
        ack
    }

    /// The SUBACK that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn suback(&self) -> Suback<'_> {
        let Packet::Suback(suback) = self.packet() else { panic!("{OTHER}") };
        suback
    }

    /// The UNSUBACK that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn unsuback(&self) -> Unsuback<'_> {
        let Packet::Unsuback(unsuback) = self.packet() else { panic!("{OTHER}") };
        unsuback
    }

    /// The DISCONNECT that was awaited.
    ///
    /// # Panics
    ///
    /// If it is another packet.
    pub fn disconnect(&self) -> Disconnect<'_> {
        let Packet::Disconnect(disconnect) = self.packet() else { panic!("{OTHER}") };
        disconnect
    }

    /// For people.
    pub fn told(&self) -> String {
        describe(self.version, &self.packet())
    }
}
