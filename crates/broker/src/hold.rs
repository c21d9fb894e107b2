//! Disk before wire: frames that wait for a change to be on disk, in the order in which they must leave.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use columba_proto::{AckKind, PacketId, ReasonCode};

use crate::{
    access::Denied,
    durable::Record,
    id::{ChangeSeq, ConnectionId},
    limits::Durable,
};

/// Something that must not leave the shard before change `until` is on disk, nor before `left` readers have room.
#[must_use]
#[derive(Debug)]
pub(crate) struct Held<T> {
    until: ChangeSeq,
    left: u16,
    value: T,
}

impl<T> Held<T> {
    pub(crate) fn new(until: ChangeSeq, left: u16, value: T) -> Self {
        Self { until, left, value }
    }

    /// Whether it may leave.
    pub(crate) fn is_free(&self, synced: ChangeSeq) -> bool {
        self.until <= synced && self.left == 0
    }

    /// The value, where it may leave; otherwise everything as it was.
    pub(crate) fn release(self, synced: ChangeSeq) -> Result<T, Self> {
        if self.is_free(synced) { Ok(self.value) } else { Err(self) }
    }

    /// The value, for reading only.
    pub(crate) fn peek(&self) -> &T {
        &self.value
    }
}

/// A frame that a connection will send; bytes are made when it leaves.
#[derive(Debug)]
pub(crate) enum Frame {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack { kind: AckKind, id: PacketId, reason: ReasonCode },
    /// A PUBACK or PUBREC for what may not be published there.
    Denied { kind: AckKind, id: PacketId, denied: Denied },
    /// A PUBLISH whose message is in the session's sender.
    Publish { id: PacketId, dup: bool },
    /// Anything rare, already encoded.
    Bytes(Box<[u8]>),
}

/// The frames of one connection that cannot leave yet. What is sent while it is not empty joins it, so that the order stays.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    frames: VecDeque<Held<Frame>>,
    /// How many frames have left: the absolute number of the first one here.
    gone: u64,
    /// The latest change that a frame has waited for; what has left waits for none that is not on disk.
    latest: ChangeSeq,
    /// The identifiers of every `PUBLISH` among the frames, in order.
    publishes: VecDeque<PacketId>,
}

impl Ring {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Puts bytes directly behind the first frame, where that is encoded: they leave together. CONNACK is such a frame, and what only has to wait for it must
    /// not fall behind what comes after it.
    pub(crate) fn join_first(&mut self, bytes: &[u8]) -> bool {
        let Some(Held { value: Frame::Bytes(first), .. }) = self.frames.front_mut() else { return false };
        let mut both = Vec::with_capacity(first.len() + bytes.len());
        both.extend_from_slice(first);
        both.extend_from_slice(bytes);
        *first = both.into_boxed_slice();
        true
    }

    /// Bytes of the first frame, where it is encoded.
    pub(crate) fn first_len(&self) -> usize {
        match self.frames.front().map(Held::peek) {
            Some(Frame::Bytes(bytes)) => bytes.len(),
            Some(Frame::Ack { .. } | Frame::Denied { .. } | Frame::Publish { .. }) | None => 0,
        }
    }

    /// How far all that has ever waited here has to be on disk: what has left was, so it tells of what still waits.
    pub(crate) fn waits_for(&self) -> ChangeSeq {
        self.latest
    }

    /// Appends; the answer is the frame's number, for [`Self::settle`].
    pub(crate) fn push(&mut self, held: Held<Frame>) -> u64 {
        self.latest = self.latest.max(held.until);
        if let Frame::Publish { id, .. } = held.peek() {
            self.publishes.push_back(*id);
        }
        self.frames.push_back(held);
        self.gone + self.frames.len() as u64 - 1
    }

    /// The next frame that may leave.
    pub(crate) fn pop(&mut self, synced: ChangeSeq) -> Option<Frame> {
        let first = self.frames.pop_front()?;
        match first.release(synced) {
            Ok(frame) => {
                self.gone += 1;
                if matches!(frame, Frame::Publish { .. }) {
                    self.publishes.pop_front();
                }
                if self.frames.is_empty() && self.frames.capacity() > crate::limits::IDLE_RING_MAX {
                    self.frames = VecDeque::new();
                    self.publishes = VecDeque::new();
                }
                Some(frame)
            }
            Err(held) => {
                self.frames.push_front(held);
                None
            }
        }
    }

    /// Adds to what frame `number` waits for; used while the frame cannot have left.
    pub(crate) fn withhold(&mut self, number: u64, readers: u16) {
        if let Some(held) = self.at(number) {
            held.left += readers;
        }
    }

    /// One reader that frame `number` waits for has room again, or is gone.
    pub(crate) fn settle(&mut self, number: u64) {
        if let Some(held) = self.at(number) {
            held.left = held.left.saturating_sub(1);
        }
    }

    /// Whether frame `number` has left.
    pub(crate) fn has_left(&self, number: u64) -> bool {
        number < self.gone
    }

    /// Whether the PUBLISH with this identifier is still here, so that no answer to it can be meant.
    pub(crate) fn holds_publish(&self, wanted: PacketId) -> bool {
        self.publishes.contains(&wanted)
    }

    fn at(&mut self, number: u64) -> Option<&mut Held<Frame>> {
        let index = usize::try_from(number.checked_sub(self.gone)?).ok()?;
        self.frames.get_mut(index)
    }
}

/// The records of the turn, and how far earlier ones have come.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    open: ChangeSeq,
    last_append: ChangeSeq,
    written: ChangeSeq,
    synced: ChangeSeq,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: Vec::new(), open: ChangeSeq(1), last_append: ChangeSeq(0), written: ChangeSeq(0), synced: ChangeSeq(0) }
    }
}

impl Batch {
    /// Appends a record; what promises it waits for the answer.
    pub(crate) fn append(&mut self, record: &Record<'_>) -> ChangeSeq {
        self.append_with(|out| record.encode(out))
    }

    /// The same for a record that is written piece by piece.
    pub(crate) fn append_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> ChangeSeq {
        write(&mut self.bytes);
        self.last_append = self.open;
        self.open
    }

    /// What a frame waits for that adds no record itself but speaks of recorded state: the last append, not the next one, which may never come.
    pub(crate) fn last_append(&self) -> ChangeSeq {
        self.last_append
    }

    /// Closes the batch and appends its bytes to `out`.
    pub(crate) fn cut(&mut self, out: &mut Vec<u8>) -> Option<ChangeSeq> {
        if self.bytes.is_empty() {
            return None;
        }
        out.extend_from_slice(&self.bytes);
        self.bytes.clear();
        let cut = self.open;
        self.open = ChangeSeq(cut.0 + 1);
        Some(cut)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn synced(&self) -> ChangeSeq {
        self.synced
    }

    /// How far the records have come in this sense.
    pub(crate) fn reached(&self, durable: Durable) -> ChangeSeq {
        match durable {
            Durable::Synced => self.synced,
            Durable::Written => self.written,
        }
    }

    pub(crate) fn set_synced(&mut self, up_to: ChangeSeq) {
        debug_assert!(up_to < self.open, "only what was cut can be synced");
        self.synced = self.synced.max(up_to);
        self.written = self.written.max(up_to);
    }

    pub(crate) fn set_written(&mut self, up_to: ChangeSeq) {
        debug_assert!(up_to < self.open, "only what was cut can be written");
        self.written = self.written.max(up_to);
    }
}

/// Who waits for changes to come so far.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    synced: Waiters,
    written: Waiters,
}

impl Waiting {
    /// The latest change that a connection waits for.
    pub(crate) fn last(&self) -> Option<ChangeSeq> {
        self.synced.last().max(self.written.last())
    }

    pub(crate) fn of(&mut self, durable: Durable) -> &mut Waiters {
        match durable {
            Durable::Synced => &mut self.synced,
            Durable::Written => &mut self.written,
        }
    }
}

/// Which connections to look at when a change has come so far. Grows at the back only, for changes only grow.
#[derive(Debug, Default)]
pub(crate) struct Waiters(VecDeque<(ChangeSeq, ConnectionId)>);

impl Waiters {
    pub(crate) fn push(&mut self, until: ChangeSeq, connection: ConnectionId) {
        if self.0.back() != Some(&(until, connection)) {
            debug_assert!(self.0.back().is_none_or(|(last, _)| *last <= until), "changes only grow");
            self.0.push_back((until, connection));
        }
    }

    /// The latest change that a connection waits for.
    pub(crate) fn last(&self) -> Option<ChangeSeq> {
        self.0.back().map(|(until, _)| *until)
    }

    pub(crate) fn pop(&mut self, synced: ChangeSeq) -> Option<ConnectionId> {
        if self.0.front()?.0 > synced {
            return None;
        }
        self.0.pop_front().map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: u16) -> Frame {
        Frame::Ack { kind: AckKind::Puback, id: PacketId::new(id).expect("not zero"), reason: ReasonCode::SUCCESS }
    }

    #[test]
    fn a_free_frame_waits_behind_a_held_one() {
        let mut ring = Ring::default();
        let _ = ring.push(Held::new(ChangeSeq(2), 0, ack(1)));
        let _ = ring.push(Held::new(ChangeSeq(0), 0, ack(2)));

        assert!(ring.pop(ChangeSeq(1)).is_none());

        assert!(ring.pop(ChangeSeq(2)).is_some());
        assert!(ring.pop(ChangeSeq(2)).is_some());
        assert!(ring.is_empty());
    }

    #[test]
    fn a_withheld_frame_waits_until_every_reader_has_room() {
        let mut ring = Ring::default();
        let _ = ring.push(Held::new(ChangeSeq(0), 0, ack(1)));
        assert!(ring.pop(ChangeSeq(0)).is_some());
        let number = ring.push(Held::new(ChangeSeq(0), 2, ack(2)));

        ring.settle(number);
        assert!(ring.pop(ChangeSeq(0)).is_none());
        ring.settle(number);

        assert!(ring.pop(ChangeSeq(0)).is_some());
    }
}
