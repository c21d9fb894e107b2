//! Acknowledgements that wait until a reader's full queue has room (docs/adr/0009).

use alloc::{sync::Arc, vec::Vec};

use smallvec::SmallVec;

use super::Shard;
use crate::{
    hold::Frame,
    id::{ChangeSeq, ConnectionId},
    limits::WITHHELD_CHECK_MS,
    route::Presence,
    seam::Cx,
    timers::Timer,
};

/// An acknowledgement that waits for room in a reader's queue.
#[derive(Debug)]
pub(super) struct Withheld {
    reader: Arc<Presence>,
    connection: ConnectionId,
    frame: u64,
}

impl Shard {
    /// Acknowledges, once the change is on disk and every full reader has room.
    pub(super) fn answer(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        until: ChangeSeq,
        full: SmallVec<[Arc<Presence>; 2]>,
        bytes: usize,
        frame: Frame,
    ) {
        let readers = u16::try_from(full.len()).unwrap_or(u16::MAX);
        let number = self.send_withheld(cx, id, until, readers, frame);
        if let Some(number) = number {
            self.withhold(cx, id, number, full, bytes);
        }
    }

    pub(super) fn withhold(
        &mut self,
        cx: &Cx<'_>,
        connection: ConnectionId,
        frame: u64,
        full: SmallVec<[Arc<Presence>; 2]>,
        bytes: usize,
    ) {
        if full.is_empty() {
            return;
        }
        // The readers' queues grow by the message all the same.
        if let Some(open) = self.connections.get_mut(connection).and_then(|connection| connection.open()) {
            open.held_bytes += bytes;
        }
        self.set_withheld_timer(cx);
        self.withheld.extend(full.into_iter().map(|reader| Withheld { reader, connection, frame }));
    }

    fn set_withheld_timer(&mut self, cx: &Cx<'_>) {
        if !core::mem::replace(&mut self.withheld_timer, true) {
            self.timers.set(cx.now.plus_ms(WITHHELD_CHECK_MS), Timer::Withheld);
        }
    }

    pub(super) fn withheld_timer_passed(&mut self, cx: &Cx<'_>) {
        self.withheld_timer = false;
        self.check_withheld(cx);
        if !self.withheld.is_empty() {
            self.set_withheld_timer(cx);
        }
    }

    /// Lets acknowledgements go whose readers have room again.
    pub(super) fn check_withheld(&mut self, cx: &Cx<'_>) {
        let (wait, go): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.withheld).into_iter().partition(|withheld| withheld.reader.is_full());
        self.withheld = wait;
        for withheld in &go {
            if let Some(open) = self.connections.get_mut(withheld.connection).and_then(|connection| connection.open()) {
                open.ring.settle(withheld.frame);
            }
        }
        for withheld in &go {
            self.release(cx, withheld.connection);
        }
    }
}
