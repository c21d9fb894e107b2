//! Control packets (§3): one struct each, all versions, borrowed from the bytes they were read from.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod ping;
mod publish;
mod suback;
mod subscribe;
mod unsubscribe;

use alloc::vec::Vec;

pub use ack::{Ack, AckKind, AckProperties};
pub use auth::Auth;
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties, Will};
pub use disconnect::Disconnect;
pub use publish::{Publish, PublishHead, PublishProperties, mark_repeated, set_packet_id};
pub use suback::{Reasons, Suback, Unsuback};
pub use subscribe::{RetainHandling, Subscribe, SubscribeEntries, SubscribeEntry, SubscriptionOptions};
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};

use crate::error::{Malformed, PeerError, Violation};
use crate::property::UserProperties;
use crate::version::Version;
use crate::wire::FrameError;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    /// Sent CONNECT.
    Client,
    /// Answered it.
    Server,
}

/// What a packet is (§2.1.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum PacketType {
    /// §3.1
    Connect = 1,
    /// §3.2
    Connack = 2,
    /// §3.3
    Publish = 3,
    /// §3.4
    Puback = 4,
    /// §3.5
    Pubrec = 5,
    /// §3.6
    Pubrel = 6,
    /// §3.7
    Pubcomp = 7,
    /// §3.8
    Subscribe = 8,
    /// §3.9
    Suback = 9,
    /// §3.10
    Unsubscribe = 10,
    /// §3.11
    Unsuback = 11,
    /// §3.12
    Pingreq = 12,
    /// §3.13
    Pingresp = 13,
    /// §3.14
    Disconnect = 14,
    /// §3.15
    Auth = 15,
}

impl PacketType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Connect,
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
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// As traces and people write it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connack => "connack",
            Self::Publish => "publish",
            Self::Puback => "puback",
            Self::Pubrec => "pubrec",
            Self::Pubrel => "pubrel",
            Self::Pubcomp => "pubcomp",
            Self::Subscribe => "subscribe",
            Self::Suback => "suback",
            Self::Unsubscribe => "unsubscribe",
            Self::Unsuback => "unsuback",
            Self::Pingreq => "pingreq",
            Self::Pingresp => "pingresp",
            Self::Disconnect => "disconnect",
            Self::Auth => "auth",
        }
    }

    /// The type in the first byte of a frame.
    #[inline]
    pub const fn of(first: u8) -> Result<Self, Malformed> {
        Ok(match first >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            reserved => return Err(Malformed::ReservedPacketType(reserved)),
        })
    }

    /// The first byte of a frame that has the flags of Table 2-2; PUBLISH adds its own.
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }

    const fn fixed_flags(self) -> u8 {
        if matches!(self, Self::Pubrel | Self::Subscribe | Self::Unsubscribe) { 0b0010 } else { 0 }
    }

    /// Table 2-2 [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1].
    fn check_flags(self, version: Version, flags: u8) -> Result<(), Malformed> {
        const DUP: u8 = 0b1000;
        let fixed = self.fixed_flags();
        let may_be_dup = version.has_dup_on_requests() && fixed != 0;
        if flags == fixed || (may_be_dup && flags == fixed | DUP) {
            return Ok(());
        }
        Err(Malformed::ReservedFlags { packet: self, flags })
    }

    /// May `from` send it (Table 2-1)?
    const fn is_sent_by(self, version: Version, from: Peer) -> bool {
        match (self, from) {
            (
                Self::Publish | Self::Puback | Self::Pubrec | Self::Pubrel | Self::Pubcomp | Self::Auth,
                Peer::Client | Peer::Server,
            )
            | (Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq | Self::Disconnect, Peer::Client)
            | (Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp, Peer::Server) => true,
            (Self::Disconnect, Peer::Server) => version.server_may_disconnect(),
            (Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq, Peer::Server)
            | (Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp, Peer::Client) => false,
        }
    }
}

/// Any packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// §3.1
    Connect(Connect<'a>),
    /// §3.2
    Connack(Connack<'a>),
    /// §3.3
    Publish(Publish<'a>),
    /// §3.4 to §3.7
    Ack(Ack<'a>),
    /// §3.8
    Subscribe(Subscribe<'a>),
    /// §3.9
    Suback(Suback<'a>),
    /// §3.10
    Unsubscribe(Unsubscribe<'a>),
    /// §3.11
    Unsuback(Unsuback<'a>),
    /// §3.12
    Pingreq,
    /// §3.13
    Pingresp,
    /// §3.14
    Disconnect(Disconnect<'a>),
    /// §3.15
    Auth(Auth<'a>),
}

/// Reads the packet that `from` has sent: `first` and `body` as [`crate::wire::split`] found them.
///
/// Checks all that can be known from the packet alone, who sent it included. CONNECT tells its own version and does not
/// ask for `version`.
#[inline]
pub fn decode(version: Version, from: Peer, first: u8, body: &[u8]) -> Result<Packet<'_>, PeerError> {
    let packet = PacketType::of(first)?;
    let flags = first & 0x0f;
    // The flags of PUBLISH say something, and both sides send it; the others are held against the tables.
    if packet != PacketType::Publish {
        check_tables(version, from, packet, flags)?;
    }
    Ok(match packet {
        PacketType::Connect => Packet::Connect(Connect::decode(body)?),
        PacketType::Connack => Packet::Connack(Connack::decode(version, body)?),
        PacketType::Publish => Packet::Publish(Publish::decode(version, from, flags, body)?),
        PacketType::Puback => Packet::Ack(Ack::decode(version, AckKind::Puback, body)?),
        PacketType::Pubrec => Packet::Ack(Ack::decode(version, AckKind::Pubrec, body)?),
        PacketType::Pubrel => Packet::Ack(Ack::decode(version, AckKind::Pubrel, body)?),
        PacketType::Pubcomp => Packet::Ack(Ack::decode(version, AckKind::Pubcomp, body)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(version, body)?),
        PacketType::Suback => Packet::Suback(Suback::decode(version, body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, body)?),
        PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(version, body)?),
        PacketType::Pingreq => {
            ping::decode(body)?;
            Packet::Pingreq
        }
        PacketType::Pingresp => {
            ping::decode(body)?;
            Packet::Pingresp
        }
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(version, from, body)?),
        PacketType::Auth => Packet::Auth(Auth::decode(from, body)?),
    })
}

/// Tables 2-1 and 2-2: may this packet come from there, with these flags?
#[inline]
fn check_tables(version: Version, from: Peer, packet: PacketType, flags: u8) -> Result<(), PeerError> {
    if packet == PacketType::Auth && !version.has_auth() {
        return Err(Malformed::ReservedPacketType(packet as u8).into());
    }
    packet.check_flags(version, flags)?;
    if packet.is_sent_by(version, from) { Ok(()) } else { Err(Violation::WrongDirection(packet).into()) }
}

impl Packet<'_> {
    /// What it is.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Ack(ack) => ack.kind.packet_type(),
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the whole frame. Only a PUBLISH can be too large for one; then nothing is appended.
    ///
    /// # Panics
    ///
    /// On a string or binary value of more than 65,535 bytes (see [`crate::check_text`]).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Connack(connack) => connack.encode(version, out),
            Self::Publish(publish) => return publish.encode(version, out),
            Self::Ack(ack) => ack.encode(version, out),
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::Suback(suback) => suback.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::Unsuback(unsuback) => unsuback.encode(version, out),
            Self::Pingreq => ping::encode(PacketType::Pingreq, out),
            Self::Pingresp => ping::encode(PacketType::Pingresp, out),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(version, out),
        }
        Ok(())
    }

    /// Appends the whole frame if the receiver takes one of that size. What is only meant for people is left out where it
    /// makes the difference: User Properties first, then the Reason String [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2]
    /// [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
    /// [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2]
    /// [MQTT-3.15.2-3]. If it is still too large, nothing is appended.
    ///
    /// # Panics
    ///
    /// As [`Packet::encode`].
    pub fn encode_within(&self, version: Version, maximum_packet_size: u32, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = out.len();
        let mut packet = self.clone();
        let mut spare = [Spare::UserProperties, Spare::ReasonString].into_iter();
        loop {
            packet.encode(version, out)?;
            let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
            if size <= maximum_packet_size {
                return Ok(());
            }
            out.truncate(start);
            match spare.next() {
                Some(spare) => packet.leave_out(spare),
                None => return Err(FrameError::TooLarge { size }),
            }
        }
    }

    fn leave_out(&mut self, spare: Spare) {
        let (reason_string, user_properties) = match self {
            Self::Connack(Connack { properties, .. }) => (&mut properties.reason_string, &mut properties.user_properties),
            Self::Ack(Ack { properties, .. })
            | Self::Suback(Suback { properties, .. })
            | Self::Unsuback(Unsuback { properties, .. }) => (&mut properties.reason_string, &mut properties.user_properties),
            Self::Disconnect(disconnect) => (&mut disconnect.reason_string, &mut disconnect.user_properties),
            Self::Auth(auth) => (&mut auth.reason_string, &mut auth.user_properties),
            Self::Connect(_) | Self::Publish(_) | Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Pingreq | Self::Pingresp => {
                return;
            }
        };
        match spare {
            Spare::UserProperties => *user_properties = UserProperties::EMPTY,
            Spare::ReasonString => *reason_string = None,
        }
    }
}

/// What a packet can do without when it would be too large.
#[derive(Clone, Copy)]
enum Spare {
    UserProperties,
    ReasonString,
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::packet_id::PacketId;
    use crate::reason::ReasonCode;

    #[test]
    fn what_is_for_people_gives_way_to_the_maximum_packet_size() {
        let pairs = [("name", "value")];
        let mut ack = Ack::new(AckKind::Puback, PacketId::FIRST, ReasonCode::QUOTA_EXCEEDED);
        ack.properties = AckProperties { reason_string: Some("why"), user_properties: pairs[..].into() };
        let encode = |maximum_packet_size| {
            let mut out = vec![];
            Packet::Ack(ack).encode_within(Version::V5, maximum_packet_size, &mut out).map(|()| out.len())
        };

        assert_eq!(encode(26), Ok(26));
        assert_eq!(encode(25), Ok(12));
        assert_eq!(encode(11), Ok(5));
        assert_eq!(encode(4), Err(FrameError::TooLarge { size: 5 }));
    }
}
