//! Which cached routes a change of the index makes stale.

use alloc::boxed::Box;
use core::{
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
};

use columba_proto::topic::TopicFilter;
use foldhash::fast::FixedState;

const WHOLE: u16 = 4096;
const FIRST: u16 = 1024;

/// Versions of the filter index, in three kinds, so that one SUBSCRIBE leaves nearly all cached routes valid:
/// by hash of the whole topic for filters without a wildcard, by hash of the first level for filters with a later wildcard, and one for filters
/// that begin with a wildcard.
///
/// A writer changes the index, then the version, then answers; a reader loads the versions before it reads the index.
#[derive(Debug)]
pub struct Versions {
    hasher: FixedState,
    whole: Box<[AtomicU64]>,
    first: Box<[AtomicU64]>,
    wild: AtomicU64,
}

/// Where the versions of a topic stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    whole: u16,
    first: u16,
}

/// The versions under which a route was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    whole: u64,
    first: u64,
    wild: u64,
}

impl Versions {
    /// `seed` decides which topics share a version; nobody outside should know it.
    pub fn new(seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            whole: (0..WHOLE).map(|_| AtomicU64::new(0)).collect(),
            first: (0..FIRST).map(|_| AtomicU64::new(0)).collect(),
            wild: AtomicU64::new(0),
        }
    }

    /// Makes every route stale that `filter` can have a part in. Called after the index has changed and before anybody is told.
    pub fn raise(&self, filter: &TopicFilter) {
        let text = filter.as_str();
        let version = if text.starts_with(['+', '#']) {
            &self.wild
        } else if filter.has_wildcard() {
            &self.first[usize::from(self.place(text).first)]
        } else {
            &self.whole[usize::from(self.place(text).whole)]
        };
        version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn place(&self, topic: &str) -> Place {
        let first = topic.split('/').next().unwrap_or(topic);
        Place { whole: self.slot(topic, WHOLE), first: self.slot(first, FIRST) }
    }

    pub(super) fn stamp(&self, place: Place) -> Stamp {
        Stamp {
            whole: self.whole[usize::from(place.whole)].load(Ordering::Acquire),
            first: self.first[usize::from(place.first)].load(Ordering::Acquire),
            wild: self.wild.load(Ordering::Acquire),
        }
    }

    fn slot(&self, text: &str, slots: u16) -> u16 {
        u16::try_from(self.hasher.hash_one(text) % u64::from(slots)).expect("less than a u16")
    }
}
