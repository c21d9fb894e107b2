//! Publications to sessions: what a client, a will or another shard publishes is retained, recorded and handed on.
//!
//! A publication is one record: the message with all its durable targets. What it promises waits for that record; what a QoS 2
//! publication hands on waits for it too, to all its targets alike, or a crash in between would deliver twice (docs/adr/0001, 0005).

use alloc::{sync::Arc, vec, vec::Vec};

use columba_proto::{PacketId, QoS, Time};
use smallvec::SmallVec;

use super::Shard;
use crate::{
    durable::{MessageRecord, PublicationEncoder, StoredWill},
    id::{ChangeSeq, ConnectionId, Lane, MessageId, SessionNo, ShardId},
    message::Message,
    route::{Audience, Presence, Publisher, Receiver, Route, Turn},
    seam::{Cx, Delivery, Output, Parcel, ParcelTarget, SubscriptionIds},
};

/// A message on its way in; owned only once somebody has to keep it.
pub(super) struct Publication<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) expires: Option<Time>,
    pub(super) properties: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) shared: Option<Arc<Message>>,
}

/// Who publishes.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) publisher: Publisher,
    pub(super) lane: Lane,
}

/// What became of a publication.
pub(super) struct Accepted {
    /// What its acknowledgement waits for.
    pub(super) until: ChangeSeq,
    /// Whether anybody gets it.
    pub(super) found: bool,
    /// Readers without room.
    pub(super) full: SmallVec<[Arc<Presence>; 2]>,
}

/// A publication at QoS 2 whose record is not on disk yet.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) until: ChangeSeq,
    pub(super) id: MessageId,
    pub(super) message: Arc<Message>,
    pub(super) targets: Vec<ParcelTarget>,
    /// The PUBCOMP that waits with it.
    pub(super) answer: Option<(ConnectionId, u64)>,
}

/// What a QoS 2 publication has to do with beside its targets.
#[derive(Clone, Copy)]
pub(super) struct Promise {
    /// The identifier that its record makes free.
    pub(super) released: Option<(SessionNo, PacketId)>,
    /// Whose will it is.
    pub(super) will_of: Option<SessionNo>,
    /// What earlier publications of the same connection wait for: nothing passes them [MQTT-4.6.0-6].
    pub(super) behind: ChangeSeq,
}

/// The journal is lost, and with it any promise.
pub(super) struct Unstorable;

/// When a QoS 2 publication goes to its targets.
pub(super) enum Release {
    /// It had no record; these readers have no room.
    AtOnce(SmallVec<[Arc<Presence>; 2]>),
    /// When this is on disk.
    Deferred(ChangeSeq),
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
    pub(super) fn message(&mut self) -> Arc<Message> {
        let make =
            || Arc::new(Message::new(Arc::clone(self.topic), self.qos, self.retain, self.expires, self.properties, self.payload));
        Arc::clone(self.shared.get_or_insert_with(make))
    }

    /// It removes a retained message, which makes room.
    pub(super) fn is_clearing(&self) -> bool {
        self.retain && self.payload.is_empty()
    }

    /// Bytes that it stands for.
    pub(super) fn size(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    pub(super) fn record(&self) -> MessageRecord<'_> {
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

impl Shard {
    /// Takes a publication over: retains it, records what is durable, and hands it on at once.
    pub(super) fn accept(
        &mut self,
        cx: &Cx<'_>,
        source: Source,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
        will_of: Option<SessionNo>,
    ) -> Result<Accepted, Unstorable> {
        let audience = route.audience(source.publisher, publication.qos, publication.retain, Turn::Take);
        let is_promised = publication.qos > QoS::AtMostOnce && audience.any(|receiver| receiver.is_durable());
        let is_durable = will_of.is_some() || publication.retain || is_promised;
        // A will that is in the journal is published by the next start: at QoS 0, too, it would come twice.
        let is_kept = publication.qos > QoS::AtMostOnce || will_of.is_some();
        if is_durable && is_kept && self.journal_has_failed() {
            return Err(Unstorable);
        }
        let found = !audience.is_empty();
        let id = Self::identify(cx, source.lane, publication, found);
        self.note_retained(id, publication);
        let until = if is_durable { self.record_published(id, publication, &audience, will_of) } else { ChangeSeq(0) };
        let full = self.hand_on(cx, id, &audience, publication);
        Ok(Accepted { until, found, full })
    }

    /// Takes a QoS 2 publication over; where it has a record, it is handed on when that is on disk.
    pub(super) fn release_exactly_once(
        &mut self,
        cx: &Cx<'_>,
        source: Source,
        route: &Arc<Route>,
        publication: &mut Publication<'_>,
        promise: Promise,
    ) -> Result<Release, Unstorable> {
        let Promise { released, will_of, behind } = promise;
        let audience = route.audience(source.publisher, publication.qos, publication.retain, Turn::Take);
        let is_promised = audience.any(|receiver| receiver.is_durable());
        let is_durable = released.is_some() || will_of.is_some() || publication.retain || is_promised;
        if is_durable && self.journal_has_failed() {
            return Err(Unstorable);
        }
        let id = Self::identify(cx, source.lane, publication, true);
        self.note_retained(id, publication);
        if !is_durable && behind <= self.batch.synced() {
            return Ok(Release::AtOnce(self.hand_on(cx, id, &audience, publication)));
        }
        let until = match released {
            // It has no record: the last append is behind all that it must not pass.
            _ if !is_durable => self.batch.last_append(),
            Some((session, packet_id)) => self.batch.append_with(|out| {
                let record = PublicationEncoder::released(out, session, packet_id, id, publication.retain);
                finish(record, &audience);
            }),
            None => self.record_published(id, publication, &audience, will_of),
        };
        let targets = audience.to_targets();
        self.deferred.push_back(Deferred { until, id, message: publication.message(), targets, answer: None });
        Ok(Release::Deferred(until))
    }

    fn record_published(
        &mut self,
        id: MessageId,
        publication: &Publication<'_>,
        audience: &Audience<'_>,
        will_of: Option<SessionNo>,
    ) -> ChangeSeq {
        self.batch.append_with(|out| {
            let record = PublicationEncoder::published(out, id, &publication.record(), publication.retain, will_of);
            finish(record, audience);
        })
    }

    /// A will is a publication by the server in its client's name.
    pub(super) fn publish_will(
        &mut self,
        cx: &Cx<'_>,
        will: &StoredWill,
        publisher: Publisher,
        lane: Lane,
        will_of: Option<SessionNo>,
    ) {
        let mut publication = Publication {
            expires: will.message_expiry.map(|seconds| cx.now.plus_secs(u64::from(seconds))),
            shared: None,
            ..Publication::of(&will.message)
        };
        let source = Source { publisher, lane };
        let accepted = self.publish_as_server(cx, source, &mut publication, will_of);
        // A will that promises something has a record, and that stands for the next start.
        debug_assert!(accepted || self.journal_has_failed(), "only a failed journal keeps a will back");
    }

    /// A publication that no connection waits for; `false`: it promises something, and the journal is lost.
    pub(super) fn publish_as_server(
        &mut self,
        cx: &Cx<'_>,
        source: Source,
        publication: &mut Publication<'_>,
        will_of: Option<SessionNo>,
    ) -> bool {
        let route = self.cache.route(cx, publication.topic);
        if publication.qos == QoS::ExactlyOnce {
            let promise = Promise { released: None, will_of, behind: ChangeSeq(0) };
            self.release_exactly_once(cx, source, &route, publication, promise).is_ok()
        } else {
            self.accept(cx, source, &route, publication, will_of).is_ok()
        }
    }

    /// A retained message stays in memory at least until the cold store has it.
    fn note_retained(&mut self, id: MessageId, publication: &Publication<'_>) {
        if publication.retain {
            self.backlog.add(id, publication.size());
        }
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
    pub(super) fn hand_on(
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
            claim: receiver.claim,
            ids: SubscriptionIds::from_slice(receiver.ids),
        };
        if delivery.claim.is_none() {
            self.deliver(cx, receiver.session.slot, receiver.session.no, delivery);
        } else {
            self.wait_in_group(cx, delivery);
        }
    }
}

/// Adds the durable targets and completes the record.
fn finish(mut record: PublicationEncoder<'_>, audience: &Audience<'_>) {
    audience.each(|receiver| {
        if receiver.is_durable() {
            record.target(receiver.session.no, receiver.qos, receiver.retain, receiver.ids);
        }
    });
    record.finish();
}
