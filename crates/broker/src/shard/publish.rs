//! Messages towards us: PUBLISH and PUBREL from clients (§3.3, §4.3).

use alloc::sync::Arc;

use columba_proto::{
    AckKind, PacketId, QoS, ReasonCode, Violation,
    packet::{Ack, Publish},
    qos::Seen,
};

use super::{
    Handled, Shard, Stop,
    handing_on::{Promise, Publication, Release, Source, Unstorable},
};
use crate::{
    connection::{Offer, Publications, Published},
    durable::Record,
    event::DropReason,
    hold::Frame,
    id::{ChangeSeq, ConnectionId},
    limits::{ALIAS_BYTES_MAX, RECEIVER_WORK, REFUSED_CLOSE_MS, RETAINED_WORK},
    route::{Route, Turn},
    seam::Cx,
    timers::Timer,
};

impl Shard {
    pub(super) fn on_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, publish: &Publish<'_>) -> Handled {
        let (route, offer) = match self.route_of(cx, id, publish) {
            Routed::To(route, offer) => (route, offer),
            Routed::Later => return Handled::Later(Stop::Searches),
            Routed::Nowhere => {
                self.counters.publish_received(publish.qos, publish.payload.len());
                return Handled::Here;
            }
        };
        self.counters.publish_received(publish.qos, publish.payload.len());
        self.take(cx, id, publish, &route, offer);
        let receivers = u32::try_from(route.targets.len() + route.groups.len()).unwrap_or(u32::MAX);
        self.spend(receivers.saturating_mul(RECEIVER_WORK));
        if publish.retain {
            self.spend(RETAINED_WORK);
        }
        Handled::Here
    }

    fn take(&mut self, cx: &Cx<'_>, id: ConnectionId, publish: &Publish<'_>, route: &Arc<Route>, offer: Offer) {
        if let Err((reason, why)) = self.check_publish(publish, route, offer) {
            self.fail(cx, id, reason, why);
            return;
        }
        if publish.qos > QoS::AtMostOnce && self.publications_of(id) == Publications::Dropped {
            self.count_unstorable(cx, id);
            return;
        }
        let mut properties = core::mem::take(&mut self.scratch);
        properties.clear();
        publish.properties.forwarded_block(&mut properties);
        let mut publication = Publication {
            topic: &route.topic,
            qos: publish.qos,
            retain: publish.retain,
            expires: self.expires(cx, publish.properties.message_expiry),
            properties: &properties,
            payload: publish.payload,
            shared: None,
        };
        let forbidden = if publish.qos == QoS::AtMostOnce { self.forbidden(id, &route.topic, publish.payload) } else { None };
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => self.publish_at_least_once(cx, id, packet_id, route, &mut publication),
            (QoS::ExactlyOnce, Some(packet_id)) => self.store_exactly_once(cx, id, packet_id, route, &mut publication),
            (QoS::AtMostOnce, _) | (_, None) if forbidden.is_some() => {
                if let Some(why) = forbidden {
                    self.drop_forbidden(cx, id, &route.topic, why);
                }
            }
            (QoS::AtMostOnce, _) | (_, None) if self.has_no_room_to_retain(&publication) => self.count_unstorable(cx, id),
            (QoS::AtMostOnce, _) | (_, None) => {
                if let Some(source) = self.source(id) {
                    let accepted = self.accept(cx, source, route, &mut publication, None);
                    debug_assert!(accepted.is_ok(), "at QoS 0 nothing is promised, so nothing can fail");
                    if accepted.is_ok_and(|accepted| accepted.until > ChangeSeq(0)) {
                        self.note_filling(id);
                    }
                }
            }
        }
        self.scratch = properties;
    }

    /// Where a PUBLISH goes, its topic alias resolved (§3.3.2.3.4), and what its client was told of.
    fn route_of(&mut self, cx: &Cx<'_>, id: ConnectionId, publish: &Publish<'_>) -> Routed {
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return Routed::Nowhere };
        let offer = open.offer;
        if open.published == Published::Nothing {
            open.published = Published::Something;
        }
        if open.aliases.as_ref().is_some_and(|aliases| aliases.bytes() > ALIAS_BYTES_MAX) {
            self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, "topic aliases for more bytes than one client may have");
            return Routed::Nowhere;
        }
        let topic = match publish.properties.topic_alias {
            None => publish.topic.ok_or(Violation::NoTopic),
            Some(alias) => match open.aliases.as_deref_mut() {
                Some(aliases) => aliases.resolve(publish.topic, Some(alias)),
                None => Err(Violation::TopicAlias { alias: alias.get(), max: 0 }),
            },
        };
        let mounted = match (topic, &open.mount) {
            (Ok(topic), None) => Ok(topic),
            (Ok(topic), Some(mount)) => {
                let Ok(topic) = mount.whole(topic.as_str(), &mut self.whole_topic) else {
                    let why = "the topic is too long behind the listener's mount point";
                    self.fail(cx, id, ReasonCode::TOPIC_NAME_INVALID, why);
                    return Routed::Nowhere;
                };
                Ok(topic)
            }
            (Err(violation), _) => Err(violation),
        };
        match mounted {
            Ok(topic) => match self.cache.route_within(cx, topic.as_str(), &mut self.work, self.turns.unfinished()) {
                Some(route) => {
                    if let Some(pace) = &mut open.pace {
                        pace.spend_message();
                    }
                    Routed::To(route, offer)
                }
                None => Routed::Later,
            },
            Err(violation) => {
                self.blame(cx, id, &violation.into());
                Routed::Nowhere
            }
        }
    }

    fn check_publish(&self, publish: &Publish<'_>, route: &Route, offer: Offer) -> Result<(), (ReasonCode, &'static str)> {
        if publish.qos > offer.max_qos {
            return Err((ReasonCode::QOS_NOT_SUPPORTED, "a QoS above the announced maximum [MQTT-3.2.2-11]"));
        }
        if publish.retain && !offer.retain {
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
        if let Some(why) = self.forbidden(id, &route.topic, publication.payload) {
            self.refuse_forbidden(cx, id, AckKind::Puback, packet_id, &route.topic, why);
            return;
        }
        let is_scarce = self.is_room_scarce() && !publication.is_clearing();
        let is_refused =
            (is_scarce && needs_journal(source, route, publication)) || self.is_beyond_a_limit(source, route, publication);
        if is_refused {
            self.refuse_publish(cx, id, AckKind::Puback, packet_id);
            return;
        }
        let Ok(accepted) = self.accept(cx, source, route, publication, None) else {
            self.refuse_publish(cx, id, AckKind::Puback, packet_id);
            return;
        };
        if accepted.until > ChangeSeq(0) {
            self.note_filling(id);
        }
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
        if let Some(why) = self.forbidden(id, &route.topic, publication.payload) {
            self.refuse_forbidden(cx, id, AckKind::Pubrec, packet_id, &route.topic, why);
            return;
        }
        // A PUBREC is a promise that PUBREL cannot take back, so it is judged here.
        let is_scarce = self.is_room_scarce() && !publication.is_clearing();
        let is_refused = (self.journal_has_failed() && needs_journal(source, route, publication))
            || (is_scarce && (recorded || needs_journal(source, route, publication)))
            || self.is_beyond_a_limit(source, route, publication);
        if is_refused {
            self.refuse_publish(cx, id, AckKind::Pubrec, packet_id);
            return;
        }
        let until = if recorded {
            let no = source.publisher.session.expect("a connection has a session");
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
        let (no, recorded, publisher) = (session.no, session.recorded, session.publisher());
        let comp = |reason| Frame::Ack { kind: AckKind::Pubcomp, id: ack.id, reason };
        let Some(message) = session.receiver.on_pubrel(ack.id) else {
            let until = if recorded { self.batch.last_append() } else { ChangeSeq(0) };
            self.send(cx, id, until, comp(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
            return;
        };
        session.receiver_bytes -= message.size();
        let route = self.cache.route(cx, &message.topic);
        let source = Source { publisher, lane: no.lane() };
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
                self.note_filling(id);
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

    /// Nothing durable can be promised: an MQTT 5 client hears it, and an older one is not listened to any more.
    fn refuse_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, kind: AckKind, packet_id: PacketId) {
        self.count_unstorable(cx, id);
        let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) else { return };
        if open.protocol.version().has_properties() {
            self.send(cx, id, ChangeSeq(0), Frame::Ack { kind, id: packet_id, reason: ReasonCode::QUOTA_EXCEEDED });
            return;
        }
        open.publications = Publications::Dropped;
        self.timers.set(cx.now.plus_ms(REFUSED_CLOSE_MS), Timer::Refused(id));
    }

    pub(super) fn refused_long_enough(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        self.fail(cx, id, ReasonCode::QUOTA_EXCEEDED, "its publications cannot be stored");
    }

    /// A retained message at QoS 0 may be lost like any other of QoS 0, and while the disk is nearly full it is: it would take from the reserve.
    fn has_no_room_to_retain(&self, publication: &Publication<'_>) -> bool {
        publication.retain && !publication.is_clearing() && self.is_room_scarce()
    }

    fn publications_of(&mut self, id: ConnectionId) -> Publications {
        let open = self.connections.get_mut(id).and_then(|connection| connection.open());
        open.map_or(Publications::Judged, |open| open.publications)
    }

    fn count_unstorable(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        if let Some(slot) = self.session_of(id) {
            self.dropped(cx, slot as usize, DropReason::Unstorable);
        }
    }

    fn note_filling(&mut self, id: ConnectionId) {
        if let Some(open) = self.connections.get_mut(id).and_then(|connection| connection.open()) {
            open.published = Published::IntoQueues;
        }
    }

    fn source(&mut self, id: ConnectionId) -> Option<Source> {
        let slot = self.session_of(id)?;
        let session = &self.sessions[slot as usize];
        Some(Source { publisher: session.publisher(), lane: session.no.lane() })
    }

    pub(super) fn session_of(&mut self, id: ConnectionId) -> Option<u32> {
        Some(self.connections.get_mut(id)?.open()?.session)
    }
}

/// Where a PUBLISH goes.
enum Routed {
    To(Arc<Route>, Offer),
    /// It takes longer to find out than its client may take in one turn.
    Later,
    /// It broke the standard.
    Nowhere,
}

/// Whether what this publication promises has to be on disk.
fn needs_journal(source: Source, route: &Arc<Route>, publication: &Publication<'_>) -> bool {
    let audience = route.audience(source.publisher, publication.qos, publication.retain, Turn::Look);
    publication.retain || audience.any(|receiver| receiver.is_durable())
}
