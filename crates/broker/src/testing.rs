//! What the tests of this crate share: a seeded generator and the commons of one broker.

use core::cell::{Cell, RefCell};

use crate::{
    id::Clock,
    placement::Placement,
    retained::RetainedStore,
    route::{FilterIndex, Versions},
    seam::Commons,
};

/// A small seeded generator (splitmix64): same seed, same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Any u32.
    pub(crate) fn small(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    /// Any byte.
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What the shards of one broker share, for one thread.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) versions: Versions,
    pub(crate) index: RefCell<FilterIndex>,
    pub(crate) retained: RefCell<RetainedStore>,
    /// How often the index was read.
    pub(crate) index_reads: Cell<usize>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            clock: Clock::default(),
            placement: Placement::new([0; 16], 64, 4),
            versions: Versions::new(seed),
            index: RefCell::new(FilterIndex::new(seed)),
            retained: RefCell::default(),
            index_reads: Cell::new(0),
        }
    }
}

impl Commons for World {
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
}
