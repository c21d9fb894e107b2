//! The sending half of QoS 1 and 2 (§4.3.2, §4.3.3), with send quota (§4.9) and retransmission (§4.4).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use thiserror::Error;

use super::QoS;
use super::packet_ids::PacketIds;
use crate::error::Violation;
use crate::packet::AckKind;
use crate::packet_id::PacketId;
use crate::reason::ReasonCode;

/// One outgoing exchange, seen by the *sender* of §4.3.2 and §4.3.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sending<M> {
    /// QoS 1: the message is ours until PUBACK [MQTT-4.3.2-3].
    AwaitPuback(M),
    /// QoS 2: the message is ours until PUBREC [MQTT-4.3.3-3].
    AwaitPubrec(M),
    /// Ownership has passed; no message is left to send twice [MQTT-4.3.3-6]. PUBREL is ours until PUBCOMP
    /// [MQTT-4.3.3-5].
    AwaitPubcomp,
}

/// What an acknowledgement makes of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Step<M> {
    /// The exchange is now [`Sending::AwaitPubcomp`]: answer PUBREL [MQTT-4.3.3-4]. The message is handed back, unless it
    /// had been before and PUBREC is repeated.
    Release(Option<M>),
    /// The exchange is over and its Packet Identifier is free again.
    Finish(Option<M>, Outcome),
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The receiver has the message.
    Delivered,
    /// The receiver does not want it; it is not sent again [MQTT-4.4.0-2].
    Refused(ReasonCode),
}

impl<M> Sending<M> {
    /// The transition table of the sender. Gives the state back unchanged when `kind` does not answer it.
    pub fn on_ack(self, kind: AckKind, reason: ReasonCode) -> Result<Step<M>, Self> {
        use AckKind::*;
        use Sending::*;
        match (self, kind) {
            // "Refused" frees the identifier at once [MQTT-4.3.3-9].
            (AwaitPuback(message), Puback) | (AwaitPubrec(message), Pubrec) if reason.is_failure() => {
                Ok(Step::Finish(Some(message), Outcome::Refused(reason)))
            }
            (AwaitPuback(message), Puback) => Ok(Step::Finish(Some(message), Outcome::Delivered)),
            (AwaitPubrec(message), Pubrec) => Ok(Step::Release(Some(message))),
            // A repeated PUBREC: our PUBREL was lost with the old connection, or is still on its way.
            (AwaitPubcomp, Pubrec) => Ok(Step::Release(None)),
            // Also with 0x92: a PUBREL that was repeated after its PUBCOMP was lost.
            (AwaitPubcomp, Pubcomp) => Ok(Step::Finish(None, Outcome::Delivered)),
            (unmoved @ AwaitPuback(_), Pubrec | Pubrel | Pubcomp)
            | (unmoved @ AwaitPubrec(_), Puback | Pubrel | Pubcomp)
            | (unmoved @ AwaitPubcomp, Puback | Pubrel) => Err(unmoved),
        }
    }

    /// The message, while it is ours.
    pub const fn message(&self) -> Option<&M> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }

    fn message_mut(&mut self) -> Option<&mut M> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }

    /// At which QoS this goes.
    pub const fn qos(&self) -> QoS {
        match self {
            Self::AwaitPuback(_) => QoS::AtLeastOnce,
            Self::AwaitPubrec(_) | Self::AwaitPubcomp => QoS::ExactlyOnce,
        }
    }
}

/// What an acknowledgement did to the [`Sender`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Acked<M> {
    /// PUBREC: ownership of this message has passed. Answer PUBREL [MQTT-4.3.3-4].
    Released(M),
    /// A repeated PUBREC: answer PUBREL again.
    ReleasedAgain,
    /// The exchange is over and its identifier free [MQTT-4.3.3-12]. `message` is there unless it was handed back at PUBREC.
    Finished {
        /// What was sent, if it was still ours.
        message: Option<M>,
        /// How it ended.
        outcome: Outcome,
    },
}

/// Why an acknowledgement did nothing.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AckError {
    /// No exchange has this identifier; normal after a restart on either side. A PUBREC is answered by PUBREL with 0x92
    /// (v5) or plain PUBREL (3.x), a PUBACK or PUBCOMP by nothing.
    #[error("{kind:?} for {id}, which is not in use")]
    Unknown {
        /// The acknowledgement.
        kind: AckKind,
        /// Its identifier.
        id: PacketId,
    },
    /// The exchange exists but nothing of it has been sent on this connection yet. Ignore it.
    #[error("{kind:?} for {id}, which has not been sent on this connection")]
    NotSent {
        /// The acknowledgement.
        kind: AckKind,
        /// Its identifier.
        id: PacketId,
    },
    /// The exchange waits for another kind: a Protocol Error.
    #[error("{kind:?} does not answer what was sent as {id}")]
    Wrong {
        /// The acknowledgement.
        kind: AckKind,
        /// Its identifier.
        id: PacketId,
    },
}

impl AckError {
    /// The breach that it is, if it is one.
    pub const fn violation(self) -> Option<Violation> {
        match self {
            Self::Wrong { kind, id } => Some(Violation::WrongAck { kind, id }),
            Self::Unknown { .. } | Self::NotSent { .. } => None,
        }
    }
}

/// The open exchanges of one direction of a Session, in the order in which they were first sent.
///
/// Methods return what to do and never send. Identifiers, quota and order are kept here; bytes, timers and the store are
/// the caller's. An exchange is *on the wire* from [`Sender::begin`], or from [`Sender::resume`] on a later connection.
#[derive(Debug)]
pub struct Sender<M> {
    /// In send order [MQTT-4.6.0-1].
    exchanges: VecDeque<Exchange<M>>,
    /// Identifiers of SUBSCRIBE and UNSUBSCRIBE that wait for their answer: one number space for all (§2.2.1).
    requests: Vec<PacketId>,
    ids: PacketIds,
    window: u16,
    /// How many exchanges wait to be sent again on this connection.
    waiting: u16,
}

#[derive(Debug)]
struct Exchange<M> {
    id: PacketId,
    /// Not yet sent on this connection: the quota was used up when the session resumed.
    waiting: bool,
    state: Sending<M>,
}

impl<M> Sender<M> {
    /// Nothing open; owns no memory. `window` is the other side's Receive Maximum [MQTT-4.9.0-1], for 3.x a limit of our own.
    pub const fn new(window: u16) -> Self {
        Self { exchanges: VecDeque::new(), requests: Vec::new(), ids: PacketIds::new(), window, waiting: 0 }
    }

    /// A new connection has brought a new Receive Maximum; quotas do not outlive the connection (§4.9).
    pub const fn set_window(&mut self, window: u16) {
        self.window = window;
    }

    /// How many exchanges may be open at once.
    pub const fn window(&self) -> u16 {
        self.window
    }

    /// Gives back the memory that a full window needed.
    pub fn shrink_to_fit(&mut self) {
        self.exchanges.shrink_to_fit();
        self.requests.shrink_to_fit();
    }

    /// May a new QoS 1 or 2 PUBLISH be sent [MQTT-4.9.0-2]? Not before all that waits for its repetition has gone
    /// [MQTT-4.6.0-1].
    #[inline]
    pub fn has_room(&self) -> bool {
        self.waiting == 0 && self.exchanges.len() < usize::from(self.window) && self.has_free_id()
    }

    #[inline]
    fn has_free_id(&self) -> bool {
        self.exchanges.len() + self.requests.len() < usize::from(u16::MAX)
    }

    /// Opens an exchange under an identifier that is not in use [MQTT-4.3.2-1] [MQTT-4.3.3-1]: the caller sends PUBLISH
    /// with it, DUP 0 [MQTT-4.3.2-2] [MQTT-4.3.3-2].
    ///
    /// # Panics
    ///
    /// If there is no room, or for QoS 0, which has no exchange.
    #[inline]
    pub fn begin(&mut self, qos: QoS, message: M) -> PacketId {
        assert!(self.has_room(), "the caller asks has_room() first [MQTT-4.9.0-2]");
        let state = match qos {
            QoS::AtMostOnce => panic!("QoS 0 opens no exchange (§4.3.1)"),
            QoS::AtLeastOnce => Sending::AwaitPuback(message),
            QoS::ExactlyOnce => Sending::AwaitPubrec(message),
        };
        let id = self.take_id().expect("has_room() has seen a free identifier");
        self.exchanges.push_back(Exchange { id, waiting: false, state });
        id
    }

    /// Takes an identifier for SUBSCRIBE or UNSUBSCRIBE [MQTT-2.2.1-3]. They need no quota [MQTT-4.9.0-3]; `None` only if
    /// all 65,535 identifiers are in use.
    pub fn begin_request(&mut self) -> Option<PacketId> {
        let id = self.take_id()?;
        self.requests.push(id);
        Some(id)
    }

    /// SUBACK or UNSUBACK has come: frees the identifier. False if no request had it.
    pub fn end_request(&mut self, id: PacketId) -> bool {
        match self.requests.iter().position(|open| *open == id) {
            Some(at) => {
                self.requests.remove(at);
                true
            }
            None => false,
        }
    }

    /// The connection is gone, and with it all requests: unlike publications they are not part of the Session (§4.1).
    pub fn forget_requests(&mut self) {
        self.requests.clear();
    }

    fn take_id(&mut self) -> Option<PacketId> {
        if !self.has_free_id() {
            return None;
        }
        let Self { exchanges, requests, ids, .. } = self;
        let requests = requests.iter().copied();
        ids.take(exchanges.iter().map(|exchange| exchange.id).chain(requests))
    }

    /// An acknowledgement has come.
    #[inline]
    pub fn on_ack(&mut self, kind: AckKind, id: PacketId, reason: ReasonCode) -> Result<Acked<M>, AckError> {
        let Some(at) = self.find(id) else {
            return Err(AckError::Unknown { kind, id });
        };
        let exchange = &mut self.exchanges[at];
        if exchange.waiting {
            return Err(AckError::NotSent { kind, id });
        }
        // The state moves out and back in, so that a message is never in two hands.
        match core::mem::replace(&mut exchange.state, Sending::AwaitPubcomp).on_ack(kind, reason) {
            Ok(Step::Release(Some(message))) => Ok(Acked::Released(message)),
            Ok(Step::Release(None)) => Ok(Acked::ReleasedAgain),
            Ok(Step::Finish(message, outcome)) => {
                self.exchanges.remove(at);
                Ok(Acked::Finished { message, outcome })
            }
            Err(unmoved) => {
                exchange.state = unmoved;
                Err(AckError::Wrong { kind, id })
            }
        }
    }

    /// A new connection has taken up the Session: what has to be sent again, in send order [MQTT-4.4.0-1]
    /// [MQTT-4.6.0-1]; PUBLISH with DUP 1 where a message is left, else PUBREL.
    ///
    /// No more `PUBLISHes` than the window has room for: the rest waits, and [`Sender::resume_next`] gives it out as
    /// acknowledgements make room. PUBRELs never wait [MQTT-3.3.4-10].
    pub fn resume(&mut self) -> impl Iterator<Item = (PacketId, &Sending<M>)> {
        self.resume_at_most(u16::MAX)
    }

    /// The same, and so many of them at once at most: whoever sends them by and by begins with 0.
    pub fn resume_at_most(&mut self, most: u16) -> impl Iterator<Item = (PacketId, &Sending<M>)> {
        let released = self.exchanges.iter().filter(|exchange| exchange.is_released()).count();
        let mut room = usize::from(self.window).saturating_sub(released).min(usize::from(most));
        self.waiting = 0;
        for exchange in &mut self.exchanges {
            exchange.waiting = !exchange.is_released() && room == 0;
            if exchange.waiting {
                self.waiting += 1;
            } else if !exchange.is_released() {
                room -= 1;
            }
        }
        self.on_the_wire()
    }

    /// The next PUBLISH to send again, DUP 1, if one waits and there is room for it.
    pub fn resume_next(&mut self) -> Option<(PacketId, &Sending<M>)> {
        if self.waiting == 0 || self.exchanges.len() - usize::from(self.waiting) >= usize::from(self.window) {
            return None;
        }
        let next = self.exchanges.iter_mut().find(|exchange| exchange.waiting)?;
        next.waiting = false;
        self.waiting -= 1;
        Some((next.id, &next.state))
    }

    /// The exchanges that have been sent on this connection, in send order: what a timer may repeat, where the version
    /// lets it ([`crate::Version::may_resend`]).
    pub fn on_the_wire(&self) -> impl Iterator<Item = (PacketId, &Sending<M>)> {
        self.exchanges.iter().filter(|exchange| !exchange.waiting).map(|exchange| (exchange.id, &exchange.state))
    }

    /// Puts an exchange back behind the others when a Session is read from the store. It counts as sent on an earlier
    /// connection; [`Sender::resume`] decides when it goes.
    pub fn restore(&mut self, id: PacketId, state: Sending<M>) {
        debug_assert!(self.find(id).is_none(), "{id} is restored twice");
        self.ids.go_on_behind(id);
        self.waiting = self.waiting.saturating_add(1);
        self.exchanges.push_back(Exchange { id, waiting: true, state });
    }

    /// Takes an exchange out whatever its state: its message goes elsewhere, or the Session gives it up.
    pub fn remove(&mut self, id: PacketId) -> Option<Sending<M>> {
        let at = self.find(id)?;
        let exchange = self.exchanges.remove(at)?;
        self.waiting -= u16::from(exchange.waiting);
        Some(exchange.state)
    }

    /// Goes on as if the message of an exchange had arrived, which keeps its place: QoS 1 ends, QoS 2 goes on with PUBREL. For
    /// what must not be sent again, before [`Sender::resume`].
    pub fn give_up(&mut self, id: PacketId) -> Option<M> {
        let at = self.find(id)?;
        match core::mem::replace(&mut self.exchanges[at].state, Sending::AwaitPubcomp) {
            Sending::AwaitPuback(message) => {
                self.remove(id);
                Some(message)
            }
            Sending::AwaitPubrec(message) => Some(message),
            Sending::AwaitPubcomp => None,
        }
    }

    /// The exchange of an identifier.
    pub fn get(&self, id: PacketId) -> Option<&Sending<M>> {
        self.find(id).map(|at| &self.exchanges[at].state)
    }

    /// All open exchanges in send order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PacketId, &Sending<M>)> {
        self.exchanges.iter().map(|exchange| (exchange.id, &exchange.state))
    }

    /// The messages of all open exchanges that still have one, in send order.
    pub fn messages_mut(&mut self) -> impl Iterator<Item = &mut M> {
        self.exchanges.iter_mut().filter_map(|exchange| exchange.state.message_mut())
    }

    /// Ends the Session's sending half and hands out what was open, in send order.
    pub fn drain(&mut self) -> impl Iterator<Item = (PacketId, Sending<M>)> {
        self.waiting = 0;
        self.requests = Vec::new();
        core::mem::take(&mut self.exchanges).into_iter().map(|exchange| (exchange.id, exchange.state))
    }

    /// How many exchanges are open.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Is none open?
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Identifiers are given out in their order, and peers answer in it: where nothing between has ended, the distance from the front is the place.
    /// Who asks for what was begun last asks for the back.
    #[inline]
    fn find(&self, id: PacketId) -> Option<usize> {
        let front = self.exchanges.front()?;
        let guess = usize::from(id.get().wrapping_sub(front.id.get()));
        let back = self.exchanges.len() - 1;
        let is_at = |at: &usize| self.exchanges.get(*at).is_some_and(|exchange| exchange.id == id);
        [guess, back].into_iter().find(is_at).or_else(|| self.exchanges.iter().position(|exchange| exchange.id == id))
    }
}

impl<M> Exchange<M> {
    const fn is_released(&self) -> bool {
        matches!(self.state, Sending::AwaitPubcomp)
    }
}

#[cfg(test)]
mod tests;
