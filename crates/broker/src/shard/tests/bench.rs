//! One shard on a table, with clients that speak in packets.

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};

use columba_proto::{
    AckKind, PacketId, Peer, QoS, ReasonCode, Time, TopicName, Version, decode,
    packet::{
        Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, PublishProperties, Subscribe, SubscribeEntry,
        SubscriptionOptions, Will,
    },
    property::UserProperties,
    wire::{Split, split},
};

use crate::{
    Config, Shard, ShardSnapshot,
    commons::LocalCommons,
    durable::{ColdError, ColdRead, MessageRecord, Record, State, TargetRecord, Visit},
    id::{ChangeSeq, ConnectionId, MessageId, ShardId},
    message::Message,
    placement::Placement,
    route::{Strategies, Strategy},
    seam::{Commons as _, Cx, Gone, Origin, Output, ParcelTarget, SubscriptionIds},
};

pub(super) struct Bench {
    pub(super) shard: Shard,
    pub(super) commons: LocalCommons,
    pub(super) now: Time,
    /// Whether every record is on disk as soon as it is written.
    /// Where the next connections come from.
    pub(super) listener: u16,
    pub(super) syncs: bool,
    pub(super) cut: Option<ChangeSeq>,
    pub(super) events: Vec<String>,
    config: Arc<Config>,
    strategy: Strategy,
    /// Batches that were cut and are not on disk.
    written: Vec<Vec<u8>>,
    /// Batches that are.
    journal: Vec<Vec<u8>>,
    /// Which of it other shards have written.
    elsewhere: Vec<usize>,
}

/// A cold store in which nothing stands: the whole journal is replayed.
struct NoColdStore;

impl ColdRead for NoColdStore {
    fn get(&self, _: u8, _: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(None)
    }

    fn visit(&self, _: u8, _: &[u8], _: Option<&[u8]>, _: &mut Visit<'_>) -> Result<(), ColdError> {
        Ok(())
    }
}

#[derive(Clone, Copy)]
pub(super) struct Client {
    pub(super) id: ConnectionId,
    pub(super) version: Version,
}

pub(super) struct Setup<'a> {
    pub(super) version: Version,
    pub(super) clean: bool,
    pub(super) will: Option<Will<'a>>,
    pub(super) properties: ConnectProperties<'a>,
    pub(super) keep_alive: u16,
    pub(super) bridge: bool,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            version: Version::V311,
            clean: true,
            will: None,
            properties: ConnectProperties::default(),
            keep_alive: 0,
            bridge: false,
            username: None,
            password: None,
        }
    }
}

pub(super) fn persistent() -> Setup<'static> {
    Setup { clean: false, ..Setup::default() }
}

pub(super) fn v5(expiry: u32) -> Setup<'static> {
    let properties = ConnectProperties { session_expiry: Some(expiry), ..ConnectProperties::default() };
    Setup { version: Version::V5, clean: false, properties, ..Setup::default() }
}

pub(super) fn pid(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

pub(super) fn will(topic: &'static str, delay: u32) -> Will<'static> {
    Will {
        topic: TopicName::new(topic).unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        delay,
        properties: PublishProperties::default(),
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        Self::spreading(config, Strategy::RoundRobin)
    }

    /// Shared subscriptions spread their messages like this.
    pub(super) fn spreading(config: Config, strategy: Strategy) -> Self {
        let config = Arc::new(config);
        Self {
            shard: Shard::new(ShardId(0), Arc::clone(&config), 7),
            commons: commons(strategy),
            strategy,
            now: Time(1_000_000),
            syncs: true,
            cut: None,
            listener: 0,
            events: Vec::new(),
            config,
            written: Vec::new(),
            journal: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    pub(super) fn act<R>(&mut self, act: impl FnOnce(&mut Shard, &Cx<'_>) -> R) -> R {
        let cx = Cx { now: self.now, commons: &self.commons };
        let result = act(&mut self.shard, &cx);
        self.write();
        if self.syncs {
            self.sync();
        }
        result
    }

    /// The queue of the first group on a topic, as the target of a publication at QoS 1.
    pub(super) fn group_target(&mut self, topic: &str) -> ParcelTarget {
        let route = self.commons.index_mut().route(topic.into());
        let (session, claim) = (route.groups[0].queue.clone(), route.groups[0].claim);
        ParcelTarget { session, qos: QoS::AtLeastOnce, retain: false, claim, ids: SubscriptionIds::default() }
    }

    pub(super) fn sync(&mut self) {
        while self.sync_once() {}
    }

    /// One sync; what it lets go can have new records, which wait for the next.
    pub(super) fn sync_once(&mut self) -> bool {
        let Some(cut) = self.cut.take() else { return false };
        self.journal.append(&mut self.written);
        let cx = Cx { now: self.now, commons: &self.commons };
        self.shard.synced(&cx, cut);
        self.write();
        true
    }

    /// The journal has written what was cut, and not synced it.
    pub(super) fn write_through(&mut self) {
        let Some(cut) = self.cut else { return };
        let cx = Cx { now: self.now, commons: &self.commons };
        self.shard.written(&cx, cut);
        self.write();
    }

    fn write(&mut self) {
        let mut bytes = Vec::new();
        if let Some(cut) = self.shard.cut(&mut bytes) {
            self.cut = Some(cut);
            self.written.push(bytes);
        }
    }

    /// The broker dies, with all connections and whatever is not on disk, and starts again from its journal `ms` milliseconds later.
    pub(super) fn crash_for(&mut self, ms: u64) {
        let state = self.replay();
        if self.written.is_empty() {
            let stored = state.sessions.iter().map(|(no, session)| (*no, session.into())).collect();
            let groups = state.groups.iter().map(|(no, group)| (*no, (group.queue.keys().copied().collect(), None))).collect();
            let stored = ShardSnapshot { sessions: stored, groups };
            assert_eq!(self.shard.snapshot().with_cold_of(&stored), stored, "the journal tells what the shard knows");
        }
        self.written.clear();
        self.cut = None;
        self.now = self.now.plus_ms(ms);
        self.commons = commons(self.strategy);
        self.commons.clock().seen(state.highest);
        self.shard = Shard::new(ShardId(0), Arc::clone(&self.config), 7);
        for (topic, (id, kept)) in state.retained {
            self.commons.write_retained(&mut |store| store.restore(Arc::clone(&topic), id, kept.clone()));
        }
        for session in state.sessions.into_values() {
            self.act(|shard, cx| shard.restore(cx, session));
        }
        for (no, group) in state.groups {
            self.act(|shard, cx| shard.restore_group(cx, no, group));
        }
        for will in state.wills.into_values() {
            self.act(|shard, cx| shard.restore_will(cx, will));
        }
    }

    /// The same without a pause.
    pub(super) fn crash(&mut self) {
        self.crash_for(0);
    }

    /// Another shard publishes this for a session of ours; its letter is still on its way.
    pub(super) fn record_elsewhere(&mut self, id: MessageId, message: &Message, target: &ParcelTarget) {
        let target =
            TargetRecord { session: target.session.no, qos: target.qos, retain: target.retain, subscription_ids: Vec::new() };
        let message = MessageRecord::from(message);
        let mut bytes = Vec::new();
        Record::Published { id, message, targets: vec![target], sets_retained: false, will_of: None }.encode(&mut bytes);
        self.elsewhere.push(self.journal.len());
        self.journal.push(bytes);
    }

    /// A second broker with the same past.
    pub(super) fn clone_journal(&self) -> Self {
        let mut other = Self::new();
        (other.journal, other.now) = (self.journal.clone(), self.now);
        // What it does not know yet is not compared.
        other.written.push(Vec::new());
        other
    }

    pub(super) fn replay(&self) -> State {
        replay(self.journal.iter().cloned())
    }

    /// The same where all since the first record of another shard is one commit, and such records stand last in it.
    pub(super) fn replay_with_elsewhere_last(&self) -> State {
        let (before, behind) = self.journal.split_at(self.elsewhere[0]);
        let (theirs, ours): (Vec<_>, Vec<_>) =
            (before.len()..).zip(behind).partition(|(place, _)| self.elsewhere.contains(place));
        let one = ours.into_iter().chain(theirs).flat_map(|(_, batch)| batch.iter().copied()).collect();
        replay(before.iter().cloned().chain([one]))
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.act(Shard::tick);
    }

    /// Turns until nobody waits for one; the answer is how many it took.
    pub(super) fn take_turns(&mut self) -> usize {
        let mut turns = 0;
        while self.shard.next_wake().is_some_and(|at| at < self.now) {
            self.pass(0);
            turns += 1;
            assert!(turns < 1_000_000, "it never ends");
        }
        turns
    }

    /// Connects and takes the CONNACK; the answer says whether a session was there.
    pub(super) fn connect(&mut self, client_id: &str, setup: &Setup<'_>) -> (Client, bool) {
        let client = self.open(client_id, setup);
        let told = self.told(client);
        assert!(told.first().is_some_and(|first| first.starts_with("connack")), "{told:?}");
        (client, told[0] == "connack present")
    }

    pub(super) fn open(&mut self, client_id: &str, setup: &Setup<'_>) -> Client {
        let listener = self.listener;
        let id = self.act(|shard, cx| shard.opened(cx, Origin::new("table", listener)));
        let connect = Connect {
            version: setup.version,
            bridge: setup.bridge,
            clean_start: setup.clean,
            keep_alive: setup.keep_alive,
            client_id,
            will: setup.will.clone(),
            username: setup.username,
            password: setup.password,
            properties: setup.properties,
        };
        let client = Client { id, version: setup.version };
        self.say(client, &Packet::Connect(connect));
        client
    }

    pub(super) fn say(&mut self, client: Client, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(client.version, &mut bytes).unwrap();
        self.say_bytes(client, &bytes);
    }

    pub(super) fn say_bytes(&mut self, client: Client, bytes: &[u8]) {
        self.act(|shard, cx| shard.received(cx, client.id, bytes));
    }

    /// SUBSCRIBE, its answer left to be read.
    pub(super) fn ask(&mut self, client: Client, filter: &str, options: impl Into<SubscriptionOptions>) {
        let entries = [SubscribeEntry { filter, options: options.into() }];
        let entries = (&entries[..]).into();
        let subscribe = Subscribe { id: pid(9), subscription_id: None, user_properties: UserProperties::default(), entries };
        self.say(client, &Packet::Subscribe(subscribe));
    }

    /// SUBSCRIBE of a client that wants the publishers' RETAIN, its answer left to be read.
    pub(super) fn ask_as_published(&mut self, client: Client, filter: &str, qos: QoS) {
        self.ask(client, filter, SubscriptionOptions { retain_as_published: true, ..qos.into() });
    }

    pub(super) fn subscribe_as_published(&mut self, client: Client, filter: &str, qos: QoS) {
        self.ask_as_published(client, filter, qos);
        assert_eq!(self.told(client), [format!("suback {}", qos as u8)]);
    }

    pub(super) fn subscribe(&mut self, client: Client, filter: &str, qos: QoS) {
        self.ask(client, filter, qos);
        let told = self.told(client);
        assert_eq!(told, [format!("suback {}", qos as u8)]);
    }

    pub(super) fn publish(&mut self, client: Client, topic: &str, qos: QoS, id: u16, payload: &str) {
        self.say(client, &Packet::Publish(message(topic, qos, id, payload)));
    }

    pub(super) fn ack(&mut self, client: Client, kind: AckKind, id: u16) {
        self.say(client, &Packet::Ack(Ack::new(kind, pid(id), ReasonCode::SUCCESS)));
    }

    pub(super) fn disconnect(&mut self, client: Client) {
        self.say(client, &Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    }

    pub(super) fn cut_off(&mut self, client: Client) {
        self.act(|shard, cx| shard.closed(cx, client.id, Gone::Failed));
    }

    /// The bytes that have been sent to a client since the last time.
    pub(super) fn bytes(&mut self, client: Client) -> Vec<u8> {
        let Some(out) = self.shard.out(client.id) else { return vec![] };
        let bytes = out.pending().to_vec();
        out.consume(bytes.len());
        bytes
    }

    /// All packets that have been sent to a client since the last time, in words.
    pub(super) fn told(&mut self, client: Client) -> Vec<String> {
        if self.shard.out(client.id).is_none() {
            return vec![];
        }
        let bytes = self.bytes(client);
        let mut told = Vec::new();
        let mut rest = &bytes[..];
        while let Ok(Split::Frame { first, body, len }) = split(rest, u32::MAX) {
            told.push(words(&decode(client.version, Peer::Server, first, body).unwrap()));
            rest = &rest[len..];
        }
        assert!(rest.is_empty(), "only whole packets");
        self.act(|shard, cx| shard.flushed(cx, client.id));
        self.outputs();
        told
    }

    /// What a client gets that comes back to its lasting session.
    pub(super) fn collect(&mut self, client_id: &str) -> Vec<String> {
        let client = self.open(client_id, &persistent());
        let mut told = self.told(client);
        assert!(told.remove(0).starts_with("connack"));
        told
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.shard.pop_output() {
            match output {
                Output::Event(event) => self.events.push(format!("{event:?}")),
                Output::Close { .. }
                | Output::ToShard { .. }
                | Output::HandOver { .. }
                | Output::Load { .. }
                | Output::LoadRetained { .. }
                | Output::Ask { .. } => {
                    outputs.push(output);
                }
            }
        }
        outputs
    }
}

fn commons(strategy: Strategy) -> LocalCommons {
    let strategies = Strategies { default: strategy, ..Strategies::default() };
    LocalCommons::with(Placement::new([0; 16], 4, 1), 7, strategies)
}

fn replay(commits: impl Iterator<Item = Vec<u8>>) -> State {
    let mut state = State::default();
    for commit in commits {
        let mut bytes = &commit[..];
        while !bytes.is_empty() {
            state.apply(&Record::decode(&mut bytes).unwrap()).unwrap();
        }
        state.end_of_commit();
    }
    state.finish(&NoColdStore).unwrap();
    state
}

pub(super) fn message<'a>(topic: &'a str, qos: QoS, id: u16, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::new(topic).unwrap()),
        packet_id: PacketId::new(id),
        payload: payload.as_bytes(),
        properties: PublishProperties::default(),
    }
}

/// The packet identifier of a PUBLISH in words.
pub(super) fn id_of(publish: &str) -> u16 {
    let id = publish.split(" id").nth(1).and_then(|rest| rest.split(' ').next());
    id.and_then(|id| id.parse().ok()).expect("a PUBLISH with an identifier")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is told by its name")]
fn words(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connack(connack) if connack.reason.is_failure() => format!("connack {:#04x}", connack.reason.get()),
        Packet::Connack(connack) => format!("connack {}", if connack.session_present { "present" } else { "new" }),
        Packet::Publish(publish) => {
            let flag = |set, word| if set { word } else { "" };
            let id = publish.packet_id.map_or(0, PacketId::get);
            let payload = String::from_utf8_lossy(publish.payload);
            let qos = publish.qos as u8;
            let left = publish.properties.message_expiry.map(|seconds| format!(" for {seconds}s")).unwrap_or_default();
            let topic = publish.topic.map_or("", TopicName::as_str);
            let alias = publish.properties.topic_alias.map(|alias| format!("={alias}")).unwrap_or_default();
            format!(
                "publish{}{} q{qos} id{id} {topic}{alias} {payload}{left}",
                flag(publish.dup, " dup"),
                flag(publish.retain, " retain"),
            )
        }
        Packet::Ack(ack) => {
            let kind = format!("{:?}", ack.kind).to_lowercase();
            let reason = if ack.reason == ReasonCode::SUCCESS { String::new() } else { format!(" {:#04x}", ack.reason.get()) };
            format!("{kind} {}{reason}", ack.id.get())
        }
        Packet::Suback(suback) => {
            let codes: Vec<_> = suback.reasons.iter().map(|reason| format!("{}", reason.get())).collect();
            format!("suback {}", codes.join(" "))
        }
        Packet::Auth(auth) => format!("auth {:#04x}", auth.reason.get()),
        Packet::Disconnect(disconnect) => format!("disconnect {:#04x}", disconnect.reason.get()),
        other => format!("{:?}", other.packet_type()).to_lowercase(),
    }
}
