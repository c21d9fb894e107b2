//! The part of a shard's body that touches sockets: accept, read, write, hand over, close.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    sync::Arc,
    time::Instant,
};

use columba_broker::{
    id::ConnectionId,
    seam::{Cx, Gone},
};
use mio::Interest;

use super::{
    accept::Accepted,
    doorkeeper::Admission,
    mail::{Arrival, Mail},
    shell::{Shell, TURN_BUDGET},
    sockets::{Peer, Socket, Source},
    wire::{Wire, Wrote},
};

impl Shell {
    pub(super) fn accept(&mut self, cx: &Cx<'_>, now: Instant) {
        for index in 0..self.acceptors.len() {
            for _ in 0..self.acceptors[index].share(now) {
                let door = Arc::clone(&self.acceptors[index].door);
                if let Some(at) = self.shared.doorkeeper.not_before(&door, now) {
                    self.acceptors[index].wait_until(at);
                    break;
                }
                let Accepted::One(stream) = self.acceptors[index].accept(now) else {
                    break;
                };
                // Who is gone again has none.
                let Ok(peer) = stream.address() else { continue };
                let admission = self.shared.doorkeeper.enter(&door, &peer, now);
                let (place, refused) = match admission {
                    Admission::In(place) => (Some(place), None),
                    Admission::ToBeTold(place, refused) => (Some(place), Some(refused)),
                    Admission::Closed(refused) => (None, Some(refused)),
                };
                if std::mem::replace(&mut self.told_refused, refused) != refused
                    && let Some(refused) = refused
                {
                    let limit = refused.name();
                    tracing::warn!(%peer, limit, "connections are refused from here on: a limit is reached");
                }
                let Some(place) = place else { continue };
                stream.send_at_once();
                match door.entrance.stack(&peer) {
                    Ok(stack) => {
                        let wire = stack.map(|stack| Box::new(Wire::new(stack)));
                        self.arrived(cx, Arrival { stream, wire, place, bytes: Vec::new() });
                    }
                    Err(error) => {
                        tracing::info!(%peer, reason = %error, "connection refused");
                        self.shared.doorkeeper.leave(&place);
                    }
                }
            }
        }
    }

    pub(super) fn arrived(&mut self, cx: &Cx<'_>, arrival: Arrival) {
        let Arrival { stream, wire, place, bytes } = arrival;
        let mut socket = Socket::new(stream, wire, place);
        if socket.place.door.is_closed() {
            self.shared.doorkeeper.leave(&socket.place);
            return;
        }
        let origin = match socket.origin() {
            Ok(origin) => origin,
            Err(error) => {
                tracing::info!(reason = %error, "connection refused");
                self.shared.doorkeeper.leave(&socket.place);
                return;
            }
        };
        let id = self.brain.opened(cx, origin);
        let token = Source::Connection { slot: id.slot, generation: id.generation }.token();
        if let Err(error) = self.poll.registry().register(&mut socket.stream, token, Interest::READABLE | Interest::WRITABLE) {
            tracing::error!(%error, "cannot watch a connection");
            self.shared.doorkeeper.leave(&socket.place);
            self.brain.closed(cx, id, Gone::Failed);
            return;
        }
        self.sockets.insert(id, socket);
        self.greet(id);
        if !bytes.is_empty() {
            self.brain.received(cx, id, &bytes);
        }
    }

    pub(super) fn read_all(&mut self, cx: &Cx<'_>) {
        if self.is_congested || (self.ready.is_empty() && self.bulky.is_empty()) {
            return;
        }
        let budget = Instant::now() + TURN_BUDGET;
        // One chunk each. Who has more stands behind all those that have not, and of them one has its turn whatever time it is.
        self.read_line(cx, budget, |shell| &mut shell.ready);
        self.read_line(cx, budget, |shell| &mut shell.bulky);
    }

    /// The first of a line is read in any case, the others as far as the budget goes.
    fn read_line(&mut self, cx: &Cx<'_>, budget: Instant, line: fn(&mut Self) -> &mut VecDeque<ConnectionId>) {
        for _ in 0..line(self).len() {
            let Some(id) = line(self).pop_front() else {
                break;
            };
            self.read(cx, id);
            if Instant::now() >= budget {
                break;
            }
        }
    }

    pub(super) fn read(&mut self, cx: &Cx<'_>, id: ConnectionId) {
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
                let more = count == self.read_buffer.len() || socket.peer != Peer::Open;
                if socket.has_layers() {
                    self.read_through(cx, id, count);
                } else {
                    self.brain.received(cx, id, &self.read_buffer[..count]);
                }
                if more {
                    self.line_up_behind(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.line_up(id),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && socket.peer != Peer::Gone => {}
            Err(_) => self.gone(cx, id, Gone::Failed),
        }
    }

    pub(super) fn gone(&mut self, cx: &Cx<'_>, id: ConnectionId, gone: Gone) {
        if let Some(socket) = self.sockets.remove(id) {
            self.shared.doorkeeper.leave(&socket.place);
            self.brain.closed(cx, id, gone);
        }
    }

    pub(super) fn hand_over(&mut self, id: ConnectionId, to: usize, bytes: Vec<u8>) {
        let Some(Socket { mut stream, wire, place, .. }) = self.sockets.remove(id) else {
            return;
        };
        // First of all: no event of this socket may reach us any more.
        match self.poll.registry().deregister(&mut stream) {
            Ok(()) => self.outbox[to].push(Mail::Connection(Arrival { stream, wire, place, bytes })),
            // It is closed already; its brain here has forgotten it.
            Err(_) => self.shared.doorkeeper.leave(&place),
        }
    }

    /// The brain wants to read on, or to stop.
    pub(super) fn look_again(&mut self, id: ConnectionId) {
        if self.brain.wants_reading(id) {
            self.line_up_behind(id);
        }
    }

    pub(super) fn write_all(&mut self, cx: &Cx<'_>) {
        if self.unwritten.is_empty() {
            return;
        }
        let budget = Instant::now() + TURN_BUDGET;
        for _ in 0..self.unwritten.len() {
            let Some(id) = self.unwritten.pop_front() else {
                break;
            };
            self.write(cx, id);
            if Instant::now() >= budget {
                break;
            }
        }
    }

    /// One write of what is there.
    fn write(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.has_layers() {
            if !socket.blocked {
                self.write_layered(cx, id);
            }
            return;
        }
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
                    self.cannot_write(cx, id);
                    return;
                }
            }
        }
        if self.sockets.get_mut(id).is_some_and(|socket| socket.closing) {
            self.say_goodbye(cx, id);
        }
    }

    fn write_layered(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let wrote = self.write_through(cx, id);
        let Some(socket) = self.sockets.get_mut(id) else { return };
        match wrote {
            Wrote::All if socket.closing => self.say_goodbye(cx, id),
            Wrote::All => {}
            Wrote::Blocked => socket.blocked = true,
            Wrote::More => self.unwritten.push_back(id),
            Wrote::Failed => self.cannot_write(cx, id),
        }
    }

    /// What is to be written is lost.
    fn cannot_write(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        if let Some(out) = self.brain.out(id) {
            let lost = out.len();
            out.consume(lost);
        }
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if socket.closing {
            self.gone(cx, id, Gone::Failed);
        } else {
            // A DISCONNECT may lie unread before the end: it decides about the will.
            socket.peer = Peer::Gone;
            if let Some(wire) = &mut socket.wire {
                wire.forget_unsent();
            }
            self.line_up(id);
        }
    }

    /// All is said: waits for the other end to close, without the brain.
    fn say_goodbye(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        self.leave(id);
        self.brain.closed(cx, id, Gone::ByPeer);
    }

    pub(super) fn close_overdue(&mut self, cx: &Cx<'_>, now: Instant) {
        self.lingering.sweep(now);
        while let Some(&(at, id)) = self.closing.front()
            && (at <= now || self.sockets.get_mut(id).is_none())
        {
            self.closing.pop_front();
            self.gone(cx, id, Gone::Failed);
        }
    }
}
