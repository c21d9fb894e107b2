//! Subscribing, and the stream of messages that comes of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use columba_proto::{QoS, ReasonCode, SubscriptionFilter};
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::command::Command;
use crate::error::{Refusal, SubscribeError};
use crate::inbox::{AckMode, Inbox, InboxSender};
use crate::message::Message;
use crate::session::{Answer, SubscribeRequest, UnsubscribeRequest};
use crate::{RetainHandling, SubscriptionOptions};

/// A subscription to make: set what it needs, then `.await` it for SUBACK.
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug)]
pub struct Subscribe<'a> {
    client: &'a Client,
    filters: Vec<String>,
    options: SubscriptionOptions,
    mode: AckMode,
    subscription_id: Option<u32>,
    user_properties: Vec<(String, String)>,
}

/// The messages of one subscription, as a [`Stream`]. Dropping it unsubscribes and renounces what has not been taken,
/// unless [`Subscription::keep`] was called.
#[derive(Debug)]
pub struct Subscription {
    inbox: Inbox,
    granted: Vec<ReasonCode>,
    filters: Vec<SubscriptionFilter>,
    commands: Option<mpsc::WeakUnboundedSender<Command>>,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(client: &'a Client, filters: Vec<String>) -> Self {
        Self {
            client,
            filters,
            options: QoS::AtMostOnce.into(),
            mode: AckMode::OnTake,
            subscription_id: None,
            user_properties: Vec::new(),
        }
    }

    /// The highest QoS to receive; without, at most once.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.options.qos = qos;
        self
    }

    /// Whether messages that this client publishes come back to it (§3.8.3.1).
    pub fn no_local(mut self, no_local: bool) -> Self {
        self.options.no_local = no_local;
        self
    }

    /// Whether the retain flag of live messages is kept (§3.8.3.1).
    pub fn retain_as_published(mut self, keep: bool) -> Self {
        self.options.retain_as_published = keep;
        self
    }

    /// When retained messages are sent (§3.8.3.1).
    pub fn retain_handling(mut self, when: RetainHandling) -> Self {
        self.options.retain_handling = when;
        self
    }

    /// Each message is acknowledged by [`Message::ack`] instead of by taking it.
    pub fn manual_ack(mut self) -> Self {
        self.mode = AckMode::Manual;
        self
    }

    /// The number by which messages name this subscription (§3.8.2.1.2). Without, the client picks one where it can.
    pub fn subscription_id(mut self, id: u32) -> Self {
        self.subscription_id = Some(id);
        self
    }

    /// Names and values of the application in SUBSCRIBE.
    pub fn user_properties(mut self, pairs: Vec<(String, String)>) -> Self {
        self.user_properties = pairs;
        self
    }

    /// Subscribes; the messages come to the inbox of [`crate::Builder::inbox`].
    pub async fn into_shared_inbox(self) -> Result<Answer, SubscribeError> {
        let client = self.client;
        let request = self.request()?;
        send(client, request, None).await
    }

    fn request(&self) -> Result<SubscribeRequest, SubscribeError> {
        if self.filters.is_empty() {
            return Err(SubscribeError::NoFilters);
        }
        let filters = self.filters.iter().map(|filter| filter.parse()).collect::<Result<_, _>>()?;
        Ok(SubscribeRequest {
            filters,
            options: self.options,
            subscription_id: self.subscription_id,
            user_properties: self.user_properties.clone(),
        })
    }

    async fn into_subscription(self) -> Result<Subscription, SubscribeError> {
        let request = self.request()?;
        let filters = request.filters.clone();
        let (inbox, sender) = Inbox::new(self.mode, Arc::clone(self.client.waiting()));
        let Answer { reasons: granted, text } = send(self.client, request, Some(sender)).await?;
        if let (true, Some(reason)) = (granted.iter().all(|reason| reason.is_failure()), granted.first()) {
            let refusal = Refusal { reason: *reason, text, server_reference: None };
            return Err(SubscribeError::Refused(refusal));
        }
        Ok(Subscription { inbox, granted, filters, commands: Some(self.client.commands().downgrade()) })
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.into_subscription())
    }
}

async fn send(client: &Client, request: SubscribeRequest, inbox: Option<InboxSender>) -> Result<Answer, SubscribeError> {
    let (done, answer) = oneshot::channel();
    client.commands().send(Command::Subscribe(request, inbox, done)).map_err(|_| client.why_closed())?;
    Ok(answer.await.map_err(|_| client.why_closed())??)
}

pub(crate) async fn unsubscribe(
    client: &Client,
    filters: Vec<String>,
    user_properties: Vec<(String, String)>,
) -> Result<Answer, SubscribeError> {
    if filters.is_empty() {
        return Err(SubscribeError::NoFilters);
    }
    let filters = filters.iter().map(|filter| filter.parse()).collect::<Result<_, _>>()?;
    let (done, answer) = oneshot::channel();
    let request = UnsubscribeRequest { filters, user_properties };
    client.commands().send(Command::Unsubscribe(request, Some(done))).map_err(|_| client.why_closed())?;
    Ok(answer.await.map_err(|_| client.why_closed())??)
}

impl Subscription {
    /// The next message, as soon as there is one; `None` when the client is closed.
    pub async fn next(&mut self) -> Option<Message> {
        self.inbox.next().await
    }

    /// The next message if there is one already.
    pub fn try_next(&mut self) -> Option<Message> {
        self.inbox.try_next()
    }

    /// What the server granted, one code for each filter (§3.9.3).
    pub fn granted(&self) -> &[ReasonCode] {
        &self.granted
    }

    /// Leaves the subscription with the server when this is dropped: for sessions that outlive their connection. What has
    /// not been taken then stays unacknowledged, and is delivered again when the session is resumed.
    pub fn keep(&mut self) {
        self.commands = None;
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        Pin::new(&mut self.inbox).poll_next(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(commands) = self.commands.take().and_then(|commands| commands.upgrade()) else {
            return;
        };
        self.inbox.renounce();
        let request = UnsubscribeRequest { filters: std::mem::take(&mut self.filters), user_properties: Vec::new() };
        // Where the client is closed there is nothing left to unsubscribe from.
        commands.send(Command::Unsubscribe(request, None)).ok();
    }
}
