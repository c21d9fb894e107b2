//! What a shard tells about its decisions: one typed event, many readers (log, counters, tests).

use alloc::boxed::Box;

use columba_proto::{ReasonCode, Version};

/// Something worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A client is connected; its CONNACK is on its way.
    Connected {
        /// Who.
        client_id: Box<str>,
        /// As whom, where it has shown that.
        user: Option<Box<str>>,
        /// From where.
        peer: Box<str>,
        /// Through which listener, as in [`Origin`](crate::seam::Origin).
        listener: u16,
        /// Protocol version.
        version: Version,
        /// Whether a stored session was taken up.
        resumed: bool,
    },
    /// A CONNECT was refused, or something else came in its place. `None` for a connection that said nothing worth a line (a health check).
    Refused {
        /// From where.
        peer: Box<str>,
        /// The client identifier where it was readable.
        client_id: Option<Box<str>>,
        /// What is wrong, for people.
        why: Box<str>,
        /// The reason code, said to the client where its version has one.
        reason: ReasonCode,
    },
    /// Somebody gave a name that is nobody's, or a password that is not that user's. Guesses are told like this and not as refused.
    LoginFailed {
        /// From where.
        peer: Box<str>,
        /// The client identifier, where CONNECT had one.
        client_id: Option<Box<str>>,
        /// Whose name was given.
        user: Box<str>,
        /// What was wrong, which the client is not told.
        why: &'static str,
    },
    /// Somebody published where it may not; told once a second at most for each client.
    Denied {
        /// Who.
        client_id: Box<str>,
        /// Where.
        topic: Box<str>,
        /// By which rule.
        rule: Box<str>,
    },
    /// A subscription was refused, because nothing could come by it, or its client has as many as it may have; the latter is told once for each connection.
    SubscriptionDenied {
        /// Whose.
        client_id: Box<str>,
        /// Its filter.
        filter: Box<str>,
        /// By which rule.
        rule: Box<str>,
    },
    /// A client is gone.
    Disconnected {
        /// Who.
        client_id: Box<str>,
        /// As whom, where it had shown that.
        user: Option<Box<str>>,
        /// From where it was connected.
        peer: Box<str>,
        /// Through which listener, as in [`Origin`](crate::seam::Origin).
        listener: u16,
        /// Why, for people.
        why: Box<str>,
        /// The reason code, said or received.
        reason: ReasonCode,
        /// How long it was connected, in milliseconds.
        after_ms: u64,
    },
    /// Messages were dropped; told once a second at most for each client and reason.
    Dropped {
        /// For whom; those that are [`DropReason::Unstorable`] or [`DropReason::NotAuthorized`]: from whom.
        client_id: Box<str>,
        /// Why.
        reason: DropReason,
        /// How many, since it was told last.
        count: u64,
    },
    /// Connections take one client identifier from each other again and again; told once as long as that goes on.
    Fight {
        /// Over which.
        client_id: Box<str>,
        /// From where the one comes that has lost it now.
        old_peer: Box<str>,
        /// From where the one comes that has it now.
        new_peer: Box<str>,
    },
    /// A client identifier was let in so often that it is not for a while.
    Banned {
        /// Which.
        client_id: Box<str>,
        /// From where it came last.
        peer: Box<str>,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A session ended by its expiry interval.
    Expired {
        /// Whose.
        client_id: Box<str>,
    },
}

/// Why a message was not delivered to a session.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DropReason {
    /// QoS 0 and the client does not read fast enough.
    SlowConsumer,
    /// Its message expiry interval passed [MQTT-3.3.2-5].
    Expired,
    /// Larger than the client's maximum packet size [MQTT-3.1.2-25].
    TooLarge,
    /// The client refused it with a reason code of 0x80 or above.
    Refused,
    /// Its session ended first.
    SessionEnded,
    /// It cannot be stored, so it was not acknowledged: its publisher has it still.
    Unstorable,
    /// Its queue has as many messages, or as many bytes, as it may have.
    QueueFull,
    /// Its publisher may not publish there.
    NotAuthorized,
    /// The client has a subscription that it matches, and may not receive it.
    NotForReader,
    /// Its payload is longer than is taken here, so it was not published.
    PayloadTooLarge,
    /// An administrator has emptied the queue that it waited in.
    Purged,
    /// QoS 0, and the client has been sent as much as it may be in a second.
    BeyondRate,
}

impl DropReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::SlowConsumer,
        Self::Expired,
        Self::TooLarge,
        Self::Refused,
        Self::SessionEnded,
        Self::Unstorable,
        Self::QueueFull,
        Self::NotAuthorized,
        Self::NotForReader,
        Self::PayloadTooLarge,
        Self::Purged,
        Self::BeyondRate,
    ];

    /// A stable word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow-consumer",
            Self::Expired => "expired",
            Self::TooLarge => "too-large",
            Self::Refused => "refused",
            Self::SessionEnded => "session-ended",
            Self::Unstorable => "unstorable",
            Self::QueueFull => "queue-full",
            Self::NotAuthorized => "not-authorized",
            Self::NotForReader => "not-for-reader",
            Self::PayloadTooLarge => "payload-too-large",
            Self::Purged => "purged",
            Self::BeyondRate => "beyond-rate",
        }
    }
}
