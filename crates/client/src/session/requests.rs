//! SUBSCRIBE and UNSUBSCRIBE (§3.8, §3.10): asked, answered, and asked again on the next connection.

use std::collections::VecDeque;

use columba_proto::packet::{Packet, Subscribe, SubscribeEntry, SubscriptionOptions, Unsubscribe};
use columba_proto::property::SubscriptionId;
use columba_proto::{PacketId, ReasonCode, SubscriptionFilter};

use super::outgoing::Outgoing;
use super::route::{Subscribed, Subscriptions};
use super::{Outlet, Output, Waiters};
use crate::translate::pairs;

/// Filters to subscribe to, all with the same options.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SubscribeRequest {
    pub(crate) filters: Vec<SubscriptionFilter>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) user_properties: Vec<(String, String)>,
}

/// Filters to unsubscribe from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UnsubscribeRequest {
    pub(crate) filters: Vec<SubscriptionFilter>,
    pub(crate) user_properties: Vec<(String, String)>,
}

/// Whose inbox a subscription fills.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InboxOf {
    /// Its own.
    Subscription,
    /// The one for all that nobody claims.
    Client,
}

pub(crate) struct Requests<W: Waiters> {
    waiting: VecDeque<Request<W>>,
    sent: Vec<(PacketId, Request<W>)>,
    /// The number of the next group, which is its subscription identifier too.
    last_group: u32,
}

/// What the server says to filters: SUBACK (§3.9) or UNSUBACK (§3.11).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// One for each filter; none in UNSUBACK before MQTT 5.
    pub reasons: Vec<ReasonCode>,
    /// Its Reason String, which is about all of them (§3.9.2.1.2).
    pub text: Option<String>,
}

struct Request<W: Waiters> {
    what: What<W>,
    waiter: Option<W::Request>,
}

enum What<W: Waiters> {
    Subscribe { request: SubscribeRequest, group: u32, inbox: W::Inbox },
    Unsubscribe(UnsubscribeRequest),
}

impl<W: Waiters> Default for Requests<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), sent: Vec::new(), last_group: 0 }
    }
}

impl<W: Waiters> Requests<W> {
    pub(crate) fn subscribe(&mut self, request: SubscribeRequest, inbox: W::Inbox, of: InboxOf, waiter: Option<W::Request>) {
        let group = match of {
            InboxOf::Client => 0,
            InboxOf::Subscription => {
                self.last_group += 1;
                self.last_group
            }
        };
        self.waiting.push_back(Request { what: What::Subscribe { request, group, inbox }, waiter });
    }

    pub(crate) fn unsubscribe(&mut self, request: UnsubscribeRequest, waiter: Option<W::Request>) {
        self.waiting.push_back(Request { what: What::Unsubscribe(request), waiter });
    }

    /// Sends what waits. The inboxes are in place before SUBSCRIBE leaves.
    pub(crate) fn send(
        &mut self,
        with_ids: bool,
        outgoing: &mut Outgoing<W>,
        subscriptions: &mut Subscriptions<W>,
        outlet: &mut impl Outlet,
    ) {
        while !self.waiting.is_empty() {
            let Some(id) = outgoing.begin_request() else {
                return;
            };
            let Some(request) = self.waiting.pop_front() else {
                return;
            };
            match &request.what {
                What::Subscribe { request, group, inbox } => {
                    let subscription_id = subscription_id(request, *group, with_ids);
                    for filter in &request.filters {
                        subscriptions.put(Subscribed {
                            filter: filter.clone(),
                            options: request.options,
                            id: subscription_id.map(SubscriptionId::get),
                            user_properties: request.user_properties.clone(),
                            group: *group,
                            inbox: inbox.clone(),
                        });
                    }
                    send_subscribe(id, request, subscription_id, outlet);
                }
                What::Unsubscribe(request) => send_unsubscribe(id, request, outlet),
            }
            self.sent.push((id, request));
        }
    }

    /// Requests are no part of the Session (§4.1): what has no answer is asked again.
    pub(crate) fn on_lost(&mut self, outgoing: &mut Outgoing<W>, subscriptions: &mut Subscriptions<W>) {
        outgoing.forget_requests();
        let mut unanswered: VecDeque<_> = self.sent.drain(..).map(|(_, request)| request).collect();
        for request in &unanswered {
            if let What::Subscribe { request, .. } = &request.what {
                request.filters.iter().for_each(|filter| subscriptions.remove(filter));
            }
        }
        unanswered.append(&mut self.waiting);
        self.waiting = unanswered;
    }

    /// The server has forgotten the session: asks for all subscriptions again, before anything newer.
    pub(crate) fn renew(&mut self, subscriptions: &Subscriptions<W>) {
        let mut again: VecDeque<Request<W>> = subscriptions
            .iter()
            .map(|subscribed| {
                let request = SubscribeRequest {
                    filters: vec![subscribed.filter.clone()],
                    options: subscribed.options,
                    subscription_id: subscribed.id,
                    user_properties: subscribed.user_properties.clone(),
                };
                let what = What::Subscribe { request, group: subscribed.group, inbox: subscribed.inbox.clone() };
                Request { what, waiter: None }
            })
            .collect();
        again.append(&mut self.waiting);
        self.waiting = again;
    }

    pub(crate) fn on_suback(
        &mut self,
        id: PacketId,
        mut answer: Answer,
        subscriptions: &mut Subscriptions<W>,
    ) -> Option<Output<W>> {
        let request = self.answered(id)?;
        if let What::Subscribe { request, .. } = &request.what {
            // A server that answers too few filters has not granted the rest.
            answer.reasons.resize(request.filters.len(), ReasonCode::UNSPECIFIED_ERROR);
            for (filter, reason) in request.filters.iter().zip(&answer.reasons) {
                if reason.is_failure() {
                    subscriptions.remove(filter);
                }
            }
        }
        request.waiter.map(|waiter| Output::Answered(waiter, answer))
    }

    pub(crate) fn on_unsuback(
        &mut self,
        id: PacketId,
        answer: Answer,
        subscriptions: &mut Subscriptions<W>,
    ) -> Option<Output<W>> {
        let request = self.answered(id)?;
        if let What::Unsubscribe(request) = &request.what {
            for (number, filter) in request.filters.iter().enumerate() {
                if !answer.reasons.get(number).is_some_and(|reason| reason.is_failure()) {
                    subscriptions.remove(filter);
                }
            }
        }
        request.waiter.map(|waiter| Output::Answered(waiter, answer))
    }

    fn answered(&mut self, id: PacketId) -> Option<Request<W>> {
        let at = self.sent.iter().position(|(sent, _)| *sent == id)?;
        Some(self.sent.remove(at).1)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }
}

fn subscription_id(request: &SubscribeRequest, group: u32, with_ids: bool) -> Option<SubscriptionId> {
    let number = request.subscription_id.or_else(|| (group > 0).then_some(group));
    number.filter(|_| with_ids).and_then(SubscriptionId::new)
}

fn send_subscribe(id: PacketId, request: &SubscribeRequest, subscription_id: Option<SubscriptionId>, outlet: &mut impl Outlet) {
    let filters: Vec<String> = request.filters.iter().map(ToString::to_string).collect();
    let entries: Vec<SubscribeEntry<'_>> =
        filters.iter().map(|filter| SubscribeEntry { filter, options: request.options }).collect();
    let user_properties = pairs(&request.user_properties);
    outlet.send(&Packet::Subscribe(Subscribe {
        id,
        subscription_id,
        user_properties: user_properties.as_slice().into(),
        entries: entries.as_slice().into(),
    }));
}

fn send_unsubscribe(id: PacketId, request: &UnsubscribeRequest, outlet: &mut impl Outlet) {
    let filters: Vec<String> = request.filters.iter().map(ToString::to_string).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let user_properties = pairs(&request.user_properties);
    outlet.send(&Packet::Unsubscribe(Unsubscribe {
        id,
        user_properties: user_properties.as_slice().into(),
        filters: filters.as_slice().into(),
    }));
}
