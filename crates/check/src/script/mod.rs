//! Conversations of the standard: what each side sends and receives, word for word.
//!
//! A [`Script`] is one story that a broker must go along with, and the clauses that it shows. It speaks through a [`Stage`], which has clients but no idea
//! where the broker is: in this process with simulated time ([`memory`]), or behind a socket ([`tcp`]). What the standard leaves open is a note, never a
//! failure; what a broker says it lacks is skipped.
//!
//! | file | is |
//! |---|---|
//! | `clause`, `conformance` | the statements of both standards, what is said of each, and the page that tells it |
//! | `stage`, `client` | what a script acts with |
//! | `bytes` | packets that no encoder makes |
//! | `heard`, `asked`, `words` | a packet that came; what it must not be; packets for people |
//! | `world`, `memory`, `tcp` | where the broker is |
//! | `runner` | plays scripts side by side and says what came of each |
//! | `plays` | the scripts themselves, by chapter |
//! | `faulty` | brokers with one fault each, which the scripts must find |
//! | `guests` | the other way round: the checker is the server, and clients are judged |

mod asked;
mod bytes;
pub mod clause;
mod client;
pub mod conformance;
pub mod faulty;
pub mod guests;
mod heard;
pub mod memory;
mod plays;
pub mod runner;
mod stage;
pub mod tcp;
mod words;
pub mod world;

pub use client::Client;
pub use heard::Heard;
pub use plays::all;
pub use stage::{Features, Login, Said, Setting, Stage, Told};
pub use words::describe;

use clause::Clause;
use columba_proto::Version;

/// What a script comes to.
pub type Verdict<T = ()> = Result<T, Stop>;

/// Why a script ends before its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stop {
    /// The broker broke the standard: what was expected. The transcript says what came.
    Failed {
        /// What the standard wants.
        expected: String,
        /// What came in its place.
        got: String,
    },
    /// It cannot be judged here, for this reason.
    Skipped(String),
}

/// What a script is about; `columba check --suite` chooses by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suite {
    /// Bytes, packets and what each of them means.
    Packets,
    /// Delivery: QoS 0, 1 and 2, order, repetition.
    Qos,
    /// What outlives a connection.
    Session,
    /// What either side announces, and keeps to.
    Limits,
    /// Who may do what: logging in.
    Security,
}

/// Something that a script needs and a broker may lack: a feature, or a limit of which it shows that it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// QoS 1 at least.
    Qos1,
    /// QoS 2.
    Qos2,
    /// Retained messages.
    Retain,
    /// Wildcards in filters.
    Wildcards,
    /// Subscription identifiers.
    SubscriptionIds,
    /// `$share`.
    Shared,
    /// Topic aliases that the broker takes.
    Aliases,
    /// A maximum QoS below 2.
    QosLimit,
    /// No retained messages.
    RetainRefused,
    /// A maximum packet size that can be exceeded here.
    PacketLimit,
    /// A topic alias above its maximum.
    AliasLimit,
    /// A receive maximum that can be exceeded here.
    ReceiveLimit,
    /// Somebody can start the broker anew.
    Restart,
}

/// The versions of the protocol.
pub const ALL: &[Version] = &[Version::V31, Version::V311, Version::V5];
/// Those without properties.
pub const V3: &[Version] = &[Version::V31, Version::V311];
/// MQTT 3.1.1 alone.
pub const V311: &[Version] = &[Version::V311];
/// MQTT 5 alone.
pub const V5: &[Version] = &[Version::V5];
/// Those that the OASIS wrote.
pub const SINCE_V311: &[Version] = &[Version::V311, Version::V5];

/// One story.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// What it shows, as a statement: also its name.
    pub title: &'static str,
    /// What it is about.
    pub suite: Suite,
    /// The versions in which it is played.
    pub versions: &'static [Version],
    /// What it shows of the standards.
    pub clauses: &'static [Clause],
    /// What the broker must have.
    pub needs: &'static [Need],
    /// The story.
    pub play: fn(&Stage) -> Verdict,
}

impl Script {
    /// The clauses that this script shows in this version; MQTT 3.1 has no list of its own and is judged by that of 3.1.1.
    pub fn clauses_in(&self, version: Version) -> impl Iterator<Item = &'static Clause> {
        self.clauses.iter().filter(move |clause| clause.standard.judges(version))
    }
}

/// The packets by which a publisher delivers one message (§4.3), as `--trace` and the tutorials print them.
pub fn publisher_trace(qos: u8) -> &'static [&'static str] {
    match qos {
        0 => &["send: publish"],
        1 => &["send: publish", "receive: puback"],
        _ => &["send: publish", "receive: pubrec", "send: pubrel", "receive: pubcomp"],
    }
}

/// The packets by which a subscriber is delivered one message at the QoS that it receives.
pub fn subscriber_trace(qos: u8) -> &'static [&'static str] {
    match qos {
        0 => &["receive: publish"],
        1 => &["receive: publish", "send: puback"],
        _ => &["receive: publish", "send: pubrec", "receive: pubrel", "send: pubcomp"],
    }
}
