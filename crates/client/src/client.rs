//! The handle that applications hold, and how they get one.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use columba_proto::{QoS, ReasonCode, TopicNameBuf, TopicNameError, Version, check_text};
use tokio::sync::{Semaphore, TryAcquireError, broadcast, mpsc, oneshot};

use crate::command::{Command, Goodbye, Leave, PublishWaiter, Unacknowledged};
use crate::driver;
use crate::error::{ClientClosed, ConnectError, Lost, PublishError};
use crate::event::Event;
use crate::inbox::{AckMode, Inbox, Waiting};
use crate::limits::{EVENTS_MAX, MESSAGE_OVERHEAD_BYTES};
use crate::message::{MessageProperties, Publication};
use crate::options::{AuthMethod, Options, Will};
use crate::session::Answer;
use crate::subscription::Subscribe;
use crate::tap::{PacketEvent, Tap, Verdict};

/// A client and its Session; cheap to clone, and usable from everywhere, also from the loop that receives messages.
///
/// A driver task owned by the client moves the packets; it never waits for the application. When the last handle is
/// dropped, the driver sends what is left for at most two seconds, and DISCONNECT.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    room: Arc<Semaphore>,
    room_max: usize,
    version: Version,
    waiting: Arc<Waiting>,
    events: broadcast::Sender<Event>,
    /// What nobody has subscribed to here, of a session that lasts, until the application asks for it.
    unclaimed: Mutex<Option<Inbox>>,
    /// Why the driver ended, once it has.
    ended: Arc<Mutex<Option<Lost>>>,
}

/// What a client is told before it connects.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use columba_client::{Client, QoS};
///
/// let client = Client::builder("localhost", 1883).client_id("lamp-3").connect().await?;
/// let mut orders = client.subscribe("lamp/3/#").qos(QoS::AtLeastOnce).await?;
/// client.publish("lamp/3/state", "on").qos(QoS::ExactlyOnce).await?;
/// while let Some(message) = orders.next().await {
///     println!("{}: {} bytes", message.topic(), message.payload().len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Builder {
    options: Options,
    tap: Tap,
    waiting: Arc<Waiting>,
    catch_all: Option<crate::inbox::InboxSender>,
}

impl Client {
    /// Starts to describe a client of the server at `host` and `port`.
    pub fn builder(host: impl Into<String>, port: u16) -> Builder {
        Builder::new(Options::new(host, port))
    }

    /// A message to publish; `.await` it, or see [`Publish::enqueue`].
    pub fn publish(&self, topic: impl Into<String>, payload: impl Into<Bytes>) -> Publish<'_> {
        let topic = topic.into().parse();
        Publish {
            client: self,
            topic,
            payload: payload.into(),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: MessageProperties::default(),
        }
    }

    /// A subscription to one filter; `.await` it.
    pub fn subscribe(&self, filter: impl Into<String>) -> Subscribe<'_> {
        Subscribe::new(self, vec![filter.into()])
    }

    /// A subscription to several filters with one SUBSCRIBE; `.await` it.
    pub fn subscribe_to<F: Into<String>>(&self, filters: impl IntoIterator<Item = F>) -> Subscribe<'_> {
        Subscribe::new(self, filters.into_iter().map(Into::into).collect())
    }

    /// Ends subscriptions, whoever began them: one reason code for each filter, none before MQTT 5 (§3.11.3).
    pub async fn unsubscribe<F: Into<String>>(
        &self,
        filters: impl IntoIterator<Item = F>,
        user_properties: Vec<(String, String)>,
    ) -> Result<Answer, crate::SubscribeError> {
        crate::subscription::unsubscribe(self, filters.into_iter().map(Into::into).collect(), user_properties).await
    }

    /// The messages that no [`crate::Subscription`] claims, if they have not been asked for before connecting (see
    /// [`Builder::inbox`]) and the session outlives its connection. `None` if somebody else has them.
    pub fn unclaimed(&self) -> Option<Inbox> {
        self.shared.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What happens to the connection from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// The version that the client speaks.
    pub fn version(&self) -> Version {
        self.shared.version
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Sends DISCONNECT and ends; says how many publications of QoS 1 and 2 are not acknowledged.
    pub async fn close(&self) -> Result<Unacknowledged, Lost> {
        self.disconnect(Goodbye::default()).await
    }

    /// The same with more to say (§3.14).
    pub async fn disconnect(&self, goodbye: Goodbye) -> Result<Unacknowledged, Lost> {
        let (done, answer) = oneshot::channel();
        if self.commands.send(Command::Leave(Leave { goodbye, done })).is_err() {
            return Err(self.why_closed().0.unwrap_or(Lost::Closed));
        }
        answer.await.unwrap_or_else(|_| Err(self.why_closed().0.unwrap_or(Lost::Closed)))
    }

    pub(crate) fn commands(&self) -> &mpsc::UnboundedSender<Command> {
        &self.commands
    }

    pub(crate) fn waiting(&self) -> &Arc<Waiting> {
        &self.shared.waiting
    }

    pub(crate) fn why_closed(&self) -> ClientClosed {
        ClientClosed(self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// A message to publish: set what it needs, then `.await` it for the last acknowledgement.
#[must_use = "nothing is sent until it is awaited or enqueued"]
#[derive(Debug)]
pub struct Publish<'a> {
    client: &'a Client,
    topic: Result<TopicNameBuf, TopicNameError>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    properties: MessageProperties,
}

impl Publish<'_> {
    /// With this promise; without, at most once.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Kept by the server for later subscribers, or not.
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// With these properties, which exist in MQTT 5 only.
    pub fn properties(mut self, properties: MessageProperties) -> Self {
        self.properties = properties;
        self
    }

    /// Waits until the outbox has room, puts the message into it, and leaves the acknowledgement to the [`Delivery`].
    /// Messages leave in the order of this call.
    pub async fn enqueue(self) -> Result<Delivery, PublishError> {
        let client = self.client;
        let publication = self.checked()?;
        let permits = permits_of(&publication, client.shared.room_max);
        let room = Arc::clone(&client.shared.room).acquire_many_owned(permits).await;
        client.hand_over(publication, room.map_err(|_| client.why_closed())?)
    }

    /// The same, but a full outbox is an error.
    pub fn try_enqueue(self) -> Result<Delivery, PublishError> {
        let client = self.client;
        let publication = self.checked()?;
        let permits = permits_of(&publication, client.shared.room_max);
        match Arc::clone(&client.shared.room).try_acquire_many_owned(permits) {
            Ok(room) => client.hand_over(publication, room),
            Err(TryAcquireError::NoPermits) => Err(PublishError::Full),
            Err(TryAcquireError::Closed) => Err(client.why_closed().into()),
        }
    }

    fn checked(self) -> Result<Publication, PublishError> {
        let properties = self.properties;
        for (name, value) in &properties.user_properties {
            check_text(name)?;
            check_text(value)?;
        }
        for text in [&properties.response_topic, &properties.content_type].into_iter().flatten() {
            check_text(text)?;
        }
        if properties.correlation_data.as_ref().is_some_and(|data| data.len() > columba_proto::TEXT_LEN_MAX) {
            return Err(columba_proto::TextError::TooLong.into());
        }
        Ok(Publication { topic: self.topic?, payload: self.payload, qos: self.qos, retain: self.retain, properties })
    }
}

fn permits_of(publication: &Publication, max: usize) -> u32 {
    let bytes = publication.payload.len() + publication.topic.as_str().len() + MESSAGE_OVERHEAD_BYTES;
    // A message that is larger than the whole outbox has it for itself.
    u32::try_from(bytes.min(max)).unwrap_or(u32::MAX)
}

impl Client {
    fn hand_over(&self, publication: Publication, room: tokio::sync::OwnedSemaphorePermit) -> Result<Delivery, PublishError> {
        let (done, answer) = oneshot::channel();
        let waiter = PublishWaiter { done, _room: room };
        self.commands.send(Command::Publish(publication, waiter)).map_err(|_| self.why_closed())?;
        Ok(Delivery { answer, shared: Arc::clone(&self.shared) })
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Result<ReasonCode, PublishError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.enqueue().await?.await })
    }
}

/// The end of an exchange: the reason code of PUBACK, PUBREC or PUBCOMP; at QoS 0 the message has been written.
///
/// 0x10 is a success too: nobody subscribes to the topic. Dropping it does not take the message back.
#[must_use = "whether the message was acknowledged is known only here"]
#[derive(Debug)]
pub struct Delivery {
    answer: oneshot::Receiver<Result<ReasonCode, PublishError>>,
    shared: Arc<Shared>,
}

impl Future for Delivery {
    type Output = Result<ReasonCode, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                let lost = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Err(ClientClosed(lost).into())
            })
        })
    }
}

impl Builder {
    /// From options that are complete.
    pub fn new(options: Options) -> Self {
        Self { options, tap: Tap::default(), waiting: Arc::default(), catch_all: None }
    }

    /// Every option, for those that have no method here.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Speaks this version; without, 5.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.options.version = version;
        self
    }

    /// Goes by this identifier; without, the server chooses one.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.options.client_id = client_id.into();
        self
    }

    /// Keeps the session, and what arrives for it, for `expiry_seconds` after its connection; `u32::MAX` for ever.
    /// Before MQTT 5 there is only for ever.
    ///
    /// Our own half of the session lives in memory, as long as the client: a process that ends between PUBREC and its
    /// taking of a QoS 2 message has lost that message, for it is the server's no longer.
    #[must_use]
    pub fn persistent(mut self, expiry_seconds: u32) -> Self {
        self.options.clean_start = false;
        self.options.session_expiry = expiry_seconds;
        self
    }

    /// Logs in.
    #[must_use]
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<Bytes>) -> Self {
        self.options.username = Some(username.into());
        self.options.password = Some(password.into());
        self
    }

    /// Shows user name and password by this method (MQTT 5).
    #[must_use]
    pub fn auth_method(mut self, method: AuthMethod) -> Self {
        self.options.auth_method = Some(method);
        self
    }

    /// Leaves a will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.options.will = Some(will);
        self
    }

    /// Sees each packet at the moment it is sent or received: `|packet| eprintln!("{packet}")` prints `send: publish`.
    #[must_use]
    pub fn on_packet(mut self, mut look: impl FnMut(&PacketEvent<'_>) + Send + 'static) -> Self {
        self.tap.add(Box::new(move |packet| {
            look(packet);
            Verdict::Keep
        }));
        self
    }

    /// Decides about each packet whether it goes through, is lost, or takes the connection with it: for demonstrations
    /// and tests of what a network can do.
    #[must_use]
    pub fn inject_faults(mut self, judge: impl FnMut(&PacketEvent<'_>) -> Verdict + Send + 'static) -> Self {
        self.tap.add(Box::new(judge));
        self
    }

    /// An inbox for the messages that no [`crate::Subscription`] claims: those of subscriptions made with
    /// [`Subscribe::into_shared_inbox`], and those that a resumed session brings before anybody has subscribed. It is in
    /// place before CONNECT leaves, so none of them can be missed.
    pub fn inbox(&mut self, mode: AckMode) -> Inbox {
        let (inbox, sender) = Inbox::new(mode, Arc::clone(&self.waiting));
        self.catch_all = Some(sender);
        inbox
    }

    /// Connects, and starts the driver task on the current tokio runtime.
    pub async fn connect(mut self) -> Result<Client, ConnectError> {
        let (catch_all, unclaimed) = if let Some(sender) = self.catch_all.take() {
            (sender, None)
        } else {
            let (mut inbox, sender) = Inbox::new(AckMode::OnTake, Arc::clone(&self.waiting));
            if self.options.is_persistent() {
                (sender, Some(inbox))
            } else {
                // A session that ends with its connection brings nothing that was not subscribed to here.
                inbox.renounce();
                (sender, None)
            }
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let room_max = self.options.outbox_bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(room_max)),
            room_max,
            version: self.options.version,
            waiting: Arc::clone(&self.waiting),
            events: events.clone(),
            unclaimed: Mutex::new(unclaimed),
            ended: Arc::default(),
        });
        let ended = Arc::clone(&shared.ended);
        let acks = commands.downgrade();
        driver::start(driver::Parts {
            options: self.options,
            tap: self.tap,
            waiting: self.waiting,
            catch_all,
            commands: receiver,
            acks,
            events,
            ended,
        })
        .await?;
        Ok(Client { commands, shared })
    }
}
