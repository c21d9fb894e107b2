//! QoS 0 messages that came while their client was away, where the configuration keeps them (docs/adr/0035).

use alloc::{collections::VecDeque, sync::Arc};

use super::queue::Stock;
use crate::{message::Message, seam::SubscriptionIds};

/// What waits at QoS 0, in the order in which it came. In memory only.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    messages: VecDeque<AtMostOnce>,
    bytes: usize,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct AtMostOnce {
    pub(crate) message: Arc<Message>,
    /// The RETAIN flag that its reader is to see.
    pub(crate) retain: bool,
    /// Of the subscriptions that it matches.
    pub(crate) ids: SubscriptionIds,
}

impl Missed {
    /// Whether one more of so many bytes stays within these bounds.
    pub(crate) fn has_room(&self, size: usize, messages_max: usize, bytes_max: usize) -> bool {
        self.messages.len() < messages_max && self.bytes + size <= bytes_max
    }

    pub(crate) fn push(&mut self, missed: AtMostOnce) {
        self.bytes += missed.message.size();
        self.messages.push_back(missed);
    }

    pub(crate) fn pop(&mut self) -> Option<AtMostOnce> {
        let missed = self.messages.pop_front()?;
        self.bytes -= missed.message.size();
        Some(missed)
    }

    pub(crate) fn stock(&self) -> Stock {
        Stock { messages: self.messages.len() as u64, bytes: self.bytes as u64 }
    }
}
