//! What waits for a session, in the order in which it will be shown.

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
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
    /// Messages that the journal does not have, as far as anybody has asked: they never go from memory.
    pinned: BTreeSet<MessageId>,
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
            Box::new(Cold { read_to: MessageId(0), skip, up_to, asked: None })
        });
        let bytes = hot.iter().map(|delivery| delivery.message.size()).sum();
        let popped_to = in_flight.iter().copied().max().unwrap_or_default();
        let mut stock = Stock::default();
        for delivery in &hot {
            stock.add(&delivery.message);
        }
        Self { hot: hot.into(), bytes, stock, popped_to, is_listed: false, cold, pinned: BTreeSet::new() }
    }

    /// Messages in memory.
    pub(crate) fn len(&self) -> usize {
        self.hot.len()
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
                        return false;
                    }
                    Some(_) | None => self.hot.insert(place, delivery),
                }
            }
            _ => self.hot.push_back(delivery),
        }
        true
    }

    /// An empty queue that begins now: of what stands in the cold store nothing up to here is its to read.
    pub(crate) fn beginning_behind(last: MessageId) -> Self {
        Self { popped_to: last, ..Self::default() }
    }

    /// A message has gone past the queue: it stands in the store and is in flight.
    pub(crate) fn pass(&mut self, id: MessageId) {
        self.popped_to = self.popped_to.max(id);
        if let Some(cold) = &mut self.cold {
            cold.skip.insert(id);
        }
    }

    /// The message at this place of those at the front that can be had at once.
    pub(crate) fn ready(&self, at: usize) -> Option<&Delivery> {
        let read_to = self.cold.as_ref().map(|cold| cold.read_to);
        self.hot.get(at).filter(|delivery| read_to.is_none_or(|read_to| delivery.id <= read_to))
    }

    /// Takes it. What it has passed stays in memory.
    pub(crate) fn take(&mut self, at: usize) -> Option<Delivery> {
        if at == 0 {
            return self.pop();
        }
        let delivery = self.hot.remove(at)?;
        self.has_left(&delivery);
        Some(delivery)
    }

    /// Keeps in memory what is not in the journal.
    pub(crate) fn pin(&mut self, is_pinned: impl Fn(&Delivery) -> bool) {
        self.pinned = self.hot.iter().filter(|delivery| is_pinned(delivery)).map(|delivery| delivery.id).collect();
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
        self.has_left(&delivery);
        if self.hot.is_empty() && self.hot.capacity() > IDLE_CAPACITY {
            self.hot = VecDeque::new();
        }
        Some(delivery)
    }

    fn has_left(&mut self, delivery: &Delivery) {
        self.bytes -= delivery.message.size();
        self.stock.sub(&delivery.message);
        self.popped_to = self.popped_to.max(delivery.id);
    }

    /// A window of the cold part has come.
    pub(crate) fn loaded(&mut self, entries: Vec<Delivery>, last: bool) {
        let Some(cold) = &mut self.cold else { return };
        let Some(asked) = cold.asked.take() else { return };
        // What stands above came there, and left memory, after the question: perhaps after the answer too.
        let newest = if last { asked } else { entries.last().map_or(asked, |newest| newest.id.min(asked)) };
        let fresh: Vec<_> = entries.into_iter().filter(|entry| entry.id <= asked && !cold.skip.contains(&entry.id)).collect();
        cold.read_to = cold.read_to.max(newest);
        cold.skip = cold.skip.split_off(&MessageId(cold.read_to.0.saturating_add(1)));
        if cold.read_to >= cold.up_to {
            self.cold = None;
        }
        for delivery in fresh {
            let _is_new = self.insert(delivery);
        }
    }

    /// Everything recorded up to `stored` is in the cold store: behind the window at the front it goes from memory. Messages that are not recorded must have been
    /// [pinned](Self::pin).
    ///
    /// The answer is whether more of it can go later.
    pub(crate) fn evict(&mut self, stored: MessageId, keep: HotWindow) -> bool {
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
            if self.pinned.contains(&delivery.id) {
                stays.push_back(delivery);
            } else {
                self.bytes -= delivery.message.size();
            }
        }
        let cold =
            self.cold.get_or_insert_with(|| Box::new(Cold { read_to: kept_to, skip: BTreeSet::new(), up_to, asked: None }));
        cold.up_to = up_to;
        cold.skip.extend(stays.iter().map(|delivery| delivery.id));
        self.hot.append(&mut stays);
        self.hot.append(&mut behind);
        self.hot.shrink_to(self.hot.len().next_power_of_two());
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
    fn what_the_journal_does_not_have_stays_in_memory() {
        let mut queue = filled([10, 15, 20, 30]);
        queue.pin(|delivery| delivery.id == MessageId(15));

        queue.evict(MessageId(30), HotWindow::default());

        assert_eq!(queue.iter().map(|delivery| delivery.id.0).collect::<Vec<_>>(), [15]);
        assert_eq!(drain(&mut queue, &[10, 20, 30], 2), [10, 15, 20, 30]);
    }

    #[test]
    fn what_was_taken_and_comes_back_is_there_once() {
        let mut queue = filled(1..=9);
        let (fourth, first) = (queue.take(3).unwrap(), queue.take(0).unwrap());
        queue.evict(MessageId(9), HotWindow::default());
        assert_eq!(queue.iter().map(|delivery| delivery.id.0).collect::<Vec<_>>(), [2, 3]);

        queue.push(fourth);
        queue.push(first);
        queue.evict(MessageId(9), HotWindow::default());

        assert_eq!(queue.ready(3).map(|delivery| delivery.id.0), Some(4));
        assert_eq!(queue.ready(4), None, "the rest is read in order");
        assert_eq!(drain(&mut queue, &(1..=9).collect::<Vec<_>>(), 2), (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_gone_past_the_queue_is_not_read_from_the_store() {
        let mut queue = filled([10, 20]);
        queue.evict(MessageId(20), HotWindow::default());
        queue.pass(MessageId(30));
        queue.push(delivery(40));
        queue.evict(MessageId(40), HotWindow::default());

        assert_eq!(drain(&mut queue, &[10, 20, 30, 40], 2), [10, 20, 40]);
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
