//! The client's side of a connection: CONNECT sent, CONNACK awaited, then open.

use super::Open;
use crate::error::{PeerError, Violation};
use crate::packet::{Auth, Connack, Connect, Packet, PacketType, Peer, decode};
use crate::version::Version;

/// CONNECT has been sent.
#[derive(Debug)]
pub struct AwaitConnack {
    version: Version,
    has_method: bool,
    clean_start: bool,
}

/// The server's answer.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Accepted; packets flow.
    Open(Open, Connack<'a>),
    /// Refused; the server closes [MQTT-3.2.2-7].
    Refused(Connack<'a>),
    /// One more step of the authentication (§4.12): answer AUTH [MQTT-4.12.0-3] and go on waiting.
    Continue(AwaitConnack, Auth<'a>),
}

impl AwaitConnack {
    /// This CONNECT has been sent.
    pub const fn new(connect: &Connect<'_>) -> Self {
        let has_method = connect.properties.authentication_method.is_some();
        Self { version: connect.version, has_method, clean_start: connect.clean_start }
    }

    /// A packet from the server: CONNACK, or AUTH if CONNECT named a method [MQTT-3.2.0-1] [MQTT-4.12.0-6]. A session that nobody asked for is none of
    /// ours [MQTT-3.2.2-4].
    pub fn on_packet(self, first: u8, body: &[u8]) -> Result<Answer<'_>, PeerError> {
        let packet_type = PacketType::of(first)?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "all else has no place before CONNACK")]
        match decode(self.version, Peer::Server, first, body)? {
            Packet::Connack(connack) if connack.reason.is_failure() => Ok(Answer::Refused(connack)),
            Packet::Connack(connack) if connack.session_present && self.clean_start => Err(Violation::SessionOfOthers.into()),
            Packet::Connack(connack) => Ok(Answer::Open(Open::new(self.version, Peer::Server, self.has_method), connack)),
            Packet::Auth(_) if !self.has_method => Err(Violation::UnexpectedAuth.into()),
            Packet::Auth(auth) => Ok(Answer::Continue(self, auth)),
            _ => Err(Violation::NotConnack(packet_type).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ConnectProperties;
    use crate::reason::ReasonCode;

    fn await_connack(method: Option<&str>) -> AwaitConnack {
        after_connect(false, method)
    }

    fn after_connect(clean_start: bool, method: Option<&str>) -> AwaitConnack {
        AwaitConnack::new(&Connect {
            version: Version::V5,
            bridge: false,
            clean_start,
            keep_alive: 0,
            client_id: "c",
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties { authentication_method: method, ..ConnectProperties::default() },
        })
    }

    #[test]
    fn an_accepting_connack_opens_the_connection_once() {
        let Ok(Answer::Open(open, connack)) = await_connack(None).on_packet(0x20, &[1, 0, 0]) else {
            panic!("not open");
        };

        assert!(connack.session_present);
        assert_eq!(open.decode(0x20, &[0, 0, 0]), Err(Violation::SecondConnack.into()));
    }

    #[test]
    fn a_clean_start_takes_up_no_session() {
        let answer = after_connect(true, None).on_packet(0x20, &[1, 0, 0]);

        assert!(matches!(answer, Err(PeerError::Violation(Violation::SessionOfOthers))), "{answer:?}");
        assert!(matches!(after_connect(true, None).on_packet(0x20, &[0, 0, 0]), Ok(Answer::Open(..))));
    }

    #[test]
    fn a_refusal_says_why() {
        let Ok(Answer::Refused(connack)) = await_connack(None).on_packet(0x20, &[0, 0x87, 0]) else {
            panic!("not refused");
        };

        assert_eq!(connack.reason, ReasonCode::NOT_AUTHORIZED);
    }

    #[test]
    fn nothing_comes_before_connack_but_auth_that_was_asked_for() {
        let auth: &[u8] = &[0x18, 4, 0x15, 0, 1, b'm'];

        assert!(matches!(await_connack(Some("m")).on_packet(0xf0, auth), Ok(Answer::Continue(..))));
        assert_eq!(await_connack(None).on_packet(0xf0, auth).unwrap_err(), Violation::UnexpectedAuth.into());
        let ping = await_connack(None).on_packet(0xd0, &[]).unwrap_err();
        assert_eq!(ping, Violation::NotConnack(PacketType::Pingresp).into());
    }
}
