//! What a full queue drops goes to another topic, where somebody wants that (docs/guarantees.md).
//!
//! The letter is written after the publication in whose middle the message was dropped, in the same turn: its record and that of the drop reach the disk
//! together, and after a crash the message is in the queue or in the letter.

use alloc::{format, sync::Arc, vec::Vec};

use columba_proto::{TopicName, packet::PublishProperties};

use super::{
    Shard,
    handing_on::{Publication, Source},
};
use crate::{
    id::SessionNo,
    message::Message,
    route::Publisher,
    seam::{Cx, Delivery},
};

/// The user properties of a dead letter: the client or the shared subscription whose queue was full, and why the message is here.
const FOR: &str = "dead-letter-for";
const WHY: &str = "dead-letter-reason";
const QUEUE_FULL: &str = "queue-full";

/// A message that a queue has let go.
#[derive(Debug)]
pub(super) struct DeadLetter {
    of: SessionNo,
    client_id: Arc<str>,
    message: Arc<Message>,
}

impl Shard {
    /// Keeps a message that was dropped for its dead letter, where there is one.
    pub(super) fn lay_aside(&mut self, of: SessionNo, client_id: &Arc<str>, delivery: &Delivery) {
        let Some(below) = &self.config.dead_letter_topic else { return };
        // What is dropped from a queue of dead letters ends here, or it would go round for ever. One whose topic would be too long has the bare topic.
        let is_one = delivery.message.topic.strip_prefix(&**below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !is_one {
            let (client_id, message) = (Arc::clone(client_id), Arc::clone(&delivery.message));
            self.dead_letters.push_back(DeadLetter { of, client_id, message });
        }
    }

    /// Writes the letters at the end of a call, where no publication is under way.
    pub(super) fn publish_dead_letters(&mut self, cx: &Cx<'_>) {
        while let Some(DeadLetter { of, client_id, message }) = self.dead_letters.pop_front() {
            let Some(topic) = self.dead_letter_topic(&message.topic) else { continue };
            let properties = with_reason(&message, &client_id);
            let mut publication =
                Publication { topic: &topic, retain: false, properties: &properties, shared: None, ..Publication::of(&message) };
            let source = Source { publisher: Publisher::default(), lane: of.lane() };
            let accepted = self.publish_as_server(cx, source, &mut publication, None);
            debug_assert!(accepted || self.journal_has_failed(), "only a failed journal keeps a letter back");
        }
    }

    /// The dropped message's topic below the one that is configured; the latter alone where that would be longer than a topic may be [MQTT-4.7.3-3].
    fn dead_letter_topic(&self, of: &str) -> Option<Arc<str>> {
        let below = self.config.dead_letter_topic.as_deref()?;
        let whole = format!("{below}/{of}");
        Some(if TopicName::new(&whole).is_ok() { whole.into() } else { below.into() })
    }
}

/// The message's own properties, and behind them whose queue was full.
fn with_reason(message: &Message, client_id: &str) -> Vec<u8> {
    let mut block = Vec::new();
    // The block is one that we have written.
    let Ok(mut properties) = PublishProperties::from_forwarded_block(message.properties()) else { return block };
    let own: Vec<(&str, &str)> = properties.user_properties.iter().collect();
    let told = [(FOR, client_id), (WHY, QUEUE_FULL)];
    let all: Vec<(&str, &str)> = own.into_iter().chain(told).collect();
    properties.user_properties = all.as_slice().into();
    properties.forwarded_block(&mut block);
    block
}
