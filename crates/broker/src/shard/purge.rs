//! A queue that an administrator has emptied, piece by piece: it may be as long as the disk.

use columba_proto::QoS;

use super::Shard;
use crate::{
    durable::Record,
    event::DropReason,
    id::SessionNo,
    limits::{PURGE_PAUSE_MS, PURGE_WORK_MAX},
    seam::Cx,
    session::queue::Front,
    timers::Timer,
};

impl Shard {
    /// Drops what waits for a client now; what is on its way to it is not touched, nor what comes later, nor the queues of its groups. Goes on by itself, and ends with
    /// a crash: then the rest waits as before. The answer is how many messages wait; `None`: it has no session.
    pub fn purge(&mut self, cx: &Cx<'_>, client_id: &str) -> Option<u64> {
        let &slot = self.by_client.get(client_id)?;
        let session = &mut self.sessions[slot as usize];
        let (no, waiting) = (session.no, session.waiting().messages);
        session.rare().purged_to = Some(cx.commons.clock().latest());
        self.forget_missed(cx, slot as usize, DropReason::Purged);
        self.purge_on(cx, slot, no);
        self.end_call(cx);
        Some(waiting)
    }

    /// One piece of it, if this session is being emptied.
    pub(super) fn purge_on(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        for _ in 0..PURGE_WORK_MAX {
            let Some(session) = self.sessions.get_mut(slot as usize).filter(|session| session.no == no) else { return };
            let Some(up_to) = session.rare.as_ref().and_then(|rare| rare.purged_to) else { return };
            match session.queue.front() {
                Front::Ready if session.queue.ready(0).is_some_and(|first| first.id <= up_to) => {
                    let Some(delivery) = session.queue.pop() else { return };
                    if session.recorded && delivery.qos > QoS::AtMostOnce {
                        self.record(&Record::Dropped { session: no, message: delivery.id });
                    }
                    self.dropped(cx, slot as usize, DropReason::Purged);
                }
                Front::Ready | Front::Empty => {
                    session.rare().purged_to = None;
                    self.check_room(cx, slot);
                    return;
                }
                Front::Load(after) => {
                    self.load(no, after);
                    return;
                }
                Front::Loading => return,
            }
        }
        self.timers.set(cx.now.plus_ms(PURGE_PAUSE_MS), Timer::Purge(slot, no));
    }
}
