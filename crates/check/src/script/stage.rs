//! What a script acts on: clients, names that are its own, time.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use columba_proto::packet::{Connect, ConnectProperties, Packet};
use columba_proto::{QoS, ReasonCode, Version};

use super::client::Client;
use super::world::{Arrival, Ending, LineNo, Unable, World};
use super::{Heard, Need, Stop, Verdict};

/// Seconds after which a client that says nothing is given up: longer than any story.
const KEEP_ALIVE: u16 = 600;
/// The session expiry of clients that want to keep their session, in seconds.
pub(super) const SESSION_EXPIRY: u32 = 600;

/// Bytes of a packet that a story can send only to see it refused.
const SENDABLE: u32 = 16 * 1024 * 1024;
/// Messages that a story can leave open only to see one more refused.
const RECEIVABLE: u16 = 5_000;

/// What a broker says of itself in its CONNACK (§3.2.2.3); the older versions say nothing, and are asked in MQTT 5.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a broker has or has not")]
pub struct Features {
    /// The highest QoS that it takes.
    pub maximum_qos: QoS,
    /// Whether it keeps retained messages.
    pub retain: bool,
    /// Whether filters may have wildcards.
    pub wildcards: bool,
    /// Whether subscriptions may have an identifier.
    pub subscription_ids: bool,
    /// Whether subscriptions can be shared.
    pub shared: bool,
    /// Topic aliases that it takes.
    pub topic_alias_maximum: u16,
    /// QoS 1 and 2 messages that it takes at a time.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that it takes.
    pub maximum_packet_size: Option<u32>,
    /// Whether somebody can start it anew.
    pub restart: bool,
}

impl Default for Features {
    /// What a broker has that says nothing.
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            wildcards: true,
            subscription_ids: true,
            shared: true,
            topic_alias_maximum: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            restart: false,
        }
    }
}

impl Features {
    /// What this CONNACK says.
    pub fn of(heard: &Heard) -> Self {
        let properties = heard.connack().properties;
        Self {
            maximum_qos: properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available.unwrap_or(true),
            wildcards: properties.wildcard_subscription_available.unwrap_or(true),
            subscription_ids: properties.subscription_identifiers_available.unwrap_or(true),
            shared: properties.shared_subscription_available.unwrap_or(true),
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            receive_maximum: properties.receive_maximum.map_or(u16::MAX, std::num::NonZero::get),
            maximum_packet_size: properties.maximum_packet_size.map(std::num::NonZero::get),
            restart: false,
        }
    }

    /// What is missing of this, if anything.
    pub fn lack(&self, need: Need) -> Option<&'static str> {
        let (has, missing) = match need {
            Need::Qos1 => (self.maximum_qos >= QoS::AtLeastOnce, "the server says: QoS 0 only"),
            Need::Qos2 => (self.maximum_qos >= QoS::ExactlyOnce, "the server says: no QoS 2"),
            Need::Retain => (self.retain, "the server says: no retained messages"),
            Need::Wildcards => (self.wildcards, "the server says: no wildcards"),
            Need::SubscriptionIds => (self.subscription_ids, "the server says: no subscription identifiers"),
            Need::Shared => (self.shared, "the server says: no shared subscriptions"),
            Need::Aliases => (self.topic_alias_maximum > 0, "the server says: no topic aliases"),
            Need::QosLimit => (self.maximum_qos < QoS::ExactlyOnce, "the server takes every QoS"),
            Need::RetainRefused => (!self.retain, "the server keeps retained messages"),
            Need::PacketLimit => {
                (self.maximum_packet_size.is_some_and(|size| size <= SENDABLE), "the server limits no packet size")
            }
            Need::AliasLimit => (self.topic_alias_maximum < u16::MAX, "the server takes every topic alias"),
            Need::ReceiveLimit => (self.receive_maximum <= RECEIVABLE, "the server takes very many messages at a time"),
            Need::Restart => (self.restart, "the server cannot be restarted from here (--restart-cmd)"),
        };
        (!has).then_some(missing)
    }
}

/// Who the clients of a story are to a broker that lets not everybody in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password; MQTT 3.x has none without a user name.
    pub password: Option<Vec<u8>>,
}

/// What is known of a broker before the story begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Setting {
    /// What it has.
    pub features: Features,
    /// As whom clients come, where nobody else is wanted.
    pub login: Option<Login>,
}

/// A line of the transcript.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// When, since the story began.
    pub at: Duration,
    /// Which client, by the name that the script gave it; empty for what happens to all.
    pub who: String,
    /// What happened: `send: publish …`.
    pub what: String,
}

/// What is left of a story.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// Every packet.
    pub transcript: Vec<Said>,
    /// What the standard leaves open.
    pub notes: Vec<String>,
    /// What the standard recommends and the broker does not do.
    pub advice: Vec<String>,
}

/// A world with a story in it.
pub struct Stage {
    version: Version,
    setting: Setting,
    /// Makes names that no other story has.
    prefix: String,
    pub(super) world: RefCell<Box<dyn World>>,
    transcript: RefCell<Vec<Said>>,
    notes: RefCell<Vec<String>>,
    advice: RefCell<Vec<String>>,
    clients: Cell<u32>,
}

impl Stage {
    /// A stage for one story in one version. `prefix` makes its names its own.
    pub fn new(world: Box<dyn World>, version: Version, setting: Setting, prefix: String) -> Self {
        Self {
            version,
            setting,
            prefix,
            world: RefCell::new(world),
            transcript: RefCell::default(),
            notes: RefCell::default(),
            advice: RefCell::default(),
            clients: Cell::new(0),
        }
    }

    /// The version in which the story is told.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the broker has.
    pub fn features(&self) -> &Features {
        &self.setting.features
    }

    /// As whom clients come, where that is known.
    pub fn login(&self) -> Option<&Login> {
        self.setting.login.as_ref()
    }

    /// A client identifier of this story alone.
    pub fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic or filter of this story alone.
    pub fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// A CONNECT with this identifier: a clean session that ends with its connection.
    pub fn clean<'a>(&'a self, id: &'a str) -> Connect<'a> {
        let login = self.setting.login.as_ref();
        Connect {
            version: self.version,
            bridge: false,
            clean_start: true,
            keep_alive: KEEP_ALIVE,
            client_id: id,
            will: None,
            username: login.map(|login| &*login.username),
            password: login.and_then(|login| login.password.as_deref()),
            properties: ConnectProperties::default(),
        }
    }

    /// The same for a session that outlives its connection, and is taken up where it exists.
    pub fn lasting<'a>(&'a self, id: &'a str) -> Connect<'a> {
        let mut connect = Connect { clean_start: false, ..self.clean(id) };
        if self.version.has_properties() {
            connect.properties.session_expiry = Some(SESSION_EXPIRY);
        }
        connect
    }

    /// A connected client with a clean session. `name` is told to people, and part of its identifier.
    pub fn client(&self, name: &str) -> Verdict<Client<'_>> {
        self.connect(name, &self.clean(&self.id(name)))
    }

    /// A connected client with a lasting session, new or resumed.
    pub fn lasting_client(&self, name: &str) -> Verdict<Client<'_>> {
        self.connect(name, &self.lasting(&self.id(name)))
    }

    /// Connects, and must be accepted.
    pub fn connect(&self, name: &str, connect: &Connect<'_>) -> Verdict<Client<'_>> {
        let mut client = self.dial(name, connect.version)?;
        client.send(&Packet::Connect(connect.clone()));
        client.accepted()?;
        Ok(client)
    }

    /// Connects; the answer is what the broker says of it, and the client where it is accepted.
    pub fn try_connect(&self, name: &str, connect: &Connect<'_>) -> Verdict<Result<Client<'_>, ReasonCode>> {
        let mut client = self.dial(name, connect.version)?;
        client.send(&Packet::Connect(connect.clone()));
        let heard = client.expect_connack()?;
        let reason = heard.connack().reason;
        Ok(if reason.is_failure() { Err(reason) } else { Ok(client) })
    }

    /// A connection on which nothing has been said.
    pub fn dial(&self, name: &str, version: Version) -> Verdict<Client<'_>> {
        let line = self
            .world
            .borrow_mut()
            .dial()
            .map_err(|Unable(why)| Stop::Failed { expected: "the broker takes connections".into(), got: why })?;
        self.clients.set(self.clients.get() + 1);
        self.say(name, "connects".into());
        Ok(Client::new(self, line, name, version))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.say("", format!("{} ms pass", time.as_millis()));
        self.world.borrow_mut().pass(time);
    }

    /// Time since the story began.
    pub fn now(&self) -> Duration {
        self.world.borrow().now()
    }

    /// Ends the broker and starts it again.
    pub fn restart(&self, ending: Ending) -> Verdict {
        self.say("", format!("the broker is {ending:?} and started again").to_lowercase());
        self.world.borrow_mut().restart(ending).map_err(|Unable(why)| Stop::Skipped(why))
    }

    /// Something that the standard only recommends, and that this broker does not do.
    pub fn advise(&self, text: impl Into<String>) {
        let text = text.into();
        let mut advice = self.advice.borrow_mut();
        // Of a table of packets each may earn it, and once is enough.
        if !advice.contains(&text) {
            advice.push(text);
        }
    }

    /// Something that the standard leaves open, and that is worth knowing.
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    /// Skips the rest: it cannot be judged here.
    pub fn skip<T>(&self, why: impl Into<String>) -> Verdict<T> {
        Err(Stop::Skipped(why.into()))
    }

    /// Fails unless `is_so`.
    pub fn check(&self, is_so: bool, expected: impl Into<String>, got: impl Into<String>) -> Verdict {
        if is_so { Ok(()) } else { Err(Stop::Failed { expected: expected.into(), got: got.into() }) }
    }

    /// Fails unless both are the same.
    #[expect(clippy::needless_pass_by_value, reason = "scripts compare what they have just made")]
    pub fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, expected: T, got: T) -> Verdict {
        let is_so = expected == got;
        self.check(is_so, format!("{what}: {expected:?}"), format!("{got:?}"))
    }

    /// How long nothing must come until it is said that nothing comes.
    pub fn silence(&self) -> Duration {
        self.world.borrow().silence()
    }

    /// Every QoS that the broker takes, the cheapest first.
    pub fn each_qos(&self) -> impl Iterator<Item = QoS> + use<> {
        let maximum = self.features().maximum_qos;
        QoS::ALL.into_iter().filter(move |qos| *qos <= maximum)
    }

    /// Each of these, sent by a client of its own that is connected, ends its connection.
    pub fn each_ends(&self, table: &[(&str, Vec<u8>)], reasons: &[ReasonCode]) -> Verdict {
        for (what, bytes) in table {
            let mut client = self.client("breaker")?;
            client.send_bytes(what, bytes);
            client.expect_end(reasons)?;
        }
        Ok(())
    }

    /// Each of these, sent on a connection of its own in place of a CONNECT, ends it. The versions without properties say nothing then (3.1.1
    /// `[MQTT-3.1.4-1]`).
    pub fn each_connect_ends(&self, table: &[(&str, Vec<u8>)], reasons: &[ReasonCode]) -> Verdict {
        for (what, bytes) in table {
            let mut client = self.dial("breaker", self.version)?;
            client.send_bytes(what, bytes);
            if self.version.has_properties() {
                client.expect_end(reasons)?;
            } else {
                client.expect_end_unsaid()?;
            }
        }
        Ok(())
    }

    /// Reads until the broker closes the connection; false where it does not.
    pub(super) fn until_closed(&self, line: LineNo, within: Duration, into: &mut Vec<u8>) -> bool {
        let until = self.now() + within;
        loop {
            let left = until.saturating_sub(self.now());
            let arrival = self.world.borrow_mut().receive(line, left, into);
            match arrival {
                Arrival::Bytes => {}
                Arrival::Closed => return true,
                Arrival::Nothing => return false,
            }
        }
    }

    pub(super) fn say(&self, who: &str, what: String) {
        let at = self.now();
        self.transcript.borrow_mut().push(Said { at, who: who.into(), what });
    }

    pub(super) fn hang_up(&self, line: LineNo) {
        self.world.borrow_mut().cut(line);
    }

    /// Whether nobody could do anything here, not even connect.
    pub(super) fn is_empty(&self) -> bool {
        self.transcript.borrow().is_empty()
    }

    /// What was said and noted.
    pub fn finish(self) -> Told {
        Told { transcript: self.transcript.into_inner(), notes: self.notes.into_inner(), advice: self.advice.into_inner() }
    }
}
