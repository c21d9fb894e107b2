//! Which properties there are, and where they may stand (Table 2-4).

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
