//! Queues longer than memory should hold: what the cold store has goes, windows of it come back, and publishers wait where it falls behind
//! (docs/adr/0017).

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use super::Shard;
use crate::{
    id::{MessageId, SessionNo},
    limits::REFERENCE_BYTES,
    message::Message,
    retained::Kept,
    seam::{Cx, Delivery, Loaded, LoadedRetained, Output},
    session::queue::HotWindow,
};

impl Shard {
    /// Every publication up to this one is in the cold store with all its targets, or has left their queues, and has been given to this shard. What of it is queued
    /// behind the front of a session goes from memory.
    pub fn stored(&mut self, up_to: MessageId) {
        self.backlog.stored(up_to);
        self.evict_groups(up_to);
        for slot in core::mem::take(&mut self.long_queues) {
            let Some(session) = self.sessions.get_mut(slot as usize) else { continue };
            if !core::mem::take(&mut session.queue.is_listed) {
                continue;
            }
            let keep = match session.connection() {
                Some(_) => HotWindow { messages: self.config.hot_messages, bytes: self.config.hot_bytes },
                None => HotWindow::default(),
            };
            if session.queue.evict(up_to, keep) {
                session.queue.is_listed = true;
                self.long_queues.push(slot);
            }
        }
    }

    /// About the bytes that came into queues, stayed there, and are not in the cold store. The world slows publishers down where that is too much.
    pub fn backlog(&self) -> usize {
        self.backlog.bytes()
    }

    /// Every publication below this one has been given to all its targets on this shard and to the world: `None` where none is being held.
    pub fn holds_from(&self) -> Option<MessageId> {
        self.deferred.front().map(|deferred| deferred.id)
    }

    /// Whether records of this shard have not been [cut](Self::cut) yet.
    pub fn has_records(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Memory has more messages of queues than is good, or has room again: until then nothing more is read from clients whose publications went into
    /// queues.
    pub fn hold_back(&mut self, cx: &Cx<'_>, holds_back: bool) {
        if core::mem::replace(&mut self.holds_back, holds_back) == holds_back {
            return;
        }
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.check_reading(cx, id);
        }
    }

    /// Retained messages came from the cold store.
    pub fn retained_loaded(&mut self, cx: &Cx<'_>, loaded: LoadedRetained) {
        let Some(&slot) = self.by_number.get(&loaded.session) else { return };
        let rare = self.sessions[slot as usize].rare();
        rare.loads_retained = false;
        rare.loaded_retained = loaded.messages.into_iter().collect();
        self.pump(cx, slot);
        self.end_call(cx);
    }

    /// Asks for retained messages, unless some are on their way.
    pub(super) fn load_retained(&mut self, slot: u32, topics: Vec<Arc<str>>) {
        let session = &mut self.sessions[slot as usize];
        if !core::mem::replace(&mut session.rare().loads_retained, true) {
            self.outputs.push_back(Output::LoadRetained { session: session.no, topics });
        }
    }

    /// A version of a retained message, from memory or from what was loaded.
    pub(super) fn retained_message(&mut self, slot: u32, topic: &str, version: MessageId, kept: &Kept) -> Found {
        if let Kept::Here(message) = kept {
            return Found::Here(Arc::clone(message));
        }
        let Some(rare) = &mut self.sessions[slot as usize].rare else { return Found::Cold };
        match rare.loaded_retained.remove(topic) {
            Some(Some((found, message))) if found == version => Found::Here(message),
            // A younger version has come, and gone from memory, since it was read.
            Some(Some(_)) | None => Found::Cold,
            // The world has told that it is missing.
            Some(None) => Found::Nowhere,
        }
    }

    /// A window of a session's queue came from the cold store.
    pub fn loaded(&mut self, cx: &Cx<'_>, loaded: Loaded) {
        let Loaded { session: no, entries, last } = loaded;
        if let Some(&slot) = self.by_number.get(&no) {
            self.sessions[slot as usize].queue.loaded(entries, last);
            self.purge_on(cx, slot, no);
            if self.config.limits_queues() {
                self.keep_limit(cx, slot);
            }
            self.pump(cx, slot);
        } else if let Some(group) = self.groups.get_mut(&no) {
            group.queue.loaded(entries, last);
            self.serve_soon(no);
        }
        self.end_call(cx);
    }

    /// Asks for the next window of a queue, above `after`.
    pub(super) fn load(&mut self, session: SessionNo, after: MessageId) {
        self.outputs.push_back(Output::Load { session, after, count: self.config.cold_window });
    }

    /// A delivery has just been put into the queue of a recorded session that had `before` messages, and the queue was pumped.
    pub(super) fn note_queued(&mut self, slot: u32, before: usize, id: MessageId, bytes: usize) {
        let session = &mut self.sessions[slot as usize];
        let len = session.queue.len();
        if len <= before {
            return;
        }
        self.backlog.add(id, bytes);
        if !session.queue.is_listed && (session.connection().is_none() || len > self.config.hot_messages) {
            session.queue.is_listed = true;
            self.long_queues.push(slot);
        }
    }

    /// A session is without its client, or came from disk: nothing of its queue has to be in memory.
    pub(super) fn note_detached(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        if session.recorded && session.queue.len() > 0 && !session.queue.is_listed {
            session.queue.is_listed = true;
            self.long_queues.push(slot);
        }
    }
}

/// Where a retained message is.
pub(super) enum Found {
    Here(Arc<Message>),
    /// It has to be read.
    Cold,
    /// It is lost.
    Nowhere,
}

/// What came into queues and stayed there.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Bytes, ever.
    total: usize,
    /// Of them, those up to the last mark that is stored.
    stored: usize,
    /// How many had come with which publication, now and then.
    samples: VecDeque<(MessageId, usize)>,
}

impl Backlog {
    pub(super) fn add(&mut self, id: MessageId, bytes: usize) {
        self.total = self.total.wrapping_add(bytes);
        let before = self.samples.back().map_or(self.stored, |(_, total)| *total);
        if self.total.wrapping_sub(before) >= SAMPLE_BYTES {
            self.samples.push_back((id, self.total));
        }
    }

    fn stored(&mut self, up_to: MessageId) {
        while let Some(&(id, total)) = self.samples.front()
            && id <= up_to
        {
            self.stored = total;
            self.samples.pop_front();
        }
        if self.samples.is_empty() {
            self.stored = self.total;
        }
    }

    fn bytes(&self) -> usize {
        self.total.wrapping_sub(self.stored)
    }
}

/// How exactly a backlog is known.
const SAMPLE_BYTES: usize = 64 * 1024;

/// About the memory that a delivery costs in a queue: its place, and its share of the message.
pub(super) fn cost(delivery: &Delivery) -> usize {
    REFERENCE_BYTES + delivery.message.size() / Arc::strong_count(&delivery.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_what_came_behind_the_mark() {
        let mut backlog = Backlog::default();
        for id in 1..=10 {
            backlog.add(MessageId(id), SAMPLE_BYTES);
        }

        backlog.stored(MessageId(7));
        assert_eq!(backlog.bytes(), 3 * SAMPLE_BYTES);

        backlog.add(MessageId(11), 10);
        backlog.stored(MessageId(11));
        assert_eq!(backlog.bytes(), 0);
    }
}
