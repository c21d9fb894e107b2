//! Topic Aliases (§3.3.2.3.4), both ways. They end with the connection [MQTT-3.3.2-7].

use alloc::boxed::Box;
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
/// When all are given away, a topic that has not been sent since the last search gives up its alias to a new one.
#[derive(Debug)]
pub struct AliasesOut {
    max: u16,
    /// By alias, from 1.
    topics: Vec<Given>,
    /// Indices into `topics`, found by topic.
    index: HashTable<u16>,
    /// Where the next search for a victim begins.
    hand: u16,
}

#[derive(Debug)]
struct Given {
    topic: Box<str>,
    used: bool,
}

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
    pub fn assign(&mut self, topic: TopicName<'_>) -> OutAlias {
        if self.max == 0 {
            return OutAlias::Name;
        }
        let hash = hash(topic.as_str());
        let topics = &mut self.topics;
        let found = self.index.find(hash, |at| *topics[usize::from(*at)].topic == *topic.as_str());
        if let Some(&at) = found {
            topics[usize::from(at)].used = true;
            return OutAlias::Alias(alias_at(at));
        }
        let at = self.free_slot();
        let given = Given { topic: topic.as_str().into(), used: true };
        match self.topics.get_mut(usize::from(at)) {
            Some(slot) => *slot = given,
            None => self.topics.push(given),
        }
        let topics = &self.topics;
        self.index.insert_unique(hash, at, |at| hash_of(topics, *at));
        OutAlias::Introduce(alias_at(at))
    }

    /// A slot for a new topic: behind the last while there are more, then that of a topic not used lately.
    fn free_slot(&mut self) -> u16 {
        if self.topics.len() < usize::from(self.max) {
            return u16::try_from(self.topics.len()).expect("below max, which is a u16");
        }
        // Ends within two rounds: the first takes all marks away.
        loop {
            let at = self.hand;
            self.hand = (at + 1) % self.max;
            let given = &mut self.topics[usize::from(at)];
            if !core::mem::take(&mut given.used) {
                let hash = hash(&given.topic);
                if let Ok(entry) = self.index.find_entry(hash, |found| *found == at) {
                    entry.remove();
                }
                return at;
            }
        }
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

        assert_eq!(aliases.assign(name("a")), OutAlias::Introduce(alias(1)));
        assert_eq!(aliases.assign(name("a")), OutAlias::Alias(alias(1)));
        assert_eq!(aliases.assign(name("b")), OutAlias::Introduce(alias(2)));
    }

    #[test]
    fn a_peer_without_aliases_is_told_names() {
        assert_eq!(AliasesOut::new(0).assign(name("a")), OutAlias::Name);
    }

    #[test]
    fn both_ends_agree_whatever_topics_come() {
        let mut out = AliasesOut::new(3);
        let mut input = AliasesIn::new(3);
        let topics = ["a", "b", "a", "c", "d", "a", "e", "b", "a", "f", "f", "a", "c", "d", "e"];

        for topic in topics.map(name) {
            let said = out.assign(topic);
            let on_wire = TopicName::new(said.topic(topic)).ok();
            assert_eq!(input.resolve(on_wire, said.alias()), Ok(topic));
        }
    }
}
