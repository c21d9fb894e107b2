//! The MQTT standard as code: versions 3.1, 3.1.1 and 5.0 in one model.
//!
//! Everything here decides and nothing acts: bytes and a [`Time`] come in, values and bytes go out. There is no socket,
//! file, clock, thread or randomness in this crate, so a broker, a client and a simulator can all stand on it.
//!
//! * [`wire::split`] finds the frames in a read buffer, [`decode`] turns one into a borrowed [`packet::Packet`], and every
//!   packet encodes itself for a [`Version`].
//! * [`qos::Sender`] and [`qos::Receiver`] are the two halves of delivery (§4.3), written once for both roles.
//! * [`connection`] knows which packet may come when.
//!
//! ```
//! use columba_proto::packet::{Ack, Packet};
//! use columba_proto::qos::{Acked, Outcome, Sender};
//! use columba_proto::wire::{Split, split};
//! use columba_proto::{AckKind, Peer, QoS, ReasonCode, Version, decode};
//!
//! // A broker has sent a QoS 1 message to a subscriber.
//! let mut sender = Sender::new(20);
//! let id = sender.begin(QoS::AtLeastOnce, "open the gate");
//!
//! // The subscriber answers PUBACK.
//! let mut bytes = Vec::new();
//! Ack::new(AckKind::Puback, id, ReasonCode::SUCCESS).encode(Version::V5, &mut bytes);
//!
//! // The broker reads it: the message is no longer its own.
//! let Split::Frame { first, body, .. } = split(&bytes, 1_024)? else { panic!("a whole frame") };
//! let Packet::Ack(ack) = decode(Version::V5, Peer::Client, first, body)? else { panic!("a PUBACK") };
//! let acked = sender.on_ack(ack.kind, ack.id, ack.reason);
//! assert_eq!(acked, Ok(Acked::Finished { message: Some("open the gate"), outcome: Outcome::Delivered }));
//! # Ok::<(), columba_proto::PeerError>(())
//! ```
//!
//! Inside there is only the shape of MQTT 5. The older versions are the same values with empty properties; what differs is
//! a named question on [`Version`]. "§" and `[MQTT-…]` mean the MQTT 5.0 standard unless a text says otherwise.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod connection;
pub mod packet;
pub mod property;
pub mod qos;
pub mod scram;
pub mod topic;
pub mod wire;

mod alias;
mod client_id;
mod error;
mod keep_alive;
mod packet_id;
mod reason;
mod text;
mod time;
mod version;

pub use alias::{ALIAS_LEN, AliasesIn, AliasesOut, OutAlias};
pub use client_id::{ClientId, ClientIdError};
pub use error::{Malformed, PeerError, Violation};
pub use keep_alive::{KeepAlive, PingTimer};
pub use packet::{AckKind, PacketType, Peer, decode};
pub use packet_id::PacketId;
pub use qos::QoS;
pub use reason::{ReasonCode, ReasonPlace};
pub use text::{TEXT_LEN_MAX, TextError, check_text};
pub use time::Time;
pub use topic::{
    ShareName, SubscriptionFilter, SubscriptionFilterError, TopicFilter, TopicFilterError, TopicName, TopicNameBuf,
    TopicNameError,
};
pub use version::Version;
