//! What all brains share, behind read-write locks.

use std::{
    fmt,
    sync::{Mutex, PoisonError, RwLock},
};

use columba_broker::{
    id::Clock,
    placement::Placement,
    retained::RetainedStore,
    route::{FilterIndex, Strategies, Versions},
    seam::Commons,
    seats::{Seat, Seats},
};

/// The shared part of a broker's state; a brain comes here only when its own caches miss.
pub(crate) struct Common {
    clock: Clock,
    placement: Placement,
    versions: Versions,
    index: RwLock<FilterIndex>,
    retained: RwLock<RetainedStore>,
    seats: Mutex<Seats>,
}

impl Common {
    /// `seed` keys the hashes: topics are chosen by clients.
    pub(crate) fn new(clock: Clock, placement: Placement, retained: RetainedStore, seed: u64, strategies: Strategies) -> Self {
        Self {
            clock,
            placement,
            versions: Versions::new(seed),
            index: RwLock::new(FilterIndex::new(seed, strategies)),
            retained: RwLock::new(retained),
            seats: Mutex::default(),
        }
    }
}

/// A panic under a lock ends its worker, which ends the process; until then the others go on.
impl Commons for Common {
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
        read(&self.index.read().unwrap_or_else(PoisonError::into_inner));
    }

    fn write_index(&self, write: &mut dyn FnMut(&mut FilterIndex)) {
        write(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn read_retained(&self, read: &mut dyn FnMut(&RetainedStore)) {
        read(&self.retained.read().unwrap_or_else(PoisonError::into_inner));
    }

    fn write_retained(&self, write: &mut dyn FnMut(&mut RetainedStore)) {
        write(&mut self.retained.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn seat(&self, user: &str) -> Seat {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).take(user)
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("placement", &self.placement).finish_non_exhaustive()
    }
}
