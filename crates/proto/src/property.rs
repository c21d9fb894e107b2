//! Properties (§2.2.2): which there are, what they hold, how often they stand in which packet.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use crate::error::{Malformed, PeerError, Violation};
use crate::qos::QoS;
use crate::topic::TopicName;
use crate::wire::{Reader, VARINT_MAX, Writer, varint_len};

/// What a property is called on the wire (§2.2.2.2, Table 2-4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum PropertyId {
    /// Payload Format Indicator (§3.3.2.3.2).
    PayloadFormatIndicator = 0x01,
    /// Message Expiry Interval (§3.3.2.3.3).
    MessageExpiryInterval = 0x02,
    /// Content Type (§3.3.2.3.9).
    ContentType = 0x03,
    /// Response Topic (§3.3.2.3.5).
    ResponseTopic = 0x08,
    /// Correlation Data (§3.3.2.3.6).
    CorrelationData = 0x09,
    /// Subscription Identifier (§3.3.2.3.8, §3.8.2.1.2).
    SubscriptionIdentifier = 0x0B,
    /// Session Expiry Interval (§3.1.2.11.2).
    SessionExpiryInterval = 0x11,
    /// Assigned Client Identifier (§3.2.2.3.7).
    AssignedClientIdentifier = 0x12,
    /// Server Keep Alive (§3.2.2.3.14).
    ServerKeepAlive = 0x13,
    /// Authentication Method (§3.1.2.11.9).
    AuthenticationMethod = 0x15,
    /// Authentication Data (§3.1.2.11.10).
    AuthenticationData = 0x16,
    /// Request Problem Information (§3.1.2.11.7).
    RequestProblemInformation = 0x17,
    /// Will Delay Interval (§3.1.3.2.2).
    WillDelayInterval = 0x18,
    /// Request Response Information (§3.1.2.11.6).
    RequestResponseInformation = 0x19,
    /// Response Information (§3.2.2.3.15).
    ResponseInformation = 0x1A,
    /// Server Reference (§3.2.2.3.16).
    ServerReference = 0x1C,
    /// Reason String (§3.2.2.3.9).
    ReasonString = 0x1F,
    /// Receive Maximum (§3.1.2.11.3).
    ReceiveMaximum = 0x21,
    /// Topic Alias Maximum (§3.1.2.11.5).
    TopicAliasMaximum = 0x22,
    /// Topic Alias (§3.3.2.3.4).
    TopicAlias = 0x23,
    /// Maximum QoS (§3.2.2.3.4).
    MaximumQoS = 0x24,
    /// Retain Available (§3.2.2.3.5).
    RetainAvailable = 0x25,
    /// User Property (§3.1.2.11.8).
    UserProperty = 0x26,
    /// Maximum Packet Size (§3.1.2.11.4).
    MaximumPacketSize = 0x27,
    /// Wildcard Subscription Available (§3.2.2.3.11).
    WildcardSubscriptionAvailable = 0x28,
    /// Subscription Identifiers Available (§3.2.2.3.12).
    SubscriptionIdentifiersAvailable = 0x29,
    /// Shared Subscription Available (§3.2.2.3.13).
    SharedSubscriptionAvailable = 0x2A,
}

/// The packets that have properties; a will has a block of its own inside CONNECT.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PropertyPlace {
    /// §3.1.2.11
    Connect,
    /// §3.1.3.2
    Will,
    /// §3.2.2.3
    Connack,
    /// §3.3.2.3
    Publish,
    /// §3.4.2.2
    Puback,
    /// §3.5.2.2
    Pubrec,
    /// §3.6.2.2
    Pubrel,
    /// §3.7.2.2
    Pubcomp,
    /// §3.8.2.1
    Subscribe,
    /// §3.9.2.1
    Suback,
    /// §3.10.2.1
    Unsubscribe,
    /// §3.11.2.1
    Unsuback,
    /// §3.14.2.2
    Disconnect,
    /// §3.15.2.2
    Auth,
}

impl PropertyPlace {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Connect,
        Self::Will,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Disconnect,
        Self::Auth,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// [`PropertyId::places`] as one bit per place, computed once by the compiler.
static PLACES: [u16; 43] = {
    let mut table = [0; 43];
    let mut ids: &[PropertyId] = &PropertyId::ALL;
    while let [id, more @ ..] = ids {
        let mut places = id.places();
        while let [place, rest @ ..] = places {
            table[*id as usize] |= place.bit();
            places = rest;
        }
        ids = more;
    }
    table
};

/// A property with its value, inside the limits that the standard sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Property<'a> {
    /// Payload Format Indicator (§3.3.2.3.2).
    PayloadFormatIndicator(bool),
    /// Message Expiry Interval (§3.3.2.3.3).
    MessageExpiryInterval(u32),
    /// Content Type (§3.3.2.3.9).
    ContentType(&'a str),
    /// Response Topic (§3.3.2.3.5).
    ResponseTopic(&'a str),
    /// Correlation Data (§3.3.2.3.6).
    CorrelationData(&'a [u8]),
    /// Subscription Identifier (§3.3.2.3.8, §3.8.2.1.2).
    SubscriptionIdentifier(SubscriptionId),
    /// Session Expiry Interval (§3.1.2.11.2).
    SessionExpiryInterval(u32),
    /// Assigned Client Identifier (§3.2.2.3.7).
    AssignedClientIdentifier(&'a str),
    /// Server Keep Alive (§3.2.2.3.14).
    ServerKeepAlive(u16),
    /// Authentication Method (§3.1.2.11.9).
    AuthenticationMethod(&'a str),
    /// Authentication Data (§3.1.2.11.10).
    AuthenticationData(&'a [u8]),
    /// Request Problem Information (§3.1.2.11.7).
    RequestProblemInformation(bool),
    /// Will Delay Interval (§3.1.3.2.2).
    WillDelayInterval(u32),
    /// Request Response Information (§3.1.2.11.6).
    RequestResponseInformation(bool),
    /// Response Information (§3.2.2.3.15).
    ResponseInformation(&'a str),
    /// Server Reference (§3.2.2.3.16).
    ServerReference(&'a str),
    /// Reason String (§3.2.2.3.9).
    ReasonString(&'a str),
    /// Receive Maximum (§3.1.2.11.3).
    ReceiveMaximum(NonZeroU16),
    /// Topic Alias Maximum (§3.1.2.11.5).
    TopicAliasMaximum(u16),
    /// Topic Alias (§3.3.2.3.4).
    TopicAlias(NonZeroU16),
    /// Maximum QoS (§3.2.2.3.4).
    MaximumQoS(QoS),
    /// Retain Available (§3.2.2.3.5).
    RetainAvailable(bool),
    /// User Property (§3.1.2.11.8).
    UserProperty((&'a str, &'a str)),
    /// Maximum Packet Size (§3.1.2.11.4).
    MaximumPacketSize(NonZeroU32),
    /// Wildcard Subscription Available (§3.2.2.3.11).
    WildcardSubscriptionAvailable(bool),
    /// Subscription Identifiers Available (§3.2.2.3.12).
    SubscriptionIdentifiersAvailable(bool),
    /// Shared Subscription Available (§3.2.2.3.13).
    SharedSubscriptionAvailable(bool),
}

/// The number that a client gives a subscription: 1 to 268,435,455 (§3.8.2.1.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// `None` outside of the limits.
    #[inline]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() <= VARINT_MAX => Some(Self(number)),
            Some(_) | None => None,
        }
    }

    /// As a number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl PropertyId {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::PayloadFormatIndicator,
        Self::MessageExpiryInterval,
        Self::ContentType,
        Self::ResponseTopic,
        Self::CorrelationData,
        Self::SubscriptionIdentifier,
        Self::SessionExpiryInterval,
        Self::AssignedClientIdentifier,
        Self::ServerKeepAlive,
        Self::AuthenticationMethod,
        Self::AuthenticationData,
        Self::RequestProblemInformation,
        Self::WillDelayInterval,
        Self::RequestResponseInformation,
        Self::ResponseInformation,
        Self::ServerReference,
        Self::ReasonString,
        Self::ReceiveMaximum,
        Self::TopicAliasMaximum,
        Self::TopicAlias,
        Self::MaximumQoS,
        Self::RetainAvailable,
        Self::UserProperty,
        Self::MaximumPacketSize,
        Self::WildcardSubscriptionAvailable,
        Self::SubscriptionIdentifiersAvailable,
        Self::SharedSubscriptionAvailable,
    ];

    /// `None` for a number that the standard does not list.
    #[inline]
    pub const fn new(number: u32) -> Option<Self> {
        Some(match number {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0B => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1A => Self::ResponseInformation,
            0x1C => Self::ServerReference,
            0x1F => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQoS,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifiersAvailable,
            0x2A => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// Where it may stand (Table 2-4).
    pub const fn places(self) -> &'static [PropertyPlace] {
        use PropertyPlace::*;
        match self {
            Self::PayloadFormatIndicator
            | Self::MessageExpiryInterval
            | Self::ContentType
            | Self::ResponseTopic
            | Self::CorrelationData => &[Publish, Will],
            Self::SubscriptionIdentifier => &[Publish, Subscribe],
            Self::SessionExpiryInterval => &[Connect, Connack, Disconnect],
            Self::AssignedClientIdentifier
            | Self::ServerKeepAlive
            | Self::ResponseInformation
            | Self::MaximumQoS
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifiersAvailable
            | Self::SharedSubscriptionAvailable => &[Connack],
            Self::AuthenticationMethod | Self::AuthenticationData => &[Connect, Connack, Auth],
            Self::RequestProblemInformation | Self::RequestResponseInformation => &[Connect],
            Self::WillDelayInterval => &[Will],
            Self::ServerReference => &[Connack, Disconnect],
            Self::ReasonString => &[Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Disconnect, Auth],
            Self::ReceiveMaximum | Self::TopicAliasMaximum | Self::MaximumPacketSize => &[Connect, Connack],
            Self::TopicAlias => &[Publish],
            Self::UserProperty => &[
                Connect,
                Connack,
                Publish,
                Will,
                Puback,
                Pubrec,
                Pubrel,
                Pubcomp,
                Subscribe,
                Suback,
                Unsubscribe,
                Unsuback,
                Disconnect,
                Auth,
            ],
        }
    }

    /// May it stand there?
    #[inline]
    pub const fn is_allowed(self, place: PropertyPlace) -> bool {
        PLACES[self as usize] & place.bit() != 0
    }

    /// May it stand there more than once?
    #[inline]
    pub const fn may_repeat(self, place: PropertyPlace) -> bool {
        matches!((self, place), (Self::UserProperty, _) | (Self::SubscriptionIdentifier, PropertyPlace::Publish))
    }
}

impl<'a> Property<'a> {
    /// What it is called on the wire.
    #[inline]
    pub const fn id(&self) -> PropertyId {
        match self {
            Self::PayloadFormatIndicator(_) => PropertyId::PayloadFormatIndicator,
            Self::MessageExpiryInterval(_) => PropertyId::MessageExpiryInterval,
            Self::ContentType(_) => PropertyId::ContentType,
            Self::ResponseTopic(_) => PropertyId::ResponseTopic,
            Self::CorrelationData(_) => PropertyId::CorrelationData,
            Self::SubscriptionIdentifier(_) => PropertyId::SubscriptionIdentifier,
            Self::SessionExpiryInterval(_) => PropertyId::SessionExpiryInterval,
            Self::AssignedClientIdentifier(_) => PropertyId::AssignedClientIdentifier,
            Self::ServerKeepAlive(_) => PropertyId::ServerKeepAlive,
            Self::AuthenticationMethod(_) => PropertyId::AuthenticationMethod,
            Self::AuthenticationData(_) => PropertyId::AuthenticationData,
            Self::RequestProblemInformation(_) => PropertyId::RequestProblemInformation,
            Self::WillDelayInterval(_) => PropertyId::WillDelayInterval,
            Self::RequestResponseInformation(_) => PropertyId::RequestResponseInformation,
            Self::ResponseInformation(_) => PropertyId::ResponseInformation,
            Self::ServerReference(_) => PropertyId::ServerReference,
            Self::ReasonString(_) => PropertyId::ReasonString,
            Self::ReceiveMaximum(_) => PropertyId::ReceiveMaximum,
            Self::TopicAliasMaximum(_) => PropertyId::TopicAliasMaximum,
            Self::TopicAlias(_) => PropertyId::TopicAlias,
            Self::MaximumQoS(_) => PropertyId::MaximumQoS,
            Self::RetainAvailable(_) => PropertyId::RetainAvailable,
            Self::UserProperty(_) => PropertyId::UserProperty,
            Self::MaximumPacketSize(_) => PropertyId::MaximumPacketSize,
            Self::WildcardSubscriptionAvailable(_) => PropertyId::WildcardSubscriptionAvailable,
            Self::SubscriptionIdentifiersAvailable(_) => PropertyId::SubscriptionIdentifiersAvailable,
            Self::SharedSubscriptionAvailable(_) => PropertyId::SharedSubscriptionAvailable,
        }
    }

    /// The error for a property that has no place in a packet.
    pub(crate) const fn misplaced(&self) -> PeerError {
        PeerError::Malformed(Malformed::MisplacedProperty(self.id()))
    }

    #[inline]
    fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, PeerError> {
        Ok(match id {
            PropertyId::PayloadFormatIndicator => Self::PayloadFormatIndicator(boolean(id, reader)?),
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(reader.u32()?),
            PropertyId::ContentType => Self::ContentType(reader.text()?),
            PropertyId::ResponseTopic => Self::ResponseTopic(response_topic(reader)?),
            PropertyId::CorrelationData => Self::CorrelationData(reader.binary()?),
            PropertyId::SubscriptionIdentifier => {
                Self::SubscriptionIdentifier(SubscriptionId::new(reader.varint()?).ok_or(Violation::PropertyValue(id))?)
            }
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(reader.u32()?),
            PropertyId::AssignedClientIdentifier => Self::AssignedClientIdentifier(reader.text()?),
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(reader.u16()?),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(reader.text()?),
            PropertyId::AuthenticationData => Self::AuthenticationData(reader.binary()?),
            PropertyId::RequestProblemInformation => Self::RequestProblemInformation(boolean(id, reader)?),
            PropertyId::WillDelayInterval => Self::WillDelayInterval(reader.u32()?),
            PropertyId::RequestResponseInformation => Self::RequestResponseInformation(boolean(id, reader)?),
            PropertyId::ResponseInformation => Self::ResponseInformation(reader.text()?),
            PropertyId::ServerReference => Self::ServerReference(reader.text()?),
            PropertyId::ReasonString => Self::ReasonString(reader.text()?),
            PropertyId::ReceiveMaximum => {
                Self::ReceiveMaximum(NonZeroU16::new(reader.u16()?).ok_or(Violation::PropertyValue(id))?)
            }
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(reader.u16()?),
            PropertyId::TopicAlias => Self::TopicAlias(topic_alias(reader)?),
            PropertyId::MaximumQoS => Self::MaximumQoS(maximum_qos(reader)?),
            PropertyId::RetainAvailable => Self::RetainAvailable(boolean(id, reader)?),
            PropertyId::UserProperty => Self::UserProperty((reader.text()?, reader.text()?)),
            PropertyId::MaximumPacketSize => {
                Self::MaximumPacketSize(NonZeroU32::new(reader.u32()?).ok_or(Violation::PropertyValue(id))?)
            }
            PropertyId::WildcardSubscriptionAvailable => Self::WildcardSubscriptionAvailable(boolean(id, reader)?),
            PropertyId::SubscriptionIdentifiersAvailable => Self::SubscriptionIdentifiersAvailable(boolean(id, reader)?),
            PropertyId::SharedSubscriptionAvailable => Self::SharedSubscriptionAvailable(boolean(id, reader)?),
        })
    }

    /// Identifier and value, as they stand in a property block.
    pub(crate) fn write(self, out: &mut Writer<'_>) {
        out.u8(self.id() as u8);
        match self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifiersAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.u8(u8::from(value)),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => out.u16(value),
            Self::MessageExpiryInterval(value) | Self::SessionExpiryInterval(value) | Self::WillDelayInterval(value) => {
                out.u32(value);
            }
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => out.u16(value.get()),
            Self::MaximumPacketSize(value) => out.u32(value.get()),
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => out.text(value),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => out.binary(value),
            Self::SubscriptionIdentifier(value) => out.varint(value.get()),
            Self::MaximumQoS(value) => out.u8(value as u8),
            Self::UserProperty((name, value)) => {
                out.text(name);
                out.text(value);
            }
        }
    }

    /// How many bytes [`Property::write`] appends.
    pub(crate) fn len(&self) -> usize {
        1 + match *self {
            Self::PayloadFormatIndicator(_)
            | Self::RequestProblemInformation(_)
            | Self::RequestResponseInformation(_)
            | Self::RetainAvailable(_)
            | Self::WildcardSubscriptionAvailable(_)
            | Self::SubscriptionIdentifiersAvailable(_)
            | Self::SharedSubscriptionAvailable(_)
            | Self::MaximumQoS(_) => 1,
            Self::ServerKeepAlive(_) | Self::TopicAliasMaximum(_) | Self::ReceiveMaximum(_) | Self::TopicAlias(_) => 2,
            Self::MessageExpiryInterval(_)
            | Self::SessionExpiryInterval(_)
            | Self::WillDelayInterval(_)
            | Self::MaximumPacketSize(_) => 4,
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => 2 + value.len(),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => 2 + value.len(),
            Self::SubscriptionIdentifier(value) => varint_len(value.get()),
            Self::UserProperty((name, value)) => 4 + name.len() + value.len(),
        }
    }
}

/// A byte that is 0 or 1; anything else is a Protocol Error (§3.1.2.11.6 and its like).
fn boolean(id: PropertyId, reader: &mut Reader<'_>) -> Result<bool, PeerError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::PropertyValue(id).into()),
    }
}

/// 0 or 1; a server that offers QoS 2 leaves it out (§3.2.2.3.4).
fn maximum_qos(reader: &mut Reader<'_>) -> Result<QoS, PeerError> {
    match reader.u8()? {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        _ => Err(Violation::PropertyValue(PropertyId::MaximumQoS).into()),
    }
}

/// Zero is nobody's alias [MQTT-3.3.2-8]; its reason code is 0x94 like that of one above the maximum.
fn topic_alias(reader: &mut Reader<'_>) -> Result<NonZeroU16, PeerError> {
    match NonZeroU16::new(reader.u16()?) {
        Some(alias) => Ok(alias),
        None => Err(Violation::TopicAliasZero.into()),
    }
}

/// A topic name that somebody will publish to [MQTT-3.3.2-14].
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, PeerError> {
    let text = reader.text()?;
    match TopicName::new(text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Violation::PropertyValue(PropertyId::ResponseTopic).into()),
    }
}

/// The properties of one block, one by one, each checked for place, multiplicity and value.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    block: Reader<'a>,
    place: PropertyPlace,
    seen: u64,
}

impl<'a> Properties<'a> {
    /// Takes a block with its length from the front of `reader`.
    #[inline]
    pub fn read(reader: &mut Reader<'a>, place: PropertyPlace) -> Result<Self, Malformed> {
        let len = reader.varint()?;
        Ok(Self::of_block(reader.take(len as usize)?, place))
    }

    /// The properties of a block without its length.
    #[inline]
    pub const fn of_block(block: &'a [u8], place: PropertyPlace) -> Self {
        Self { block: Reader::new(block), place, seen: 0 }
    }

    /// The bytes that have not been read yet.
    pub(crate) const fn block(&self) -> &'a [u8] {
        self.block.rest()
    }

    fn read_one(&mut self) -> Result<Property<'a>, PeerError> {
        let number = self.block.varint()?;
        let id = PropertyId::new(number).ok_or(Malformed::UnknownProperty(number))?;
        if !id.is_allowed(self.place) {
            return Err(Malformed::MisplacedProperty(id).into());
        }
        let bit = 1 << id as u8;
        if self.seen & bit != 0 && !id.may_repeat(self.place) {
            return Err(Violation::DuplicateProperty(id).into());
        }
        self.seen |= bit;
        Property::read(id, &mut self.block)
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<Property<'a>, PeerError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.block.is_empty() { None } else { Some(self.read_one()) }
    }
}

/// User Properties in their order (§3.1.2.11.8): read from a packet, or put together by us.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(Pairs<'a>);

#[derive(Clone, Copy)]
enum Pairs<'a> {
    /// A whole property block that has been checked, with other properties between.
    Block(&'a [u8], PropertyPlace),
    Slice(&'a [(&'a str, &'a str)]),
}

impl Default for Pairs<'_> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a> UserProperties<'a> {
    /// None.
    pub const EMPTY: Self = Self(Pairs::Slice(&[]));

    /// The User Properties of a block that has been read to its end without error.
    pub(crate) const fn of_checked_block(block: &'a [u8], place: PropertyPlace) -> Self {
        Self(Pairs::Block(block, place))
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let (block, place, slice): (&[u8], _, &[_]) = match self.0 {
            Pairs::Block(block, place) => (block, place, &[]),
            Pairs::Slice(slice) => (&[], PropertyPlace::Publish, slice),
        };
        let from_block = Properties::of_block(block, place).filter_map(|property| match property {
            Ok(Property::UserProperty(pair)) => Some(pair),
            Ok(_) | Err(_) => None,
        });
        from_block.chain(slice.iter().copied())
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        for pair in self.iter() {
            Property::UserProperty(pair).write(out);
        }
    }
}

impl<'a> From<&'a [(&'a str, &'a str)]> for UserProperties<'a> {
    fn from(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(Pairs::Slice(pairs))
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The Subscription Identifiers of a PUBLISH (§3.3.2.3.8): read from a packet, or put together by us.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<'a>(Ids<'a>);

#[derive(Clone, Copy)]
enum Ids<'a> {
    /// A whole property block of a PUBLISH that has been checked.
    Block(&'a [u8]),
    Slice(&'a [SubscriptionId]),
}

impl Default for Ids<'_> {
    fn default() -> Self {
        Self::Slice(&[])
    }
}

impl<'a> SubscriptionIds<'a> {
    /// None.
    pub const EMPTY: Self = Self(Ids::Slice(&[]));

    pub(crate) const fn of_checked_block(block: &'a [u8]) -> Self {
        Self(Ids::Block(block))
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// In the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = SubscriptionId> + Clone + use<'a> {
        let (block, slice): (&[u8], &[_]) = match self.0 {
            Ids::Block(block) => (block, &[]),
            Ids::Slice(slice) => (&[], slice),
        };
        let from_block = Properties::of_block(block, PropertyPlace::Publish).filter_map(|property| match property {
            Ok(Property::SubscriptionIdentifier(id)) => Some(id),
            Ok(_) | Err(_) => None,
        });
        from_block.chain(slice.iter().copied())
    }
}

impl<'a> From<&'a [SubscriptionId]> for SubscriptionIds<'a> {
    fn from(ids: &'a [SubscriptionId]) -> Self {
        Self(Ids::Slice(ids))
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::string::String;

    use super::*;

    #[test]
    fn each_property_stands_where_the_standard_lists_it_and_nowhere_else() {
        let mut table = String::new();
        for id in PropertyId::ALL {
            write!(table, "{:#04x} {id:?}:", id as u8).unwrap();
            for place in PropertyPlace::ALL {
                if id.is_allowed(place) {
                    let many = if id.may_repeat(place) { "*" } else { "" };
                    write!(table, " {place:?}{many}").unwrap();
                }
            }
            table.push('\n');
        }

        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_number_and_its_property_find_each_other() {
        for number in 0..=u32::from(u8::MAX) {
            if let Some(id) = PropertyId::new(number) {
                assert_eq!(id as u32, number);
                assert!(PropertyId::ALL.contains(&id));
            }
        }
        assert_eq!(PropertyId::ALL.map(|id| PropertyId::new(id as u32)), PropertyId::ALL.map(Some));
    }
}
