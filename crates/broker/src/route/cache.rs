//! The routes of the topics that a shard has seen last.

use alloc::{sync::Arc, vec::Vec};
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{
    Route,
    versions::{Place, Stamp},
};
use crate::seam::Cx;

/// Topic -> [`Route`], bounded, each route valid as long as its versions have not changed.
///
/// Topics are chosen by clients, so the bound counts weight: long topics and big routes count as many. What was not used since the last time round goes first (CLOCK).
#[derive(Debug)]
pub struct TopicCache {
    hasher: FixedState,
    table: HashTable<u32>,
    slots: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    hand: usize,
    weight: usize,
    weight_max: usize,
}

#[derive(Debug)]
struct Entry {
    topic: Arc<str>,
    hash: u64,
    place: Place,
    stamp: Stamp,
    used: bool,
    weight: usize,
    route: Arc<Route>,
}

impl TopicCache {
    /// Holds about `max_entries` routes of ordinary size. `seed`: for the hash table, unknown to clients.
    pub fn new(max_entries: usize, seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            table: HashTable::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            hand: 0,
            weight: 0,
            weight_max: max_entries.max(1),
        }
    }

    /// Whom a publication to `topic` concerns now.
    pub fn route(&mut self, cx: &Cx<'_>, topic: &str) -> Arc<Route> {
        let hash = self.hasher.hash_one(topic);
        let slots = &mut self.slots;
        let found = self.table.find(hash, |&at| slots[at as usize].as_ref().is_some_and(|entry| *entry.topic == *topic));
        let Some(&at) = found else {
            return self.miss(cx, topic, hash);
        };
        let versions = cx.commons.versions();
        if let Some(entry) = &mut slots[at as usize]
            && entry.stamp == versions.stamp(entry.place)
        {
            entry.used = true;
            return Arc::clone(&entry.route);
        }
        self.stale(cx, at, hash)
    }

    /// How many topics are cached.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no topic is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    #[cold]
    fn stale(&mut self, cx: &Cx<'_>, at: u32, hash: u64) -> Arc<Route> {
        let entry = self.remove(at).expect("the table names filled slots");
        self.insert(cx, Arc::clone(&entry.topic), hash)
    }

    #[cold]
    fn miss(&mut self, cx: &Cx<'_>, topic: &str, hash: u64) -> Arc<Route> {
        self.insert(cx, topic.into(), hash)
    }

    fn insert(&mut self, cx: &Cx<'_>, topic: Arc<str>, hash: u64) -> Arc<Route> {
        let versions = cx.commons.versions();
        let place = versions.place(&topic);
        // Before the index is read: a change in between makes the new route stale, never a stale one valid.
        let stamp = versions.stamp(place);
        let mut route = None;
        cx.commons.read_index(&mut |index| route = Some(index.route(Arc::clone(&topic))));
        let route = Arc::new(route.expect("read_index reads the index"));

        let weight = route.weight();
        if weight > self.weight_max {
            return route;
        }
        while self.weight + weight > self.weight_max {
            self.evict();
        }
        let entry = Entry { topic, hash, place, stamp, used: false, weight, route: Arc::clone(&route) };
        self.weight += weight;
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("bounded by the number of entries")
        });
        self.slots[at as usize] = Some(entry);
        let Self { table, slots, .. } = self;
        table.insert_unique(hash, at, |&at| slots[at as usize].as_ref().map_or(0, |entry| entry.hash));
        route
    }

    /// Removes one entry. Called only while there is one.
    fn evict(&mut self) {
        loop {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            match &mut self.slots[self.hand] {
                Some(entry) if entry.used => entry.used = false,
                Some(_) => {
                    let at = u32::try_from(self.hand).expect("slots are numbered by u32");
                    let _gone = self.remove(at);
                    return;
                }
                None => {}
            }
        }
    }

    fn remove(&mut self, at: u32) -> Option<Entry> {
        let entry = self.slots[at as usize].take()?;
        self.weight -= entry.weight;
        self.vacant.push(at);
        if let Ok(found) = self.table.find_entry(entry.hash, |&other| other == at) {
            found.remove();
        }
        Some(entry)
    }
}

impl Route {
    /// What it counts in a cache: 1 for a short topic with a few receivers, about one more per KiB.
    fn weight(&self) -> usize {
        let members: usize = self.groups.iter().map(|group| 1 + group.members.len()).sum();
        1 + (self.targets.len() + members) / 12 + self.topic.len() / 1024
    }
}
