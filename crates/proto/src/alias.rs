//! Topic Aliases (§3.3.2.3.4), both ways. They end with the connection [MQTT-3.3.2-7].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hasher as _;
use core::num::NonZeroU16;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::error::Violation;
use crate::topic::TopicName;

/// What the peer's aliases stand for. Holds at most the Topic Alias Maximum that we gave.
#[derive(Debug)]
pub struct AliasesIn {
    max: u16,
    /// By alias, from 1. Grows to the highest alias in use.
    topics: Vec<Option<Box<str>>>,
    /// What the topics are long together.
    bytes: usize,
}

impl AliasesIn {
    /// For a new connection on which we announced `max`. Owns no memory yet.
    pub const fn new(max: u16) -> Self {
        Self { max, topics: Vec::new(), bytes: 0 }
    }

    /// How long all remembered topics are together: a topic may have 64 KiB, and a connection may have many aliases.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The topic of a PUBLISH: as it stands there, or as its alias remembers it. A topic with an alias is remembered.
    /// Every alias up to our maximum is accepted [MQTT-3.3.2-12].
    #[inline]
    pub fn resolve<'a>(
        &'a mut self,
        topic: Option<TopicName<'a>>,
        alias: Option<NonZeroU16>,
    ) -> Result<TopicName<'a>, Violation> {
        match (topic, alias) {
            (Some(topic), None) => Ok(topic),
            (None, None) => Err(Violation::NoTopic),
            (topic, Some(alias)) => self.look_up(topic, alias.get()),
        }
    }

    fn look_up<'a>(&'a mut self, topic: Option<TopicName<'a>>, alias: u16) -> Result<TopicName<'a>, Violation> {
        if alias > self.max {
            return Err(Violation::TopicAlias { alias, max: self.max });
        }
        let slot = usize::from(alias) - 1;
        if let Some(topic) = topic {
            if self.topics.len() <= slot {
                self.topics.resize(slot + 1, None);
            }
            self.bytes += topic.as_str().len();
            if let Some(before) = self.topics[slot].replace(topic.as_str().into()) {
                self.bytes -= before.len();
            }
            return Ok(topic);
        }
        match self.topics.get(slot) {
            Some(Some(topic)) => Ok(TopicName::trusted(topic)),
            Some(None) | None => Err(Violation::UnknownTopicAlias(alias)),
        }
    }
}

/// The aliases that we give to the peer: none above its Topic Alias Maximum [MQTT-3.1.2-26] [MQTT-3.3.2-11], and none at all
/// without one [MQTT-3.1.2-27].
///
/// When all are given away, a topic that has not been sent for a while gives up its alias to a new one. However topics come,
/// a message takes a bounded amount of work, and no memory but that of the topics.
#[derive(Debug)]
pub struct AliasesOut {
    max: u16,
    /// By alias, from 1.
    topics: Vec<Given>,
    /// Indices into `topics`, found by topic.
    index: HashTable<u16>,
    /// Whose turn it is to be asked for its alias.
    hand: u16,
}

#[derive(Debug)]
struct Given {
    topic: String,
    used: bool,
}

/// Bytes that an alias takes in a packet: identifier and value of the property.
pub const ALIAS_LEN: usize = 3;

/// Longer topics are not given aliases: with their number this bounds what is remembered for one peer.
const ALIASED_TOPIC_LEN_MAX: usize = 1_024;

/// How to say a topic.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutAlias {
    /// By its name: the peer keeps no aliases.
    Name,
    /// By name and alias: from now on the alias stands for it.
    Introduce(NonZeroU16),
    /// By alias alone, with an empty topic name.
    Alias(NonZeroU16),
}

impl OutAlias {
    /// The Topic Alias property.
    pub const fn alias(self) -> Option<NonZeroU16> {
        match self {
            Self::Name => None,
            Self::Introduce(alias) | Self::Alias(alias) => Some(alias),
        }
    }

    /// The topic name as it stands in the packet: empty where the alias says it all.
    pub const fn topic(self, topic: TopicName<'_>) -> &str {
        match self {
            Self::Name | Self::Introduce(_) => topic.as_str(),
            Self::Alias(_) => "",
        }
    }
}

impl AliasesOut {
    /// For a new connection on which the peer announced `max`, or we want to use no more than that. Owns no memory yet.
    pub const fn new(max: u16) -> Self {
        Self { max, topics: Vec::new(), index: HashTable::new(), hand: 0 }
    }

    /// How to say this topic now. What is returned must be sent: the peer has to learn what is introduced.
    #[must_use]
    #[inline]
    pub fn assign(&mut self, topic: TopicName<'_>) -> OutAlias {
        let topic = topic.as_str();
        if self.max == 0 || topic.len() <= ALIAS_LEN || topic.len() > ALIASED_TOPIC_LEN_MAX {
            return OutAlias::Name;
        }
        let hash = hash(topic);
        let topics = &mut self.topics;
        let found = self.index.find(hash, |at| topics[usize::from(*at)].topic == topic);
        if let Some(&at) = found {
            topics[usize::from(at)].used = true;
            return OutAlias::Alias(alias_at(at));
        }
        self.introduce(topic, hash)
    }

    fn introduce(&mut self, topic: &str, hash: u64) -> OutAlias {
        let at = if self.topics.len() < usize::from(self.max) {
            self.topics.push(Given { topic: topic.into(), used: true });
            u16::try_from(self.topics.len() - 1).expect("below max, which is a u16")
        } else {
            let Some(at) = self.take_back() else { return OutAlias::Name };
            let given = &mut self.topics[usize::from(at)];
            given.topic.clear();
            given.topic.push_str(topic);
            given.used = true;
            at
        };
        let topics = &self.topics;
        self.index.insert_unique(hash, at, |at| hash_of(topics, *at));
        OutAlias::Introduce(alias_at(at))
    }

    /// The alias of a topic that has not been sent since it was asked last. One is asked for each message.
    fn take_back(&mut self) -> Option<u16> {
        let at = self.hand;
        self.hand = (at + 1) % self.max;
        let given = &mut self.topics[usize::from(at)];
        if core::mem::take(&mut given.used) {
            return None;
        }
        if let Ok(entry) = self.index.find_entry(hash(&given.topic), |found| *found == at) {
            entry.remove();
        }
        Some(at)
    }
}

fn alias_at(at: u16) -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(at)
}

fn hash_of(topics: &[Given], at: u16) -> u64 {
    hash(&topics[usize::from(at)].topic)
}

/// Of a fixed key: chance is an input here, and the table never holds more than the peer asked for.
fn hash(topic: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(topic.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName<'_> {
        TopicName::new(text).unwrap()
    }

    fn alias(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    #[test]
    fn an_alias_stands_for_the_topic_it_came_with_until_it_comes_with_another() {
        let mut aliases = AliasesIn::new(2);

        assert_eq!(aliases.resolve(Some(name("a")), Some(alias(2))), Ok(name("a")));
        assert_eq!(aliases.resolve(None, Some(alias(2))), Ok(name("a")));
        assert_eq!(aliases.resolve(Some(name("b")), Some(alias(2))), Ok(name("b")));
        assert_eq!(aliases.resolve(None, Some(alias(2))), Ok(name("b")));
    }

    #[test]
    fn an_alias_above_the_maximum_or_without_a_topic_is_a_violation() {
        let mut aliases = AliasesIn::new(2);

        assert_eq!(aliases.resolve(Some(name("a")), Some(alias(3))), Err(Violation::TopicAlias { alias: 3, max: 2 }));
        assert_eq!(aliases.resolve(None, Some(alias(1))), Err(Violation::UnknownTopicAlias(1)));
        assert_eq!(aliases.resolve(None, None), Err(Violation::NoTopic));
    }

    #[test]
    fn a_topic_is_introduced_once_and_then_said_by_alias() {
        let mut aliases = AliasesOut::new(10);

        assert_eq!(aliases.assign(name("gate/a")), OutAlias::Introduce(alias(1)));
        assert_eq!(aliases.assign(name("gate/a")), OutAlias::Alias(alias(1)));
        assert_eq!(aliases.assign(name("gate/b")), OutAlias::Introduce(alias(2)));
    }

    #[test]
    fn a_topic_that_is_no_longer_than_its_alias_or_too_long_to_remember_keeps_its_name() {
        let mut aliases = AliasesOut::new(10);
        let long = "t".repeat(ALIASED_TOPIC_LEN_MAX + 1);

        for topic in ["abc", &long] {
            assert_eq!([(); 2].map(|()| aliases.assign(name(topic))), [OutAlias::Name; 2]);
        }
        assert_eq!(aliases.assign(name("abcd")), OutAlias::Introduce(alias(1)));
    }

    #[test]
    fn a_topic_in_use_keeps_its_alias_and_one_that_is_not_gives_it_up() {
        let mut aliases = AliasesOut::new(2);
        assert_eq!(aliases.assign(name("busy")), OutAlias::Introduce(alias(1)));
        assert_eq!(aliases.assign(name("idle")), OutAlias::Introduce(alias(2)));

        let mut said = Vec::new();
        for _ in 0..4 {
            assert_eq!(aliases.assign(name("busy")), OutAlias::Alias(alias(1)));
            said.push(aliases.assign(name("fresh")));
        }

        assert_eq!(said, [OutAlias::Name, OutAlias::Name, OutAlias::Name, OutAlias::Introduce(alias(2))]);
        assert_eq!(aliases.assign(name("fresh")), OutAlias::Alias(alias(2)));
    }

    #[test]
    fn a_peer_without_aliases_is_told_names() {
        assert_eq!(AliasesOut::new(0).assign(name("gate/a")), OutAlias::Name);
    }

    #[test]
    fn both_ends_agree_whatever_topics_come() {
        let mut out = AliasesOut::new(3);
        let mut input = AliasesIn::new(3);
        let topics =
            ["a", "b", "a", "c", "d", "a", "e", "b", "a", "f", "f", "a", "c", "d", "e", "e", "e", "e", "e", "f", "f", "f"];
        let mut introduced = 0;

        for topic in topics {
            let topic = std::format!("gate/{topic}");
            let topic = name(&topic);
            let said = out.assign(topic);
            introduced += u32::from(matches!(said, OutAlias::Introduce(_)));
            let on_wire = TopicName::new(said.topic(topic)).ok();
            assert_eq!(input.resolve(on_wire, said.alias()), Ok(topic));
        }
        assert!(introduced > 3, "some gave theirs up");
    }
}
