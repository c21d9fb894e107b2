//! Reason codes (§2.4), where each may stand, and the return codes that 3.x has in their place.

use core::fmt;

use crate::error::{Malformed, PeerError, Violation};
use crate::packet::Peer;

/// The result of an operation; 0x80 and above is a failure (§2.4). One that exists is listed by the standard.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReasonCode(u8);

/// The packets that carry reason codes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReasonPlace {
    /// §3.2.2.2
    Connack,
    /// §3.4.2.1
    Puback,
    /// §3.5.2.1
    Pubrec,
    /// §3.6.2.1
    Pubrel,
    /// §3.7.2.1
    Pubcomp,
    /// §3.9.3
    Suback,
    /// §3.11.3
    Unsuback,
    /// §3.14.2.1
    Disconnect,
    /// §3.15.2.1
    Auth,
}

impl ReasonCode {
    /// Success (0x00).
    pub const SUCCESS: Self = Self(0x00);
    /// Normal disconnection (0x00).
    pub const NORMAL_DISCONNECTION: Self = Self(0x00);
    /// Granted QoS 0 (0x00).
    pub const GRANTED_QOS_0: Self = Self(0x00);
    /// Granted QoS 1 (0x01).
    pub const GRANTED_QOS_1: Self = Self(0x01);
    /// Granted QoS 2 (0x02).
    pub const GRANTED_QOS_2: Self = Self(0x02);
    /// Disconnect with Will Message (0x04).
    pub const DISCONNECT_WITH_WILL_MESSAGE: Self = Self(0x04);
    /// No matching subscribers (0x10).
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// No subscription existed (0x11).
    pub const NO_SUBSCRIPTION_EXISTED: Self = Self(0x11);
    /// Continue authentication (0x18).
    pub const CONTINUE_AUTHENTICATION: Self = Self(0x18);
    /// Re-authenticate (0x19).
    pub const RE_AUTHENTICATE: Self = Self(0x19);
    /// Unspecified error (0x80).
    pub const UNSPECIFIED_ERROR: Self = Self(0x80);
    /// Malformed Packet (0x81).
    pub const MALFORMED_PACKET: Self = Self(0x81);
    /// Protocol Error (0x82).
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// Implementation specific error (0x83).
    pub const IMPLEMENTATION_SPECIFIC_ERROR: Self = Self(0x83);
    /// Unsupported Protocol Version (0x84).
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x84);
    /// Client Identifier not valid (0x85).
    pub const CLIENT_IDENTIFIER_NOT_VALID: Self = Self(0x85);
    /// Bad User Name or Password (0x86).
    pub const BAD_USER_NAME_OR_PASSWORD: Self = Self(0x86);
    /// Not authorized (0x87).
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// Server unavailable (0x88).
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    /// Server busy (0x89).
    pub const SERVER_BUSY: Self = Self(0x89);
    /// Banned (0x8A).
    pub const BANNED: Self = Self(0x8A);
    /// Server shutting down (0x8B).
    pub const SERVER_SHUTTING_DOWN: Self = Self(0x8B);
    /// Bad authentication method (0x8C).
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8C);
    /// Keep Alive timeout (0x8D).
    pub const KEEP_ALIVE_TIMEOUT: Self = Self(0x8D);
    /// Session taken over (0x8E).
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    /// Topic Filter invalid (0x8F).
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8F);
    /// Topic Name invalid (0x90).
    pub const TOPIC_NAME_INVALID: Self = Self(0x90);
    /// Packet Identifier in use (0x91).
    pub const PACKET_IDENTIFIER_IN_USE: Self = Self(0x91);
    /// Packet Identifier not found (0x92).
    pub const PACKET_IDENTIFIER_NOT_FOUND: Self = Self(0x92);
    /// Receive Maximum exceeded (0x93).
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    /// Topic Alias invalid (0x94).
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    /// Packet too large (0x95).
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// Message rate too high (0x96).
    pub const MESSAGE_RATE_TOO_HIGH: Self = Self(0x96);
    /// Quota exceeded (0x97).
    pub const QUOTA_EXCEEDED: Self = Self(0x97);
    /// Administrative action (0x98).
    pub const ADMINISTRATIVE_ACTION: Self = Self(0x98);
    /// Payload format invalid (0x99).
    pub const PAYLOAD_FORMAT_INVALID: Self = Self(0x99);
    /// Retain not supported (0x9A).
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// QoS not supported (0x9B).
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);
    /// Use another server (0x9C).
    pub const USE_ANOTHER_SERVER: Self = Self(0x9C);
    /// Server moved (0x9D).
    pub const SERVER_MOVED: Self = Self(0x9D);
    /// Shared Subscriptions not supported (0x9E).
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0x9E);
    /// Connection rate exceeded (0x9F).
    pub const CONNECTION_RATE_EXCEEDED: Self = Self(0x9F);
    /// Maximum connect time (0xA0).
    pub const MAXIMUM_CONNECT_TIME: Self = Self(0xA0);
    /// Subscription Identifiers not supported (0xA1).
    pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: Self = Self(0xA1);
    /// Wildcard Subscriptions not supported (0xA2).
    pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: Self = Self(0xA2);
    /// `None` for a number that the standard does not list.
    #[inline]
    pub const fn new(code: u8) -> Option<Self> {
        if rule(code).is_some() { Some(Self(code)) } else { None }
    }

    /// As a number.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Did the operation fail (§2.4)?
    #[inline]
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// The name that the standard gives it. 0x00 has three, by packet.
    pub const fn name(self) -> &'static str {
        match rule(self.0) {
            Some(rule) => rule.name,
            None => "unlisted",
        }
    }

    /// May this code stand in that packet when `from` sends it?
    pub const fn is_allowed(self, place: ReasonPlace, from: Peer) -> bool {
        match rule(self.0) {
            Some(rule) => {
                let places = match from {
                    Peer::Client => rule.from_client,
                    Peer::Server => rule.from_server,
                };
                places & place.bit() != 0
            }
            None => false,
        }
    }

    /// Reads a code that stood in `place` [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    /// [MQTT-3.9.3-2] [MQTT-3.11.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1].
    #[inline]
    pub(crate) fn from_wire(code: u8, place: ReasonPlace, from: Peer) -> Result<Self, PeerError> {
        let code = Self::new(code).ok_or(Malformed::UnknownReasonCode(code))?;
        if code.is_allowed(place, from) { Ok(code) } else { Err(Violation::MisplacedReasonCode { code, place }.into()) }
    }

    /// The CONNACK return code of 3.x (3.1.1 §3.2.2.3). `None` where no listed code fits: then the server closes without
    /// a CONNACK (3.1.1 `[MQTT-3.2.2-6]`).
    pub const fn connack_return_code(self) -> Option<u8> {
        Some(match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::SERVER_UNAVAILABLE
            | Self::SERVER_BUSY
            | Self::QUOTA_EXCEEDED
            | Self::USE_ANOTHER_SERVER
            | Self::SERVER_MOVED
            | Self::CONNECTION_RATE_EXCEEDED => 3,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED => 5,
            _ => return None,
        })
    }

    /// The reason code that says the same as a CONNACK return code of 3.x.
    pub const fn from_connack_return_code(code: u8) -> Result<Self, Malformed> {
        Ok(match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => return Err(Malformed::ReservedReturnCode(code)),
        })
    }

    /// The SUBACK return code of 3.x: the granted QoS, or 0x80 for any failure (3.1.1 `[MQTT-3.9.3-2]`). 3.1 has no code
    /// for a failure; 0x80 is what its clients have learned to read.
    pub const fn suback_return_code(self) -> u8 {
        if self.is_failure() { 0x80 } else { self.0 }
    }

    /// The reason code that says the same as a SUBACK return code of 3.x.
    pub const fn from_suback_return_code(code: u8) -> Result<Self, Malformed> {
        match code {
            0..=2 | 0x80 => Ok(Self(code)),
            _ => Err(Malformed::ReservedReturnCode(code)),
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<crate::QoS> for ReasonCode {
    /// "Granted QoS" in SUBACK (§3.9.3).
    fn from(granted: crate::QoS) -> Self {
        match granted {
            crate::QoS::AtMostOnce => Self::GRANTED_QOS_0,
            crate::QoS::AtLeastOnce => Self::GRANTED_QOS_1,
            crate::QoS::ExactlyOnce => Self::GRANTED_QOS_2,
        }
    }
}

impl ReasonPlace {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connack,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Suback,
        Self::Unsuback,
        Self::Disconnect,
        Self::Auth,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The name of a code and the packets it may stand in, by who sends them.
#[derive(Clone, Copy)]
struct Rule {
    name: &'static str,
    from_client: u16,
    from_server: u16,
}

const fn row(name: &'static str, both: &[ReasonPlace], client: &[ReasonPlace], server: &[ReasonPlace]) -> Rule {
    Rule { name, from_client: bits(both) | bits(client), from_server: bits(both) | bits(server) }
}

const fn bits(places: &[ReasonPlace]) -> u16 {
    let mut bits = 0;
    let mut rest = places;
    while let [place, tail @ ..] = rest {
        bits |= place.bit();
        rest = tail;
    }
    bits
}

/// [`listed`], computed once by the compiler.
static RULES: [Option<Rule>; 256] = {
    let mut rules = [None; 256];
    let mut code = 0;
    while code < rules.len() {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let number = code as u8;
        rules[code] = listed(number);
        code += 1;
    }
    rules
};

#[inline]
const fn rule(code: u8) -> Option<Rule> {
    RULES[code as usize]
}

/// The table of §2.4: where the code stands whoever sends it, only from a client, only from a server.
const fn listed(code: u8) -> Option<Rule> {
    use ReasonPlace::*;
    Some(match code {
        0x00 => row(
            "Success / Normal disconnection / Granted QoS 0",
            &[Connack, Puback, Pubrec, Pubrel, Pubcomp, Unsuback, Auth, Disconnect, Suback],
            &[],
            &[],
        ),
        0x01 => row("Granted QoS 1", &[Suback], &[], &[]),
        0x02 => row("Granted QoS 2", &[Suback], &[], &[]),
        0x04 => row("Disconnect with Will Message", &[], &[Disconnect], &[]),
        0x10 => row("No matching subscribers", &[], &[], &[Puback, Pubrec]),
        0x11 => row("No subscription existed", &[Unsuback], &[], &[]),
        0x18 => row("Continue authentication", &[Auth], &[], &[]),
        0x19 => row("Re-authenticate", &[], &[Auth], &[]),
        0x80 => row("Unspecified error", &[Connack, Puback, Pubrec, Suback, Unsuback, Disconnect], &[], &[]),
        0x81 => row("Malformed Packet", &[Connack, Disconnect], &[], &[]),
        0x82 => row("Protocol Error", &[Connack, Disconnect], &[], &[]),
        0x83 => row("Implementation specific error", &[Connack, Puback, Pubrec, Suback, Unsuback, Disconnect], &[], &[]),
        0x84 => row("Unsupported Protocol Version", &[Connack], &[], &[]),
        0x85 => row("Client Identifier not valid", &[Connack], &[], &[]),
        0x86 => row("Bad User Name or Password", &[Connack], &[], &[]),
        0x87 => row("Not authorized", &[Connack, Puback, Pubrec, Suback, Unsuback], &[], &[Disconnect]),
        0x88 => row("Server unavailable", &[Connack], &[], &[]),
        0x89 => row("Server busy", &[Connack], &[], &[Disconnect]),
        0x8A => row("Banned", &[Connack], &[], &[]),
        0x8B => row("Server shutting down", &[], &[], &[Disconnect]),
        0x8C => row("Bad authentication method", &[Connack, Disconnect], &[], &[]),
        0x8D => row("Keep Alive timeout", &[], &[], &[Disconnect]),
        0x8E => row("Session taken over", &[], &[], &[Disconnect]),
        0x8F => row("Topic Filter invalid", &[Suback, Unsuback], &[], &[Disconnect]),
        0x90 => row("Topic Name invalid", &[Connack, Puback, Pubrec, Disconnect], &[], &[]),
        0x91 => row("Packet Identifier in use", &[Puback, Pubrec, Suback, Unsuback], &[], &[]),
        0x92 => row("Packet Identifier not found", &[Pubrel, Pubcomp], &[], &[]),
        0x93 => row("Receive Maximum exceeded", &[Disconnect], &[], &[]),
        0x94 => row("Topic Alias invalid", &[Disconnect], &[], &[]),
        0x95 => row("Packet too large", &[Connack, Disconnect], &[], &[]),
        0x96 => row("Message rate too high", &[Disconnect], &[], &[]),
        0x97 => row("Quota exceeded", &[Connack, Puback, Pubrec, Suback, Disconnect], &[], &[]),
        0x98 => row("Administrative action", &[Disconnect], &[], &[]),
        0x99 => row("Payload format invalid", &[Connack, Puback, Pubrec, Disconnect], &[], &[]),
        0x9A => row("Retain not supported", &[Connack], &[], &[Disconnect]),
        0x9B => row("QoS not supported", &[Connack], &[], &[Disconnect]),
        0x9C => row("Use another server", &[Connack], &[], &[Disconnect]),
        0x9D => row("Server moved", &[Connack], &[], &[Disconnect]),
        0x9E => row("Shared Subscriptions not supported", &[Suback], &[], &[Disconnect]),
        0x9F => row("Connection rate exceeded", &[Connack], &[], &[Disconnect]),
        0xA0 => row("Maximum connect time", &[], &[], &[Disconnect]),
        0xA1 => row("Subscription Identifiers not supported", &[Suback], &[], &[Disconnect]),
        0xA2 => row("Wildcard Subscriptions not supported", &[Suback], &[], &[Disconnect]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_where_the_standard_lists_it_and_nowhere_else() {
        insta::assert_snapshot!(table());
    }

    /// One line per code: where it may stand, with C or S where only one side may send it.
    fn table() -> std::string::String {
        use std::fmt::Write as _;
        let mut text = std::string::String::new();
        for code in (0..=u8::MAX).filter_map(ReasonCode::new) {
            write!(text, "{code}:").unwrap();
            for place in ReasonPlace::ALL {
                let side = match (code.is_allowed(place, Peer::Client), code.is_allowed(place, Peer::Server)) {
                    (false, false) => continue,
                    (true, true) => "",
                    (true, false) => "(C)",
                    (false, true) => "(S)",
                };
                write!(text, " {place:?}{side}").unwrap();
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn every_return_code_of_3_x_survives_the_trip_through_a_reason_code() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connack_return_code(code).unwrap();
            assert_eq!(reason.connack_return_code(), Some(code));
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), Err(Malformed::ReservedReturnCode(6)));
        for code in [0, 1, 2, 0x80] {
            assert_eq!(ReasonCode::from_suback_return_code(code).unwrap().suback_return_code(), code);
        }
    }
}
