//! A Session (§4.1): subscriptions, the queue, both halves of QoS delivery, the will.

pub(crate) mod missed;
pub(crate) mod queue;
pub(crate) mod will;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

use columba_proto::{
    PacketId, QoS, Time,
    qos::{Receiver, Sender, Sending},
};

use self::{
    missed::{AtMostOnce, Missed},
    queue::{Queue, Stock},
};
use crate::{
    durable::StoredWill,
    id::{ConnectionId, MessageId, SessionNo},
    message::Message,
    route::{Grant, Presence, Publisher, SessionRef},
    seam::{Delivery, StoredRetained},
    stats::Census,
};

/// One Session of this shard.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) no: SessionNo,
    pub(crate) client_id: Arc<str>,
    /// Session Expiry Interval in force, in seconds; `u32::MAX` never ends.
    pub(crate) expiry_s: u32,
    /// Whether its changes go to the journal: it was begun to outlive its connection.
    pub(crate) recorded: bool,
    pub(crate) link: Link,
    /// Sorted by filter: a client may have thousands.
    pub(crate) subscriptions: Vec<Subscription>,
    /// What it has to do with shared subscriptions, if it has or had any.
    pub(crate) membership: Option<Box<Membership>>,
    pub(crate) queue: Queue,
    pub(crate) sender: Sender<Delivery>,
    pub(crate) receiver: Receiver<Arc<Message>>,
    /// What the messages in `receiver` stand for, in bytes.
    pub(crate) receiver_bytes: usize,
    pub(crate) will: Option<Box<StoredWill>>,
    /// What else and rarely: present only while it holds something.
    pub(crate) rare: Option<Box<Rare>>,
    presence: Option<Arc<Presence>>,
}

/// Whether a client is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    Attached(ConnectionId),
    /// Nobody is there `since` then. A client that was there when the broker died has `grace_ms` to come back: before that, neither its will is due nor its
    /// session over.
    Detached {
        since: Time,
        grace_ms: u32,
    },
}

/// A subscription as granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Subscription {
    /// As the client wrote it, `$share/...` included.
    pub(crate) filter: Box<str>,
    pub(crate) grant: Grant,
}

/// What a session has to do with shared subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// Those that it is a member of, in the order of their filters, with their queues.
    pub(crate) groups: Vec<(Box<str>, SessionRef)>,
    /// What they have given to it and has not been sent: there was room for it a moment ago. Goes back when its client does.
    pub(crate) given: VecDeque<Delivery>,
    /// How many messages in the window are theirs.
    pub(crate) claimed: u32,
}

/// State that few sessions have at any one time.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Retained messages still to be taken, a cursor for each filter.
    pub(crate) cursors: BTreeMap<Box<str>, Cursor>,
    /// A timer to take more of them is set.
    pub(crate) retained_timer: bool,
    /// The SUBACK that these wait for, by its number in the ring of the connection.
    pub(crate) suback: Option<u64>,
    /// Retained messages that came from the cold store, by topic.
    pub(crate) loaded_retained: BTreeMap<Arc<str>, StoredRetained>,
    /// They are on their way.
    pub(crate) loads_retained: bool,
    /// Since when the queue has been full.
    pub(crate) full_since: Option<Time>,
    /// The will's number in the journal where the session itself has no records.
    pub(crate) lone_will: Option<SessionNo>,
    /// An administrator has emptied the queue: what came up to here is dropped when it comes to the front.
    pub(crate) purged_to: Option<MessageId>,
    /// What came at QoS 0 while the client was away; never empty.
    missed: Option<Box<Missed>>,
}

/// How far the retained messages that match a new subscription have been taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// The last topic looked at.
    pub(crate) after: Option<Box<str>>,
    /// Versions younger than the subscription come live.
    pub(crate) newest: MessageId,
}

impl Session {
    pub(crate) fn new(no: SessionNo, client_id: Arc<str>, recorded: bool) -> Self {
        Self {
            no,
            client_id,
            expiry_s: 0,
            recorded,
            link: Link::Detached { since: Time(0), grace_ms: 0 },
            subscriptions: Vec::new(),
            membership: None,
            queue: Queue::default(),
            sender: Sender::new(u16::MAX),
            receiver: Receiver::new(),
            receiver_bytes: 0,
            will: None,
            rare: None,
            presence: None,
        }
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Attached(connection) => Some(connection),
            Link::Detached { .. } => None,
        }
    }

    /// How the index and other shards refer to it.
    pub(crate) fn reference(&mut self, slot: u32) -> SessionRef {
        let online = self.connection().is_some();
        let recorded = self.recorded;
        let presence = self.presence.get_or_insert_with(|| {
            let presence = Presence::default();
            presence.set_online(online);
            presence.set_durable(recorded);
            Arc::new(presence)
        });
        SessionRef { no: self.no, slot, presence: Arc::clone(presence) }
    }

    /// Nothing is promised to it any more.
    pub(crate) fn tell_end(&self) {
        if let Some(presence) = &self.presence {
            presence.set_durable(false);
        }
    }

    /// Adds what it has.
    pub(crate) fn count(&self, census: &mut Census) {
        match self.link {
            Link::Attached(_) => census.attached += 1,
            Link::Detached { .. } => census.detached += 1,
        }
        if let Some(membership) = &self.membership {
            census.shared_subscriptions += membership.groups.len() as u64;
        }
        let stock = self.waiting();
        census.queued_messages += stock.messages;
        census.queued_bytes += stock.bytes;
        census.in_flight_out += self.sender.len() as u64;
        for (_, state) in self.sender.iter() {
            match state {
                Sending::AwaitPuback(_) => {}
                Sending::AwaitPubrec(_) => census.awaiting_pubrec += 1,
                Sending::AwaitPubcomp => census.awaiting_pubcomp += 1,
            }
        }
        census.in_flight_in += self.receiver.len() as u64;
    }

    /// What waits for its client, at any QoS.
    pub(crate) fn waiting(&self) -> Stock {
        let (queue, missed) = (self.queue.stock(), self.missed().map(Missed::stock).unwrap_or_default());
        Stock { messages: queue.messages + missed.messages, bytes: queue.bytes + missed.bytes }
    }

    /// What came at QoS 0 while the client was away, and has not been sent.
    pub(crate) fn missed(&self) -> Option<&Missed> {
        self.rare.as_ref()?.missed.as_deref()
    }

    /// One message more of this kind.
    pub(crate) fn add_missed(&mut self, message: AtMostOnce) {
        self.rare().missed.get_or_insert_default().push(message);
    }

    /// Takes out the first of them.
    pub(crate) fn take_missed(&mut self) -> Option<AtMostOnce> {
        let missed = &mut self.rare.as_mut()?.missed;
        let first = missed.as_mut()?.pop();
        missed.take_if(|rest| rest.stock().messages == 0);
        first
    }

    /// As whom it publishes.
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher { session: Some(self.no), lane: self.no.lane() }
    }

    /// It is a member of this shared subscription, whose messages wait there.
    pub(crate) fn join_group(&mut self, filter: &str, queue: SessionRef) {
        let membership = self.membership.get_or_insert_default();
        match membership.groups.binary_search_by(|(known, _)| (**known).cmp(filter)) {
            Ok(at) => membership.groups[at].1 = queue,
            Err(at) => membership.groups.insert(at, (filter.into(), queue)),
        }
    }

    /// It is a member no more; `false`: it was none.
    pub(crate) fn leave_group(&mut self, filter: &str) -> bool {
        let Some(membership) = &mut self.membership else { return false };
        let found = membership.groups.binary_search_by(|(known, _)| (**known).cmp(filter));
        if let Ok(at) = found {
            membership.groups.remove(at);
        }
        found.is_ok()
    }

    /// Takes out the next message that a group has given to it and that has not been sent.
    pub(crate) fn take_given(&mut self) -> Option<Delivery> {
        self.membership.as_mut()?.given.pop_front()
    }

    /// The QoS of that message.
    pub(crate) fn next_given(&self) -> Option<QoS> {
        self.membership.as_ref()?.given.front().map(|delivery| delivery.qos)
    }

    /// A message that a group had given to it is its client's, or goes back.
    pub(crate) fn sub_given(&self) {
        if let Some(presence) = &self.presence {
            presence.sub_given();
        }
    }

    /// One that was sent has left the window.
    pub(crate) fn sub_claimed(&mut self) {
        if let Some(membership) = &mut self.membership {
            membership.claimed -= 1;
        }
        self.sub_given();
    }

    /// Takes out the messages that were sent for these groups and are not acknowledged, in the order in which they were sent.
    pub(crate) fn take_claimed(&mut self, of: impl Fn(SessionNo) -> bool) -> Vec<Delivery> {
        if self.membership.as_ref().is_none_or(|membership| membership.claimed == 0) {
            return Vec::new();
        }
        let is_taken = |delivery: &Delivery| delivery.claim.place().is_some_and(&of);
        let ids: Vec<_> =
            self.sender.iter().filter(|(_, it)| it.message().is_some_and(is_taken)).map(|(packet_id, _)| packet_id).collect();
        let mut taken = Vec::with_capacity(ids.len());
        for packet_id in ids {
            if let Some(Sending::AwaitPuback(delivery)) = self.sender.remove(packet_id) {
                self.sub_claimed();
                taken.push(delivery);
            }
        }
        taken
    }

    /// Tells its groups whether it is away with messages of theirs.
    pub(crate) fn tell_holding(&self) {
        let (Some(membership), Some(presence)) = (&self.membership, &self.presence) else { return };
        let holds = membership.claimed > 0 && self.connection().is_none();
        presence.set_holding(holds);
        for (_, group) in membership.groups.iter().filter(|_| holds) {
            group.presence.set_holding(true);
        }
    }

    /// Tells groups on all shards how busy its client is; the answer is whether it has room. `takes`: bytes can be written to it.
    pub(crate) fn tell_load(&self, takes: bool) -> bool {
        let (Some(membership), Some(presence)) = (&self.membership, &self.presence) else { return false };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let is_free = takes && self.queue.is_drained() && self.sender.has_room();
        let own = count(self.sender.len()).saturating_sub(membership.claimed);
        presence.set_load(is_free.then_some(own), u32::from(self.sender.window()));
        presence.has_room()
    }

    pub(crate) fn attach(&mut self, connection: ConnectionId) {
        self.link = Link::Attached(connection);
        if let Some(presence) = &self.presence {
            presence.set_online(true);
            presence.set_holding(false);
        }
    }

    pub(crate) fn detach(&mut self, since: Time) {
        self.link = Link::Detached { since, grace_ms: 0 };
        if let Some(presence) = &self.presence {
            presence.set_online(false);
        }
    }

    /// Tells publishers on all shards whether acknowledgements to them have to be withheld.
    pub(crate) fn set_full(&mut self, since: Option<Time>) {
        if since.is_some() || self.rare.is_some() {
            self.rare().full_since = since;
        }
        if let Some(presence) = &self.presence {
            presence.set_full(since.is_some());
        }
    }

    /// Tells publishers on all shards whether the queue on disk has room.
    pub(crate) fn set_at_limit(&self, on: bool) {
        if let Some(presence) = &self.presence {
            presence.set_at_limit(on);
        }
    }

    pub(crate) fn full_since(&self) -> Option<Time> {
        self.rare.as_ref().and_then(|rare| rare.full_since)
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether retained messages wait for a SUBACK to leave.
    pub(crate) fn awaits_suback(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.suback.is_some() && !rare.cursors.is_empty())
    }

    /// Gives back the memory that a burst needed: a session that is left or idle has none to spare.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.queue.shrink_to_fit();
        self.sender.shrink_to_fit();
        self.receiver.shrink_to_fit();
    }

    /// When it ends if its client does not come back; `None`: never, or while it is here.
    pub(crate) fn ends_at(&self) -> Option<Time> {
        match self.link {
            Link::Detached { since, grace_ms } if self.expiry_s != u32::MAX => Some(after(since, self.expiry_s, grace_ms)),
            Link::Attached(_) | Link::Detached { .. } => None,
        }
    }

    /// When its will is published if its client does not come back and the session lasts so long (§3.1.3.2.2); `None`: there is none, or while it is here.
    pub(crate) fn will_due_at(&self) -> Option<Time> {
        let Link::Detached { since, grace_ms } = self.link else { return None };
        let will = self.will.as_ref()?;
        Some(after(since, will.delay, grace_ms))
    }

    /// Whether its client was here when the broker died, and may still come back as if nothing had been.
    pub(crate) fn is_in_grace(&self, now: Time) -> bool {
        matches!(self.link, Link::Detached { since, grace_ms } if now < since.plus_ms(u64::from(grace_ms)))
    }

    /// Makes or replaces a subscription. Most sessions have one or two, so the list grows by what it needs.
    pub(crate) fn add_subscription(&mut self, filter: &str, grant: Grant) {
        match self.subscription(filter) {
            Ok(at) => self.subscriptions[at].grant = grant,
            Err(at) => {
                if self.subscriptions.len() < 4 {
                    self.subscriptions.reserve_exact(1);
                }
                self.subscriptions.insert(at, Subscription { filter: filter.into(), grant });
            }
        }
    }

    /// Where the subscription stands, or where it would.
    pub(crate) fn subscription(&self, filter: &str) -> Result<usize, usize> {
        find(&self.subscriptions, filter)
    }
}

/// `interval_s` seconds after `since`, but not before the grace is over.
fn after(since: Time, interval_s: u32, grace_ms: u32) -> Time {
    since.plus_secs(u64::from(interval_s)).max(since.plus_ms(u64::from(grace_ms)))
}

/// Where a filter stands among sorted subscriptions, or where it would.
pub(crate) fn find(subscriptions: &[Subscription], filter: &str) -> Result<usize, usize> {
    subscriptions.binary_search_by(|subscription| (*subscription.filter).cmp(filter))
}

/// What of a session must survive, as plain values, for comparison with the fold of its records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionSnapshot {
    /// Its client.
    pub client_id: Box<str>,
    /// Filters and granted QoS.
    pub subscriptions: BTreeMap<Box<str>, u8>,
    /// Messages not sent yet (the part in memory) or sent and not settled, with their QoS.
    pub undelivered: BTreeMap<MessageId, u8>,
    /// Identifiers given to messages in flight, in order; `None`: awaiting PUBCOMP.
    pub in_flight: Vec<(PacketId, Option<MessageId>)>,
    /// Identifiers awaiting PUBREL.
    pub awaiting_pubrel: Vec<PacketId>,
    /// Whether a will stands.
    pub has_will: bool,
    /// The part of its queue that is only in the cold store.
    pub cold: Option<ColdSnapshot>,
}

/// The part of a queue that is not in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ColdSnapshot {
    /// It begins behind this message.
    pub above: MessageId,
    /// It ends with this one.
    pub up_to: MessageId,
    /// What stands there and is not to be queued.
    pub skip: BTreeSet<MessageId>,
}

impl ColdSnapshot {
    /// Whether a message that stands there is queued.
    pub fn has(&self, id: MessageId) -> bool {
        self.above < id && id <= self.up_to && !self.skip.contains(&id)
    }
}
