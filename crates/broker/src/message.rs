//! The Application Message as the broker keeps it: owned once, shared by all its readers.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use columba_proto::{QoS, Time};

/// What a publisher published: topic, forwarded properties, payload (§3.3).
#[derive(Debug, Eq, PartialEq)]
pub struct Message {
    /// The topic; one allocation shared with the routing cache.
    pub topic: Arc<str>,
    /// The QoS of the publication.
    pub qos: QoS,
    /// The publisher's RETAIN flag [MQTT-3.3.1-13].
    pub retain: bool,
    /// From when on the message is not delivered any more (§3.3.2.3.3).
    pub expires: Option<Time>,
    properties: u32,
    body: Box<[u8]>,
}

impl Message {
    /// Copies properties (the block that is forwarded unchanged) and payload into one allocation.
    ///
    /// # Panics
    /// With properties of 4 GiB, which no packet can hold.
    pub fn new(topic: Arc<str>, qos: QoS, retain: bool, expires: Option<Time>, properties: &[u8], payload: &[u8]) -> Self {
        let mut body = Vec::with_capacity(properties.len() + payload.len());
        body.extend_from_slice(properties);
        body.extend_from_slice(payload);
        let properties = u32::try_from(properties.len()).expect("a packet is at most 256 MiB");
        Self { topic, qos, retain, expires, properties, body: body.into_boxed_slice() }
    }

    /// The properties that are forwarded unchanged, as they stand in a PUBLISH of MQTT 5.
    pub fn properties(&self) -> &[u8] {
        &self.body[..self.properties as usize]
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.properties as usize..]
    }

    /// Whether its time is over (§3.3.2.3.3) [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// What is left of its message expiry interval, in seconds, rounded up [MQTT-3.3.2-6].
    pub fn seconds_left(&self, now: Time) -> Option<u32> {
        self.expires.map(|at| u32::try_from(at.0.saturating_sub(now.0).div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Bytes of topic, properties and payload.
    pub fn content_len(&self) -> usize {
        self.topic.len() + self.body.len()
    }

    /// Bytes of memory that the message stands for.
    pub fn size(&self) -> usize {
        self.topic.len() + self.body.len() + size_of::<Self>()
    }
}
