//! Memory of the whole process that becomes scarce: who publishes waits, then who holds most of it goes (docs/adr/0032).

use alloc::vec::Vec;

use columba_proto::ReasonCode;

use super::{Pressure, Shard};
use crate::{connection::Connection, id::ConnectionId, limits::SHED_BYTES_MIN, seam::Cx};

impl Shard {
    /// While memory is short nothing more is read from clients that have published, nor the rest of a long packet.
    pub fn pressure_is(&mut self, cx: &Cx<'_>, pressure: Pressure) {
        if core::mem::replace(&mut self.pressure, pressure) == pressure {
            return;
        }
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.check_reading(cx, id);
        }
    }

    /// Sends away those who hold most, until so many bytes are given back or nobody holds much. They hear 0x97. The answer is how many went. What waits at QoS 0 for
    /// clients that are away goes before anybody.
    pub fn shed(&mut self, cx: &Cx<'_>, bytes: usize) -> usize {
        let freed = self.drop_missed(cx, bytes);
        let ids: Vec<_> = self.connections.ids().collect();
        let mut holders: Vec<(usize, ConnectionId)> = ids.into_iter().map(|id| (self.bytes_held_for(id), id)).collect();
        holders.retain(|(held, _)| *held >= SHED_BYTES_MIN);
        holders.sort_unstable_by_key(|(held, id)| (core::cmp::Reverse(*held), id.slot));
        let (mut freed, mut gone) = (freed, 0);
        for (held, id) in holders {
            if freed >= bytes {
                break;
            }
            // What it was to be told would wait behind what it does not read.
            self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, "the broker has no memory left, and this client takes most of it");
            freed += held;
            gone += 1;
        }
        self.end_call(cx);
        gone
    }

    /// Memory that would be free without this connection.
    fn bytes_held_for(&self, id: ConnectionId) -> usize {
        let Some(connection) = self.connections.get(id).filter(|connection| !connection.is_closing()) else { return 0 };
        let Some(open) = connection.as_open() else { return connection.bytes() };
        let session = &self.sessions[open.session as usize];
        // What a lasting session has stays.
        let queued = if session.expiry_s == 0 { usize::try_from(session.queue.stock().bytes).unwrap_or(usize::MAX) } else { 0 };
        connection.bytes().saturating_add(open.held_bytes).saturating_add(queued)
    }
}

impl Connection {
    /// What has come and is not whole, and what has not left.
    pub(crate) fn bytes(&self) -> usize {
        self.partial.capacity() + self.out.len()
    }
}
