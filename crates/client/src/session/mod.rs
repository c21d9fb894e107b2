//! The client's half of a Session (§4.1): plain values in, packets and plain values out. No socket, no clock, no task.

mod incoming;
mod outgoing;
mod requests;
mod route;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use columba_proto::packet::{Disconnect, Packet};
use columba_proto::{AckKind, QoS, ReasonCode, Version, Violation};

use crate::error::{Lost, PublishError, Refusal};
use crate::message::{Message, Publication};
use crate::options::Options;

pub(crate) use incoming::AckToken;
use incoming::Incoming;
use outgoing::Outgoing;
pub use requests::Answer;
use requests::Requests;
pub(crate) use requests::{InboxOf, SubscribeRequest, UnsubscribeRequest};
pub(crate) use route::Route;
use route::Subscriptions;

/// The handles that wait in a session, and that it only keeps: real ones in the driver, numbers in tests.
pub(crate) trait Waiters {
    /// Waits for the end of an exchange.
    type Publish;
    /// Waits for SUBACK or UNSUBACK.
    type Request;
    /// Takes the messages of a subscription.
    type Inbox: Clone;
}

/// Where packets go.
pub(crate) trait Outlet {
    fn send(&mut self, packet: &Packet<'_>);

    /// Whether more than what must be sent at once may be sent.
    fn has_room(&self) -> bool;
}

/// What a session has decided, beside the packets.
pub(crate) enum Output<W: Waiters> {
    /// An exchange is over.
    Published(W::Publish, Result<ReasonCode, PublishError>),
    /// A request is answered.
    Answered(W::Request, Answer),
    /// A message is the application's. With a token, it is to be acknowledged.
    Deliver { message: Message, token: Option<AckToken>, route: Route },
}

/// What a server has said in CONNACK (§3.2.2.3), with the defaults filled in.
#[derive(Clone, Debug)]
pub(crate) struct Welcome {
    /// `None` where the version does not say.
    pub(crate) session_present: Option<bool>,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: QoS,
    pub(crate) retain_available: bool,
    pub(crate) maximum_packet_size: u32,
    pub(crate) subscription_ids_available: bool,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) server_keep_alive: Option<u16>,
}

/// What became of the session at a CONNACK.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resumption {
    /// There was nothing to resume.
    First,
    /// Both sides go on where they were.
    Resumed,
    /// The server has forgotten it.
    Lost,
}

pub(crate) struct Session<W: Waiters> {
    version: Version,
    /// Whether we come back to a session that the server may still have.
    is_persistent: bool,
    has_been_open: bool,
    open: Option<Welcome>,
    outgoing: Outgoing<W>,
    incoming: Incoming,
    requests: Requests<W>,
    subscriptions: Subscriptions<W>,
    outputs: VecDeque<Output<W>>,
}

impl<W: Waiters> Session<W> {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            version: options.version,
            is_persistent: options.is_persistent(),
            has_been_open: false,
            open: None,
            outgoing: Outgoing::new(options.inflight_max),
            incoming: Incoming::new(options.receive_maximum, options.topic_alias_maximum, options.version),
            requests: Requests::default(),
            subscriptions: Subscriptions::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The server has accepted us: resumes what it still has, and begins anew what it has not.
    pub(crate) fn on_connack(&mut self, welcome: &Welcome, outlet: &mut impl Outlet) -> Resumption {
        // 3.1 does not say whether it has the session; one that lasts is taken for resumed, as its standard expects.
        let is_present = welcome.session_present.unwrap_or(self.is_persistent);
        let before = std::mem::replace(&mut self.has_been_open, true);
        self.open = Some(welcome.clone());
        self.outgoing.set_window(welcome.receive_maximum);
        self.incoming.on_connection();
        if is_present {
            self.outgoing.resume(self.version, outlet);
        } else {
            self.incoming.forget();
            self.outgoing.begin_anew(&mut self.outputs);
            if before {
                self.requests.renew(&self.subscriptions);
            }
        }
        self.send_requests(outlet);
        match (before, is_present) {
            (_, true) => Resumption::Resumed,
            (true, false) => Resumption::Lost,
            (false, false) => Resumption::First,
        }
    }

    /// The connection is gone; what the session promises stays.
    pub(crate) fn on_lost(&mut self) {
        self.open = None;
        self.requests.on_lost(&mut self.outgoing, &mut self.subscriptions);
        self.incoming.on_lost();
    }

    /// A message to send when its turn comes.
    pub(crate) fn publish(&mut self, publication: Publication, waiter: W::Publish) {
        self.outgoing.enqueue(publication, waiter);
    }

    /// Sends what the window and the outlet have room for.
    pub(crate) fn pump(&mut self, outlet: &mut impl Outlet) {
        if let Some(welcome) = &self.open {
            self.outgoing.pump(self.version, welcome, outlet, &mut self.outputs);
        }
    }

    /// Whether [`Self::pump`] would send something more.
    pub(crate) fn can_send(&self) -> bool {
        self.open.is_some() && self.outgoing.can_send()
    }

    /// Sends again what is in flight: the timed repetition of 3.1 and 3.1.1.
    pub(crate) fn repeat(&mut self, outlet: &mut impl Outlet) {
        debug_assert!(self.version.may_resend(), "[MQTT-4.4.0-1]");
        if self.open.is_some() {
            self.outgoing.resume(self.version, outlet);
        }
    }

    /// The application is done with a message.
    pub(crate) fn ack(&mut self, token: AckToken, outlet: &mut impl Outlet) {
        self.incoming.ack(token, self.open.is_some(), outlet);
    }

    pub(crate) fn on_packet(&mut self, packet: &Packet<'_>, outlet: &mut impl Outlet) -> Result<(), Lost> {
        match packet {
            Packet::Publish(publish) => {
                let subscriptions = &self.subscriptions;
                let deliver = |message: &Message| subscriptions.route(message);
                self.incoming.on_publish(publish, deliver, outlet, &mut self.outputs)?;
            }
            Packet::Ack(ack) if ack.kind == AckKind::Pubrel => {
                let subscriptions = &self.subscriptions;
                let deliver = |message: &Message| subscriptions.route(message);
                self.incoming.on_pubrel(ack.id, deliver, outlet, &mut self.outputs);
            }
            Packet::Ack(ack) => {
                self.outgoing.on_ack(self.version, ack, outlet, &mut self.outputs)?;
            }
            Packet::Suback(suback) => {
                let text = suback.properties.reason_string.map(str::to_owned);
                let answer = Answer { reasons: suback.reasons.iter().collect(), text };
                if self.outgoing.end_request(suback.id) {
                    self.outputs.extend(self.requests.on_suback(suback.id, answer, &mut self.subscriptions));
                }
            }
            Packet::Unsuback(unsuback) => {
                let text = unsuback.properties.reason_string.map(str::to_owned);
                let answer = Answer { reasons: unsuback.reasons.iter().collect(), text };
                if self.outgoing.end_request(unsuback.id) {
                    self.outputs.extend(self.requests.on_unsuback(unsuback.id, answer, &mut self.subscriptions));
                }
            }
            Packet::Pingresp => {}
            Packet::Disconnect(disconnect) => return Err(Lost::ByServer(refusal(disconnect))),
            Packet::Connack(_) => return Err(Lost::Peer(Violation::SecondConnack.into())),
            Packet::Auth(_) => return Err(Lost::Peer(Violation::UnexpectedAuth.into())),
            Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq => {
                return Err(Lost::Peer(Violation::WrongDirection(packet.packet_type()).into()));
            }
        }
        Ok(())
    }

    pub(crate) fn subscribe(
        &mut self,
        request: SubscribeRequest,
        inbox: W::Inbox,
        of: InboxOf,
        waiter: Option<W::Request>,
        outlet: &mut impl Outlet,
    ) {
        self.requests.subscribe(request, inbox, of, waiter);
        self.send_requests(outlet);
    }

    pub(crate) fn unsubscribe(&mut self, request: UnsubscribeRequest, waiter: Option<W::Request>, outlet: &mut impl Outlet) {
        self.requests.unsubscribe(request, waiter);
        self.send_requests(outlet);
    }

    fn send_requests(&mut self, outlet: &mut impl Outlet) {
        if let Some(welcome) = &self.open {
            let with_ids = welcome.subscription_ids_available;
            self.requests.send(with_ids, &mut self.outgoing, &mut self.subscriptions, outlet);
        }
    }

    /// The inbox of a subscription that a [`Route`] names.
    pub(crate) fn inbox(&self, number: usize) -> Option<&W::Inbox> {
        self.subscriptions.inbox(number)
    }

    pub(crate) fn next_output(&mut self) -> Option<Output<W>> {
        self.outputs.pop_front()
    }

    /// Publications of QoS 1 and 2 that nobody has acknowledged to the end.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.outgoing.unacknowledged()
    }

    /// Whether an exchange that we began is not over.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.outgoing.is_in_flight()
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.outgoing.is_idle() && self.requests.is_idle()
    }
}

fn refusal(disconnect: &Disconnect<'_>) -> Refusal {
    Refusal {
        reason: disconnect.reason,
        text: disconnect.reason_string.map(str::to_owned),
        server_reference: disconnect.server_reference.map(str::to_owned),
    }
}
