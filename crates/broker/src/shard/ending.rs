//! How connections and sessions end: DISCONNECT, loss, wills, expiry (§3.14, §4.1, §3.1.2.5).

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use columba_proto::{ReasonCode, SubscriptionFilter, Time, packet::Disconnect};

use super::Shard;
use crate::{
    connection::{Ending, Phase},
    durable::Record,
    event::{DropReason, Event},
    id::{ChangeSeq, ConnectionId, SessionNo},
    limits::LEAVE_AT_ONCE_MAX,
    seam::Cx,
    session::Subscription,
    timers::Timer,
};

impl Shard {
    /// The client says good-bye.
    pub(super) fn on_disconnect(&mut self, cx: &Cx<'_>, id: ConnectionId, disconnect: &Disconnect<'_>) {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return };
        let slot = open.session as usize;
        if let Some(expiry_s) = disconnect.session_expiry {
            let session = &mut self.sessions[slot];
            if session.expiry_s == 0 && expiry_s > 0 {
                self.fail(
                    cx,
                    id,
                    ReasonCode::PROTOCOL_ERROR,
                    "a session expiry interval in DISCONNECT after none in CONNECT (3.14.2.2.2)",
                );
                return;
            }
            session.expiry_s = expiry_s.min(self.config.session_expiry_max_s);
        }
        let is_normal = disconnect.reason == ReasonCode::NORMAL_DISCONNECTION;
        let why = if is_normal { "DISCONNECT" } else { disconnect.reason.name() };
        self.end(cx, id, Ending { reason: disconnect.reason, is_normal, is_ours: false }, why);
    }

    /// Ends an open connection: tells the client, frees the session, publishes or keeps its will, closes.
    pub(super) fn end(&mut self, cx: &Cx<'_>, id: ConnectionId, ending: Ending, why: &str) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        let slot = open.session;
        let since = open.since;
        let version = open.protocol.version();
        let user = open.user().map(Box::from);
        if ending.is_ours {
            self.counters.refusal(ending.reason);
            self.say_disconnect(id, ending.reason, why);
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Closing;
        let (peer, listener) = (connection.origin.peer.clone(), connection.origin.listener);
        *self.counters.online(listener, version) -= 1;
        let client_id = Box::from(&*self.sessions[slot as usize].client_id);
        self.event(Event::Disconnected {
            client_id,
            user,
            peer,
            listener,
            why: why.into(),
            reason: ending.reason,
            after_ms: cx.now.saturating_since(since),
        });
        self.drop_connection(id);
        self.leave(cx, slot, ending.is_normal);
    }

    /// The session is without its connection from now on.
    fn leave(&mut self, cx: &Cx<'_>, slot: u32, is_normal: bool) {
        let session = &mut self.sessions[slot as usize];
        session.detach(cx.now);
        session.set_full(None);
        session.shrink_to_fit();
        if is_normal && session.will.take().is_some() {
            let lone = session.rare.as_mut().and_then(|rare| rare.lone_will.take());
            if let Some(lone) = lone {
                self.record(&Record::WillGone { session: lone });
            }
        }
        let session = &mut self.sessions[slot as usize];
        let (no, expiry_s, recorded) = (session.no, session.expiry_s, session.recorded);
        let will_delay_s = session.will.as_ref().map(|will| will.delay);
        if recorded {
            self.record(&Record::Detached { session: no, at: cx.now, expiry: expiry_s, will_stands: will_delay_s.is_some() });
        }
        if expiry_s == 0 {
            self.delete_session(cx, slot);
            return;
        }
        self.note_detached(slot);
        self.leave_groups(cx, slot);
        match will_delay_s {
            Some(0) => self.publish_session_will(cx, slot),
            Some(delay_s) => self.timers.set(cx.now.plus_secs(u64::from(delay_s)), Timer::Will(slot, no)),
            None => {}
        }
        if let Some(at) = self.sessions[slot as usize].ends_at() {
            self.timers.set(at, Timer::Expiry(slot, no));
        }
    }

    /// The session in this slot, if it is still that one.
    fn session_is(&self, slot: u32, no: SessionNo) -> bool {
        self.sessions.get(slot as usize).is_some_and(|session| session.no == no)
    }

    pub(super) fn will_delay_passed(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        if !self.session_is(slot, no) {
            return;
        }
        let Some(at) = self.sessions[slot as usize].will_due_at() else { return };
        if at <= cx.now {
            self.publish_session_will(cx, slot);
        } else {
            // A timer of an earlier absence, and it may be the only one left.
            self.timers.set(at, Timer::Will(slot, no));
        }
    }

    pub(super) fn check_expiry(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        if !self.session_is(slot, no) {
            return;
        }
        match self.sessions[slot as usize].ends_at() {
            Some(at) if at <= cx.now => {
                let client_id = Box::from(&*self.sessions[slot as usize].client_id);
                self.delete_session(cx, slot);
                self.event(Event::Expired { client_id });
            }
            // A timer of an earlier absence, and it may be the only one left.
            Some(at) => self.timers.set(at, Timer::Expiry(slot, no)),
            None => {}
        }
    }

    /// The end of a session, or its will, is due at its time and not when somebody looks at the timer.
    pub(super) fn end_what_is_due(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &self.sessions[slot as usize];
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= cx.now);
        if is_due(session.ends_at()) {
            self.check_expiry(cx, slot, session.no);
        } else if is_due(session.will_due_at()) {
            self.publish_session_will(cx, slot);
        }
    }

    /// Publishes the will of a session and forgets it, in one [MQTT-3.1.2-10].
    fn publish_session_will(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let Some(will) = session.will.take() else { return };
        let lone = session.rare.as_mut().and_then(|rare| rare.lone_will.take());
        let recorded_as = if session.recorded { Some(session.no) } else { lone };
        let (publisher, no) = (session.publisher(), session.no);
        self.publish_will(cx, &will, publisher, no.lane(), recorded_as);
    }

    /// The client of a will that survived a crash is back: it is not needed any more. The answer is what CONNACK has to wait for.
    pub(super) fn forget_lone_will(&mut self, client_id: &str) -> ChangeSeq {
        let Some(lone) = self.lone_wills.remove(client_id) else { return ChangeSeq(0) };
        let gone = self.record(&Record::WillGone { session: lone.no });
        // Nothing reaches a lost journal; the will stands for the next start, and CONNACK does not wait for ever.
        if self.journal_has_failed() { ChangeSeq(0) } else { gone }
    }

    /// The session is over: its will is published, its subscriptions and messages are gone. The answer is the change to wait for.
    pub(super) fn delete_session(&mut self, cx: &Cx<'_>, slot: u32) -> ChangeSeq {
        self.publish_session_will(cx, slot);
        self.unsubscribe_all(cx, slot);
        self.give_back_all(cx, slot);
        // What was delivered on the way here (its own will, for one) can have filled it: nobody may wait for room in a session that is gone.
        self.sessions[slot as usize].set_full(None);
        let session = self.sessions.remove(slot as usize);
        let missed = session.missed().map_or(0, |missed| missed.stock().messages);
        let lost = session.queue.len() as u64 + missed;
        if lost > 0 {
            self.count_drop(cx, Arc::clone(&session.client_id), DropReason::SessionEnded, lost);
        }
        self.by_client.remove(&session.client_id);
        self.by_number.remove(&session.no);
        if session.recorded { self.record(&Record::Deleted { session: session.no }) } else { ChangeSeq(0) }
    }

    /// Leaves the index.
    fn unsubscribe_all(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let no = session.no;
        let mut subscriptions = core::mem::take(&mut session.subscriptions);
        if subscriptions.len() > LEAVE_AT_ONCE_MAX {
            session.tell_end();
            // A group has to know its members.
            let is_share = |it: &mut Subscription| SubscriptionFilter::is_share(&it.filter);
            let shared: Vec<_> = subscriptions.extract_if(.., is_share).collect();
            self.leave_by_turns(no, core::mem::replace(&mut subscriptions, shared));
        }
        for subscription in &subscriptions {
            Self::leave_index(cx, &subscription.filter, no);
        }
    }

    /// A reader whose queue has been full too long goes: its session ends, no promise breaks.
    pub(super) fn check_slow_consumer(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        if !self.session_is(slot, no) {
            return;
        }
        let session = &self.sessions[slot as usize];
        let Some(since) = session.full_since() else { return };
        let at = since.plus_ms(self.config.slow_consumer_timeout_ms);
        match session.connection() {
            // It would take more: it is not sent more.
            Some(id) if at <= cx.now && session.sender.has_room() && self.is_held_back(id) => {
                self.timers.set(cx.now.plus_ms(self.config.slow_consumer_timeout_ms), Timer::SlowConsumer(slot, no));
            }
            Some(id) if at <= cx.now => self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, "it takes nothing from its full queue"),
            Some(_) => self.timers.set(at, Timer::SlowConsumer(slot, no)),
            None => {}
        }
    }
}
