//! Shards, connections and the disk, driven by hand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use columba_broker::{
    Config, SessionSnapshot, Shard,
    auth::Answer,
    commons::LocalCommons,
    id::{ConnectionId, MessageId, SessionNo, ShardId},
    placement::Placement,
    seam::{Commons as _, Cx, Gone, Origin, Output, Parcel},
};
use columba_proto::{Time, Version};

use crate::passwords;

use super::{
    client::{CLIENTS_MAX, Client},
    journal::Journal,
    packets,
};

/// Rounds until nothing moves any more; a conversation between shards and disk has only a few.
const ROUNDS_MAX: usize = 10_000;

/// From one shard to another.
enum Mail {
    Parcel(Parcel),
    Connection {
        client: usize,
        opened: usize,
        bytes: Vec<u8>,
    },
    /// The cold store has everything up to here.
    Stored(MessageId),
    /// A password has been looked at.
    Answer(ConnectionId, Answer),
}

/// The broker's end of a connection.
struct Door {
    client: Client,
    /// Which of all doors this is, by the order of their opening.
    opened: usize,
    shard: usize,
    /// `None` while it is on its way to another shard.
    connection: Option<ConnectionId>,
    /// The client reads nothing.
    is_blocked: bool,
    /// Bytes of the out-buffer that the client's judge has seen.
    shown: usize,
    /// What the broker does not want to read yet.
    waiting: Vec<u8>,
    /// Close when everything is written.
    lingers: bool,
}

/// The whole broker.
pub(super) struct World {
    config: Arc<Config>,
    commons: LocalCommons,
    shards: Vec<Shard>,
    mail: Vec<VecDeque<Mail>>,
    loads: VecDeque<(usize, SessionNo, MessageId, u16)>,
    doors: [Option<Door>; CLIENTS_MAX],
    opened: usize,
    journal: Journal,
    has_failed: bool,
    now: Time,
}

impl World {
    pub(super) fn new(shards: u16, config: Arc<Config>) -> Self {
        Self {
            commons: commons(shards),
            shards: brains(shards, &config),
            mail: (0..shards).map(|_| VecDeque::new()).collect(),
            loads: VecDeque::new(),
            doors: Default::default(),
            opened: 0,
            journal: Journal::new(shards),
            has_failed: false,
            now: Time(1_000_000),
            config,
        }
    }

    fn with<T>(&mut self, shard: usize, act: impl FnOnce(&mut Shard, &Cx<'_>) -> T) -> T {
        act(&mut self.shards[shard], &Cx { now: self.now, commons: &self.commons })
    }

    /// A client connects, where it is not connected.
    pub(super) fn open(&mut self, client: usize, shard: usize) {
        if self.doors[client].is_some() {
            return;
        }
        let shard = shard % self.shards.len();
        self.opened += 1;
        self.doors[client] = Some(Door {
            client: Client::new(),
            opened: self.opened,
            shard,
            connection: None,
            is_blocked: false,
            shown: 0,
            waiting: Vec::new(),
            lingers: false,
        });
        self.enter(client, shard);
        self.end_turn(shard);
    }

    fn enter(&mut self, client: usize, shard: usize) {
        let origin = Origin::new(format!("client {client}"), 0);
        let connection = self.with(shard, |shard, cx| shard.opened(cx, origin));
        if let Some(door) = &mut self.doors[client] {
            (door.shard, door.connection, door.shown) = (shard, Some(connection), 0);
        }
    }

    /// A packet in the client's version.
    pub(super) fn send_packet(&mut self, client: usize, packet: impl FnOnce(Version) -> Vec<u8>) {
        if let Some(door) = &self.doors[client] {
            let bytes = packet(door.client.version());
            self.send(client, &bytes);
        }
    }

    /// The client answers what came first of that which it has not answered.
    pub(super) fn answer(&mut self, client: usize, refuses: bool) {
        if let Some(door) = &mut self.doors[client]
            && let Some((kind, id)) = door.client.next_answer()
        {
            let version = door.client.version();
            let refuses = refuses && version.has_properties();
            self.send(client, &packets::answer(version, kind, id, refuses));
        }
    }

    /// Any bytes. They wait while the broker does not want to read.
    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        if let Some(door) = &mut self.doors[client] {
            door.waiting.extend_from_slice(bytes);
            self.read(client);
        }
    }

    fn read(&mut self, client: usize) {
        let Some(door) = &mut self.doors[client] else { return };
        let (shard, Some(connection)) = (door.shard, door.connection) else { return };
        if door.waiting.is_empty() || !self.shards[shard].wants_reading(connection) {
            return;
        }
        let bytes = std::mem::take(&mut door.waiting);
        door.client.says(&bytes);
        self.with(shard, |shard, cx| shard.received(cx, connection, &bytes));
        self.end_turn(shard);
    }

    /// The client's socket is gone.
    pub(super) fn closed(&mut self, client: usize, gone: Gone) {
        let Some(door) = self.doors[client].take() else { return };
        if let Some(connection) = door.connection {
            self.with(door.shard, |shard, cx| shard.closed(cx, connection, gone));
            self.end_turn(door.shard);
        }
    }

    /// From now on the client reads nothing; or again, everything.
    pub(super) fn block(&mut self, client: usize) {
        let Some(door) = &mut self.doors[client] else { return };
        door.is_blocked = !door.is_blocked;
        if !door.is_blocked {
            self.write(client, usize::MAX);
        }
    }

    /// A blocked client reads a little.
    pub(super) fn take(&mut self, client: usize, bytes: usize) {
        self.write(client, bytes);
    }

    fn write(&mut self, client: usize, most: usize) {
        let Some(door) = &mut self.doors[client] else { return };
        let (shard, Some(connection)) = (door.shard, door.connection) else { return };
        let Some(out) = self.shards[shard].out(connection) else { return };
        let count = out.len().min(most);
        door.client.hears(&out.pending()[door.shown..]);
        out.consume(count);
        door.shown = out.len();
        if door.lingers && out.is_empty() {
            self.closed(client, Gone::ByPeer);
        } else if count > 0 {
            self.with(shard, |shard, cx| shard.flushed(cx, connection));
            self.end_turn(shard);
        }
    }

    /// Everything after the inputs: records, outputs, bytes, and what may be read again.
    fn end_turn(&mut self, shard: usize) {
        for _ in 0..ROUNDS_MAX {
            let mut records = Vec::new();
            if let Some(seq) = self.shards[shard].cut(&mut records) {
                self.journal.append(shard, seq, &records);
            } else if let Some(output) = self.shards[shard].pop_output() {
                self.output(shard, output);
            } else if let Some(connection) = self.shards[shard].pop_dirty() {
                self.has_bytes(shard, connection);
            } else if let Some(connection) = self.shards[shard].pop_reading_changed() {
                if let Some(client) = self.client_of(shard, connection) {
                    self.read(client);
                }
            } else {
                return;
            }
        }
        panic!("shard {shard} does not come to rest");
    }

    fn client_of(&self, shard: usize, connection: ConnectionId) -> Option<usize> {
        let is_it =
            |door: &Option<Door>| door.as_ref().is_some_and(|door| (door.shard, door.connection) == (shard, Some(connection)));
        self.doors.iter().position(is_it)
    }

    fn has_bytes(&mut self, shard: usize, connection: ConnectionId) {
        let Some(client) = self.client_of(shard, connection) else { return };
        let is_blocked = self.doors[client].as_ref().is_some_and(|door| door.is_blocked);
        self.write(client, if is_blocked { 0 } else { usize::MAX });
    }

    fn output(&mut self, shard: usize, output: Output) {
        match output {
            Output::ToShard { to, parcel } => self.mail[usize::from(to.0)].push_back(Mail::Parcel(parcel)),
            Output::HandOver { connection, to, bytes } => {
                let Some(client) = self.client_of(shard, connection) else { return };
                if let Some(door) = &mut self.doors[client] {
                    (door.shard, door.connection) = (usize::from(to.0), None);
                    self.mail[door.shard].push_back(Mail::Connection { client, opened: door.opened, bytes });
                }
            }
            Output::Close { connection, linger } => {
                let Some(client) = self.client_of(shard, connection) else { return };
                if linger {
                    if let Some(door) = &mut self.doors[client] {
                        door.lingers = true;
                    }
                    self.has_bytes(shard, connection);
                } else {
                    self.doors[client] = None;
                }
            }
            Output::Load { session, after, count } => self.loads.push_back((shard, session, after, count)),
            Output::LoadRetained { session, topics } => {
                let loaded = self.journal.load_retained(session, topics);
                self.with(shard, |shard, cx| shard.retained_loaded(cx, loaded));
            }
            Output::Ask { connection, question } => {
                let answer = passwords::judge(self.config.login.as_ref(), &question);
                self.mail[shard].push_back(Mail::Answer(connection, answer));
            }
            Output::Event(event) => assert!(!format!("{event:?}").is_empty(), "an event can be told"),
        }
    }

    /// A shard gets the first letter of its mailbox.
    pub(super) fn deliver_mail(&mut self, shard: usize) {
        let shard = shard % self.shards.len();
        match self.mail[shard].pop_front() {
            Some(Mail::Parcel(parcel)) => self.with(shard, |shard, cx| shard.parcel(cx, parcel)),
            Some(Mail::Stored(up_to)) => self.shards[shard].stored(up_to),
            Some(Mail::Answer(connection, answer)) => self.with(shard, |shard, cx| shard.answered(cx, connection, answer)),
            Some(Mail::Connection { client, opened, bytes }) => self.move_in(shard, client, opened, &bytes),
            None => {}
        }
        self.end_turn(shard);
    }

    /// A connection comes from another shard, with what was read there.
    fn move_in(&mut self, shard: usize, client: usize, opened: usize, bytes: &[u8]) {
        // It may have gone on the way, and another may have come in its place.
        if self.doors[client].as_ref().is_none_or(|door| door.opened != opened) {
            return;
        }
        self.enter(client, shard);
        if let Some(connection) = self.doors[client].as_ref().and_then(|door| door.connection) {
            self.with(shard, |shard, cx| shard.received(cx, connection, bytes));
        }
        self.end_turn(shard);
        self.read(client);
    }

    /// The first wish to read a queue is granted.
    pub(super) fn load(&mut self) {
        if let Some((shard, session, after, count)) = self.loads.pop_front() {
            let loaded = self.journal.load(session, after, count);
            self.with(shard, |shard, cx| shard.loaded(cx, loaded));
            self.end_turn(shard);
        }
    }

    /// Everything is on disk, and the shards hear of it.
    pub(super) fn sync(&mut self) {
        if self.has_failed {
            return;
        }
        let held = self.shards.iter().filter_map(Shard::holds_from).map(|first| MessageId(first.0 - 1));
        let mark = held.min().unwrap_or_else(|| self.commons.clock().latest());
        let synced = self.journal.sync(mark);
        for (shard, up_to) in synced.into_iter().enumerate() {
            if let Some(up_to) = up_to {
                self.with(shard, |shard, cx| shard.synced(cx, up_to));
                self.end_turn(shard);
            }
        }
    }

    pub(super) fn checkpoint(&mut self) {
        if let Some(up_to) = self.journal.checkpoint() {
            self.commons.write_retained(&mut |store| while store.stored(up_to, 0, 3) {});
            self.mail.iter_mut().for_each(|mail| mail.push_back(Mail::Stored(up_to)));
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        for shard in 0..self.shards.len() {
            self.with(shard, Shard::tick);
            self.end_turn(shard);
        }
    }

    pub(super) fn journal_is_full(&mut self, is_full: bool) {
        for shard in 0..self.shards.len() {
            self.with(shard, |shard, cx| shard.journal_is_full(cx, is_full));
            self.end_turn(shard);
        }
    }

    /// Memory has too much of queues, or has room again.
    pub(super) fn hold_back(&mut self, holds_back: bool) {
        for shard in 0..self.shards.len() {
            self.with(shard, |shard, cx| shard.hold_back(cx, holds_back));
            self.end_turn(shard);
        }
    }

    pub(super) fn journal_fails(&mut self) {
        if std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        for shard in 0..self.shards.len() {
            self.with(shard, Shard::journal_failed);
            self.end_turn(shard);
        }
    }

    /// Everybody is sent away; only a restart lets them in again.
    pub(super) fn shut_down(&mut self) {
        for shard in 0..self.shards.len() {
            self.with(shard, Shard::shutdown);
            self.end_turn(shard);
        }
    }

    /// The process dies and starts again, from what is on disk.
    pub(super) fn crash(&mut self) {
        let shards = u16::try_from(self.shards.len()).expect("at most two");
        self.doors = Default::default();
        self.mail.iter_mut().for_each(VecDeque::clear);
        self.loads.clear();
        self.journal.crash();
        self.has_failed = false;
        self.commons = commons(shards);
        self.shards = brains(shards, &self.config);
        let state = self.journal.state();
        self.commons.clock().seen(state.highest);
        for (topic, (id, kept)) in state.retained {
            self.commons.write_retained(&mut |store| store.restore(Arc::clone(&topic), id, kept.clone()));
        }
        for session in state.sessions.into_values() {
            let shard = self.owner(&session.client_id);
            self.with(shard, |shard, cx| shard.restore(cx, session));
        }
        for will in state.wills.into_values() {
            let shard = self.owner(&will.client_id);
            self.with(shard, |shard, cx| shard.restore_will(cx, will));
        }
        for shard in 0..self.shards.len() {
            self.end_turn(shard);
        }
    }

    fn owner(&self, client_id: &str) -> usize {
        let placement = self.commons.placement();
        usize::from(placement.shard(placement.lane(client_id)).0)
    }

    /// Everyone reads, everything on its way arrives.
    pub(super) fn settle(&mut self) {
        self.journal_is_full(false);
        self.hold_back(false);
        for client in 0..CLIENTS_MAX {
            if self.doors[client].as_ref().is_some_and(|door| door.is_blocked) {
                self.block(client);
            }
        }
        for _ in 0..ROUNDS_MAX {
            let mail = self.mail.iter().position(|mail| !mail.is_empty());
            if let Some(shard) = mail {
                self.deliver_mail(shard);
            } else if !self.loads.is_empty() {
                self.load();
            } else if !self.has_failed && self.shards.iter().any(Shard::is_waiting) {
                self.sync();
            } else {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    /// What the shards know must be the fold of what is on disk.
    pub(super) fn compare(&self) {
        if self.has_failed {
            return;
        }
        let state = self.journal.whole_state();
        let mut live: BTreeMap<_, SessionSnapshot> = self.shards.iter().flat_map(|shard| shard.snapshot().sessions).collect();
        let mut stored: BTreeMap<_, SessionSnapshot> = state.sessions.iter().map(|(no, session)| (*no, session.into())).collect();
        // Where a message of a queue stands is not part of what must survive.
        for (no, session) in &mut live {
            let Some(cold) = session.cold.take() else { continue };
            let Some(stored) = stored.get(no) else { continue };
            session.undelivered.extend(stored.undelivered.iter().filter(|(id, _)| cold.has(**id)));
        }
        for session in stored.values_mut() {
            session.cold = None;
        }
        assert_eq!(live, stored, "sessions");
        let mut retained: BTreeMap<_, _> = BTreeMap::new();
        self.commons.read_retained(&mut |store| {
            retained = store.iter().map(|(topic, id, kept)| (Arc::clone(topic), (id, kept.clone()))).collect();
        });
        assert_eq!(retained.len(), state.retained.len(), "retained messages");
        for ((topic, (id, kept)), (it, (stored, other))) in retained.iter().zip(&state.retained) {
            assert!(topic == it && id == stored && kept.agrees_with(other), "the retained message of {topic}");
        }
    }

    /// Everybody goes, and all wills and sessions that can end do.
    pub(super) fn hang_up(&mut self) {
        for client in 0..CLIENTS_MAX {
            self.closed(client, Gone::ByPeer);
        }
        self.settle();
        for _ in 0..3 {
            self.pass(86_400_000);
            self.settle();
        }
        assert_eq!(self.shards.iter().map(Shard::connections).sum::<usize>(), 0, "a connection outlived its socket");
    }
}

fn commons(shards: u16) -> LocalCommons {
    LocalCommons::new(Placement::new([3; 16], 4, shards), 5)
}

fn brains(shards: u16, config: &Arc<Config>) -> Vec<Shard> {
    (0..shards).map(|id| Shard::new(ShardId(id), Arc::clone(config), 9)).collect()
}
