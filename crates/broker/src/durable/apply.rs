//! `State::apply`: what each record does.

use alloc::sync::Arc;

use columba_proto::PacketId;
use thiserror::Error;

use super::{
    record::{Record, TargetRecord},
    state::{ColdQueue, InFlight, RecoveredCursor, RecoveredSession, RecoveredWill, State, StoredWill, delivery},
};
use crate::{
    id::{MessageId, SessionNo},
    message::Message,
    retained::Kept,
    seam::Delivery,
};

/// A record that cannot follow the ones before it: the journal is not one that this program wrote. Refuse to start.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ApplyError {
    /// It changes a session that does not exist.
    #[error("a record changes session {0:?}, which does not exist")]
    NoSession(SessionNo),
    /// It creates a session that exists.
    #[error("a record creates session {0:?}, which exists")]
    SessionExists(SessionNo),
    /// It uses a Packet Identifier that is in use [MQTT-2.2.1-4].
    #[error("a record uses packet identifier {packet_id} of session {session:?}, which is in use")]
    IdentifierInUse {
        /// The session.
        session: SessionNo,
        /// The identifier.
        packet_id: PacketId,
    },
    /// It answers a Packet Identifier that is not in use.
    #[error("a record answers packet identifier {packet_id} of session {session:?}, which is not in use")]
    IdentifierNotInUse {
        /// The session.
        session: SessionNo,
        /// The identifier.
        packet_id: PacketId,
    },
}

impl State {
    /// Applies the next record of a commit.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), ApplyError> {
        match record {
            Record::Created { session, client_id } => return self.create(*session, client_id),
            Record::Attached { session, expiry, will } => {
                let it = self.session(*session)?;
                it.expiry = *expiry;
                it.attached = true;
                it.detached_at = None;
                it.will = will.as_ref().map(StoredWill::from);
            }
            Record::Detached { session, at, expiry, will_stands } => {
                let it = self.session(*session)?;
                it.expiry = *expiry;
                it.attached = false;
                it.detached_at = Some(*at);
                if !will_stands {
                    it.will = None;
                }
            }
            Record::Deleted { session } => {
                self.sessions.remove(session).ok_or(ApplyError::NoSession(*session))?;
            }
            Record::Subscribed { session, filter, grant } => {
                let it = self.session(*session)?;
                it.subscriptions.insert((*filter).into(), *grant);
                match grant.cursor {
                    Some(newest) => it.cursors.insert((*filter).into(), RecoveredCursor { after: None, newest }),
                    None => it.cursors.remove(*filter),
                };
            }
            Record::Unsubscribed { session, filter } => {
                let it = self.session(*session)?;
                it.subscriptions.remove(*filter);
                it.cursors.remove(*filter);
            }
            Record::Cursor { session, filter, after } => {
                let it = self.session(*session)?;
                match after {
                    None => drop(it.cursors.remove(*filter)),
                    Some(after) => {
                        let newest = it.subscriptions.get(*filter).and_then(|grant| grant.cursor);
                        let cursor = RecoveredCursor { after: Some((*after).into()), newest: newest.unwrap_or_default() };
                        it.cursors.insert((*filter).into(), cursor);
                    }
                }
            }
            Record::Published { id, message, targets, sets_retained, will_of } => {
                self.publish(*id, &Arc::new(message.to_message()), targets, *sets_retained);
                if let Some(session) = will_of {
                    self.remove_will(*session);
                }
            }
            Record::Received { session, packet_id, message } => {
                let message = Arc::new(message.to_message());
                if self.session(*session)?.received.insert(*packet_id, message).is_some() {
                    return Err(ApplyError::IdentifierInUse { session: *session, packet_id: *packet_id });
                }
            }
            Record::Released { session, packet_id, id, targets, sets_retained } => {
                let message = self.session(*session)?.received.remove(packet_id);
                let message = message.ok_or(ApplyError::IdentifierNotInUse { session: *session, packet_id: *packet_id })?;
                self.publish(*id, &message, targets, *sets_retained);
            }
            Record::Sent { session, packet_id, message, qos } => {
                let exchange = InFlight::Publish { message: *message, qos: *qos };
                if !self.session(*session)?.in_flight.push(*packet_id, exchange) {
                    return Err(ApplyError::IdentifierInUse { session: *session, packet_id: *packet_id });
                }
            }
            Record::Passed { session, packet_id, message } => {
                let exchange = self.session(*session)?.in_flight.get_mut(*packet_id);
                *exchange.ok_or(ApplyError::IdentifierNotInUse { session: *session, packet_id: *packet_id })? = InFlight::Pubrel;
                self.leave(*session, *message);
            }
            Record::Settled { session, packet_id, message } => {
                if self.session(*session)?.in_flight.remove(*packet_id).is_none() {
                    return Err(ApplyError::IdentifierNotInUse { session: *session, packet_id: *packet_id });
                }
                if let Some(message) = message {
                    self.leave(*session, *message);
                }
            }
            Record::Dropped { session, message } => self.leave(*session, *message),
            Record::WillSet { session, client_id, will } => {
                self.highest = self.highest.max(session.0);
                let will = RecoveredWill { no: *session, client_id: (*client_id).into(), will: will.into() };
                self.wills.insert(*session, will);
            }
            Record::WillGone { session } => self.remove_will(*session),
        }
        Ok(())
    }

    /// The commit is complete: what has not found its other half never will.
    pub fn end_of_commit(&mut self) {
        let early = core::mem::take(&mut self.early);
        for (session, message) in early.acks {
            if let Some(cold) = self.cold_of(session) {
                cold.acked.insert(message);
            }
        }
    }

    fn create(&mut self, session: SessionNo, client_id: &str) -> Result<(), ApplyError> {
        if self.sessions.contains_key(&session) {
            return Err(ApplyError::SessionExists(session));
        }
        self.highest = self.highest.max(session.0);
        let mut it = RecoveredSession::new(session, client_id);
        while let Some((&key, _)) = self.early.deliveries.range((session, MessageId(0))..=(session, MessageId(u64::MAX))).next()
            && let Some(delivery) = self.early.deliveries.remove(&key)
        {
            it.queue.insert(delivery.id, delivery);
        }
        self.sessions.insert(session, it);
        Ok(())
    }

    fn publish(&mut self, id: MessageId, message: &Arc<Message>, targets: &[TargetRecord], sets_retained: bool) {
        self.highest = self.highest.max(id.0);
        for target in targets {
            self.deliver(target.session, delivery(id, Arc::clone(message), target));
        }
        if sets_retained {
            self.set_retained(id, message);
        }
    }

    /// Puts a message into a queue, unless an earlier record of this commit says that it has left it.
    fn deliver(&mut self, session: SessionNo, it: Delivery) {
        if self.early.acks.remove(&(session, it.id)) {
            return;
        }
        let (queue, cold) = match self.sessions.get_mut(&session) {
            Some(owner) => (&mut owner.queue, &mut owner.cold),
            None if session.is_group() => {
                let group = self.groups.entry(session).or_default();
                (&mut group.queue, &mut group.cold)
            }
            // Made later in this commit, or gone.
            None => {
                self.early.deliveries.insert((session, it.id), it);
                return;
            }
        };
        // The next checkpoint takes it into the store.
        if let Some(cold) = cold.as_mut().filter(|cold| it.id <= cold.up_to) {
            cold.acked.insert(it.id);
        }
        queue.insert(it.id, it);
    }

    /// A message leaves a queue.
    fn leave(&mut self, session: SessionNo, message: MessageId) {
        if !self.take(session, message) {
            self.early.acks.insert((session, message));
        }
    }

    /// Takes a message out of the part of a queue that is in memory.
    fn take(&mut self, session: SessionNo, message: MessageId) -> bool {
        if let Some(owner) = self.sessions.get_mut(&session) {
            return owner.queue.remove(&message).is_some();
        }
        let Some(group) = self.groups.get_mut(&session) else { return false };
        let taken = group.queue.remove(&message).is_some();
        if group.queue.is_empty() && group.cold.is_none() {
            self.groups.remove(&session);
        }
        taken
    }

    /// The part of a queue that is in the cold store.
    fn cold_of(&mut self, session: SessionNo) -> Option<&mut ColdQueue> {
        match self.sessions.get_mut(&session) {
            Some(owner) => owner.cold.as_mut(),
            None => self.groups.get_mut(&session)?.cold.as_mut(),
        }
    }

    fn set_retained(&mut self, id: MessageId, message: &Arc<Message>) {
        let topic = &message.topic;
        let known = self.retained.get(topic).map(|(id, _)| *id).max(self.cleared.get(topic).copied());
        if known.is_some_and(|known| known >= id) {
            return;
        }
        if message.payload().is_empty() {
            self.retained.remove(topic);
            self.cleared.insert(Arc::clone(topic), id);
        } else {
            self.retained.insert(Arc::clone(topic), (id, Kept::Here(Arc::clone(message))));
        }
    }

    fn remove_will(&mut self, session: SessionNo) {
        if let Some(it) = self.sessions.get_mut(&session) {
            it.will = None;
        }
        self.wills.remove(&session);
    }

    fn session(&mut self, session: SessionNo) -> Result<&mut RecoveredSession, ApplyError> {
        self.sessions.get_mut(&session).ok_or(ApplyError::NoSession(session))
    }
}
