//! A cold store in memory, for tests and simulations: a write is wholly there or not at all, and can be interrupted.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Batch, Cold, ColdError, ColdRead, KEY_LEN_MAX, Space, Visit};
use crate::log::Position;

/// An ordered map. Clones are handles to the same one: what a clone sees is what a restart would find.
#[derive(Clone, Debug, Default)]
pub struct MemCold(Arc<Mutex<Content>>);

type Keys = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Content {
    /// Shared with whoever visits it just now; a write meanwhile makes a copy.
    keys: Arc<Keys>,
    position: Option<Position>,
    fault: Option<MemFault>,
}

/// Where the next write is interrupted. Either way the caller sees an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemFault {
    /// Nothing of it is kept.
    BeforeWrite,
    /// It is kept, but nobody hears of it.
    AfterWrite,
}

impl MemCold {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Interrupts the next write.
    pub fn fail_next(&self, fault: MemFault) {
        self.content().fault = Some(fault);
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.content().keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy that changes on its own from now on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.content().clone())))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ColdRead for MemCold {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.content().keys.get(&(space, key.to_vec())).cloned())
    }

    fn visit(&self, space: Space, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        let end = match to {
            Some(to) => Bound::Excluded((space, to.to_vec())),
            None => space.0.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded((Space(next), Vec::new()))),
        };
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        // As it is now, and not under the lock: `visit` may do with the store what it likes.
        let keys = Arc::clone(&self.content().keys);
        for ((_, key), value) in keys.range((Bound::Included((space, from.to_vec())), end)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
        Ok(Box::new(self.fork()))
    }
}

impl Cold for MemCold {
    fn write(&mut self, batch: Batch, position: Position) -> Result<(), ColdError> {
        if let Some(change) = batch.changes.iter().find(|change| change.key.len() > KEY_LEN_MAX) {
            return Err(ColdError::KeyTooLong { space: change.space, len: change.key.len() });
        }
        let mut content = self.content();
        let fault = content.fault.take();
        if fault == Some(MemFault::BeforeWrite) {
            return Err(ColdError::Injected);
        }
        let keys = Arc::make_mut(&mut content.keys);
        for change in batch.changes {
            match change.value {
                Some(value) => keys.insert((change.space, change.key), value),
                None => keys.remove(&(change.space, change.key)),
            };
        }
        content.position = Some(position);
        if fault == Some(MemFault::AfterWrite) { Err(ColdError::Injected) } else { Ok(()) }
    }

    fn position(&self) -> Option<Position> {
        self.content().position
    }

    fn reader(&self) -> Arc<dyn ColdRead> {
        Arc::new(self.clone())
    }
}
