//! Records behind a loss, made to fit the state before it (docs/adr, "What is kept behind a gap in the journal").
//!
//! Where commits of the journal are lost, the ones behind them go on from a state that nobody has. Each record is still true by itself. What it says about state
//! that is known is kept; what it presupposes and is not there is supplied where the record proves it, else the record is left out and that is noted. What comes
//! out is a sequence that [`State`] and [`Fold`](super::Fold) take as if nothing were missing.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use columba_proto::{PacketId, QoS};

use super::{
    apply::ApplyError,
    keys::{ColdError, ColdRead},
    record::{MessageRecord, Record, TargetRecord},
    state::{InFlight, State},
};
use crate::id::{MessageId, SessionNo};

/// Where mended records go.
pub type Mended<'a, E> = dyn FnMut(&Record<'_>) -> Result<(), E> + 'a;

/// Stands between a journal with gaps and its folds.
#[derive(Debug)]
pub struct Mender {
    state: State,
    /// Whether a gap has been met: before it everything must fit by itself.
    behind_gap: bool,
    clients: BTreeMap<Box<str>, SessionNo>,
    /// Received at QoS 2 before a gap, not released behind it: whether that was in the gap is not known.
    doubtful: BTreeSet<(SessionNo, PacketId)>,
    highest: u64,
    loss: Loss,
}

/// What the gaps have cost, as far as the records around them tell.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// For each gap the highest identity before it and the lowest new one behind it: the identities between them are those of what was lost.
    pub identities: Vec<(MessageId, Option<MessageId>)>,
    /// Sessions that began in a gap: their client identifiers are not known, so nothing of them can be kept.
    pub unknown_sessions: BTreeSet<SessionNo>,
    /// Sessions that must have ended in a gap, because their clients began new ones behind it.
    pub ended_sessions: Vec<(SessionNo, Box<str>)>,
    /// Messages that were released behind a gap and had come in it, with the sessions that they should have gone to.
    pub lost_messages: Vec<(MessageId, Vec<SessionNo>)>,
    /// Messages received at QoS 2 before a gap that are dropped, because they may have been handed on in it: client, Packet Identifier, topic.
    pub doubtful_messages: Vec<(Box<str>, PacketId, Box<str>)>,
    /// Exchanges that ended in a gap: session and Packet Identifier.
    pub closed_exchanges: Vec<(SessionNo, PacketId)>,
}

impl Mender {
    /// Begins with the state at the cold store's position.
    pub fn new(state: State) -> Self {
        let highest = state.highest;
        Self { state, behind_gap: false, clients: BTreeMap::new(), doubtful: BTreeSet::new(), highest, loss: Loss::default() }
    }

    /// The state so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Commits are lost here.
    pub fn gap(&mut self) {
        if !self.behind_gap {
            self.clients = self.state.sessions.values().map(|it| (it.client_id.clone(), it.no)).collect();
        }
        self.behind_gap = true;
        let received = |it: &super::RecoveredSession| it.received.keys().map(|id| (it.no, *id)).collect::<Vec<_>>();
        self.doubtful.extend(self.state.sessions.values().flat_map(received));
        self.loss.identities.push((MessageId(self.highest), None));
    }

    /// Takes the next record of a commit, and gives what is to be folded for it.
    ///
    /// # Errors
    /// What `out` says, and [`ApplyError`] where there is a contradiction before any gap.
    pub fn record<E: From<ApplyError>>(&mut self, record: &Record<'_>, out: &mut Mended<'_, E>) -> Result<(), E> {
        self.see(record);
        if !self.behind_gap {
            return self.give(record, out);
        }
        if let Some(session) = owner(record).filter(|session| !self.state.sessions.contains_key(session)) {
            self.loss.unknown_sessions.insert(session);
            if let Record::Released { id, targets, .. } = record {
                self.lose(*id, targets);
            }
            return Ok(());
        }
        match record {
            Record::Created { session, client_id } => {
                if self.state.sessions.contains_key(session) {
                    return Ok(());
                }
                if let Some(old) = self.clients.insert((*client_id).into(), *session)
                    && self.state.sessions.contains_key(&old)
                {
                    self.loss.ended_sessions.push((old, (*client_id).into()));
                    self.give(&Record::Deleted { session: old }, out)?;
                }
            }
            Record::Received { session, packet_id, .. } => self.end_receipt(*session, *packet_id, out)?,
            Record::Released { session, packet_id, id, targets, .. } => {
                let known = self.state.sessions.get(session).is_some_and(|it| it.received.contains_key(packet_id));
                self.doubtful.remove(&(*session, *packet_id));
                if !known {
                    self.lose(*id, targets);
                    return Ok(());
                }
            }
            Record::Sent { session, packet_id, .. } => self.close(*session, *packet_id, out)?,
            Record::Passed { session, packet_id, message } => self.reopen(*session, *packet_id, *message, out)?,
            Record::Settled { session, packet_id, message } => {
                match (self.exchange(*session, *packet_id), message) {
                    (Some(InFlight::Publish { message: open, .. }), Some(message)) if open == *message => {}
                    (Some(InFlight::Pubrel), None) => {}
                    // PUBREC came in the gap.
                    (Some(InFlight::Publish { message: open, .. }), None) => {
                        self.give(&Record::Passed { session: *session, packet_id: *packet_id, message: open }, out)?;
                    }
                    // The exchange that ends here began in the gap.
                    (Some(_), Some(message)) => {
                        self.close(*session, *packet_id, out)?;
                        return self.give(&Record::Dropped { session: *session, message: *message }, out);
                    }
                    (None, Some(message)) => {
                        return self.give(&Record::Dropped { session: *session, message: *message }, out);
                    }
                    (None, None) => return Ok(()),
                }
            }
            Record::Attached { .. }
            | Record::Detached { .. }
            | Record::Deleted { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::Published { .. }
            | Record::Dropped { .. }
            | Record::Cursor { .. }
            | Record::WillSet { .. }
            | Record::WillGone { .. } => {}
        }
        self.give(record, out)
    }

    /// The commit is complete.
    pub fn end_of_commit(&mut self) {
        self.state.end_of_commit();
    }

    /// The journal is complete: closes what can no longer be closed otherwise, and says what was lost. The caller ends the commit that these records are.
    ///
    /// # Errors
    /// What `out` and the cold store say.
    pub fn finish<E: From<ApplyError> + From<ColdError>>(
        mut self,
        cold: &dyn ColdRead,
        out: &mut Mended<'_, E>,
    ) -> Result<(State, Loss), E> {
        if !self.behind_gap {
            self.state.finish(cold)?;
            return Ok((self.state, self.loss));
        }
        // Nothing that was ever named may get the number of something new.
        let message =
            MessageRecord { topic: "", qos: QoS::AtMostOnce, retain: false, expires: None, properties: &[], payload: &[] };
        let (id, targets) = (MessageId(self.highest), Vec::new());
        self.give(&Record::Published { id, message, targets, sets_retained: false, will_of: None }, out)?;
        for (session, packet_id) in core::mem::take(&mut self.doubtful) {
            self.end_receipt(session, packet_id, out)?;
        }
        self.end_of_commit();
        let before = open_exchanges(&self.state);
        self.state.finish(cold)?;
        for (session, packet_id) in before.difference(&open_exchanges(&self.state)).copied() {
            // Its message was lost or had left the queue.
            out(&Record::Settled { session, packet_id, message: None })?;
        }
        Ok((self.state, self.loss))
    }

    fn give<E: From<ApplyError>>(&mut self, record: &Record<'_>, out: &mut Mended<'_, E>) -> Result<(), E> {
        self.state.apply(record)?;
        out(record)
    }

    fn exchange(&self, session: SessionNo, packet_id: PacketId) -> Option<InFlight> {
        self.state.sessions.get(&session)?.in_flight.get(packet_id)
    }

    /// An exchange whose identifier is used anew has ended.
    fn close<E: From<ApplyError>>(&mut self, session: SessionNo, packet_id: PacketId, out: &mut Mended<'_, E>) -> Result<(), E> {
        let message = match self.exchange(session, packet_id) {
            None => return Ok(()),
            Some(InFlight::Publish { message, .. }) => Some(message),
            Some(InFlight::Pubrel) => None,
        };
        self.loss.closed_exchanges.push((session, packet_id));
        self.give(&Record::Settled { session, packet_id, message }, out)
    }

    /// PUBREC has come for a message: so it was sent, at QoS 2.
    fn reopen<E: From<ApplyError>>(
        &mut self,
        session: SessionNo,
        packet_id: PacketId,
        message: MessageId,
        out: &mut Mended<'_, E>,
    ) -> Result<(), E> {
        match self.exchange(session, packet_id) {
            Some(InFlight::Publish { message: open, .. }) if open == message => return Ok(()),
            Some(_) => self.close(session, packet_id, out)?,
            None => {}
        }
        self.give(&Record::Sent { session, packet_id, message, qos: QoS::ExactlyOnce }, out)
    }

    /// A receipt that is there and must not be: kept, it would swallow the next message under its identifier.
    fn end_receipt<E: From<ApplyError>>(
        &mut self,
        session: SessionNo,
        packet_id: PacketId,
        out: &mut Mended<'_, E>,
    ) -> Result<(), E> {
        self.doubtful.remove(&(session, packet_id));
        let Some(it) = self.state.sessions.get(&session) else {
            return Ok(());
        };
        let Some(message) = it.received.get(&packet_id) else {
            return Ok(());
        };
        self.loss.doubtful_messages.push((it.client_id.clone(), packet_id, (&*message.topic).into()));
        let (id, targets) = (MessageId(0), Vec::new());
        self.give(&Record::Released { session, packet_id, id, targets, sets_retained: false }, out)
    }

    fn lose(&mut self, id: MessageId, targets: &[TargetRecord]) {
        self.loss.lost_messages.push((id, targets.iter().map(|target| target.session).collect()));
    }

    fn see(&mut self, record: &Record<'_>) {
        let Some(id) = identity(record) else {
            return;
        };
        if let Some((before, behind)) = self.loss.identities.last_mut()
            && id > before.0
        {
            *behind = Some(behind.map_or(MessageId(id), |known| known.min(MessageId(id))));
        }
        self.highest = self.highest.max(id);
    }
}

/// The session whose state a record changes; none for what is true without one.
fn owner(record: &Record<'_>) -> Option<SessionNo> {
    match record {
        Record::Attached { session, .. }
        | Record::Detached { session, .. }
        | Record::Deleted { session }
        | Record::Subscribed { session, .. }
        | Record::Unsubscribed { session, .. }
        | Record::Received { session, .. }
        | Record::Released { session, .. }
        | Record::Sent { session, .. }
        | Record::Passed { session, .. }
        | Record::Settled { session, .. }
        | Record::Cursor { session, .. } => Some(*session),
        Record::Created { .. }
        | Record::Dropped { .. }
        | Record::Published { .. }
        | Record::WillSet { .. }
        | Record::WillGone { .. } => None,
    }
}

/// The identity that a record gives out.
fn identity(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Created { session, .. } | Record::WillSet { session, .. } => Some(session.0),
        Record::Published { id, .. } | Record::Released { id, .. } => Some(id.0),
        Record::Attached { .. }
        | Record::Detached { .. }
        | Record::Deleted { .. }
        | Record::Subscribed { .. }
        | Record::Unsubscribed { .. }
        | Record::Received { .. }
        | Record::Sent { .. }
        | Record::Passed { .. }
        | Record::Settled { .. }
        | Record::Dropped { .. }
        | Record::Cursor { .. }
        | Record::WillGone { .. } => None,
    }
}

fn open_exchanges(state: &State) -> BTreeSet<(SessionNo, PacketId)> {
    state.sessions.values().flat_map(|it| it.in_flight.iter().map(|(packet_id, _)| (it.no, packet_id))).collect()
}
