//! The server's side of a connection: CONNECT, perhaps AUTH, then open.

use super::Open;
use crate::error::{PeerError, Violation};
use crate::packet::{Auth, Connect, Disconnect, Packet, PacketType, Peer, decode};
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
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "CONNECT is the only first packet"
        )]
        match decode(Version::V5, Peer::Client, first, body)? {
            Packet::Connect(connect) => {
                let has_method = connect.properties.authentication_method.is_some();
                Ok((
                    Connecting {
                        version: connect.version,
                        has_method,
                    },
                    connect,
                ))
            }
            other => Err(Violation::NotConnect(other.packet_type()).into()),
        }
    }
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
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all else has no place before CONNACK"
        )]
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
