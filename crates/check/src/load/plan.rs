//! What to do to a broker.

use std::net::SocketAddr;
use std::time::Duration;

use columba_proto::{QoS, Version};

use super::Via;

/// One measurement: who connects, what they send, and when it ends.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The broker's listener.
    pub address: SocketAddr,
    /// How the clients reach it.
    pub via: Via,
    /// The protocol version of all clients.
    pub version: Version,
    /// The QoS of all publications and of all subscriptions.
    pub qos: QoS,
    /// How many clients publish.
    pub publishers: u32,
    /// How many clients subscribe.
    pub subscribers: u32,
    /// Who receives what.
    pub topics: Topics,
    /// Bytes of each payload.
    pub payload: usize,
    /// How many QoS 1 and 2 messages a publisher has unacknowledged at most.
    pub window: u16,
    /// How many QoS 0 messages a publisher is ahead of its subscribers at most. Without such a bound a saturating
    /// publisher measures how a broker throws messages away.
    pub ahead: u32,
    /// Whether sessions outlive their connections.
    pub session: SessionKind,
    /// How fast publishers send.
    pub pace: Pace,
    /// What happens before this is not measured.
    pub warm_up: Duration,
    /// When publishers stop.
    pub stop: Stop,
}

/// Who receives what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Topics {
    /// Each publisher has a topic, each topic goes to one subscriber (subscribers take turns).
    Pairs,
    /// Every subscriber receives every message.
    All,
    /// The subscribers are one shared subscription: each message goes to one of them, whichever that is.
    Shared,
}

/// Whether sessions outlive their connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionKind {
    /// Clean Session 1; in MQTT 5 Clean Start 1 and no expiry interval.
    Clean,
    /// Clean Session 0; in MQTT 5 an expiry interval of an hour. Broker and generator begin with a new session.
    Persistent,
}

/// How fast publishers send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as their windows allow.
    Saturated,
    /// So many messages per second, all publishers together, on schedule whatever the broker does. Latency counts from
    /// the moment at which a message was due.
    PerSecond(f64),
}

/// When publishers stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// After a measured time.
    After(Duration),
    /// When so many messages have been sent, all publishers together.
    Messages(u64),
}

impl Plan {
    /// The measurement by which brokers are compared: 64 bytes, ten to ten, 3.1.1, clean sessions, window 20, saturated.
    pub fn comparing(address: SocketAddr, qos: QoS, measured: Duration) -> Self {
        Self {
            address,
            via: Via::Plain,
            version: Version::V311,
            qos,
            publishers: 10,
            subscribers: 10,
            topics: Topics::Pairs,
            payload: 64,
            window: 20,
            ahead: 500,
            session: SessionKind::Clean,
            pace: Pace::Saturated,
            warm_up: Duration::from_millis(500),
            stop: Stop::After(measured),
        }
    }

    /// The filters of one subscriber.
    pub(crate) fn filters(&self, subscriber: usize) -> Vec<String> {
        match self.topics {
            Topics::All => vec!["load/+".to_owned()],
            Topics::Shared => vec!["$share/load/load/+".to_owned()],
            Topics::Pairs => {
                (0..self.publishers).filter(|publisher| self.receives(subscriber, *publisher as usize)).map(topic).collect()
            }
        }
    }

    /// Whether this subscriber is to receive what this publisher sends.
    pub(crate) fn receives(&self, subscriber: usize, publisher: usize) -> bool {
        match self.topics {
            Topics::All | Topics::Shared => true,
            Topics::Pairs => publisher % self.subscribers as usize == subscriber,
        }
    }

    /// How many subscribers receive each message.
    pub(crate) fn fan_out(&self) -> u64 {
        match self.topics {
            Topics::All => u64::from(self.subscribers),
            Topics::Pairs | Topics::Shared => u64::from(self.subscribers.min(1)),
        }
    }

    /// As whom this subscriber's deliveries are counted: the members of a group are one.
    pub(crate) fn counted_as(&self, subscriber: usize) -> usize {
        match self.topics {
            Topics::Pairs | Topics::All => subscriber,
            Topics::Shared => 0,
        }
    }

    /// How many are counted.
    pub(crate) fn counted(&self) -> u32 {
        match self.topics {
            Topics::Pairs | Topics::All => self.subscribers,
            Topics::Shared => self.subscribers.min(1),
        }
    }
}

/// The topic of one publisher.
pub(crate) fn topic(publisher: u32) -> String {
    format!("load/{publisher}")
}
