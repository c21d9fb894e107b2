//! After a start: sessions come back before any listener opens. And the other way round: what of a shard must survive, as plain values.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use columba_proto::{SubscriptionFilter, qos::Sending};

use super::Shard;
use crate::{
    durable::{InFlight, Record, RecoveredSession, RecoveredWill, StoredWill},
    id::{MessageId, SessionNo},
    limits::{GRACE_PAUSE_MS, GRACE_WORK_MAX},
    route::{Grant, Publisher},
    seam::{Cx, Delivery},
    session::{
        ColdSnapshot, Cursor, Link, Session, SessionSnapshot,
        queue::{ColdPart, Queue},
    },
    timers::Timer,
};

/// The will of a client whose session ended with a crash, waiting for the client to come back.
#[derive(Debug)]
pub(super) struct LoneWill {
    pub(super) no: SessionNo,
    pub(super) will: StoredWill,
}

/// What of a shard must survive, for comparison with the fold of its records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ShardSnapshot {
    /// Recorded sessions.
    pub sessions: BTreeMap<SessionNo, SessionSnapshot>,
    /// Recorded messages of shared subscriptions, by their places, as far as they are in memory: those that wait, and those that members were given. And the part of a
    /// queue that is not.
    pub groups: BTreeMap<SessionNo, (BTreeSet<MessageId>, Option<ColdSnapshot>)>,
}

impl ShardSnapshot {
    /// What it knows to be in the cold store is as `stored` has it, for where a message stands is not part of what must survive.
    #[must_use]
    pub fn with_cold_of(mut self, stored: &Self) -> Self {
        for (no, session) in &mut self.sessions {
            let Some(cold) = session.cold.take() else { continue };
            let Some(stored) = stored.sessions.get(no) else { continue };
            session.undelivered.extend(stored.undelivered.iter().filter(|(id, _)| cold.has(**id)));
        }
        for (no, (messages, cold)) in &mut self.groups {
            let Some(cold) = cold.take() else { continue };
            let Some((stored, _)) = stored.groups.get(no) else { continue };
            messages.extend(stored.iter().filter(|id| cold.has(**id)));
        }
        self.groups.retain(|_, (messages, _)| !messages.is_empty());
        self
    }

    /// What all shards have together.
    pub fn add(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        for (no, (messages, cold)) in other.groups {
            let ours = self.groups.entry(no).or_default();
            ours.0.extend(messages);
            ours.1 = ours.1.take().or(cold);
        }
    }
}

impl Shard {
    /// Takes a session back as it was recovered. A client that was connected is not any more: expiry and will delay count from now.
    pub fn restore(&mut self, cx: &Cx<'_>, recovered: RecoveredSession) {
        let RecoveredSession {
            no,
            client_id,
            expiry,
            attached,
            detached_at,
            will,
            subscriptions,
            cursors,
            mut queue,
            in_flight,
            received,
            cold,
            stock,
        } = recovered;
        let client_id: Arc<str> = client_id.into();
        let mut session = Session::new(no, Arc::clone(&client_id), true);
        session.expiry_s = expiry;
        // Who was connected gets the time to come back, even where will and session would end at once.
        session.link = match detached_at {
            Some(since) if !attached => Link::Detached { since, grace_ms: 0 },
            Some(_) | None => {
                Link::Detached { since: cx.now, grace_ms: u32::try_from(self.config.will_grace_ms).unwrap_or(u32::MAX).max(1) }
            }
        };
        session.will = will.map(Box::new);
        let mut sent = Vec::new();
        for (packet_id, exchange) in in_flight.iter() {
            let sending = match exchange {
                InFlight::Pubrel => Some(Sending::AwaitPubcomp),
                // Another delivery of the same message may have raised the entry's QoS since.
                InFlight::Publish { message, qos } => {
                    sent.push(message);
                    queue.remove(&message).map(|queued| again(Delivery { qos, ..queued }))
                }
            };
            debug_assert!(sending.is_some(), "a message in flight is in the queue");
            if let Some(sending) = sending {
                session.sender.restore(packet_id, sending);
            }
        }
        let cold = cold.map(|cold| ColdPart { skip: cold.acked, up_to: cold.up_to });
        session.queue = Queue::recovered(queue.into_values().collect(), cold, &sent);
        for (packet_id, message) in received {
            session.receiver_bytes += message.size();
            session.receiver.store(packet_id, message);
        }
        for (filter, cursor) in cursors {
            session.rare().cursors.insert(filter, Cursor { after: cursor.after, newest: cursor.newest });
        }
        let slot = self.admit(session);
        for (filter, grant) in &subscriptions {
            self.restore_subscription(cx, slot, filter, Grant::from(grant));
        }
        if let Some(stock) = stock {
            self.sessions[slot as usize].queue.set_stock(stock);
        }
        self.note_limit(slot);
        self.note_detached(slot);
        self.set_timers_after_restart(cx, slot);
    }

    /// A new session into the tables.
    pub(super) fn admit(&mut self, session: Session) -> u32 {
        let (no, client_id) = (session.no, Arc::clone(&session.client_id));
        let slot = u32::try_from(self.sessions.insert(Box::new(session))).expect("fewer sessions than a u32 counts");
        self.by_client.insert(client_id, slot);
        self.by_number.insert(no, slot);
        slot
    }

    fn restore_subscription(&mut self, cx: &Cx<'_>, slot: u32, text: &str, grant: Grant) {
        let filter: SubscriptionFilter = text.parse().expect("only valid filters are granted and recorded");
        self.sessions[slot as usize].add_subscription(text, grant);
        self.enter_index(cx, slot, &filter, text, grant);
    }

    fn set_timers_after_restart(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &self.sessions[slot as usize];
        let (no, is_in_grace) = (session.no, session.is_in_grace(cx.now));
        if let Some(at) = session.will_due_at() {
            self.timers.set(at, Timer::Will(slot, no));
        }
        if let Some(at) = session.ends_at() {
            self.timers.set(at, Timer::Expiry(slot, no));
        }
        if is_in_grace {
            self.set_grace_timer(cx);
        }
    }

    fn set_grace_timer(&mut self, cx: &Cx<'_>) {
        if self.grace.is_none() {
            self.grace = Some(0);
            self.timers.set(cx.now.plus_ms(self.config.will_grace_ms), Timer::Grace);
        }
    }

    /// The time to come back is over: whoever is not here has left when the broker came back, also for the next start. A few at a time, others want their turn.
    pub(super) fn grace_passed(&mut self, cx: &Cx<'_>) {
        for _ in 0..GRACE_WORK_MAX {
            let Some((_, lone)) = self.lone_wills.pop_first() else { break };
            let publisher = Publisher { session: None, lane: lone.no.lane() };
            self.publish_will(cx, &lone.will, publisher, lone.no.lane(), Some(lone.no));
        }
        let slots = self.sessions.capacity();
        let from = self.grace.unwrap_or(slots);
        let to = slots.min(from + GRACE_WORK_MAX);
        for slot in from..to {
            self.has_stayed_away(slot);
        }
        self.grace = Some(to);
        if to < slots || !self.lone_wills.is_empty() {
            self.timers.set(cx.now.plus_ms(GRACE_PAUSE_MS), Timer::Grace);
        }
    }

    fn has_stayed_away(&mut self, slot: usize) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Link::Detached { since, grace_ms: 1.. } = session.link else { return };
        session.link = Link::Detached { since, grace_ms: 0 };
        let (no, expiry, will_stands) = (session.no, session.expiry_s, session.will.is_some());
        self.record(&Record::Detached { session: no, at: since, expiry, will_stands });
    }

    /// Takes back the will of a client that had no durable session. It is published unless the client is back within the grace time.
    pub fn restore_will(&mut self, cx: &Cx<'_>, recovered: RecoveredWill) {
        self.set_grace_timer(cx);
        self.lone_wills.insert(recovered.client_id, LoneWill { no: recovered.no, will: recovered.will });
    }

    /// What must survive, as it stands now. Equal to the fold of all records where nothing waits for the disk.
    pub fn snapshot(&self) -> ShardSnapshot {
        let sessions = self.sessions.iter().map(|(_, session)| session).filter(|session| session.recorded);
        let sessions = sessions.map(|session| (session.no, session.snapshot())).collect();
        let mut groups: BTreeMap<_, (BTreeSet<_>, _)> = BTreeMap::new();
        let sent = self.sessions.iter().flat_map(|(_, it)| it.sender.iter()).filter_map(|(_, sending)| sending.message());
        let unsent = self.sessions.iter().filter_map(|(_, it)| it.membership.as_ref()).flat_map(|it| &it.given);
        let waiting = self.groups.values().flat_map(|group| group.queue.iter());
        for delivery in sent.chain(unsent).chain(waiting).filter(|delivery| delivery.claim.is_recorded()) {
            if let Some(place) = delivery.claim.place() {
                groups.entry(place).or_default().0.insert(delivery.id);
            }
        }
        for (no, group) in &self.groups {
            if let Some(cold) = group.queue.cold_snapshot() {
                groups.entry(*no).or_default().1 = Some(cold);
            }
        }
        ShardSnapshot { sessions, groups }
    }
}

/// A message that was in flight goes again under its identifier.
fn again(delivery: Delivery) -> Sending<Delivery> {
    if delivery.qos == columba_proto::QoS::ExactlyOnce { Sending::AwaitPubrec(delivery) } else { Sending::AwaitPuback(delivery) }
}

impl Session {
    fn snapshot(&self) -> SessionSnapshot {
        // What groups have given is recorded as theirs.
        let own = || self.sender.iter().filter(|(_, it)| it.message().is_none_or(|delivery| delivery.claim.is_none()));
        let open: Vec<_> = own().map(|(packet_id, sending)| (packet_id, sending.message().map(|delivery| delivery.id))).collect();
        let in_flight = own().filter_map(|(_, sending)| sending.message());
        SessionSnapshot {
            client_id: Box::from(&*self.client_id),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|subscription| (subscription.filter.clone(), subscription.grant.qos as u8))
                .collect(),
            undelivered: in_flight.chain(self.queue.iter()).map(|delivery| (delivery.id, delivery.qos as u8)).collect(),
            in_flight: open,
            awaiting_pubrel: self.receiver.iter().map(|(packet_id, _)| packet_id).collect(),
            has_will: self.will.is_some(),
            cold: self.queue.cold_snapshot(),
        }
    }
}

impl From<&RecoveredSession> for SessionSnapshot {
    fn from(session: &RecoveredSession) -> Self {
        let in_flight = session.in_flight.iter().map(|(packet_id, exchange)| match exchange {
            InFlight::Publish { message, .. } => (packet_id, Some(message)),
            InFlight::Pubrel => (packet_id, None),
        });
        Self {
            client_id: session.client_id.clone(),
            subscriptions: session.subscriptions.iter().map(|(filter, grant)| (filter.clone(), grant.qos as u8)).collect(),
            undelivered: session.queue.iter().map(|(id, delivery)| (*id, delivery.qos as u8)).collect(),
            in_flight: in_flight.collect(),
            awaiting_pubrel: session.received.keys().copied().collect(),
            has_will: session.will.is_some(),
            cold: session.cold.as_ref().map(|cold| ColdSnapshot {
                above: MessageId(0),
                up_to: cold.up_to,
                skip: cold.acked.clone(),
            }),
        }
    }
}
