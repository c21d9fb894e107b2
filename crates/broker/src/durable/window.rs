//! Changes of keys since the last checkpoint; what came and went in between leaves nothing behind.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    vec::Vec,
};

use super::{
    keys::{ColdError, ColdRead, KeyChange, behind_session, message_key, put_queued, queue_key, session_key, space},
    record::TargetRecord,
    wire::put_u64,
};
use crate::id::{MessageId, SessionNo};

/// A payload stands beside each of its references as long as that costs no more than this.
const INLINE_MAX: usize = 4096;

/// About what the end of an entry takes in memory until it is written.
const GONE_BYTES: usize = 64;

/// Room for what stands before the message in most entries of queues.
const TARGET_BYTES: usize = 8;

/// What a checkpoint will write.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Sessions and their parts, by space and key.
    keys: BTreeMap<(u8, Vec<u8>), Slot>,
    /// Entries of queues that this window has put.
    queue: BTreeMap<(SessionNo, MessageId), Reference>,
    /// Entries of the store that this window has taken out, some of them put again.
    gone: BTreeSet<(SessionNo, MessageId)>,
    /// Messages of this window that are in a queue.
    messages: BTreeMap<MessageId, Held>,
    /// How many queues name each of the messages in the cold store, where that changed.
    pub(super) counts: BTreeMap<MessageId, u64>,
    /// Topics whose retained message changed; `None`: cleared.
    pub(super) retained: BTreeMap<Box<str>, (MessageId, Option<Vec<u8>>)>,
    bytes: usize,
}

/// A key that was touched.
#[derive(Debug)]
struct Slot {
    /// The store may have the key too, so its end must be written.
    maybe_cold: bool,
    /// `None`: it goes.
    value: Option<Vec<u8>>,
}

/// An entry of a queue.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) target: TargetRecord,
    pub(super) source: Source,
}

/// Where the message of an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// In this window.
    Window,
    /// In the cold store, with a count of its entries.
    Counted,
    /// In the cold store, beside its only entry.
    Inline,
}

#[derive(Debug)]
struct Held {
    value: Vec<u8>,
    references: usize,
}

/// What a window knows of an entry.
#[derive(Debug)]
pub(super) enum Known {
    Here(Reference),
    Gone,
    /// Ask the store.
    Untouched,
}

impl Window {
    /// About the bytes that a checkpoint will write.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A key as this window leaves it, or as the store has it.
    pub(super) fn get(&self, space: u8, key: Vec<u8>, cold: &dyn ColdRead) -> Result<Option<Vec<u8>>, ColdError> {
        let key = (space, key);
        match self.keys.get(&key) {
            Some(slot) => Ok(slot.value.clone()),
            None => cold.get(space, &key.1),
        }
    }

    pub(super) fn put(&mut self, space: u8, key: Vec<u8>, value: Vec<u8>, maybe_cold: bool) {
        self.bytes += key.len() + value.len();
        self.keys.entry((space, key)).or_insert(Slot { maybe_cold, value: None }).value = Some(value);
    }

    pub(super) fn delete(&mut self, space: u8, key: Vec<u8>, maybe_cold: bool) {
        let key = (space, key);
        if let Some(slot) = self.keys.get_mut(&key) {
            let before = slot.value.take().map_or(0, |value| key.1.len() + value.len());
            self.bytes = self.bytes.saturating_sub(before);
            if !slot.maybe_cold {
                self.keys.remove(&key);
            }
        } else if maybe_cold {
            self.keys.insert(key, Slot { maybe_cold, value: None });
        }
    }

    /// Deletes all keys of a session that this window has put.
    pub(super) fn delete_session(&mut self, session: SessionNo) {
        let mut keys = Vec::new();
        for space in [space::SESSIONS, space::PARTS] {
            let from = (space, session_key(session));
            let to = behind_session(session).map_or((space + 1, Vec::new()), |key| (space, key));
            keys.extend(self.keys.range(from..to).map(|(key, _)| key.clone()));
        }
        for (space, key) in keys {
            self.delete(space, key, false);
        }
        let queue = (session, MessageId(0))..=(session, MessageId(u64::MAX));
        let queued: Vec<_> = self.queue.range(queue).map(|((_, message), _)| *message).collect();
        for message in queued {
            if let Known::Here(entry) = self.unqueue(session, message) {
                self.release(message, entry.source);
            }
        }
    }

    /// Holds a message of this window; `hold` counts one reference.
    pub(super) fn hold(&mut self, message: MessageId, value: impl FnOnce() -> Vec<u8>) {
        let bytes = &mut self.bytes;
        let held = self.messages.entry(message).or_insert_with(|| {
            let value = value();
            *bytes += value.len();
            Held { value, references: 0 }
        });
        held.references += 1;
    }

    /// Counts one reference to a message less. An inline message of the store needs no count.
    pub(super) fn release(&mut self, message: MessageId, source: Source) {
        match source {
            Source::Window => {
                if let Some(held) = self.messages.get_mut(&message) {
                    held.references -= 1;
                    if held.references == 0 {
                        self.bytes = self.bytes.saturating_sub(held.value.len());
                        self.messages.remove(&message);
                    }
                }
            }
            Source::Counted => {
                if let Some(count) = self.counts.get_mut(&message) {
                    *count = count.saturating_sub(1);
                }
            }
            Source::Inline => {}
        }
    }

    /// Puts an entry, the reference to its message already counted. Where it is there already its reference is counted once too often.
    pub(super) fn enqueue(&mut self, session: SessionNo, message: MessageId, entry: Reference) -> Option<Source> {
        match self.queue.entry((session, message)) {
            Entry::Occupied(_) => Some(entry.source),
            Entry::Vacant(place) => {
                place.insert(entry);
                None
            }
        }
    }

    /// Takes an entry out, if it is in this window.
    pub(super) fn unqueue(&mut self, session: SessionNo, message: MessageId) -> Known {
        match self.queue.remove(&(session, message)) {
            Some(entry) => Known::Here(entry),
            None if self.gone.contains(&(session, message)) => Known::Gone,
            None => Known::Untouched,
        }
    }

    /// An entry of the store goes.
    pub(super) fn unqueue_cold(&mut self, session: SessionNo, message: MessageId) {
        if self.gone.insert((session, message)) {
            self.bytes += GONE_BYTES;
        }
    }

    pub(super) fn is_touched(&self, session: SessionNo, message: MessageId) -> bool {
        self.queue.contains_key(&(session, message)) || self.gone.contains(&(session, message))
    }

    /// All changes, and an empty window.
    pub(super) fn take(&mut self) -> Vec<KeyChange> {
        let Self { keys, queue, gone, mut messages, mut counts, retained, bytes: _ } = core::mem::take(self);
        let sizes = [keys.len(), queue.len(), gone.len(), messages.len(), counts.len(), retained.len()];
        let mut changes = Vec::with_capacity(sizes.into_iter().sum());
        let mut change = |space, key, value| changes.push(KeyChange { space, key, value });
        for ((space, key), slot) in keys {
            change(space, key, slot.value);
        }
        for (session, message) in gone {
            if !queue.contains_key(&(session, message)) {
                change(space::QUEUE, queue_key(session, message), None);
            }
        }
        for ((session, message), entry) in queue {
            let held = messages.get(&message).filter(|held| entry.source == Source::Window && held.is_inline());
            let mut value = Vec::with_capacity(held.map_or(0, |held| held.value.len()) + TARGET_BYTES);
            put_queued(&mut value, (&entry.target).into(), held.map(|held| &*held.value));
            if held.is_some_and(|held| held.references == 1) {
                // Its only copy is in the change now.
                messages.remove(&message);
            }
            change(space::QUEUE, queue_key(session, message), Some(value));
        }
        for (message, held) in messages {
            if held.is_inline() {
                continue;
            }
            if let Some(count) = counts.get_mut(&message) {
                // The store has it already, for other queues.
                *count += held.references as u64;
                continue;
            }
            let mut count = Vec::new();
            put_u64(&mut count, held.references as u64);
            change(space::COUNTS, message_key(message), Some(count));
            change(space::MESSAGES, message_key(message), Some(held.value));
        }
        for (message, count) in counts {
            let mut value = Vec::new();
            put_u64(&mut value, count);
            if count == 0 {
                change(space::MESSAGES, message_key(message), None);
            }
            change(space::COUNTS, message_key(message), (count > 0).then_some(value));
        }
        for (topic, (id, value)) in retained {
            let key = Vec::from(topic.as_bytes());
            if value.is_none() {
                let mut cleared = Vec::new();
                put_u64(&mut cleared, id.0);
                change(space::CLEARED, key.clone(), Some(cleared));
            }
            change(space::RETAINED, key, value);
        }
        changes
    }
}

impl Held {
    fn is_inline(&self) -> bool {
        self.references == 1 || self.value.len().saturating_mul(self.references) <= INLINE_MAX
    }
}
