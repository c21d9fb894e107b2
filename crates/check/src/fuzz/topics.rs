//! The filter index, its cache and the retained messages against a search from end to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use columba_broker::{
    commons::LocalCommons,
    id::{MessageId, SessionNo},
    message::Message,
    placement::Placement,
    retained::{Page, RetainedStore},
    route::{Grant, Inserted, Route, SessionRef, TopicCache},
    seam::{Commons as _, Cx},
};
use columba_proto::{QoS, SubscriptionFilter, Time, TopicFilter, TopicName, packet::RetainHandling};

use super::choices::Choices;
use crate::model::topics::matches;

/// Few, so that levels meet; with all that is special in a topic.
const LETTERS: [char; 12] = ['/', '/', '/', '+', '#', '$', 'a', 'b', '0', '.', 'é', '\0'];

/// What fuzzers would rarely spell.
const BEGINNINGS: [&str; 4] = ["", "$share/g/", "$SYS/", "a/b/"];

const GRANT: Grant =
    Grant { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send, id: None };

/// Subscriptions and retained messages come and go; after each change, topics and filters find each other as the standard says.
///
/// # Panics
///
/// When they do not.
pub fn topics(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::new();
    while !choices.is_empty() {
        match choices.below(6) {
            0 | 1 => world.subscribe(&mut choices),
            2 => world.unsubscribe(&mut choices),
            3 => world.publish(&text(&mut choices)),
            4 => world.retain(&mut choices),
            _ => world.find_retained(&text(&mut choices), choices.among(4)),
        }
    }
    world.end();
}

fn text(choices: &mut Choices<'_>) -> String {
    let mut text = choices.pick(&BEGINNINGS).to_owned();
    for _ in 0..choices.below(12) {
        text.push(choices.pick(&LETTERS));
    }
    text
}

struct World {
    commons: LocalCommons,
    cache: TopicCache,
    held: BTreeSet<(String, u64)>,
    retained: RetainedStore,
    kept: BTreeMap<String, MessageId>,
    messages: u64,
}

/// Sessions with plain subscriptions, and the groups with their members.
type Found = (BTreeSet<u64>, BTreeSet<(String, u64)>);

impl World {
    fn new() -> Self {
        Self {
            commons: LocalCommons::new(Placement::new([0; 16], 1, 1), 1),
            cache: TopicCache::new(4, 1),
            held: BTreeSet::new(),
            retained: RetainedStore::default(),
            kept: BTreeMap::new(),
            messages: 0,
        }
    }

    fn subscribe(&mut self, choices: &mut Choices<'_>) {
        let (filter, no) = (text(choices), u64::from(choices.below(4)));
        let parsed = filter.parse::<SubscriptionFilter>();
        assert_eq!(parsed.is_ok(), is_subscription(&filter), "{filter:?}: {parsed:?}");
        let Ok(parsed) = parsed else { return };
        assert_eq!(parsed.to_string(), filter, "a filter is written as it was read");
        let session = SessionRef { no: SessionNo(no), slot: 0, presence: Arc::default() };
        let inserted = self.commons.index_mut().insert(&parsed, session, GRANT, self.commons.versions());
        let is_new = self.held.insert((filter.clone(), no));
        assert_eq!(inserted, if is_new { Inserted::New } else { Inserted::Replaced }, "{filter:?}");
    }

    fn unsubscribe(&mut self, choices: &mut Choices<'_>) {
        let known = choices.bit().then(|| self.held.iter().nth(choices.among(self.held.len())).cloned()).flatten();
        let (filter, no) = known.unwrap_or_else(|| (text(choices), u64::from(choices.below(4))));
        let Ok(parsed) = filter.parse::<SubscriptionFilter>() else { return };
        let removed = self.commons.index_mut().remove(&parsed, SessionNo(no), self.commons.versions());
        assert_eq!(removed, self.held.remove(&(filter, no)), "{parsed}");
    }

    fn publish(&mut self, topic: &str) {
        let parsed = TopicName::new(topic);
        assert_eq!(parsed.is_ok(), is_topic(topic), "{topic:?}: {parsed:?}");
        let Ok(name) = parsed else { return };
        for (filter, _) in &self.held {
            let parsed: SubscriptionFilter = filter.parse().expect("it was taken before");
            assert_eq!(parsed.filter().matches(name), matches(filter, topic), "{filter:?} and {topic:?}");
        }
        let expected = self.search(topic);
        assert_eq!(found(&self.commons.index().route(topic.into())), expected, "the index at {topic:?}");
        let cached = self.cache.route(&Cx { now: Time(0), commons: &self.commons }, topic);
        assert_eq!(found(&cached), expected, "the cache at {topic:?}");
        assert_eq!(self.commons.index().len(), self.held.len());
    }

    fn search(&self, topic: &str) -> Found {
        let (mut plain, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for (filter, no) in self.held.iter().filter(|(filter, _)| matches(filter, topic)) {
            if SubscriptionFilter::is_share(filter) {
                groups.insert((filter.clone(), *no));
            } else {
                plain.insert(*no);
            }
        }
        (plain, groups)
    }

    fn retain(&mut self, choices: &mut Choices<'_>) {
        let topic = text(choices);
        if !is_topic(&topic) {
            return;
        }
        self.messages += 1;
        // Shards may be late: the highest identity wins, whatever the order. A clear is remembered too, so a late version stays behind it.
        let id = MessageId(self.messages);
        let payload: &[u8] = if choices.below(4) == 0 { b"" } else { b"on" };
        let before = self.kept.contains_key(&topic);
        let changed =
            self.retained.set(id, Arc::new(Message::new(topic.as_str().into(), QoS::AtLeastOnce, true, None, &[], payload)));
        assert_eq!(changed, before || !payload.is_empty(), "{topic:?}");
        if payload.is_empty() {
            self.kept.remove(&topic);
        } else {
            self.kept.insert(topic, id);
        }
        assert_eq!(self.retained.len(), self.kept.len());
    }

    /// Page by page, all that matches and nothing else, in order.
    fn find_retained(&self, text: &str, most: usize) {
        let Ok(filter) = text.parse::<TopicFilter>() else { return };
        let mut all = Vec::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self.retained.page(&filter, after.as_deref(), MessageId(u64::MAX), Time(0), most + 1, &mut all);
            let Page::After(topic) = page else { break };
            assert!(after.as_ref().is_none_or(|after| **after < *topic), "pages go on");
            after = Some(topic);
        }
        let found: Vec<(&str, MessageId)> = all.iter().map(|(topic, id, _)| (&**topic, *id)).collect();
        let expected = self.kept.iter().filter(|(topic, _)| matches_plain(text, topic));
        assert_eq!(found, expected.map(|(topic, id)| (topic.as_str(), *id)).collect::<Vec<_>>(), "{text:?}");
    }

    /// When the last subscription goes, nothing of it is left.
    fn end(self) {
        for (filter, no) in self.held {
            let parsed: SubscriptionFilter = filter.parse().expect("it was taken before");
            assert!(self.commons.index_mut().remove(&parsed, SessionNo(no), self.commons.versions()), "{filter:?}");
        }
        assert_eq!(self.commons.index().len(), 0);
    }
}

fn found(route: &Route) -> Found {
    let plain: Vec<u64> = route.targets.iter().map(|target| target.session.no.0).collect();
    assert!(plain.is_sorted_by(|a, b| a < b), "each session once, in order: {plain:?}");
    let groups =
        route.groups.iter().flat_map(|group| group.members.iter().map(|member| (group.filter.to_string(), member.session.no.0)));
    (plain.into_iter().collect(), groups.collect())
}

/// `$share/` means nothing to a retained message: here it is a level like any other.
fn matches_plain(filter: &str, topic: &str) -> bool {
    if SubscriptionFilter::is_share(filter) { matches(&format!("$share/any/{filter}"), topic) } else { matches(filter, topic) }
}

/// §4.7.3 written down as plainly as it goes.
fn is_topic(text: &str) -> bool {
    !text.is_empty() && !text.contains(['+', '#', '\0'])
}

/// §4.7.1 written down as plainly as it goes.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let last = levels.len() - 1;
    let fits = |(at, level): (usize, &&str)| match *level {
        "#" => at == last,
        "+" => true,
        name => !name.contains(['+', '#', '\0']),
    };
    !text.is_empty() && levels.iter().enumerate().all(fits)
}

/// §4.8.2 on top of it.
fn is_subscription(text: &str) -> bool {
    match text.strip_prefix("$share/").map(|shared| shared.split_once('/')) {
        None => is_filter(text),
        Some(None) => false,
        Some(Some((share, filter))) => !share.is_empty() && !share.contains(['+', '#', '\0']) && is_filter(filter),
    }
}
