//! What shared subscriptions do with the messages of a member that is gone (§4.8.2).
//!
//! A message chosen for a member stands in the journal under that member's session as long as a member of the group outlives its connection, also where this
//! one does not, and stays there when the session ends: until a record moves it on, or says that there is nobody to move it to. So a message that is in the
//! cold store, or on its way to a member that ends, is lost by no crash (docs/adr/0006).

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};
use core::num::NonZero;

use columba_proto::{QoS, qos::Sending};
use smallvec::SmallVec;

use super::{Shard, handing_on::Publication};
use crate::{
    durable::{EndedSession, MessageRecord, Record, TargetRecord},
    event::DropReason,
    id::{ChangeSeq, MessageId, SessionNo},
    limits::INHERITED_MAX,
    route::{Claim, Publisher, Receiver, SessionRef, UNCLAIMED},
    seam::{Cx, Delivery, Output, Parcel, ParcelTarget},
    session::{
        Session,
        queue::{ColdPart, Front, Queue},
    },
};

/// Messages that sessions of this shard got from members that are gone, as long as their own deliveries of the same publications can still be on their way: by
/// a subscription of their own, or by another group. One publication stands in a session at most once.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    early: BTreeSet<(MessageId, SessionNo)>,
    /// Every publication up to here has been given to this shard.
    given: MessageId,
}

impl Inherited {
    fn note(&mut self, message: MessageId, session: SessionNo) {
        if message > self.given && self.early.insert((message, session)) && self.early.len() > INHERITED_MAX {
            // The oldest one has had the longest time to come.
            self.early.pop_first();
        }
    }

    /// Every publication up to this one has been given to this shard.
    pub(super) fn given(&mut self, up_to: MessageId) {
        self.given = self.given.max(up_to);
        self.early = self.early.split_off(&(MessageId(up_to.0.saturating_add(1)), SessionNo(0)));
    }

    /// Whether this session got the message from a member that is gone.
    pub(super) fn has(&self, message: MessageId, session: SessionNo) -> bool {
        !self.early.is_empty() && self.early.contains(&(message, session))
    }
}

/// The members that get a message instead of the one that is gone.
type Heirs = SmallVec<[(SessionRef, Delivery); 1]>;

impl Shard {
    /// What a member that ends leaves unfinished goes to another one: QoS 1 unacknowledged, QoS 2 not sent yet. A QoS 2 message once sent ends with its
    /// session [MQTT-4.8.2-5].
    pub(super) fn pass_on_shared(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let (no, client_id) = (session.no, Arc::clone(&session.client_id));
        let mut left: Vec<Delivery> = Vec::new();
        let mut over: Vec<Delivery> = Vec::new();
        for (_, sending) in session.sender.iter() {
            match sending {
                Sending::AwaitPuback(delivery) if !delivery.claim.is_none() => left.push(delivery.clone()),
                Sending::AwaitPubrec(delivery) if !delivery.claim.is_none() => over.push(delivery.clone()),
                Sending::AwaitPuback(_) | Sending::AwaitPubrec(_) | Sending::AwaitPubcomp => {}
            }
        }
        let mut queue = core::mem::take(&mut session.queue);
        let dropped = queue.keep_claimed();
        if dropped > 0 {
            self.count_drop(cx, client_id, DropReason::SessionEnded, dropped as u64);
        }
        for delivery in over {
            self.record_left(no, false, &delivery);
        }
        for delivery in left {
            self.pass_on(cx, no, &delivery);
        }
        self.drain_ended(cx, no, queue);
    }

    /// Takes back what groups had not passed on before a restart. Called when the sessions of all shards are back.
    pub fn restore_ended(&mut self, cx: &Cx<'_>, no: SessionNo, ended: EndedSession) {
        let cold = ended.cold.map(|cold| ColdPart { skip: cold.acked, up_to: cold.up_to });
        self.drain_ended(cx, no, Queue::recovered(ended.queue.into_values().collect(), cold, &[]));
        self.publish_dead_letters(cx);
    }

    /// Passes on what is in memory, and asks for what is in the cold store.
    pub(super) fn drain_ended(&mut self, cx: &Cx<'_>, no: SessionNo, mut queue: Queue) {
        loop {
            match queue.front() {
                Front::Ready => {
                    if let Some(delivery) = queue.pop().filter(|delivery| !delivery.claim.is_none()) {
                        self.pass_on(cx, no, &delivery);
                    }
                }
                Front::Load(after) => {
                    self.load(no, after);
                }
                Front::Loading => {
                    self.ended.insert(no, queue);
                    return;
                }
                Front::Empty => return,
            }
        }
    }

    /// A message was chosen for a member that is gone: each group that chose it chooses anew.
    pub(super) fn pass_on(&mut self, cx: &Cx<'_>, from: SessionNo, delivery: &Delivery) {
        let is_recorded = delivery.claim.is_recorded();
        if is_recorded && self.journal_has_failed() {
            // The next start finds it where it stands, and passes it on.
            return;
        }
        let heirs = self.choose_heirs(cx, delivery);
        self.record_heirs(from, delivery, &heirs);
        for (to, delivery) in heirs {
            self.inherit(cx, to, delivery);
        }
    }

    fn choose_heirs(&mut self, cx: &Cx<'_>, delivery: &Delivery) -> Heirs {
        // The member that goes has left the index already, so the route knows only the others. Only a group that chose it has a claim.
        let route = self.cache.route(cx, &delivery.message.topic);
        let claims = |claim: &Claim| claim.keys().iter().all(|key| delivery.claim.keys().contains(key));
        // Of the client that published it only this is left.
        let publisher = Publisher { session: None, client: u64::from(delivery.id.lane().0) };
        let mut heirs = Heirs::new();
        for group in route.groups.iter().filter(|group| claims(&group.claim)) {
            let Some(member) = group.choose_heir(publisher) else { continue };
            let heir = Delivery {
                qos: delivery.message.qos.min(member.grant.qos),
                // As this member wants it [MQTT-3.3.1-12]: what is left can have been joined with a retained copy, or have come to one that wants the flag.
                retain: delivery.message.retain && member.grant.retain_as_published,
                ids: member.grant.id.map(NonZero::get).into_iter().collect(),
                claim: group.claim.clone(),
                ..delivery.clone()
            };
            let is_one = |to: &SessionRef, known: &Delivery| {
                to.no == member.session.no && known.is_queued_for(to) && heir.is_queued_for(to)
            };
            match heirs.iter_mut().find(|(to, known)| is_one(to, known)) {
                Some((_, known)) => known.join(heir),
                None => heirs.push((member.session.clone(), heir)),
            }
        }
        heirs
    }

    /// One record moves the entry; others add one for each further heir.
    fn record_heirs(&mut self, from: SessionNo, delivery: &Delivery, heirs: &Heirs) {
        let is_recorded = |(to, heir): &&(SessionRef, Delivery)| to.presence.is_durable() || heir.claim.is_recorded();
        let mut targets: Vec<_> = heirs.iter().filter(is_recorded).map(|(to, heir)| heir.to_target(to.no)).collect();
        let message = delivery.id;
        let mut entries = delivery.claim.joined();
        if delivery.claim.is_recorded() {
            match targets.pop() {
                Some(target) => drop(self.record(&Record::Moved { from, message, target })),
                None => entries += 1,
            }
        }
        if !targets.is_empty() {
            let content = MessageRecord::from(&*delivery.message);
            self.record(&Record::Published { id: message, message: content, targets, sets_retained: false, will_of: None });
        }
        for _ in 0..entries {
            self.record(&Record::Dropped { session: from, message });
        }
    }

    fn inherit(&mut self, cx: &Cx<'_>, to: SessionRef, delivery: Delivery) {
        let shard = cx.commons.placement().shard(to.no.lane());
        if shard == self.id {
            if delivery.is_queued_for(&to) {
                self.deliver_moved(cx, delivery, &to);
            } else {
                let receiver =
                    Receiver { session: &to, qos: delivery.qos, retain: delivery.retain, claim: &UNCLAIMED, ids: &delivery.ids };
                self.deliver_at_most_once(cx, receiver, &mut Publication::of(&delivery.message));
            }
            return;
        }
        let parcel = if delivery.is_queued_for(&to) {
            Parcel::Moved { delivery, to }
        } else {
            let Delivery { id, message, qos, retain, ids, .. } = delivery;
            let target = ParcelTarget { session: to, qos, retain, claim: Claim::default(), ids };
            Parcel::Deliver { id, message, targets: alloc::vec![target] }
        };
        self.outputs.push_back(Output::ToShard { to: shard, parcel });
    }

    /// A message of a shared group whose member went away.
    pub(super) fn deliver_moved(&mut self, cx: &Cx<'_>, delivery: Delivery, to: &SessionRef) {
        let session = self.sessions.get_mut(to.slot as usize).filter(|session| session.no == to.no);
        // It may have come here by a subscription of its own: one publication stands in a session at most once.
        if let Some(session) = session
            && session.joins_in_flight(&delivery)
        {
            return;
        }
        self.inherited.note(delivery.id, to.no);
        self.enqueue(cx, to.slot, to.no, delivery, Some(cx.commons.clock().latest()));
    }

    /// A session's own delivery of a message that it has inherited before. In the queue and in flight it joins that one; where the client has had it, it is over.
    pub(super) fn meets_inherited(&mut self, slot: u32, no: SessionNo, delivery: &Delivery) -> bool {
        let Some(session) = self.sessions.get_mut(slot as usize).filter(|session| session.no == no) else { return false };
        if session.joins_in_flight(delivery) {
            return true;
        }
        if session.queue.holds(delivery.id) {
            return false;
        }
        let recorded = session.recorded;
        // Each record that brought it needs one that ends it: within one commit the end of the first can come before both.
        if recorded {
            self.record(&Record::Dropped { session: no, message: delivery.id });
        }
        self.record_left(no, recorded, delivery);
        true
    }

    /// A message has left a session for good. Beside the session's own record, which says so where the session is recorded, the entries end that only its
    /// groups have. The answer is what a frame must wait for that can only be right then.
    pub(super) fn record_left(&mut self, no: SessionNo, recorded: bool, delivery: &Delivery) -> ChangeSeq {
        let own = u16::from(!recorded && delivery.claim.is_recorded());
        let mut until = ChangeSeq(0);
        for _ in 0..delivery.claim.joined() + own {
            until = self.record(&Record::Dropped { session: no, message: delivery.id });
        }
        until
    }
}

impl Delivery {
    /// Whether an heir has it in its queue. At QoS 0 too, where a promise was made to the group: it stands there until its reader is there, and leaves once.
    fn is_queued_for(&self, to: &SessionRef) -> bool {
        self.qos > QoS::AtMostOnce || to.presence.is_durable() || self.claim.is_recorded()
    }

    fn to_target(&self, session: SessionNo) -> TargetRecord {
        TargetRecord {
            session,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.ids.to_vec(),
            groups: self.claim.keys().to_vec(),
        }
    }
}

impl Session {
    /// Whether the message is in flight here already. What is sent does not change any more, but its groups' claim does.
    fn joins_in_flight(&mut self, delivery: &Delivery) -> bool {
        let Some(sent) = self.sender.messages_mut().find(|sent| sent.id == delivery.id) else { return false };
        sent.claim.add(&delivery.claim);
        sent.claim.count_joined();
        true
    }
}
