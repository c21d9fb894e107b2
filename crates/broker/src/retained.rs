//! Retained messages: the last one of each topic (§3.3.1.3).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::ops::Bound;

use columba_proto::{
    Time,
    topic::{Level, TopicFilter},
};

use crate::{id::MessageId, message::Message};

/// How many topics one page looks at before it gives way to others.
const LOOKED_AT_MAX: usize = 1024;

/// How many clears are remembered: publishers on different shards can reach the store in another order than their publications have, but by less than this.
const CLEARED_MAX: usize = 4096;

/// The last retained message of each topic, in topic order.
#[derive(Debug, Default)]
pub struct RetainedStore {
    topics: BTreeMap<Arc<str>, Version>,
    /// Topics by the moment at which their message expires.
    expiring: BTreeSet<(Time, Arc<str>)>,
    cleared: BTreeMap<Arc<str>, MessageId>,
    cleared_order: VecDeque<(Arc<str>, MessageId)>,
    /// Topics whose message is in memory and may go from there, oldest first.
    here: BTreeMap<MessageId, Arc<str>>,
    bytes: usize,
}

#[derive(Debug)]
struct Version {
    id: MessageId,
    kept: Kept,
}

/// A retained message, or what of it is in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kept {
    /// All of it.
    Here(Arc<Message>),
    /// It is in the cold store only.
    Cold {
        /// From when on it is not delivered any more.
        expires: Option<Time>,
    },
}

impl Kept {
    /// The message, if it is in memory.
    pub fn message(&self) -> Option<&Arc<Message>> {
        match self {
            Self::Here(message) => Some(message),
            Self::Cold { .. } => None,
        }
    }

    /// From when on it is not delivered any more (§3.3.2.3.3).
    pub fn expires(&self) -> Option<Time> {
        match self {
            Self::Here(message) => message.expires,
            Self::Cold { expires } => *expires,
        }
    }

    /// Whether its time is over [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires().is_some_and(|at| at <= now)
    }

    /// Whether both can be the same message, as far as memory tells.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.expires() == other.expires() && self.message().zip(other.message()).is_none_or(|(one, other)| one == other)
    }
}

/// Where a page of retained messages ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Page {
    /// There are no more.
    Done,
    /// Go on after this topic; it need not be one that matched.
    After(Arc<str>),
}

impl RetainedStore {
    /// Makes a message the retained one of its topic [MQTT-3.3.1-5]; an empty payload clears it [MQTT-3.3.1-6] [MQTT-3.3.1-7]. The highest `id` wins, whatever the order of
    /// calls. Says whether anything changed.
    pub fn set(&mut self, id: MessageId, message: Arc<Message>) -> bool {
        let topic = &message.topic;
        let known = self.topics.get(topic).map(|version| version.id).max(self.cleared.get(topic).copied());
        if known.is_some_and(|known| known >= id) {
            return false;
        }
        let before = self.remove(&Arc::clone(topic));
        if message.payload().is_empty() {
            self.remember_clear(id, Arc::clone(topic));
            return before;
        }
        self.restore(Arc::clone(topic), id, Kept::Here(message));
        true
    }

    /// The same for what the broker says of itself: it stays in memory, for the cold store never has it, and counts in none of its bounds. Nothing takes back what stands there.
    pub fn announce(&mut self, id: MessageId, message: Arc<Message>) {
        let topic = Arc::clone(&message.topic);
        self.remove(&topic);
        if !message.payload().is_empty() {
            self.topics.insert(topic, Version { id, kept: Kept::Here(message) });
        }
    }

    /// Puts a version as a recovery found it.
    pub fn restore(&mut self, topic: Arc<str>, id: MessageId, kept: Kept) {
        self.remove(&topic);
        if let Kept::Here(message) = &kept {
            self.bytes += message.size();
            self.here.insert(id, Arc::clone(&topic));
        }
        if let Some(at) = kept.expires() {
            self.expiring.insert((at, Arc::clone(&topic)));
        }
        self.topics.insert(topic, Version { id, kept });
    }

    /// Everything up to `up_to` is in the cold store: the oldest messages of it go from memory until the rest is no more than `bytes_max`, at most `max` of them.
    /// The answer is whether there are more.
    pub fn stored(&mut self, up_to: MessageId, bytes_max: usize, max: usize) -> bool {
        let mut gone = 0;
        while self.bytes > bytes_max
            && let Some(first) = self.here.first_entry()
            && *first.key() <= up_to
        {
            if gone == max {
                return true;
            }
            gone += 1;
            let topic = first.remove();
            if let Some(version) = self.topics.get_mut(&topic)
                && let Kept::Here(message) = &version.kept
            {
                self.bytes -= message.size();
                version.kept = Kept::Cold { expires: message.expires };
            }
        }
        false
    }

    /// The retained message of a topic.
    pub fn get(&self, topic: &str, now: Time) -> Option<(MessageId, &Kept)> {
        let version = self.topics.get(topic)?;
        (!version.kept.is_expired(now)).then_some((version.id, &version.kept))
    }

    /// How many topics have one (some may have expired and not been removed yet).
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether no topic has one.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Bytes that the messages in memory stand for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in topic order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, MessageId, &Kept)> {
        self.topics.iter().map(|(topic, version)| (topic, version.id, &version.kept))
    }

    /// When the next one expires. Nobody has to be in a hurry: expired ones are not shown.
    pub fn next_expiry(&self) -> Option<Time> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// Removes up to `max` expired ones (§3.3.2.3.3); returns how many.
    pub fn remove_expired(&mut self, now: Time, max: usize) -> usize {
        let mut removed = 0;
        while removed < max
            && let Some((at, topic)) = self.expiring.first()
            && *at <= now
        {
            let topic = Arc::clone(topic);
            self.remove(&topic);
            removed += 1;
        }
        removed
    }

    /// Appends to `out` up to `max` messages whose topics match `filter`, in topic order behind `after`, and says where to go on.
    ///
    /// Versions younger than `newest` are skipped: whoever subscribed at that moment gets them live. A page looks at a bounded number of topics, so it may end
    /// with less than `max` messages, even none.
    pub fn page(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        newest: MessageId,
        now: Time,
        max: usize,
        out: &mut Vec<(Arc<str>, MessageId, Kept)>,
    ) -> Page {
        let levels: Vec<Level<'_>> = filter.levels().collect();
        if !filter.has_wildcard() {
            let ahead = after.is_none_or(|after| after < filter.as_str());
            if ahead && let Some((topic, version)) = self.topics.get_key_value(filter.as_str()) {
                version.show(topic, newest, now, out);
            }
            return Page::Done;
        }
        let full = out.len() + max;
        let mut range = self.topics.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let mut last = None;
        for _ in 0..LOOKED_AT_MAX {
            let Some((topic, version)) = range.next() else {
                return Page::Done;
            };
            last = Some(topic);
            match look(&levels, topic) {
                Look::Matches => {
                    version.show(topic, newest, now, out);
                    if out.len() >= full {
                        return Page::After(Arc::clone(topic));
                    }
                }
                Look::Next => {}
                Look::SkipTo(target) => {
                    range = self.topics.range::<str, _>((Bound::Included(&*target), Bound::Unbounded));
                }
                Look::PastAll => return Page::Done,
            }
        }
        last.map_or(Page::Done, |topic| Page::After(Arc::clone(topic)))
    }

    fn remove(&mut self, topic: &Arc<str>) -> bool {
        let Some(version) = self.topics.remove(topic) else {
            return false;
        };
        if let Some(message) = version.kept.message()
            && self.here.remove(&version.id).is_some()
        {
            self.bytes -= message.size();
        }
        if let Some(at) = version.kept.expires() {
            self.expiring.remove(&(at, Arc::clone(topic)));
        }
        true
    }

    fn remember_clear(&mut self, id: MessageId, topic: Arc<str>) {
        self.cleared.insert(Arc::clone(&topic), id);
        self.cleared_order.push_back((topic, id));
        if self.cleared_order.len() > CLEARED_MAX
            && let Some((topic, id)) = self.cleared_order.pop_front()
            && self.cleared.get(&topic) == Some(&id)
        {
            self.cleared.remove(&topic);
        }
    }
}

impl Version {
    fn show(&self, topic: &Arc<str>, newest: MessageId, now: Time, out: &mut Vec<(Arc<str>, MessageId, Kept)>) {
        if self.id <= newest && !self.kept.is_expired(now) {
            out.push((Arc::clone(topic), self.id, self.kept.clone()));
        }
    }
}

/// What a topic says about the ones behind it.
#[derive(Debug, Eq, PartialEq)]
enum Look {
    Matches,
    /// It does not match; the next one may.
    Next,
    /// It does not match, nor does any topic before this text.
    SkipTo(String),
    /// It does not match, nor does any topic behind it.
    PastAll,
}

/// Compares a topic with a filter, level by level. Topics stand in byte order: those below `a/` are neighbours, and `0` is the byte behind `/`.
fn look(levels: &[Level<'_>], topic: &str) -> Look {
    // A filter that begins with a wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1]; `%` is the byte behind it.
    if topic.starts_with('$') && matches!(levels.first(), Some(Level::One | Level::Rest)) {
        return Look::SkipTo("%".into());
    }
    let mut start = 0;
    let mut any_until = None;
    for (depth, level) in levels.iter().enumerate() {
        let end = topic[start..].find('/').map_or(topic.len(), |slash| start + slash);
        let ends_here = end == topic.len();
        let last = depth + 1 == levels.len();
        // `#` matches the level above it too.
        let may_end = last || levels[depth + 1] == Level::Rest;
        let fits = match level {
            Level::Rest => return Look::Matches,
            Level::One => {
                any_until = Some(end);
                true
            }
            Level::Name(name) if topic[start..end] == **name => true,
            Level::Name(name) => {
                let mut wanted = String::from(&topic[..start]);
                wanted.push_str(name);
                if may_end && *topic < *wanted {
                    return Look::SkipTo(wanted);
                }
                wanted.push('/');
                if !last && *topic < *wanted {
                    return Look::SkipTo(wanted);
                }
                false
            }
        };
        if fits && ends_here {
            return match level {
                _ if may_end => Look::Matches,
                // What is longer by a byte below `/` stands before what is deeper.
                Level::One | Level::Rest => Look::Next,
                Level::Name(_) => Look::SkipTo([topic, "/"].concat()),
            };
        }
        if last || !fits {
            break;
        }
        start = end + 1;
    }
    // Nothing more under the text that the last `+` stands for here.
    any_until.map_or(Look::PastAll, |end| Look::SkipTo([&topic[..end], "0"].concat()))
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use columba_proto::{QoS, topic::TopicName};

    use super::*;
    use crate::testing::Rng;

    fn message(topic: &str, payload: &str, expires: Option<u64>) -> Arc<Message> {
        Arc::new(Message::new(topic.into(), QoS::AtLeastOnce, true, expires.map(Time), &[], payload.as_bytes()))
    }

    fn pages(store: &RetainedStore, filter: &str, newest: u64, max: usize) -> Vec<String> {
        let filter = filter.parse().unwrap();
        let mut out = Vec::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let before = out.len();
            let page = store.page(&filter, after.as_deref(), MessageId(newest), Time(100), max, &mut out);
            assert!(out.len() - before <= max);
            match page {
                Page::Done => break,
                Page::After(topic) => {
                    assert!(after.is_none_or(|after| after < topic), "the cursor moves on");
                    after = Some(topic);
                }
            }
        }
        out.iter().map(|(topic, id, _)| format!("{topic} {}", id.0)).collect()
    }

    #[test]
    fn pages_show_what_a_search_of_all_topics_shows() {
        const NAMES: [&str; 9] = ["", "a", "a-", "a0", "b", "bb", "$s", " ", "é"];
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let mut store = RetainedStore::default();
            let mut all = BTreeMap::new();
            for id in 1..150 {
                let levels: Vec<_> = (0..=rng.below(4)).map(|_| *rng.pick(&NAMES)).collect();
                let topic = levels.join("/");
                if topic.is_empty() {
                    continue;
                }
                let expires = rng.chance(10).then(|| 90 + rng.next() % 20);
                let payload = if rng.chance(10) { "" } else { "x" };
                store.set(MessageId(id), message(&topic, payload, expires));
                if payload.is_empty() {
                    all.remove(&topic)
                } else {
                    all.insert(topic, (id, expires))
                };
            }
            for _ in 0..50 {
                let mut levels: Vec<_> =
                    (0..=rng.below(4)).map(|_| if rng.chance(40) { "+" } else { *rng.pick(&NAMES) }).collect();
                if rng.chance(30) {
                    levels.push("#");
                }
                let text = levels.join("/");
                let Ok(filter) = text.parse::<TopicFilter>() else {
                    continue;
                };
                let newest = if rng.chance(50) { u64::MAX } else { 75 };

                let expected: Vec<String> = all
                    .iter()
                    .filter(|(topic, (id, expires))| {
                        filter.matches(TopicName::new(topic).unwrap()) && *id <= newest && expires.is_none_or(|at| at > 100)
                    })
                    .map(|(topic, (id, _))| format!("{topic} {id}"))
                    .collect();
                assert_eq!(pages(&store, &text, newest, 1 + rng.below(5)), expected, "seed {seed} {text}");
            }
        }
    }

    #[test]
    fn a_page_gives_way_after_a_bounded_number_of_topics() {
        let mut store = RetainedStore::default();
        for n in 0..10_000 {
            store.set(MessageId(n + 1), message(&format!("a/{n:05}/x"), "1", None));
        }
        store.set(MessageId(20_000), message("a/99999/y", "1", None));
        let (filter, mut out) = ("a/+/y".parse().unwrap(), Vec::new());

        let page = store.page(&filter, None, MessageId(u64::MAX), Time(0), 10, &mut out);

        assert!(matches!(page, Page::After(topic) if out.is_empty() && *topic < *"a/05000/x"));
        assert_eq!(pages(&store, "a/+/y", u64::MAX, 10), ["a/99999/y 20000"]);
    }

    #[test]
    fn branches_that_cannot_match_are_skipped() {
        let levels = |text: &str| text.parse::<TopicFilter>().unwrap();
        let skip = |filter: &str, topic: &str| look(&levels(filter).levels().collect::<Vec<_>>(), topic);

        assert_eq!(skip("a/+/c", "a/b/d"), Look::SkipTo("a/b0".to_string()));
        assert_eq!(skip("a/+/c", "a/b"), Look::Next);
        assert_eq!(skip("a/b/c", "a/b"), Look::SkipTo("a/b/".to_string()));
        assert_eq!(skip("b/c/#", "a"), Look::SkipTo("b/".to_string()));
        assert_eq!(skip("b/c/#", "b/"), Look::SkipTo("b/c".to_string()));
        assert_eq!(skip("b/c/#", "b/d"), Look::PastAll);
        assert_eq!(skip("+", "$SYS/x"), Look::SkipTo("%".to_string()));
    }

    #[test]
    fn the_highest_version_wins_whatever_the_order() {
        let mut store = RetainedStore::default();

        store.set(MessageId(11), message("t", "", None));
        assert!(!store.set(MessageId(10), message("t", "old", None)));
        assert_eq!(store.len(), 0);

        assert!(store.set(MessageId(13), message("t", "new", None)));
        assert!(!store.set(MessageId(12), message("t", "", None)));
        assert_eq!(store.get("t", Time(0)).unwrap().0, MessageId(13));
    }

    #[test]
    fn expired_messages_are_not_shown_and_can_be_removed_in_portions() {
        let mut store = RetainedStore::default();
        for n in 1..=10 {
            store.set(MessageId(n), message(&format!("t/{n}"), "1", Some(n * 10)));
        }

        assert!(store.get("t/5", Time(50)).is_none());
        assert_eq!(store.next_expiry(), Some(Time(10)));
        assert_eq!(store.remove_expired(Time(50), 3), 3);
        assert_eq!(store.remove_expired(Time(50), 10), 2);
        assert_eq!(store.len(), 5);
        assert_eq!(store.bytes(), 5 * message("t/6", "1", None).size() + 1);
    }

    #[test]
    fn the_oldest_stored_ones_go_from_memory_and_are_still_shown() {
        let mut store = RetainedStore::default();
        for n in 1..=10 {
            store.set(MessageId(n), message(&format!("t/{n}"), "1", Some(500)));
        }
        store.set(MessageId(11), message("t/1", "2", None));
        let half = store.bytes() / 2;

        while store.stored(MessageId(9), half, 2) {
            assert!(store.bytes() > half, "two at a time, and no more than have to");
        }

        assert!(store.bytes() <= half);
        let here: Vec<_> = store.iter().filter(|(_, _, kept)| kept.message().is_some()).map(|(_, id, _)| id.0).collect();
        assert_eq!(here, [11, 10, 8, 9]);
        assert_eq!(pages(&store, "#", u64::MAX, 3).len(), 10);
        assert_eq!(store.remove_expired(Time(500), 100), 9);

        assert!(!store.stored(MessageId(11), 0, usize::MAX));
        assert_eq!(store.bytes(), 0);
        assert_eq!(store.get("t/1", Time(0)).unwrap(), (MessageId(11), &Kept::Cold { expires: None }));
    }
}
