//! The will of a connection (§3.1.2.5), kept until it is published or removed.

use alloc::{sync::Arc, vec::Vec};

use columba_proto::packet::Will;

use crate::{durable::StoredWill, message::Message};

impl StoredWill {
    /// Copies the will out of a CONNECT; its expiry interval begins when it is published.
    pub(crate) fn new(will: &Will<'_>) -> Self {
        let mut properties = Vec::new();
        will.properties.forwarded_block(&mut properties);
        let message = Message::new(will.topic.as_str().into(), will.qos, will.retain, None, &properties, will.payload);
        Self { message: Arc::new(message), delay: will.delay, message_expiry: will.properties.message_expiry }
    }
}
