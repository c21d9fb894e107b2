//! Ordered keys and values, as the cold store holds them.

use std::{collections::BTreeMap, ops::ControlFlow};

use columba_broker::durable::{ColdError, ColdRead, KeyChange, Visit};

/// A cold store in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Keys {
    pub(super) fn put(&mut self, space: u8, key: &[u8], value: &[u8]) {
        self.0.insert((space, key.to_vec()), value.to_vec());
    }

    pub(super) fn write(&mut self, changes: Vec<KeyChange>) {
        for KeyChange { space, key, value } in changes {
            match value {
                Some(value) => drop(self.0.insert((space, key), value)),
                None => drop(self.0.remove(&(space, key))),
            }
        }
    }
}

impl ColdRead for Keys {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        for ((at, key), value) in self.0.range((space, from.to_vec())..) {
            if *at != space || to.is_some_and(|to| key.as_slice() >= to) {
                break;
            }
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
