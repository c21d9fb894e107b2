//! All subscriptions of the broker: a trie over levels whose edges stand in one table.

use alloc::{sync::Arc, vec::Vec};
use core::hash::BuildHasher;

use columba_proto::topic::{Level, SubscriptionFilter, TopicFilter};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::{
    Grant, Group, Member, Route, SessionRef, Strategies, Versions, affinity,
    holders::Holders,
    levels::{LevelId, Levels},
};
use crate::id::SessionNo;

/// Filters and who subscribes to them (§4.7).
///
/// A node is a prefix of filters. Its named children are found through one table of all edges, keyed by (parent, level); its wildcard children through the
/// node itself. Level texts are held once.
#[derive(Debug)]
pub struct FilterIndex {
    hasher: FixedState,
    levels: Levels,
    nodes: Slab<Node>,
    /// Nodes by parent and level.
    edges: HashTable<u32>,
    /// How many nodes there have been.
    births: u32,
    subscriptions: usize,
    strategies: Strategies,
}

/// A search for whom a topic concerns that is done piece by piece. Where the versions of the topic change between two pieces, what it finds was never true.
#[derive(Debug)]
pub(super) struct Search {
    /// Nodes that match a prefix of the topic and have not been looked at: their places, when they were made, and how many levels the prefix has.
    open: Vec<(u32, u32, usize)>,
    plain: Vec<Member>,
    groups: Vec<Group>,
}

/// How far a search has come.
#[derive(Debug)]
pub(super) enum Searched {
    /// To its end.
    Whole(Route),
    /// There is more to be looked at.
    Partly(Search),
}

/// Nodes to be looked at, with the number of levels above each.
type OpenNodes = SmallVec<[(u32, usize); 32]>;

/// What an insertion did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inserted {
    /// The session had no such subscription.
    New,
    /// It had: the old one is replaced [MQTT-3.8.4-3].
    Replaced,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    step: Step,
    /// The child `+`.
    one: u32,
    /// The child `#`.
    rest: u32,
    /// Number of named children.
    named: u32,
    /// Tells it from the node that had its place before.
    born: u32,
    holders: Holders,
}

/// How a node hangs on its parent.
#[derive(Clone, Copy, Debug)]
enum Step {
    Root,
    Name(LevelId),
    One,
    Rest,
}

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

impl FilterIndex {
    /// Other strategies for groups that form from now on; one that has members keeps its own.
    pub fn set_strategies(&mut self, strategies: Strategies) {
        self.strategies = strategies;
    }

    /// An empty one. `seed`: for the hash tables; `strategies`: of shared subscriptions.
    pub fn new(seed: u64, strategies: Strategies) -> Self {
        let hasher = FixedState::with_seed(seed);
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, Step::Root, 0));
        let (levels, edges) = (Levels::new(hasher.clone()), HashTable::new());
        Self { levels, hasher, nodes, edges, births: 0, subscriptions: 0, strategies }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// Adds a subscription or replaces the session's one with the same filter, then raises the filter's version.
    pub fn insert(&mut self, filter: &SubscriptionFilter, session: SessionRef, grant: Grant, versions: &Versions) -> Inserted {
        let mut node = ROOT;
        for level in filter.filter().levels() {
            node = self.child_or_new(node, level);
        }
        let inserted = self.nodes[node as usize].holders.insert(filter, Member { session, grant }, &self.strategies);
        if inserted == Inserted::New {
            self.subscriptions += 1;
        }
        versions.raise(filter.filter());
        inserted
    }

    /// Removes a subscription; `false` where there was none. Raises the filter's version.
    pub fn remove(&mut self, filter: &SubscriptionFilter, session: SessionNo, versions: &Versions) -> bool {
        let Some(node) = self.find(filter.filter()) else {
            return false;
        };
        if !self.nodes[node as usize].holders.remove(filter, session) {
            return false;
        }
        self.subscriptions -= 1;
        self.prune(node);
        versions.raise(filter.filter());
        true
    }

    /// Everybody whom a publication to `topic` concerns (§4.7.1).
    pub fn route(&self, topic: Arc<str>) -> Route {
        let (mut plain, mut groups) = (Vec::new(), Vec::new());
        let known_as = affinity(&topic);
        let mut open = OpenNodes::new();
        open.push((ROOT, 0));
        while !open.is_empty() {
            self.walk(&topic, &mut open, &mut { u32::MAX }, |holders| holders.collect(known_as, &mut plain, &mut groups));
        }
        Route::new(topic, plain, groups)
    }

    /// The same with `work` to spend: a node costs 1, and so does a subscriber at the end. What is left of it is left.
    pub(super) fn search(&self, topic: &Arc<str>, so_far: Option<Search>, work: &mut u32) -> Searched {
        let known_as = affinity(topic);
        let mut plain = Vec::new();
        let mut groups = Vec::new();
        let mut open = OpenNodes::new();
        let (mut plain_before, was_open) = match so_far {
            None => {
                open.push((ROOT, 0));
                (Vec::new(), None)
            }
            Some(search) => {
                groups = search.groups;
                (search.plain, Some(search.open))
            }
        };
        for (at, born, depth) in was_open.into_iter().flatten() {
            // What is gone has nobody left, and what has come into its place since is not on the way to this topic.
            if self.nodes.get(at as usize).is_some_and(|node| node.born == born) {
                open.push((at, depth));
            }
        }
        self.walk(topic, &mut open, work, |holders| holders.collect(known_as, &mut plain, &mut groups));
        if open.is_empty() {
            let plain: Vec<&Member> = plain_before.iter().chain(plain).collect();
            *work = work.saturating_sub(u32::try_from(plain.len()).unwrap_or(u32::MAX));
            return Searched::Whole(Route::new(Arc::clone(topic), plain, groups));
        }
        plain_before.extend(plain.into_iter().cloned());
        let open = open.into_iter().map(|(at, depth)| (at, self.nodes[at as usize].born, depth)).collect();
        Searched::Partly(Search { open, plain: plain_before, groups })
    }

    /// A shared subscription with all its members, as for a topic that none of them depends on; `None`: it has none.
    pub fn group(&self, filter: &SubscriptionFilter) -> Option<Group> {
        self.nodes[self.find(filter.filter())? as usize].holders.group(filter.share()?)
    }

    /// The queue of a shared subscription that has members.
    pub fn queue_of(&self, filter: &SubscriptionFilter) -> Option<SessionRef> {
        self.nodes[self.find(filter.filter())? as usize].holders.queue_of(filter.share()?)
    }

    /// Walks the branches from `open` that match, as far as `work` goes; what is left of it is in `open`. All of it is as much as there are nodes that match a prefix
    /// of the topic.
    fn walk<'a>(&'a self, topic: &str, open: &mut OpenNodes, work: &mut u32, mut visit: impl FnMut(&'a Holders)) {
        let names: SmallVec<[Option<LevelId>; 16]> = topic.split('/').map(|name| self.levels.find(name)).collect();
        // A filter that begins with a wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
        let hidden = topic.starts_with('$');
        while *work > 0
            && let Some((at, depth)) = open.pop()
        {
            *work -= 1;
            let node = &self.nodes[at as usize];
            let wild = !(hidden && at == ROOT);
            // `#` stands for its parent too (§4.7.1.2).
            if wild && node.rest != NONE {
                visit(&self.nodes[node.rest as usize].holders);
            }
            let Some(name) = names.get(depth) else {
                visit(&node.holders);
                continue;
            };
            if wild && node.one != NONE {
                open.push((node.one, depth + 1));
            }
            if let Some(name) = name
                && node.named > 0
                && let Some(child) = self.edge(at, *name)
            {
                open.push((child, depth + 1));
            }
        }
    }

    /// Whether nothing is left but the root.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.nodes.len() == 1 && self.edges.is_empty() && self.levels.len() == 0
    }

    fn find(&self, filter: &TopicFilter) -> Option<u32> {
        filter.levels().try_fold(ROOT, |node, level| self.child(node, level))
    }

    fn child(&self, parent: u32, level: Level<'_>) -> Option<u32> {
        let node = &self.nodes[parent as usize];
        match level {
            Level::Name(text) => self.edge(parent, self.levels.find(text)?),
            Level::One => Some(node.one).filter(|&child| child != NONE),
            Level::Rest => Some(node.rest).filter(|&child| child != NONE),
        }
    }

    fn child_or_new(&mut self, parent: u32, level: Level<'_>) -> u32 {
        if let Some(child) = self.child(parent, level) {
            return child;
        }
        let step = match level {
            Level::Name(text) => Step::Name(self.levels.acquire(text)),
            Level::One => Step::One,
            Level::Rest => Step::Rest,
        };
        self.births = self.births.wrapping_add(1);
        let child =
            u32::try_from(self.nodes.insert(Node::new(parent, step, self.births))).expect("memory ends before 2^32 nodes");
        let node = &mut self.nodes[parent as usize];
        match step {
            Step::Root => {}
            Step::One => node.one = child,
            Step::Rest => node.rest = child,
            Step::Name(name) => {
                node.named += 1;
                let Self { hasher, nodes, edges, .. } = self;
                edges.insert_unique(hasher.hash_one((parent, name.0)), child, |&child| nodes[child as usize].hash(hasher));
            }
        }
        child
    }

    fn edge(&self, parent: u32, name: LevelId) -> Option<u32> {
        let hash = self.hasher.hash_one((parent, name.0));
        let found = self.edges.find(hash, |&child| {
            let node = &self.nodes[child as usize];
            node.parent == parent && matches!(node.step, Step::Name(its) if its == name)
        });
        found.copied()
    }

    /// Takes away the nodes from `at` upwards that nobody needs any more.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT && self.nodes[at as usize].is_unused() {
            let node = self.nodes.remove(at as usize);
            let parent = &mut self.nodes[node.parent as usize];
            match node.step {
                Step::Root => {}
                Step::One => parent.one = NONE,
                Step::Rest => parent.rest = NONE,
                Step::Name(name) => {
                    parent.named -= 1;
                    if let Ok(entry) = self.edges.find_entry(node.hash(&self.hasher), |&child| child == at) {
                        entry.remove();
                    }
                    self.levels.release(name);
                }
            }
            at = node.parent;
        }
        if self.subscriptions == 0 {
            self.nodes.shrink_to_fit();
            self.edges = HashTable::new();
        }
    }
}

impl Node {
    fn new(parent: u32, step: Step, born: u32) -> Self {
        Self { parent, step, one: NONE, rest: NONE, named: 0, born, holders: Holders::Nobody }
    }

    fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.named == 0 && self.one == NONE && self.rest == NONE
    }

    fn hash(&self, hasher: &FixedState) -> u64 {
        match self.step {
            Step::Name(name) => hasher.hash_one((self.parent, name.0)),
            Step::Root | Step::One | Step::Rest => 0,
        }
    }
}
