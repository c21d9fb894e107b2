//! The broker's keys in the store's cold store: one names what the other keeps.

use columba_broker::durable::{ColdError, ColdRead, KeyChange, Visit};
use columba_store::{Batch, Space};

/// A cold store as the brain's recovery reads it.
#[derive(Clone, Copy)]
pub(crate) struct ColdKeys<'a>(pub(crate) &'a dyn columba_store::ColdRead);

impl ColdRead for ColdKeys<'_> {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        self.0.get(Space(space), key).map_err(refused)
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        self.0.visit(Space(space), from, to, visit).map_err(refused)
    }
}

fn refused(error: columba_store::ColdError) -> ColdError {
    ColdError::Store(Box::new(error))
}

pub(crate) fn batch(changes: Vec<KeyChange>) -> Batch {
    let mut batch = Batch::new();
    for KeyChange { space, key, value } in changes {
        match value {
            Some(value) => batch.put(Space(space), key, value),
            None => batch.remove(Space(space), key),
        }
    }
    batch
}
