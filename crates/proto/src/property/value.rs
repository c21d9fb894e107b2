//! What a property holds, and within which limits.

use core::num::{NonZeroU16, NonZeroU32};

use super::{PropertyId, SubscriptionId};
use crate::error::{Malformed, PeerError, Violation};
use crate::qos::QoS;
use crate::topic::TopicName;
use crate::wire::{Reader, Writer, varint_len};

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
    pub(super) fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, PeerError> {
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
