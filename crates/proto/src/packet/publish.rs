//! PUBLISH (§3.3), the hot path: decoded without allocation, encoded straight into the out-buffer.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU16;

use super::{PacketType, Peer};
use crate::error::{Malformed, PeerError, Violation};
use crate::packet_id::PacketId;
use crate::property::{Properties, Property, PropertyId, PropertyPlace, SubscriptionId, SubscriptionIds, UserProperties};
use crate::qos::QoS;
use crate::text::Unsaid;
use crate::topic::TopicName;
use crate::version::Version;
use crate::wire::{FrameError, Reader, VARINT_MAX, Writer, frame_len, varint_len};

const DUP: u8 = 0b1000;
const QOS: u8 = 0b0110;
const RETAIN: u8 = 0b0001;

/// PUBLISH (§3.3).
#[derive(Clone, Eq, PartialEq)]
pub struct Publish<'a> {
    /// Sent before, perhaps in vain (§3.3.1.1).
    pub dup: bool,
    /// §3.3.1.2
    pub qos: QoS,
    /// §3.3.1.3
    pub retain: bool,
    /// `None`: empty, and a topic alias stands in its place (§3.3.2.3.4).
    pub topic: Option<TopicName<'a>>,
    /// With QoS 1 and 2 only [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// What it is all about (§3.3.3).
    pub payload: &'a [u8],
    /// Empty where the version has none.
    pub properties: PublishProperties<'a>,
}

/// What a v5 PUBLISH or will may add (§3.3.2.3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PublishProperties<'a> {
    /// True: the payload is UTF-8 text (§3.3.2.3.2).
    pub payload_format: Option<bool>,
    /// Seconds (§3.3.2.3.3).
    pub message_expiry: Option<u32>,
    /// §3.3.2.3.4
    pub topic_alias: Option<NonZeroU16>,
    /// A topic name [MQTT-3.3.2-14].
    pub response_topic: Option<&'a str>,
    /// §3.3.2.3.6
    pub correlation_data: Option<&'a [u8]>,
    /// In their order [MQTT-3.3.2-18].
    pub user_properties: UserProperties<'a>,
    /// From servers only [MQTT-3.3.4-6].
    pub subscription_ids: SubscriptionIds<'a>,
    /// §3.3.2.3.9
    pub content_type: Option<&'a str>,
}

impl<'a> Publish<'a> {
    /// Reads flags and body (§3.3.1, §3.3.2); the topic name comes first [MQTT-3.3.2-1].
    #[inline]
    pub fn decode(version: Version, from: Peer, flags: u8, body: &'a [u8]) -> Result<Self, PeerError> {
        let qos = QoS::try_from((flags & QOS) >> 1)?;
        let dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Malformed::DupAtMostOnce.into());
        }
        let mut reader = Reader::new(body);
        let topic = reader.unchecked_topic()?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.has_properties() { PublishProperties::read(&mut reader, from)? } else { PublishProperties::default() };
        let topic = if topic.is_empty() && version.has_topic_aliases() {
            if properties.topic_alias.is_none() {
                return Err(Violation::NoTopic.into());
            }
            None
        } else {
            Some(TopicName::new(topic)?)
        };
        let payload = reader.rest();
        Ok(Self { dup, qos, retain: flags & RETAIN != 0, topic, packet_id, payload, properties })
    }

    /// Appends the whole frame, or nothing if no frame can hold it.
    ///
    /// Meant for clients and tests; who sends one message to many encodes a [`PublishHead`].
    ///
    /// # Panics
    ///
    /// On a string or binary value of more than 65,535 bytes (see [`crate::check_text`]), and on a packet identifier that
    /// does not go with the QoS.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut forwarded = Vec::new();
        if version.has_properties() {
            self.properties.forwarded_block(&mut forwarded);
        }
        let ids: Vec<SubscriptionId> = self.properties.subscription_ids.iter().collect();
        let head = PublishHead {
            topic: self.topic.map_or("", TopicName::as_str),
            forwarded: &forwarded,
            message_expiry: self.properties.message_expiry,
            topic_alias: self.properties.topic_alias,
            subscription_ids: &ids,
            retain: self.retain,
            dup: self.dup,
            qos: self.qos,
            packet_id: self.packet_id,
            payload: self.payload,
        };
        head.encode(version, out)
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dup, qos, retain, topic, packet_id, payload, properties } = self;
        f.debug_struct("Publish")
            .field("dup", dup)
            .field("qos", qos)
            .field("retain", retain)
            .field("topic", topic)
            .field("packet_id", packet_id)
            .field("payload", &Unsaid(payload.len()))
            .field("properties", properties)
            .finish()
    }
}

impl<'a> PublishProperties<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, from: Peer) -> Result<Self, PeerError> {
        let block = Properties::read(reader, PropertyPlace::Publish)?;
        if block.block().is_empty() {
            return Ok(Self::default());
        }
        Self::read_block(block, from)
    }

    fn read_block(mut block: Properties<'a>, from: Peer) -> Result<Self, PeerError> {
        let bytes = block.block();
        let mut properties = Self { subscription_ids: SubscriptionIds::of_checked_block(bytes), ..Self::default() };
        let (mut run, mut user_bytes) = (0..0, 0);
        loop {
            let from_here = block.block();
            let Some(property) = block.next() else { break };
            let property = property?;
            if property.id() == PropertyId::UserProperty {
                let (at, end) = (bytes.len() - from_here.len(), bytes.len() - block.block().len());
                run = if user_bytes == 0 { at..end } else { run.start..end };
                user_bytes += end - at;
                continue;
            }
            if property.id() == PropertyId::SubscriptionIdentifier && from == Peer::Client {
                return Err(Violation::PropertyDirection(PropertyId::SubscriptionIdentifier).into());
            }
            properties.set(property)?;
        }
        // Nearly everybody writes them one after the other.
        properties.user_properties = if run.len() == user_bytes {
            UserProperties::of_checked_run(&bytes[run])
        } else {
            UserProperties::of_checked_block(bytes, PropertyPlace::Publish)
        };
        Ok(properties)
    }

    pub(super) fn set(&mut self, property: Property<'a>) -> Result<(), PeerError> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
        match property {
            Property::PayloadFormatIndicator(is_text) => self.payload_format = Some(is_text),
            Property::MessageExpiryInterval(seconds) => self.message_expiry = Some(seconds),
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            Property::ResponseTopic(topic) => self.response_topic = Some(topic),
            Property::CorrelationData(data) => self.correlation_data = Some(data),
            Property::ContentType(text) => self.content_type = Some(text),
            Property::SubscriptionIdentifier(_) | Property::UserProperty(_) => {}
            other => return Err(other.misplaced()),
        }
        Ok(())
    }

    /// Appends the properties that a server forwards unchanged [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16]
    /// [MQTT-3.3.2-17] [MQTT-3.3.2-20]: payload format, content type, response topic, correlation data and User Properties,
    /// in this order. Expiry, alias and subscription identifiers belong to one hop and are not in it.
    #[inline]
    pub fn forwarded_block(&self, out: &mut Vec<u8>) {
        self.write_forwarded(&mut Writer::new(out));
    }

    #[inline]
    pub(super) fn write_forwarded(&self, out: &mut Writer<'_>) {
        self.each_forwarded(|property| property.write(out));
        self.user_properties.write(out);
    }

    /// How many bytes [`PublishProperties::forwarded_block`] appends.
    pub fn forwarded_len(&self) -> usize {
        let mut len = 0;
        self.each_forwarded(|property| len += property.len());
        len + self.user_properties.len()
    }

    /// Reads what [`PublishProperties::forwarded_block`] wrote.
    pub fn from_forwarded_block(block: &'a [u8]) -> Result<Self, PeerError> {
        Self::read_block(Properties::of_block(block, PropertyPlace::Publish), Peer::Client)
    }

    /// All but the User Properties, of which there may be many.
    #[inline]
    fn each_forwarded(&self, mut each: impl FnMut(Property<'a>)) {
        if let Some(is_text) = self.payload_format {
            each(Property::PayloadFormatIndicator(is_text));
        }
        if let Some(text) = self.content_type {
            each(Property::ContentType(text));
        }
        if let Some(topic) = self.response_topic {
            each(Property::ResponseTopic(topic));
        }
        if let Some(data) = self.correlation_data {
            each(Property::CorrelationData(data));
        }
    }
}

/// A PUBLISH to encode from what a server keeps of a message: the forwarded properties as one block of bytes that is
/// copied, never parsed. In a version without properties they and the aliases are left out.
#[derive(Clone, Copy)]
pub struct PublishHead<'a> {
    /// A topic name, or empty where an alias stands for it.
    pub topic: &'a str,
    /// What [`PublishProperties::forwarded_block`] wrote.
    pub forwarded: &'a [u8],
    /// Seconds that are left [MQTT-3.3.2-6].
    pub message_expiry: Option<u32>,
    /// §3.3.2.3.4
    pub topic_alias: Option<NonZeroU16>,
    /// Those of all subscriptions that this copy answers [MQTT-3.3.4-3].
    pub subscription_ids: &'a [SubscriptionId],
    /// §3.3.1.3
    pub retain: bool,
    /// §3.3.1.1
    pub dup: bool,
    /// §3.3.1.2
    pub qos: QoS,
    /// With QoS 1 and 2, and only then [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// §3.3.3
    pub payload: &'a [u8],
}

impl PublishHead<'_> {
    /// Bytes of the whole frame, to hold against the receiver's Maximum Packet Size before anything is encoded
    /// [MQTT-3.1.2-24]. May be more than any frame can have.
    #[inline]
    pub fn frame_len(&self, version: Version) -> u64 {
        let remaining = self.remaining_len(version) as u64;
        let length_bytes = u32::try_from(remaining).map_or(4, varint_len) as u64;
        1 + length_bytes + remaining
    }

    /// Appends the whole frame, or nothing if no frame can hold it.
    ///
    /// # Panics
    ///
    /// On a topic of more than 65,535 bytes, and on a packet identifier that does not go with the QoS.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let remaining = self.checked_remaining_len(version)?;
        out.reserve(frame_len(remaining) as usize);
        self.write_head(version, remaining, out);
        out.extend_from_slice(self.payload);
        Ok(())
    }

    /// Appends all of the frame but the payload, which the caller sends behind it without copying.
    ///
    /// # Panics
    ///
    /// As [`PublishHead::encode`].
    #[inline]
    pub fn encode_without_payload(&self, version: Version, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let remaining = self.checked_remaining_len(version)?;
        self.write_head(version, remaining, out);
        Ok(())
    }

    fn checked_remaining_len(&self, version: Version) -> Result<u32, FrameError> {
        match u32::try_from(self.remaining_len(version)) {
            Ok(remaining) if remaining <= VARINT_MAX => Ok(remaining),
            Ok(_) | Err(_) => {
                let size = u32::try_from(self.frame_len(version)).unwrap_or(u32::MAX);
                Err(FrameError::TooLarge { size })
            }
        }
    }

    #[inline]
    fn write_head(&self, version: Version, remaining: u32, out: &mut Vec<u8>) {
        assert_eq!(
            self.packet_id.is_some(),
            self.qos > QoS::AtMostOnce,
            "a packet identifier goes with QoS 1 and 2, and only with them [MQTT-2.2.1-2]"
        );
        let mut out = Writer::new(out);
        out.u8(PacketType::Publish.first_byte() | self.flags());
        out.varint(remaining);
        out.text(self.topic);
        if let Some(id) = self.packet_id {
            out.packet_id(id);
        }
        if version.has_properties() {
            self.write_properties(&mut out);
        }
    }

    const fn flags(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        dup | (self.qos as u8) << 1 | retain
    }

    #[inline]
    fn remaining_len(&self, version: Version) -> usize {
        let id = if self.packet_id.is_some() { 2 } else { 0 };
        let properties = if version.has_properties() {
            let len = self.properties_len();
            // A block that overflows its own length overflows the frame's too.
            len + u32::try_from(len).map_or(4, varint_len)
        } else {
            0
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    #[inline]
    fn properties_len(&self) -> usize {
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let ids: usize = self.subscription_ids.iter().map(|id| Property::SubscriptionIdentifier(*id).len()).sum();
        self.forwarded.len() + expiry + alias + ids
    }

    #[inline]
    fn write_properties(&self, out: &mut Writer<'_>) {
        let len = u32::try_from(self.properties_len()).expect("the remaining length has been checked, and this is less");
        out.varint(len);
        out.property(self.message_expiry.map(Property::MessageExpiryInterval));
        out.property(self.topic_alias.map(Property::TopicAlias));
        for id in self.subscription_ids {
            Property::SubscriptionIdentifier(*id).write(out);
        }
        out.raw(self.forwarded);
    }
}

/// Sets DUP in an encoded PUBLISH that is sent again [MQTT-3.3.1-1].
#[inline]
pub fn mark_repeated(frame: &mut [u8]) {
    if let Some(first) = frame.first_mut() {
        *first |= DUP;
    }
}

/// Puts another packet identifier into an encoded QoS 1 or 2 PUBLISH, so that one encoding serves many receivers.
///
/// # Panics
///
/// If `frame` is not such a PUBLISH.
#[inline]
pub fn set_packet_id(frame: &mut [u8], id: PacketId) {
    const IS_PUBLISH: &str = "the caller has encoded a PUBLISH with QoS 1 or 2";
    let first = frame.first().copied().expect(IS_PUBLISH);
    assert!(first >> 4 == PacketType::Publish as u8 && first & QOS != 0, "{IS_PUBLISH}");
    let length_bytes = 1 + frame[1..].iter().take_while(|byte| **byte >= 0x80).count();
    let topic_at = 1 + length_bytes;
    let topic_len = u16::from_be_bytes([frame[topic_at], frame[topic_at + 1]]);
    let id_at = topic_at + 2 + usize::from(topic_len);
    frame[id_at..id_at + 2].copy_from_slice(&id.get().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn user_properties_are_forwarded_in_their_order_whatever_stands_between_them() {
        const A: &[u8] = b"\x26\0\x01a\0\x01b";
        const C: &[u8] = b"\x26\0\x01c\0\x01d";
        const TEXT: &[u8] = b"\x01\x01";
        const EXPIRY: &[u8] = b"\x02\0\0\0\x09";
        let blocks: [&[&[u8]]; 6] = [
            &[A, C, TEXT, EXPIRY],
            &[TEXT, A, C, EXPIRY],
            &[EXPIRY, TEXT, A, C],
            &[A, TEXT, C],
            &[TEXT, A, EXPIRY, C],
            &[A, EXPIRY, TEXT, C],
        ];
        for block in blocks {
            let bytes = block.concat();
            let properties = PublishProperties::from_forwarded_block(&bytes).unwrap();
            let mut forwarded = Vec::new();
            properties.forwarded_block(&mut forwarded);

            assert_eq!(properties.user_properties.iter().collect::<Vec<_>>(), [("a", "b"), ("c", "d")]);
            assert_eq!(forwarded, [TEXT, A, C].concat());
            assert_eq!(properties.forwarded_len(), forwarded.len());
        }
    }

    #[test]
    fn each_user_property_is_checked_and_not_only_the_first() {
        let good = b"\x26\0\x01a\0\x01b".as_slice();
        for bad in [b"\x26\0\x01a\0\x01\0".as_slice(), b"\x26\0\x01\xFF\0\0", b"\x26\0\x02a", b"\x26"] {
            let block = [good, bad].concat();
            assert!(PublishProperties::from_forwarded_block(&block).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_that_fits_into_no_frame_is_refused_and_nothing_is_appended() {
        let payload = vec![0; VARINT_MAX as usize];
        let head = PublishHead {
            topic: "t",
            forwarded: &[],
            message_expiry: None,
            topic_alias: None,
            subscription_ids: &[],
            retain: false,
            dup: false,
            qos: QoS::AtMostOnce,
            packet_id: None,
            payload: &payload,
        };
        let mut out = vec![1];

        assert_eq!(head.encode(Version::V311, &mut out), Err(FrameError::TooLarge { size: VARINT_MAX + 3 + 5 }));
        assert_eq!(out, [1]);
    }
}
