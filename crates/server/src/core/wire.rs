//! Connections whose bytes do not pass as they are: TLS, WebSocket, PROXY protocol. Their handshakes, what comes through, what goes out through, and the
//! last words.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use columba_broker::{
    id::ConnectionId,
    seam::{Cx, Gone},
};
use columba_net::{Heard, LayerError, Scratch, Stack, limits::WRITE_BYTES_MAX};

use super::{shell::Shell, sockets::Socket, stream::Stream};
use crate::entrance::NoEntrance;

/// What a turn may spend on handshakes, behind everything else; one that is begun is done. A signature by an RSA key takes about a millisecond.
const HANDSHAKE_BUDGET: Duration = Duration::from_micros(300);

/// Memory that the buffers of all connections keep.
const BUFFER_KEPT_MAX: usize = 256 * 1024;

/// The layers of one connection, with what has passed them and the kernel has not taken yet. Small while the connection is idle.
#[derive(Debug)]
pub(super) struct Wire {
    stack: Stack,
    unsent: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Bytes of the out-buffer that it stands for: they stay there until it is written.
    covered: usize,
    /// The brain knows who is at the other end.
    introduced: bool,
}

/// Buffers of one shard for the bytes of the connection that is being looked at.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// Bytes of MQTT that came.
    inward: Vec<u8>,
    /// Bytes for the kernel.
    outward: Vec<u8>,
    scratch: Scratch,
}

impl Wire {
    pub(super) fn new(stack: Stack) -> Self {
        Self { stack, unsent: Vec::new(), written: 0, covered: 0, introduced: false }
    }

    /// Whether its handshakes go on.
    pub(super) fn is_shaking(&self) -> bool {
        !self.stack.is_open()
    }

    /// Whether bytes pass unchanged, and nothing is left of those that did not.
    pub(super) fn is_transparent(&self) -> bool {
        self.stack.is_transparent() && self.unsent.is_empty() && self.introduced
    }

    /// It can never be written.
    pub(super) fn forget_unsent(&mut self) {
        self.unsent = Vec::new();
        (self.written, self.covered) = (0, 0);
    }

    fn has_something_to_say(&self) -> bool {
        !self.unsent.is_empty() || self.stack.has_outgoing()
    }

    pub(super) fn stack(&self) -> &Stack {
        &self.stack
    }
}

impl Passage {
    fn tidy(&mut self) {
        self.inward.clear();
        self.outward.clear();
        self.inward.shrink_to(BUFFER_KEPT_MAX);
        self.outward.shrink_to(BUFFER_KEPT_MAX);
        self.scratch.shrink_to(BUFFER_KEPT_MAX);
    }
}

/// How the writing of one connection ended.
pub(super) enum Wrote {
    /// All that there is.
    All,
    /// The kernel has no room.
    Blocked,
    /// There is more, and perhaps room.
    More,
    /// The other end is gone.
    Failed,
}

impl Shell {
    /// A connection stands in line to be read: behind the others while its handshakes go on.
    pub(super) fn line_up(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if std::mem::replace(&mut socket.queued, true) {
            return;
        }
        if socket.is_shaking() { self.shaking.push_back(id) } else { self.ready.push_back(id) }
    }

    /// The same for one that has had a turn and has more: behind those that say little, for they wait for an answer.
    pub(super) fn line_up_behind(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if std::mem::replace(&mut socket.queued, true) {
            return;
        }
        if socket.is_shaking() { self.shaking.push_back(id) } else { self.bulky.push_back(id) }
    }

    /// Handshakes, each at its turn, as far as the budget goes.
    pub(super) fn shake_all(&mut self, cx: &Cx<'_>) {
        if self.is_congested || self.shaking.is_empty() {
            return;
        }
        let budget = Instant::now() + HANDSHAKE_BUDGET;
        for _ in 0..self.shaking.len() {
            let Some(id) = self.shaking.pop_front() else { break };
            self.read(cx, id);
            if Instant::now() >= budget {
                break;
            }
        }
    }

    /// The first `count` bytes of the read buffer came on a connection with layers.
    pub(super) fn read_through(&mut self, cx: &Cx<'_>, id: ConnectionId, count: usize) {
        let Some(wire) = self.sockets.get_mut(id).and_then(|socket| socket.wire.as_deref_mut()) else { return };
        let Passage { inward, scratch, .. } = &mut self.passage;
        let heard = wire.stack.read(&mut self.read_buffer[..count], inward, scratch);
        let is_new = !wire.introduced && wire.stack.is_open();
        wire.introduced |= is_new;
        if is_new && let Err(error) = self.introduce(id) {
            self.passage.tidy();
            self.turn_away(cx, id, &error);
            return;
        }
        if !self.passage.inward.is_empty() {
            self.brain.received(cx, id, &self.passage.inward);
        }
        self.passage.tidy();
        let says_something =
            self.sockets.get_mut(id).is_some_and(|socket| socket.wire.as_ref().is_some_and(|wire| wire.has_something_to_say()));
        match heard {
            Ok(Heard::More) if says_something => self.unwritten.push_back(id),
            Ok(Heard::More) => {}
            Ok(Heard::End) => {
                self.leave(id);
                self.brain.closed(cx, id, Gone::ByPeer);
            }
            Err(error) => self.turn_away(cx, id, &error.into()),
        }
    }

    /// Tells the brain who is at the other end, now that the layers know.
    fn introduce(&mut self, id: ConnectionId) -> Result<(), NoEntrance> {
        let Some(socket) = self.sockets.get_mut(id) else { return Ok(()) };
        let Some(wire) = &socket.wire else { return Ok(()) };
        let identity = socket.place.door.entrance.identity(&wire.stack)?;
        let source = wire.stack.source();
        if source.is_some() || identity.is_some() {
            self.brain.introduced(id, source.map(|source| source.to_string().into()), identity);
        }
        Ok(())
    }

    /// Ends a connection that broke the rules of its transport, or whose client is not let in. The last words say why, where the transport has any.
    fn turn_away(&mut self, cx: &Cx<'_>, id: ConnectionId, error: &NoEntrance) {
        if let Some(socket) = self.sockets.get_mut(id) {
            let peer = socket.address().map(|address| address.to_string()).unwrap_or_default();
            tracing::info!(peer, reason = %error, "connection refused");
        }
        self.leave(id);
        self.brain.closed(cx, id, Gone::Garbled);
    }

    /// Says the last words, and waits for the other end to close: it has some, too, and a reset must not overtake ours.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.say_last_words(id);
        if let Some(socket) = self.sockets.remove(id) {
            self.shared.doorkeeper.leave(&socket.place);
            self.lingering.start(self.poll.registry(), socket.stream, Instant::now(), &mut self.read_buffer);
        }
    }

    /// Whatever the layers say at the end, in one attempt: who does not read it any more does not need it.
    pub(super) fn say_last_words(&mut self, id: ConnectionId) {
        let Some(Socket { stream, wire: Some(wire), .. }) = self.sockets.get_mut(id) else { return };
        if !wire.unsent.is_empty() {
            // A record that is cut off can be followed by nothing.
            return;
        }
        let Passage { outward, scratch, .. } = &mut self.passage;
        wire.stack.close(outward, scratch);
        if !outward.is_empty() {
            drop(stream.write(outward));
        }
        self.passage.tidy();
    }

    /// One write of what there is, through the layers.
    pub(super) fn write_through(&mut self, cx: &Cx<'_>, id: ConnectionId) -> Wrote {
        let Some(Socket { stream, wire: Some(wire), .. }) = self.sockets.get_mut(id) else { return Wrote::All };
        let Some(out) = self.brain.out(id) else { return Wrote::All };
        if !wire.unsent.is_empty() {
            match write_some(stream, &wire.unsent[wire.written..]) {
                Ok(count) => wire.written += count,
                Err(wrote) => return wrote,
            }
            if wire.written < wire.unsent.len() {
                return Wrote::Blocked;
            }
            wire.unsent = Vec::new();
            wire.written = 0;
            out.consume(std::mem::take(&mut wire.covered));
            self.brain.flushed(cx, id);
            return Wrote::More;
        }

        let Passage { outward, scratch, .. } = &mut self.passage;
        let pending = out.pending();
        let taken = &pending[..pending.len().min(WRITE_BYTES_MAX)];
        let passed = pass(&mut wire.stack, taken, outward, scratch);
        let wrote = match passed {
            Err(_) => Wrote::Failed,
            Ok(()) if outward.is_empty() => Wrote::All,
            Ok(()) => match write_some(stream, outward) {
                Ok(count) if count == outward.len() => {
                    let is_all = taken.len() == pending.len();
                    let taken = taken.len();
                    out.consume(taken);
                    if taken > 0 {
                        self.brain.flushed(cx, id);
                    }
                    if is_all { Wrote::All } else { Wrote::More }
                }
                Err(Wrote::Failed) => Wrote::Failed,
                other => {
                    let count = other.unwrap_or(0);
                    wire.unsent = outward[count..].to_vec();
                    wire.covered = taken.len();
                    Wrote::Blocked
                }
            },
        };
        self.passage.tidy();
        wrote
    }

    /// A connection that was handed over, or is new, may have something to say already.
    pub(super) fn greet(&mut self, id: ConnectionId) {
        if self.sockets.get_mut(id).is_some_and(|socket| socket.wire.as_ref().is_some_and(|wire| wire.has_something_to_say())) {
            self.unwritten.push_back(id);
        }
    }
}

fn pass(stack: &mut Stack, bytes: &[u8], outward: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), LayerError> {
    stack.outgoing(outward, scratch)?;
    if bytes.is_empty() { Ok(()) } else { stack.write(bytes, outward, scratch) }
}

fn write_some(stream: &mut Stream, bytes: &[u8]) -> Result<usize, Wrote> {
    loop {
        match stream.write(bytes) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Wrote::Blocked),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Wrote::Failed),
        }
    }
}
