//! A simulated server: shards in one thread, driven in the turn order of the real one.
//!
//! Inputs; then the records to the journal; then outputs and parcels; then bytes. The world decides when each of these happens, and how much of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use columba_broker::{
    Config, Shard, ShardSnapshot,
    auth::{Answer, Login},
    commons::LocalCommons,
    durable::{InFlight, State},
    event::{DropReason, Event},
    id::{ChangeSeq, ConnectionId, GroupKey, MessageId, SessionNo, ShardId},
    seam::{Commons as _, Cx, Gone, Loaded, Origin, Output, Parcel},
};
use columba_proto::Time;

use super::{
    faults::{PlantedFault, Tamper},
    journal::Journal,
    plan::FILTERS,
    rng::Rng,
    tally::{Happening, Tally},
};
use crate::{model::LinkNo, passwords};

/// What the host asks of the world.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Bytes for a client.
    Bytes { link: LinkNo, bytes: Vec<u8> },
    /// The broker is done with this connection, but for what it still has to write.
    Lingers { link: LinkNo },
    /// The broker has closed this connection.
    Closed { link: LinkNo },
    /// There is mail for a shard: deliver it some time.
    Mail { shard: usize },
    /// Read from the cold store, and say it some time.
    Load { shard: usize, session: SessionNo, after: MessageId, count: u16 },
    /// The same for retained messages.
    LoadRetained { shard: usize },
}

/// From one shard to another.
enum Mail {
    Parcel(Parcel),
    /// The cold store has everything up to here.
    Stored(MessageId),
    Connection {
        link: LinkNo,
        bytes: Vec<u8>,
    },
    /// A password has been looked at.
    Answer(ConnectionId, Answer),
}

/// One shard and what its thread would have around it.
struct Brain {
    shard: Shard,
    links: BTreeMap<ConnectionId, LinkNo>,
    mail: VecDeque<Mail>,
    scratch: Vec<u8>,
    /// Retained messages that are to be read.
    retained_loads: VecDeque<(SessionNo, Vec<Arc<str>>)>,
    /// The latest identity when its turn began; `None` between two turns.
    turn_from: Option<MessageId>,
}

/// The broker's end of a connection.
struct Door {
    shard: usize,
    /// `None` while it is on its way to another shard.
    connection: Option<ConnectionId>,
    /// Bytes that the socket still takes.
    room: usize,
    blocked: bool,
    /// Close when everything is written.
    lingers: bool,
    tamper: Tamper,
}

/// The whole server.
pub(crate) struct Host {
    shared: LocalCommons,
    login: Option<Login>,
    brains: Vec<Brain>,
    doors: BTreeMap<LinkNo, Door>,
    pub(crate) journal: Journal,
    pub(crate) wishes: VecDeque<Wish>,
    pub(crate) tally: Tally,
    fault: Option<PlantedFault>,
    rng: Rng,
    now: Time,
}

impl Host {
    /// A server around a journal that was recovered; its shards are still empty.
    pub(crate) fn new(
        config: &Arc<Config>,
        shared: LocalCommons,
        journal: Journal,
        fault: Option<PlantedFault>,
        rng: &mut Rng,
        now: Time,
    ) -> Self {
        let shards = shared.placement().shards();
        let seed = rng.next_u64();
        let brains = (0..shards)
            .map(|id| Brain {
                shard: Shard::new(ShardId(id), Arc::clone(config), seed),
                links: BTreeMap::new(),
                mail: VecDeque::new(),
                scratch: Vec::new(),
                retained_loads: VecDeque::new(),
                turn_from: None,
            })
            .collect();
        Self {
            shared,
            login: config.login.clone(),
            brains,
            doors: BTreeMap::new(),
            journal,
            wishes: VecDeque::new(),
            tally: Tally::default(),
            fault,
            rng: rng.fork(),
            now,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.brains.len()
    }

    /// Gives the shards what recovery found, as a starting server does.
    pub(crate) fn restore(&mut self, mut state: State) {
        self.shared.clock().seen(state.highest);
        if let Some(fault) = self.fault {
            forget(fault, &mut state);
        }
        for (topic, (id, kept)) in state.retained {
            self.shared.write_retained(&mut |store| store.restore(Arc::clone(&topic), id, kept.clone()));
        }
        for session in state.sessions.into_values() {
            let shard = self.owner(&session.client_id);
            self.with(shard, |shard, cx| shard.restore(cx, session));
        }
        for (no, group) in state.groups {
            let shard = usize::from(self.shared.placement().shard(no.lane()).0);
            self.with(shard, |shard, cx| shard.restore_group(cx, no, group));
        }
        for will in state.wills.into_values() {
            let shard = self.owner(&will.client_id);
            self.with(shard, |shard, cx| shard.restore_will(cx, will));
        }
    }

    fn owner(&self, client_id: &str) -> usize {
        let placement = self.shared.placement();
        usize::from(placement.shard(placement.lane(client_id)).0)
    }

    /// What the shards hold that is not this state, for people; empty where nothing is.
    pub(crate) fn differences(&self, state: &State) -> Vec<String> {
        let mut stored = stored(state);
        let mut live = ShardSnapshot::default();
        for brain in &self.brains {
            live.add(brain.shard.snapshot());
        }
        // Where a message of a queue stands is not part of what must survive.
        let live = live.with_cold_of(&stored);
        for session in stored.sessions.values_mut() {
            session.cold = None;
        }
        let mut retained_differ = false;
        self.shared.read_retained(&mut |store| {
            let mut stored = state.retained.iter();
            let agree = store.iter().all(|(topic, id, kept)| {
                stored.next().is_some_and(|(it, (stored, other))| topic == it && id == *stored && kept.agrees_with(other))
            });
            retained_differ = !agree || stored.next().is_some();
        });
        let mut all = Vec::new();
        for (no, session) in &live.sessions {
            match stored.sessions.get(no) {
                Some(stored) if stored == session => {}
                Some(stored) => all.push(format!("lives as {session:?}\nstored as {stored:?}")),
                None => all.push(format!("lives only: {session:?}")),
            }
        }
        let gone = stored.sessions.iter().filter(|(no, _)| !live.sessions.contains_key(no));
        all.extend(gone.map(|(_, session)| format!("stored only: {session:?}")));
        if live.groups != stored.groups {
            all.push(format!("groups live with {:?}\nstored with {:?}", live.groups, stored.groups));
        }
        if retained_differ {
            all.push("the retained messages are others".into());
        }
        all
    }

    /// What a group has although a member is there to take it, for people.
    pub(crate) fn held_up(&self, state: &State) -> Vec<String> {
        let stored = stored(state);
        let attended = FILTERS.iter().filter(|text| {
            let group = text.parse().ok().and_then(|filter| self.shared.index().group(&filter));
            group.is_some_and(|group| group.is_attended())
        });
        let left = attended.filter_map(|text| Some((text, stored.groups.get(&GroupKey::of(text).place())?)));
        left.map(|(text, (messages, _))| format!("{text} has members and holds {messages:?}")).collect()
    }

    /// Time goes on; never back.
    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Lets a shard do something with what it is given at every call.
    pub(crate) fn with<T>(&mut self, shard: usize, act: impl FnOnce(&mut Shard, &Cx<'_>) -> T) -> T {
        let cx = Cx { now: self.now, commons: &self.shared };
        let brain = &mut self.brains[shard];
        brain.turn_from.get_or_insert_with(|| self.shared.clock().latest());
        act(&mut brain.shard, &cx)
    }

    /// A client's connection arrives at some shard.
    pub(crate) fn open(&mut self, link: LinkNo, room: usize) -> usize {
        let shard = self.rng.index(self.brains.len());
        let door = Door { shard, connection: None, room, blocked: false, lingers: false, tamper: Tamper::default() };
        self.doors.insert(link, door);
        self.enter(link, shard);
        shard
    }

    fn enter(&mut self, link: LinkNo, shard: usize) {
        let origin = Origin::new(format!("link {}", link.0), 0);
        let connection = self.with(shard, |shard, cx| shard.opened(cx, origin));
        self.brains[shard].links.insert(connection, link);
        if let Some(door) = self.doors.get_mut(&link) {
            (door.shard, door.connection) = (shard, Some(connection));
        }
    }

    /// Which shard has this connection now, if any.
    pub(crate) fn shard_of(&self, link: LinkNo) -> Option<usize> {
        self.doors.get(&link).map(|door| door.shard)
    }

    /// Whether bytes may be given to this connection now.
    pub(crate) fn wants_reading(&self, link: LinkNo) -> bool {
        self.doors
            .get(&link)
            .is_some_and(|door| door.connection.is_some_and(|connection| self.brains[door.shard].shard.wants_reading(connection)))
    }

    /// Bytes from a client; false where nobody listens any more.
    pub(crate) fn receive(&mut self, link: LinkNo, bytes: &[u8]) -> bool {
        let Some(door) = self.doors.get(&link) else { return false };
        let (shard, Some(connection)) = (door.shard, door.connection) else { return false };
        self.with(shard, |shard, cx| shard.received(cx, connection, bytes));
        true
    }

    /// A client's end is gone.
    pub(crate) fn closed(&mut self, link: LinkNo, gone: Gone) {
        let Some(door) = self.doors.remove(&link) else { return };
        if let Some(connection) = door.connection {
            self.brains[door.shard].links.remove(&connection);
            self.with(door.shard, |shard, cx| shard.closed(cx, connection, gone));
        }
    }

    /// The network has taken `count` bytes more.
    pub(crate) fn drained(&mut self, link: LinkNo, count: usize) {
        let Some(door) = self.doors.get_mut(&link) else { return };
        door.room += count;
        if std::mem::take(&mut door.blocked) {
            let shard = door.shard;
            self.write(link);
            self.end_turn(shard);
        }
    }

    /// Everything after the inputs: records, outputs, bytes.
    pub(crate) fn end_turn(&mut self, shard: usize) {
        loop {
            let had_records = self.cut(shard);
            let had_outputs = self.outputs(shard);
            let had_bytes = self.bytes(shard);
            if !(had_records || had_outputs || had_bytes) {
                self.brains[shard].turn_from = None;
                return;
            }
        }
    }

    fn cut(&mut self, shard: usize) -> bool {
        let brain = &mut self.brains[shard];
        brain.scratch.clear();
        let Some(seq) = brain.shard.cut(&mut brain.scratch) else { return false };
        self.journal.append(shard, seq, &brain.scratch, &mut self.tally);
        if self.fault == Some(PlantedFault::AckBeforeSync) {
            self.with(shard, |shard, cx| shard.synced(cx, seq));
        }
        true
    }

    fn outputs(&mut self, shard: usize) -> bool {
        let mut had_any = false;
        while let Some(output) = self.brains[shard].shard.pop_output() {
            had_any = true;
            self.output(shard, output);
        }
        had_any
    }

    fn output(&mut self, shard: usize, output: Output) {
        match output {
            Output::ToShard { to, parcel } => {
                if matches!(parcel, Parcel::Returned { .. }) {
                    self.tally.count(Happening::Returned);
                }
                self.post(usize::from(to.0), Mail::Parcel(parcel));
            }
            Output::HandOver { connection, to, bytes } => {
                self.tally.count(Happening::HandOver);
                let Some(link) = self.brains[shard].links.remove(&connection) else { return };
                if let Some(door) = self.doors.get_mut(&link) {
                    (door.shard, door.connection) = (usize::from(to.0), None);
                    self.post(usize::from(to.0), Mail::Connection { link, bytes });
                }
            }
            Output::Close { connection, linger } => {
                let Some(&link) = self.brains[shard].links.get(&connection) else { return };
                if linger {
                    if let Some(door) = self.doors.get_mut(&link) {
                        door.lingers = true;
                    }
                    self.wishes.push_back(Wish::Lingers { link });
                    self.write(link);
                } else {
                    self.brains[shard].links.remove(&connection);
                    self.doors.remove(&link);
                    self.wishes.push_back(Wish::Closed { link });
                }
            }
            Output::Load { session, after, count } => {
                self.tally.count(Happening::ColdWindow);
                self.wishes.push_back(Wish::Load { shard, session, after, count });
            }
            Output::LoadRetained { session, topics } => {
                self.brains[shard].retained_loads.push_back((session, topics));
                self.wishes.push_back(Wish::LoadRetained { shard });
            }
            Output::Ask { connection, question } => {
                let answer = passwords::judge(self.login.as_ref(), &question);
                self.post(shard, Mail::Answer(connection, answer));
            }
            Output::Event(event) => self.count(&event),
        }
    }

    fn count(&mut self, event: &Event) {
        let what = match event {
            Event::Expired { .. } => Happening::SessionExpired,
            Event::Dropped { reason: DropReason::Expired, .. } => Happening::MessageExpired,
            Event::Dropped { reason: DropReason::TooLarge, .. } => Happening::TooLarge,
            Event::Dropped { reason: DropReason::SlowConsumer, .. } => Happening::SlowReader,
            Event::Connected { .. }
            | Event::Refused { .. }
            | Event::LoginFailed { .. }
            | Event::Denied { .. }
            | Event::SubscriptionDenied { .. }
            | Event::Fight { .. }
            | Event::Banned { .. }
            | Event::Disconnected { .. }
            | Event::Dropped { .. } => return,
        };
        self.tally.count(what);
    }

    /// Whether a letter to another shard waits that a synced record speaks of.
    pub(crate) fn has_letters(&self) -> bool {
        let letters = self.brains.iter().flat_map(|brain| &brain.mail);
        letters.into_iter().any(|mail| matches!(mail, Mail::Parcel(_)))
    }

    /// Whether a publication up to this one waits in a mailbox.
    pub(crate) fn awaits_taking(&self, up_to: MessageId) -> bool {
        let mut letters = self.brains.iter().flat_map(|brain| &brain.mail);
        letters.any(|mail| matches!(mail, Mail::Parcel(Parcel::Deliver { id, .. }) if *id <= up_to && id.0 > 0))
    }

    fn post(&mut self, to: usize, mail: Mail) {
        if self.fault == Some(PlantedFault::LetterLost) && matches!(mail, Mail::Parcel(_)) && self.rng.chance(1, 16) {
            return;
        }
        if self.fault == Some(PlantedFault::RecallLost) && matches!(mail, Mail::Parcel(Parcel::Recall { .. })) {
            return;
        }
        self.brains[to].mail.push_back(mail);
        self.wishes.push_back(Wish::Mail { shard: to });
    }

    /// Every publication up to here has been recorded, and handed on.
    pub(crate) fn mark(&self) -> MessageId {
        let held = self.brains.iter().filter_map(|brain| brain.shard.holds_from()).map(|first| MessageId(first.0 - 1));
        let turns = self.brains.iter().filter_map(|brain| brain.turn_from);
        held.chain(turns).min().unwrap_or_else(|| self.shared.clock().latest())
    }

    /// Tells all shards how far the cold store has come.
    pub(crate) fn tell_stored(&mut self, retained_bytes: usize) {
        if let Some(up_to) = self.journal.take_stored() {
            self.shared.write_retained(&mut |store| while store.stored(up_to, retained_bytes, 3) {});
            (0..self.shards()).for_each(|shard| self.post(shard, Mail::Stored(up_to)));
        }
    }

    /// Gives a shard the first letter in its mailbox.
    pub(crate) fn deliver_mail(&mut self, shard: usize) {
        match self.brains[shard].mail.pop_front() {
            Some(Mail::Parcel(parcel)) => self.with(shard, |shard, cx| shard.parcel(cx, parcel)),
            Some(Mail::Stored(up_to)) => self.with(shard, |shard, _| shard.stored(up_to)),
            Some(Mail::Connection { link, bytes }) if self.doors.contains_key(&link) => {
                self.enter(link, shard);
                self.receive(link, &bytes);
            }
            Some(Mail::Answer(connection, answer)) => self.with(shard, |shard, cx| shard.answered(cx, connection, answer)),
            Some(Mail::Connection { .. }) | None => {}
        }
    }

    fn bytes(&mut self, shard: usize) -> bool {
        let mut had_any = false;
        while let Some(connection) = self.brains[shard].shard.pop_dirty() {
            if let Some(&link) = self.brains[shard].links.get(&connection) {
                had_any |= self.write(link);
            }
        }
        had_any
    }

    /// Writes what the socket takes; true where that was something.
    fn write(&mut self, link: LinkNo) -> bool {
        let Some(door) = self.doors.get_mut(&link) else { return false };
        let Some(connection) = door.connection else { return false };
        let brain = &mut self.brains[door.shard];
        let Some(out) = brain.shard.out(connection) else { return false };
        let count = out.pending().len().min(door.room);
        let bytes = match self.fault {
            Some(fault) => door.tamper.pass(fault, &out.pending()[..count], &mut self.rng),
            None => out.pending()[..count].to_vec(),
        };
        out.consume(count);
        door.room = door.room.saturating_sub(bytes.len());
        door.blocked = !out.is_empty();
        let (shard, is_done) = (door.shard, door.lingers && out.is_empty());
        if !bytes.is_empty() {
            self.wishes.push_back(Wish::Bytes { link, bytes });
        }
        if count > 0 {
            self.with(shard, |shard, cx| shard.flushed(cx, connection));
        }
        if is_done {
            self.closed(link, Gone::ByPeer);
            self.wishes.push_back(Wish::Closed { link });
        }
        count > 0
    }

    /// How the broker's end of a connection is, for people.
    pub(crate) fn condition(&mut self, link: LinkNo) -> String {
        let reads = self.wants_reading(link);
        let Some(door) = self.doors.get(&link) else { return "no door".into() };
        let pending = door.connection.and_then(|connection| self.brains[door.shard].shard.out(connection)).map(|out| out.len());
        format!("shard {}, reads {reads}, room {}, blocked {}, pending {pending:?}", door.shard, door.room, door.blocked)
    }

    /// Tells a shard what is on disk.
    pub(crate) fn synced(&mut self, shard: usize, up_to: ChangeSeq) {
        if self.fault != Some(PlantedFault::AckBeforeSync) {
            self.with(shard, |shard, cx| shard.synced(cx, up_to));
        }
    }

    /// A window of a queue was read.
    pub(crate) fn loaded(&mut self, shard: usize, mut loaded: Loaded) {
        if self.fault == Some(PlantedFault::WindowTorn) && loaded.entries.len() > 1 {
            loaded.entries.remove(0);
        }
        self.with(shard, |shard, cx| shard.loaded(cx, loaded));
    }

    /// Retained messages are read.
    pub(crate) fn load_retained(&mut self, shard: usize) {
        if let Some((session, topics)) = self.brains[shard].retained_loads.pop_front()
            && let Some(loaded) = self.journal.load_retained(session, topics)
        {
            self.with(shard, |shard, cx| shard.retained_loaded(cx, loaded));
        }
    }

    /// When a shard wants to look at its timers.
    pub(crate) fn next_wake(&self, shard: usize) -> Option<Time> {
        self.brains[shard].shard.next_wake()
    }
}

/// A state as shards would tell it.
fn stored(state: &State) -> ShardSnapshot {
    ShardSnapshot {
        sessions: state.sessions.iter().map(|(no, session)| (*no, session.into())).collect(),
        groups: state.groups.iter().map(|(no, group)| (*no, (group.queue.keys().copied().collect(), None))).collect(),
    }
}

/// The planted faults of a recovery.
fn forget(fault: PlantedFault, state: &mut State) {
    match fault {
        PlantedFault::QueueEntrySkipped => skip_an_entry(state),
        PlantedFault::GroupForgotten => state.groups.clear(),
        PlantedFault::RetainedForgotten => drop(state.retained.pop_first()),
        PlantedFault::WillForgotten => {
            state.wills.clear();
            state.sessions.values_mut().for_each(|session| session.will = None);
        }
        PlantedFault::AckBeforeSync
        | PlantedFault::PubrelForgotten
        | PlantedFault::IdentifierReused
        | PlantedFault::OrderSwapped
        | PlantedFault::LostSync
        | PlantedFault::LetterLost
        | PlantedFault::WindowTorn
        | PlantedFault::LaneLost
        | PlantedFault::RecallLost
        | PlantedFault::CheckpointTorn => {}
    }
}

/// One message that waits to be sent is gone.
fn skip_an_entry(state: &mut State) {
    for session in state.sessions.values_mut() {
        let in_flight: Vec<_> = session.in_flight.iter().map(|(_, exchange)| exchange).collect();
        let waits = |id: &MessageId| {
            !in_flight.iter().any(|exchange| matches!(exchange, InFlight::Publish { message, .. } if message == id))
        };
        let first = session.queue.keys().copied().find(waits);
        if let Some(first) = first {
            session.queue.remove(&first);
            return;
        }
    }
}
