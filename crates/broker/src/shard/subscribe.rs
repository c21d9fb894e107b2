//! SUBSCRIBE and UNSUBSCRIBE (§3.8 to §3.11).

use alloc::{boxed::Box, string::ToString, vec::Vec};
use core::num::NonZero;

use columba_proto::{
    PacketId, QoS, ReasonCode, SubscriptionFilter, Version,
    packet::{
        AckProperties, Packet, Reasons, RetainHandling, Suback, Subscribe, SubscribeEntries, SubscribeEntry, SubscriptionOptions,
        Unsuback, Unsubscribe, UnsubscribeFilters,
    },
    property::SubscriptionId,
    wire::{VARINT_MAX, frame_len},
};

use super::{Room, Shard};
use crate::{
    access::Denied,
    connection::{Half, Offer, ProblemInformation, Request, RequestKind},
    durable::Record,
    event::Event,
    hold::Frame,
    id::{ChangeSeq, ConnectionId, MessageId, SessionNo},
    limits::{FILTER_WORK, FRAME_MAX, LEVEL_WORK, SUBSCRIPTIONS_MOVED_PER_WORK},
    route::Grant,
    seam::Cx,
    session::Cursor,
};

impl Shard {
    pub(super) fn on_subscribe(&mut self, cx: &Cx<'_>, id: ConnectionId, subscribe: &Subscribe<'_>) {
        if !self.check_form(cx, id, subscribe.entries.iter().map(|entry| entry.filter)) {
            return;
        }
        if !self.check_answer(cx, id, subscribe.entries.iter().count()) {
            return;
        }
        let kind = RequestKind::Subscribe { subscription_id: subscribe.subscription_id, denied: None };
        let mut request = Request { id: subscribe.id, kind, reasons: Vec::new(), until: ChangeSeq(0) };
        let mut entries = subscribe.entries;
        if self.subscribe_to_all(cx, id, &mut request, &mut entries) {
            self.answer_request(cx, id, request);
        } else {
            self.keep_half(id, request, entries.payload());
        }
    }

    pub(super) fn on_unsubscribe(&mut self, cx: &Cx<'_>, id: ConnectionId, unsubscribe: &Unsubscribe<'_>) {
        if !self.check_form(cx, id, unsubscribe.filters.iter()) {
            return;
        }
        if !self.check_answer(cx, id, unsubscribe.filters.iter().count()) {
            return;
        }
        let Some(slot) = self.session_of(id) else { return };
        // Also one that removes nothing speaks of recorded state.
        let until = if self.sessions[slot as usize].recorded { self.batch.last_append() } else { ChangeSeq(0) };
        let mut request = Request { id: unsubscribe.id, kind: RequestKind::Unsubscribe, reasons: Vec::new(), until };
        let mut filters = unsubscribe.filters;
        if self.unsubscribe_from_all(cx, id, &mut request, &mut filters) {
            self.answer_request(cx, id, request);
        } else {
            self.keep_half(id, request, filters.payload());
        }
    }

    /// The rest of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) fn go_on_with_half(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return };
        let Some(mut half) = open.half.take() else { return };
        let (request, rest) = (&mut half.request, &half.payload[half.from..]);
        let left = match request.kind {
            RequestKind::Subscribe { .. } => {
                let mut entries = SubscribeEntries::of_payload(open.protocol.version(), rest);
                (!self.subscribe_to_all(cx, id, request, &mut entries)).then(|| entries.payload().len())
            }
            RequestKind::Unsubscribe => {
                let mut filters = UnsubscribeFilters::of_payload(rest);
                (!self.unsubscribe_from_all(cx, id, request, &mut filters)).then(|| filters.payload().len())
            }
        };
        let Some(left) = left else {
            self.answer_request(cx, id, half.request);
            return;
        };
        half.from = half.payload.len() - left;
        if let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) {
            open.half = Some(half);
        }
    }

    fn keep_half(&mut self, id: ConnectionId, request: Request, rest: &[u8]) {
        if let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) {
            open.half = Some(Box::new(Half { request, payload: rest.into(), from: 0 }));
        }
    }

    /// `false`: some are left for later. Where one of them ends the connection, there is nobody to answer.
    fn subscribe_to_all(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        request: &mut Request,
        entries: &mut SubscribeEntries<'_>,
    ) -> bool {
        let RequestKind::Subscribe { subscription_id, denied } = &mut request.kind else { return true };
        loop {
            let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return true };
            let (slot, version, is_bridge, offer) = (open.session, open.protocol.version(), open.is_bridge, open.offer);
            if self.work == 0 {
                return entries.is_empty();
            }
            let Some(mut entry) = entries.pop_first() else { return true };
            let mounted = open.mount.as_ref().map(|mount| mount.filter(entry.filter));
            entry.filter = mounted.as_deref().unwrap_or(entry.filter);
            self.spend_on_filter(slot, entry.filter);
            let granted = self.check_filter(entry.filter, entry.options, offer).and_then(|filter| {
                self.may_subscribe(id, filter.filter().as_str()).map_err(Refused::ByRule)?;
                if is_bridge {
                    entry.options = options_of_a_bridge(&filter, entry.options);
                }
                self.subscribe(cx, slot, &filter, &entry, *subscription_id).map_err(Refused::Entry)
            });
            if matches!(granted, Err(Refused::Entry(ReasonCode::QUOTA_EXCEEDED))) {
                self.tell_full(id, slot, entry.filter);
            }
            match granted {
                Ok((qos, change)) => {
                    request.until = request.until.max(change);
                    request.reasons.push(granted_at(qos));
                }
                Err(Refused::ByRule(rule)) => {
                    request.reasons.push(ReasonCode::NOT_AUTHORIZED);
                    let client_id = Box::from(&*self.sessions[slot as usize].client_id);
                    denied.get_or_insert(rule);
                    let (filter, rule) = (entry.filter.into(), self.rule(rule).into());
                    self.event(Event::SubscriptionDenied { client_id, filter, rule });
                }
                Err(Refused::Entry(reason)) if version.has_properties() || reason != ReasonCode::TOPIC_FILTER_INVALID => {
                    request.reasons.push(reason);
                }
                Err(Refused::Entry(reason)) => self.fail(cx, id, reason, "a topic filter with too many levels"),
                Err(Refused::Connection(reason, why)) => self.fail(cx, id, reason, why),
            }
        }
    }

    /// Says once for each connection that it asks for more subscriptions than it may have.
    fn tell_full(&mut self, id: ConnectionId, slot: u32, filter: &str) {
        let session = &self.sessions[slot as usize];
        let is_full = session.subscriptions.len() >= self.config.subscriptions_max;
        let client_id = Box::from(&*session.client_id);
        let open = self.connections.get_mut(id).and_then(|connection| connection.open());
        if is_full && open.is_some_and(|open| !core::mem::replace(&mut open.is_full_told, true)) {
            let rule = "more than limits.subscriptions".into();
            self.event(Event::SubscriptionDenied { client_id, filter: filter.into(), rule });
        }
    }

    /// `false`: some are left for later.
    fn unsubscribe_from_all(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        request: &mut Request,
        filters: &mut UnsubscribeFilters<'_>,
    ) -> bool {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return true };
        let (slot, mount) = (open.session, open.mount.clone());
        loop {
            if self.work == 0 {
                return filters.is_empty();
            }
            let Some(filter) = filters.pop_first() else { return true };
            let mounted = mount.as_ref().map(|mount| mount.filter(filter));
            let filter = mounted.as_deref().unwrap_or(filter);
            self.spend_on_filter(slot, filter);
            match self.unsubscribe(cx, slot, filter) {
                Some(change) => {
                    request.until = request.until.max(change);
                    request.reasons.push(ReasonCode::SUCCESS);
                }
                None => request.reasons.push(ReasonCode::NO_SUBSCRIPTION_EXISTED),
            }
        }
    }

    /// A filter goes into the index or out of it, and into a sorted list or out of it.
    fn spend_on_filter(&mut self, slot: u32, filter: &str) {
        let levels = filter.bytes().filter(|byte| *byte == b'/').count() + 1;
        let moved = self.sessions[slot as usize].subscriptions.len() / SUBSCRIPTIONS_MOVED_PER_WORK;
        let work = u32::try_from(levels).unwrap_or(u32::MAX).saturating_mul(LEVEL_WORK);
        self.spend(work.saturating_add(FILTER_WORK).saturating_add(u32::try_from(moved).unwrap_or(u32::MAX)));
    }

    fn answer_request(&mut self, cx: &Cx<'_>, id: ConnectionId, request: Request) {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return };
        let (slot, version) = (open.session, open.protocol.version());
        let Request { id: packet_id, kind, reasons, until } = request;
        for reason in reasons.iter().filter(|reason| reason.is_failure()) {
            self.counters.refusal(*reason);
        }
        match kind {
            RequestKind::Subscribe { denied, .. } => {
                let frame = self.suback(id, version, packet_id, &reasons, denied);
                let suback = self.send(cx, id, until, Frame::Bytes(frame.into()));
                if let Some(rare) = &mut self.sessions[slot as usize].rare {
                    rare.suback = suback;
                }
                self.pump(cx, slot);
                self.attend_groups(cx, slot);
            }
            RequestKind::Unsubscribe => {
                let mut frame = Vec::new();
                Unsuback { id: packet_id, reasons: Reasons::from(&*reasons), properties: AckProperties::default() }
                    .encode(version, &mut frame);
                self.send(cx, id, until, Frame::Bytes(frame.into()));
            }
        }
    }

    /// A client that does not take an answer of this size cannot have it, and nothing is done without one [MQTT-3.1.2-24].
    fn check_answer(&mut self, cx: &Cx<'_>, id: ConnectionId, filters: usize) -> bool {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return false };
        // Packet identifier, no properties; a code for each filter.
        let remaining = u32::try_from(2 + 1 + filters).unwrap_or(u32::MAX);
        let is_small = remaining <= VARINT_MAX && frame_len(remaining) <= open.max_packet_size;
        if !is_small {
            let why = "the answer is larger than the client's maximum packet size [MQTT-3.1.2-24]";
            self.fail(cx, id, ReasonCode::PACKET_TOO_LARGE, why);
        }
        is_small
    }

    /// SUBACK, with the reason for the first refusal where the client wants to know it.
    fn suback(
        &mut self,
        id: ConnectionId,
        version: Version,
        packet_id: PacketId,
        reasons: &[ReasonCode],
        denied: Option<Denied>,
    ) -> Vec<u8> {
        let denied = denied.map(|denied| self.not_allowed(denied));
        let open = self.connections.get_mut(id).and_then(|connection| connection.open());
        let (problems, limit) =
            open.map_or((ProblemInformation::Unwanted, FRAME_MAX), |open| (open.problems, open.max_packet_size));
        let reason_string = reasons
            .iter()
            .find_map(|reason| why(*reason))
            .or(denied.as_deref())
            .filter(|_| problems == ProblemInformation::Wanted);
        let properties = AckProperties { reason_string, ..AckProperties::default() };
        let suback = Suback { id: packet_id, reasons: Reasons::from(reasons), properties };
        let mut frame = Vec::new();
        let fits = Packet::Suback(suback).encode_within(version, limit, &mut frame);
        debug_assert!(fits.is_ok(), "its size was looked at before");
        frame
    }

    /// What is no filter at all makes the packet malformed (§4.13.1): before anything of it is done, the connection ends. 0x8F in SUBACK is for filters that
    /// are well-formed and not accepted (§3.9.3).
    fn check_form<'t>(&mut self, cx: &Cx<'_>, id: ConnectionId, mut filters: impl Iterator<Item = &'t str>) -> bool {
        let error = filters.find_map(|filter| filter.parse::<SubscriptionFilter>().err());
        if let Some(error) = error {
            self.fail(cx, id, ReasonCode::MALFORMED_PACKET, &error.to_string());
        }
        error.is_none()
    }

    fn check_filter(&self, text: &str, options: SubscriptionOptions, offer: Offer) -> Result<SubscriptionFilter, Refused> {
        let filter: SubscriptionFilter = text.parse().map_err(|_| Refused::Entry(ReasonCode::TOPIC_FILTER_INVALID))?;
        let is_shared = filter.share().is_some();
        if is_shared && options.no_local {
            return Err(Refused::Connection(ReasonCode::PROTOCOL_ERROR, "No Local on a shared subscription [MQTT-3.8.3-4]"));
        }
        if is_shared && !offer.shared_subscriptions {
            return Err(Refused::Entry(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED));
        }
        if filter.filter().has_wildcard() && !offer.wildcard_subscriptions {
            return Err(Refused::Entry(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED));
        }
        if filter.filter().levels().count() > usize::from(self.config.topic_levels) {
            return Err(Refused::Entry(ReasonCode::TOPIC_FILTER_INVALID));
        }
        Ok(filter)
    }

    /// Makes or replaces a subscription; visible at once, promised when recorded.
    fn subscribe(
        &mut self,
        cx: &Cx<'_>,
        slot: u32,
        filter: &SubscriptionFilter,
        entry: &SubscribeEntry<'_>,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<(QoS, ChangeSeq), ReasonCode> {
        let options = entry.options;
        let session = &mut self.sessions[slot as usize];
        let known = session.subscription(entry.filter);
        let has_room = session.subscriptions.len() < self.config.subscriptions_max;
        if known.is_err() && (!has_room || session.recorded && self.room == Room::Scarce) {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        let grant = Grant {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling,
            id: subscription_id.and_then(|id| NonZero::new(id.get())),
        };
        session.add_subscription(entry.filter, grant);
        let (no, recorded) = (session.no, session.recorded);
        self.enter_index(cx, slot, filter, entry.filter, grant);
        let wants_retained = filter.share().is_none()
            && match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => known.is_err(),
                RetainHandling::DoNotSend => false,
            };
        let newest = wants_retained.then(|| self.begin_cursor(cx, slot, entry.filter));
        if !recorded {
            return Ok((options.qos, ChangeSeq(0)));
        }
        let grant = grant.to_record(newest.filter(|_| grant.qos > QoS::AtMostOnce));
        let until = self.record(&Record::Subscribed { session: no, filter: entry.filter, grant });
        Ok((options.qos, until))
    }

    /// First the index, then the cursor: what is published in between comes live, and the cursor skips it by its version.
    fn begin_cursor(&mut self, cx: &Cx<'_>, slot: u32, filter: &str) -> MessageId {
        let newest = cx.commons.clock().latest();
        self.sessions[slot as usize].rare().cursors.insert(filter.into(), Cursor { after: None, newest });
        newest
    }

    fn unsubscribe(&mut self, cx: &Cx<'_>, slot: u32, filter: &str) -> Option<ChangeSeq> {
        let session = &mut self.sessions[slot as usize];
        let index = session.subscription(filter).ok()?;
        session.subscriptions.remove(index);
        if let Some(rare) = &mut session.rare {
            rare.cursors.remove(filter);
        }
        let (no, recorded) = (session.no, session.recorded);
        Self::leave_index(cx, filter, no);
        self.leave_group(cx, slot, filter);
        Some(if recorded { self.record(&Record::Unsubscribed { session: no, filter }) } else { ChangeSeq(0) })
    }

    /// `text` is the filter as the client wrote it.
    pub(super) fn enter_index(&mut self, cx: &Cx<'_>, slot: u32, filter: &SubscriptionFilter, text: &str, grant: Grant) {
        let session = &mut self.sessions[slot as usize];
        let reference = session.reference(slot);
        let mut queue = None;
        cx.commons.write_index(&mut |index| {
            index.insert(filter, reference.clone(), grant, cx.commons.versions());
            queue = index.queue_of(filter);
        });
        if let Some(queue) = queue {
            session.join_group(text, queue);
        }
    }

    pub(super) fn leave_index(cx: &Cx<'_>, filter: &str, no: SessionNo) {
        let filter: SubscriptionFilter = filter.parse().expect("a granted filter is valid");
        cx.commons.write_index(&mut |index| {
            index.remove(&filter, no, cx.commons.versions());
        });
    }
}

/// What a bridge means and cannot say in 3.x: its own publications do not come back to it, and RETAIN travels on.
fn options_of_a_bridge(filter: &SubscriptionFilter, asked: SubscriptionOptions) -> SubscriptionOptions {
    SubscriptionOptions { no_local: filter.share().is_none(), retain_as_published: true, ..asked }
}

/// What is said to people about a refused subscription.
fn why(reason: ReasonCode) -> Option<&'static str> {
    match reason {
        ReasonCode::TOPIC_FILTER_INVALID => Some("a topic filter with too many levels"),
        ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => Some("shared subscriptions are not offered"),
        ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Some("topic filters with wildcards are not offered"),
        ReasonCode::QUOTA_EXCEEDED => {
            Some("more subscriptions than one session may have, or no room on the disk for another one")
        }
        _ => None,
    }
}

/// The granted QoS as SUBACK says it [MQTT-3.9.3-2].
fn granted_at(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::GRANTED_QOS_0,
        QoS::AtLeastOnce => ReasonCode::GRANTED_QOS_1,
        QoS::ExactlyOnce => ReasonCode::GRANTED_QOS_2,
    }
}

/// Why an entry of a SUBSCRIBE was not granted.
enum Refused {
    /// Said in SUBACK.
    Entry(ReasonCode),
    /// Said in SUBACK, with the rule.
    ByRule(Denied),
    /// Ends the connection.
    Connection(ReasonCode, &'static str),
}
