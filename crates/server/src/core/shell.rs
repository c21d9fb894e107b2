//! A shard's body: the sockets, the poll and the mailbox around one brain.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use columba_broker::{
    Room, Shard,
    auth::Answer,
    id::{ChangeSeq, ConnectionId},
    seam::{Cx, Gone, Output},
};
use mio::{Events, Poll};

use super::{
    Shared,
    accept::{Acceptor, Listening},
    commits::{Commits, Ledger},
    doorkeeper::{Door, Refused},
    linger::Lingering,
    mail::Mail,
    mesh::Weighed,
    sockets::{Peer, Sockets, Source},
    wire::Passage,
};
use crate::{
    admin::{Kept, Promise},
    events,
    listeners::KnownNames,
    loader::{Load, LoadRetained},
    pressure::Told,
    server::Word,
    users::Ask,
};

/// What one turn may spend on mail, on reading and on writing, each, before the rest is carried over: it bounds the latency of everyone on
/// the shard.
pub(super) const TURN_BUDGET: Duration = Duration::from_micros(500);

/// All reading of a shard goes through one buffer of this size.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Poll events taken at once.
const EVENTS_MAX: usize = 1024;

/// Bytes on their way to disk, of all shards, from which on those who wait for the disk are not read.
pub(super) const JOURNAL_BYTES_MAX: u64 = 4 << 20;

/// How long an acknowledgement may wait for the disk until those who wait for it are not read any more.
const HELD_MAX: Duration = Duration::from_secs(1);

/// How soon a shard looks again whether the journal, or memory, has room.
const JOURNAL_PAUSE: Duration = Duration::from_millis(10);

/// How long a connection that is to be closed may take to read its last bytes.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for clients to read what they are told, and then for them to close.
const STOP_FLUSH_MAX: Duration = Duration::from_secs(2);
const STOP_LINGER_MAX: Duration = Duration::from_millis(250);

/// How often expired retained messages are looked for, and how many are removed at a time. They are not delivered in between.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const SWEPT_MAX: usize = 1000;

/// Room for so much mail is kept after a burst.
const MAIL_KEPT_MAX: usize = 1024;

/// A batch buffer that grew beyond this is not kept.
const RECORDS_KEPT_MAX: usize = 1 << 20;

/// A shard with everything it owns; any thread may drive it, one at a time.
pub(crate) struct Shell {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) brain: Shard,
    pub(super) ledger: Ledger,
    pub(super) commits: Commits,
    /// The same for those who wait for less, where there are such.
    pub(super) unwritten_commits: Commits,
    /// The first batch that was given to the journal without hurry, and nobody has waited for since.
    pub(super) idle_from: Option<ChangeSeq>,
    /// Answers to administrators that wait for the disk; the port bounds how many ask.
    promises: Vec<Promise>,
    pub(super) records: Vec<u8>,
    pub(super) poll: Poll,
    pub(super) events: Events,
    pub(super) acceptors: Vec<Acceptor>,
    /// Listening sockets that there have been: the next one's index.
    listeners: u32,
    listener_names: KnownNames,
    pub(super) sockets: Sockets,
    pub(super) lingering: Lingering,
    /// Connections to close when their time is over, in that order.
    pub(super) closing: VecDeque<(Instant, ConnectionId)>,
    /// Connections that may have something to read.
    pub(super) ready: VecDeque<ConnectionId>,
    /// The same that have had a turn, and had more than fits into one: they come behind those.
    pub(super) bulky: VecDeque<ConnectionId>,
    /// The same whose handshakes go on: they come last.
    pub(super) shaking: VecDeque<ConnectionId>,
    /// Connections that may have something to write.
    pub(super) unwritten: VecDeque<ConnectionId>,
    pub(super) read_buffer: Box<[u8]>,
    pub(super) passage: Passage,
    pub(super) inbox: VecDeque<Mail>,
    /// Swapped with the mailbox.
    pub(super) fresh: Vec<Mail>,
    /// Mail of this turn, by addressee.
    pub(super) outbox: Vec<Vec<Mail>>,
    /// The poll had more events than fit.
    pub(super) more_events: bool,
    /// Another shard's mailbox is full: nothing is read.
    pub(super) is_congested: bool,
    journal: Health,
    memory: Memory,
    /// What was said of the disk, and whether memory is spent: nothing is stored without both.
    disk: Room,
    is_memory_spent: bool,
    /// The doorkeeper's refusal that is in the log.
    pub(super) told_refused: Option<Refused>,
    stop: Option<Stop>,
    /// When to look for expired retained messages next; one shard does it for all.
    sweep_at: Option<Instant>,
}

/// The journal, as the shell has told its brain.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Health {
    Well,
    /// It has too much to write: clients that wait for it are not read.
    Full,
    /// It will never write again.
    Failed,
}

/// What the queues have gathered since the last checkpoint, as the shell has told its brain.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Memory {
    HasRoom,
    /// Clients that fill queues are not read.
    IsFull,
}

/// A stop that was asked for.
#[derive(Clone, Copy)]
struct Stop {
    flush_until: Instant,
    linger_until: Option<Instant>,
}

/// Whether a shell is to be driven on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    Over,
    /// It has stopped.
    Last,
}

impl Shell {
    pub(crate) fn new(shared: Arc<Shared>, poll: Poll, brain: Shard, index: usize, ledger: Ledger) -> Self {
        let outbox = (0..shared.mesh.len()).map(|_| Vec::new()).collect();
        Self {
            index,
            shared,
            brain,
            ledger,
            commits: Commits::default(),
            unwritten_commits: Commits::default(),
            idle_from: None,
            promises: Vec::new(),
            records: Vec::new(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            acceptors: Vec::new(),
            listeners: 0,
            listener_names: KnownNames::default(),
            sockets: Sockets::default(),
            lingering: Lingering::default(),
            closing: VecDeque::new(),
            ready: VecDeque::new(),
            bulky: VecDeque::new(),
            shaking: VecDeque::new(),
            unwritten: VecDeque::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            passage: Passage::default(),
            inbox: VecDeque::new(),
            fresh: Vec::new(),
            outbox,
            more_events: false,
            is_congested: false,
            journal: Health::Well,
            memory: Memory::HasRoom,
            disk: Room::Ample,
            is_memory_spent: false,
            told_refused: None,
            stop: None,
            sweep_at: (index == 0).then(|| Instant::now() + SWEEP_INTERVAL),
        }
    }

    /// The brain, to be filled before the first turn.
    pub(crate) fn brain(&mut self) -> &mut Shard {
        &mut self.brain
    }

    /// Takes its share of a listening address.
    pub(crate) fn listen(&mut self, mut socket: Listening, door: Arc<Door>) -> io::Result<()> {
        let token = Source::Listener(self.listeners).token();
        socket.register(self.poll.registry(), token)?;
        self.acceptors.push(Acceptor::new(self.listeners, socket, door));
        self.listeners += 1;
        Ok(())
    }

    /// Who comes from now on comes through another door; who is here keeps what it found.
    fn change_door(&mut self, from: u16, to: &Arc<Door>) {
        for acceptor in self.acceptors.iter_mut().filter(|acceptor| acceptor.door.number == from) {
            acceptor.door = Arc::clone(to);
        }
    }

    /// Nobody comes any more, and who is here goes.
    fn close_door(&mut self, cx: &Cx<'_>, number: u16) {
        self.acceptors.retain(|acceptor| acceptor.door.number != number);
        self.brain.close_listener(cx, number);
    }

    /// The descriptor that is readable when there is something to do.
    pub(super) fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// How long the shell may block; from this call on whoever has something for it wakes it. `None` is for ever.
    pub(super) fn rest(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        self.shared.mesh.falls_asleep(self.index);
        let durable = if self.brain.awaits().is_none() { self.ledger.durable() } else { self.ledger.wake_me() };
        if self.shared.mesh.has_mail(self.index)
            || self.commits.has_reached(durable)
            || self.ledger.written().is_some_and(|written| self.unwritten_commits.has_reached(written))
            || (self.ledger.has_failed() && self.journal != Health::Failed)
            || (self.is_congested && !self.is_a_mailbox_full())
        {
            return Some(Duration::ZERO);
        }
        let brain = self.brain.next_wake().map(|at| self.shared.clock.until(at, now));
        let pause = (self.journal == Health::Full || self.memory == Memory::IsFull).then_some(JOURNAL_PAUSE);
        let stop = self.stop.map(|stop| stop.linger_until.unwrap_or(stop.flush_until));
        let accept = self.acceptors.iter().filter_map(Acceptor::pause_ends).min();
        let closing = self.closing.front().map(|&(at, _)| at);
        let instants = [self.lingering.next_deadline(), accept, closing, stop, self.sweep_at];
        let others = instants.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        others.chain(brain).chain(pause).min()
    }

    fn has_work(&self) -> bool {
        self.more_events
            || !self.inbox.is_empty()
            || !self.unwritten.is_empty()
            || !(self.is_congested || (self.ready.is_empty() && self.bulky.is_empty() && self.shaking.is_empty()))
            || self.acceptors.iter().any(Acceptor::has_work)
    }

    /// One round: what came in, the records of it to the journal, what goes out.
    pub(super) fn turn(&mut self, max_wait: Option<Duration>) -> io::Result<Turn> {
        if let Err(error) = self.poll.poll(&mut self.events, max_wait)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        self.shared.mesh.is_awake(self.index);
        self.ledger.let_me_be();
        let started = Instant::now();
        let shared = Arc::clone(&self.shared);
        let cx = Cx { now: shared.clock.at(started), commons: &shared.commons };

        self.shared.progress.begin(self.index, cx.commons.clock());
        self.note_events();
        self.check_journal(&cx);
        self.open_mail(&cx, started);
        if self.brain.next_wake().is_some_and(|at| at <= cx.now) {
            self.brain.tick(&cx);
        }
        self.accept(&cx, started);
        self.read_all(&cx);
        self.shake_all(&cx);
        self.settle(&cx);
        self.write_all(&cx);
        // What was written may have made room for more.
        self.settle(&cx);
        self.close_overdue(&cx, started);
        self.sweep(&cx, started);
        // What the last steps recorded.
        self.settle(&cx);
        if !self.brain.has_records() {
            self.shared.progress.end(self.index, self.brain.holds_from(), self.brain.backlog());
        }
        self.pause_or_resume(&cx);
        Ok(self.is_over(started))
    }

    fn note_events(&mut self) {
        let mut count = 0;
        for event in &self.events {
            count += 1;
            match Source::of(event.token()) {
                Source::Connection { slot, generation } => {
                    let Some(id) = self.sockets.find(slot, generation) else {
                        continue;
                    };
                    let Some(socket) = self.sockets.get_mut(id) else {
                        continue;
                    };
                    if event.is_read_closed() && socket.peer == Peer::Open {
                        socket.peer = Peer::Finished;
                    }
                    if event.is_writable() && socket.blocked {
                        socket.blocked = false;
                        self.unwritten.push_back(id);
                    }
                    if (event.is_readable() || event.is_read_closed() || event.is_error()) && !socket.queued {
                        socket.queued = true;
                        if socket.is_shaking() { self.shaking.push_back(id) } else { self.ready.push_back(id) }
                    }
                }
                Source::Closing(index) => self.lingering.readable(index, &mut self.read_buffer),
                Source::Listener(index) => {
                    if let Some(acceptor) = self.acceptors.iter_mut().find(|acceptor| acceptor.index == index) {
                        acceptor.is_readable();
                    }
                }
                Source::Waker => {}
            }
        }
        self.more_events = count == EVENTS_MAX;
    }

    fn check_journal(&mut self, cx: &Cx<'_>) {
        if self.journal != Health::Failed && self.ledger.has_failed() {
            if self.journal == Health::Full {
                // Nobody waits for it any more.
                self.brain.journal_is_full(cx, false);
            }
            self.journal = Health::Failed;
            self.commits.clear();
            self.unwritten_commits.clear();
            self.brain.journal_failed(cx);
            self.promises.drain(..).for_each(|promise| promise.tell(Kept::Never));
            // Nobody waits for the end of a server that is being dropped.
            self.shared.words.send(Word::JournalFailed).unwrap_or_default();
        }
        if let Some(batch) = self.commits.reached(self.ledger.durable()) {
            self.synced(cx, batch);
        }
        if let Some(batch) = self.newly_written() {
            self.brain.written(cx, batch);
        }
    }

    /// What those may know now who do not wait for the disk.
    fn newly_written(&mut self) -> Option<ChangeSeq> {
        let written = self.ledger.written()?;
        self.unwritten_commits.reached(written)
    }

    fn open_mail(&mut self, cx: &Cx<'_>, now: Instant) {
        let budget = now + TURN_BUDGET;
        if self.inbox.is_empty() {
            self.shared.mesh.take(self.index, &mut self.fresh);
            self.inbox.extend(self.fresh.drain(..));
        }
        let mut handled = 0;
        while let Some(mail) = self.inbox.pop_front() {
            handled += mail.weight();
            match mail {
                Mail::Connection(arrival) => self.arrived(cx, arrival),
                Mail::Parcel(parcel) => self.brain.parcel(cx, parcel),
                Mail::Loaded(loaded) => self.brain.loaded(cx, loaded),
                Mail::LoadedRetained(loaded) => self.brain.retained_loaded(cx, loaded),
                Mail::Stored(up_to) => self.brain.stored(up_to),
                Mail::Answered(connection, answer) => self.brain.answered(cx, connection, answer),
                Mail::Acl(acl) => self.brain.set_acl(acl),
                Mail::UsersChanged => self.brain.users_changed(cx),
                Mail::Room(room) => {
                    self.disk = room;
                    self.tell_room(cx);
                }
                Mail::Memory(told) => self.memory_is(cx, told),
                Mail::Config(config) => self.brain.reconfigure(cx, config),
                Mail::Listen(socket, door) => {
                    if let Err(error) = self.listen(socket, door) {
                        tracing::error!(%error, "cannot watch a listening socket: one shard accepts nothing there");
                    }
                }
                Mail::ChangeDoor { from, to } => self.change_door(from, &to),
                Mail::CloseDoor(number) => self.close_door(cx, number),
                Mail::Question(question) => {
                    if let Some(promise) = question.put(&mut self.brain, cx) {
                        self.keep(promise);
                    }
                }
                Mail::Shutdown => self.shut_down(cx, now),
            }
            if Instant::now() >= budget {
                break;
            }
        }
        if handled > 0 {
            self.shared.mesh.handled(self.index, handled);
        }
        if self.inbox.is_empty() {
            self.inbox.shrink_to(MAIL_KEPT_MAX);
            self.fresh.shrink_to(MAIL_KEPT_MAX);
        }
    }

    /// Records to the journal, then everything that may leave because of that.
    fn settle(&mut self, cx: &Cx<'_>) {
        loop {
            self.records.clear();
            if let Some(batch) = self.brain.cut(&mut self.records) {
                let commit = if self.brain.awaits() >= Some(batch) {
                    self.idle_from = None;
                    self.ledger.append(&self.records)
                } else {
                    self.idle_from.get_or_insert(batch);
                    self.ledger.append_idly(&self.records)
                };
                self.commits.push(batch, commit);
                if self.ledger.written().is_some() {
                    self.unwritten_commits.push(batch, commit);
                }
                if self.records.capacity() > RECORDS_KEPT_MAX {
                    self.records = Vec::new();
                }
            }
            if self.idle_from.is_some() && self.brain.awaits() >= self.idle_from {
                self.idle_from = None;
                self.ledger.hurry();
            }
            while let Some(output) = self.brain.pop_output() {
                self.put_out(cx, output);
            }
            self.look_at_changed();
            let written = self.newly_written();
            if let Some(batch) = written {
                self.brain.written(cx, batch);
            }
            match self.commits.reached(self.ledger.durable()) {
                Some(batch) => self.synced(cx, batch),
                None if written.is_some() => {}
                None => break,
            }
        }
        for (to, mail) in self.outbox.iter_mut().enumerate() {
            self.shared.mesh.post(to, mail);
            mail.shrink_to(MAIL_KEPT_MAX);
        }
        while let Some(id) = self.brain.pop_dirty() {
            self.unwritten.push_back(id);
        }
    }

    fn put_out(&mut self, cx: &Cx<'_>, output: Output) {
        match output {
            Output::Close { connection, linger: true } => {
                if let Some(socket) = self.sockets.get_mut(connection) {
                    socket.closing = true;
                    self.unwritten.push_back(connection);
                    self.closing.push_back((Instant::now() + CLOSE_MAX, connection));
                } else {
                    self.brain.closed(cx, connection, Gone::Failed);
                }
            }
            Output::Close { connection, linger: false } => {
                let has_layers = self.sockets.get_mut(connection).is_some_and(|socket| socket.has_layers());
                if has_layers {
                    self.leave(connection);
                } else if let Some(socket) = self.sockets.remove(connection) {
                    self.shared.doorkeeper.leave(&socket.place);
                }
            }
            Output::ToShard { to, parcel } => {
                self.outbox[usize::from(to.0)].push(Mail::Parcel(parcel));
            }
            Output::HandOver { connection, to, bytes } => self.hand_over(connection, usize::from(to.0), bytes),
            Output::Load { session, after, count } => {
                self.shared.loader.ask(Load { shard: self.index, session, after, count });
            }
            Output::LoadRetained { session, topics } => {
                self.shared.loader.ask_retained(LoadRetained { shard: self.index, session, topics });
            }
            Output::Ask { connection, question } => {
                let ask = Ask { shard: self.index, connection, question, from: 0 };
                if !self.shared.judges.ask(ask) {
                    self.brain.answered(cx, connection, Answer::Unjudged);
                }
            }
            Output::Event(event) => {
                events::tell(&event, &self.shared.attempts, |number| self.listener_names.of(&self.shared, number));
            }
        }
    }

    /// Holds an answer back until the disk has what it speaks of.
    fn keep(&mut self, promise: Promise) {
        if self.brain.wants(promise.until) {
            promise.tell(Kept::Yes);
        } else if self.journal == Health::Failed {
            promise.tell(Kept::Never);
        } else {
            self.promises.push(promise);
        }
    }

    /// All batches up to this one are on disk.
    fn synced(&mut self, cx: &Cx<'_>, batch: ChangeSeq) {
        self.brain.synced(cx, batch);
        for promise in self.promises.extract_if(.., |promise| promise.until <= batch) {
            promise.tell(Kept::Yes);
        }
    }

    /// Removes retained messages whose time is over (§3.3.2.3.3).
    fn sweep(&mut self, cx: &Cx<'_>, now: Instant) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        let mut more = false;
        let mut is_due = false;
        cx.commons.read_retained(&mut |retained| is_due = retained.next_expiry().is_some_and(|at| at <= cx.now));
        if is_due {
            cx.commons.write_retained(&mut |retained| more = retained.remove_expired(cx.now, SWEPT_MAX) == SWEPT_MAX);
        }
        self.sweep_at = Some(if more { now } else { now + SWEEP_INTERVAL });
    }

    fn is_a_mailbox_full(&self) -> bool {
        (0..self.shared.mesh.len()).any(|to| to != self.index && self.shared.mesh.is_full(to, self.index))
    }

    /// A full mailbox stops all reading, and its owner is always about to empty it. A full journal may be so for long: it stops those who wait
    /// for it.
    fn pause_or_resume(&mut self, cx: &Cx<'_>) {
        self.is_congested = self.is_a_mailbox_full();
        let is_heavy = self.shared.progress.is_heavy(self.memory == Memory::IsFull);
        if is_heavy != (self.memory == Memory::IsFull) {
            self.memory = if is_heavy { Memory::IsFull } else { Memory::HasRoom };
            if is_heavy {
                self.shared.checkpoints.hurry();
            }
            self.brain.hold_back(cx, is_heavy);
            self.look_at_changed();
        }
        let pending = self.ledger.pending_bytes();
        let is_late = self.commits.waits_since().is_some_and(|since| since.elapsed() > HELD_MAX);
        let health = match self.journal {
            Health::Well if is_late || pending > JOURNAL_BYTES_MAX => Health::Full,
            Health::Full if !is_late && pending <= JOURNAL_BYTES_MAX / 2 => Health::Well,
            Health::Well | Health::Full | Health::Failed => return,
        };
        self.journal = health;
        self.brain.journal_is_full(cx, health == Health::Full);
        self.look_at_changed();
    }

    fn tell_room(&mut self, cx: &Cx<'_>) {
        let room = if self.is_memory_spent { Room::Scarce } else { self.disk };
        if self.brain.is_room_scarce() != (room == Room::Scarce) {
            self.brain.room_is(cx, room);
        }
    }

    fn memory_is(&mut self, cx: &Cx<'_>, told: Told) {
        self.is_memory_spent = told.is_spent;
        self.tell_room(cx);
        self.brain.pressure_is(cx, told.pressure);
        if told.shed > 0 {
            let gone = self.brain.shed(cx, told.shed);
            self.shared.doorkeeper.count(Refused::Shed, gone as u64);
        }
        self.look_at_changed();
    }

    /// Those that the brain wants to read on from, or not any more.
    fn look_at_changed(&mut self) {
        while let Some(id) = self.brain.pop_reading_changed() {
            self.look_again(id);
        }
    }

    fn shut_down(&mut self, cx: &Cx<'_>, now: Instant) {
        self.acceptors.clear();
        self.brain.shutdown(cx);
        self.stop = Some(Stop { flush_until: now + STOP_FLUSH_MAX, linger_until: None });
    }

    fn is_over(&mut self, now: Instant) -> Turn {
        let Some(stop) = &mut self.stop else {
            return Turn::Over;
        };
        if !self.sockets.is_empty() && now < stop.flush_until {
            return Turn::Over;
        }
        let linger_until = *stop.linger_until.get_or_insert(now + STOP_LINGER_MAX);
        if self.lingering.is_empty() || now >= linger_until { Turn::Last } else { Turn::Over }
    }
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("index", &self.index).finish_non_exhaustive()
    }
}
