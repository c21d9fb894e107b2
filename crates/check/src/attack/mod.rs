//! Attacks: what somebody who means harm, or whose program is broken, does to a broker; each in a process of its own, with good clients beside it.
//!
//! [`assault`] is the attacker, [`Stage`] the broker under attack with what it had to bear.

mod certificates;
mod horde;
mod stage;
mod voices;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use crate::load::LoadError;

pub use self::stage::{Bout, Stage};

/// Something done to a broker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Attack {
    /// Connections that say nothing.
    HalfOpenTcp,
    /// TLS handshakes that stop in the middle of the first message, or behind it.
    HalfOpenTls,
    /// A CONNECT in single bytes, so slowly that it never ends.
    SlowConnect,
    /// Noise on every transport, again and again.
    Garbage,
    /// Lengths of MQTT, TLS and WebSocket that promise as much as they can.
    HugeLengths,
    /// Packets of which all but the end comes: one half are CONNECT, the other half PUBLISH of clients that were let in.
    Unfinished,
    /// Clients that connect, are let in and leave, as fast as they can.
    ConnectStorm,
    /// Clients that share one identifier and take each other's session over.
    Takeovers,
    /// Many filters with a wildcard in each of their levels, and publications whose topics go along with all of them but the last level.
    SubscriptionBomb,
    /// Long topics behind topic aliases that mean something else each time.
    AliasFlood,
    /// Packets full of user properties.
    UserPropertyFlood,
    /// Retained messages, each on a topic of its own.
    RetainedFlood,
    /// A subscriber that reads nothing, and publishers at full speed towards it.
    DeadSubscriber,
    /// MQTT in WebSocket frames of one byte each.
    OneByteFrames,
    /// No certificate, one of another authority, an expired one and chains of thousands, where a good one is asked for.
    WrongCertificates,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::HalfOpenTcp,
        Self::HalfOpenTls,
        Self::SlowConnect,
        Self::Garbage,
        Self::HugeLengths,
        Self::Unfinished,
        Self::ConnectStorm,
        Self::Takeovers,
        Self::SubscriptionBomb,
        Self::AliasFlood,
        Self::UserPropertyFlood,
        Self::RetainedFlood,
        Self::DeadSubscriber,
        Self::OneByteFrames,
        Self::WrongCertificates,
    ];

    /// A stable word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfOpenTcp => "half-open-tcp",
            Self::HalfOpenTls => "half-open-tls",
            Self::SlowConnect => "slow-connect",
            Self::Garbage => "garbage",
            Self::HugeLengths => "huge-lengths",
            Self::Unfinished => "unfinished",
            Self::ConnectStorm => "connect-storm",
            Self::Takeovers => "takeovers",
            Self::SubscriptionBomb => "subscription-bomb",
            Self::AliasFlood => "alias-flood",
            Self::UserPropertyFlood => "user-property-flood",
            Self::RetainedFlood => "retained-flood",
            Self::DeadSubscriber => "dead-subscriber",
            Self::OneByteFrames => "one-byte-frames",
            Self::WrongCertificates => "wrong-certificates",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    /// Connections at one time in the long form.
    pub const fn connections(self) -> usize {
        match self {
            Self::HalfOpenTcp | Self::HalfOpenTls => 10_000,
            Self::SlowConnect | Self::Garbage | Self::HugeLengths | Self::Unfinished => 1_000,
            Self::ConnectStorm | Self::Takeovers => 100,
            Self::SubscriptionBomb => 10,
            Self::AliasFlood | Self::UserPropertyFlood | Self::RetainedFlood | Self::DeadSubscriber | Self::OneByteFrames => 8,
            Self::WrongCertificates => 4,
        }
    }

    /// Connections at one time where there is little time.
    pub const fn few_connections(self) -> usize {
        match self {
            Self::HalfOpenTcp | Self::HalfOpenTls => 1_000,
            Self::SlowConnect | Self::Garbage | Self::HugeLengths => 300,
            Self::Unfinished => 100,
            Self::ConnectStorm | Self::Takeovers => 20,
            Self::SubscriptionBomb
            | Self::AliasFlood
            | Self::UserPropertyFlood
            | Self::RetainedFlood
            | Self::DeadSubscriber
            | Self::OneByteFrames => 4,
            Self::WrongCertificates => 2,
        }
    }

    /// What the process of a broker with the default limits may take at most in the few seconds of a run, in MiB, when so many at one time do this to it: a base that
    /// it has anyway, and a part for each of them. Twice what was measured, where nothing better bounds it.
    pub const fn budget(self, connections: usize) -> u64 {
        const BASE_KIB: u64 = 64 << 10;
        let each_kib = match self {
            // A descriptor and an entry.
            Self::HalfOpenTcp | Self::SlowConnect => 2,
            // And what was read of a packet or a handshake.
            Self::HalfOpenTls | Self::Garbage | Self::HugeLengths => 8,
            Self::ConnectStorm | Self::Takeovers => 64,
            // All but the end of a packet of `limits.max_packet_size`, 2 MiB.
            Self::Unfinished => (2 << 10) + 64,
            // What a client may be known for, or have on its way: filters, aliases, queues.
            Self::OneByteFrames => 4 << 10,
            Self::SubscriptionBomb | Self::UserPropertyFlood | Self::WrongCertificates => 8 << 10,
            Self::AliasFlood | Self::DeadSubscriber => 16 << 10,
            Self::RetainedFlood => 32 << 10,
        };
        (BASE_KIB + connections as u64 * each_kib) >> 10
    }

    /// Whether the attackers are clients that the broker has no reason to refuse.
    pub const fn may_enter(self) -> bool {
        match self {
            Self::HalfOpenTcp
            | Self::HalfOpenTls
            | Self::SlowConnect
            | Self::Garbage
            | Self::HugeLengths
            | Self::WrongCertificates => false,
            Self::Unfinished
            | Self::ConnectStorm
            | Self::Takeovers
            | Self::SubscriptionBomb
            | Self::AliasFlood
            | Self::UserPropertyFlood
            | Self::RetainedFlood
            | Self::DeadSubscriber
            | Self::OneByteFrames => true,
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a broker under attack listens.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// MQTT over TCP as it is.
    pub plain: SocketAddr,
    /// Over TLS.
    pub tls: SocketAddr,
    /// Inside a WebSocket.
    pub web_socket: SocketAddr,
    /// Over TLS, for clients with a certificate.
    pub certified: SocketAddr,
}

/// What an attacker has seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Connections that it began.
    pub opened: u64,
    /// Connections that the broker ended.
    pub closed: u64,
    /// CONNACKs that said yes.
    pub let_in: u64,
}

/// Somebody who attacks.
#[derive(Clone, Copy, Debug)]
pub struct Attacker<'a> {
    /// How.
    pub attack: Attack,
    /// Whom.
    pub target: &'a Target,
    /// How many connections there are at one time.
    pub connections: usize,
    /// Until this is said.
    pub over: &'a AtomicBool,
}

/// Attacks; calls `begun` once all connections stand, or have stood.
pub fn assault(attacker: Attacker<'_>, begun: impl FnOnce()) -> Result<Seen, LoadError> {
    match attacker.attack {
        Attack::WrongCertificates => certificates::show_wrong_ones(attacker, begun),
        Attack::HalfOpenTcp
        | Attack::HalfOpenTls
        | Attack::SlowConnect
        | Attack::Garbage
        | Attack::HugeLengths
        | Attack::Unfinished
        | Attack::ConnectStorm
        | Attack::Takeovers
        | Attack::SubscriptionBomb
        | Attack::AliasFlood
        | Attack::UserPropertyFlood
        | Attack::RetainedFlood
        | Attack::DeadSubscriber
        | Attack::OneByteFrames => horde::attack(attacker, begun),
    }
}
