//! Messages: what an application publishes and what it receives.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use columba_proto::{PacketId, QoS, TopicNameBuf};
use tokio::sync::mpsc;

use crate::command::Command;
use crate::error::AckError;
use crate::limits::MESSAGE_OVERHEAD_BYTES;
use crate::session::AckToken;

/// The properties of an Application Message that travel unchanged from publisher to subscriber (§3.3.2.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageProperties {
    /// The payload is UTF-8 text (§3.3.2.3.2).
    pub utf8_payload: bool,
    /// Seconds after which the message is not worth delivering (§3.3.2.3.3).
    pub message_expiry: Option<u32>,
    /// Where a response is expected (§3.3.2.3.5).
    pub response_topic: Option<String>,
    /// What the requester recognises the response by (§3.3.2.3.6).
    pub correlation_data: Option<Bytes>,
    /// What the payload is (§3.3.2.3.9).
    pub content_type: Option<String>,
    /// Names and values of the application, in order, names may repeat (§3.3.2.3.7).
    pub user_properties: Vec<(String, String)>,
}

/// An Application Message on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// Where to.
    pub topic: TopicNameBuf,
    /// What.
    pub payload: Bytes,
    /// With which promise.
    pub qos: QoS,
    /// Whether the server keeps it for later subscribers (§3.3.1.3).
    pub retain: bool,
    /// What goes along.
    pub properties: MessageProperties,
}

/// An Application Message that has arrived.
#[derive(Clone, Debug)]
pub struct Message {
    pub(crate) topic: TopicNameBuf,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) subscription_ids: Vec<u32>,
    pub(crate) properties: MessageProperties,
    pub(crate) ack: Option<AckHandle>,
}

impl Message {
    /// A message that came from nowhere, at QoS 0: for tests of what applications do with messages.
    pub fn new(topic: TopicNameBuf, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            packet_id: None,
            subscription_ids: Vec::new(),
            properties: MessageProperties::default(),
            ack: None,
        }
    }

    /// The same message with these properties.
    #[must_use]
    pub fn with_properties(mut self, properties: MessageProperties) -> Self {
        self.properties = properties;
        self
    }

    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// The topic as a checked name.
    pub fn topic_name(&self) -> &TopicNameBuf {
        &self.topic
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The QoS at which the server delivered it: the lower one of publication and subscription.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether the server had kept it before we subscribed (§3.3.1.3).
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Whether the server may have sent it before. Says nothing certain about repetition (§3.3.1.1).
    pub fn dup(&self) -> bool {
        self.dup
    }

    /// The identifier of its exchange, at QoS 1 and 2.
    pub fn packet_id(&self) -> Option<PacketId> {
        self.packet_id
    }

    /// The subscriptions that it matched, where the server says so (§3.3.2.3.8).
    pub fn subscription_ids(&self) -> &[u32] {
        &self.subscription_ids
    }

    /// What came along.
    pub fn properties(&self) -> &MessageProperties {
        &self.properties
    }

    /// What it counts for while it waits.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + MESSAGE_OVERHEAD_BYTES
    }

    /// Acknowledges a message of an inbox with [`crate::AckMode::Manual`]; nothing to do for the others.
    ///
    /// At QoS 1 this sends PUBACK, at QoS 2 PUBCOMP. A message dropped without this stays unacknowledged: the server
    /// counts it against our receive maximum and delivers it again when the session is resumed.
    pub fn ack(mut self) -> Result<(), AckError> {
        self.ack.take().map_or(Ok(()), AckHandle::ack)
    }
}

/// One of the copies of a message that several inboxes share; the last one acknowledges.
pub(crate) struct AckHandle(Arc<AckOnce>);

struct AckOnce {
    token: AckToken,
    copies_left: AtomicUsize,
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl AckHandle {
    pub(crate) fn new(token: AckToken, commands: mpsc::WeakUnboundedSender<Command>) -> Self {
        Self(Arc::new(AckOnce { token, copies_left: AtomicUsize::new(1), commands }))
    }

    pub(crate) fn ack(self) -> Result<(), AckError> {
        if self.0.copies_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let commands = self.0.commands.upgrade().ok_or(AckError::Closed)?;
        commands.send(Command::Ack(self.0.token)).map_err(|_| AckError::Closed)
    }
}

/// A copy of the message is one more to acknowledge.
impl Clone for AckHandle {
    fn clone(&self) -> Self {
        self.0.copies_left.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckHandle({:?})", self.0.token)
    }
}
