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
        Self {
            version: connect.version,
            has_method: connect.properties.authentication_method.is_some(),
        }
    }

    /// A packet from the server: CONNACK, or AUTH if CONNECT named a method [MQTT-3.2.0-1] [MQTT-4.12.0-6].
    pub fn on_packet(self, first: u8, body: &[u8]) -> Result<Answer<'_>, PeerError> {
        let packet_type = PacketType::of(first)?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all else has no place before CONNACK"
        )]
        match decode(self.version, Peer::Server, first, body)? {
            Packet::Connack(connack) if connack.reason.is_failure() => Ok(Answer::Refused(connack)),
            Packet::Connack(connack) => Ok(Answer::Open(
                Open::new(self.version, Peer::Server, self.has_method),
                connack,
            )),
            Packet::Auth(_) if !self.has_method => Err(Violation::UnexpectedAuth.into()),
            Packet::Auth(auth) => Ok(Answer::Continue(self, auth)),
            _ => Err(Violation::NotConnack(packet_type).into()),
        }
    }
}
