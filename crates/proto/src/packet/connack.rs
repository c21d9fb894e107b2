//! CONNACK (§3.2).

use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroU32};

use super::{PacketType, Peer};
use crate::error::{Malformed, PeerError, Violation};
use crate::property::{Properties, Property, PropertyPlace, UserProperties};
use crate::qos::QoS;
use crate::reason::{ReasonCode, ReasonPlace};
use crate::version::Version;
use crate::wire::{Reader, Writer};

const SESSION_PRESENT: u8 = 0b0000_0001;

/// CONNACK (§3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connack<'a> {
    /// Was stored state taken up (§3.2.2.1.1)? Never with a refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// 0x80 and above: the server closes [MQTT-3.2.2-7].
    pub reason: ReasonCode,
    /// Empty where the version has none.
    pub properties: ConnackProperties<'a>,
}

/// What a v5 CONNACK may add (§3.2.2.3).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnackProperties<'a> {
    /// Seconds; absent: what the client asked for (§3.2.2.3.2).
    pub session_expiry: Option<u32>,
    /// QoS 1 and 2 messages that may be open towards the server; absent: 65,535 (§3.2.2.3.3).
    pub receive_maximum: Option<NonZeroU16>,
    /// Absent: QoS 2; never [`QoS::ExactlyOnce`] on the wire (§3.2.2.3.4).
    pub maximum_qos: Option<QoS>,
    /// Absent: true (§3.2.2.3.5).
    pub retain_available: Option<bool>,
    /// Bytes of the largest packet that the server takes; absent: no limit (§3.2.2.3.6).
    pub maximum_packet_size: Option<NonZeroU32>,
    /// For a client that came without one [MQTT-3.1.3-7].
    pub assigned_client_id: Option<&'a str>,
    /// Aliases that the server keeps; absent: none (§3.2.2.3.8).
    pub topic_alias_maximum: Option<u16>,
    /// For people (§3.2.2.3.9).
    pub reason_string: Option<&'a str>,
    /// §3.2.2.3.10
    pub user_properties: UserProperties<'a>,
    /// Absent: true (§3.2.2.3.11).
    pub wildcard_subscription_available: Option<bool>,
    /// Absent: true (§3.2.2.3.12).
    pub subscription_identifiers_available: Option<bool>,
    /// Absent: true (§3.2.2.3.13).
    pub shared_subscription_available: Option<bool>,
    /// Seconds, in place of what the client asked for [MQTT-3.2.2-21].
    pub server_keep_alive: Option<u16>,
    /// Only if asked for [MQTT-3.1.2-28].
    pub response_information: Option<&'a str>,
    /// Another server to go to (§3.2.2.3.16).
    pub server_reference: Option<&'a str>,
    /// §3.2.2.3.17
    pub authentication_method: Option<&'a str>,
    /// §3.2.2.3.18
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> Connack<'a> {
    /// A refusal with nothing to add.
    pub fn refusal(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: ConnackProperties::default() }
    }

    /// Reads the body (§3.2.2).
    #[inline(never)]
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let session_present = version.has_session_present() && flags & SESSION_PRESENT != 0;
        if version.has_session_present() && flags & !SESSION_PRESENT != 0 {
            return Err(Malformed::ReservedConnackFlags.into());
        }
        let code = reader.u8()?;
        let (reason, properties) = if version.has_properties() {
            let reason = ReasonCode::from_wire(code, ReasonPlace::Connack, Peer::Server)?;
            (reason, ConnackProperties::read(&mut reader)?)
        } else {
            (ReasonCode::from_connack_return_code(code)?, ConnackProperties::default())
        };
        reader.finish()?;
        if session_present && reason.is_failure() {
            return Err(Violation::SessionPresentOnRefusal.into());
        }
        Ok(Self { session_present, reason, properties })
    }

    /// Appends the whole frame. Appends nothing where 3.x has no return code for the reason: then the server just closes
    /// (3.1.1 `[MQTT-3.2.2-6]`).
    ///
    /// # Panics
    ///
    /// On a string or binary value of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let code = if version.has_properties() { Some(self.reason.get()) } else { self.reason.connack_return_code() };
        let Some(code) = code else {
            return;
        };
        let says_present = version.has_session_present() && self.session_present && !self.reason.is_failure();
        Writer::frame(out, PacketType::Connack.first_byte(), |out| {
            out.u8(if says_present { SESSION_PRESENT } else { 0 });
            out.u8(code);
            if version.has_properties() {
                self.properties.write(out);
            }
        });
    }
}

impl<'a> ConnackProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, PeerError> {
        let block = Properties::read(reader, PropertyPlace::Connack)?;
        let user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Connack);
        let mut properties = Self { user_properties, ..Self::default() };
        for property in block {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
            match property? {
                Property::SessionExpiryInterval(seconds) => {
                    properties.session_expiry = Some(seconds);
                }
                Property::ReceiveMaximum(count) => properties.receive_maximum = Some(count),
                Property::MaximumQoS(qos) => properties.maximum_qos = Some(qos),
                Property::RetainAvailable(is) => properties.retain_available = Some(is),
                Property::MaximumPacketSize(bytes) => properties.maximum_packet_size = Some(bytes),
                Property::AssignedClientIdentifier(id) => properties.assigned_client_id = Some(id),
                Property::TopicAliasMaximum(count) => properties.topic_alias_maximum = Some(count),
                Property::ReasonString(text) => properties.reason_string = Some(text),
                Property::UserProperty(_) => {}
                Property::WildcardSubscriptionAvailable(is) => {
                    properties.wildcard_subscription_available = Some(is);
                }
                Property::SubscriptionIdentifiersAvailable(is) => {
                    properties.subscription_identifiers_available = Some(is);
                }
                Property::SharedSubscriptionAvailable(is) => {
                    properties.shared_subscription_available = Some(is);
                }
                Property::ServerKeepAlive(seconds) => properties.server_keep_alive = Some(seconds),
                Property::ResponseInformation(text) => properties.response_information = Some(text),
                Property::ServerReference(text) => properties.server_reference = Some(text),
                Property::AuthenticationMethod(method) => {
                    properties.authentication_method = Some(method);
                }
                Property::AuthenticationData(data) => properties.authentication_data = Some(data),
                other => return Err(other.misplaced()),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Violation::AuthenticationDataAlone.into());
        }
        Ok(properties)
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.measured(|out| {
            out.property(self.session_expiry.map(Property::SessionExpiryInterval));
            out.property(self.receive_maximum.map(Property::ReceiveMaximum));
            // QoS 2 is said by absence (§3.2.2.3.4).
            out.property(self.maximum_qos.filter(|qos| *qos < QoS::ExactlyOnce).map(Property::MaximumQoS));
            out.property(self.retain_available.map(Property::RetainAvailable));
            out.property(self.maximum_packet_size.map(Property::MaximumPacketSize));
            out.property(self.assigned_client_id.map(Property::AssignedClientIdentifier));
            out.property(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
            out.property(self.reason_string.map(Property::ReasonString));
            self.user_properties.write(out);
            out.property(self.wildcard_subscription_available.map(Property::WildcardSubscriptionAvailable));
            out.property(self.subscription_identifiers_available.map(Property::SubscriptionIdentifiersAvailable));
            out.property(self.shared_subscription_available.map(Property::SharedSubscriptionAvailable));
            out.property(self.server_keep_alive.map(Property::ServerKeepAlive));
            out.property(self.response_information.map(Property::ResponseInformation));
            out.property(self.server_reference.map(Property::ServerReference));
            out.property(self.authentication_method.map(Property::AuthenticationMethod));
            out.property(self.authentication_data.map(Property::AuthenticationData));
        });
    }
}
