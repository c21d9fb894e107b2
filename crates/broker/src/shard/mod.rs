//! One shard's brain: connections, sessions and routing of the clients that live here. No lock, no await, no clock.
//!
//! The files below follow a client's life: [`connect`] and [`authenticate`], [`publish`] (towards us) and [`handing_on`] (to sessions), [`deliver`] and [`acknowledge`] (from us),
//! [`own_topics`], [`subscribe`], [`ending`], and [`restore`] (after a start); [`groups`] has what waits for any member of a shared subscription. [`frames`] and [`withheld`]
//! decide when something leaves, [`paging`] what stays in memory, [`turns`] who comes next. Of those who pay attention [`permit`] knows who may do what, [`comings`] who comes too
//! often, [`limit`] and [`dead_letters`] what a full queue drops, [`missed`] what waits at QoS 0, [`memory`] who holds most of it; [`administer`] and [`purge`] do what the administrator asks for.

mod acknowledge;
mod administer;
mod authenticate;
mod comings;
mod connect;
mod dead_letters;
mod deliver;
mod ending;
mod frames;
mod groups;
mod handing_on;
mod limit;
mod memory;
mod missed;
mod own_topics;
mod paging;
mod permit;
mod publish;
mod purge;
mod restore;
mod subscribe;
#[cfg(test)]
mod tests;
mod turns;
mod withheld;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use columba_proto::{
    PacketType, PeerError, ReasonCode, Time, Violation,
    packet::{Disconnect, Packet},
    wire::{FrameError, Split, split},
};
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use slab::Slab;

pub use self::{
    administer::{ConnectionView, NotPublished, SessionView, SubscriptionView, Wanted},
    restore::ShardSnapshot,
};
use self::{
    connect::Verdict,
    dead_letters::DeadLetter,
    groups::{GroupQueue, GroupWork},
    handing_on::Deferred,
    paging::Backlog,
    turns::{Stop, Turns},
    withheld::Withheld,
};
use crate::{
    access::Acl,
    connection::{By, Connection, Connections, Ending, Phase, Turn},
    event::{DropReason, Event},
    hold::{Batch, Waiting},
    id::{ChangeSeq, ConnectionId, SessionNo, ShardId},
    limits::{BYTES_PER_WORK, Config, DROPS_SUMMED_MS, Durable, PACKET_WORK},
    out_buffer::{OutBuffer, Pool},
    route::TopicCache,
    seam::{Cx, Gone, Origin, Output, Parcel},
    session::Session,
    stats::{Census, Counters},
    timers::{Timer, Timers},
};

/// Bytes of a CONNECT at most: five strings of 64 KiB and the properties; nobody known needs a tenth of it.
const CONNECT_BYTES_MAX: u32 = 512 * 1024;

/// Open exchanges that one look at the census goes over, and those of one session more.
const CENSUS_EXCHANGES: u64 = 16_384;

/// One shard's brain.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    config: Arc<Config>,
    /// What clients may do, where there are rules.
    acl: Option<Arc<Acl>>,
    /// Whether there are such, or some client has brought rules of its own.
    rules: permit::Rules,
    connections: Connections,
    /// Boxed, so that growing moves pointers and leaves no holes of the size of all sessions.
    sessions: Slab<Box<Session>>,
    by_client: HashMap<Arc<str>, u32, Keyed>,
    by_number: HashMap<SessionNo, u32, foldhash::fast::FixedState>,
    cache: TopicCache,
    timers: Timers,
    batch: Batch,
    waiting: Waiting,
    /// How far the world waits for records itself.
    wanted: ChangeSeq,
    deferred: VecDeque<Deferred>,
    dead_letters: VecDeque<DeadLetter>,
    /// Sessions whose queues have a part that can go from memory.
    long_queues: Vec<u32>,
    backlog: Backlog,
    /// Nothing more is read from clients that fill queues.
    holds_back: bool,
    withheld: Vec<Withheld>,
    /// A timer to look at them is set.
    withheld_timer: bool,
    lone_wills: BTreeMap<Box<str>, restore::LoneWill>,
    /// The first session not looked at since the time to come back after a crash is over; `None`: nobody was given any.
    grace: Option<usize>,
    /// What waits for any member of a shared subscription.
    groups: BTreeMap<SessionNo, GroupQueue>,
    group_work: GroupWork,
    /// Messages dropped and not told yet.
    drops: BTreeMap<(Arc<str>, DropReason), u64>,
    dirty: Vec<ConnectionId>,
    reading_changed: Vec<ConnectionId>,
    outputs: VecDeque<Output>,
    counters: Counters,
    pool: Pool,
    scratch: Vec<u8>,
    /// A topic with the mount point before it, while its route is looked up.
    whole_topic: String,
    assigned: u64,
    /// How many challenges clients were given.
    challenges: u64,
    seed: u64,
    journal: Journal,
    room: Room,
    pressure: Pressure,
    comings: comings::Comings,
    /// What the connection whose packets are handled may still spend ([`Config::work_max`]).
    work: u32,
    turns: Turns,
    is_draining: bool,
}

/// What the world says about the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Journal {
    Works,
    /// More waits to be written than is good.
    IsFull,
    /// Lost until a restart.
    HasFailed,
}

/// What the world says about the memory of the process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pressure {
    /// There is enough.
    #[default]
    None,
    /// Nothing more is read from those who publish.
    High,
}

/// What the world says about the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// There is room.
    Ample,
    /// What is left is for acknowledgements and for what makes room: nothing new is stored.
    Scarce,
}

/// Client identifiers are chosen by clients: hashed with a key that they do not know.
#[derive(Clone, Copy, Debug)]
struct Keyed(u64, u64);

impl core::hash::BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Shard {
    /// A shard without sessions. `seed` is what chance there is: hash keys and assigned client identifiers come from it.
    pub fn new(id: ShardId, config: Arc<Config>, seed: u64) -> Self {
        Self {
            id,
            connections: Connections::default(),
            sessions: Slab::new(),
            by_client: HashMap::with_hasher(Keyed(seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)),
            by_number: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            cache: TopicCache::new(config.cached_topics_max, seed),
            timers: Timers::default(),
            batch: Batch::default(),
            waiting: Waiting::default(),
            wanted: ChangeSeq(0),
            deferred: VecDeque::new(),
            dead_letters: VecDeque::new(),
            long_queues: Vec::new(),
            backlog: Backlog::default(),
            holds_back: false,
            withheld: Vec::new(),
            withheld_timer: false,
            lone_wills: BTreeMap::new(),
            grace: None,
            groups: BTreeMap::new(),
            group_work: GroupWork::default(),
            drops: BTreeMap::new(),
            dirty: Vec::new(),
            reading_changed: Vec::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            pool: Pool::default(),
            scratch: Vec::new(),
            whole_topic: String::new(),
            assigned: 0,
            challenges: 0,
            seed,
            journal: Journal::Works,
            room: Room::Ample,
            pressure: Pressure::None,
            comings: comings::Comings::default(),
            work: 0,
            turns: Turns::default(),
            is_draining: false,
            acl: config.acl.clone(),
            rules: permit::Rules::of(config.acl.is_some()),
            config,
        }
    }

    /// Another configuration from now on. What CONNACK has offered holds for as long as its connection does; whoever connects from now on is offered what this
    /// says, and bounds of queues, of waiting and of work hold at once.
    pub fn reconfigure(&mut self, cx: &Cx<'_>, config: Arc<Config>) {
        self.config = config;
        // Who was held back may go on, or the other way round.
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.check_reading(cx, id);
        }
    }

    /// A connection was accepted, or handed over by another shard.
    pub fn opened(&mut self, cx: &Cx<'_>, origin: Origin) -> ConnectionId {
        self.counters.opened += 1;
        let id = self.connections.insert(Connection::new(origin));
        self.timers.set(cx.now.plus_ms(self.config.connect_wait_ms), Timer::ConnectWait(id));
        if self.is_draining || self.connections.len() > self.config.connections_max {
            self.drop_connection(id);
        }
        id
    }

    /// The transport's handshake is over, before any byte of MQTT: now it is known for whom a proxy speaks, and which user a certificate names.
    pub fn introduced(&mut self, id: ConnectionId, peer: Option<Box<str>>, identity: Option<Box<str>>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(peer) = peer {
            connection.origin.peer = peer;
        }
        connection.origin.identity = identity;
    }

    /// Bytes came. A packet that is not whole is kept.
    pub fn received(&mut self, cx: &Cx<'_>, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_closing() {
            return;
        }
        self.counters.bytes_received += bytes.len() as u64;
        if let Some(open) = connection.open() {
            open.keep_alive.heard(cx.now);
            if let Some(pace) = &mut open.pace {
                pace.spend_bytes(bytes.len());
            }
        }
        if connection.turn != Turn::Done {
            connection.partial.extend_from_slice(bytes);
            return;
        }
        if connection.partial.is_empty() {
            self.work = self.config.work_max;
            let (used, stop) = self.handle_all(cx, id, bytes);
            if let Some(connection) = self.connections.get_mut(id)
                && !connection.is_closing()
                && used < bytes.len()
            {
                connection.partial.extend_from_slice(&bytes[used..]);
            }
            self.line_up(id, stop);
        } else {
            connection.partial.extend_from_slice(bytes);
            self.work = self.config.work_max;
            let stop = self.handle_partial(cx, id);
            self.line_up(id, stop);
        }
        self.end_call(cx);
        self.check_reading(cx, id);
    }

    /// Handles what has come before; the answer is why that ended.
    fn handle_partial(&mut self, cx: &Cx<'_>, id: ConnectionId) -> Stop {
        let Some(connection) = self.connections.get_mut(id) else { return Stop::NeedsMore };
        let mut partial = core::mem::take(&mut connection.partial);
        let (used, stop) = self.handle_all(cx, id, &partial);
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.is_closing()
            && used < partial.len()
        {
            partial.drain(..used);
            connection.partial = partial;
        }
        stop
    }

    /// The socket is gone, or the world has written what a closing connection had left.
    pub fn closed(&mut self, cx: &Cx<'_>, id: ConnectionId, gone: Gone) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.turn != Turn::Done
            && !connection.is_closing()
        {
            // What came before the end counts: a DISCONNECT in it decides about the will.
            connection.turn = Turn::WaitsBefore(gone);
            return;
        }
        let why = match gone {
            Gone::ByPeer => "closed by the client without DISCONNECT",
            Gone::Failed => "connection lost",
            Gone::Garbled => "what came broke the rules of its transport",
        };
        let ending = Ending { reason: ReasonCode::UNSPECIFIED_ERROR, is_normal: false, is_ours: false };
        self.end(cx, id, ending, why);
        self.connections.remove(id);
        self.end_call(cx);
    }

    /// The world wrote some or all of the out-buffer.
    pub fn flushed(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.out.release(&mut self.pool);
        let ahead = connection.out.len() < self.config.deliver_ahead_max;
        if let Some(open) = connection.open() {
            let session = open.session;
            if ahead {
                self.pump(cx, session);
            }
        }
        self.end_call(cx);
        self.check_reading(cx, id);
    }

    /// A parcel from another shard.
    pub fn parcel(&mut self, cx: &Cx<'_>, parcel: Parcel) {
        self.take_parcel(cx, parcel);
        self.end_call(cx);
    }

    fn take_parcel(&mut self, cx: &Cx<'_>, parcel: Parcel) {
        match parcel {
            Parcel::Deliver { id, message, targets } => self.deliver_parcel(cx, id, &message, &targets),
            Parcel::Given { delivery, to } => self.take_given(cx, delivery, &to),
            Parcel::Returned { delivery } => self.take_back(cx, delivery),
            Parcel::Knock { group } => self.serve_soon(group),
            Parcel::Attend { filter } => self.attend(cx, &filter),
            Parcel::Recall { session, group } => self.recall(cx, &session, group),
            Parcel::SendAway { session } => self.send_away(cx, &session),
        }
    }

    /// What could not be done in the middle of a call, with a publication or a session under way.
    fn end_call(&mut self, cx: &Cx<'_>) {
        loop {
            let had_letters = !self.dead_letters.is_empty();
            self.publish_dead_letters(cx);
            if !(self.work_for_groups(cx) || had_letters) {
                return;
            }
        }
    }

    /// All batches up to this one are on disk.
    pub fn synced(&mut self, cx: &Cx<'_>, up_to: ChangeSeq) {
        self.batch.set_synced(up_to);
        self.hand_on_deferred(cx);
        self.let_go(cx, Durable::Synced);
        self.let_go(cx, Durable::Written);
        self.end_call(cx);
    }

    /// All batches up to this one are written, though not synced: enough for some listeners ([`Config::written_listeners`]). The world need not say it where
    /// there are none.
    pub fn written(&mut self, cx: &Cx<'_>, up_to: ChangeSeq) {
        self.batch.set_written(up_to);
        self.let_go(cx, Durable::Written);
        self.end_call(cx);
    }

    fn let_go(&mut self, cx: &Cx<'_>, durable: Durable) {
        while let Some(id) = self.waiting.of(durable).pop(self.batch.reached(durable)) {
            self.release(cx, id);
        }
    }

    /// The journal is lost to us: nothing durable is acknowledged any more. Clients of recorded sessions are sent away, for memory is ahead of the disk, and
    /// so is everybody who waits for an answer that will never be true: behind it nothing else could leave.
    pub fn journal_failed(&mut self, cx: &Cx<'_>) {
        self.journal = Journal::HasFailed;
        self.deferred.clear();
        self.waiting = Waiting::default();
        self.wanted = ChangeSeq(0);
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { continue };
            let waits = open.ring.waits_for() > self.batch.reached(open.waits_for);
            if self.sessions[open.session as usize].recorded {
                self.fail(cx, id, ReasonCode::SERVER_BUSY, "the journal failed; durable sessions are refused until a restart");
            } else if waits {
                self.fail(cx, id, ReasonCode::SERVER_BUSY, "the journal failed; what waits for it is never acknowledged");
            }
        }
        self.end_call(cx);
    }

    /// The journal has more to write than is good, or has room again. As long as it is full, nothing more is read from clients that wait for it; the others go on.
    pub fn journal_is_full(&mut self, cx: &Cx<'_>, is_full: bool) {
        if self.journal_has_failed() {
            return;
        }
        self.journal = if is_full { Journal::IsFull } else { Journal::Works };
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.check_reading(cx, id);
        }
    }

    /// While room is scarce, publications that need the disk, new subscriptions of durable sessions and new durable sessions are refused. Whatever
    /// promises no more than it promises already goes on: acknowledgements, PUBREL, deliveries, wills, QoS 0.
    pub fn room_is(&mut self, cx: &Cx<'_>, room: Room) {
        self.room = room;
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.check_reading(cx, id);
        }
    }

    /// Whether the world has said that there is no room on the disk.
    pub fn is_room_scarce(&self) -> bool {
        self.room == Room::Scarce
    }

    /// Whether the world has said that the journal is lost.
    pub fn journal_has_failed(&self) -> bool {
        self.journal == Journal::HasFailed
    }

    /// The server stops: everyone is told and sent away; nobody new is let in.
    pub fn shutdown(&mut self, cx: &Cx<'_>) {
        self.is_draining = true;
        let reason = match self.config.server_reference {
            Some(_) => ReasonCode::USE_ANOTHER_SERVER,
            None => ReasonCode::SERVER_SHUTTING_DOWN,
        };
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.fail(cx, id, reason, "the server is shutting down");
        }
        // What wills dropped from full queues, and what came back to groups.
        self.end_call(cx);
    }

    /// A listener is no more: who came through it is sent away; the sessions stay.
    pub fn close_listener(&mut self, cx: &Cx<'_>, listener: u16) {
        let came_through_it =
            |id: &ConnectionId| self.connections.get(*id).is_some_and(|connection| connection.origin.listener == listener);
        let ids: Vec<_> = self.connections.ids().filter(came_through_it).collect();
        for id in ids {
            self.fail(cx, id, ReasonCode::ADMINISTRATIVE_ACTION, "the listener that it came through was closed");
        }
        self.end_call(cx);
    }

    /// Looks at the timers that are due.
    pub fn tick(&mut self, cx: &Cx<'_>) {
        while let Some(timer) = self.timers.due(cx.now) {
            match timer {
                Timer::ConnectWait(id) => self.connect_wait_passed(id),
                Timer::LoginEnds(id) => self.login_ends(cx, id),
                Timer::KeepAlive(id) => self.check_keep_alive(cx, id),
                Timer::Retry(id) => self.repeat_unanswered(cx, id),
                Timer::Refused(id) => self.refused_long_enough(cx, id),
                Timer::Pace(id) => self.look_at_pace(cx, id),
                Timer::PaceOut(id) => self.look_at_pace_out(cx, id),
                Timer::Will(slot, no) => self.will_delay_passed(cx, slot, no),
                Timer::Expiry(slot, no) => self.check_expiry(cx, slot, no),
                Timer::SlowConsumer(slot, no) => self.check_slow_consumer(cx, slot, no),
                Timer::StuckGroup(no) => self.check_stuck_group(cx, no),
                Timer::Retained(slot, no) => self.retained_pause_passed(cx, slot, no),
                Timer::BeyondLimit(slot, no) => self.end_beyond_limit(cx, slot, no),
                Timer::Purge(slot, no) => self.purge_on(cx, slot, no),
                Timer::Grace => self.grace_passed(cx),
                Timer::Withheld => self.withheld_timer_passed(cx),
                Timer::Drops => self.tell_drops(),
            }
        }
        self.take_turns(cx);
        self.end_call(cx);
        if self.timers.is_overgrown() {
            let Self { timers, connections, sessions, .. } = self;
            timers.tidy(|timer| match timer {
                Timer::ConnectWait(id)
                | Timer::KeepAlive(id)
                | Timer::LoginEnds(id)
                | Timer::Retry(id)
                | Timer::Refused(id)
                | Timer::Pace(id)
                | Timer::PaceOut(id) => connections.get(id).is_some(),
                Timer::Will(slot, no)
                | Timer::Expiry(slot, no)
                | Timer::SlowConsumer(slot, no)
                | Timer::BeyondLimit(slot, no)
                | Timer::Purge(slot, no)
                | Timer::Retained(slot, no) => sessions.get(slot as usize).is_some_and(|session| session.no == no),
                Timer::StuckGroup(_) | Timer::Grace | Timer::Withheld | Timer::Drops => true,
            });
        }
    }

    /// When to call [`tick`](Self::tick) next; a time that has passed: at once, when everybody else has had a turn.
    pub fn next_wake(&self) -> Option<Time> {
        if self.turns.is_empty() { self.timers.next() } else { Some(Time(0)) }
    }

    /// Appends the records of this turn to `out`; what they promise waits for [`synced`](Self::synced) with the answer.
    pub fn cut(&mut self, out: &mut Vec<u8>) -> Option<ChangeSeq> {
        self.batch.cut(out)
    }

    /// A connection that has bytes to write.
    pub fn pop_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.dirty.pop() {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_dirty = false;
                return Some(id);
            }
        }
        None
    }

    /// The bytes that wait for a connection; none for an unknown one.
    pub fn out(&mut self, id: ConnectionId) -> Option<&mut OutBuffer> {
        self.connections.get_mut(id).map(|connection| &mut connection.out)
    }

    /// The next thing to be done for this shard.
    pub fn pop_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the world should read from this connection; false while it asks faster than it listens.
    pub fn wants_reading(&self, id: ConnectionId) -> bool {
        self.connections.get(id).is_some_and(|connection| !connection.is_paused && !connection.is_closing())
    }

    /// A connection whose [`wants_reading`](Self::wants_reading) has changed.
    pub fn pop_reading_changed(&mut self) -> Option<ConnectionId> {
        self.reading_changed.pop()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many sessions live here.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// What has happened here so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the sessions from slot `from` on have at this moment, of at most `max` slots, and where to go on; earlier where many exchanges are open. Shared subscriptions count with the first of them.
    pub fn census(&self, from: usize, max: usize) -> (Census, Option<usize>) {
        let mut census = Census::default();
        let (from, end) = (from.min(self.sessions.capacity()), from.saturating_add(max).min(self.sessions.capacity()));
        let mut next = from;
        while next < end && census.in_flight_out < CENSUS_EXCHANGES {
            if let Some(session) = self.sessions.get(next) {
                session.count(&mut census);
            }
            next += 1;
        }
        if from == 0 {
            self.count_groups(&mut census);
        }
        (census, (next < self.sessions.capacity()).then_some(next))
    }

    /// Whether records of this shard are not on disk yet.
    pub fn is_waiting(&self) -> bool {
        self.batch.synced() < self.batch.last_append()
    }

    /// The latest batch of records that a frame, a publication or the world waits for; `None` where nothing waits for the disk. What subscribers acknowledge is
    /// recorded and promises nothing to anybody.
    pub fn awaits(&self) -> Option<ChangeSeq> {
        let wanted = Some(self.wanted).filter(|wanted| *wanted > self.batch.synced());
        self.waiting.last().max(self.deferred.back().map(|deferred| deferred.until)).max(wanted)
    }

    /// The world waits itself until all batches up to this one are on disk ([`synced`](Self::synced)); `true`: they are.
    pub fn wants(&mut self, until: ChangeSeq) -> bool {
        self.wanted = self.wanted.max(until);
        until <= self.batch.synced()
    }
}

/// What became of a packet.
enum Handled {
    /// It is done with.
    Here,
    /// Its connection belongs to this shard.
    Elsewhere(ShardId),
    /// It is to be handled again.
    Later(Stop),
}

/// Packets in, one after the other.
impl Shard {
    /// Handles the whole packets at the front of `bytes` as far as the work goes that one may do; the answer is how many bytes were used, and why not more.
    fn handle_all(&mut self, cx: &Cx<'_>, id: ConnectionId, bytes: &[u8]) -> (usize, Stop) {
        let mut used = 0;
        loop {
            let Some(connection) = self.connections.get(id) else { return (bytes.len(), Stop::NeedsMore) };
            let limit = match &connection.phase {
                // What it says before it is known who it is has to wait.
                Phase::Authenticating(authenticating) if matches!(authenticating.by, By::Password) => {
                    return (used, Stop::NeedsMore);
                }
                Phase::AwaitConnect | Phase::Authenticating(_) => self.config.max_packet_size.min(CONNECT_BYTES_MAX),
                Phase::Open(open) if self.work == 0 && (used < bytes.len() || open.half.is_some()) => {
                    return (used, Stop::WorkIsSpent);
                }
                Phase::Open(open) => open.offer.max_packet_size,
                Phase::Closing => return (bytes.len(), Stop::NeedsMore),
            };
            if let (Phase::AwaitConnect, Some(&first)) = (&connection.phase, bytes.get(used))
                && PacketType::of(first) != Ok(PacketType::Connect)
            {
                // Another protocol, most likely; what looks like a length to us need never come.
                let why = "the first byte is not that of a CONNECT [MQTT-3.1.0-1]";
                self.fail(cx, id, ReasonCode::PROTOCOL_ERROR, why);
                return (bytes.len(), Stop::NeedsMore);
            }
            match split(&bytes[used..], limit) {
                Ok(Split::Need) => return (used, Stop::NeedsMore),
                Ok(Split::Frame { first, body, len }) => {
                    match self.handle(cx, id, first, body) {
                        Handled::Here => {}
                        Handled::Elsewhere(to) => {
                            let bytes = bytes[used..].to_vec();
                            self.counters.handed_over(&bytes);
                            self.connections.remove(id);
                            self.outputs.push_back(Output::HandOver { connection: id, to, bytes });
                            return (used, Stop::NeedsMore);
                        }
                        Handled::Later(stop) => return (used, stop),
                    }
                    self.counters.received(first);
                    let bytes = u32::try_from(body.len() / BYTES_PER_WORK).unwrap_or(u32::MAX);
                    self.spend(bytes.saturating_add(PACKET_WORK));
                    used += len;
                }
                Err(error) => {
                    let reason = match error {
                        FrameError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
                        FrameError::Malformed(_) => ReasonCode::MALFORMED_PACKET,
                    };
                    self.fail(cx, id, reason, &error.to_string());
                    return (bytes.len(), Stop::NeedsMore);
                }
            }
        }
    }

    /// Handles one packet.
    fn handle(&mut self, cx: &Cx<'_>, id: ConnectionId, first: u8, body: &[u8]) -> Handled {
        let Some(connection) = self.connections.get_mut(id) else { return Handled::Here };
        let Some(open) = connection.open() else {
            let is_authenticating = matches!(connection.phase, Phase::Authenticating(_));
            let verdict = if is_authenticating {
                self.packet_before_connack(cx, id, first, body)
            } else {
                self.first_packet(cx, id, first, body)
            };
            return match verdict {
                Verdict::Here => Handled::Here,
                Verdict::Elsewhere(shard) => Handled::Elsewhere(shard),
            };
        };
        match open.protocol.decode(first, body) {
            Ok(packet) => return self.handle_packet(cx, id, packet),
            Err(error) => self.blame(cx, id, &error),
        }
        Handled::Here
    }

    fn handle_packet(&mut self, cx: &Cx<'_>, id: ConnectionId, packet: Packet<'_>) -> Handled {
        match packet {
            Packet::Publish(publish) => return self.on_publish(cx, id, &publish),
            Packet::Ack(ack) => self.on_ack(cx, id, &ack),
            Packet::Subscribe(subscribe) => self.on_subscribe(cx, id, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(cx, id, &unsubscribe),
            Packet::Pingreq => self.on_pingreq(id),
            Packet::Disconnect(disconnect) => self.on_disconnect(cx, id, &disconnect),
            Packet::Auth(auth) => self.on_auth(cx, id, &auth),
            // The protocol phase lets none of these through.
            Packet::Connect(_) | Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                let violation = Violation::WrongDirection(packet.packet_type());
                self.blame(cx, id, &violation.into());
            }
        }
        Handled::Here
    }

    fn on_pingreq(&mut self, id: ConnectionId) {
        self.send_bytes(id, ChangeSeq(0), &[0xd0, 0x00]);
        // Who pings has been idle for a while.
        if let Some(slot) = self.session_of(id) {
            self.sessions[slot as usize].shrink_to_fit();
        }
    }
}

/// Endings that begin here.
impl Shard {
    /// The client broke the standard (§4.13).
    fn blame(&mut self, cx: &Cx<'_>, id: ConnectionId, error: &PeerError) {
        self.fail(cx, id, error.reason_code(), &error.to_string());
    }

    /// Ends a connection with a reason code, said where the version has one.
    fn fail(&mut self, cx: &Cx<'_>, id: ConnectionId, reason: ReasonCode, why: &str) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match &connection.phase {
            Phase::AwaitConnect => {
                let peer = connection.origin.peer.clone();
                self.event(Event::Refused { peer, client_id: None, why: why.into(), reason });
                self.drop_connection(id);
            }
            Phase::Authenticating(_) => self.end_authentication(id, reason, why),
            Phase::Open(_) => self.end(cx, id, Ending { reason, is_normal: false, is_ours: true }, why),
            Phase::Closing => {}
        }
    }

    fn connect_wait_passed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        match &connection.phase {
            Phase::AwaitConnect => {}
            Phase::Authenticating(authenticating) => {
                let (reason, why) = match authenticating.by {
                    By::Exchange(_) => (ReasonCode::NOT_AUTHORIZED, "no end of the authentication in time"),
                    By::Password => (ReasonCode::SERVER_BUSY, "its password was not looked at in time"),
                };
                self.end_authentication(id, reason, why);
                return;
            }
            Phase::Open(_) | Phase::Closing => return,
        }
        // Who connects and says nothing is a health check, or not worth a line.
        if !connection.partial.is_empty() {
            let peer = connection.origin.peer.clone();
            let why = "no complete CONNECT in time".into();
            let reason = ReasonCode::UNSPECIFIED_ERROR;
            self.event(Event::Refused { peer, client_id: None, why, reason });
        }
        self.drop_connection(id);
    }

    fn check_keep_alive(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        let Some(deadline) = open.keep_alive.deadline() else { return };
        if deadline <= cx.now {
            self.fail(
                cx,
                id,
                ReasonCode::KEEP_ALIVE_TIMEOUT,
                "nothing received for one and a half keep-alive periods [MQTT-3.1.2-22]",
            );
        } else {
            self.timers.set(deadline, Timer::KeepAlive(id));
        }
    }

    /// Closes a connection: what is in its out-buffer still leaves, nothing more is added.
    fn drop_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let linger = !connection.out.is_empty();
        connection.phase = Phase::Closing;
        connection.partial = Vec::new();
        if !linger {
            self.connections.remove(id);
        }
        self.outputs.push_back(Output::Close { connection: id, linger });
    }

    /// Appends a DISCONNECT with a reason where the version has one [MQTT-3.14.0-1].
    fn say_disconnect(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        if !open.protocol.version().server_may_disconnect() || !open.greeted {
            return;
        }
        let (version, limit) = (open.protocol.version(), open.max_packet_size as usize);
        let mut frame = Vec::new();
        let server_reference = self.config.reference_with(reason);
        Disconnect { reason_string: Some(why), server_reference, ..Disconnect::new(reason) }.encode(version, &mut frame);
        if frame.len() > limit {
            frame.clear();
            Disconnect { server_reference, ..Disconnect::new(reason) }.encode(version, &mut frame);
        }
        if frame.len() > limit {
            frame.clear();
            Disconnect::new(reason).encode(version, &mut frame);
        }
        if frame.len() <= limit {
            Self::append(connection, &mut self.pool, &mut self.dirty, id).extend_from_slice(&frame);
            self.counters.sent(PacketType::Disconnect, frame.len());
        }
    }

    fn tell_drops(&mut self) {
        for ((client_id, reason), count) in core::mem::take(&mut self.drops) {
            self.event(Event::Dropped { client_id: Box::from(&*client_id), reason, count });
        }
    }

    /// Every drop has a reason and is counted.
    fn count_drop(&mut self, cx: &Cx<'_>, client_id: Arc<str>, reason: DropReason, count: u64) {
        self.counters.dropped[reason as usize] += count;
        if self.drops.is_empty() {
            self.timers.set(cx.now.plus_ms(DROPS_SUMMED_MS), Timer::Drops);
        }
        *self.drops.entry((client_id, reason)).or_insert(0) += count;
    }

    fn event(&mut self, event: Event) {
        match &event {
            Event::Connected { .. } => self.counters.accepted += 1,
            Event::Refused { reason, .. } => {
                self.counters.refused += 1;
                self.counters.refusal(*reason);
            }
            Event::LoginFailed { .. } => {
                self.counters.refused += 1;
                self.counters.refusal(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
            }
            Event::Disconnected { reason, .. } => {
                self.counters.ended += 1;
                self.counters.taken_over += u64::from(*reason == ReasonCode::SESSION_TAKEN_OVER);
            }
            Event::Expired { .. } => self.counters.expired += 1,
            Event::Fight { .. } => self.counters.fights += 1,
            Event::Banned { .. } => self.counters.bans += 1,
            // Counted where it happens: this tells many at once, and later.
            Event::Dropped { .. } | Event::Denied { .. } | Event::SubscriptionDenied { .. } => {}
        }
        self.outputs.push_back(Output::Event(event));
    }
}
