//! The server's side of a connection: CONNECT, perhaps AUTH, then open.

use super::Open;
use crate::error::{PeerError, Violation};
use crate::packet::{Auth, Connect, Disconnect, Packet, PacketType, Peer, decode};
use crate::reason::ReasonCode;
use crate::version::Version;

/// A network connection that has said nothing yet.
#[derive(Debug, Default)]
pub struct AwaitConnect(());

/// CONNECT has come and is not answered yet.
#[derive(Debug)]
pub struct Connecting {
    version: Version,
    has_method: bool,
}

/// What a client may say before CONNACK once it has begun an authentication [MQTT-3.1.2-30].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BeforeConnack<'a> {
    /// The next step of the exchange.
    Auth(Auth<'a>),
    /// It has changed its mind.
    Disconnect(Disconnect<'a>),
}

impl AwaitConnect {
    /// For a new network connection.
    pub const fn new() -> Self {
        Self(())
    }

    /// The first packet is CONNECT [MQTT-3.1.0-1].
    pub fn on_packet(self, first: u8, body: &[u8]) -> Result<(Connecting, Connect<'_>), PeerError> {
        let packet_type = PacketType::of(first)?;
        if packet_type != PacketType::Connect {
            return Err(Violation::NotConnect(packet_type).into());
        }
        // CONNECT tells its own version; the one given here says only that nothing is known yet.
        #[expect(clippy::wildcard_enum_match_arm, reason = "CONNECT is the only first packet")]
        match decode(Version::V5, Peer::Client, first, body)? {
            Packet::Connect(connect) => {
                let has_method = connect.properties.authentication_method.is_some();
                Ok((Connecting { version: connect.version, has_method }, connect))
            }
            other => Err(Violation::NotConnect(other.packet_type()).into()),
        }
    }
}

/// In which version, and with which reason, to answer a first packet that [`AwaitConnect::on_packet`] has refused; `None`:
/// close without a word. Either way the connection closes [MQTT-3.1.4-1].
///
/// An unsupported level below 5 gets the CONNACK of 3.1.1 with return code 1 (3.1.1 `[MQTT-3.1.2-2]`), a later one that of
/// MQTT 5 with 0x84. Another breach is explained only in MQTT 5: 3.1.1 wants no CONNACK then (3.1.1 `[MQTT-3.1.4-1]`).
pub fn answer_to_refused(first: u8, body: &[u8], error: PeerError) -> Option<(Version, ReasonCode)> {
    if PacketType::of(first) != Ok(PacketType::Connect) {
        return None;
    }
    let version = match error {
        PeerError::Violation(Violation::UnsupportedProtocolVersion { level }) => Version::nearest_to_level(level),
        PeerError::Violation(_) | PeerError::Malformed(_) => {
            Connect::peek_version(body).ok().filter(|version| version.answers_malformed_connect())?
        }
    };
    Some((version, error.reason_code()))
}

impl Connecting {
    /// What CONNECT speaks.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// A packet before CONNACK. Without an authentication in progress the caller does not read here but lets packets wait
    /// (§3.1.4 allows clients not to wait for CONNACK).
    pub fn on_packet<'a>(&self, first: u8, body: &'a [u8]) -> Result<BeforeConnack<'a>, PeerError> {
        if PacketType::of(first)? == PacketType::Connect {
            return Err(Violation::SecondConnect.into());
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "all else has no place before CONNACK")]
        match decode(self.version, Peer::Client, first, body)? {
            Packet::Auth(_) if !self.has_method => Err(Violation::UnexpectedAuth.into()),
            Packet::Auth(auth) => Ok(BeforeConnack::Auth(auth)),
            Packet::Disconnect(disconnect) => Ok(BeforeConnack::Disconnect(disconnect)),
            other => Err(Violation::DuringAuthentication(other.packet_type()).into()),
        }
    }

    /// CONNACK 0 is sent [MQTT-3.1.4-5]. (A refusal just closes: drop this value [MQTT-3.1.4-6].)
    pub const fn accept(self) -> Open {
        Open::new(self.version, Peer::Client, self.has_method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Malformed;

    const V5: &[u8] = b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    const V5_WITH_METHOD: &[u8] = b"\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01m\x00\x00";

    fn connecting(body: &[u8]) -> Connecting {
        AwaitConnect::new().on_packet(0x10, body).unwrap().0
    }

    #[test]
    fn the_first_packet_is_connect() {
        let refused = AwaitConnect::new().on_packet(0xc0, &[]).map(|_| ());

        assert_eq!(refused, Err(Violation::NotConnect(PacketType::Pingreq).into()));
        assert_eq!(answer_to_refused(0xc0, &[], refused.unwrap_err()), None);
    }

    #[test]
    fn after_connack_a_second_connect_is_a_violation() {
        let open = connecting(V5).accept();

        assert_eq!(open.decode(0x10, V5), Err(Violation::SecondConnect.into()));
        assert_eq!(open.decode(0xc0, &[]), Ok(Packet::Pingreq));
    }

    #[test]
    fn auth_needs_a_method_in_connect() {
        assert_eq!(connecting(V5).on_packet(0xf0, &[]), Err(Violation::UnexpectedAuth.into()));
        assert_eq!(connecting(V5).accept().decode(0xf0, &[]), Err(Violation::UnexpectedAuth.into()));

        let open = connecting(V5_WITH_METHOD).accept();
        assert!(open.decode(0xf0, &[0x19, 4, 0x15, 0, 1, b'm']).is_ok());
    }

    #[test]
    fn during_an_authentication_only_auth_and_disconnect_are_heard() {
        let connecting = connecting(V5_WITH_METHOD);

        assert!(matches!(connecting.on_packet(0xf0, &[0x18, 4, 0x15, 0, 1, b'm']), Ok(BeforeConnack::Auth(_))));
        assert!(matches!(connecting.on_packet(0xe0, &[]), Ok(BeforeConnack::Disconnect(_))));
        let ping = connecting.on_packet(0xc0, &[]);
        assert_eq!(ping, Err(Violation::DuringAuthentication(PacketType::Pingreq).into()));
    }

    #[test]
    fn a_bad_connect_is_answered_in_its_own_version_if_that_has_words() {
        let answer = |body: &[u8]| {
            let error = AwaitConnect::new().on_packet(0x10, body).map(|_| ()).unwrap_err();
            answer_to_refused(0x10, body, error)
        };
        let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;

        assert_eq!(answer(b"\x00\x04MQTT\x05\x03\x00\x00"), Some((Version::V5, Malformed::ReservedConnectFlag.reason_code())));
        assert_eq!(answer(b"\x00\x04MQTT\x04\x03\x00\x00"), None);
        assert_eq!(answer(b"\x00\x04MQTT\x03\x02\x00\x00\x00\x00"), Some((Version::V311, unsupported)));
        assert_eq!(answer(b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00"), Some((Version::V5, unsupported)));
        assert_eq!(answer(b"\x00\x04HTTP\x04\x02\x00\x00\x00\x00"), None);
        assert_eq!(answer(b"\x00\x04MQ"), None);
    }
}
