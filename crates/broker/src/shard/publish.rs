//! Messages towards us: PUBLISH and PUBREL from clients, and wills (§3.3, §4.3).
//!
//! A publication is one record: the message with all its durable targets. What it promises waits for that record; what a QoS 2
//! publication hands on waits for it too, to all its targets alike, or a crash in between would deliver twice.

use alloc::{sync::Arc, vec, vec::Vec};

use columba_proto::{
    AckKind, PacketId, QoS, ReasonCode, Time, Violation,
    packet::{Ack, Publish},
    qos::Seen,
};
use smallvec::SmallVec;

use super::Shard;
use crate::{
    durable::{MessageRecord, Record, StoredWill, TargetRecord},
    hold::Frame,
    id::{ChangeSeq, ConnectionId, Lane, MessageId, SessionNo, ShardId},
    limits::{ALIAS_BYTES_MAX, WITHHELD_CHECK_MS},
    message::Message,
    route::{Audience, Presence, Receiver, Route},
    seam::{Cx, Delivery, Output, Parcel, ParcelTarget, SubscriptionIds},
    timers::Timer,
};

/// A message on its way in; owned only once somebody has to keep it.
pub(super) struct Publication<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) expires: Option<Time>,
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
    shared: Option<Arc<Message>>,
}

/// A publication at QoS 2 whose record is not on disk yet.
#[derive(Debug)]
pub(super) struct Deferred {
    until: ChangeSeq,
    id: MessageId,
    message: Arc<Message>,
    targets: Vec<ParcelTarget>,
    /// The PUBCOMP that waits with it.
    answer: Option<(ConnectionId, u64)>,
}

/// An acknowledgement that waits for room in a reader's queue.
#[derive(Debug)]
pub(super) struct Withheld {
    reader: Arc<Presence>,
    connection: ConnectionId,
    frame: u64,
}

/// What became of a publication.
struct Accepted {
    /// What its acknowledgement waits for.
    until: ChangeSeq,
    /// Whether anybody gets it.
    found: bool,
    /// Readers without room.
    full: SmallVec<[Arc<Presence>; 2]>,
}

/// Who publishes.
#[derive(Clone, Copy)]
struct Source {
    publisher: Option<SessionNo>,
    lane: Lane,
}

impl<'a> Publication<'a> {
    pub(super) fn of(message: &'a Arc<Message>) -> Self {
        Self {
            topic: &message.topic,
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            properties: message.properties(),
            payload: message.payload(),
            shared: Some(Arc::clone(message)),
        }
    }

    /// The message as something to keep; made once.
    fn message(&mut self) -> Arc<Message> {
        let make =
            || Arc::new(Message::new(Arc::clone(self.topic), self.qos, self.retain, self.expires, self.properties, self.payload));
        Arc::clone(self.shared.get_or_insert_with(make))
    }

    /// Bytes that it stands for.
    fn size(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            topic: self.topic,
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            properties: self.properties,
            payload: self.payload,
        }
    }
}

/// From clients.
impl Shard {
    pub(super) fn on_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, publish: &Publish<'_>) {
        let Some(route) = self.route_of(cx, id, publish) else { return };
        if let Err((reason, why)) = self.check_publish(publish, &route) {
            self.fail(cx, id, reason, why);
            return;
        }
        let mut properties = core::mem::take(&mut self.scratch);
        properties.clear();
        publish.properties.forwarded_block(&mut properties);
        let mut publication = Publication {
            topic: &route.topic,
            qos: publish.qos,
            retain: publish.retain,
            expires: publish.properties.message_expiry.map(|seconds| cx.now.plus_secs(u64::from(seconds))),
            properties: &properties,
            payload: publish.payload,
            shared: None,
        };
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => self.publish_at_least_once(cx, id, packet_id, &route, &mut publication),
            (QoS::ExactlyOnce, Some(packet_id)) => self.store_exactly_once(cx, id, packet_id, &route, &mut publication),
            (QoS::AtMostOnce, _) | (_, None) => {
                if let Some(source) = self.source(id) {
                    let accepted = self.accept(cx, source, &route, &mut publication, None);
                    debug_assert!(accepted.is_ok(), "at QoS 0 nothing is promised, so nothing can fail");
                }
            }
        }
        self.scratch = properties;
    }

    /// Where a PUBLISH goes, its topic alias resolved (§3.3.2.3.4).
    fn route_of(&mut self, cx: &Cx<'_>, id: ConnectionId, publish: &Publish<'_>) -> Option<Arc<Route>> {
        let open = self.connections.get_mut(id)?.open()?;
        if open.aliases.as_ref().is_some_and(|aliases| aliases.bytes() > ALIAS_BYTES_MAX) {
            self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, "topic aliases for more bytes than one client may have");
            return None;
        }
        let topic = match publish.properties.topic_alias {
            None => publish.topic.ok_or(Violation::NoTopic),
            Some(alias) => match open.aliases.as_deref_mut() {
                Some(aliases) => aliases.resolve(publish.topic, Some(alias)),
                None => Err(Violation::TopicAlias { alias: alias.get(), max: 0 }),
            },
        };
        match topic {
            Ok(topic) => Some(self.cache.route(cx, topic.as_str())),
            Err(violation) => {
                self.blame(cx, id, &violation.into());
                None
            }
        }
    }

    fn check_publish(&self, publish: &Publish<'_>, route: &Route) -> Result<(), (ReasonCode, &'static str)> {
        if publish.qos > self.config.max_qos {
            return Err((ReasonCode::QOS_NOT_SUPPORTED, "a QoS above the announced maximum [MQTT-3.2.2-11]"));
        }
        if publish.retain && !self.config.retain {
            return Err((ReasonCode::RETAIN_NOT_SUPPORTED, "RETAIN, though it is announced as not available [MQTT-3.2.2-14]"));
        }
        let levels_max = usize::from(self.config.topic_levels);
        // Fewer bytes than levels: no need to count.
        if route.topic.len() >= levels_max && route.topic.bytes().filter(|byte| *byte == b'/').count() >= levels_max {
            return Err((ReasonCode::TOPIC_NAME_INVALID, "a topic with too many levels"));
        }
        Ok(())
    }

    fn publish_at_least_once(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        packet_id: PacketId,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
    ) {
        let Some(source) = self.begin_receiving(cx, id) else { return };
        let Ok(accepted) = self.accept(cx, source, route, publication, None) else {
            self.refuse_publish(cx, id, AckKind::Puback, packet_id);
            return;
        };
        let reason = if accepted.found { ReasonCode::SUCCESS } else { ReasonCode::NO_MATCHING_SUBSCRIBERS };
        let frame = Frame::Ack { kind: AckKind::Puback, id: packet_id, reason };
        self.answer(cx, id, accepted.until, accepted.full, publication.size(), frame);
    }

    /// Phase one of QoS 2: the message and its identifier are kept, nothing is handed on [MQTT-4.3.3-8].
    fn store_exactly_once(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        packet_id: PacketId,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
    ) {
        let Some(slot) = self.session_of(id) else { return };
        let session = &mut self.sessions[slot as usize];
        let recorded = session.recorded;
        if session.receiver.on_publish(packet_id) == Seen::Repeated {
            // The same message, however often it comes before its PUBREL [MQTT-4.3.3-10].
            let until = if recorded { self.batch.last_append() } else { ChangeSeq(0) };
            self.send(cx, id, until, Frame::Ack { kind: AckKind::Pubrec, id: packet_id, reason: ReasonCode::SUCCESS });
            return;
        }
        if session.receiver.len() >= self.config.awaiting_pubrel_max
            || session.receiver_bytes >= self.config.awaiting_pubrel_bytes_max
        {
            let why = "more QoS 2 messages await their PUBREL than one client may have";
            self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, why);
            return;
        }
        let Some(source) = self.begin_receiving(cx, id) else { return };
        let until = if recorded {
            let no = source.publisher.expect("a connection has a session");
            self.record(&Record::Received { session: no, packet_id, message: publication.record() })
        } else {
            ChangeSeq(0)
        };
        let session = &mut self.sessions[slot as usize];
        session.receiver_bytes += publication.message().size();
        let before = session.receiver.store(packet_id, publication.message());
        debug_assert!(before.is_none(), "a new identifier has nothing stored");
        let found = !route.is_empty();
        let reason = if found { ReasonCode::SUCCESS } else { ReasonCode::NO_MATCHING_SUBSCRIBERS };
        self.send(cx, id, until, Frame::Ack { kind: AckKind::Pubrec, id: packet_id, reason });
    }

    /// Phase two of QoS 2: handed on, and the identifier forgotten, in one [MQTT-4.3.3-11].
    pub(super) fn on_pubrel(&mut self, cx: &Cx<'_>, id: ConnectionId, ack: &Ack<'_>) {
        let Some(slot) = self.session_of(id) else { return };
        let session = &mut self.sessions[slot as usize];
        let (no, recorded) = (session.no, session.recorded);
        let comp = |reason| Frame::Ack { kind: AckKind::Pubcomp, id: ack.id, reason };
        let Some(message) = session.receiver.on_pubrel(ack.id) else {
            let until = if recorded { self.batch.last_append() } else { ChangeSeq(0) };
            self.send(cx, id, until, comp(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
            return;
        };
        session.receiver_bytes -= message.size();
        let route = self.cache.route(cx, &message.topic);
        let source = Source { publisher: Some(no), lane: no.lane() };
        let released = recorded.then_some((no, ack.id));
        let behind = self
            .connections
            .get_mut(id)
            .and_then(|connection| connection.open())
            .map_or(ChangeSeq(0), |open| open.ring.waits_for());
        let mut publication = Publication::of(&message);
        let promise = Promise { released, will_of: None, behind };
        match self.release_exactly_once(cx, source, &route, &mut publication, promise) {
            Ok(Release::AtOnce(full)) => {
                self.answer(cx, id, ChangeSeq(0), full, message.size(), comp(ReasonCode::SUCCESS));
            }
            Ok(Release::Deferred(until)) => {
                let frame = self.send(cx, id, until, comp(ReasonCode::SUCCESS));
                if let (Some(deferred), Some(frame)) = (self.deferred.back_mut(), frame) {
                    deferred.answer = Some((id, frame));
                }
            }
            Err(Unstorable) => {
                self.fail(
                    cx,
                    id,
                    ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                    "the journal failed; a QoS 2 message cannot be released",
                );
            }
        }
    }

    /// One more message of this client is open (§4.9); too many end the connection.
    fn begin_receiving(&mut self, cx: &Cx<'_>, id: ConnectionId) -> Option<Source> {
        let source = self.source(id)?;
        let open = self.connections.get_mut(id)?.open()?;
        if let Err(violation) = open.receiving.take() {
            self.blame(cx, id, &violation.into());
            return None;
        }
        Some(source)
    }

    /// Nothing durable can be promised: an MQTT 5 client hears it, an older one hears nothing.
    fn refuse_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, kind: AckKind, packet_id: PacketId) {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return };
        if open.protocol.version().has_properties() {
            self.send(cx, id, ChangeSeq(0), Frame::Ack { kind, id: packet_id, reason: ReasonCode::QUOTA_EXCEEDED });
        }
    }

    /// Acknowledges, once the change is on disk and every full reader has room.
    fn answer(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        until: ChangeSeq,
        full: SmallVec<[Arc<Presence>; 2]>,
        bytes: usize,
        frame: Frame,
    ) {
        let readers = u16::try_from(full.len()).unwrap_or(u16::MAX);
        let number = self.send_withheld(cx, id, until, readers, frame);
        if let Some(number) = number {
            self.withhold(cx, id, number, full, bytes);
        }
    }

    fn withhold(&mut self, cx: &Cx<'_>, connection: ConnectionId, frame: u64, full: SmallVec<[Arc<Presence>; 2]>, bytes: usize) {
        if full.is_empty() {
            return;
        }
        // The readers' queues grow by the message all the same.
        if let Some(open) = self.connections.get_mut(connection).and_then(|connection| connection.open()) {
            open.held_bytes += bytes;
        }
        self.set_withheld_timer(cx);
        self.withheld.extend(full.into_iter().map(|reader| Withheld { reader, connection, frame }));
    }

    fn set_withheld_timer(&mut self, cx: &Cx<'_>) {
        if !core::mem::replace(&mut self.withheld_timer, true) {
            self.timers.set(cx.now.plus_ms(WITHHELD_CHECK_MS), Timer::Withheld);
        }
    }

    pub(super) fn withheld_timer_passed(&mut self, cx: &Cx<'_>) {
        self.withheld_timer = false;
        self.check_withheld(cx);
        if !self.withheld.is_empty() {
            self.set_withheld_timer(cx);
        }
    }

    /// Lets acknowledgements go whose readers have room again.
    pub(super) fn check_withheld(&mut self, cx: &Cx<'_>) {
        let (wait, go): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.withheld).into_iter().partition(|withheld| withheld.reader.is_full());
        self.withheld = wait;
        for withheld in &go {
            if let Some(open) = self.connections.get_mut(withheld.connection).and_then(|connection| connection.open()) {
                open.ring.settle(withheld.frame);
            }
        }
        for withheld in &go {
            self.release(cx, withheld.connection);
        }
    }

    fn source(&mut self, id: ConnectionId) -> Option<Source> {
        let slot = self.session_of(id)?;
        let no = self.sessions[slot as usize].no;
        Some(Source { publisher: Some(no), lane: no.lane() })
    }

    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<u32> {
        Some(self.connections.get_mut(id)?.open()?.session)
    }
}

/// What a QoS 2 publication has to do with beside its targets.
#[derive(Clone, Copy)]
struct Promise {
    /// The identifier that its record makes free.
    released: Option<(SessionNo, PacketId)>,
    /// Whose will it is.
    will_of: Option<SessionNo>,
    /// What earlier publications of the same connection wait for: nothing passes them [MQTT-4.6.0-6].
    behind: ChangeSeq,
}

/// The journal is lost, and with it any promise.
struct Unstorable;

/// When a QoS 2 publication goes to its targets.
enum Release {
    /// It had no record; these readers have no room.
    AtOnce(SmallVec<[Arc<Presence>; 2]>),
    /// When this is on disk.
    Deferred(ChangeSeq),
}

/// To sessions.
impl Shard {
    /// Takes a publication over: retains it, records what is durable, and hands it on at once.
    fn accept(
        &mut self,
        cx: &Cx<'_>,
        source: Source,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
        will_of: Option<SessionNo>,
    ) -> Result<Accepted, Unstorable> {
        let audience = route.audience(source.publisher, publication.qos, publication.retain);
        let is_promised = publication.qos > QoS::AtMostOnce && audience.any(|receiver| receiver.is_durable());
        let is_durable = will_of.is_some() || publication.retain || is_promised;
        if is_durable && self.journal_failed && publication.qos > QoS::AtMostOnce {
            return Err(Unstorable);
        }
        let found = !audience.is_empty();
        let id = Self::identify(cx, source.lane, publication, found);
        let until = if is_durable {
            let targets = targets(&audience);
            self.record(&Record::Published {
                id,
                message: publication.record(),
                targets,
                sets_retained: publication.retain,
                will_of,
            })
        } else {
            ChangeSeq(0)
        };
        let full = self.hand_on(cx, id, &audience, publication);
        Ok(Accepted { until, found, full })
    }

    /// Takes a QoS 2 publication over; where it has a record, it is handed on when that is on disk.
    fn release_exactly_once(
        &mut self,
        cx: &Cx<'_>,
        source: Source,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
        promise: Promise,
    ) -> Result<Release, Unstorable> {
        let Promise { released, will_of, behind } = promise;
        let audience = route.audience(source.publisher, publication.qos, publication.retain);
        let is_promised = audience.any(|receiver| receiver.is_durable());
        let is_durable = released.is_some() || will_of.is_some() || publication.retain || is_promised;
        if is_durable && self.journal_failed {
            return Err(Unstorable);
        }
        let id = Self::identify(cx, source.lane, publication, true);
        if !is_durable && behind <= self.batch.synced() {
            return Ok(Release::AtOnce(self.hand_on(cx, id, &audience, publication)));
        }
        let sets_retained = publication.retain;
        let until = match released {
            // It has no record: the last append is behind all that it must not pass.
            _ if !is_durable => self.batch.last_append(),
            Some((session, packet_id)) => {
                self.record(&Record::Released { session, packet_id, id, targets: targets(&audience), sets_retained })
            }
            None => {
                let targets = targets(&audience);
                self.record(&Record::Published { id, message: publication.record(), targets, sets_retained, will_of })
            }
        };
        let targets = audience.to_targets();
        self.deferred.push_back(Deferred { until, id, message: publication.message(), targets, answer: None });
        Ok(Release::Deferred(until))
    }

    /// A will is a publication by the server in its client's name.
    pub(super) fn publish_will(
        &mut self,
        cx: &Cx<'_>,
        will: &StoredWill,
        publisher: Option<SessionNo>,
        lane: Lane,
        will_of: Option<SessionNo>,
    ) {
        let route = self.cache.route(cx, &will.message.topic);
        let mut publication = Publication {
            expires: will.message_expiry.map(|seconds| cx.now.plus_secs(u64::from(seconds))),
            shared: None,
            ..Publication::of(&will.message)
        };
        let source = Source { publisher, lane };
        let accepted = if will.message.qos == QoS::ExactlyOnce {
            let promise = Promise { released: None, will_of, behind: ChangeSeq(0) };
            self.release_exactly_once(cx, source, &route, &mut publication, promise).is_ok()
        } else {
            self.accept(cx, source, &route, &mut publication, will_of).is_ok()
        };
        // A will that promises something has a record, and that stands for the next start.
        debug_assert!(accepted || self.journal_failed, "only a failed journal keeps a will back");
    }

    /// Gives the publication its identity; a retained one in the same step in which it replaces the retained message of its topic.
    fn identify(cx: &Cx<'_>, lane: Lane, publication: &mut Publication<'_>, is_wanted: bool) -> MessageId {
        if publication.retain {
            let message = publication.message();
            let mut id = MessageId(0);
            cx.commons.write_retained(&mut |retained| {
                id = cx.commons.clock().message(lane);
                retained.set(id, Arc::clone(&message));
            });
            return id;
        }
        if is_wanted && publication.qos > QoS::AtMostOnce { cx.commons.clock().message(lane) } else { MessageId(0) }
    }

    /// To everyone at once; the answer is who has no room.
    fn hand_on(
        &mut self,
        cx: &Cx<'_>,
        id: MessageId,
        audience: &Audience<'_>,
        publication: &mut Publication<'_>,
    ) -> SmallVec<[Arc<Presence>; 2]> {
        let mut full = SmallVec::new();
        let mut elsewhere: SmallVec<[(ShardId, Vec<ParcelTarget>); 1]> = SmallVec::new();
        audience.each(|receiver| {
            let shard = cx.commons.placement().shard(receiver.session.no.lane());
            if shard == self.id {
                self.deliver_here(cx, id, receiver, publication);
            } else {
                match elsewhere.iter_mut().find(|(to, _)| *to == shard) {
                    Some((_, targets)) => targets.push(receiver.to_target()),
                    None => elsewhere.push((shard, vec![receiver.to_target()])),
                }
            }
            if receiver.qos > QoS::AtMostOnce && receiver.session.presence.is_full() {
                full.push(Arc::clone(&receiver.session.presence));
            }
        });
        for (to, targets) in elsewhere {
            let message = publication.message();
            self.outputs.push_back(Output::ToShard { to, parcel: Parcel::Deliver { id, message, targets } });
        }
        full
    }

    /// Hands on what was waiting for its record.
    pub(super) fn hand_on_deferred(&mut self, cx: &Cx<'_>) {
        while self.deferred.front().is_some_and(|deferred| deferred.until <= self.batch.synced()) {
            let Some(deferred) = self.deferred.pop_front() else { return };
            let audience = Audience::Chosen(deferred.targets.into());
            let full = self.hand_on(cx, deferred.id, &audience, &mut Publication::of(&deferred.message));
            if let Some((connection, frame)) = deferred.answer
                && !full.is_empty()
                && let Some(open) = self.connections.get_mut(connection).and_then(|connection| connection.open())
            {
                open.ring.withhold(frame, u16::try_from(full.len()).unwrap_or(u16::MAX));
                self.withhold(cx, connection, frame, full, deferred.message.size());
            }
        }
    }

    /// What another shard published for sessions of this one.
    pub(super) fn deliver_parcel(&mut self, cx: &Cx<'_>, id: MessageId, message: &Arc<Message>, targets: &[ParcelTarget]) {
        let mut publication = Publication::of(message);
        for target in targets {
            self.deliver_here(cx, id, Receiver::from(target), &mut publication);
        }
    }

    fn deliver_here(&mut self, cx: &Cx<'_>, id: MessageId, receiver: Receiver<'_>, publication: &mut Publication<'_>) {
        if receiver.qos == QoS::AtMostOnce {
            self.deliver_at_most_once(cx, receiver, publication);
            return;
        }
        let delivery = Delivery {
            id,
            message: publication.message(),
            qos: receiver.qos,
            retain: receiver.retain,
            shared: receiver.shared,
            ids: SubscriptionIds::from_slice(receiver.ids),
        };
        self.deliver(cx, receiver.session.slot, receiver.session.no, delivery);
    }
}

fn targets(audience: &Audience<'_>) -> Vec<TargetRecord> {
    let mut targets = Vec::new();
    audience.each(|receiver| {
        if receiver.is_durable() {
            targets.push(TargetRecord {
                session: receiver.session.no,
                qos: receiver.qos,
                retain: receiver.retain,
                subscription_ids: receiver.ids.to_vec(),
                shared: receiver.shared,
            });
        }
    });
    targets
}
