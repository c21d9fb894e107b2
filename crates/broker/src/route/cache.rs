//! The routes of the topics that a shard has seen last.

use alloc::{sync::Arc, vec::Vec};
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{
    Route,
    index::{Search, Searched},
    versions::{Place, Stamp},
};
use crate::seam::Cx;

/// How often a search that is done in pieces begins anew because subscriptions changed meanwhile, before it is done in one.
const FRESH_STARTS_MAX: u8 = 3;

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
    /// One that is done in pieces.
    underway: Option<Underway>,
}

/// A search that was interrupted.
#[derive(Debug)]
struct Underway {
    topic: Arc<str>,
    /// From before its first piece.
    stamp: Stamp,
    search: Search,
    fresh_starts: u8,
}

/// Whether a search that takes longer than one may is kept, to be gone on with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfinished {
    /// There is one at a time.
    Kept,
    /// Another one comes first.
    Dropped,
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
            underway: None,
        }
    }

    /// Whom a publication to `topic` concerns now.
    pub fn route(&mut self, cx: &Cx<'_>, topic: &str) -> Arc<Route> {
        let hash = self.hasher.hash_one(topic);
        match self.cached(cx, topic, hash) {
            Ok(route) => route,
            Err(stale) => self.find(cx, topic, hash, stale),
        }
    }

    /// The same, with so much `work` to spend on a search. `None`: it takes more, and is to be asked for again; where it is kept, it is gone on with then.
    pub fn route_within(&mut self, cx: &Cx<'_>, topic: &str, work: &mut u32, unfinished: Unfinished) -> Option<Arc<Route>> {
        let hash = self.hasher.hash_one(topic);
        match self.cached(cx, topic, hash) {
            Ok(route) => Some(route),
            Err(stale) => self.find_within(cx, topic, hash, stale, work, unfinished),
        }
    }

    /// Whether there is a search to be gone on with.
    pub fn is_searching(&self) -> bool {
        self.underway.is_some()
    }

    /// Nobody wants to know it any more.
    pub fn forget_search(&mut self) {
        self.underway = None;
    }

    /// How many topics are cached.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no topic is.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Otherwise the place of a route that is not valid any more, if there is one.
    #[inline]
    fn cached(&mut self, cx: &Cx<'_>, topic: &str, hash: u64) -> Result<Arc<Route>, Option<u32>> {
        let slots = &mut self.slots;
        let found = self.table.find(hash, |&at| slots[at as usize].as_ref().is_some_and(|entry| *entry.topic == *topic));
        let Some(&at) = found else { return Err(None) };
        match &mut slots[at as usize] {
            Some(entry) if entry.stamp == cx.commons.versions().stamp(entry.place) => {
                entry.used = true;
                Ok(Arc::clone(&entry.route))
            }
            _ => Err(Some(at)),
        }
    }

    #[cold]
    fn find(&mut self, cx: &Cx<'_>, topic: &str, hash: u64, stale: Option<u32>) -> Arc<Route> {
        let topic = self.take_topic(topic, stale);
        let versions = cx.commons.versions();
        let place = versions.place(&topic);
        // Before the index is read: a change in between makes the new route stale, never a stale one valid.
        let stamp = versions.stamp(place);
        let mut route = None;
        cx.commons.read_index(&mut |index| route = Some(index.route(Arc::clone(&topic))));
        self.insert(topic, hash, place, stamp, route.expect("read_index reads the index"))
    }

    #[cold]
    fn find_within(
        &mut self,
        cx: &Cx<'_>,
        topic: &str,
        hash: u64,
        stale: Option<u32>,
        work: &mut u32,
        unfinished: Unfinished,
    ) -> Option<Arc<Route>> {
        let topic = self.take_topic(topic, stale);
        let versions = cx.commons.versions();
        let place = versions.place(&topic);
        let mut underway = self.underway.take_if(|underway| *underway.topic == *topic);
        let mut found = None;
        cx.commons.read_index(&mut |index| {
            // Nothing changes while it is read.
            let stamp = versions.stamp(place);
            let (so_far, fresh_starts) = match underway.take() {
                None => (None, 0),
                Some(before) if before.stamp == stamp => (Some(before.search), before.fresh_starts),
                Some(before) => (None, before.fresh_starts + 1),
            };
            let searched = if fresh_starts > FRESH_STARTS_MAX {
                *work = 0;
                Searched::Whole(index.route(Arc::clone(&topic)))
            } else {
                let is_in_pieces = so_far.is_some();
                let searched = index.search(&topic, so_far, work);
                if is_in_pieces && matches!(searched, Searched::Whole(_)) {
                    // Whoever had several turns of it does not begin the next one before others do.
                    *work = 0;
                }
                searched
            };
            found = Some((searched, stamp, fresh_starts));
        });
        let (searched, stamp, fresh_starts) = found.expect("read_index reads the index");
        match searched {
            Searched::Whole(route) => Some(self.insert(topic, hash, place, stamp, route)),
            Searched::Partly(search) => {
                if unfinished == Unfinished::Kept {
                    self.underway = Some(Underway { topic, stamp, search, fresh_starts });
                }
                None
            }
        }
    }

    /// The topic to be kept, of the entry that is replaced if there is one.
    fn take_topic(&mut self, topic: &str, stale: Option<u32>) -> Arc<str> {
        stale.and_then(|at| self.remove(at)).map_or_else(|| topic.into(), |entry| entry.topic)
    }

    fn insert(&mut self, topic: Arc<str>, hash: u64, place: Place, stamp: Stamp, route: Route) -> Arc<Route> {
        let route = Arc::new(route);
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
