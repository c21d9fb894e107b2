//! Limits of a durable session's queue by messages, bytes and age, and what happens where it is full (docs/guarantees.md).

use alloc::sync::Arc;

use columba_proto::{QoS, ReasonCode, Time};

use super::{
    Shard,
    handing_on::{Publication, Source},
};
use crate::{
    connection::Ending,
    durable::Record,
    event::DropReason,
    id::SessionNo,
    limits::QueueFull,
    route::{Route, Turn},
    seam::{Cx, Delivery},
    session::queue::{Front, Stock},
    timers::Timer,
};

impl Shard {
    /// When a message that came with this Message Expiry Interval is not delivered any more.
    pub(super) fn expires(&self, cx: &Cx<'_>, message_expiry_s: Option<u32>) -> Option<Time> {
        let own = message_expiry_s.map(|seconds| cx.now.plus_secs(u64::from(seconds)));
        let ours = self.config.queue_age_ms.map(|age| cx.now.plus_ms(age));
        own.into_iter().chain(ours).min()
    }

    /// Whether a publication must be rejected because it has a target without room.
    pub(super) fn is_beyond_a_limit(&self, source: Source, route: &Arc<Route>, publication: &Publication<'_>) -> bool {
        if self.config.queue_full != QueueFull::Reject || !self.config.limits_queues() {
            return false;
        }
        let audience = route.audience(source.publisher, publication.qos, publication.retain, Turn::Look);
        audience.any(|receiver| receiver.qos > QoS::AtMostOnce && receiver.session.presence.is_at_limit())
    }

    /// Whether there is room for one more message in a queue, or what has room is decided later; `false`: it was dropped.
    pub(super) fn makes_room(&mut self, cx: &Cx<'_>, slot: u32, delivery: &Delivery) -> bool {
        let session = &self.sessions[slot as usize];
        if self.config.queue_full != QueueFull::DropNewest || !self.is_at_limit(session.queue.stock()) {
            return true;
        }
        self.drop_queued(cx, session.no, slot, delivery);
        false
    }

    /// A message has come into a queue, or the front of it is in memory now.
    pub(super) fn keep_limit(&mut self, cx: &Cx<'_>, slot: u32) {
        match self.config.queue_full {
            QueueFull::Reject | QueueFull::DropNewest => {}
            QueueFull::DropOldest => self.drop_oldest(cx, slot),
            QueueFull::Disconnect => {
                let Some(session) = self.sessions.get(slot as usize) else { return };
                if session.recorded && self.is_beyond_limit(session.queue.stock()) {
                    // Not here, in the middle of a publication.
                    self.timers.set(cx.now, Timer::BeyondLimit(slot, session.no));
                }
            }
        }
        self.note_limit(slot);
    }

    /// Tells publishers whether a queue has room.
    pub(super) fn note_limit(&mut self, slot: u32) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        if session.recorded && self.config.limits_queues() {
            session.set_at_limit(self.is_at_limit(session.queue.stock()));
        }
    }

    pub(super) fn end_beyond_limit(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        let Some(session) = self.sessions.get(slot as usize).filter(|session| session.no == no) else { return };
        if !self.is_beyond_limit(session.queue.stock()) {
            return;
        }
        let (client_id, lost) = (Arc::clone(&session.client_id), session.queue.stock().messages);
        if let Some(id) = session.connection() {
            let ending = Ending { reason: ReasonCode::QUOTA_EXCEEDED, is_normal: false, is_ours: true };
            self.end(cx, id, ending, "its queue is full, and its session ends for that");
        }
        self.count_drop(cx, client_id, DropReason::QueueFull, lost);
        if self.sessions.get(slot as usize).is_some_and(|session| session.no == no) {
            self.delete_session(cx, slot);
        }
    }

    fn drop_oldest(&mut self, cx: &Cx<'_>, slot: u32) {
        loop {
            let Some(session) = self.sessions.get_mut(slot as usize) else { return };
            if !session.recorded || !exceeds(session.queue.stock(), self.config.queue_messages_max, self.config.queue_bytes_max) {
                return;
            }
            match session.queue.front() {
                Front::Ready => {
                    let Some(delivery) = session.queue.pop() else { return };
                    let no = session.no;
                    self.drop_queued(cx, no, slot, &delivery);
                }
                Front::Load(after) => {
                    let no = session.no;
                    self.load(no, after);
                    return;
                }
                Front::Loading | Front::Empty => return,
            }
        }
    }

    fn drop_queued(&mut self, cx: &Cx<'_>, no: SessionNo, slot: u32, delivery: &Delivery) {
        self.record(&Record::Dropped { session: no, message: delivery.id });
        let client_id = Arc::clone(&self.sessions[slot as usize].client_id);
        self.lay_aside(no, &client_id, delivery);
        self.dropped(cx, slot as usize, DropReason::QueueFull);
    }

    pub(super) fn is_at_limit(&self, stock: Stock) -> bool {
        stock.messages >= self.config.queue_messages_max || stock.bytes >= self.config.queue_bytes_max
    }

    fn is_beyond_limit(&self, stock: Stock) -> bool {
        exceeds(stock, self.config.queue_messages_max, self.config.queue_bytes_max)
    }
}

/// Whether a stock is more than these bounds.
pub(super) fn exceeds(stock: Stock, messages_max: u64, bytes_max: u64) -> bool {
    stock.messages > messages_max || stock.bytes > bytes_max
}
