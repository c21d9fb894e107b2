//! CONNECT (§3.1).

use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use super::{PacketType, PublishProperties};
use crate::error::{Malformed, PeerError, Violation};
use crate::property::{Properties, Property, PropertyPlace, UserProperties};
use crate::qos::QoS;
use crate::text::Unsaid;
use crate::topic::TopicName;
use crate::version::Version;
use crate::wire::{Reader, Writer};

const BRIDGE: u8 = 0x80;

const USER_NAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS: u8 = 0b0001_1000;
const WILL: u8 = 0b0000_0100;
const CLEAN_START: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

/// CONNECT (§3.1).
#[derive(Clone, Eq, PartialEq)]
pub struct Connect<'a> {
    /// Told by protocol name and level together.
    pub version: Version,
    /// Set in the level by brokers that connect to brokers, in 3.x only. Not part of the standard.
    pub bridge: bool,
    /// Throw away what is stored (§3.1.2.4). 3.x calls it clean session, and it says more there: [`Connect::session_expiry`].
    pub clean_start: bool,
    /// Seconds; 0 turns it off (§3.1.2.10).
    pub keep_alive: u16,
    /// A string [MQTT-3.1.3-4] that may be empty: then the server is asked to make one up (§3.1.3.1).
    pub client_id: &'a str,
    /// What to publish when the connection is gone (§3.1.2.5).
    pub will: Option<Will<'a>>,
    /// A string [MQTT-3.1.3-12].
    pub username: Option<&'a str>,
    /// §3.1.3.6
    pub password: Option<&'a [u8]>,
    /// Empty where the version has none.
    pub properties: ConnectProperties<'a>,
}

/// A will (§3.1.2.5).
#[derive(Clone, Eq, PartialEq)]
pub struct Will<'a> {
    /// §3.1.3.3
    pub topic: TopicName<'a>,
    /// §3.1.3.4
    pub payload: &'a [u8],
    /// §3.1.2.6
    pub qos: QoS,
    /// §3.1.2.7
    pub retain: bool,
    /// Seconds to wait for the client to come back (§3.1.3.2.2).
    pub delay: u32,
    /// Those of the message to publish. A will has neither alias nor subscription identifiers.
    pub properties: PublishProperties<'a>,
}

/// What a v5 CONNECT may add (§3.1.2.11).
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct ConnectProperties<'a> {
    /// Seconds (§3.1.2.11.2). Ask [`Connect::session_expiry`].
    pub session_expiry: Option<u32>,
    /// QoS 1 and 2 messages that may be open towards the client; absent: 65,535 (§3.1.2.11.3).
    pub receive_maximum: Option<NonZeroU16>,
    /// Bytes of the largest packet that the client takes; absent: no limit (§3.1.2.11.4).
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Aliases that the client keeps; absent: none (§3.1.2.11.5).
    pub topic_alias_maximum: Option<u16>,
    /// Absent: false (§3.1.2.11.6).
    pub request_response_information: Option<bool>,
    /// Absent: true (§3.1.2.11.7).
    pub request_problem_information: Option<bool>,
    /// §3.1.2.11.8
    pub user_properties: UserProperties<'a>,
    /// §3.1.2.11.9
    pub authentication_method: Option<&'a str>,
    /// §3.1.2.11.10
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    /// Only the version, so that a CONNECT which breaks further on can be answered in its own language.
    pub fn peek_version(body: &[u8]) -> Result<Version, PeerError> {
        read_version(&mut Reader::new(body)).map(|(version, _)| version)
    }

    /// Seconds that the session outlives the connection: 0 ends with it, `u32::MAX` never ends (§3.1.2.11.2).
    pub const fn session_expiry(&self) -> u32 {
        self.version.session_expiry(self.clean_start, self.properties.session_expiry)
    }

    /// Reads the body (§3.1.2, §3.1.3).
    #[inline(never)]
    pub fn decode(body: &'a [u8]) -> Result<Self, PeerError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = read_version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(version, flags)?;
        let keep_alive = reader.u16()?;
        let properties =
            if version.has_properties() { ConnectProperties::read(&mut reader)? } else { ConnectProperties::default() };
        // The order of the payload [MQTT-3.1.3-1]; the client identifier is always there [MQTT-3.1.3-3]. What a flag does
        // not announce is not there either [MQTT-3.1.2-16] [MQTT-3.1.2-18]: it would be left over at the end.
        let client_id = reader.text()?;
        let will = if flags & WILL != 0 { Some(Will::read(version, flags, &mut reader)?) } else { None };
        let user_name_is_there = flags & USER_NAME != 0 && !(version.allows_missing_user_name() && reader.is_empty());
        let username = if user_name_is_there { Some(reader.text()?) } else { None };
        let password_is_there = flags & PASSWORD != 0 && !(version.allows_missing_user_name() && reader.is_empty());
        let password = if password_is_there { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self {
            version,
            bridge,
            clean_start: flags & CLEAN_START != 0,
            keep_alive,
            client_id,
            will,
            username,
            password,
            properties,
        })
    }

    /// Appends the whole frame, in its own version.
    ///
    /// # Panics
    ///
    /// On a string or binary value of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::frame(out, PacketType::Connect.first_byte(), |out| {
            out.text(self.version.protocol_name());
            out.u8(self.version.level() | if self.bridge { BRIDGE } else { 0 });
            out.u8(self.flags());
            out.u16(self.keep_alive);
            if self.version.has_properties() {
                self.properties.write(out);
            }
            out.text(self.client_id);
            if let Some(will) = &self.will {
                will.write(self.version, out);
            }
            if let Some(username) = self.username {
                out.text(username);
            }
            if let Some(password) = self.password {
                out.binary(password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = self.will.as_ref().map_or(0, Will::flags);
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if self.username.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

/// Protocol name and level (§3.1.2.1, §3.1.2.2).
fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), PeerError> {
    // As bytes: a name that is not even text is still just the wrong name.
    let name = reader.binary()?;
    let Some(name) = Version::ALL.map(Version::protocol_name).into_iter().find(|ours| ours.as_bytes() == name) else {
        return Err(Violation::UnknownProtocolName.into());
    };
    let level = reader.u8()?;
    if let Some(version) = Version::from_name_and_level(name, level) {
        return Ok((version, false));
    }
    match Version::from_name_and_level(name, level & !BRIDGE) {
        Some(version) if version.has_bridge_bit() => Ok((version, true)),
        Some(_) | None => Err(Violation::UnsupportedProtocolVersion { level }.into()),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), Malformed> {
    if flags & RESERVED != 0 && version.checks_reserved_connect_flag() {
        return Err(Malformed::ReservedConnectFlag);
    }
    let has_stray_will_flags = flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0;
    if has_stray_will_flags && version.checks_will_flags_without_will() {
        return Err(Malformed::WillFlagsWithoutWill);
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.allows_password_alone() {
        return Err(Malformed::PasswordWithoutUserName);
    }
    Ok(())
}

impl<'a> Will<'a> {
    fn read(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Self, PeerError> {
        let qos = QoS::try_from((flags & WILL_QOS) >> 3).map_err(|_| Malformed::ReservedWillQoS)?;
        let (delay, properties) =
            if version.has_properties() { read_will_properties(reader)? } else { (0, PublishProperties::default()) };
        let topic = TopicName::new(reader.text()?)?;
        let payload = reader.binary()?;
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, delay, properties })
    }

    fn write(&self, version: Version, out: &mut Writer<'_>) {
        if version.has_properties() {
            out.measured(|out| {
                if self.delay > 0 {
                    out.property(Some(Property::WillDelayInterval(self.delay)));
                }
                out.property(self.properties.message_expiry.map(Property::MessageExpiryInterval));
                self.properties.write_forwarded(out);
            });
        }
        out.text(self.topic.as_str());
        out.binary(self.payload);
    }

    const fn flags(&self) -> u8 {
        WILL | (self.qos as u8) << 3 | if self.retain { WILL_RETAIN } else { 0 }
    }
}

fn read_will_properties<'a>(reader: &mut Reader<'a>) -> Result<(u32, PublishProperties<'a>), PeerError> {
    let block = Properties::read(reader, PropertyPlace::Will)?;
    let user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Will);
    let mut properties = PublishProperties { user_properties, ..PublishProperties::default() };
    let mut delay = 0;
    for property in block {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the message takes its own and refuses the rest")]
        match property? {
            Property::WillDelayInterval(seconds) => delay = seconds,
            of_message => properties.set(of_message)?,
        }
    }
    Ok((delay, properties))
}

impl<'a> ConnectProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, PeerError> {
        let block = Properties::read(reader, PropertyPlace::Connect)?;
        let user_properties = UserProperties::of_checked_block(block.block(), PropertyPlace::Connect);
        let mut properties = Self { user_properties, ..Self::default() };
        for property in block {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest has no place here")]
            match property? {
                Property::SessionExpiryInterval(seconds) => {
                    properties.session_expiry = Some(seconds);
                }
                Property::ReceiveMaximum(count) => properties.receive_maximum = Some(count),
                Property::MaximumPacketSize(bytes) => properties.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(count) => properties.topic_alias_maximum = Some(count),
                Property::RequestResponseInformation(wanted) => {
                    properties.request_response_information = Some(wanted);
                }
                Property::RequestProblemInformation(wanted) => {
                    properties.request_problem_information = Some(wanted);
                }
                Property::AuthenticationMethod(method) => {
                    properties.authentication_method = Some(method);
                }
                Property::AuthenticationData(data) => properties.authentication_data = Some(data),
                Property::UserProperty(_) => {}
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
            out.property(self.maximum_packet_size.map(Property::MaximumPacketSize));
            out.property(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
            out.property(self.request_response_information.map(Property::RequestResponseInformation));
            out.property(self.request_problem_information.map(Property::RequestProblemInformation));
            self.user_properties.write(out);
            out.property(self.authentication_method.map(Property::AuthenticationMethod));
            out.property(self.authentication_data.map(Property::AuthenticationData));
        });
    }

    /// May acknowledgements carry reason strings and user properties [MQTT-3.1.2-29]?
    pub fn wants_problem_information(&self) -> bool {
        self.request_problem_information.unwrap_or(true)
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, bridge, clean_start, keep_alive, client_id, will, username, password, properties } = self;
        f.debug_struct("Connect")
            .field("version", version)
            .field("bridge", bridge)
            .field("clean_start", clean_start)
            .field("keep_alive", keep_alive)
            .field("client_id", client_id)
            .field("will", will)
            .field("username", username)
            .field("password", &password.map(|password| Unsaid(password.len())))
            .field("properties", properties)
            .finish()
    }
}

impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, payload, qos, retain, delay, properties } = self;
        f.debug_struct("Will")
            .field("topic", topic)
            .field("payload", &Unsaid(payload.len()))
            .field("qos", qos)
            .field("retain", retain)
            .field("delay", delay)
            .field("properties", properties)
            .finish()
    }
}

impl fmt::Debug for ConnectProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("user_properties", &self.user_properties)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &self.authentication_data.map(|data| Unsaid(data.len())))
            .finish()
    }
}
