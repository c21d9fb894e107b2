//! What waits for a session, in the order in which it will be shown.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    vec::Vec,
};

use super::ColdSnapshot;
use crate::{id::MessageId, message::Message, seam::Delivery};

/// The queue of one session: messages not sent yet, sorted by [`MessageId`].
///
/// Of a long queue only the front is in memory, and what the cold store does not have yet. The part in between comes back in windows; what is in memory behind it
/// has to wait until then.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    hot: VecDeque<Delivery>,
    /// What the messages in memory stand for, in bytes.
    bytes: usize,
    /// What waits, in memory or not.
    stock: Stock,
    /// The highest message that has left the queue at the front. What the cold store has up to here is not to be queued again.
    popped_to: MessageId,
    /// Whether the shard has it on its list of queues with a part that can go.
    pub(crate) is_listed: bool,
    cold: Option<Box<Cold>>,
    /// Messages that came late, from another session: not in the cold store before everything up to the second identity is.
    late: BTreeMap<MessageId, MessageId>,
}

/// How much waits for a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stock {
    /// Messages.
    pub messages: u64,
    /// Bytes of their topics, properties and payloads.
    pub bytes: u64,
}

impl Stock {
    /// One message more.
    pub fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.content_len() as u64;
    }

    /// One message less. After a start it knows only those in memory, unless queues have limits.
    fn sub(&mut self, message: &Message) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(message.content_len() as u64);
    }
}

/// The part that is only in the cold store: what stands there above `read_to`, up to `up_to`.
#[derive(Debug)]
struct Cold {
    /// Everything up to here has been read, or is in memory.
    read_to: MessageId,
    /// What stands there and is not to be queued: settled since the last checkpoint, in flight, or in memory already.
    skip: BTreeSet<MessageId>,
    /// What stands in the store above this is in memory.
    up_to: MessageId,
    /// A window has been asked for; what stood at `up_to` then.
    asked: Option<MessageId>,
    /// What came for this part from other sessions, as long as the store does not have it for certain.
    arrivals: BTreeMap<MessageId, Arrival>,
}

/// A message that another session had before.
#[derive(Debug)]
struct Arrival {
    delivery: Delivery,
    /// The store has it when it has everything up to here.
    recorded: MessageId,
}

/// What stands at the front.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Front {
    /// A message that can be sent.
    Ready,
    /// The cold store has to be read first, above this message; told once per window.
    Load(MessageId),
    /// A window is on its way.
    Loading,
    /// Nothing waits.
    Empty,
}

/// What of a long queue stays in memory, at its front.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HotWindow {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What a recovery knows of the cold part of a queue.
#[derive(Debug)]
pub(crate) struct ColdPart {
    /// What stands there and is not to be queued.
    pub(crate) skip: BTreeSet<MessageId>,
    /// The newest message that can come from there.
    pub(crate) up_to: MessageId,
}

impl Queue {
    /// The queue as recovered, of a session that has these messages in flight.
    pub(crate) fn recovered(hot: Vec<Delivery>, cold: Option<ColdPart>, in_flight: &[MessageId]) -> Self {
        let cold = cold.map(|ColdPart { mut skip, up_to }| {
            // The next checkpoint takes them into the store.
            skip.extend(in_flight);
            Box::new(Cold { read_to: MessageId(0), skip, up_to, asked: None, arrivals: BTreeMap::new() })
        });
        let bytes = hot.iter().map(|delivery| delivery.message.size()).sum();
        let popped_to = in_flight.iter().copied().max().unwrap_or_default();
        let mut stock = Stock::default();
        for delivery in &hot {
            stock.add(&delivery.message);
        }
        Self { hot: hot.into(), bytes, stock, popped_to, is_listed: false, cold, late: BTreeMap::new() }
    }

    /// Messages in memory.
    pub(crate) fn len(&self) -> usize {
        self.hot.len() + self.cold.as_ref().map_or(0, |cold| cold.arrivals.len())
    }

    /// Whether nothing waits, in memory or not.
    pub(crate) fn is_drained(&self) -> bool {
        self.hot.is_empty() && self.cold.is_none()
    }

    /// Whether it holds less than a share of these bounds; the bytes of a message count for each of its readers.
    pub(crate) fn is_within(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.hot.len() < messages_max && self.bytes < bytes_max
    }

    pub(crate) fn cold_snapshot(&self) -> Option<ColdSnapshot> {
        self.cold.as_ref().map(|cold| ColdSnapshot { above: cold.read_to, up_to: cold.up_to, skip: cold.skip.clone() })
    }

    /// What waits, in memory or not; after a start only what is in memory, unless it was measured.
    pub(crate) fn stock(&self) -> Stock {
        self.stock
    }

    pub(crate) fn set_stock(&mut self, stock: Stock) {
        self.stock = stock;
    }

    /// Puts a message into its place: at the back, but for one that another shard accepted a moment ago.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        let mut stock = self.stock;
        stock.add(&delivery.message);
        if self.insert(delivery) {
            self.stock = stock;
        }
    }

    /// `false`: it stood there already.
    fn insert(&mut self, delivery: Delivery) -> bool {
        self.bytes += delivery.message.size();
        match self.hot.back() {
            Some(last) if last.id >= delivery.id => {
                let place = self.hot.partition_point(|queued| queued.id < delivery.id);
                match self.hot.get_mut(place) {
                    // One publication stands here at most once, whoever it comes from.
                    Some(known) if known.id == delivery.id => {
                        self.bytes -= delivery.message.size();
                        known.join(delivery);
                        known.claim.count_joined();
                        return false;
                    }
                    Some(_) | None => self.hot.insert(place, delivery),
                }
            }
            _ => self.hot.push_back(delivery),
        }
        true
    }

    /// Whether the message stands here, in memory.
    pub(crate) fn holds(&self, id: MessageId) -> bool {
        self.hot.binary_search_by_key(&id, |queued| queued.id).is_ok()
    }

    /// Puts a message into its place that another session had before. The record of that is in the cold store when everything up to `recorded` is.
    pub(crate) fn push_late(&mut self, delivery: Delivery, recorded: MessageId) {
        if let Some(cold) = self.cold.as_mut().filter(|cold| cold.read_to < delivery.id && delivery.id <= cold.up_to) {
            // It may stand in the store by itself, or come there with the next checkpoint.
            match cold.arrivals.entry(delivery.id) {
                Entry::Occupied(mut known) => known.get_mut().join(delivery, recorded),
                Entry::Vacant(new) => {
                    self.stock.add(&delivery.message);
                    new.insert(Arrival { delivery, recorded });
                }
            }
            return;
        }
        self.late.insert(delivery.id, recorded);
        self.push(delivery);
    }

    /// Forgets the messages in memory that no group has a claim on; the answer is how many.
    pub(crate) fn keep_claimed(&mut self) -> usize {
        let before = self.hot.len();
        self.hot.retain(|queued| !queued.claim.is_none());
        self.bytes = self.hot.iter().map(|queued| queued.message.size()).sum();
        before - self.hot.len()
    }

    pub(crate) fn front(&mut self) -> Front {
        match (&mut self.cold, self.hot.front()) {
            (None, Some(_)) => Front::Ready,
            (None, None) => Front::Empty,
            (Some(cold), Some(first)) if first.id <= cold.read_to => Front::Ready,
            (Some(cold), _) if cold.asked.is_some() => Front::Loading,
            (Some(cold), _) => Front::Load(cold.ask()),
        }
    }

    /// Where the next window begins, if it is time to ask for it: before the last one has been sent.
    pub(crate) fn read_ahead(&mut self) -> Option<MessageId> {
        let cold = self.cold.as_mut().filter(|cold| cold.asked.is_none())?;
        let is_short = self.hot.get(READ_AHEAD).is_none_or(|delivery| delivery.id > cold.read_to);
        is_short.then(|| cold.ask())
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.hot.pop_front()?;
        self.bytes -= delivery.message.size();
        self.stock.sub(&delivery.message);
        self.popped_to = self.popped_to.max(delivery.id);
        if !self.late.is_empty() {
            self.late.remove(&delivery.id);
        }
        if self.hot.is_empty() && self.hot.capacity() > IDLE_CAPACITY {
            self.hot = VecDeque::new();
        }
        Some(delivery)
    }

    /// A window of the cold part has come.
    pub(crate) fn loaded(&mut self, entries: Vec<Delivery>, last: bool) {
        let Some(cold) = &mut self.cold else { return };
        let Some(asked) = cold.asked.take() else { return };
        // What stands above came there, and left memory, after the question: perhaps after the answer too.
        let newest = if last { asked } else { entries.last().map_or(asked, |newest| newest.id.min(asked)) };
        let fresh: Vec<_> = entries.into_iter().filter(|entry| entry.id <= asked && !cold.skip.contains(&entry.id)).collect();
        cold.read_to = cold.read_to.max(newest);
        let behind = cold.arrivals.split_off(&MessageId(cold.read_to.0.saturating_add(1)));
        let arrivals = core::mem::replace(&mut cold.arrivals, behind);
        cold.skip = cold.skip.split_off(&MessageId(cold.read_to.0.saturating_add(1)));
        if cold.read_to >= cold.up_to {
            self.cold = None;
        }
        for delivery in fresh {
            let _is_new = self.insert(delivery);
        }
        for Arrival { delivery, recorded } in arrivals.into_values() {
            self.late.insert(delivery.id, recorded);
            let _is_new = self.insert(delivery);
        }
    }

    /// Everything recorded up to `stored` is in the cold store: behind the window at the front it goes from memory. The queue must be one whose messages are all
    /// recorded.
    ///
    /// The answer is whether more of it can go later.
    pub(crate) fn evict(&mut self, stored: MessageId, keep: HotWindow) -> bool {
        // A window on its way may have been read before.
        if let Some(cold) = self.cold.as_mut().filter(|cold| cold.asked.is_none()) {
            let Cold { arrivals, skip, .. } = &mut **cold;
            arrivals.retain(|id, arrival| {
                let stays = arrival.recorded >= stored;
                if !stays {
                    // What stands in the store is this one, and no more what left the queue before.
                    skip.remove(id);
                }
                stays
            });
        }
        let kept_to = match &self.cold {
            Some(cold) => cold.up_to,
            // What has left at the front may still stand in the store, and must not come back from there.
            None => self.popped_to.max(self.window_end(keep)),
        };
        let first = self.hot.partition_point(|queued| queued.id <= kept_to);
        let end = self.hot.partition_point(|queued| queued.id <= stored);
        if first >= end {
            return end < self.len();
        }
        let mut stays = VecDeque::new();
        let mut up_to = kept_to;
        let mut behind = self.hot.split_off(end);
        for delivery in self.hot.drain(first..) {
            up_to = delivery.id;
            if self.late.get(&delivery.id).is_some_and(|recorded| *recorded >= stored) {
                stays.push_back(delivery);
            } else {
                self.bytes -= delivery.message.size();
            }
        }
        let cold = self.cold.get_or_insert_with(|| {
            Box::new(Cold { read_to: kept_to, skip: BTreeSet::new(), up_to, asked: None, arrivals: BTreeMap::new() })
        });
        cold.up_to = up_to;
        cold.skip.extend(stays.iter().map(|delivery| delivery.id));
        self.hot.append(&mut stays);
        self.hot.append(&mut behind);
        self.hot.shrink_to(self.hot.len().next_power_of_two());
        self.late.retain(|_, recorded| *recorded >= stored);
        self.len() > 0
    }

    /// The last message of the window at the front.
    fn window_end(&self, keep: HotWindow) -> MessageId {
        let mut bytes = 0;
        let kept = self.hot.iter().take(keep.messages).take_while(|delivery| {
            bytes += delivery.message.size();
            bytes <= keep.bytes
        });
        kept.last().map_or(MessageId(0), |delivery| delivery.id)
    }

    /// Gives back the memory that a long queue needed.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.hot.shrink_to_fit();
    }

    /// All messages in memory, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.hot.iter()
    }
}

impl Arrival {
    fn join(&mut self, delivery: Delivery, recorded: MessageId) {
        self.delivery.join(delivery);
        self.delivery.claim.count_joined();
        self.recorded = recorded;
    }
}

impl Cold {
    /// A window is asked for, above the answer.
    fn ask(&mut self) -> MessageId {
        self.asked = Some(self.up_to);
        self.read_to
    }
}

/// Messages left of one window when the next one is asked for.
const READ_AHEAD: usize = 32;

/// Entries that an empty queue keeps allocated.
const IDLE_CAPACITY: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::{sync::Arc, vec};

    use columba_proto::QoS;

    use super::*;
    use crate::{message::Message, route::Claim, seam::SubscriptionIds};

    fn delivery(id: u64) -> Delivery {
        let message = Arc::new(Message::new("t".into(), QoS::AtLeastOnce, false, None, &[], &[]));
        Delivery {
            id: MessageId(id),
            message,
            qos: QoS::AtLeastOnce,
            retain: false,
            claim: Claim::default(),
            ids: SubscriptionIds::default(),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a recovery gives it")]
    fn cold<const N: usize>(skip: [u64; N], up_to: u64) -> Option<ColdPart> {
        Some(ColdPart { skip: skip.map(MessageId).into(), up_to: MessageId(up_to) })
    }

    fn filled(ids: impl IntoIterator<Item = u64>) -> Queue {
        let mut queue = Queue::default();
        ids.into_iter().for_each(|id| queue.push(delivery(id)));
        queue
    }

    fn window(messages: usize) -> HotWindow {
        HotWindow { messages, bytes: usize::MAX }
    }

    /// Everything that comes out, with the cold store as it is asked.
    fn drain(queue: &mut Queue, store: &[u64], at_once: usize) -> Vec<u64> {
        let mut out = Vec::new();
        loop {
            match queue.front() {
                Front::Ready => out.push(queue.pop().unwrap().id.0),
                Front::Load(after) => {
                    let window: Vec<_> = store.iter().copied().filter(|id| *id > after.0).take(at_once + 1).collect();
                    let last = window.len() <= at_once;
                    queue.loaded(window.into_iter().take(at_once).map(delivery).collect(), last);
                }
                Front::Loading => panic!("nobody has asked"),
                Front::Empty => return out,
            }
        }
    }

    fn ids(queue: &mut Queue) -> Vec<u64> {
        let mut ids = Vec::new();
        while queue.front() == Front::Ready {
            ids.push(queue.pop().expect("something is ready").id.0);
        }
        ids
    }

    #[test]
    fn a_message_that_comes_again_from_another_session_is_read_from_the_store_though_it_had_left() {
        let mut queue = Queue::recovered(Vec::new(), cold([2], 3), &[]);

        queue.push_late(delivery(2), MessageId(7));
        queue.evict(MessageId(8), window(0));

        assert_eq!(drain(&mut queue, &[1, 2, 3], 2), [1, 2, 3]);
    }

    #[test]
    fn a_late_arrival_from_another_shard_takes_its_place() {
        let mut queue = Queue::default();
        for id in [1, 4, 2, 3] {
            queue.push(delivery(id));
        }

        assert_eq!(ids(&mut queue), [1, 2, 3, 4]);
    }

    #[test]
    fn the_cold_part_comes_before_what_is_in_memory_and_skips_what_was_settled() {
        let mut queue = Queue::recovered(vec![delivery(9)], cold([2], 8), &[]);

        assert_eq!(queue.front(), Front::Load(MessageId(0)));
        assert_eq!(queue.front(), Front::Loading);
        queue.loaded(vec![delivery(1), delivery(2), delivery(3)], false);
        assert_eq!(ids(&mut queue), [1, 3]);
        assert_eq!(queue.front(), Front::Loading);
    }

    #[test]
    fn what_a_later_checkpoint_put_into_the_store_is_in_memory_already() {
        let mut queue = Queue::recovered(vec![delivery(9)], cold([], 8), &[]);
        assert_eq!(queue.front(), Front::Load(MessageId(0)));

        queue.loaded(vec![delivery(1), delivery(9), delivery(10)], false);

        assert_eq!(ids(&mut queue), [1, 9]);
        assert_eq!(queue.front(), Front::Empty);
    }

    #[test]
    fn behind_the_last_window_memory_goes_on() {
        let mut queue = Queue::recovered(vec![delivery(9)], cold([], 8), &[]);
        assert_eq!(queue.front(), Front::Load(MessageId(0)));

        queue.loaded(vec![delivery(1)], true);

        assert_eq!(ids(&mut queue), [1, 9]);
        assert_eq!(queue.front(), Front::Empty);
    }

    #[test]
    fn what_the_store_has_goes_from_memory_and_comes_back_in_order() {
        let mut queue = filled(1..=20);

        assert!(queue.evict(MessageId(15), window(3)), "the rest can go later");

        assert_eq!(queue.iter().map(|delivery| delivery.id.0).collect::<Vec<_>>(), [1, 2, 3, 16, 17, 18, 19, 20]);
        assert_eq!(drain(&mut queue, &(1..=15).collect::<Vec<_>>(), 4), (1..=20).collect::<Vec<_>>());
        assert!(queue.cold_snapshot().is_none());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn what_was_sent_does_not_come_back_from_the_store() {
        let mut queue = filled(1..=20);
        for _ in 0..5 {
            queue.pop().unwrap();
        }

        queue.evict(MessageId(20), HotWindow::default());

        assert_eq!(queue.len(), 0);
        assert_eq!(drain(&mut queue, &(1..=20).collect::<Vec<_>>(), 4), (6..=20).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_in_flight_at_a_restart_does_not_come_back_from_the_store() {
        let mut queue = Queue::recovered((13..=20).map(delivery).collect(), cold([], 10), &[MessageId(11), MessageId(12)]);

        queue.evict(MessageId(20), HotWindow::default());

        let store: Vec<_> = (9..=20).collect();
        assert_eq!(drain(&mut queue, &store, 4), [9, 10, 13, 14, 15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn an_answer_says_nothing_about_what_left_memory_after_the_question() {
        let mut queue = filled(1..=10);
        queue.evict(MessageId(5), HotWindow::default());
        assert_eq!(queue.front(), Front::Load(MessageId(0)));
        queue.evict(MessageId(10), HotWindow::default());

        // Read before the second checkpoint.
        queue.loaded((1..=5).map(delivery).collect(), true);

        assert_eq!(drain(&mut queue, &(1..=10).collect::<Vec<_>>(), 100), (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn a_late_message_stays_until_its_own_record_is_in_the_store() {
        let mut queue = filled([10, 20, 30]);
        queue.push_late(delivery(15), MessageId(35));
        queue.evict(MessageId(32), HotWindow::default());
        assert_eq!(queue.iter().map(|delivery| delivery.id.0).collect::<Vec<_>>(), [15]);

        // A later checkpoint takes it into the store while it still stands in memory.
        assert_eq!(drain(&mut queue, &[10, 15, 20, 30], 2), [10, 15, 20, 30]);

        let mut queue = filled([10, 20, 30]);
        queue.push_late(delivery(15), MessageId(35));
        queue.evict(MessageId(36), HotWindow::default());
        assert_eq!(queue.len(), 0);
        assert_eq!(drain(&mut queue, &[10, 15, 20, 30], 2), [10, 15, 20, 30]);
    }

    #[test]
    fn a_late_message_for_the_cold_part_stays_until_its_own_record_is_in_the_store_too() {
        let mut queue = filled([10, 20, 30]);
        queue.evict(MessageId(30), HotWindow::default());
        queue.push_late(delivery(15), MessageId(35));
        queue.push_late(delivery(20), MessageId(35));
        queue.push_late(delivery(40), MessageId(45));
        assert_eq!(queue.front(), Front::Load(MessageId(0)));

        queue.loaded([10, 20, 30].map(delivery).into(), true);
        queue.evict(MessageId(34), HotWindow::default());

        assert_eq!(queue.iter().map(|delivery| delivery.id.0).collect::<Vec<_>>(), [15, 20, 40]);
        assert_eq!(drain(&mut queue, &[10, 15, 20, 30, 40], 2), [10, 15, 20, 30, 40]);
    }

    #[test]
    fn the_next_window_is_asked_for_before_the_last_one_is_used_up() {
        let mut queue = filled(1..=100);
        queue.evict(MessageId(100), window(READ_AHEAD + 1));
        assert_eq!(queue.read_ahead(), None);

        queue.pop().unwrap();

        assert_eq!(queue.read_ahead(), Some(MessageId(33)));
        assert_eq!(queue.read_ahead(), None);
    }

    #[test]
    fn whatever_goes_comes_back_once_and_in_order() {
        use crate::testing::Rng;
        for seed in 0..2_000 {
            let mut rng = Rng::new(seed);
            let mut queue = Queue::default();
            let (mut store, mut out, mut next) = (Vec::new(), Vec::new(), 1);
            let mut question: Option<(MessageId, Vec<u64>)> = None;
            for _ in 0..200 {
                match rng.below(6) {
                    0..=1 => {
                        queue.push(delivery(next));
                        next += 1;
                    }
                    2 => {
                        // A checkpoint: some of what has left is not settled in it.
                        let left_to = out.len() - rng.below(out.len() + 1);
                        store = (1..next).filter(|id| !out[..left_to].contains(id)).collect();
                        queue.evict(MessageId(next - 1), window(rng.below(4)));
                    }
                    3 if question.is_some() => {
                        let (after, seen) = question.take().unwrap();
                        let at_once = 1 + rng.below(4);
                        let behind: Vec<_> = seen.into_iter().filter(|id| *id > after.0).collect();
                        let last = behind.len() <= at_once;
                        queue.loaded(behind.into_iter().take(at_once).map(delivery).collect(), last);
                    }
                    3 => {
                        if let Some(after) = queue.read_ahead() {
                            question = Some((after, store.clone()));
                        }
                    }
                    _ => match queue.front() {
                        Front::Ready => out.push(queue.pop().unwrap().id.0),
                        Front::Load(after) => question = Some((after, store.clone())),
                        Front::Loading | Front::Empty => {}
                    },
                }
            }
            if let Some((after, seen)) = question {
                queue.loaded(seen.into_iter().filter(|id| *id > after.0).map(delivery).collect(), true);
            }
            out.extend(drain(&mut queue, &store, 3));
            assert!(out.iter().copied().eq(1..next), "seed {seed}: {out:?}");
        }
    }
}
