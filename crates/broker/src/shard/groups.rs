//! The queues of shared subscriptions: a message is its group's until a member has acknowledged it (§4.8.2, docs/adr/0026).
//!
//! The queue of a group lives on the shard of its place, and all of the group's messages above QoS 0 come to it. It gives them one by one to members that are online and
//! have room; what a member cannot send any more comes back. So in memory a message is in one hand, the queue's or one member's, and the journal knows only the
//! group's place: giving and coming back cost no record.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::num::NonZero;

use columba_proto::{ReasonCode, SubscriptionFilter, Time};
use smallvec::SmallVec;

use super::{Shard, limit::exceeds, paging::cost};
use crate::{
    durable::{MessageRecord, Record, RecoveredGroup, TargetRecord},
    event::DropReason,
    id::{ChangeSeq, GroupKey, MessageId, SessionNo, ShardId},
    limits::{GROUP_PASSED_MAX, QueueFull},
    route::{Claim, Group, Member, Presence, Publisher, SessionRef, Strategy},
    seam::{Cx, Delivery, Output, Parcel},
    session::queue::{ColdPart, Front, HotWindow, Queue},
    stats::Census,
    timers::Timer,
};

/// What waits for any member of a shared subscription.
#[derive(Debug)]
pub(super) struct GroupQueue {
    pub(super) queue: Queue,
    /// As publishers and members see it, and how clients write it, once it has been looked up.
    known: Option<(Arc<Presence>, Arc<str>)>,
    /// Messages that are not in the journal, and their bytes.
    volatile: (usize, usize),
    /// A member outlives its connection: what comes is recorded, and publishers do not wait for members that are away.
    lasts: bool,
    /// The last recorded message that came since it was served, and the bytes of all these.
    arrived: (MessageId, usize),
    /// Members are told that messages wait.
    is_waiting: bool,
    /// Since when publishers wait for room, or since a member took something meanwhile.
    stuck_since: Option<Time>,
    /// It is served at the end of this call.
    is_due: bool,
}

/// Work of groups that is done at the end of a call, where no connection is being served.
#[derive(Debug, Default)]
pub(super) struct GroupWork {
    /// Queues that are to be served.
    due: Vec<SessionNo>,
    /// Parcels for this very shard.
    parcels: VecDeque<Parcel>,
}

impl GroupQueue {
    fn new(queue: Queue) -> Self {
        let arrived = (MessageId(0), 0);
        Self { queue, known: None, volatile: (0, 0), lasts: false, arrived, is_waiting: false, stuck_since: None, is_due: false }
    }

    fn tell(&self, tell: impl Fn(&Presence)) {
        if let Some((presence, _)) = &self.known {
            tell(presence);
        }
    }

    /// All members may have gone, and others have made the group anew.
    fn know(&mut self, group: &Group) {
        self.lasts = group.claim.is_recorded();
        if self.known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &group.queue.presence)) {
            return;
        }
        self.tell(forget);
        self.known = Some((Arc::clone(&group.queue.presence), Arc::clone(&group.filter)));
        self.tell(|it| {
            it.set_waiting(self.is_waiting);
            it.set_full(self.stuck_since.is_some());
        });
    }

    fn push(&mut self, delivery: Delivery) {
        if !delivery.claim.is_recorded() {
            self.volatile.0 += 1;
            self.volatile.1 += delivery.message.size();
        }
        self.queue.push(delivery);
    }

    fn take(&mut self, at: usize) -> Option<Delivery> {
        let delivery = self.queue.take(at)?;
        if !delivery.claim.is_recorded() {
            self.volatile.0 -= 1;
            self.volatile.1 -= delivery.message.size();
        }
        Some(delivery)
    }

    /// Whether it has less in memory alone than these bounds, or will have no more.
    fn is_within(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.lasts || self.volatile.0 < messages_max && self.volatile.1 < bytes_max
    }

    /// Whose messages are dropped, as far as it is known.
    fn name(&self, delivery: &Delivery) -> Arc<str> {
        Arc::clone(self.known.as_ref().map_or(&delivery.message.topic, |(_, filter)| filter))
    }
}

/// Nobody waits for what a queue says that is not there any more.
fn forget(presence: &Presence) {
    presence.set_waiting(false);
    presence.set_full(false);
    presence.set_at_limit(false);
}

/// Into the queue.
impl Shard {
    /// A message for whichever member is first.
    pub(super) fn wait_in_group(&mut self, cx: &Cx<'_>, delivery: Delivery) {
        let Some(no) = delivery.claim.place() else { return };
        let is_recorded = delivery.claim.is_recorded();
        let group = self.group_mut(cx, no);
        let stock = group.queue.stock();
        if is_recorded && self.config.queue_full == QueueFull::DropNewest && self.is_at_limit(stock) {
            self.drop_from_group(cx, no, &delivery, DropReason::QueueFull);
            return;
        }
        let group = self.group_mut(cx, no);
        if is_recorded {
            group.arrived = (delivery.id.max(group.arrived.0), group.arrived.1 + cost(&delivery));
        }
        group.push(delivery);
        self.serve_soon(no);
    }

    fn group_mut(&mut self, cx: &Cx<'_>, no: SessionNo) -> &mut GroupQueue {
        // What members of an earlier one may still have is not read again from the cold store.
        self.groups.entry(no).or_insert_with(|| GroupQueue::new(Queue::beginning_behind(cx.commons.clock().latest())))
    }

    /// Back from a member that cannot have it.
    pub(super) fn take_back(&mut self, cx: &Cx<'_>, delivery: Delivery) {
        let Some(no) = delivery.claim.place() else { return };
        self.group_mut(cx, no).push(delivery);
        self.serve_soon(no);
    }

    fn give_back(&mut self, cx: &Cx<'_>, delivery: Delivery) {
        if let Some(no) = delivery.claim.place() {
            self.post(cx, no, Parcel::Returned { delivery });
        }
    }

    /// To the shard of a session or a group, which may be this one.
    fn post(&mut self, cx: &Cx<'_>, no: SessionNo, parcel: Parcel) {
        let to: ShardId = cx.commons.placement().shard(no.lane());
        if to == self.id {
            self.group_work.parcels.push_back(parcel);
        } else {
            self.outputs.push_back(Output::ToShard { to, parcel });
        }
    }

    pub(super) fn serve_soon(&mut self, no: SessionNo) {
        if let Some(group) = self.groups.get_mut(&no)
            && !core::mem::replace(&mut group.is_due, true)
        {
            self.group_work.due.push(no);
        }
    }

    /// Does the next piece of what groups have to do at the end of a call; `false`: there is none.
    pub(super) fn work_for_groups(&mut self, cx: &Cx<'_>) -> bool {
        if let Some(parcel) = self.group_work.parcels.pop_front() {
            self.take_parcel(cx, parcel);
        } else if let Some(no) = self.group_work.due.pop() {
            self.serve(cx, no);
        } else {
            return false;
        }
        true
    }
}

/// Out of the queue.
impl Shard {
    /// Gives members what they have room for.
    fn serve(&mut self, cx: &Cx<'_>, no: SessionNo) {
        self.hear_knock(no);
        let mut at = 0;
        while let Some(group) = self.groups.get_mut(&no) {
            let Some(delivery) = group.queue.ready(at) else {
                self.reached_the_end(no, at);
                break;
            };
            let (message, id, claim) = (Arc::clone(&delivery.message), delivery.id, delivery.claim);
            let route = self.cache.route(cx, &message.topic);
            let Some(found) = route.groups.iter().find(|it| it.queue.no == no) else {
                self.drop_waiting(cx, no, at, DropReason::SessionEnded);
                continue;
            };
            group.know(found);
            if message.is_expired(cx.now) {
                self.drop_waiting(cx, no, at, DropReason::Expired);
                continue;
            }
            if claim.is_recorded() && self.journal_has_failed() {
                // The next start finds it where it stands.
                break;
            }
            match found.taker(Publisher { session: None, lane: id.lane() }) {
                Some(member) => self.give(cx, no, at, member),
                // Who has found room by now is seen at a second look, and who finds it later sees this.
                None if self.say_waiting(no) => {}
                None if can_be_passed(found.strategy) && at < GROUP_PASSED_MAX => at += 1,
                None => break,
            }
        }
        if let Some(group) = self.groups.get_mut(&no) {
            group.is_due = false;
        }
        self.note_group(cx, no);
    }

    fn hear_knock(&mut self, no: SessionNo) {
        if let Some(group) = self.groups.get(&no)
            && group.is_waiting
        {
            group.tell(Presence::hear_knock);
        }
    }

    /// Tells members that messages wait; `false`: they know it.
    fn say_waiting(&mut self, no: SessionNo) -> bool {
        let Some(group) = self.groups.get_mut(&no) else { return false };
        let is_new = !core::mem::replace(&mut group.is_waiting, true);
        if is_new {
            group.tell(|it| {
                it.hear_knock();
                it.set_waiting(true);
            });
        }
        is_new
    }

    /// Nothing more is ready; so many messages were passed.
    fn reached_the_end(&mut self, no: SessionNo, passed: usize) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        if passed > 0 {
            return;
        }
        match group.queue.front() {
            Front::Load(after) => self.load(no, after),
            // It came from the disk, and has no members any more.
            Front::Empty if group.known.is_none() => drop(self.groups.remove(&no)),
            Front::Empty => {
                if core::mem::replace(&mut group.is_waiting, false) {
                    group.tell(|it| it.set_waiting(false));
                }
            }
            Front::Ready | Front::Loading => {}
        }
    }

    /// Gives the message at a place of the queue to a member.
    fn give(&mut self, cx: &Cx<'_>, no: SessionNo, at: usize, member: &Member) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(mut delivery) = group.take(at) else { return };
        group.stuck_since = group.stuck_since.map(|_| cx.now);
        if let Some(after) = group.queue.read_ahead() {
            self.load(no, after);
        }
        delivery.qos = delivery.message.qos.min(member.grant.qos);
        delivery.retain = delivery.message.retain && member.grant.retain_as_published;
        delivery.ids = member.grant.id.map(NonZero::get).into_iter().collect();
        member.session.presence.add_given();
        let to: ShardId = cx.commons.placement().shard(member.session.no.lane());
        if to == self.id {
            self.take_given(cx, delivery, &member.session);
        } else {
            let parcel = Parcel::Given { delivery, to: member.session.clone() };
            self.outputs.push_back(Output::ToShard { to, parcel });
        }
    }

    /// A message leaves the queue for nobody.
    fn drop_waiting(&mut self, cx: &Cx<'_>, no: SessionNo, at: usize, reason: DropReason) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(delivery) = group.take(at) else { return };
        self.drop_from_group(cx, no, &delivery, reason);
    }

    fn drop_from_group(&mut self, cx: &Cx<'_>, no: SessionNo, delivery: &Delivery, reason: DropReason) {
        let Some(group) = self.groups.get(&no) else { return };
        let name = group.name(delivery);
        self.record_left(delivery);
        if reason == DropReason::QueueFull {
            self.lay_aside(no, &name, delivery);
        }
        self.count_drop(cx, name, reason, 1);
    }

    /// A message is its group's no more. The answer is what a frame must wait for that can only be right then.
    pub(super) fn record_left(&mut self, delivery: &Delivery) -> ChangeSeq {
        match delivery.claim.place() {
            Some(session) if delivery.claim.is_recorded() => self.record(&Record::Dropped { session, message: delivery.id }),
            Some(_) | None => ChangeSeq(0),
        }
    }

    /// What was sent to a member at QoS 1 is its client's, or ends with a refusal [MQTT-4.8.2-6].
    pub(super) fn acknowledged_for_group(&mut self, slot: u32, delivery: &Delivery) {
        self.record_left(delivery);
        self.sessions[slot as usize].sub_claimed();
    }

    /// A message of a group becomes the session's own: it is about to be sent at QoS 2, ends with this session, and is nobody else's [MQTT-4.8.2-4] [MQTT-4.8.2-5].
    /// The answer is what its PUBLISH waits for.
    ///
    /// In the session it has an identity of its own: the same publication can be there by a subscription of the session's, and by another group.
    pub(super) fn become_own(&mut self, cx: &Cx<'_>, slot: u32, delivery: &mut Delivery) -> ChangeSeq {
        let session = &mut self.sessions[slot as usize];
        let no = session.no;
        let group_is = Delivery { message: Arc::clone(&delivery.message), ids: SmallVec::new(), ..*delivery };
        delivery.claim = Claim::default();
        let mut until = ChangeSeq(0);
        if session.recorded {
            delivery.id = cx.commons.clock().message(no.lane());
            session.queue.pass(delivery.id);
            let target =
                TargetRecord { session: no, qos: delivery.qos, retain: delivery.retain, subscription_ids: delivery.ids.to_vec() };
            let message = MessageRecord::from(&*delivery.message);
            let targets = alloc::vec![target];
            until = self.record(&Record::Published { id: delivery.id, message, targets, sets_retained: false, will_of: None });
        }
        until.max(self.record_left(&group_is))
    }
}

/// Whether what comes behind a message may be for somebody else.
fn can_be_passed(strategy: Strategy) -> bool {
    match strategy {
        Strategy::HashTopic | Strategy::HashClient => true,
        Strategy::RoundRobin | Strategy::LeastInFlight | Strategy::Sticky => false,
    }
}

/// Bounds.
impl Shard {
    /// Keeps the limits of a queue that was served, and tells publishers whether it has room.
    fn note_group(&mut self, cx: &Cx<'_>, no: SessionNo) {
        if self.config.limits_queues() {
            self.keep_group_limit(cx, no);
        }
        let (messages_max, bytes_max) = (self.config.ephemeral_queue_max, self.config.ephemeral_queue_bytes_max);
        let Some(group) = self.groups.get_mut(&no) else { return };
        let (newest, bytes) = core::mem::replace(&mut group.arrived, (MessageId(0), 0));
        if bytes > 0 && !group.queue.is_drained() {
            self.backlog.add(newest, bytes);
        }
        if !group.is_within(messages_max, bytes_max) {
            if group.stuck_since.is_none() {
                group.stuck_since = Some(cx.now);
                group.tell(|it| it.set_full(true));
                self.timers.set(cx.now.plus_ms(self.config.slow_consumer_timeout_ms), Timer::StuckGroup(no));
            }
        } else if group.is_within(messages_max / 2 + 1, bytes_max / 2 + 1) && group.stuck_since.take().is_some() {
            group.tell(|it| it.set_full(false));
            self.check_withheld(cx);
        }
    }

    /// The queue on disk has the limit of a session's. `disconnect` has nobody to send away, and drops the oldest.
    fn keep_group_limit(&mut self, cx: &Cx<'_>, no: SessionNo) {
        let drops = matches!(self.config.queue_full, QueueFull::DropOldest | QueueFull::Disconnect);
        while let Some(group) = self.groups.get_mut(&no) {
            let stock = group.queue.stock();
            if !drops || !exceeds(stock, self.config.queue_messages_max, self.config.queue_bytes_max) {
                let is_at_limit = self.is_at_limit(stock);
                self.groups[&no].tell(|it| it.set_at_limit(is_at_limit));
                return;
            }
            match group.queue.front() {
                Front::Ready => self.drop_waiting(cx, no, 0, DropReason::QueueFull),
                Front::Load(after) => {
                    self.load(no, after);
                    return;
                }
                Front::Loading | Front::Empty => return,
            }
        }
    }

    /// Nobody has taken anything from a full queue for too long: its members go, so that one of them may come back and do better.
    pub(super) fn check_stuck_group(&mut self, cx: &Cx<'_>, no: SessionNo) {
        let Some(group) = self.groups.get_mut(&no) else { return };
        let Some(since) = group.stuck_since else { return };
        let at = since.plus_ms(self.config.slow_consumer_timeout_ms);
        if at > cx.now {
            self.timers.set(at, Timer::StuckGroup(no));
            return;
        }
        group.stuck_since = Some(cx.now);
        self.timers.set(cx.now.plus_ms(self.config.slow_consumer_timeout_ms), Timer::StuckGroup(no));
        let Some((_, filter)) = &group.known else { return };
        let Some(group) = group_of(cx, filter) else { return };
        if group.claim.is_recorded() {
            // It has a lasting member since; a look at the queue finds that.
            self.serve_soon(no);
            return;
        }
        for member in group.members.iter().filter(|it| it.session.presence.is_online()) {
            self.post(cx, member.session.no, Parcel::SendAway { session: member.session.clone() });
        }
    }

    pub(super) fn send_away(&mut self, cx: &Cx<'_>, session: &SessionRef) {
        let session = self.sessions.get(session.slot as usize).filter(|it| it.no == session.no);
        if let Some(id) = session.and_then(|session| session.connection()) {
            self.fail(
                cx,
                id,
                ReasonCode::QUOTA_EXCEEDED,
                "its shared subscription's queue is full, and nobody takes anything from it",
            );
        }
    }

    /// What is in the cold store goes from memory, but for a window at the front.
    pub(super) fn evict_groups(&mut self, stored: MessageId) {
        let keep = HotWindow { messages: self.config.hot_messages, bytes: self.config.hot_bytes };
        for group in self.groups.values_mut().filter(|group| group.queue.len() > 0) {
            group.queue.pin(|delivery| !delivery.claim.is_recorded());
            let _has_more = group.queue.evict(stored, keep);
        }
    }
}

/// Members.
impl Shard {
    /// Adds what waits in queues of groups.
    pub(super) fn count_groups(&self, census: &mut Census) {
        for stock in self.groups.values().map(|group| group.queue.stock()) {
            census.queued_messages += stock.messages;
            census.queued_bytes += stock.bytes;
        }
    }

    /// A group has given a message to a session of this shard.
    pub(super) fn take_given(&mut self, cx: &Cx<'_>, delivery: Delivery, to: &SessionRef) {
        let session = self.sessions.get_mut(to.slot as usize).filter(|it| it.no == to.no && it.connection().is_some());
        let Some(session) = session else {
            to.presence.sub_given();
            self.give_back(cx, delivery);
            return;
        };
        session.membership.get_or_insert_default().given.push_back(delivery);
        self.pump(cx, to.slot);
    }

    /// How busy a member is; groups with messages for it hear of room.
    pub(super) fn tell_load(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &self.sessions[slot as usize];
        let Some(membership) = &session.membership else { return };
        let connection = session.connection().and_then(|id| self.connections.get(id));
        let has_room = connection.is_some_and(|it| it.out.len() <= self.config.deliver_ahead_max);
        let takes = has_room && !session.connection().is_some_and(|id| self.is_held_back(id));
        if !session.tell_load(takes) {
            return;
        }
        let waiting = membership.groups.iter().filter(|(_, group)| group.presence.is_waiting());
        let waiting: SmallVec<[SessionRef; 2]> = waiting.map(|(_, group)| group.clone()).collect();
        for group in waiting {
            self.knock(cx, &group);
        }
    }

    fn knock(&mut self, cx: &Cx<'_>, group: &SessionRef) {
        if cx.commons.placement().shard(group.no.lane()) == self.id {
            self.serve_soon(group.no);
        } else if group.presence.knock() {
            self.post(cx, group.no, Parcel::Knock { group: group.no });
        }
    }

    /// A member is there: what waits, or what others hold who are away, may be for it.
    pub(super) fn attend_groups(&mut self, cx: &Cx<'_>, slot: u32) {
        let Some(membership) = &self.sessions[slot as usize].membership else { return };
        let held = membership.groups.iter().filter(|(_, group)| group.presence.is_holding());
        let held: Vec<_> = held.map(|(filter, group)| (group.no, filter.clone())).collect();
        for (no, filter) in held {
            self.post(cx, no, Parcel::Attend { filter });
        }
        self.tell_load(cx, slot);
    }

    /// The connection of a member has ended and its session goes on. What was not sent goes back; what was sent at QoS 1 stays until another member is there.
    pub(super) fn leave_groups(&mut self, cx: &Cx<'_>, slot: u32) {
        self.give_back_unsent(cx, slot);
        let session = &mut self.sessions[slot as usize];
        let Some(membership) = &session.membership else { return };
        let own: SmallVec<[SessionNo; 2]> = membership.groups.iter().map(|(_, group)| group.no).collect();
        // Of a group that it has left nobody will ask for it.
        let of_others = session.take_claimed(|place| !own.contains(&place));
        session.tell_holding();
        for delivery in of_others {
            self.give_back(cx, delivery);
        }
        let Some(membership) = &self.sessions[slot as usize].membership else { return };
        let holds = membership.claimed > 0;
        let groups: Vec<_> = membership.groups.iter().map(|(filter, group)| (group.clone(), filter.clone())).collect();
        for (group, filter) in groups {
            if holds {
                self.post(cx, group.no, Parcel::Attend { filter });
            } else if group.presence.is_waiting() {
                // What waited for this member by an affinity is now for another one.
                self.knock(cx, &group);
            }
        }
    }

    fn give_back_unsent(&mut self, cx: &Cx<'_>, slot: u32) {
        while let Some(delivery) = self.sessions[slot as usize].take_given() {
            self.sessions[slot as usize].sub_given();
            self.give_back(cx, delivery);
        }
    }

    /// A session ends, and has left the index: what its client has not acknowledged goes back [MQTT-4.8.2-5].
    pub(super) fn give_back_all(&mut self, cx: &Cx<'_>, slot: u32) {
        self.give_back_unsent(cx, slot);
        let session = &mut self.sessions[slot as usize];
        let claimed = session.take_claimed(|_| true);
        let groups = session.membership.take().map(|membership| membership.groups).unwrap_or_default();
        for delivery in claimed {
            self.give_back(cx, delivery);
        }
        for (filter, group) in groups {
            self.post(cx, group.no, Parcel::Attend { filter });
        }
    }

    /// A member has left the index by UNSUBSCRIBE.
    pub(super) fn leave_group(&mut self, cx: &Cx<'_>, slot: u32, filter: &str) {
        if self.sessions[slot as usize].leave_group(filter) {
            self.post(cx, GroupKey::of(filter).place(), Parcel::Attend { filter: filter.into() });
        }
    }

    /// Something has changed among the members of a group.
    pub(super) fn attend(&mut self, cx: &Cx<'_>, filter: &str) {
        let place = GroupKey::of(filter).place();
        match queue_of(cx, filter) {
            None => self.close_group(cx, place),
            Some(queue) if queue.presence.is_holding() => self.recall_held(cx, filter),
            Some(_) => {}
        }
        self.serve_soon(place);
    }

    /// Asks members that are away for what they hold, where another one is there.
    fn recall_held(&mut self, cx: &Cx<'_>, filter: &str) {
        let Some(group) = group_of(cx, filter) else { return };
        if !group.is_attended() {
            // Who comes after this look sees that something is held, and asks again.
            return;
        }
        group.queue.presence.set_holding(false);
        let held = group.members.iter().filter(|it| !it.session.presence.is_online() && it.session.presence.is_holding());
        for member in held {
            let (session, group) = (member.session.clone(), group.queue.no);
            self.post(cx, session.no, Parcel::Recall { session, group });
        }
    }

    /// Another member is there for what this one, which is away, was sent at QoS 1 and has not acknowledged. A QoS 2 message once sent is its own.
    pub(super) fn recall(&mut self, cx: &Cx<'_>, session: &SessionRef, group: SessionNo) {
        let session = self.sessions.get_mut(session.slot as usize).filter(|it| it.no == session.no);
        let Some(session) = session.filter(|session| session.connection().is_none()) else { return };
        let claimed = session.take_claimed(|place| place == group);
        session.tell_holding();
        for delivery in claimed {
            self.give_back(cx, delivery);
        }
    }

    /// The last member is gone: what waits is dropped, and an empty queue is nobody's.
    fn close_group(&mut self, cx: &Cx<'_>, no: SessionNo) {
        let Some(group) = self.groups.get(&no) else { return };
        if !group.queue.is_drained() {
            self.serve(cx, no);
        }
        if let Some(group) = self.groups.get(&no)
            && group.queue.is_drained()
        {
            group.tell(forget);
            self.groups.remove(&no);
            self.group_work.due.retain(|due| *due != no);
            self.check_withheld(cx);
        }
    }
}

/// A shared subscription as it is now; `None`: it has no members.
fn group_of(cx: &Cx<'_>, filter: &str) -> Option<Group> {
    let filter: SubscriptionFilter = filter.parse().expect("a granted filter is valid");
    let mut group = None;
    cx.commons.read_index(&mut |index| group = index.group(&filter));
    group
}

fn queue_of(cx: &Cx<'_>, filter: &str) -> Option<SessionRef> {
    let filter: SubscriptionFilter = filter.parse().expect("a granted filter is valid");
    let mut queue = None;
    cx.commons.read_index(&mut |index| queue = index.queue_of(&filter));
    queue
}

/// After a start.
impl Shard {
    /// Takes back what a group had before a restart: what waited, and what members had not acknowledged, who are all away. Called when the sessions of all shards are
    /// back.
    pub fn restore_group(&mut self, cx: &Cx<'_>, no: SessionNo, recovered: RecoveredGroup) {
        let cold = recovered.cold.map(|cold| ColdPart { skip: cold.acked, up_to: cold.up_to });
        let queue = Queue::recovered(recovered.queue.into_values().collect(), cold, &[]);
        let mut group = GroupQueue::new(queue);
        if let Some(stock) = recovered.stock {
            group.queue.set_stock(stock);
        }
        self.groups.insert(no, group);
        self.serve_soon(no);
        self.end_call(cx);
    }
}
