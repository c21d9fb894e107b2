//! What the handles of a client ask of its driver.

use columba_proto::ReasonCode;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::{ClientClosed, Lost, PublishError};
use crate::inbox::InboxSender;
use crate::message::Publication;
use crate::session::{AckToken, Answer, SubscribeRequest, UnsubscribeRequest};

pub(crate) enum Command {
    Publish(Publication, PublishWaiter),
    /// Without an inbox of its own, its messages come to the shared one.
    Subscribe(SubscribeRequest, Option<InboxSender>, RequestWaiter),
    Unsubscribe(UnsubscribeRequest, Option<RequestWaiter>),
    Ack(AckToken),
    Leave(Leave),
}

/// The application ends the client.
pub(crate) struct Leave {
    pub(crate) goodbye: Goodbye,
    pub(crate) done: oneshot::Sender<Result<Unacknowledged, Lost>>,
}

/// How to end a connection (§3.14).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Goodbye {
    /// Whether the server publishes our will nevertheless (0x04, MQTT 5).
    pub with_will: bool,
    /// Another session expiry than that of CONNECT (§3.14.2.2.2, MQTT 5).
    pub session_expiry: Option<u32>,
    /// Names and values of the application (MQTT 5).
    pub user_properties: Vec<(String, String)>,
}

/// The publications of QoS 1 and 2 that a closing client leaves behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unacknowledged(pub usize);

/// A publisher that waits for the end of an exchange; holds its share of the outbox until then.
pub(crate) struct PublishWaiter {
    pub(crate) done: oneshot::Sender<Result<ReasonCode, PublishError>>,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// A caller that waits for SUBACK or UNSUBACK.
pub(crate) type RequestWaiter = oneshot::Sender<Result<Answer, ClientClosed>>;
