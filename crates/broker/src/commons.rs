//! What the shards of one broker share, for a world with one thread: tests and simulation.

use core::cell::{Cell, Ref, RefCell, RefMut};

use crate::{
    id::Clock,
    placement::Placement,
    retained::RetainedStore,
    route::{FilterIndex, Strategies, Versions},
    seam::Commons,
    seats::{Seat, Seats},
};

/// [`Commons`] without locks.
#[derive(Debug)]
pub struct LocalCommons {
    clock: Clock,
    placement: Placement,
    versions: Versions,
    index: RefCell<FilterIndex>,
    retained: RefCell<RetainedStore>,
    seats: RefCell<Seats>,
    index_reads: Cell<usize>,
}

impl LocalCommons {
    /// Empty; `seed` is for its hash tables.
    pub fn new(placement: Placement, seed: u64) -> Self {
        Self::with(placement, seed, Strategies::default())
    }

    /// The same with strategies for shared subscriptions.
    pub fn with(placement: Placement, seed: u64, strategies: Strategies) -> Self {
        Self {
            clock: Clock::default(),
            placement,
            versions: Versions::new(seed),
            index: RefCell::new(FilterIndex::new(seed, strategies)),
            retained: RefCell::new(RetainedStore::default()),
            seats: RefCell::default(),
            index_reads: Cell::new(0),
        }
    }

    /// The filter index, to be read outside of a shard.
    pub fn index(&self) -> Ref<'_, FilterIndex> {
        self.index.borrow()
    }

    /// The filter index, to be changed outside of a shard.
    pub fn index_mut(&self) -> RefMut<'_, FilterIndex> {
        self.index.borrow_mut()
    }

    /// How often shards have read the index: not at all while their topic caches hit.
    pub fn index_reads(&self) -> usize {
        self.index_reads.get()
    }
}

impl Commons for LocalCommons {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn placement(&self) -> &Placement {
        &self.placement
    }

    fn versions(&self) -> &Versions {
        &self.versions
    }

    fn read_index(&self, read: &mut dyn FnMut(&FilterIndex)) {
        self.index_reads.set(self.index_reads.get() + 1);
        read(&self.index.borrow());
    }

    fn write_index(&self, write: &mut dyn FnMut(&mut FilterIndex)) {
        write(&mut self.index.borrow_mut());
    }

    fn read_retained(&self, read: &mut dyn FnMut(&RetainedStore)) {
        read(&self.retained.borrow());
    }

    fn write_retained(&self, write: &mut dyn FnMut(&mut RetainedStore)) {
        write(&mut self.retained.borrow_mut());
    }

    fn seat(&self, user: &str) -> Seat {
        self.seats.borrow_mut().take(user)
    }
}
