//! What administrators see, and what they do.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use columba_proto::{QoS, ReasonCode, Time, TopicName, Version};

use super::{
    Shard,
    handing_on::{Publication, Source},
    own_topics::is_own,
};
use crate::{
    connection::{Connection, Ending, Phase},
    id::{ChangeSeq, ConnectionId, Lane},
    route::{Grant, Publisher, Turn},
    seam::Cx,
    session::{Session, find, queue::Stock},
};

/// A session as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionView {
    /// Its client.
    pub client_id: Arc<str>,
    /// The client's connection, while it is here.
    pub connection: Option<ConnectionView>,
    /// Session Expiry Interval in force, in seconds; `u32::MAX` never ends.
    pub expiry_s: u32,
    /// Whether it is on disk.
    pub durable: bool,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// What waits; after a start without limits of queues only what is in memory.
    pub queued: Stock,
    /// QoS 1 and 2 messages sent and not acknowledged to the end, and how many there may be.
    pub in_flight_out: (usize, u16),
    /// QoS 2 messages received whose PUBREL has not come.
    pub in_flight_in: usize,
    /// Where its will goes, if it has one.
    pub will_topic: Option<Arc<str>>,
}

/// A connection as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionView {
    /// From where.
    pub peer: Box<str>,
    /// As whom, where the client has shown that.
    pub user: Option<Box<str>>,
    /// Protocol version.
    pub version: Version,
    /// Index of the listener in the configuration.
    pub listener: u16,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Bytes that wait to be written to it.
    pub unread_bytes: usize,
}

/// A subscription as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionView {
    /// Whose it is.
    pub client_id: Arc<str>,
    /// Its filter, with `$share/GROUP/` where it is shared.
    pub filter: Box<str>,
    /// What was granted.
    pub grant: Grant,
}

/// Which sessions are looked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those whose client is connected only.
    pub connected: bool,
    /// Those whose client identifier has this in it.
    pub part: Box<str>,
}

/// Why an administrator's publication is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotPublished {
    /// The topic is one of the broker's own.
    OwnTopic,
    /// The configuration does not allow it: its QoS, RETAIN, the levels of its topic, or the length of its payload.
    NotOffered,
    /// It would have to be stored, and cannot be: the disk, or a reader's queue, is full, or the journal has failed.
    Unstorable,
}

impl Shard {
    /// Sessions from slot `from` on, at most `max` of them and out of at most `look` slots, and where to go on.
    pub fn sessions_from(
        &self,
        cx: &Cx<'_>,
        from: usize,
        wanted: &Wanted,
        max: usize,
        look: usize,
    ) -> (Vec<SessionView>, Option<usize>) {
        let mut found = Vec::new();
        let end = self.sessions.capacity();
        for slot in from..from.saturating_add(look).min(end) {
            if found.len() == max {
                return (found, Some(slot));
            }
            let Some(session) = self.sessions.get(slot) else { continue };
            if (session.connection().is_some() || !wanted.connected) && session.client_id.contains(&*wanted.part) {
                found.push(self.view(cx, session));
            }
        }
        let next = from.saturating_add(look);
        (found, (next < end).then_some(next))
    }

    /// The session of a client.
    pub fn session(&self, cx: &Cx<'_>, client_id: &str) -> Option<SessionView> {
        let slot = *self.by_client.get(client_id)?;
        Some(self.view(cx, &self.sessions[slot as usize]))
    }

    /// The subscriptions of a client in the order of their filters, at most `max` of them from number `from` on.
    pub fn subscriptions(&self, client_id: &str, from: usize, max: usize) -> Vec<(Box<str>, Grant)> {
        let Some(&slot) = self.by_client.get(client_id) else { return Vec::new() };
        let all = &self.sessions[slot as usize].subscriptions;
        all.iter().skip(from).take(max).map(|it| (it.filter.clone(), it.grant)).collect()
    }

    /// Subscriptions of all sessions, with this filter where one is given: from a slot and a number in it on, at most `max` of them and out of at most `look` slots;
    /// and where to go on.
    pub fn subscriptions_from(
        &self,
        (first, mut number): (usize, usize),
        filter: Option<&str>,
        max: usize,
        look: usize,
    ) -> (Vec<SubscriptionView>, Option<(usize, usize)>) {
        let mut found = Vec::new();
        let (end, next) = (self.sessions.capacity(), first.saturating_add(look));
        for slot in first..next.min(end) {
            let from = core::mem::take(&mut number);
            if found.len() == max {
                return (found, Some((slot, from)));
            }
            let Some(session) = self.sessions.get(slot) else { continue };
            let all = &session.subscriptions;
            let wanted = match filter {
                Some(filter) => find(all, filter).map_or(0..0, |at| at..at + 1),
                None => from.min(all.len())..all.len(),
            };
            let end = wanted.end.min(wanted.start + max - found.len());
            found.extend(all[wanted.start..end].iter().map(|it| SubscriptionView {
                client_id: Arc::clone(&session.client_id),
                filter: it.filter.clone(),
                grant: it.grant,
            }));
            if end < wanted.end {
                return (found, Some((slot, end)));
            }
        }
        (found, (next < end).then_some((next, 0)))
    }

    /// Ends a client's connection; its session stays, as after any other end. `false`: it has none.
    pub fn kick(&mut self, cx: &Cx<'_>, client_id: &str) -> bool {
        let connection = self.by_client.get(client_id).and_then(|slot| self.sessions[*slot as usize].connection());
        let Some(id) = connection else { return false };
        self.end_by_administrator(cx, id);
        self.end_call(cx);
        true
    }

    /// Ends a client's session with everything in it, and its connection. The answer is the batch of records that has to be on disk for it to stay ended;
    /// `None`: there is none.
    pub fn end_session(&mut self, cx: &Cx<'_>, client_id: &str) -> Option<ChangeSeq> {
        let &slot = self.by_client.get(client_id)?;
        if let Some(id) = self.sessions[slot as usize].connection() {
            self.end_by_administrator(cx, id);
        }
        // It may have ended with its connection.
        if let Some(&slot) = self.by_client.get(client_id) {
            self.delete_session(cx, slot);
        }
        self.end_call(cx);
        // Of one that was never on disk, too: the end of one before it under this identifier may not be there yet.
        Some(self.batch.last_append())
    }

    fn end_by_administrator(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let ending = Ending { reason: ReasonCode::ADMINISTRATIVE_ACTION, is_normal: false, is_ours: true };
        self.end(cx, id, ending, "an administrator ended it");
    }

    /// Publishes in nobody's name. It is taken, not promised: when this returns, the record may not be on disk; the answer is the batch with which it is. Only the
    /// shard of [`Lane`] 0 does this.
    pub fn publish(
        &mut self,
        cx: &Cx<'_>,
        topic: TopicName<'_>,
        qos: QoS,
        retain: bool,
        expiry_s: Option<u32>,
        payload: &[u8],
    ) -> Result<ChangeSeq, NotPublished> {
        if is_own(topic.as_str()) {
            return Err(NotPublished::OwnTopic);
        }
        let levels = topic.levels().count();
        let is_long = levels > usize::from(self.config.topic_levels) || payload.len() > self.config.max_payload;
        if qos > self.config.max_qos || (retain && !self.config.retain) || is_long {
            return Err(NotPublished::NotOffered);
        }
        let route = self.cache.route(cx, topic.as_str());
        let source = Source { publisher: Publisher::default(), lane: Lane(0) };
        let mut publication = Publication {
            topic: &route.topic,
            qos,
            retain,
            expires: self.expires(cx, expiry_s),
            properties: &[],
            payload,
            shared: None,
        };
        let stores = || {
            let audience = route.audience(source.publisher, qos, retain, Turn::Look);
            retain || audience.any(|receiver| receiver.is_durable())
        };
        // A client's next publication would wait for a reader without room; nobody waits here, so this one does not come in.
        let is_full = || {
            let audience = route.audience(source.publisher, qos, retain, Turn::Look);
            audience.any(|receiver| receiver.qos > QoS::AtMostOnce && receiver.session.presence.is_full())
        };
        let is_scarce = self.is_room_scarce() && !publication.is_clearing();
        if (is_scarce && stores())
            || (self.journal_has_failed() && stores())
            || is_full()
            || self.is_beyond_a_limit(source, &route, &publication)
        {
            return Err(NotPublished::Unstorable);
        }
        let taken = self.publish_as_server(cx, source, &mut publication, None);
        self.end_call(cx);
        if taken { Ok(self.batch.last_append()) } else { Err(NotPublished::Unstorable) }
    }

    fn view(&self, cx: &Cx<'_>, session: &Session) -> SessionView {
        SessionView {
            client_id: Arc::clone(&session.client_id),
            connection: session.connection().and_then(|id| self.connections.get(id)).and_then(|it| shown(it, cx.now)),
            expiry_s: session.expiry_s,
            durable: session.recorded,
            subscriptions: session.subscriptions.len(),
            queued: session.waiting(),
            in_flight_out: (session.sender.len(), session.sender.window()),
            in_flight_in: session.receiver.len(),
            will_topic: session.will.as_ref().map(|will| Arc::clone(&will.message.topic)),
        }
    }
}

fn shown(connection: &Connection, now: Time) -> Option<ConnectionView> {
    let open = match &connection.phase {
        Phase::Open(open) => open,
        Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closing => return None,
    };
    Some(ConnectionView {
        peer: connection.origin.peer.clone(),
        user: open.user().map(Box::from),
        version: open.protocol.version(),
        listener: connection.origin.listener,
        for_ms: now.saturating_since(open.since),
        unread_bytes: connection.out.len(),
    })
}
