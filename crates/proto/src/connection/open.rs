//! After a successful CONNACK, on either side.

use crate::error::{PeerError, Violation};
use crate::packet::{Packet, PacketType, Peer, decode};
use crate::version::Version;

/// A connection on which packets flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    version: Version,
    peer: Peer,
    authenticated: bool,
}

impl Open {
    pub(super) const fn new(version: Version, peer: Peer, authenticated: bool) -> Self {
        Self { version, peer, authenticated }
    }

    /// What was agreed on.
    #[inline]
    pub const fn version(self) -> Version {
        self.version
    }

    /// Reads the next packet from the peer. CONNECT and CONNACK do not come a second time [MQTT-3.1.0-2]
    /// [MQTT-3.2.0-2]; AUTH only if CONNECT named a method [MQTT-4.12.0-6] [MQTT-4.12.0-7].
    #[inline]
    pub fn decode(self, first: u8, body: &[u8]) -> Result<Packet<'_>, PeerError> {
        match (PacketType::of(first)?, self.peer) {
            (PacketType::Connect, Peer::Client) => Err(Violation::SecondConnect.into()),
            (PacketType::Connack, Peer::Server) => Err(Violation::SecondConnack.into()),
            (PacketType::Auth, _) if self.version.has_auth() && !self.authenticated => Err(Violation::UnexpectedAuth.into()),
            _ => decode(self.version, self.peer, first, body),
        }
    }
}
