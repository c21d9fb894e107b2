//! Where messages wait for the application.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use columba_proto::QoS;
use futures_core::Stream;
use tokio::sync::{Notify, mpsc};

use crate::message::Message;

/// When a message of QoS 1 or 2 is acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AckMode {
    /// As soon as the application takes it from the inbox.
    #[default]
    OnTake,
    /// When the application calls [`Message::ack`].
    Manual,
}

/// A queue of messages for the application, filled by the client's driver; a [`Stream`].
///
/// It ends (`None`) when the client is closed. What has not been taken is not acknowledged: the server counts it against
/// our receive maximum, and stops sending at the limit.
#[derive(Debug)]
pub struct Inbox {
    messages: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<Waiting>,
    mode: AckMode,
    is_renounced: Arc<AtomicBool>,
}

/// The messages of QoS 0 in all inboxes of a client, which no window bounds.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    room: Notify,
}

/// The driver's end of an inbox.
#[derive(Clone, Debug)]
pub(crate) struct InboxSender {
    messages: mpsc::UnboundedSender<Message>,
    waiting: Arc<Waiting>,
    is_renounced: Arc<AtomicBool>,
}

impl Inbox {
    pub(crate) fn new(mode: AckMode, waiting: Arc<Waiting>) -> (Self, InboxSender) {
        let (sender, messages) = mpsc::unbounded_channel();
        let is_renounced = Arc::new(AtomicBool::new(false));
        let ours = Self { messages, waiting: Arc::clone(&waiting), mode, is_renounced: Arc::clone(&is_renounced) };
        (ours, InboxSender { messages: sender, waiting, is_renounced })
    }

    /// The next message, as soon as there is one; `None` when the client is closed.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await?;
        Some(self.taken(message))
    }

    /// The next message if there is one already.
    pub fn try_next(&mut self) -> Option<Message> {
        let message = self.messages.try_recv().ok()?;
        Some(self.taken(message))
    }

    /// Takes nothing more. What has not been taken stays unacknowledged: the server delivers it again when the session is
    /// resumed, and counts it against our receive maximum until then.
    pub fn close(&mut self) {
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            self.uncount(&message);
        }
    }

    /// Takes nothing more, and lets the server forget what has not been taken and what may still come.
    pub(crate) fn renounce(&mut self) {
        self.is_renounced.store(true, Ordering::Release);
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            self.uncount(&message);
            // Nobody is left to hear of it once the client is closed.
            message.ack().ok();
        }
    }

    fn uncount(&self, message: &Message) {
        if message.qos == QoS::AtMostOnce {
            self.waiting.took(message.size());
        }
    }

    fn taken(&self, mut message: Message) -> Message {
        self.uncount(&message);
        if self.mode == AckMode::OnTake {
            // Nobody is left to hear of it once the client is closed.
            message.ack.take().map(crate::message::AckHandle::ack);
        }
        message
    }
}

impl Stream for Inbox {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let message = ready!(self.messages.poll_recv(context));
        Poll::Ready(message.map(|message| self.taken(message)))
    }
}

/// As [`Inbox::close`].
impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

impl InboxSender {
    /// Whether what nobody takes is to be acknowledged.
    pub(crate) fn is_renounced(&self) -> bool {
        self.is_renounced.load(Ordering::Acquire)
    }

    /// Gives the message back if nobody listens any more.
    #[expect(clippy::result_large_err, reason = "the message comes back as it went in")]
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        let counts = message.qos == QoS::AtMostOnce;
        if counts {
            self.waiting.bytes.fetch_add(message.size(), Ordering::AcqRel);
        }
        self.messages.send(message).map_err(|refused| {
            if counts {
                self.waiting.bytes.fetch_sub(refused.0.size(), Ordering::AcqRel);
            }
            refused.0
        })
    }
}

impl Waiting {
    pub(crate) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes.load(Ordering::Acquire) >= bytes_max
    }

    /// Resolves when the application has taken something since the last call.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    fn took(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_one();
    }
}
