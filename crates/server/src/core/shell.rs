//! A shard's body: the sockets, the poll and the mailbox around one brain.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use columba_broker::{
    Shard,
    id::ConnectionId,
    seam::{Cx, Gone, Origin, Output},
};
use mio::{Events, Interest, Poll};

use super::{
    Shared,
    accept::{Accepted, Acceptor},
    commits::{Commits, Ledger},
    linger::Lingering,
    mail::{Arrival, Mail},
    mesh::Weighed,
    sockets::{Peer, Socket, Sockets, Source},
};
use crate::{events, loader::Load, server::Word};

/// What one turn may spend on mail, on reading and on writing, each, before the rest is carried over: it bounds the latency of everyone on
/// the shard.
const TURN_BUDGET: Duration = Duration::from_micros(500);

/// All reading of a shard goes through one buffer of this size.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Poll events taken at once.
const EVENTS_MAX: usize = 1024;

/// Bytes on their way to disk, of all shards, from which on nobody reads.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// How soon a shard that stopped for the journal looks again.
const JOURNAL_PAUSE: Duration = Duration::from_millis(1);

/// How long a connection that is to be closed may take to read its last bytes.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for clients to read what they are told, and then for them to close.
const STOP_FLUSH_MAX: Duration = Duration::from_secs(2);
const STOP_LINGER_MAX: Duration = Duration::from_millis(250);

/// A batch buffer that grew beyond this is not kept.
const RECORDS_KEPT_MAX: usize = 1 << 20;

/// A shard with everything it owns; any thread may drive it, one at a time.
pub(crate) struct Shell {
    index: usize,
    shared: Arc<Shared>,
    brain: Shard,
    ledger: Ledger,
    commits: Commits,
    records: Vec<u8>,
    poll: Poll,
    events: Events,
    acceptors: Vec<Acceptor>,
    sockets: Sockets,
    lingering: Lingering,
    /// Connections to close when their time is over, in that order.
    closing: VecDeque<(Instant, ConnectionId)>,
    /// Connections that may have something to read.
    ready: VecDeque<ConnectionId>,
    /// Connections that may have something to write.
    unwritten: VecDeque<ConnectionId>,
    read_buffer: Box<[u8]>,
    inbox: VecDeque<Mail>,
    /// Swapped with the mailbox.
    fresh: Vec<Mail>,
    /// Mail of this turn, by addressee.
    outbox: Vec<Vec<Mail>>,
    /// The poll had more events than fit.
    more_events: bool,
    /// A mailbox or the journal is full: nothing is read.
    paused: Pause,
    journal_failed: bool,
    /// The doorkeeper's refusal is in the log.
    told_full: bool,
    stop: Option<Stop>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Pause {
    No,
    /// Its owner wakes us.
    ForMailbox,
    /// We look again.
    ForJournal,
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
            records: Vec::new(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            acceptors: Vec::new(),
            sockets: Sockets::default(),
            lingering: Lingering::default(),
            closing: VecDeque::new(),
            ready: VecDeque::new(),
            unwritten: VecDeque::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            inbox: VecDeque::new(),
            fresh: Vec::new(),
            outbox,
            more_events: false,
            paused: Pause::No,
            journal_failed: false,
            told_full: false,
            stop: None,
        }
    }

    /// The brain, to be filled before the first turn.
    pub(crate) fn brain(&mut self) -> &mut Shard {
        &mut self.brain
    }

    /// Takes its share of a listening address.
    pub(crate) fn listen(&mut self, socket: std::net::TcpListener, listener: u16) -> io::Result<()> {
        let mut socket = mio::net::TcpListener::from_std(socket);
        let token = Source::Listener(u32::try_from(self.acceptors.len()).unwrap_or(u32::MAX)).token();
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.acceptors.push(Acceptor::new(socket, listener));
        Ok(())
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
        let durable = if self.commits.is_empty() { self.ledger.durable() } else { self.ledger.wake_me() };
        if self.shared.mesh.has_mail(self.index)
            || self.commits.has_reached(durable)
            || (self.ledger.has_failed() && !self.journal_failed)
            || (self.paused == Pause::ForMailbox && self.congestion() != Pause::ForMailbox)
        {
            return Some(Duration::ZERO);
        }
        let brain = self.brain.next_wake().map(|at| self.shared.clock.until(at, now));
        let pause = (self.paused == Pause::ForJournal).then_some(JOURNAL_PAUSE);
        let stop = self.stop.map(|stop| stop.linger_until.unwrap_or(stop.flush_until));
        let accept = self.acceptors.iter().filter_map(Acceptor::pause_ends).min();
        let closing = self.closing.front().map(|&(at, _)| at);
        let instants = [self.lingering.next_deadline(), accept, closing, stop];
        let others = instants.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        others.chain(brain).chain(pause).min()
    }

    fn has_work(&self) -> bool {
        self.more_events
            || !self.inbox.is_empty()
            || !self.unwritten.is_empty()
            || (!self.ready.is_empty() && self.paused == Pause::No)
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

        self.note_events();
        self.check_journal(&cx);
        self.open_mail(&cx, started);
        if self.brain.next_wake().is_some_and(|at| at <= cx.now) {
            self.brain.tick(&cx);
        }
        self.accept(&cx, started);
        self.read_all(&cx);
        self.settle(&cx);
        self.write_all(&cx, started);
        // What was written may have made room for more.
        self.settle(&cx);
        self.close_overdue(&cx, started);
        self.pause_or_resume();
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
                    if (event.is_readable() || event.is_read_closed() || event.is_error()) && !socket.queued {
                        socket.queued = true;
                        self.ready.push_back(id);
                    }
                    if event.is_writable() && socket.blocked {
                        socket.blocked = false;
                        self.unwritten.push_back(id);
                    }
                }
                Source::Closing(index) => self.lingering.readable(index, &mut self.read_buffer),
                Source::Listener(index) => {
                    if let Some(acceptor) = self.acceptors.get_mut(index as usize) {
                        acceptor.is_readable();
                    }
                }
                Source::Waker => {}
            }
        }
        self.more_events = count == EVENTS_MAX;
    }

    fn check_journal(&mut self, cx: &Cx<'_>) {
        if !self.journal_failed && self.ledger.has_failed() {
            self.journal_failed = true;
            self.commits.clear();
            self.brain.journal_failed(cx);
            // Nobody waits for the end of a server that is being dropped.
            self.shared.words.send(Word::JournalFailed).unwrap_or_default();
        }
        if let Some(batch) = self.commits.reached(self.ledger.durable()) {
            self.brain.synced(cx, batch);
        }
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
                Mail::Shutdown => self.shut_down(cx, now),
            }
            if Instant::now() >= budget {
                break;
            }
        }
        if handled > 0 {
            self.shared.mesh.handled(self.index, handled);
        }
    }

    fn accept(&mut self, cx: &Cx<'_>, now: Instant) {
        for index in 0..self.acceptors.len() {
            for _ in 0..self.acceptors[index].share(now) {
                let listener = self.acceptors[index].listener;
                let Accepted::One(stream, peer) = self.acceptors[index].accept(now) else {
                    break;
                };
                if self.shared.doorkeeper.enter(listener) {
                    self.told_full = false;
                    // Coalescing is ours: one write a turn.
                    stream.set_nodelay(true).unwrap_or_default();
                    self.arrived(cx, Arrival { stream, peer, listener, bytes: Vec::new() });
                } else if !std::mem::replace(&mut self.told_full, true) {
                    tracing::warn!(%peer, "connection refused: max_connections are there");
                }
            }
        }
    }

    fn arrived(&mut self, cx: &Cx<'_>, arrival: Arrival) {
        let Arrival { mut stream, peer, listener, bytes } = arrival;
        let id = self.brain.opened(cx, Origin { peer: peer.to_string().into(), listener });
        let token = Source::Connection { slot: id.slot, generation: id.generation }.token();
        if let Err(error) = self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            tracing::error!(%peer, %error, "cannot watch a connection");
            self.shared.doorkeeper.leave(listener);
            self.brain.closed(cx, id, Gone::Failed);
            return;
        }
        self.sockets.insert(id, Socket::new(stream, listener));
        if !bytes.is_empty() {
            self.brain.received(cx, id, &bytes);
        }
    }

    fn read_all(&mut self, cx: &Cx<'_>) {
        if self.paused != Pause::No || self.ready.is_empty() {
            return;
        }
        let budget = Instant::now() + TURN_BUDGET;
        // One chunk each: those that have more stand at the end again.
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            self.read(cx, id);
            if Instant::now() >= budget {
                break;
            }
        }
    }

    fn read(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.queued = false;
        if socket.closing {
            return;
        }
        if !self.brain.wants_reading(id) {
            if socket.peer == Peer::Gone {
                self.gone(cx, id, Gone::Failed);
            }
            return;
        }
        match socket.stream.read(&mut self.read_buffer) {
            Ok(0) => self.gone(cx, id, Gone::ByPeer),
            Ok(count) => {
                // A short read was the last there is, unless the end of the stream stands behind it.
                if count == self.read_buffer.len() || socket.peer != Peer::Open {
                    socket.queued = true;
                    self.ready.push_back(id);
                }
                self.brain.received(cx, id, &self.read_buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                socket.queued = true;
                self.ready.push_back(id);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && socket.peer != Peer::Gone => {}
            Err(_) => self.gone(cx, id, Gone::Failed),
        }
    }

    fn gone(&mut self, cx: &Cx<'_>, id: ConnectionId, gone: Gone) {
        if let Some(socket) = self.sockets.remove(id) {
            self.shared.doorkeeper.leave(socket.listener);
            self.brain.closed(cx, id, gone);
        }
    }

    /// Records to the journal, then everything that may leave because of that.
    fn settle(&mut self, cx: &Cx<'_>) {
        loop {
            self.records.clear();
            if let Some(batch) = self.brain.cut(&mut self.records) {
                self.commits.push(batch, self.ledger.append(&self.records));
                if self.records.capacity() > RECORDS_KEPT_MAX {
                    self.records = Vec::new();
                }
            }
            while let Some(output) = self.brain.pop_output() {
                self.put_out(cx, output);
            }
            while let Some(id) = self.brain.pop_reading_changed() {
                self.look_again(id);
            }
            match self.commits.reached(self.ledger.durable()) {
                Some(batch) => self.brain.synced(cx, batch),
                None => break,
            }
        }
        for (to, mail) in self.outbox.iter_mut().enumerate() {
            self.shared.mesh.post(to, mail);
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
                if let Some(socket) = self.sockets.remove(connection) {
                    self.shared.doorkeeper.leave(socket.listener);
                }
            }
            Output::ToShard { to, parcel } => {
                self.outbox[usize::from(to.0)].push(Mail::Parcel(parcel));
            }
            Output::HandOver { connection, to, bytes } => self.hand_over(connection, usize::from(to.0), bytes),
            Output::Load { session, after, count } => {
                self.shared.loader.ask(Load { shard: self.index, session, after, count });
            }
            Output::Event(event) => events::tell(&event),
        }
    }

    fn hand_over(&mut self, id: ConnectionId, to: usize, bytes: Vec<u8>) {
        let Some(Socket { mut stream, listener, .. }) = self.sockets.remove(id) else {
            return;
        };
        // First of all: no event of this socket may reach us any more.
        let moved = self.poll.registry().deregister(&mut stream).and_then(|()| stream.peer_addr());
        match moved {
            Ok(peer) => self.outbox[to].push(Mail::Connection(Arrival { stream, peer, listener, bytes })),
            // It is closed already; its brain here has forgotten it.
            Err(_) => self.shared.doorkeeper.leave(listener),
        }
    }

    /// The brain wants to read on, or to stop.
    fn look_again(&mut self, id: ConnectionId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.queued
            && self.brain.wants_reading(id)
        {
            socket.queued = true;
            self.ready.push_back(id);
        }
    }

    fn write_all(&mut self, cx: &Cx<'_>, now: Instant) {
        if self.unwritten.is_empty() {
            return;
        }
        let budget = Instant::now() + TURN_BUDGET;
        for _ in 0..self.unwritten.len() {
            let Some(id) = self.unwritten.pop_front() else {
                break;
            };
            self.write(cx, id, now);
            if Instant::now() >= budget {
                break;
            }
        }
    }

    /// One write of what is there.
    fn write(&mut self, cx: &Cx<'_>, id: ConnectionId, now: Instant) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let Some(out) = self.brain.out(id) else {
            return;
        };
        if !out.is_empty() {
            if socket.blocked {
                return;
            }
            match socket.stream.write(out.pending()) {
                Ok(count) => {
                    socket.blocked = count < out.len();
                    out.consume(count);
                    let more = socket.blocked || !socket.closing;
                    self.brain.flushed(cx, id);
                    if more {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.unwritten.push_back(id);
                    return;
                }
                Err(_) => {
                    let lost = out.len();
                    out.consume(lost);
                    if socket.closing {
                        self.gone(cx, id, Gone::Failed);
                    } else {
                        // A DISCONNECT may lie unread before the end: it decides about the will.
                        socket.peer = Peer::Gone;
                        if !std::mem::replace(&mut socket.queued, true) {
                            self.ready.push_back(id);
                        }
                    }
                    return;
                }
            }
        }
        if socket_closes(&mut self.sockets, id) {
            self.say_goodbye(cx, id, now);
        }
    }

    /// All is said: waits for the other end to close, without the brain.
    fn say_goodbye(&mut self, cx: &Cx<'_>, id: ConnectionId, now: Instant) {
        let Some(socket) = self.sockets.remove(id) else {
            return;
        };
        self.shared.doorkeeper.leave(socket.listener);
        self.brain.closed(cx, id, Gone::ByPeer);
        self.lingering.start(self.poll.registry(), socket.stream, now, &mut self.read_buffer);
    }

    fn close_overdue(&mut self, cx: &Cx<'_>, now: Instant) {
        self.lingering.sweep(now);
        while let Some(&(at, id)) = self.closing.front()
            && (at <= now || self.sockets.get_mut(id).is_none())
        {
            self.closing.pop_front();
            self.gone(cx, id, Gone::Failed);
        }
    }

    fn congestion(&self) -> Pause {
        let others = (0..self.shared.mesh.len()).filter(|&to| to != self.index);
        if others.into_iter().any(|to| self.shared.mesh.is_full(to, self.index)) {
            Pause::ForMailbox
        } else if self.ledger.pending_bytes() > JOURNAL_BYTES_MAX && !self.journal_failed {
            Pause::ForJournal
        } else {
            Pause::No
        }
    }

    fn pause_or_resume(&mut self) {
        self.paused = self.congestion();
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

fn socket_closes(sockets: &mut Sockets, id: ConnectionId) -> bool {
    sockets.get_mut(id).is_some_and(|socket| socket.closing)
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("index", &self.index).finish_non_exhaustive()
    }
}
