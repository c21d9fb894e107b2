//! The few packets that a tool sends, and what it reads back, on the codec of proto.

use columba_proto::packet::{
    Ack, Connect, ConnectProperties, Packet, Publish, PublishProperties, Subscribe, SubscribeEntry, set_packet_id,
};
use columba_proto::wire::{FRAME_LEN_MAX, Split, split};
use columba_proto::{AckKind, PacketId, Peer, PeerError, QoS, ReasonCode, TopicName, Version, decode};

use super::SessionKind;

/// Seconds within which a tool says something, or is idle on purpose: longer than any measurement.
const KEEP_ALIVE: u16 = 600;
/// How long a session of a tool outlives its connection in MQTT 5, in seconds.
const SESSION_EXPIRY: u32 = 3600;
/// The byte that fills payloads.
const FILLER: u8 = b'c';

/// CONNECT for a session of this kind (§3.1).
pub(crate) fn connect(version: Version, client_id: &str, session: SessionKind) -> Vec<u8> {
    let clean_start = session == SessionKind::Clean;
    let mut frame = Vec::new();
    let session_expiry = (!clean_start).then_some(SESSION_EXPIRY);
    Connect {
        version,
        bridge: false,
        clean_start,
        keep_alive: KEEP_ALIVE,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties { session_expiry, ..ConnectProperties::default() },
    }
    .encode(&mut frame);
    frame
}

/// SUBSCRIBE to all of `filters` at one QoS (§3.8).
pub(crate) fn subscribe(version: Version, filters: &[String], qos: QoS) -> Vec<u8> {
    let entries: Vec<SubscribeEntry<'_>> = filters.iter().map(|filter| SubscribeEntry { filter, options: qos.into() }).collect();
    let mut frame = Vec::new();
    Subscribe { id: PacketId::FIRST, subscription_id: None, user_properties: <_>::default(), entries: entries.as_slice().into() }
        .encode(version, &mut frame);
    frame
}

/// An acknowledgement that all is well (§3.4 to §3.7).
pub(crate) fn acknowledge(version: Version, kind: AckKind, id: PacketId, out: &mut Vec<u8>) {
    Ack::new(kind, id, ReasonCode::SUCCESS).encode(version, out);
}

/// One PUBLISH of which only identifier and payload change from message to message (§3.3).
#[derive(Clone, Debug)]
pub(crate) struct Template {
    frame: Vec<u8>,
    payload: usize,
}

impl Template {
    /// # Panics
    ///
    /// When `topic` is no topic name: tools make their own.
    pub(crate) fn new(version: Version, qos: QoS, topic: &str, payload: usize) -> Self {
        let mut frame = Vec::new();
        let filler = vec![FILLER; payload];
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(topic).expect("tools publish to plain topic names")),
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::FIRST),
            payload: &filler,
            properties: PublishProperties::default(),
        }
        .encode(version, &mut frame)
        .expect("a payload of a tool is smaller than the largest packet");
        Self { frame, payload }
    }

    /// Appends one message; `write` fills its payload.
    pub(crate) fn append(&self, id: Option<PacketId>, out: &mut Vec<u8>, write: impl FnOnce(&mut [u8])) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        if let Some(id) = id {
            set_packet_id(frame, id);
        }
        let payload_at = frame.len() - self.payload;
        write(&mut frame[payload_at..]);
    }
}

/// The packet at the start of `bytes` and the length of its frame, once it is complete.
pub(crate) fn next(version: Version, bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, PeerError> {
    match split(bytes, FRAME_LEN_MAX)? {
        Split::Need => Ok(None),
        Split::Frame { first, body, len } => decode(version, Peer::Server, first, body).map(|packet| Some((packet, len))),
    }
}
