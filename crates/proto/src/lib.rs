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

pub use alias::{AliasesIn, AliasesOut, OutAlias};
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
