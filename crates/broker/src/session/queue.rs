//! What waits for a session, in the order in which it will be shown.

use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{id::MessageId, seam::Delivery};

/// The queue of one session: messages not sent yet, sorted by [`MessageId`].
///
/// After a restart its older part is in the cold store and comes back in windows; what is in memory behind it has to wait until then.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    hot: VecDeque<Delivery>,
    /// What the messages in memory stand for, in bytes.
    bytes: usize,
    cold: Option<Box<Cold>>,
}

/// The part that is still in the cold store.
#[derive(Debug)]
struct Cold {
    /// Everything up to here has been read.
    read_to: MessageId,
    /// Read, but not to be queued: settled since the last checkpoint, in flight, or in memory already.
    skip: BTreeSet<MessageId>,
    /// What stands in the store above this came there after the restart, from memory.
    up_to: MessageId,
    /// A window has been asked for.
    loading: bool,
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

impl Queue {
    /// The queue as recovered: the messages that the cold store may still hold although they are not to be queued, and the newest that can come from there.
    pub(crate) fn recovered(hot: Vec<Delivery>, cold: Option<(BTreeSet<MessageId>, MessageId)>) -> Self {
        let cold = cold.map(|(skip, up_to)| Box::new(Cold { read_to: MessageId(0), skip, up_to, loading: false }));
        let bytes = hot.iter().map(|delivery| delivery.message.size()).sum();
        Self { hot: hot.into(), bytes, cold }
    }

    /// Messages in memory.
    pub(crate) fn len(&self) -> usize {
        self.hot.len()
    }

    /// Whether it holds less than a share of these bounds; the bytes of a message count for each of its readers.
    pub(crate) fn is_within(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.hot.len() < messages_max && self.bytes < bytes_max
    }

    pub(crate) fn has_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// Puts a message into its place: at the back, but for one that another shard accepted a moment ago.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.bytes += delivery.message.size();
        if let Some(cold) = self.cold.as_mut().filter(|cold| cold.read_to < delivery.id && delivery.id <= cold.up_to) {
            // An old message, moved here from another session: the next checkpoint takes it into the store, where it can meet itself.
            cold.skip.insert(delivery.id);
        }
        match self.hot.back() {
            Some(last) if last.id > delivery.id => {
                let place = self.hot.partition_point(|queued| queued.id < delivery.id);
                self.hot.insert(place, delivery);
            }
            _ => self.hot.push_back(delivery),
        }
    }

    /// Whether a message stands in memory here.
    pub(crate) fn holds(&self, id: MessageId) -> bool {
        self.hot.binary_search_by_key(&id, |queued| queued.id).is_ok()
    }

    pub(crate) fn front(&mut self) -> Front {
        match (&mut self.cold, self.hot.front()) {
            (None, Some(_)) => Front::Ready,
            (None, None) => Front::Empty,
            (Some(cold), Some(first)) if first.id <= cold.read_to => Front::Ready,
            (Some(cold), _) if cold.loading => Front::Loading,
            (Some(cold), _) => {
                cold.loading = true;
                Front::Load(cold.read_to)
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.hot.pop_front()?;
        self.bytes -= delivery.message.size();
        if self.hot.is_empty() && self.hot.capacity() > IDLE_CAPACITY {
            self.hot = VecDeque::new();
        }
        Some(delivery)
    }

    /// A window of the cold part has come.
    pub(crate) fn loaded(&mut self, entries: Vec<Delivery>, last: bool) {
        let Some(cold) = &mut self.cold else { return };
        cold.loading = false;
        if let Some(newest) = entries.last() {
            cold.read_to = newest.id;
        }
        let is_last = last || cold.read_to >= cold.up_to;
        let fresh: Vec<_> = entries.into_iter().filter(|entry| entry.id <= cold.up_to && !cold.skip.remove(&entry.id)).collect();
        if is_last {
            self.cold = None;
        }
        for delivery in fresh {
            self.push(delivery);
        }
    }

    /// All messages in memory, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.hot.iter()
    }
}

/// Entries that an empty queue keeps allocated.
const IDLE_CAPACITY: usize = 64;

#[cfg(test)]
mod tests {
    use alloc::{sync::Arc, vec};

    use columba_proto::QoS;

    use super::*;
    use crate::{message::Message, seam::SubscriptionIds};

    fn delivery(id: u64) -> Delivery {
        let message = Arc::new(Message::new("t".into(), QoS::AtLeastOnce, false, None, &[], &[]));
        Delivery {
            id: MessageId(id),
            message,
            qos: QoS::AtLeastOnce,
            retain: false,
            shared: false,
            ids: SubscriptionIds::default(),
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
        let mut queue = Queue::recovered(vec![delivery(9)], Some(([MessageId(2)].into(), MessageId(8))));

        assert_eq!(queue.front(), Front::Load(MessageId(0)));
        assert_eq!(queue.front(), Front::Loading);
        queue.loaded(vec![delivery(1), delivery(2), delivery(3)], false);
        assert_eq!(ids(&mut queue), [1, 3]);
        assert_eq!(queue.front(), Front::Loading);
    }

    #[test]
    fn what_a_later_checkpoint_put_into_the_store_is_in_memory_already() {
        let mut queue = Queue::recovered(vec![delivery(9)], Some((BTreeSet::new(), MessageId(8))));
        assert_eq!(queue.front(), Front::Load(MessageId(0)));

        queue.loaded(vec![delivery(1), delivery(9), delivery(10)], false);

        assert_eq!(ids(&mut queue), [1, 9]);
        assert_eq!(queue.front(), Front::Empty);
    }

    #[test]
    fn behind_the_last_window_memory_goes_on() {
        let mut queue = Queue::recovered(vec![delivery(9)], Some((BTreeSet::new(), MessageId(8))));
        assert_eq!(queue.front(), Front::Load(MessageId(0)));

        queue.loaded(vec![delivery(1)], true);

        assert_eq!(ids(&mut queue), [1, 9]);
        assert_eq!(queue.front(), Front::Empty);
    }
}
