//! Messages from us: what a session's queue holds goes out as far as window, out-buffer and disk allow (§4.3, §4.9).

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::num::NonZero;

use columba_proto::{
    ALIAS_LEN, AckKind, PacketId, PacketType, QoS, ReasonCode, TopicFilter, TopicName,
    packet::{Ack, AckProperties, Packet, PublishHead},
    property::SubscriptionId,
    qos::Sending,
};
use smallvec::SmallVec;

use super::{
    Shard,
    handing_on::Publication,
    paging::{Found, cost},
    permit::Rules,
};
use crate::{
    connection::{Connection, Open, ProblemInformation},
    durable::{MessageRecord, Record, TargetRecord},
    event::DropReason,
    hold::Frame,
    id::{ChangeSeq, ConnectionId, SessionNo},
    limits::{MissedQos0, RETAINED_PAGE, RETAINED_PAUSE_MS, RETAINED_WORK_MAX},
    message::Message,
    retained::Page,
    route::{Claim, Grant, Receiver, UNCLAIMED},
    seam::{Cx, Delivery, SubscriptionIds},
    session::{Cursor, queue::Front},
    timers::{Timer, Timers},
};

/// Into sessions.
impl Shard {
    /// QoS 0: written at once, or never; what comes for a client that is away waits where the configuration wants that.
    pub(super) fn deliver_at_most_once(&mut self, cx: &Cx<'_>, receiver: Receiver<'_>, publication: &mut Publication<'_>) {
        let slot = receiver.session.slot as usize;
        let Some(session) = self.sessions.get(slot).filter(|session| session.no == receiver.session.no) else { return };
        let is_away = session.connection().is_none();
        if session.missed().is_some() || is_away && self.config.missed_qos0 == MissedQos0::Waits {
            self.keep_missed(cx, receiver, publication);
        } else {
            self.write_at_most_once(cx, receiver, publication);
        }
    }

    /// Written at once, or dropped with a reason; nobody's where no client is there.
    pub(super) fn write_at_most_once(&mut self, cx: &Cx<'_>, receiver: Receiver<'_>, publication: &mut Publication<'_>) {
        let slot = receiver.session.slot as usize;
        let Some(id) = self.sessions[slot].connection() else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        let may_have = self.rules == Rules::None || Self::may_receive(connection, publication.topic);
        let pending = connection.out.len();
        let Some(open) = connection.open() else { return };
        let ids = on_the_wire(receiver.ids);
        let topic = open.seen(publication.topic);
        let mut head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: receiver.retain,
            topic: topic.unwrap_or(publication.topic),
            packet_id: None,
            message_expiry: publication
                .expires
                .map(|at| u32::try_from(at.0.saturating_sub(cx.now.0).div_ceil(1000)).unwrap_or(u32::MAX)),
            topic_alias: None,
            subscription_ids: &ids,
            forwarded: publication.properties,
            payload: publication.payload,
        };
        let (version, limit) = (open.protocol.version(), u64::from(open.max_packet_size));
        let len = head.frame_len(version);
        let reason = if !may_have || topic.is_none() {
            Some(DropReason::NotForReader)
        } else if publication.expires.is_some_and(|at| at <= cx.now) {
            Some(DropReason::Expired)
        } else if len > limit {
            Some(DropReason::TooLarge)
        } else if pending + open.ring.first_len() > self.config.deliver_ahead_max || open.ring.len() > self.config.held_frames_max
        {
            Some(DropReason::SlowConsumer)
        } else if open.pace_out.as_mut().is_some_and(|pace| !pace.lets_pass(cx.now, len)) {
            Some(DropReason::BeyondRate)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.dropped(cx, slot, reason);
        } else if open.greeted {
            say_by_alias(open, &mut head, len);
            let out = Self::append(connection, &mut self.pool, &mut self.dirty, id);
            let before = out.len();
            head.encode(version, out).expect(FITS);
            self.counters.sent(PacketType::Publish, out.len() - before);
            self.counters.publish_sent(QoS::AtMostOnce, publication.payload.len());
        } else {
            // Nothing passes CONNACK.
            let mut frame = Vec::new();
            head.encode(version, &mut frame).expect(FITS);
            self.counters.publish_sent(QoS::AtMostOnce, publication.payload.len());
            self.send_bytes(id, ChangeSeq(0), &frame);
        }
    }

    /// QoS 1 and 2: into the queue, and from there as far as it goes.
    pub(super) fn deliver(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo, delivery: Delivery) {
        let Some(session) = self.sessions.get(slot as usize).filter(|session| session.no == no) else { return };
        let limits = session.recorded && self.config.limits_queues();
        if limits && !self.makes_room(cx, slot, &delivery) {
            return;
        }
        let session = &mut self.sessions[slot as usize];
        let (before, id, cost) = (session.queue.len(), delivery.id, cost(&delivery));
        session.queue.push(delivery);
        self.pump(cx, slot);
        let session = &mut self.sessions[slot as usize];
        if session.recorded {
            self.note_queued(slot, before, id, cost);
            if limits {
                self.keep_limit(cx, slot);
            }
            return;
        }
        let has_room = session.queue.is_within(self.config.ephemeral_queue_max, self.config.ephemeral_queue_bytes_max);
        if !has_room && session.full_since().is_none() {
            session.set_full(Some(cx.now));
            self.timers.set(cx.now.plus_ms(self.config.slow_consumer_timeout_ms), Timer::SlowConsumer(slot, no));
        }
    }
}

/// Out of sessions.
impl Shard {
    /// Sends what may be sent.
    pub(super) fn pump(&mut self, cx: &Cx<'_>, slot: u32) {
        let mut retained_work = 0;
        loop {
            let Some(session) = self.sessions.get_mut(slot as usize) else { return };
            let no = session.no;
            let Some(id) = session.connection() else { return };
            let Some(connection) = self.connections.get_mut(id) else { return };
            let pending = connection.out.len();
            let Some(open) = connection.open() else { break };
            if pending > self.config.deliver_ahead_max || Self::has_its_share(&mut self.timers, cx, id, open) {
                break;
            }
            if let Some((packet_id, _)) = session.sender.resume_next() {
                // Left over from the last connection, and now there is room for it.
                self.arm_retry(cx, id);
                self.send_publish(cx, id, ChangeSeq(0), packet_id, true);
                continue;
            }
            if session.missed().is_some() {
                if !self.takes_more(cx, id) {
                    break;
                }
                self.send_missed(cx, slot);
                continue;
            }
            if !session.sender.has_room() {
                break;
            }
            if let Some(qos) = session.next_given() {
                // Nothing of it is dropped: it was promised to a group.
                if qos == QoS::AtMostOnce && !self.takes_more(cx, id) {
                    break;
                }
                self.send_given(cx, slot, id);
                continue;
            }
            match session.queue.front() {
                Front::Ready => {
                    if let Some(after) = session.queue.read_ahead() {
                        self.load(no, after);
                    }
                    self.send_front(cx, slot, id);
                }
                Front::Load(after) => {
                    self.load(no, after);
                    break;
                }
                Front::Loading => break,
                Front::Empty if retained_work >= RETAINED_WORK_MAX => {
                    self.pause_retained(cx, slot);
                    break;
                }
                Front::Empty => match self.take_retained(cx, slot, id) {
                    Some(work) => retained_work += work,
                    None => break,
                },
            }
        }
        self.check_room(cx, slot);
    }

    /// A full queue that has drained to a half has room again.
    pub(super) fn check_room(&mut self, cx: &Cx<'_>, slot: u32) {
        if self.config.limits_queues() {
            self.note_limit(slot);
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let (messages, bytes) = (self.config.ephemeral_queue_max / 2 + 1, self.config.ephemeral_queue_bytes_max / 2 + 1);
        if session.full_since().is_some() && session.queue.is_within(messages, bytes) {
            session.set_full(None);
            self.check_withheld(cx);
        }
        self.tell_load(cx, slot);
    }

    /// Sends the first message of the queue, or drops it with a reason.
    fn send_front(&mut self, cx: &Cx<'_>, slot: u32, id: ConnectionId) {
        let session = &mut self.sessions[slot as usize];
        let Some(delivery) = session.queue.pop() else { return };
        let (no, recorded) = (session.no, session.recorded);
        if let Some(reason) = self.unsendable(cx, id, &delivery) {
            if recorded {
                self.record(&Record::Dropped { session: no, message: delivery.id });
            }
            self.dropped(cx, slot as usize, reason);
            return;
        }
        self.begin_exchange(cx, slot, id, delivery, ChangeSeq(0));
    }

    /// Sends the first of the messages that groups have given to this session, or drops it with a reason.
    fn send_given(&mut self, cx: &Cx<'_>, slot: u32, id: ConnectionId) {
        let Some(mut delivery) = self.sessions[slot as usize].take_given() else { return };
        if let Some(reason) = self.unsendable(cx, id, &delivery) {
            self.sessions[slot as usize].sub_given();
            self.record_left(&delivery);
            self.dropped(cx, slot as usize, reason);
            return;
        }
        if delivery.qos == QoS::AtLeastOnce {
            if let Some(membership) = &mut self.sessions[slot as usize].membership {
                membership.claimed += 1;
            }
            self.arm_retry(cx, id);
            let packet_id = self.sessions[slot as usize].sender.begin(delivery.qos, delivery);
            self.send_publish(cx, id, ChangeSeq(0), packet_id, false);
            return;
        }
        self.sessions[slot as usize].sub_given();
        if delivery.claim.is_recorded() && self.journal_has_failed() {
            // The next start finds it where it stands; sent now, it could come to another member once more.
            return;
        }
        if delivery.qos == QoS::ExactlyOnce {
            let until = self.become_own(cx, slot, &mut delivery);
            self.begin_exchange(cx, slot, id, delivery, until);
            return;
        }
        // It leaves when the journal knows that it has, or a crash would send it again.
        let until = self.record_left(&delivery);
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        let version = open.protocol.version();
        let mut frame = Vec::new();
        head(open, &delivery, &on_the_wire(&delivery.ids), None, false, cx).encode(version, &mut frame).expect(FITS);
        if let Some(pace) = &mut open.pace_out {
            pace.spend_publish(frame.len() as u64);
        }
        self.counters.publish_sent(QoS::AtMostOnce, delivery.message.payload().len());
        self.send_bytes(id, until, &frame);
    }

    /// Whether a client has been sent as much as it may be for now; then a timer goes on.
    fn has_its_share(timers: &mut Timers, cx: &Cx<'_>, id: ConnectionId, open: &mut Open) -> bool {
        open.pace_out.as_mut().is_some_and(|pace| pace.owes(cx.now, timers, Timer::PaceOut(id)))
    }

    /// Whether what waits for a client does so because it was sent as much as it may be.
    pub(super) fn is_held_back(&self, id: ConnectionId) -> bool {
        let open = self.connections.get(id).and_then(Connection::as_open);
        open.and_then(|open| open.pace_out.as_ref()).is_some_and(|pace| pace.is_timed())
    }

    /// Sends the PUBLISH of an exchange, and counts it towards what its client may be sent.
    fn send_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, until: ChangeSeq, packet_id: PacketId, dup: bool) {
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        if open.pace_out.is_some()
            && let Some(delivery) = self.sessions[open.session as usize].sender.get(packet_id).and_then(Sending::message)
        {
            let len =
                head(open, delivery, &on_the_wire(&delivery.ids), Some(packet_id), dup, cx).frame_len(open.protocol.version());
            if let Some(pace) = &mut open.pace_out {
                pace.spend_publish(len);
            }
        }
        self.send(cx, id, until, Frame::Publish { id: packet_id, dup });
    }

    /// Why a message cannot be sent, if it cannot.
    fn unsendable(&mut self, cx: &Cx<'_>, id: ConnectionId, delivery: &Delivery) -> Option<DropReason> {
        let connection = self.connections.get_mut(id)?;
        let may_have = self.rules == Rules::None || Self::may_receive(connection, &delivery.message.topic);
        let open = connection.open()?;
        let (version, limit) = (open.protocol.version(), u64::from(open.max_packet_size));
        if !may_have || open.seen(&delivery.message.topic).is_none() {
            return Some(DropReason::NotForReader);
        }
        if delivery.message.is_expired(cx.now) {
            return Some(DropReason::Expired);
        }
        let len = head(open, delivery, &on_the_wire(&delivery.ids), Some(PacketId::FIRST), false, cx).frame_len(version);
        (len > limit).then_some(DropReason::TooLarge)
    }

    /// Sends what is the session's own. Its PUBLISH waits for `until`, and at QoS 2 for its own record.
    fn begin_exchange(&mut self, cx: &Cx<'_>, slot: u32, id: ConnectionId, delivery: Delivery, mut until: ChangeSeq) {
        self.arm_retry(cx, id);
        let session = &mut self.sessions[slot as usize];
        let (no, recorded) = (session.no, session.recorded);
        let (qos, message) = (delivery.qos, delivery.id);
        let packet_id = session.sender.begin(qos, delivery);
        if recorded {
            let sent = self.record(&Record::Sent { session: no, packet_id, message, qos });
            // A QoS 2 identifier that a crash forgot would be a second delivery; a QoS 1 one is only that.
            if qos == QoS::ExactlyOnce {
                until = until.max(sent);
            }
        }
        self.send_publish(cx, id, until, packet_id, false);
    }

    /// The search for retained messages gives way to others for a moment.
    fn pause_retained(&mut self, cx: &Cx<'_>, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        if !core::mem::replace(&mut session.rare().retained_timer, true) {
            self.timers.set(cx.now.plus_ms(RETAINED_PAUSE_MS), Timer::Retained(slot, session.no));
        }
    }

    pub(super) fn retained_pause_passed(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo) {
        let Some(session) = self.sessions.get_mut(slot as usize).filter(|session| session.no == no) else { return };
        session.rare().retained_timer = false;
        self.pump(cx, slot);
    }

    /// Takes a page of the retained messages that a new subscription still has to get; the answer is how much work it was, `None` where there are none.
    fn take_retained(&mut self, cx: &Cx<'_>, slot: u32, id: ConnectionId) -> Option<usize> {
        if !self.suback_has_left(slot, id) {
            return None;
        }
        let session = &mut self.sessions[slot as usize];
        let (name, cursor) = session.rare.as_ref()?.cursors.first_key_value()?;
        let (name, cursor) = (name.clone(), cursor.clone());
        let Ok(index) = session.subscription(&name) else {
            session.rare().cursors.remove(&name);
            return Some(1);
        };
        let grant = session.subscriptions[index].grant;
        let (no, recorded) = (session.no, session.recorded && grant.qos > QoS::AtMostOnce);
        let filter: TopicFilter = name.parse().expect("a granted filter is valid");
        let mut page = Vec::new();
        let mut end = Page::Done;
        cx.commons.read_retained(&mut |retained| {
            end = retained.page(&filter, cursor.after.as_deref(), cursor.newest, cx.now, RETAINED_PAGE, &mut page);
        });
        let mut before = None;
        let mut page = page.into_iter();
        while let Some((topic, version, kept)) = page.next() {
            let message = match self.retained_message(slot, &topic, version, &kept) {
                Found::Here(message) => message,
                Found::Nowhere => {
                    before = Some(topic);
                    continue;
                }
                Found::Cold => {
                    let cold = page.filter(|(_, _, kept)| kept.message().is_none()).map(|(topic, ..)| topic);
                    self.load_retained(slot, core::iter::once(topic).chain(cold).collect());
                    end = Page::After(before?);
                    break;
                }
            };
            if message.qos.min(grant.qos) == QoS::AtMostOnce && !self.takes_more(cx, id) {
                // Nothing of them is dropped: the cursor stays in front of the rest until there is room.
                let before = before?;
                end = Page::After(before);
                break;
            }
            self.deliver_retained(cx, slot, no, recorded, grant, message);
            before = Some(topic);
        }
        let after = match end {
            Page::Done => None,
            Page::After(topic) => Some(topic),
        };
        if recorded {
            self.record(&Record::Cursor { session: no, filter: &name, after: after.as_deref() });
        }
        let cursors = &mut self.sessions[slot as usize].rare().cursors;
        match after {
            None => {
                cursors.remove(&name);
                if cursors.is_empty() {
                    self.sessions[slot as usize].rare().loaded_retained.clear();
                }
            }
            Some(topic) => {
                cursors.insert(name, Cursor { after: Some(Box::from(&*topic)), ..cursor });
            }
        }
        Some(if filter.has_wildcard() { RETAINED_PAGE } else { 1 })
    }

    /// Whether the SUBACK of the retained messages still to be taken has left. The standard lets them pass it (§3.8.4), and clients do not expect them to.
    fn suback_has_left(&mut self, slot: u32, id: ConnectionId) -> bool {
        let Some(rare) = &mut self.sessions[slot as usize].rare else { return true };
        let open = self.connections.get_mut(id).and_then(Connection::open);
        if open.as_ref().is_some_and(|open| open.half.is_some()) {
            return false;
        }
        rare.suback.take_if(|suback| open.is_some_and(|open| open.ring.has_left(*suback)));
        rare.suback.is_none()
    }

    /// Whether a delivery at QoS 0 would be written rather than dropped.
    fn takes_more(&mut self, cx: &Cx<'_>, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let pending = connection.out.len();
        let Some(open) = connection.open() else { return false };
        pending + open.ring.first_len() <= self.config.deliver_ahead_max
            && open.ring.len() <= self.config.held_frames_max
            && !Self::has_its_share(&mut self.timers, cx, id, open)
    }

    fn deliver_retained(&mut self, cx: &Cx<'_>, slot: u32, no: SessionNo, recorded: bool, grant: Grant, message: Arc<Message>) {
        let qos = message.qos.min(grant.qos);
        let ids: SubscriptionIds = grant.id.map(NonZero::get).into_iter().collect();
        if qos == QoS::AtMostOnce {
            let session = self.sessions[slot as usize].reference(slot);
            let receiver = Receiver { session: &session, qos, retain: true, claim: UNCLAIMED, ids: &ids };
            self.deliver_at_most_once(cx, receiver, &mut Publication::of(&message));
            return;
        }
        let message_id = cx.commons.clock().message(no.lane());
        if recorded {
            let record = MessageRecord::from(&*message);
            let target = TargetRecord { session: no, qos, retain: true, subscription_ids: ids.to_vec() };
            self.record(&Record::Published {
                id: message_id,
                message: record,
                targets: alloc::vec![target],
                sets_retained: false,
                will_of: None,
            });
        }
        // It is sent next: retained messages are taken where nothing else waits.
        let delivery = Delivery { id: message_id, message, qos, retain: true, claim: Claim::default(), ids };
        self.sessions[slot as usize].queue.push(delivery);
    }

    /// A session may be taken up with a smaller limit than its messages in flight were sent under: those too large count as delivered [MQTT-3.1.2-25]. So do
    /// those whose topics its client knows nothing of where it is now, behind another mount point.
    fn drop_unsendable(&mut self, cx: &Cx<'_>, id: ConnectionId, slot: u32) {
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        let (version, limit) = (open.protocol.version(), open.max_packet_size);
        if limit == u32::MAX && open.mount.is_none() {
            return;
        }
        let session = &self.sessions[slot as usize];
        let reason = |packet_id, delivery: &Delivery| {
            if open.seen(&delivery.message.topic).is_none() {
                return Some(DropReason::NotForReader);
            }
            let len = head(open, delivery, &on_the_wire(&delivery.ids), Some(packet_id), true, cx).frame_len(version);
            (len > u64::from(limit)).then_some(DropReason::TooLarge)
        };
        let unsendable: Vec<_> = session
            .sender
            .iter()
            .filter_map(|(packet_id, sending)| Some((packet_id, reason(packet_id, sending.message()?)?)))
            .collect();
        for (packet_id, reason) in unsendable {
            let session = &mut self.sessions[slot as usize];
            let (no, recorded) = (session.no, session.recorded);
            let Some(delivery) = session.sender.give_up(packet_id) else { continue };
            let record = match delivery.qos {
                // The client may have it and remember the identifier: PUBREL frees it on both sides.
                QoS::ExactlyOnce => Record::Passed { session: no, packet_id, message: delivery.id },
                QoS::AtMostOnce | QoS::AtLeastOnce => Record::Settled { session: no, packet_id, message: Some(delivery.id) },
            };
            if !delivery.claim.is_none() {
                self.acknowledged_for_group(slot, &delivery);
            } else if recorded {
                self.record(&record);
            }
            self.dropped(cx, slot as usize, reason);
        }
    }

    /// A session was taken up again: everything open is sent once more, in the order in which it was first sent [MQTT-4.4.0-1].
    pub(super) fn resume(&mut self, cx: &Cx<'_>, id: ConnectionId, slot: u32) {
        self.drop_unsendable(cx, id, slot);
        let session = &mut self.sessions[slot as usize];
        if let Some(rare) = &mut session.rare {
            // It was one of the last connection.
            rare.suback = None;
        }
        let until = if session.recorded { self.batch.last_append() } else { ChangeSeq(0) };
        let open = self.connections.get_mut(id).and_then(Connection::open);
        let is_paced = open.is_some_and(|open| open.pace_out.is_some());
        let at_once = if is_paced { 0 } else { u16::MAX };
        let frames: Vec<_> =
            session.sender.resume_at_most(at_once).map(|(packet_id, sending)| again(packet_id, sending)).collect();
        if !frames.is_empty() {
            self.arm_retry(cx, id);
        }
        for frame in frames {
            self.send(cx, id, until, frame);
        }
        self.pump(cx, slot);
    }

    /// Begins to watch what a 3.x client leaves unanswered; the standard forbids repetition on a living connection later (4.4).
    fn arm_retry(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let interval = self.config.retry_interval_ms;
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        if open.unanswered.is_none() && interval > 0 && open.protocol.version().may_resend() {
            open.unanswered = Some(Box::default());
            self.timers.set(cx.now.plus_ms(interval / 2), Timer::Retry(id));
        }
    }

    /// Repeats what a 3.x client has left unanswered for an interval; never what is held or not written yet.
    ///
    /// Looks every half interval: what was in flight two looks ago and still is, is old enough.
    pub(super) fn repeat_unanswered(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_written = connection.out.is_empty();
        let Some(open) = connection.open() else { return };
        let session = &self.sessions[open.session as usize];
        let Some(mut unanswered) = open.unanswered.take() else { return };
        if session.sender.is_empty() {
            return;
        }
        let is_out = is_written && open.ring.is_empty();
        let current: Vec<_> =
            if is_out { session.sender.on_the_wire().map(|(packet_id, _)| packet_id).collect() } else { Vec::new() };
        let older = core::mem::replace(&mut unanswered.older, core::mem::take(&mut unanswered.newer));
        let (due, young): (Vec<_>, Vec<_>) = current.into_iter().partition(|packet_id| older.contains(packet_id));
        unanswered.older.retain(|packet_id| !due.contains(packet_id));
        unanswered.newer = young;
        let frames: Vec<_> =
            due.iter().filter_map(|packet_id| Some(again(*packet_id, session.sender.get(*packet_id)?))).collect();
        open.unanswered = Some(unanswered);
        self.timers.set(cx.now.plus_ms(self.config.retry_interval_ms / 2), Timer::Retry(id));
        for frame in frames {
            match frame {
                Frame::Publish { id: packet_id, dup } => {
                    let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
                    // Where it has its share, a later look finds this one again.
                    if !Self::has_its_share(&mut self.timers, cx, id, open) {
                        self.send_publish(cx, id, ChangeSeq(0), packet_id, dup);
                    }
                }
                Frame::Ack { .. } | Frame::Denied { .. } | Frame::Bytes(_) => {
                    self.send(cx, id, ChangeSeq(0), frame);
                }
            }
        }
    }
}

/// What is sent again for an exchange in this state.
fn again(id: PacketId, sending: &Sending<Delivery>) -> Frame {
    match sending {
        Sending::AwaitPuback(_) | Sending::AwaitPubrec(_) => Frame::Publish { id, dup: true },
        Sending::AwaitPubcomp => Frame::Ack { kind: AckKind::Pubrel, id, reason: ReasonCode::SUCCESS },
    }
}

/// Bytes.
impl Shard {
    pub(super) fn emit_publish(&mut self, cx: &Cx<'_>, id: ConnectionId, packet_id: PacketId, dup: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        let version = open.protocol.version();
        let session = &self.sessions[open.session as usize];
        match session.sender.get(packet_id) {
            Some(Sending::AwaitPuback(delivery) | Sending::AwaitPubrec(delivery)) => {
                let ids = on_the_wire(&delivery.ids);
                let mut head = head(open, delivery, &ids, Some(packet_id), dup, cx);
                if open.aliases_out.is_some() {
                    let len = head.frame_len(version);
                    say_by_alias(open, &mut head, len);
                }
                let out = Self::append(connection, &mut self.pool, &mut self.dirty, id);
                let before = out.len();
                head.encode(version, out).expect(FITS);
                self.counters.sent(PacketType::Publish, out.len() - before);
                self.counters.publish_sent(delivery.qos, delivery.message.payload().len());
                self.counters.repeated += u64::from(dup);
            }
            Some(Sending::AwaitPubcomp) | None => {}
        }
    }

    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub(super) fn emit_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        why: Option<&str>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(open) = connection.open() else { return };
        let version = open.protocol.version();
        let ends = match kind {
            AckKind::Puback | AckKind::Pubcomp => true,
            AckKind::Pubrec => reason.is_failure(),
            AckKind::Pubrel => false,
        };
        if ends {
            open.receiving.give_back();
        }
        if reason.is_failure() {
            self.counters.refusal(reason);
        }
        let (problems, limit) = (open.problems, open.max_packet_size);
        let ack = Ack::new(kind, packet_id, reason);
        let out = Self::append(connection, &mut self.pool, &mut self.dirty, id);
        let before = out.len();
        match why {
            Some(why) if problems == ProblemInformation::Wanted => {
                let properties = AckProperties { reason_string: Some(why), ..AckProperties::default() };
                let fits = Packet::Ack(Ack { properties, ..ack }).encode_within(version, limit, out);
                debug_assert!(fits.is_ok(), "without its reason it fits: CONNACK was larger");
            }
            Some(_) | None => ack.encode(version, out),
        }
        self.counters.sent(kind.packet_type(), out.len() - before);
    }

    pub(super) fn dropped(&mut self, cx: &Cx<'_>, slot: usize, reason: DropReason) {
        let client_id = Arc::clone(&self.sessions[slot].client_id);
        self.count_drop(cx, client_id, reason, 1);
    }
}

/// What is said to people about a failure.
pub(super) fn why(kind: AckKind, reason: ReasonCode) -> Option<&'static str> {
    match (kind, reason) {
        (AckKind::Puback | AckKind::Pubrec, ReasonCode::QUOTA_EXCEEDED) => {
            Some("it cannot be stored now: the disk, or the queue of a subscriber, is full")
        }
        (AckKind::Puback | AckKind::Pubrec, ReasonCode::NOT_AUTHORIZED) => Some("topics below $SYS are the broker's own (4.7.2)"),
        (AckKind::Pubrel | AckKind::Pubcomp, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND) => {
            Some("no exchange is open under this packet identifier")
        }
        (AckKind::Puback | AckKind::Pubrec | AckKind::Pubrel | AckKind::Pubcomp, _) => None,
    }
}

/// Puts an alias in the place of the topic, where the client takes any (§3.3.2.3.4). What it says leaves next, so both sides agree. `len` is that of the frame
/// without: an alias that is new makes it longer.
fn say_by_alias(open: &mut Open, head: &mut PublishHead<'_>, len: u64) {
    let limit = u64::from(open.max_packet_size);
    let Some(aliases) = &mut open.aliases_out else { return };
    if len + ALIASED_MORE > limit {
        return;
    }
    let topic = TopicName::trusted(head.topic);
    let said = aliases.assign(topic);
    head.topic = said.topic(topic);
    head.topic_alias = said.alias();
}

/// Bytes by which a new alias makes a frame longer at most: the property, and both lengths in front of it.
const ALIASED_MORE: u64 = ALIAS_LEN as u64 + 2;

/// Its length was held against the client's Maximum Packet Size, which is never above what a frame can be; from then on expiry only shrinks.
const FITS: &str = "a message that is too long for a frame is dropped before";

/// Subscription identifiers as PUBLISH carries them.
fn on_the_wire(ids: &SubscriptionIds) -> SmallVec<[SubscriptionId; 2]> {
    ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect()
}

/// A PUBLISH of a message in a queue or in flight. That its client knows the topic was looked at when it left the queue, and when the session was taken up.
fn head<'d>(
    open: &Open,
    delivery: &'d Delivery,
    ids: &'d [SubscriptionId],
    packet_id: Option<PacketId>,
    dup: bool,
    cx: &Cx<'_>,
) -> PublishHead<'d> {
    PublishHead {
        dup,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: open.seen(&delivery.message.topic).unwrap_or(&delivery.message.topic),
        packet_id,
        message_expiry: delivery.message.seconds_left(cx.now),
        topic_alias: None,
        subscription_ids: ids,
        forwarded: delivery.message.properties(),
        payload: delivery.message.payload(),
    }
}
