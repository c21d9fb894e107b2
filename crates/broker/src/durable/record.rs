//! What must survive: every change of durable state as one value with versioned bytes (docs/format.md).

use alloc::vec::Vec;

use columba_proto::{PacketId, QoS, Time, packet::RetainHandling};

use crate::id::{MessageId, SessionNo};

/// One change of durable state. The journal is a sequence of these; all durable state is their fold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record<'a> {
    /// A session that outlives its connection begins [MQTT-3.1.2-6].
    Created {
        /// The new session.
        session: SessionNo,
        /// Its key [MQTT-3.1.3-2].
        client_id: &'a str,
    },
    /// A connection took up the session; replaces the will and the expiry interval.
    Attached {
        /// The session.
        session: SessionNo,
        /// Session Expiry Interval in seconds; `u32::MAX` never ends (§3.1.2.11.2).
        expiry: u32,
        /// The will of this connection.
        will: Option<WillRecord<'a>>,
    },
    /// The connection ended; expiry and will delay count from `at`.
    Detached {
        /// The session.
        session: SessionNo,
        /// When.
        at: Time,
        /// The expiry interval in force now (a DISCONNECT can change it).
        expiry: u32,
        /// Whether the will still stands (a normal DISCONNECT removed it [MQTT-3.14.4-3]).
        will_stands: bool,
    },
    /// The session ended: expired, or thrown away by clean start [MQTT-3.1.2-4].
    Deleted {
        /// The session.
        session: SessionNo,
    },
    /// A subscription was made or replaced [MQTT-3.8.4-3].
    Subscribed {
        /// The session.
        session: SessionNo,
        /// The filter as the client wrote it, `$share/...` included.
        filter: &'a str,
        /// What was granted.
        grant: GrantRecord,
    },
    /// A subscription was removed.
    Unsubscribed {
        /// The session.
        session: SessionNo,
        /// The filter as the client wrote it.
        filter: &'a str,
    },
    /// A publication with everything that it promises.
    Published {
        /// Its identity, and its place in every queue.
        id: MessageId,
        /// The message.
        message: MessageRecord<'a>,
        /// Durable sessions that it goes to.
        targets: Vec<TargetRecord>,
        /// Whether it becomes (or, with an empty payload, clears) the retained message of its topic. The highest `id` wins.
        sets_retained: bool,
        /// The session whose will this is: the will is gone with this record.
        will_of: Option<SessionNo>,
    },
    /// A QoS 2 message was stored at PUBLISH, and its identifier remembered [MQTT-4.3.3-8].
    Received {
        /// The publisher's session.
        session: SessionNo,
        /// The identifier that awaits its PUBREL.
        packet_id: PacketId,
        /// The message.
        message: MessageRecord<'a>,
    },
    /// PUBREL: the stored message is handed on and its identifier forgotten, in one.
    Released {
        /// The publisher's session.
        session: SessionNo,
        /// The identifier that is free now.
        packet_id: PacketId,
        /// The identity of the publication.
        id: MessageId,
        /// Durable sessions that it goes to.
        targets: Vec<TargetRecord>,
        /// As in `Published`.
        sets_retained: bool,
    },
    /// A queued message was given an identifier, to be sent.
    Sent {
        /// The subscriber's session.
        session: SessionNo,
        /// Its identifier there.
        packet_id: PacketId,
        /// Which message of the queue.
        message: MessageId,
        /// The QoS at which it is sent.
        qos: QoS,
    },
    /// PUBREC came: the message is the subscriber's, what is left is PUBREL [MQTT-4.3.3-6].
    Passed {
        /// The subscriber's session.
        session: SessionNo,
        /// The identifier that awaits its PUBCOMP.
        packet_id: PacketId,
        /// Which message has left the queue.
        message: MessageId,
    },
    /// PUBACK, PUBCOMP or a refusal: the exchange is over.
    Settled {
        /// The subscriber's session.
        session: SessionNo,
        /// The identifier that is free now.
        packet_id: PacketId,
        /// The message that left the queue with it; `None` at PUBCOMP, where it had left before.
        message: Option<MessageId>,
    },
    /// A message left the queue undelivered (expired, too large for the client, ...). Of a shared subscription also: a member has acknowledged it, or it has become a
    /// member's own, which is recorded before.
    Dropped {
        /// The subscriber's session, or the place of a shared subscription.
        session: SessionNo,
        /// Which message.
        message: MessageId,
    },
    /// How far the retained messages of a subscription have been taken into the session's queue.
    Cursor {
        /// The session.
        session: SessionNo,
        /// The subscription's filter.
        filter: &'a str,
        /// The last topic taken; `None`: all were.
        after: Option<&'a str>,
    },
    /// The will of a client whose session ends with its connection.
    WillSet {
        /// A number of its own, used for nothing else.
        session: SessionNo,
        /// The client.
        client_id: &'a str,
        /// The will.
        will: WillRecord<'a>,
    },
    /// That will is gone without having been published.
    WillGone {
        /// The number under which it was set, or a durable session's.
        session: SessionNo,
    },
}

/// A message in a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageRecord<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// QoS of the publication.
    pub qos: QoS,
    /// The publisher's RETAIN.
    pub retain: bool,
    /// Message expiry as a point in time.
    pub expires: Option<Time>,
    /// The properties that are forwarded unchanged.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// A will in a record; topic, QoS, retain, properties and payload in `message`, its expiry as the interval in `message_expiry`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WillRecord<'a> {
    /// The message to be; `expires` is unset, for its interval begins when it is published.
    pub message: MessageRecord<'a>,
    /// Will Delay Interval in seconds (§3.1.3.2.2).
    pub delay: u32,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
}

/// One durable target of a publication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetRecord {
    /// The session, or the place of a shared subscription ([`GroupKey::place`](crate::id::GroupKey::place)).
    pub session: SessionNo,
    /// min(publication, subscription), 1 or 2 [MQTT-3.8.4-8]; of a shared subscription the publication's.
    pub qos: QoS,
    /// The RETAIN flag to deliver with.
    pub retain: bool,
    /// Identifiers of the matching subscriptions [MQTT-3.3.4-4].
    pub subscription_ids: Vec<u32>,
}

/// A granted subscription in a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrantRecord {
    /// Granted QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
    /// Subscription Identifier; 0 where there is none.
    pub subscription_id: u32,
    /// Retained messages are still to be taken, versions up to this one (younger ones come live): a cursor begins with this record, and an earlier one of the
    /// same filter ends. `None`: there is nothing to take.
    pub cursor: Option<MessageId>,
}
