//! What the shards of one broker share, for a world with one thread: tests and simulation.

use core::cell::RefCell;

use crate::{
    id::Clock,
    placement::Placement,
    retained::RetainedStore,
    route::{FilterIndex, Versions},
    seam::Commons,
};

/// [`Commons`] without locks.
#[derive(Debug)]
pub struct LocalCommons {
    clock: Clock,
    placement: Placement,
    versions: Versions,
    index: RefCell<FilterIndex>,
    retained: RefCell<RetainedStore>,
}

impl LocalCommons {
    /// Empty; `seed` is for its hash tables.
    pub fn new(placement: Placement, seed: u64) -> Self {
        Self {
            clock: Clock::default(),
            placement,
            versions: Versions::new(seed),
            index: RefCell::new(FilterIndex::new(seed)),
            retained: RefCell::new(RetainedStore::default()),
        }
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
}
