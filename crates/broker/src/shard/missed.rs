//! QoS 0 messages for clients that are away: kept in memory where the configuration wants that, else nobody's (docs/adr/0035).

use alloc::{sync::Arc, vec::Vec};
use core::cmp::Reverse;

use columba_proto::QoS;

use super::{Pressure, Shard, handing_on::Publication};
use crate::{
    event::DropReason,
    limits::MissedQos0,
    route::{Receiver, UNCLAIMED},
    seam::{Cx, SubscriptionIds},
    session::{Session, missed::AtMostOnce},
};

impl Shard {
    /// One more for a client that is away, or has not had all of them yet. Those that came first stay where there is no room for all, and nothing is kept while
    /// memory is short.
    pub(super) fn keep_missed(&mut self, cx: &Cx<'_>, receiver: Receiver<'_>, publication: &mut Publication<'_>) {
        let slot = receiver.session.slot;
        let messages_max = usize::try_from(self.config.queue_messages_max).unwrap_or(usize::MAX);
        let bytes_max = usize::try_from(self.config.queue_bytes_max).unwrap_or(usize::MAX);
        let messages_max = messages_max.min(self.config.ephemeral_queue_max);
        let bytes_max = bytes_max.min(self.config.ephemeral_queue_bytes_max);
        let session = &mut self.sessions[slot as usize];
        let has_room = session.missed().is_none_or(|missed| missed.has_room(publication.size(), messages_max, bytes_max));
        if !has_room || self.pressure == Pressure::High {
            self.dropped(cx, slot as usize, DropReason::QueueFull);
            return;
        }
        session.add_missed(AtMostOnce {
            message: publication.message(),
            retain: receiver.retain,
            ids: SubscriptionIds::from_slice(receiver.ids),
        });
    }

    /// Sends the first of them.
    pub(super) fn send_missed(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let Some(AtMostOnce { message, retain, ids }) = session.take_missed() else { return };
        let session = session.reference(slot);
        let receiver = Receiver { session: &session, qos: QoS::AtMostOnce, retain, claim: UNCLAIMED, ids: &ids };
        self.write_at_most_once(cx, receiver, &mut Publication::of(&message));
    }

    /// Drops those of the sessions that have most of them, until so many bytes are given back. The answer is how many bytes they had.
    pub(super) fn drop_missed(&mut self, cx: &Cx<'_>, bytes: usize) -> usize {
        if self.config.missed_qos0 == MissedQos0::Lost {
            return 0;
        }
        let held = |slot: usize, session: &Session| Some((session.missed()?.stock().bytes, slot));
        let holders = self.sessions.iter().filter_map(|(slot, session)| held(slot, session));
        let mut holders: Vec<(u64, usize)> = holders.collect();
        holders.sort_unstable_by_key(|&(held, slot)| (Reverse(held), slot));
        let mut freed = 0;
        for (held, slot) in holders {
            if freed >= bytes {
                break;
            }
            self.forget_missed(cx, slot, DropReason::QueueFull);
            freed += usize::try_from(held).unwrap_or(usize::MAX);
        }
        freed
    }

    /// Drops all of one session.
    pub(super) fn forget_missed(&mut self, cx: &Cx<'_>, slot: usize, reason: DropReason) {
        let session = &mut self.sessions[slot];
        let mut gone = 0;
        while session.take_missed().is_some() {
            gone += 1;
        }
        if gone > 0 {
            let client_id = Arc::clone(&session.client_id);
            self.count_drop(cx, client_id, reason, gone);
        }
    }
}
