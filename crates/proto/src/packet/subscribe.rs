//! SUBSCRIBE (§3.8).

use alloc::vec::Vec;
use core::fmt;

use super::PacketType;
use crate::error::{Malformed, PeerError, Violation};
use crate::packet_id::PacketId;
use crate::property::{Properties, Property, PropertyPlace, SubscriptionId, UserProperties};
use crate::qos::QoS;
use crate::topic::SubscriptionFilter;
use crate::version::Version;
use crate::wire::{Reader, Writer};

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING: u8 = 0b0011_0000;
const RESERVED: u8 = 0b1100_0000;

/// SUBSCRIBE (§3.8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscribe<'a> {
    /// SUBACK repeats it [MQTT-3.8.4-2].
    pub id: PacketId,
    /// For all filters of this packet (§3.8.2.1.2).
    pub subscription_id: Option<SubscriptionId>,
    /// §3.8.2.1.3
    pub user_properties: UserProperties<'a>,
    /// At least one [MQTT-3.8.3-2].
    pub entries: SubscribeEntries<'a>,
}

/// A filter and how to serve it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscribeEntry<'a> {
    /// A string [MQTT-3.8.3-1] that has still to be parsed as a [`SubscriptionFilter`].
    pub filter: &'a str,
    /// §3.8.3.1
    pub options: SubscriptionOptions,
}

/// How to serve a subscription (§3.8.3.1). 3.x knows only the QoS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SubscriptionOptions {
    /// The most that the client wants.
    pub qos: QoS,
    /// Do not send the client's own messages back [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Forward RETAIN as the publisher set it [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

/// When a subscription is served with retained messages (§3.8.3.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE [MQTT-3.3.1-9]; always so in 3.x.
    #[default]
    Send = 0,
    /// If the subscription is new [MQTT-3.3.1-10].
    SendIfNew = 1,
    /// Never [MQTT-3.3.1-11].
    DoNotSend = 2,
}

impl From<QoS> for SubscriptionOptions {
    /// What 3.x means by a QoS alone.
    fn from(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }
}

impl SubscriptionOptions {
    /// Reads the byte behind a filter.
    pub fn from_byte(version: Version, byte: u8) -> Result<Self, PeerError> {
        let reserved = if version.has_subscription_options() { RESERVED } else { !QOS };
        if byte & reserved != 0 {
            return Err(Malformed::ReservedSubscriptionOptions.into());
        }
        Ok(Self {
            qos: QoS::try_from(byte & QOS).map_err(|_| Violation::SubscriptionQoS)?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match (byte & RETAIN_HANDLING) >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Violation::RetainHandling.into()),
            },
        })
    }

    /// As the byte behind a filter.
    pub const fn to_byte(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.has_subscription_options() {
            return qos;
        }
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        qos | no_local | retain_as_published | (self.retain_handling as u8) << 4
    }
}

/// The filters of a SUBSCRIBE in their order: read from a packet, or put together by us.
#[derive(Clone, Copy)]
pub struct SubscribeEntries<'a>(Entries<'a>);

#[derive(Clone, Copy)]
enum Entries<'a> {
    /// A payload that has been checked.
    Payload(Version, &'a [u8]),
    Slice(&'a [SubscribeEntry<'a>]),
}

impl<'a> SubscribeEntries<'a> {
    fn read(version: Version, reader: Reader<'a>) -> Result<Self, PeerError> {
        let payload = reader.rest();
        if payload.is_empty() {
            return Err(Violation::NoFilters(PacketType::Subscribe).into());
        }
        let mut reader = reader;
        while !reader.is_empty() {
            let entry = SubscribeEntry::read(version, &mut reader)?;
            if entry.options.no_local && SubscriptionFilter::is_share(entry.filter) {
                return Err(Violation::NoLocalOnShare.into());
            }
        }
        Ok(Self(Entries::Payload(version, payload)))
    }

    /// Each filter with its options.
    pub fn iter(&self) -> impl Iterator<Item = SubscribeEntry<'a>> + Clone + use<'a> {
        let (version, payload, slice): (_, &[u8], &[_]) = match self.0 {
            Entries::Payload(version, payload) => (version, payload, &[]),
            Entries::Slice(slice) => (Version::V5, &[], slice),
        };
        let mut reader = Reader::new(payload);
        let from_payload = core::iter::from_fn(move || SubscribeEntry::read(version, &mut reader).ok());
        from_payload.chain(slice.iter().copied())
    }

    /// The bytes that they were read from; none where they were put together by us.
    pub const fn payload(&self) -> &'a [u8] {
        match self.0 {
            Entries::Payload(_, payload) => payload,
            Entries::Slice(_) => &[],
        }
    }

    /// Those in the end of a [payload](Self::payload), from the beginning of one of them on.
    pub const fn of_payload(version: Version, payload: &'a [u8]) -> Self {
        Self(Entries::Payload(version, payload))
    }

    /// Takes the first one off.
    pub fn pop_first(&mut self) -> Option<SubscribeEntry<'a>> {
        match &mut self.0 {
            Entries::Payload(version, payload) => {
                let mut reader = Reader::new(payload);
                let entry = SubscribeEntry::read(*version, &mut reader).ok()?;
                *payload = reader.rest();
                Some(entry)
            }
            Entries::Slice(slice) => {
                let (first, rest) = slice.split_first()?;
                *slice = rest;
                Some(*first)
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Never so in a packet that has been decoded.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> SubscribeEntry<'a> {
    fn read(version: Version, reader: &mut Reader<'a>) -> Result<Self, PeerError> {
        let filter = reader.text()?;
        let options = SubscriptionOptions::from_byte(version, reader.u8()?)?;
        Ok(Self { filter, options })
    }
}

impl<'a> From<&'a [SubscribeEntry<'a>]> for SubscribeEntries<'a> {
    fn from(entries: &'a [SubscribeEntry<'a>]) -> Self {
        Self(Entries::Slice(entries))
    }
}

impl PartialEq for SubscribeEntries<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeEntries<'_> {}

impl fmt::Debug for SubscribeEntries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Subscribe<'a> {
    /// Reads the body (§3.8.2, §3.8.3).
    #[inline(never)]
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let id = reader.packet_id()?;
        let mut subscription_id = None;
        let mut user_properties = UserProperties::EMPTY;
        if version.has_properties() {
            let block = Properties::read(&mut reader, PropertyPlace::Subscribe)?;
            user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Subscribe);
            for property in block {
                #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
                match property? {
                    Property::SubscriptionIdentifier(id) => subscription_id = Some(id),
                    Property::UserProperty(_) => {}
                    other => return Err(other.misplaced()),
                }
            }
        }
        let entries = SubscribeEntries::read(version, reader)?;
        Ok(Self { id, subscription_id, user_properties, entries })
    }

    /// Appends the whole frame.
    ///
    /// # Panics
    ///
    /// On a string of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Subscribe.first_byte(), |out| {
            out.packet_id(self.id);
            if version.has_properties() {
                out.measured(|out| {
                    out.property(self.subscription_id.map(Property::SubscriptionIdentifier));
                    self.user_properties.write(out);
                });
            }
            for entry in self.entries.iter() {
                out.text(entry.filter);
                out.u8(entry.options.to_byte(version));
            }
        });
    }
}
