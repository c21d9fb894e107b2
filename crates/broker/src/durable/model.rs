//! For tests: a plain cold store, and random but possible histories of a broker of three shards with what must come out of them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use columba_proto::{PacketId, QoS, Time, packet::RetainHandling};

use super::*;
use crate::{
    id::{GroupKey, MessageId, SessionNo},
    testing::Rng,
};

/// A cold store in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryCold(pub(super) BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl MemoryCold {
    pub(super) fn write(&mut self, changes: Vec<KeyChange>) {
        let mut written = BTreeSet::new();
        for KeyChange { space, key, value } in changes {
            assert!(SPACES.contains(&space));
            assert!((1..=65_535).contains(&key.len()), "a store takes keys of this length");
            assert!(written.insert((space, key.clone())), "one change a key: {space} {key:?}");
            match value {
                Some(value) => drop(self.0.insert((space, key), value)),
                None => drop(self.0.remove(&(space, key))),
            }
        }
    }

    /// How many keys a space has.
    pub(super) fn keys(&self, space: u8) -> usize {
        self.0.keys().filter(|(of, _)| *of == space).count()
    }
}

impl ColdRead for MemoryCold {
    fn get(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }

    fn visit(&self, space: u8, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), ColdError> {
        for ((of, key), value) in self.0.range((space, from.to_vec())..) {
            if *of != space || to.is_some_and(|to| key.as_slice() >= to) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// One commit: the records of each shard, in the shard's order.
pub(super) type Commit = Vec<Vec<Vec<u8>>>;

const SHARDS: usize = 3;
const TOPICS: [&str; 4] = ["a", "a/b", "c", "$x"];
const GROUPS: [&str; 2] = ["$share/g/a", "$share/h/#"];
const FILTERS: [&str; 4] = ["a/#", "+", "$share/g/a", "a/b"];

/// A broker whose records are written down.
pub(super) struct Live {
    pub(super) rng: Rng,
    seq: u64,
    pub(super) sessions: BTreeMap<SessionNo, LiveSession>,
    gone: Vec<SessionNo>,
    wills: Vec<SessionNo>,
    /// What shared subscriptions have, by their places.
    pub(super) groups: BTreeSet<(SessionNo, MessageId)>,
    pub(super) retained: BTreeMap<&'static str, (MessageId, String)>,
    buffers: Commit,
    /// Records that come with the next commit, though their identities are older.
    delayed: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Default)]
pub(super) struct LiveSession {
    pub(super) queue: BTreeMap<MessageId, QoS>,
    pub(super) in_flight: Vec<(PacketId, MessageId, QoS, bool)>,
    received: BTreeMap<PacketId, String>,
    filters: BTreeSet<&'static str>,
}

impl Live {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            seq: 0,
            sessions: BTreeMap::new(),
            gone: Vec::new(),
            wills: Vec::new(),
            groups: BTreeSet::new(),
            retained: BTreeMap::new(),
            buffers: alloc::vec![Vec::new(); SHARDS],
            delayed: Vec::new(),
        }
    }

    /// Ends the commit.
    pub(super) fn commit(&mut self) -> Commit {
        let commit = core::mem::replace(&mut self.buffers, alloc::vec![Vec::new(); SHARDS]);
        for (shard, record) in core::mem::take(&mut self.delayed) {
            self.buffers[shard].push(record);
        }
        commit
    }

    pub(super) fn step(&mut self) {
        match self.rng.below(100) {
            0..6 => self.create(),
            6..9 => self.end(),
            9..14 => self.link(),
            14..19 => self.subscriptions(),
            19..45 => self.publish(),
            45..50 => self.receive(),
            50..55 => self.release(),
            55..75 => self.send(),
            75..95 => self.acknowledge(),
            95..96 => self.drop_one(),
            96..98 => self.leave_group(),
            _ => self.lone_will(),
        }
    }

    pub(super) fn end_all(&mut self) {
        while !self.sessions.is_empty() {
            self.end();
        }
        while !self.groups.is_empty() {
            self.leave_group();
        }
        while let Some(session) = self.wills.pop() {
            self.write(session, &Record::WillGone { session });
        }
    }

    fn id(&mut self) -> u64 {
        self.seq += 1;
        self.seq << 12
    }

    fn write(&mut self, owner: SessionNo, record: &Record<'_>) {
        let shard = (owner.0 >> 12) as usize % SHARDS;
        self.buffers[shard].push(encoded(record));
    }

    fn any(&mut self) -> Option<SessionNo> {
        if self.sessions.is_empty() {
            return None;
        }
        let nth = self.rng.below(self.sessions.len());
        self.sessions.keys().nth(nth).copied()
    }

    fn create(&mut self) {
        let session = SessionNo(self.id());
        let client_id = format!("client {}", session.0);
        self.write(session, &Record::Created { session, client_id: &client_id });
        self.sessions.insert(session, LiveSession::default());
        if self.rng.chance(80) {
            self.attach(session);
        }
    }

    fn attach(&mut self, session: SessionNo) {
        let will = WillRecord { message: message("will", "bye", false), delay: 5, message_expiry: Some(7) };
        let will = self.rng.chance(50).then_some(will);
        self.write(session, &Record::Attached { session, expiry: 60, will });
    }

    fn link(&mut self) {
        let Some(session) = self.any() else { return };
        if self.rng.chance(50) {
            self.attach(session);
        } else {
            let (at, will_stands) = (Time(self.rng.next() >> 20), self.rng.chance(50));
            self.write(session, &Record::Detached { session, at, expiry: 9, will_stands });
            if will_stands && self.rng.chance(50) {
                let id = MessageId(self.id());
                let message = message("will", "bye", false);
                self.write(
                    session,
                    &Record::Published { id, message, targets: Vec::new(), sets_retained: false, will_of: Some(session) },
                );
            }
        }
    }

    fn end(&mut self) {
        let Some(session) = self.any() else { return };
        self.sessions.remove(&session);
        self.write(session, &Record::Deleted { session });
        self.gone.push(session);
    }

    /// A member acknowledges a message of a group, or it becomes the member's own. Whichever shard that is on.
    fn leave_group(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let nth = self.rng.below(self.groups.len());
        let Some(&(place, message)) = self.groups.iter().nth(nth) else { return };
        self.groups.remove(&(place, message));
        let heir = self.any().filter(|_| self.rng.chance(30));
        if let Some(session) = heir {
            let id = MessageId(self.id());
            let target = TargetRecord { session, qos: QoS::ExactlyOnce, retain: false, subscription_ids: Vec::from([1]) };
            let content = self::message("a", "one of a group's", false);
            let targets = Vec::from([target]);
            self.write(session, &Record::Published { id, message: content, targets, sets_retained: false, will_of: None });
            self.sessions.get_mut(&session).unwrap().queue.insert(id, QoS::ExactlyOnce);
        }
        let writer = heir.unwrap_or_else(|| SessionNo((self.rng.below(SHARDS) as u64) << 12));
        self.write(writer, &Record::Dropped { session: place, message });
    }

    fn subscriptions(&mut self) {
        let Some(session) = self.any() else { return };
        let filter = *self.rng.pick(&FILTERS);
        let cursor = self.rng.chance(50).then_some(MessageId(self.seq << 12));
        let grant = GrantRecord {
            qos: QoS::ExactlyOnce,
            no_local: self.rng.chance(20),
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            subscription_id: 300,
            cursor,
        };
        let it = self.sessions.get_mut(&session).unwrap();
        if !it.filters.contains(filter) {
            it.filters.insert(filter);
            self.write(session, &Record::Subscribed { session, filter, grant });
        } else if self.rng.chance(30) {
            it.filters.remove(filter);
            self.write(session, &Record::Unsubscribed { session, filter });
        } else {
            let after = self.rng.chance(60).then_some("a/b");
            self.write(session, &Record::Cursor { session, filter, after });
        }
    }

    /// Up to five durable targets, also one that has just ended.
    fn targets(&mut self, id: MessageId) -> Vec<TargetRecord> {
        let mut chosen = BTreeSet::new();
        for _ in 0..self.rng.below(6) {
            chosen.extend(self.any());
        }
        if self.rng.chance(10) {
            chosen.extend(self.gone.last());
        }
        let mut targets = Vec::new();
        for session in chosen {
            let qos = if self.rng.chance(50) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let retain = self.rng.chance(30);
            if let Some(it) = self.sessions.get_mut(&session) {
                it.queue.insert(id, qos);
            }
            let subscription_ids = (0..self.rng.below(3)).map(|_| self.rng.small()).collect();
            targets.push(TargetRecord { session, qos, retain, subscription_ids });
        }
        for group in GROUPS {
            if self.rng.chance(20) {
                let session = GroupKey::of(group).place();
                self.groups.insert((session, id));
                targets.push(TargetRecord { session, qos: QoS::AtLeastOnce, retain: false, subscription_ids: Vec::new() });
            }
        }
        targets
    }

    fn payload(&mut self, id: u64) -> String {
        let len = if self.rng.chance(20) { 3000 } else { 10 };
        format!("{id:len$}")
    }

    fn retain(&mut self, topic: &'static str, id: MessageId, payload: &str) {
        if self.retained.get(topic).is_none_or(|(known, _)| *known < id) {
            self.retained.insert(topic, (id, payload.into()));
        }
    }

    fn publish(&mut self) {
        let id = MessageId(self.id());
        let topic = *self.rng.pick(&TOPICS);
        let sets_retained = self.rng.chance(30);
        let payload = if sets_retained && self.rng.chance(40) { String::new() } else { self.payload(id.0) };
        let late = sets_retained && self.rng.chance(40);
        let targets = if late { Vec::new() } else { self.targets(id) };
        if sets_retained {
            self.retain(topic, id, &payload);
        }
        let record =
            Record::Published { id, message: message(topic, &payload, sets_retained), targets, sets_retained, will_of: None };
        let shard = self.rng.below(SHARDS);
        if late {
            self.delayed.push((shard, encoded(&record)));
        } else {
            self.buffers[shard].push(encoded(&record));
        }
    }

    fn receive(&mut self) {
        let Some(session) = self.any() else { return };
        let payload = self.payload(session.0);
        let it = self.sessions.get_mut(&session).unwrap();
        let packet_id = free(|id| it.received.contains_key(&id));
        it.received.insert(packet_id, payload.clone());
        self.write(session, &Record::Received { session, packet_id, message: message("c", &payload, true) });
    }

    fn release(&mut self) {
        let Some(session) = self.any() else { return };
        let it = self.sessions.get_mut(&session).unwrap();
        let Some((packet_id, payload)) = it.received.pop_first() else { return };
        let id = MessageId(self.id());
        let targets = self.targets(id);
        let sets_retained = self.rng.chance(30);
        if sets_retained {
            self.retain("c", id, &payload);
        }
        self.write(session, &Record::Released { session, packet_id, id, targets, sets_retained });
    }

    fn send(&mut self) {
        let Some(session) = self.any() else { return };
        let it = self.sessions.get_mut(&session).unwrap();
        let unsent = it.queue.iter().find(|(id, _)| it.in_flight.iter().all(|(_, other, ..)| other != *id));
        let Some((&message, &qos)) = unsent else { return };
        let packet_id = free(|id| it.in_flight.iter().any(|(used, ..)| *used == id));
        it.in_flight.push((packet_id, message, qos, false));
        self.write(session, &Record::Sent { session, packet_id, message, qos });
    }

    fn acknowledge(&mut self) {
        let Some(session) = self.any() else { return };
        let at = self.rng.below(3);
        let refused = self.rng.chance(10);
        let it = self.sessions.get_mut(&session).unwrap();
        let Some((packet_id, message, qos, passed)) = it.in_flight.get(at).copied() else { return };
        if qos == QoS::ExactlyOnce && !passed && !refused {
            it.in_flight[at].3 = true;
            it.queue.remove(&message);
            self.write(session, &Record::Passed { session, packet_id, message });
        } else {
            it.in_flight.remove(at);
            it.queue.remove(&message);
            self.write(session, &Record::Settled { session, packet_id, message: (!passed).then_some(message) });
        }
    }

    fn drop_one(&mut self) {
        let Some(session) = self.any() else { return };
        let it = self.sessions.get_mut(&session).unwrap();
        let unsent = it.queue.keys().find(|id| it.in_flight.iter().all(|(_, other, ..)| other != *id)).copied();
        if let Some(message) = unsent {
            it.queue.remove(&message);
            self.write(session, &Record::Dropped { session, message });
        }
    }

    fn lone_will(&mut self) {
        if self.rng.chance(60) || self.wills.is_empty() {
            let session = SessionNo(self.id());
            let will = WillRecord { message: message("will", "lone", true), delay: 0, message_expiry: None };
            self.write(session, &Record::WillSet { session, client_id: "ephemeral", will });
            self.wills.push(session);
        } else {
            let at = self.rng.below(self.wills.len());
            let session = self.wills.swap_remove(at);
            self.write(session, &Record::WillGone { session });
        }
    }
}

fn message<'a>(topic: &'a str, payload: &'a str, retain: bool) -> MessageRecord<'a> {
    MessageRecord {
        topic,
        qos: QoS::ExactlyOnce,
        retain,
        expires: retain.then_some(Time(77)),
        properties: &[1, 1],
        payload: payload.as_bytes(),
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn free(used: impl Fn(PacketId) -> bool) -> PacketId {
    (1..=u16::MAX).filter_map(PacketId::new).find(|id| !used(*id)).unwrap()
}
