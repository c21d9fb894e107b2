//! The levels of all filters, each text held once and counted.

use alloc::boxed::Box;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use slab::Slab;

/// Names the text of a level; equal texts have equal names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LevelId(pub(super) u32);

/// Level texts that filters use. One that no filter uses any more is forgotten.
#[derive(Debug)]
pub(super) struct Levels {
    hasher: FixedState,
    table: HashTable<u32>,
    slots: Slab<Level>,
}

#[derive(Debug)]
struct Level {
    text: Box<str>,
    uses: u32,
}

impl Levels {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { hasher, table: HashTable::new(), slots: Slab::new() }
    }

    /// `None`: no filter has such a level.
    pub(super) fn find(&self, text: &str) -> Option<LevelId> {
        let hash = self.hasher.hash_one(text);
        self.table.find(hash, |&at| &*self.slots[at as usize].text == text).map(|&at| LevelId(at))
    }

    /// Counts one more use.
    pub(super) fn acquire(&mut self, text: &str) -> LevelId {
        if let Some(id) = self.find(text) {
            self.slots[id.0 as usize].uses += 1;
            return id;
        }
        let at =
            u32::try_from(self.slots.insert(Level { text: text.into(), uses: 1 })).expect("memory ends before 2^32 level texts");
        let Self { hasher, table, slots } = self;
        table.insert_unique(hasher.hash_one(text), at, |&at| hasher.hash_one(&*slots[at as usize].text));
        LevelId(at)
    }

    /// Counts one use less.
    pub(super) fn release(&mut self, id: LevelId) {
        let level = &mut self.slots[id.0 as usize];
        level.uses -= 1;
        if level.uses > 0 {
            return;
        }
        let level = self.slots.remove(id.0 as usize);
        let hash = self.hasher.hash_one(&*level.text);
        if let Ok(entry) = self.table.find_entry(hash, |&at| at == id.0) {
            entry.remove();
        }
        if self.slots.is_empty() {
            *self = Self::new(self.hasher.clone());
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
