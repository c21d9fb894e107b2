//! Frames out: what may leave at once, what waits in a connection's ring, and when nothing more is read (docs/adr/0004).

use alloc::vec::Vec;

use columba_proto::ReasonCode;

use super::{Journal, Pressure, Room, Shard, deliver::why};
use crate::{
    connection::{Connection, Phase, Published, Turn},
    durable::Record,
    hold::{Frame, Held},
    id::{ChangeSeq, ConnectionId},
    limits::PARTIAL_UNDER_PRESSURE_MAX,
    out_buffer::Pool,
    seam::Cx,
    timers::Timer,
};

impl Shard {
    /// Appends a record to this turn's batch.
    pub(super) fn record(&mut self, record: &Record<'_>) -> ChangeSeq {
        self.batch.append(record)
    }

    /// Sends a frame once `until` is on disk and everything before it has left. The answer is its number where it has to wait.
    pub(super) fn send(&mut self, cx: &Cx<'_>, id: ConnectionId, until: ChangeSeq, frame: Frame) -> Option<u64> {
        let open = self.connections.get_mut(id)?.open()?;
        let reached = self.batch.reached(open.waits_for);
        if open.ring.is_empty() && until <= reached {
            self.emit(cx, id, frame);
            return None;
        }
        if let Frame::Bytes(bytes) = &frame {
            open.held_bytes += bytes.len();
        }
        let number = open.ring.push(Held::new(until, 0, frame));
        if until > reached {
            self.waiting.of(open.waits_for).push(until, id);
        }
        Some(number)
    }

    /// The same for a frame that must wait for `readers` that have no room.
    pub(super) fn send_withheld(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        until: ChangeSeq,
        readers: u16,
        frame: Frame,
    ) -> Option<u64> {
        if readers == 0 {
            return self.send(cx, id, until, frame);
        }
        let open = self.connections.get_mut(id)?.open()?;
        let number = open.ring.push(Held::new(until, readers, frame));
        if until > self.batch.reached(open.waits_for) {
            self.waiting.of(open.waits_for).push(until, id);
        }
        Some(number)
    }

    /// Sends an encoded frame that has no place in the order of acknowledgements, but for CONNACK, which nothing passes.
    pub(super) fn send_bytes(&mut self, id: ConnectionId, until: ChangeSeq, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        let reached = self.batch.reached(open.waits_for);
        if until <= reached && (open.greeted || open.ring.is_empty()) {
            Self::append(connection, &mut self.pool, &mut self.dirty, id).extend_from_slice(bytes);
            self.counters.sent_encoded(bytes);
            return;
        }
        if until <= reached && open.ring.join_first(bytes) {
            return;
        }
        let _ = open.ring.push(Held::new(until, 0, Frame::Bytes(bytes.into())));
        if until > reached {
            self.waiting.of(open.waits_for).push(until, id);
        }
    }

    /// Lets out what may leave, in order.
    pub(super) fn release(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        while let Some(open) = self.connections.get_mut(id).and_then(Connection::open) {
            let Some(frame) = open.ring.pop(self.batch.reached(open.waits_for)) else { break };
            self.emit(cx, id, frame);
        }
        let slot = self.connections.get_mut(id).and_then(Connection::open).map(|open| open.session);
        if let Some(slot) = slot
            && self.sessions[slot as usize].awaits_suback()
        {
            self.pump(cx, slot);
        }
        self.check_reading(cx, id);
    }

    /// Encodes a frame into the out-buffer: it has left, as far as the brain can tell.
    pub(super) fn emit(&mut self, cx: &Cx<'_>, id: ConnectionId, frame: Frame) {
        match frame {
            Frame::Ack { kind, id: packet_id, reason } => self.emit_ack(id, kind, packet_id, reason, why(kind, reason)),
            Frame::Denied { kind, id: packet_id, denied } => {
                let why = self.not_allowed(denied);
                self.emit_ack(id, kind, packet_id, ReasonCode::NOT_AUTHORIZED, Some(&why));
            }
            Frame::Publish { id: packet_id, dup } => self.emit_publish(cx, id, packet_id, dup),
            Frame::Bytes(bytes) => {
                let Some(connection) = self.connections.get_mut(id) else { return };
                if let Some(open) = connection.open() {
                    // CONNACK is the first frame of every connection, and it is of this kind.
                    open.greeted = true;
                }
                Self::append(connection, &mut self.pool, &mut self.dirty, id).extend_from_slice(&bytes);
                self.counters.sent_encoded(&bytes);
            }
        }
    }

    /// The out-buffer of a connection, which is dirty from now on.
    pub(super) fn append<'c>(
        connection: &'c mut Connection,
        pool: &mut Pool,
        dirty: &mut Vec<ConnectionId>,
        id: ConnectionId,
    ) -> &'c mut Vec<u8> {
        if !connection.is_dirty {
            connection.is_dirty = true;
            dirty.push(id);
        }
        connection.out.append(pool)
    }

    /// A client that was too fast has paid with time, or has sent more meanwhile.
    pub(super) fn look_at_pace(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let pace = self.connections.get_mut(id).and_then(Connection::open).and_then(|open| open.pace.as_mut());
        if let Some(pace) = pace {
            pace.timer_passed();
            self.check_reading(cx, id);
        }
    }

    /// A client that was sent as much as it may be may be sent more.
    pub(super) fn look_at_pace_out(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        if let Some(pace) = &mut open.pace_out {
            pace.timer_passed();
            let slot = open.session;
            self.pump(cx, slot);
        }
    }

    /// Tells the world to stop or to go on reading, by what this connection leaves unread and unanswered.
    pub(super) fn check_reading(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let unread_max = self.config.unread_answers_max;
        let journal_is_full = self.journal == Journal::IsFull;
        let held_max = if journal_is_full { 0 } else { self.config.held_frames_max };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let unread = connection.out.len();
        let is_long = connection.partial.len() > PARTIAL_UNDER_PRESSURE_MAX;
        let waits = connection.turn != Turn::Done;
        let Phase::Open(open) = &mut connection.phase else { return };
        let held = open.ring.len();
        if held == 0 {
            open.held_bytes = 0;
        }
        // Without room on the disk nothing new is stored, and whoever tries is told so.
        let fills = open.published == Published::IntoQueues && self.room == Room::Ample;
        // Those that fill the journal need not wait for an acknowledgement: what is retained at QoS 0 has none.
        let held_back = (self.holds_back || journal_is_full) && fills;
        let is_too_fast = open.pace.as_mut().is_some_and(|pace| pace.owes(cx.now, &mut self.timers, Timer::Pace(id)));
        let is_pressed = self.pressure == Pressure::High && (open.published != Published::Nothing || is_long);
        let held_back = held_back || is_too_fast || is_pressed || waits;
        let too_much = held_back || unread > unread_max || held > held_max || open.held_bytes > self.config.held_bytes_max;
        let little = !held_back && unread <= unread_max / 2 && held <= held_max / 2 && open.held_bytes == 0;
        if too_much && !connection.is_paused {
            connection.is_paused = true;
            // What the client says while we do not read, we cannot hear.
            if let Some(open) = connection.open() {
                open.keep_alive.pause(cx.now);
            }
            self.reading_changed.push(id);
        } else if little && connection.is_paused {
            connection.is_paused = false;
            if let Some(open) = connection.open() {
                open.keep_alive.resume(cx.now);
            }
            if let Some(deadline) = connection.open().and_then(|open| open.keep_alive.deadline()) {
                self.timers.set(deadline, Timer::KeepAlive(id));
            }
            self.reading_changed.push(id);
        }
    }
}
