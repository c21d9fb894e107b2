//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7): one shape.

use alloc::vec::Vec;

use super::{PacketType, Peer};
use crate::error::PeerError;
use crate::packet_id::PacketId;
use crate::property::{Properties, Property, PropertyPlace, UserProperties};
use crate::reason::{ReasonCode, ReasonPlace};
use crate::version::Version;
use crate::wire::{Reader, Writer};

/// Which of the four.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AckKind {
    /// Answers a QoS 1 PUBLISH (§3.4).
    Puback,
    /// Answers a QoS 2 PUBLISH (§3.5).
    Pubrec,
    /// Answers PUBREC (§3.6).
    Pubrel,
    /// Answers PUBREL (§3.7).
    Pubcomp,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack<'a> {
    /// Which of the four.
    pub kind: AckKind,
    /// The exchange that it belongs to [MQTT-2.2.1-5].
    pub id: PacketId,
    /// Success where the version has none.
    pub reason: ReasonCode,
    /// Empty where the version has none.
    pub properties: AckProperties<'a>,
}

/// What a v5 acknowledgement may add (§3.4.2.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AckProperties<'a> {
    /// For people, not for programs (§3.4.2.2.2).
    pub reason_string: Option<&'a str>,
    /// §3.4.2.2.3
    pub user_properties: UserProperties<'a>,
}

impl AckKind {
    /// All four, in the order in which they are sent.
    pub const ALL: [Self; 4] = [Self::Puback, Self::Pubrec, Self::Pubrel, Self::Pubcomp];

    /// The packet of that name.
    #[inline]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::Puback => PacketType::Puback,
            Self::Pubrec => PacketType::Pubrec,
            Self::Pubrel => PacketType::Pubrel,
            Self::Pubcomp => PacketType::Pubcomp,
        }
    }

    const fn reason_place(self) -> ReasonPlace {
        match self {
            Self::Puback => ReasonPlace::Puback,
            Self::Pubrec => ReasonPlace::Pubrec,
            Self::Pubrel => ReasonPlace::Pubrel,
            Self::Pubcomp => ReasonPlace::Pubcomp,
        }
    }

    const fn property_place(self) -> PropertyPlace {
        match self {
            Self::Puback => PropertyPlace::Puback,
            Self::Pubrec => PropertyPlace::Pubrec,
            Self::Pubrel => PropertyPlace::Pubrel,
            Self::Pubcomp => PropertyPlace::Pubcomp,
        }
    }
}

impl<'a> Ack<'a> {
    /// One with nothing to add.
    #[inline]
    pub const fn new(kind: AckKind, id: PacketId, reason: ReasonCode) -> Self {
        let properties = AckProperties { reason_string: None, user_properties: UserProperties::EMPTY };
        Self { kind, id, reason, properties }
    }

    /// Reads the body. In v5 the property length may be missing, and the reason code before it too (§3.4.2.1).
    ///
    /// What only servers say (0x10) is taken from clients too: the other side may be a bridge, a broker in a client's place.
    #[inline]
    pub fn decode(version: Version, kind: AckKind, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let mut ack = Self::new(kind, reader.packet_id()?, ReasonCode::SUCCESS);
        if version.has_properties() && !reader.is_empty() {
            ack.reason = ReasonCode::from_wire(reader.u8()?, kind.reason_place(), Peer::Server)?;
            if !reader.is_empty() {
                ack.properties = AckProperties::read(&mut reader, kind.property_place())?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    /// Appends the whole frame, in its shortest form.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, self.kind.packet_type().first_byte(), |out| {
            out.packet_id(self.id);
            if version.has_properties() {
                let says_more = !self.properties.is_empty();
                if says_more || self.reason != ReasonCode::SUCCESS {
                    out.reason(self.reason);
                }
                if says_more {
                    self.properties.write(out);
                }
            }
        });
    }
}

impl<'a> AckProperties<'a> {
    /// Is there nothing to say?
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }

    /// SUBACK and UNSUBACK have the same two properties (§3.9.2.1, §3.11.2.1).
    pub(super) fn read(reader: &mut Reader<'a>, place: PropertyPlace) -> Result<Self, PeerError> {
        let block = Properties::read(reader, place)?;
        let mut properties =
            Self { reason_string: None, user_properties: UserProperties::of_checked_block(block.block(), place) };
        for property in block {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
            match property? {
                Property::ReasonString(text) => properties.reason_string = Some(text),
                Property::UserProperty(_) => {}
                other => return Err(other.misplaced()),
            }
        }
        Ok(properties)
    }

    pub(super) fn write(&self, out: &mut Writer<'_>) {
        out.measured(|out| {
            out.property(self.reason_string.map(Property::ReasonString));
            self.user_properties.write(out);
        });
    }
}
