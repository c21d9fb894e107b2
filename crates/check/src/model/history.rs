//! What happened, as clients saw it: the only thing the judge knows about a broker.

use core::fmt;

use super::topics::{FilterNo, TopicNo, Vocabulary};

/// A client of the history; its index in [`History::clients`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientNo(pub u16);

/// A message of the history (also a will); its index in [`History::messages`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageNo(pub u32);

/// One SUBSCRIBE for one filter; its index in [`History::subscriptions`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionNo(pub u32);

/// One network connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkNo(pub u32);

/// A place in the history: facts with a smaller step happened before.
pub type Step = usize;

/// Simulated time in microseconds.
pub type Micros = u64;

/// What never changes about a client.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Its client identifier.
    pub id: String,
    /// Session Expiry Interval in seconds: 0 ends with the connection, `u32::MAX` never.
    pub expiry: u32,
    /// It takes small messages only.
    pub small_only: bool,
    /// Whether CONNACK tells if a session was there (3.1 has no such flag).
    pub hears_session_present: bool,
}

/// What never changes about a message.
#[expect(clippy::struct_excessive_bools, reason = "flags of a PUBLISH, each asked for itself")]
#[derive(Clone, Debug)]
pub struct MessageInfo {
    /// Who publishes it.
    pub publisher: ClientNo,
    /// Counts the publisher's messages.
    pub sequence: u32,
    /// Where.
    pub topic: TopicNo,
    /// QoS of the publication.
    pub qos: u8,
    /// The RETAIN flag of the publication.
    pub retain: bool,
    /// No payload: such a message clears the retained one, and a subscriber cannot tell which message it was.
    pub empty: bool,
    /// Some clients do not take messages of this size.
    pub large: bool,
    /// It has a message expiry interval: nobody has to get it.
    pub expires: bool,
    /// It is a will, with this delay in seconds.
    pub will: Option<u32>,
}

/// What was asked for in one SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionInfo {
    /// For which filter.
    pub filter: FilterNo,
    /// The maximum QoS asked for.
    pub qos: u8,
    /// No Local [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Retain As Published: live messages may carry RETAIN.
    pub retain_as_published: bool,
    /// Which retained messages it is sent.
    pub retained: Retained,
}

/// Retain Handling (§3.8.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retained {
    /// At each SUBSCRIBE.
    Always,
    /// Where the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fact {
    /// A client began to connect.
    ConnectSent {
        /// Who.
        client: ClientNo,
        /// Over which connection.
        link: LinkNo,
        /// Clean Start (Clean Session).
        clean: bool,
        /// The will of the connection.
        will: Option<MessageNo>,
    },
    /// CONNACK with success came.
    Connected {
        /// Who.
        client: ClientNo,
        /// Over which connection.
        link: LinkNo,
        /// Session Present where the version says it.
        present: Option<bool>,
    },
    /// DISCONNECT was sent.
    DisconnectSent {
        /// Who.
        client: ClientNo,
        /// Over which connection.
        link: LinkNo,
        /// Reason 0x04: the will is to be published all the same.
        keeps_will: bool,
        /// With a Session Expiry Interval of 0.
        ends_session: bool,
    },
    /// The client has no use of the connection any more.
    LinkLost {
        /// Who.
        client: ClientNo,
        /// Which.
        link: LinkNo,
    },
    /// The broker closed the connection, or has been told that it is gone.
    BrokerLost {
        /// Whose.
        client: ClientNo,
        /// Which.
        link: LinkNo,
    },
    /// All that the client wrote to a connection was given to the broker, its DISCONNECT too.
    DisconnectRead {
        /// Whose.
        client: ClientNo,
        /// Which.
        link: LinkNo,
    },
    /// A SUBSCRIBE left.
    SubscribeSent {
        /// Who.
        client: ClientNo,
        /// What.
        subscription: SubscriptionNo,
    },
    /// SUBACK granted it.
    Subscribed {
        /// Who.
        client: ClientNo,
        /// What.
        subscription: SubscriptionNo,
        /// At which QoS.
        granted: u8,
    },
    /// An UNSUBSCRIBE left.
    UnsubscribeSent {
        /// Who.
        client: ClientNo,
        /// What.
        filter: FilterNo,
    },
    /// UNSUBACK came.
    Unsubscribed {
        /// Who.
        client: ClientNo,
        /// What.
        filter: FilterNo,
    },
    /// A PUBLISH left, for the first time or again.
    PublishSent {
        /// What.
        message: MessageNo,
    },
    /// PUBREC came.
    Received {
        /// What.
        message: MessageNo,
    },
    /// PUBACK or PUBCOMP came: the broker has taken the message over.
    Acknowledged {
        /// What.
        message: MessageNo,
    },
    /// The publisher's session is lost, its unfinished message with it.
    Abandoned {
        /// What.
        message: MessageNo,
    },
    /// A PUBLISH came.
    Arrived {
        /// To whom.
        client: ClientNo,
        /// What.
        message: MessageNo,
        /// Its Packet Identifier; 0 at QoS 0.
        id: u16,
        /// Its DUP flag.
        dup: bool,
    },
    /// The application got a message.
    HandedOver {
        /// Where.
        client: ClientNo,
        /// What.
        message: MessageNo,
        /// The QoS it came with.
        qos: u8,
        /// The RETAIN flag it came with.
        retain: bool,
        /// The DUP flag it came with.
        dup: bool,
    },
    /// The broker broke the protocol.
    Broke {
        /// Against whom.
        client: ClientNo,
        /// How.
        breach: Breach,
    },
    /// A commit was written, but may still be lost.
    Written {
        /// Its number.
        commit: u64,
    },
    /// A commit is on disk.
    Synced {
        /// Its number.
        commit: u64,
    },
    /// A checkpoint was taken up to this commit.
    Checkpoint {
        /// Its number.
        commit: u64,
    },
    /// A write or sync of the journal failed: until the next start nothing durable is promised any more.
    JournalLost,
    /// The process ended; of what was not synced anything may be lost.
    Crashed,
    /// It is back.
    Recovered,
    /// Nothing more is begun: what is open runs to its end.
    Draining,
    /// Two views of the durable state differ, or something is left over at the end.
    Differs {
        /// What.
        what: Difference,
    },
}

impl Fact {
    /// Whether a message moved; clients that come and go do without one.
    const fn is_of_a_message(self) -> bool {
        match self {
            Self::PublishSent { .. }
            | Self::Received { .. }
            | Self::Acknowledged { .. }
            | Self::Abandoned { .. }
            | Self::Arrived { .. }
            | Self::HandedOver { .. } => true,
            Self::ConnectSent { .. }
            | Self::Connected { .. }
            | Self::DisconnectSent { .. }
            | Self::LinkLost { .. }
            | Self::BrokerLost { .. }
            | Self::DisconnectRead { .. }
            | Self::SubscribeSent { .. }
            | Self::Subscribed { .. }
            | Self::UnsubscribeSent { .. }
            | Self::Unsubscribed { .. }
            | Self::Broke { .. }
            | Self::Written { .. }
            | Self::Synced { .. }
            | Self::Checkpoint { .. }
            | Self::JournalLost
            | Self::Crashed
            | Self::Recovered
            | Self::Draining
            | Self::Differs { .. } => false,
        }
    }
}

/// How a broker can break the protocol towards a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Breach {
    /// Not a packet, or not one that a broker may send now.
    Malformed,
    /// A packet of this type, which only clients send or which has nothing to do with what was asked.
    Unexpected(u8),
    /// A new message under an identifier that is in use [MQTT-2.2.1-4].
    IdentifierInUse(u16),
    /// An acknowledgement for what was not sent.
    UnknownAck(u16),
    /// A refusal without need.
    Refused(u8),
    /// More messages in flight than the client allows [MQTT-3.3.4-9].
    ReceiveMaximum,
    /// More bytes than the client takes [MQTT-3.1.2-24].
    PacketTooLarge,
    /// A payload that nobody published, or on another topic.
    NotPublished,
    /// The QoS is above that of the publication.
    QosRaised,
    /// Subscription identifiers that belong to no subscription of this client [MQTT-3.3.4-3].
    SubscriptionIdentifier,
    /// Properties are not those of the publication [MQTT-3.3.2-17].
    Properties,
    /// Session Present though Clean Start was asked for [MQTT-3.2.2-2].
    PresentAfterCleanStart,
}

/// What is wrong with the state of a broker at the end of a run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Difference {
    /// The live sessions are not the fold of their records.
    StateIsNotItsFold,
    /// A client could not be brought to rest: not connected, or something is unanswered.
    NotAtRest(ClientNo),
    /// A message is still queued for a connected client.
    QueueNotEmpty(ClientNo),
    /// A message of a shared subscription waits although a member is there.
    GroupHeldUp,
    /// The world still had work after the longest time it could take.
    NeverQuiet,
    /// Recovery refused the disk.
    RecoveryRefused,
    /// The journal failed without a fault of the disk.
    JournalFailed,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All topics and filters.
    pub vocabulary: Vocabulary,
    /// All clients.
    pub clients: Vec<ClientInfo>,
    /// All messages.
    pub messages: Vec<MessageInfo>,
    /// All subscriptions asked for.
    pub subscriptions: Vec<SubscriptionInfo>,
    /// What happened, in order.
    pub facts: Vec<(Micros, Fact)>,
    /// What else is worth knowing when something went wrong, for people.
    pub notes: Vec<String>,
}

impl History {
    /// Adds a fact and returns its step.
    pub fn add(&mut self, at: Micros, fact: Fact) -> Step {
        self.facts.push((at, fact));
        self.facts.len() - 1
    }

    /// When a message last moved; 0: never.
    pub(crate) fn last_of_a_message(&self) -> Micros {
        self.facts.iter().rev().find(|(_, fact)| fact.is_of_a_message()).map_or(0, |(at, _)| *at)
    }

    /// A client by number.
    pub fn client(&self, client: ClientNo) -> &ClientInfo {
        &self.clients[usize::from(client.0)]
    }

    /// A message by number.
    pub fn message(&self, message: MessageNo) -> &MessageInfo {
        &self.messages[message.0 as usize]
    }

    /// A subscription by number.
    pub fn subscription(&self, subscription: SubscriptionNo) -> &SubscriptionInfo {
        &self.subscriptions[subscription.0 as usize]
    }

    /// One number for the whole run: equal for equal runs.
    pub fn fingerprint(&self) -> u64 {
        use core::hash::{Hash as _, Hasher as _};

        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        for fact in &self.facts {
            fact.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A fact as a line for people.
    pub fn line(&self, step: Step) -> String {
        let (at, fact) = self.facts[step];
        format!("{:>6} {:>9}.{:03} ms  {}", step, at / 1000, at % 1000, Told(self, fact))
    }

    /// The last facts up to a step that concern these messages or (without one) this client, and the crashes between them.
    pub fn story(&self, messages: &[MessageNo], client: Option<ClientNo>, until: Option<Step>, last: usize) -> String {
        let mut lines: Vec<String> = Vec::new();
        let end = until.map_or(self.facts.len(), |step| step + 1);
        for step in (0..end).rev() {
            if self.concerns(self.facts[step].1, messages, client) {
                lines.push(self.line(step));
                if lines.len() == last {
                    break;
                }
            }
        }
        lines.reverse();
        lines.join("\n")
    }

    fn concerns(&self, fact: Fact, messages: &[MessageNo], client: Option<ClientNo>) -> bool {
        let same = |who: ClientNo| client == Some(who);
        let about = |filter: FilterNo| {
            messages.is_empty() || messages.iter().any(|&message| self.vocabulary.matches(filter, self.message(message).topic))
        };
        match fact {
            Fact::ConnectSent { client, will, .. } => same(client) || will.is_some_and(|will| messages.contains(&will)),
            Fact::Connected { client, .. }
            | Fact::DisconnectSent { client, .. }
            | Fact::LinkLost { client, .. }
            | Fact::BrokerLost { client, .. }
            | Fact::DisconnectRead { client, .. }
            | Fact::Broke { client, .. } => {
                same(client)
                    || messages
                        .iter()
                        .any(|&message| self.message(message).will.is_some() && self.message(message).publisher == client)
            }
            Fact::SubscribeSent { client, subscription } | Fact::Subscribed { client, subscription, .. } => {
                same(client) && about(self.subscription(subscription).filter)
            }
            Fact::UnsubscribeSent { client, filter } | Fact::Unsubscribed { client, filter } => same(client) && about(filter),
            Fact::PublishSent { message }
            | Fact::Received { message }
            | Fact::Acknowledged { message }
            | Fact::Abandoned { message } => messages.contains(&message),
            Fact::Arrived { client: who, message, .. } | Fact::HandedOver { client: who, message, .. } => {
                (client.is_none() || same(who)) && (messages.is_empty() || messages.contains(&message))
            }
            Fact::Written { .. } | Fact::Synced { .. } | Fact::Checkpoint { .. } => false,
            Fact::JournalLost | Fact::Crashed | Fact::Recovered | Fact::Draining | Fact::Differs { .. } => true,
        }
    }
}

/// FNV-1a: stable from build to build, unlike the hashers of std.
struct Fnv(u64);

impl core::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.unsigned_abs() as u64);
    }
}

/// A fact with the names that its numbers stand for.
struct Told<'a>(&'a History, Fact);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(history, fact) = self;
        let id = |client: ClientNo| history.client(client).id.as_str();
        match *fact {
            Fact::ConnectSent { client, link, clean, will } => {
                let expiry = history.client(client).expiry;
                write!(f, "{} connects (link {}, clean {clean}, expiry {expiry} s", id(client), link.0)?;
                if let Some(will) = will {
                    write!(f, ", will {}", Message(history, will))?;
                }
                f.write_str(")")
            }
            Fact::Connected { client, link, present } => {
                write!(f, "{} is connected (link {}, session present {present:?})", id(client), link.0)
            }
            Fact::DisconnectSent { client, link, keeps_will, ends_session } => {
                write!(f, "{} disconnects (link {}, with will {keeps_will}, ends session {ends_session})", id(client), link.0)
            }
            Fact::LinkLost { client, link } => write!(f, "{} gives up link {}", id(client), link.0),
            Fact::BrokerLost { client, link } => write!(f, "the broker is rid of link {} of {}", link.0, id(client)),
            Fact::DisconnectRead { client, link } => {
                write!(f, "the broker has read the DISCONNECT of {} (link {})", id(client), link.0)
            }
            Fact::SubscribeSent { client, subscription } => {
                let asked = history.subscription(subscription);
                write!(
                    f,
                    "{} subscribes {} at QoS {} (subscription {}, retained {:?}{}{})",
                    id(client),
                    history.vocabulary.filter(asked.filter),
                    asked.qos,
                    subscription.0,
                    asked.retained,
                    if asked.no_local { ", no local" } else { "" },
                    if asked.retain_as_published { ", retain as published" } else { "" }
                )
            }
            Fact::Subscribed { client, subscription, granted } => {
                write!(
                    f,
                    "{} is granted QoS {granted} for {}",
                    id(client),
                    history.vocabulary.filter(history.subscription(subscription).filter)
                )
            }
            Fact::UnsubscribeSent { client, filter } => {
                write!(f, "{} unsubscribes {}", id(client), history.vocabulary.filter(filter))
            }
            Fact::Unsubscribed { client, filter } => {
                write!(f, "{} is unsubscribed from {}", id(client), history.vocabulary.filter(filter))
            }
            Fact::PublishSent { message } => write!(f, "sent: {}", Message(history, message)),
            Fact::Received { message } => write!(f, "PUBREC: {}", Message(history, message)),
            Fact::Acknowledged { message } => write!(f, "acknowledged: {}", Message(history, message)),
            Fact::Abandoned { message } => write!(f, "abandoned: {}", Message(history, message)),
            Fact::Arrived { client, message, id: packet, dup } => {
                write!(f, "{} receives {} as {packet}{}", id(client), Message(history, message), if dup { ", DUP" } else { "" })
            }
            Fact::HandedOver { client, message, qos, retain, dup } => write!(
                f,
                "{} has {} at QoS {qos}{}{}",
                id(client),
                Message(history, message),
                if retain { ", RETAIN" } else { "" },
                if dup { ", DUP" } else { "" }
            ),
            Fact::Broke { client, breach } => write!(f, "the broker breaks the protocol with {}: {breach:?}", id(client)),
            Fact::Written { commit } => write!(f, "commit {commit} is written"),
            Fact::Synced { commit } => write!(f, "commit {commit} is on disk"),
            Fact::Checkpoint { commit } => write!(f, "checkpoint up to commit {commit}"),
            Fact::JournalLost => f.write_str("the journal has failed"),
            Fact::Crashed => f.write_str("CRASH"),
            Fact::Recovered => f.write_str("the broker is back"),
            Fact::Draining => f.write_str("nothing more is begun"),
            Fact::Differs { what } => match what {
                Difference::NotAtRest(client) => write!(f, "{} is not at rest", id(client)),
                Difference::QueueNotEmpty(client) => write!(f, "the queue of {} is not empty", id(client)),
                Difference::StateIsNotItsFold
                | Difference::GroupHeldUp
                | Difference::NeverQuiet
                | Difference::RecoveryRefused
                | Difference::JournalFailed => write!(f, "{what:?}"),
            },
        }
    }
}

/// A message for people: publisher/sequence, topic, QoS.
pub(crate) struct Message<'a>(pub(crate) &'a History, pub(crate) MessageNo);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0.message(self.1);
        let what = if info.will.is_some() { "will " } else { "" };
        let publisher = &self.0.client(info.publisher).id;
        write!(f, "{what}{publisher}/{} on {} (QoS {}", info.sequence, self.0.vocabulary.topic(info.topic), info.qos)?;
        if info.expires {
            f.write_str(", expires")?;
        }
        f.write_str(match (info.retain, info.empty) {
            (true, true) => ", clears)",
            (true, false) => ", RETAIN)",
            (false, _) => ")",
        })
    }
}
