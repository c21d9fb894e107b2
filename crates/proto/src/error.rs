//! What a peer can do wrong (§4.13), with the clause it broke and the reason code that says so.

use thiserror::Error;

use crate::packet::{AckKind, PacketType};
use crate::packet_id::PacketId;
use crate::property::PropertyId;
use crate::reason::{ReasonCode, ReasonPlace};
use crate::topic::TopicNameError;

/// The peer broke the standard; the answer is a reason code, where the version has one, and a closed connection (§4.13).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum PeerError {
    /// The bytes are no packet.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The packet is one, and should not have been sent.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl PeerError {
    /// What CONNACK or DISCONNECT say about it.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Malformed(malformed) => malformed.reason_code(),
            Self::Violation(violation) => violation.reason_code(),
        }
    }
}

/// A Malformed Packet (§1.2): its bytes cannot be read as the standard writes them.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    /// A field goes beyond its packet.
    #[error("the packet ends inside a field (§2.1.4)")]
    Truncated,
    /// The last field ends before its packet.
    #[error("bytes are left over behind the last field (§2.1.4)")]
    TrailingBytes,
    /// A fifth byte in a variable byte integer.
    #[error("a variable byte integer of more than four bytes (§1.5.5)")]
    VarintTooLong,
    /// A variable byte integer with a useless last byte.
    #[error("a variable byte integer that is longer than needed [MQTT-1.5.5-1]")]
    VarintNotMinimal,
    /// Packet type 0, or AUTH before MQTT 5.
    #[error("packet type {0} is reserved (§2.1.2)")]
    ReservedPacketType(u8),
    /// Fixed header flags that this packet does not have.
    #[error("{packet:?} with flags {flags:#06b} [MQTT-2.1.3-1]")]
    ReservedFlags {
        /// The packet.
        packet: PacketType,
        /// The low four bits of its first byte.
        flags: u8,
    },
    /// Ill-formed text.
    #[error("a string is not well-formed UTF-8 [MQTT-1.5.4-1]")]
    NotUtf8,
    /// Text with U+0000.
    #[error("a string holds U+0000 [MQTT-1.5.4-2]")]
    NulInString,
    /// Both QoS bits.
    #[error("QoS 3 does not exist [MQTT-3.3.1-4]")]
    ReservedQoS,
    /// A repetition of what is never repeated.
    #[error("DUP is set on a QoS 0 PUBLISH [MQTT-3.3.1-2]")]
    DupAtMostOnce,
    /// Zero identifies nothing.
    #[error("a packet identifier is zero [MQTT-2.2.1-3]")]
    PacketIdZero,
    /// Bit 0 of the connect flags.
    #[error("the reserved bit of the connect flags is set [MQTT-3.1.2-3]")]
    ReservedConnectFlag,
    /// Will QoS or will retain without a will.
    #[error("will QoS or will retain without the will flag [MQTT-3.1.2-11] [MQTT-3.1.2-13]")]
    WillFlagsWithoutWill,
    /// Will QoS 3.
    #[error("will QoS 3 does not exist [MQTT-3.1.2-12]")]
    ReservedWillQoS,
    /// A password for nobody.
    #[error("a password without a user name (3.1.1 [MQTT-3.1.2-22])")]
    PasswordWithoutUserName,
    /// Bits 7 to 1 of the CONNACK flags.
    #[error("reserved bits of the connect acknowledge flags are set [MQTT-3.2.2-1]")]
    ReservedConnackFlags,
    /// A CONNACK or SUBACK return code that 3.x does not know.
    #[error("return code {0:#04x} is reserved (3.1.1 §3.2.2.3, [MQTT-3.9.3-2])")]
    ReservedReturnCode(u8),
    /// Bits 7 and 6 of the subscription options, or 7 to 2 before MQTT 5.
    #[error("reserved bits of the subscription options are set [MQTT-3.8.3-5]")]
    ReservedSubscriptionOptions,
    /// Nobody has listed this property.
    #[error("property {0:#04x} does not exist (§2.2.2.2)")]
    UnknownProperty(u32),
    /// The property exists, but not in this packet.
    #[error("property {0:?} does not belong into this packet (§2.2.2.2)")]
    MisplacedProperty(PropertyId),
    /// Nobody has listed this reason code.
    #[error("reason code {0:#04x} does not exist (§2.4)")]
    UnknownReasonCode(u8),
}

impl Malformed {
    /// Always 0x81; a method so that callers need not know.
    pub const fn reason_code(self) -> ReasonCode {
        ReasonCode::MALFORMED_PACKET
    }
}

/// A Protocol Error (§1.2) or another breach with a reason code of its own (§4.13.1).
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Violation {
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    UnknownProtocolName,
    /// A level that we do not speak. 3.x is answered with CONNACK 0x01, 5 and later with 0x84.
    #[error("protocol level {level} is not supported [MQTT-3.1.2-2]")]
    UnsupportedProtocolVersion {
        /// As it stood in CONNECT.
        level: u8,
    },
    /// The connection began with something else.
    #[error("the first packet is {0:?}, not CONNECT [MQTT-3.1.0-1]")]
    NotConnect(PacketType),
    /// The connection began twice.
    #[error("a second CONNECT [MQTT-3.1.0-2]")]
    SecondConnect,
    /// The server's answer began with something else.
    #[error("the first packet from the server is {0:?}, not CONNACK [MQTT-3.2.0-1]")]
    NotConnack(PacketType),
    /// A session is taken up after a clean start.
    #[error("CONNACK speaks of a session that nobody asked for [MQTT-3.2.2-4]")]
    SessionOfOthers,
    /// Answered twice.
    #[error("a second CONNACK [MQTT-3.2.0-2]")]
    SecondConnack,
    /// A packet that only the other side sends.
    #[error("{0:?} only goes the other way (§2.1.2)")]
    WrongDirection(PacketType),
    /// Something else than AUTH or DISCONNECT in the middle of an authentication.
    #[error("{0:?} before the authentication is over [MQTT-3.1.2-30]")]
    DuringAuthentication(PacketType),
    /// AUTH although CONNECT named no method.
    #[error("AUTH without an authentication method in CONNECT [MQTT-4.12.0-7]")]
    UnexpectedAuth,
    /// Another method than that of CONNECT.
    #[error("the authentication method is not that of CONNECT [MQTT-4.12.0-5]")]
    OtherAuthenticationMethod,
    /// AUTH that does not say by which method.
    #[error("AUTH without an authentication method (§3.15.2.2.2)")]
    MissingAuthenticationMethod,
    /// Authentication Data that belongs to no method.
    #[error("authentication data without a method (§3.1.2.11.10)")]
    AuthenticationDataAlone,
    /// A property that stands only once.
    #[error("property {0:?} stands twice (§2.2.2.2)")]
    DuplicateProperty(PropertyId),
    /// A value outside of the property's limits.
    #[error("property {0:?} does not take this value (§2.2.2.2)")]
    PropertyValue(PropertyId),
    /// A property that only the other side sends in this packet.
    #[error("property {0:?} only goes the other way [MQTT-3.3.4-6] [MQTT-3.14.2-2] (§3.14.2.2.5)")]
    PropertyDirection(PropertyId),
    /// A reason code that exists, but not there.
    #[error("{code} does not belong into {place:?} (§2.4)")]
    MisplacedReasonCode {
        /// The code.
        code: ReasonCode,
        /// The packet it stood in.
        place: ReasonPlace,
    },
    /// Session present together with a refusal.
    #[error("session present in a CONNACK that refuses [MQTT-3.2.2-6]")]
    SessionPresentOnRefusal,
    /// The topic name of a PUBLISH or a will is none.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// Neither topic name nor alias.
    #[error("a PUBLISH has neither topic name nor topic alias (§3.3.2.1)")]
    NoTopic,
    /// Alias 0.
    #[error("topic alias 0 does not exist [MQTT-3.3.2-8]")]
    TopicAliasZero,
    /// An alias above the limit that we gave.
    #[error("topic alias {alias} is above our maximum of {max} [MQTT-3.3.2-9]")]
    TopicAlias {
        /// As it stood in PUBLISH.
        alias: u16,
        /// What we allow.
        max: u16,
    },
    /// An alias that has not been given a topic on this connection.
    #[error("topic alias {0} has no topic yet (§3.3.2.3.4)")]
    UnknownTopicAlias(u16),
    /// SUBSCRIBE or UNSUBSCRIBE that asks for nothing.
    #[error("{0:?} without a topic filter [MQTT-3.8.3-2] [MQTT-3.10.3-2]")]
    NoFilters(PacketType),
    /// QoS 3 in the subscription options.
    #[error("a subscription asks for QoS 3 (§3.8.3.1)")]
    SubscriptionQoS,
    /// Retain handling 3 in the subscription options.
    #[error("retain handling 3 does not exist (§3.8.3.1)")]
    RetainHandling,
    /// No local on a share.
    #[error("no local on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalOnShare,
    /// An acknowledgement that does not fit the exchange it names.
    #[error("{kind:?} does not answer what we sent as {id:?} (§4.3)")]
    WrongAck {
        /// The acknowledgement.
        kind: AckKind,
        /// The exchange.
        id: PacketId,
    },
    /// More QoS 1 and 2 messages open than we allow.
    #[error("more than receive maximum messages are unacknowledged [MQTT-3.3.4-7]")]
    ReceiveMaximumExceeded,
    /// DISCONNECT wants to keep a session that CONNECT had end with its connection.
    #[error("session expiry is raised from zero in DISCONNECT (§3.14.2.2.2)")]
    SessionExpiryRaised,
    /// Larger than we allow.
    #[error("a packet of {size} bytes is larger than our maximum packet size [MQTT-3.2.2-15]")]
    PacketTooLarge {
        /// Of the whole packet, fixed header included.
        size: u32,
    },
}

impl Violation {
    /// What CONNACK or DISCONNECT say about it.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::UnknownProtocolName | Self::UnsupportedProtocolVersion { .. } => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            // 0x90 is for names that are well-formed and not accepted (§2.4).
            Self::TopicName(_) => ReasonCode::MALFORMED_PACKET,
            Self::TopicAliasZero | Self::TopicAlias { .. } => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::NotConnect(_)
            | Self::SecondConnect
            | Self::NotConnack(_)
            | Self::SessionOfOthers
            | Self::SecondConnack
            | Self::WrongDirection(_)
            | Self::DuringAuthentication(_)
            | Self::UnexpectedAuth
            | Self::OtherAuthenticationMethod
            | Self::MissingAuthenticationMethod
            | Self::AuthenticationDataAlone
            | Self::DuplicateProperty(_)
            | Self::PropertyValue(_)
            | Self::PropertyDirection(_)
            | Self::MisplacedReasonCode { .. }
            | Self::SessionPresentOnRefusal
            | Self::NoTopic
            | Self::UnknownTopicAlias(_)
            | Self::NoFilters(_)
            | Self::SubscriptionQoS
            | Self::RetainHandling
            | Self::NoLocalOnShare
            | Self::WrongAck { .. }
            | Self::SessionExpiryRaised => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

impl From<TopicNameError> for PeerError {
    /// U+0000 makes any string malformed [MQTT-1.5.4-2], and so this one too.
    fn from(error: TopicNameError) -> Self {
        match error {
            TopicNameError::Nul => Self::Malformed(Malformed::NulInString),
            TopicNameError::Empty | TopicNameError::Wildcard | TopicNameError::TooLong => {
                Self::Violation(Violation::TopicName(error))
            }
        }
    }
}
