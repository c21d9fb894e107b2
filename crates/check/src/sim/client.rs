//! A simulated client: correct, with state that survives every cut, and a witness to all it sees.
//!
//! It is written on the same [`Sender`] and [`Receiver`] as everything else. What it keeps over connections is what the standard says (§4.1): unacknowledged
//! messages and the identifiers of received QoS 2 messages. It hands QoS 0 and 1 over at PUBLISH and QoS 2 at PUBREL.

use core::num::NonZeroU16;
use std::collections::VecDeque;

use columba_proto::{
    AckKind, PacketId, Peer, QoS, ReasonCode, TopicName, Version, decode,
    packet::{
        Ack, AckProperties, Connack, Connect, ConnectProperties, Disconnect, Packet, Publish, PublishProperties, RetainHandling,
        Subscribe, SubscribeEntry, SubscriptionOptions, Unsubscribe, Will,
    },
    property::UserProperties,
    qos::{Acked, Receiver, Sender, Sending},
    wire::{Split, split},
};

use super::{payload, rng::splitmix};
use crate::model::{
    Breach, ClientNo, Fact, FilterNo, History, LinkNo, MessageInfo, MessageNo, Micros, Retained, SubscriptionInfo,
    SubscriptionNo, TopicNo,
};

/// How a client is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) version: Version,
    /// Session Expiry Interval in seconds; 0 ends with the connection.
    pub(crate) expiry: u32,
    /// Always begins anew (3.x: clean session).
    pub(crate) always_clean: bool,
    /// Its own bound on what the broker may have in flight; v5 only.
    pub(crate) receive_maximum: Option<u16>,
    /// The largest packet that it takes; v5 only.
    pub(crate) packet_max: Option<u32>,
    /// Messages that it keeps in flight itself.
    pub(crate) window: u16,
    /// Takes its time to answer.
    pub(crate) slow: Option<Micros>,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    /// Member of these shared groups, often the same twice.
    pub(crate) worker: Option<[FilterNo; 2]>,
}

/// A message that is to be a will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WillPlan {
    pub(crate) message: MessageNo,
    pub(crate) delay: u32,
}

/// A received QoS 2 message that waits for its PUBREL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stored {
    message: Option<MessageNo>,
    retain: bool,
    dup: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Offline,
    /// CONNECT is sent.
    Connecting(LinkNo),
    Open(LinkNo),
}

#[derive(Clone, Debug)]
enum Request {
    Subscribe(Vec<SubscriptionNo>),
    Unsubscribe(Vec<FilterNo>),
}

/// One simulated client.
pub(crate) struct Client {
    pub(crate) no: ClientNo,
    id: String,
    pub(crate) habits: Habits,
    // What it keeps over connections.
    sender: Sender<MessageNo>,
    sending: Vec<(PacketId, MessageNo)>,
    receiver: Receiver<Stored>,
    outbox: VecDeque<MessageNo>,
    /// A clean start was asked for and not yet confirmed: nothing else will do until it is.
    must_clean: bool,
    next_sequence: u32,
    /// When its last connection that had a CONNACK ended.
    detached_at: Option<Micros>,
    /// A CONNECT since then had no answer: it may have been that the session is a new one.
    unanswered_connect: bool,
    /// Filters asked for and not given up.
    pub(crate) filters: Vec<FilterNo>,
    // What ends with the connection.
    phase: Phase,
    partial: Vec<u8>,
    out: Vec<u8>,
    answers: VecDeque<(AckKind, PacketId)>,
    unanswered: Vec<PacketId>,
    requests: Vec<(PacketId, Request)>,
    disconnecting: bool,
    pings_open: u32,
    /// QoS 2 messages sent again on the same connection: their second PUBREC says nothing new.
    repeated: Vec<PacketId>,
    /// Topics that the broker knows by number on this connection, from 1, and how many it would learn.
    aliases: Vec<TopicNo>,
    aliases_max: u16,
}

/// What a client's call needs from the world.
pub(crate) struct Scene<'a> {
    pub(crate) now: Micros,
    pub(crate) history: &'a mut History,
}

impl Scene<'_> {
    fn add(&mut self, fact: Fact) {
        self.history.add(self.now, fact);
    }
}

/// A publication to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishPlan {
    pub(crate) topic: TopicNo,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) empty: bool,
    pub(crate) expires: bool,
}

impl Client {
    pub(crate) fn new(no: ClientNo, id: String, habits: Habits) -> Self {
        Self {
            no,
            id,
            habits,
            sender: Sender::new(habits.window),
            sending: Vec::new(),
            receiver: Receiver::default(),
            outbox: VecDeque::new(),
            must_clean: false,
            next_sequence: 0,
            detached_at: None,
            unanswered_connect: false,
            filters: Vec::new(),
            phase: Phase::Offline,
            partial: Vec::new(),
            out: Vec::new(),
            answers: VecDeque::new(),
            unanswered: Vec::new(),
            requests: Vec::new(),
            disconnecting: false,
            pings_open: 0,
            repeated: Vec::new(),
            aliases: Vec::new(),
            aliases_max: 0,
        }
    }

    /// Its client identifier.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn link(&self) -> Option<LinkNo> {
        match self.phase {
            Phase::Offline => None,
            Phase::Connecting(link) | Phase::Open(link) => Some(link),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) && !self.disconnecting
    }

    /// Nothing is unfinished on this side.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.outbox.is_empty()
            && self.sender.is_empty()
            && self.receiver.is_empty()
            && self.answers.is_empty()
            && self.requests.is_empty()
    }

    /// How it is, for people.
    pub(crate) fn condition(&self) -> String {
        format!(
            "{:?}, {:?}, outbox {}, sending {}, receiving {}, answers {}, requests {}",
            self.habits.version,
            self.phase,
            self.outbox.len(),
            self.sender.len(),
            self.receiver.len(),
            self.answers.len(),
            self.requests.len()
        )
    }

    /// Bytes for the network.
    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether answers wait for [`Self::answer`].
    pub(crate) fn owes_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Begins to connect over a fresh link.
    pub(crate) fn connect(&mut self, scene: &mut Scene<'_>, link: LinkNo, clean: bool, will: Option<WillPlan>) {
        let clean = clean || self.habits.always_clean || self.must_clean || self.may_have_expired(scene.now);
        scene.add(Fact::ConnectSent { client: self.no, link, clean, will: will.map(|will| will.message) });
        if clean {
            self.forget(scene);
            self.must_clean = true;
        }
        self.phase = Phase::Connecting(link);
        let mut body = Vec::new();
        if let Some(plan) = will {
            payload::write(plan.message, &mut body);
        }
        let will = will.map(|plan| {
            let info = scene.history.message(plan.message);
            Will {
                topic: topic(scene.history, info.topic),
                payload: &body,
                qos: qos(info.qos),
                retain: info.retain,
                delay: plan.delay,
                properties: PublishProperties::default(),
            }
        });
        let version = self.habits.version;
        let mut properties = ConnectProperties::default();
        if version.has_properties() {
            properties.session_expiry = (self.habits.expiry > 0).then_some(self.habits.expiry);
            properties.maximum_packet_size = self.habits.packet_max.and_then(core::num::NonZeroU32::new);
            properties.receive_maximum = self.habits.receive_maximum.and_then(NonZeroU16::new);
        }
        let connect = Connect {
            version,
            bridge: false,
            clean_start: clean,
            keep_alive: self.habits.keep_alive,
            client_id: &self.id,
            will,
            username: None,
            password: None,
            properties,
        };
        connect.encode(&mut self.out);
    }

    /// Both sides throw a session away when its time is over. Near that moment nobody can know what the other side did: begin anew. CONNACK tells who was wrong
    /// (3.2.2.1.1), unless it is lost: then the next one speaks of the session that the lost one began, and its Session Present says nothing about the old one.
    fn may_have_expired(&self, now: Micros) -> bool {
        let lasting = Micros::from(self.habits.expiry) * 1_000_000;
        let margin = if self.unanswered_connect { UNANSWERED_MARGIN } else { EXPIRY_MARGIN };
        self.habits.expiry != u32::MAX && self.detached_at.is_some_and(|at| now + margin >= at + lasting && lasting > 0)
    }

    /// The connection is of no use any more.
    pub(crate) fn lost(&mut self, scene: &mut Scene<'_>) {
        if let Some(link) = self.link() {
            scene.add(Fact::LinkLost { client: self.no, link });
        }
        match self.phase {
            Phase::Open(_) => self.detached_at = Some(scene.now),
            Phase::Connecting(_) => self.unanswered_connect = true,
            Phase::Offline => {}
        }
        if self.habits.expiry == 0 {
            self.forget(scene);
        }
        self.phase = Phase::Offline;
        self.partial.clear();
        self.out.clear();
        self.answers.clear();
        self.unanswered.clear();
        self.requests.clear();
        self.sender.forget_requests();
        self.disconnecting = false;
        self.pings_open = 0;
        self.repeated.clear();
        self.aliases.clear();
        self.aliases_max = 0;
    }

    /// Throws away what is kept over connections.
    fn forget(&mut self, scene: &mut Scene<'_>) {
        for (_, message) in self.sending.drain(..) {
            scene.add(Fact::Abandoned { message });
        }
        self.sender = Sender::new(self.habits.window);
        self.receiver = Receiver::default();
        self.filters.clear();
    }

    /// Makes a message and sends it as soon as the window allows.
    pub(crate) fn publish(&mut self, scene: &mut Scene<'_>, plan: PublishPlan) {
        let message = self.new_message(scene.history, plan, None);
        self.outbox.push_back(message);
        self.send_more(scene);
    }

    /// A message of this client that is not sent yet.
    pub(crate) fn new_message(&mut self, history: &mut History, plan: PublishPlan, will: Option<u32>) -> MessageNo {
        let message = MessageNo(u32::try_from(history.messages.len()).expect("a run has few messages"));
        history.messages.push(MessageInfo {
            publisher: self.no,
            sequence: self.next_sequence,
            topic: plan.topic,
            qos: plan.qos,
            retain: plan.retain,
            empty: plan.empty,
            large: !plan.empty && payload::is_large(message),
            expires: plan.expires && self.habits.version.has_properties(),
            will,
        });
        self.next_sequence += 1;
        message
    }

    fn send_more(&mut self, scene: &mut Scene<'_>) {
        while self.is_open() {
            let Some(&message) = self.outbox.front() else { return };
            let qos = qos(scene.history.message(message).qos);
            let id = match qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce | QoS::ExactlyOnce if !self.sender.has_room() => return,
                QoS::AtLeastOnce | QoS::ExactlyOnce => Some(self.sender.begin(qos, message)),
            };
            self.outbox.pop_front();
            if let Some(id) = id {
                self.sending.push((id, message));
            }
            self.send_publish(scene, message, id, false);
        }
    }

    fn send_publish(&mut self, scene: &mut Scene<'_>, message: MessageNo, id: Option<PacketId>, dup: bool) {
        scene.add(Fact::PublishSent { message });
        let info = scene.history.message(message);
        let mut body = Vec::new();
        if !info.empty {
            payload::write(message, &mut body);
        }
        let mut properties = PublishProperties::default();
        let label = label(message);
        let pairs = [("m", label.as_str())];
        if self.habits.version.has_properties() {
            properties.message_expiry = info.expires.then_some(MESSAGE_EXPIRY);
            if message.0.is_multiple_of(3) {
                properties.content_type = Some(&label);
                properties.user_properties = UserProperties::from(&pairs[..]);
            }
        }
        let (topic, alias) = self.name(scene.history, message, info.topic);
        properties.topic_alias = alias;
        let publish = Publish { dup, qos: qos(info.qos), retain: info.retain, topic, packet_id: id, payload: &body, properties };
        publish.encode(self.habits.version, &mut self.out).expect("payloads are small");
    }

    /// How this PUBLISH names its topic: one in two uses an alias where the broker takes any (§3.3.2.3.4).
    fn name(&mut self, history: &History, message: MessageNo, no: TopicNo) -> (Option<TopicName<'static>>, Option<NonZeroU16>) {
        let name = topic(history, no);
        if self.aliases_max == 0 || splitmix(u64::from(message.0)) & 1 == 0 {
            return (Some(name), None);
        }
        let number = |index: usize| u16::try_from(index + 1).ok().and_then(NonZeroU16::new);
        if let Some(known) = self.aliases.iter().position(|alias| *alias == no) {
            return (None, number(known));
        }
        if self.aliases.len() < usize::from(self.aliases_max) {
            self.aliases.push(no);
            return (Some(name), number(self.aliases.len() - 1));
        }
        (Some(name), None)
    }

    /// Asks for these filters in one packet.
    pub(crate) fn subscribe(&mut self, scene: &mut Scene<'_>, asked: &[SubscriptionInfo]) {
        let id = self.request_id();
        let mut numbers = Vec::new();
        for info in asked {
            let subscription =
                SubscriptionNo(u32::try_from(scene.history.subscriptions.len()).expect("a run has few subscriptions"));
            scene.history.subscriptions.push(*info);
            scene.add(Fact::SubscribeSent { client: self.no, subscription });
            numbers.push(subscription);
            if !self.filters.contains(&info.filter) {
                self.filters.push(info.filter);
            }
        }
        let entries: Vec<SubscribeEntry<'_>> = asked
            .iter()
            .map(|info| SubscribeEntry {
                filter: scene.history.vocabulary.filter(info.filter),
                options: SubscriptionOptions {
                    qos: qos(info.qos),
                    no_local: info.no_local,
                    retain_as_published: info.retain_as_published,
                    retain_handling: match info.retained {
                        Retained::Always => RetainHandling::Send,
                        Retained::IfNew => RetainHandling::SendIfNew,
                        Retained::Never => RetainHandling::DoNotSend,
                    },
                },
            })
            .collect();
        let subscription_id = if self.habits.version.has_properties() { subscription_id(&numbers) } else { None };
        let subscribe =
            Subscribe { id, subscription_id, user_properties: UserProperties::EMPTY, entries: entries.as_slice().into() };
        subscribe.encode(self.habits.version, &mut self.out);
        self.requests.push((id, Request::Subscribe(numbers)));
    }

    /// Gives these filters up in one packet.
    pub(crate) fn unsubscribe(&mut self, scene: &mut Scene<'_>, filters: &[FilterNo]) {
        let id = self.request_id();
        for &filter in filters {
            scene.add(Fact::UnsubscribeSent { client: self.no, filter });
        }
        let texts: Vec<&str> = filters.iter().map(|&filter| scene.history.vocabulary.filter(filter)).collect();
        let unsubscribe = Unsubscribe { id, user_properties: UserProperties::EMPTY, filters: texts.as_slice().into() };
        unsubscribe.encode(self.habits.version, &mut self.out);
        self.filters.retain(|filter| !filters.contains(filter));
        self.requests.push((id, Request::Unsubscribe(filters.to_vec())));
    }

    fn request_id(&mut self) -> PacketId {
        self.sender.begin_request().expect("few identifiers are in use")
    }

    /// Says DISCONNECT; the broker closes.
    pub(crate) fn disconnect(&mut self, scene: &mut Scene<'_>, keeps_will: bool, ends_session: bool) {
        let Some(link) = self.link() else { return };
        let keeps_will = keeps_will && self.habits.version.disconnect_may_keep_will();
        let ends_session = ends_session && self.habits.version.has_properties() && self.habits.expiry > 0;
        scene.add(Fact::DisconnectSent { client: self.no, link, keeps_will, ends_session });
        let reason = if keeps_will { ReasonCode::DISCONNECT_WITH_WILL_MESSAGE } else { ReasonCode::NORMAL_DISCONNECTION };
        let session_expiry = ends_session.then_some(0);
        Disconnect { session_expiry, ..Disconnect::new(reason) }.encode(self.habits.version, &mut self.out);
        self.disconnecting = true;
        if ends_session {
            // Whether the broker has heard it cannot be known: only a clean start is safe now.
            self.forget(scene);
            self.must_clean = true;
        }
    }

    /// Loses patience, as MQTT 3 clients may, and sends the QoS 2 messages again that have no PUBREC.
    pub(crate) fn repeat(&mut self, scene: &mut Scene<'_>) {
        if !self.is_open() || !self.habits.version.may_resend() {
            return;
        }
        let unanswered = |(id, sending): (PacketId, &Sending<MessageNo>)| match sending {
            Sending::AwaitPubrec(message) => Some((id, *message)),
            Sending::AwaitPuback(_) | Sending::AwaitPubcomp => None,
        };
        let open: Vec<_> = self.sender.on_the_wire().filter_map(unanswered).collect();
        for (id, message) in open {
            self.repeated.push(id);
            self.send_publish(scene, message, Some(id), true);
        }
    }

    /// Says PINGREQ.
    pub(crate) fn ping(&mut self) {
        self.pings_open += 1;
        Packet::Pingreq.encode(self.habits.version, &mut self.out).expect("two bytes");
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, scene: &mut Scene<'_>, bytes: &[u8]) {
        let mut buffer = std::mem::take(&mut self.partial);
        buffer.extend_from_slice(bytes);
        let mut used = 0;
        while self.link().is_some() {
            match split(&buffer[used..], u32::MAX) {
                Ok(Split::Need) => break,
                Ok(Split::Frame { first, body, len }) => {
                    used += len;
                    if self.habits.packet_max.is_some_and(|most| len > most as usize) {
                        self.broke(scene, Breach::PacketTooLarge);
                    }
                    match decode(self.habits.version, Peer::Server, first, body) {
                        Ok(packet) => self.packet(scene, &packet),
                        Err(_) => return self.broke(scene, Breach::Malformed),
                    }
                }
                Err(_) => return self.broke(scene, Breach::Malformed),
            }
        }
        if self.link().is_some() {
            buffer.drain(..used);
            self.partial = buffer;
        }
    }

    fn broke(&self, scene: &mut Scene<'_>, breach: Breach) {
        scene.add(Fact::Broke { client: self.no, breach });
    }

    fn packet(&mut self, scene: &mut Scene<'_>, packet: &Packet<'_>) {
        if let (Phase::Connecting(link), Packet::Connack(connack)) = (self.phase, packet) {
            return self.connack(scene, link, connack);
        }
        if !matches!(self.phase, Phase::Open(_)) {
            return self.broke(scene, Breach::Unexpected(packet.packet_type() as u8));
        }
        match packet {
            Packet::Publish(publish) => self.publish_came(scene, publish),
            Packet::Ack(ack) if ack.kind == AckKind::Pubrel => self.pubrel(scene, ack.id),
            Packet::Ack(ack) => self.ack(scene, ack),
            Packet::Suback(suback) => {
                let reasons: Vec<ReasonCode> = suback.reasons.iter().collect();
                self.suback(scene, suback.id, &reasons);
            }
            Packet::Unsuback(unsuback) => self.unsuback(scene, unsuback.id),
            Packet::Pingresp if self.pings_open > 0 => self.pings_open -= 1,
            Packet::Disconnect(disconnect) if may_say(disconnect.reason) => {}
            Packet::Disconnect(disconnect) => self.broke(scene, Breach::Refused(disconnect.reason.get())),
            Packet::Pingresp
            | Packet::Connack(_)
            | Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq
            | Packet::Auth(_) => self.broke(scene, Breach::Unexpected(packet.packet_type() as u8)),
        }
    }

    fn connack(&mut self, scene: &mut Scene<'_>, link: LinkNo, connack: &Connack<'_>) {
        if connack.reason.is_failure() {
            return self.broke(scene, Breach::Refused(connack.reason.get()));
        }
        let version = self.habits.version;
        let present = version.has_session_present().then_some(connack.session_present);
        scene.add(Fact::Connected { client: self.no, link, present });
        self.phase = Phase::Open(link);
        self.detached_at = None;
        self.unanswered_connect = false;
        let resumes = present.unwrap_or(!self.must_clean);
        self.must_clean = false;
        if !resumes {
            self.forget(scene);
        }
        if version.has_properties() {
            let theirs = connack.properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
            self.sender.set_window(theirs.min(self.habits.window));
            self.aliases_max = connack.properties.topic_alias_maximum.unwrap_or(0);
        }
        self.resume(scene);
        self.send_more(scene);
    }

    /// Sends again what was not acknowledged, in the order of the first time [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    fn resume(&mut self, scene: &mut Scene<'_>) {
        let open: Vec<(PacketId, Option<MessageNo>)> =
            self.sender.resume().map(|(id, sending)| (id, sending.message().copied())).collect();
        for (id, message) in open {
            match message {
                Some(message) => self.send_publish(scene, message, Some(id), true),
                None => self.send_ack(AckKind::Pubrel, id),
            }
        }
    }

    /// The window has room again for what still waits for its repetition.
    fn resume_more(&mut self, scene: &mut Scene<'_>) {
        while let Some((id, sending)) = self.sender.resume_next() {
            if let Some(message) = sending.message().copied() {
                self.send_publish(scene, message, Some(id), true);
            }
        }
    }

    fn send_ack(&mut self, kind: AckKind, id: PacketId) {
        Ack { kind, id, reason: ReasonCode::SUCCESS, properties: AckProperties::default() }
            .encode(self.habits.version, &mut self.out);
        if matches!(kind, AckKind::Puback | AckKind::Pubcomp) {
            self.unanswered.retain(|&open| open != id);
        }
    }

    /// Answers now, or later where the client is slow; in order either way [MQTT-4.6.0-2] to [MQTT-4.6.0-4].
    fn owe(&mut self, kind: AckKind, id: PacketId) {
        if self.habits.slow.is_some() {
            self.answers.push_back((kind, id));
        } else {
            self.send_ack(kind, id);
        }
    }

    /// Sends the first answers that are owed.
    pub(crate) fn answer(&mut self, count: usize) {
        for _ in 0..count {
            let Some((kind, id)) = self.answers.pop_front() else { return };
            self.send_ack(kind, id);
        }
    }

    fn ack(&mut self, scene: &mut Scene<'_>, ack: &Ack<'_>) {
        let message = self.sending.iter().find(|(id, _)| *id == ack.id).map(|&(_, message)| message);
        let Some(message) = message else {
            // A PUBREC for what is unknown is answered all the same, or the broker would wait for ever.
            return self.broke(scene, Breach::UnknownAck(ack.id.get()));
        };
        let is_released = matches!(self.sender.get(ack.id), Some(Sending::AwaitPubcomp));
        if let Some(at) = self.repeated.iter().position(|id| *id == ack.id).filter(|_| is_released && ack.kind == AckKind::Pubrec)
        {
            self.repeated.swap_remove(at);
            return;
        }
        match self.sender.on_ack(ack.kind, ack.id, ack.reason) {
            Ok(Acked::Released(_) | Acked::ReleasedAgain) => {
                scene.add(Fact::Received { message });
                self.send_ack(AckKind::Pubrel, ack.id);
            }
            Ok(Acked::Finished { .. }) => {
                self.sending.retain(|(id, _)| *id != ack.id);
                if ack.reason.is_failure() && ack.kind != AckKind::Pubcomp {
                    self.broke(scene, Breach::Refused(ack.reason.get()));
                } else {
                    scene.add(Fact::Acknowledged { message });
                }
                self.resume_more(scene);
                self.send_more(scene);
            }
            Err(_) => self.broke(scene, Breach::UnknownAck(ack.id.get())),
        }
    }

    fn suback(&mut self, scene: &mut Scene<'_>, id: PacketId, reasons: &[ReasonCode]) {
        let at = self.requests.iter().position(|(open, request)| *open == id && matches!(request, Request::Subscribe(_)));
        let Some(at) = at else { return self.broke(scene, Breach::UnknownAck(id.get())) };
        let (_, Request::Subscribe(asked)) = self.requests.remove(at) else { return };
        self.sender.end_request(id);
        if asked.len() != reasons.len() {
            return self.broke(scene, Breach::Malformed);
        }
        for (subscription, reason) in asked.into_iter().zip(reasons) {
            if reason.is_failure() {
                self.broke(scene, Breach::Refused(reason.get()));
            } else {
                scene.add(Fact::Subscribed { client: self.no, subscription, granted: reason.get() });
            }
        }
    }

    fn unsuback(&mut self, scene: &mut Scene<'_>, id: PacketId) {
        let at = self.requests.iter().position(|(open, request)| *open == id && matches!(request, Request::Unsubscribe(_)));
        let Some(at) = at else { return self.broke(scene, Breach::UnknownAck(id.get())) };
        let (_, Request::Unsubscribe(filters)) = self.requests.remove(at) else { return };
        self.sender.end_request(id);
        for filter in filters {
            scene.add(Fact::Unsubscribed { client: self.no, filter });
        }
    }

    fn publish_came(&mut self, scene: &mut Scene<'_>, publish: &Publish<'_>) {
        let message = payload::read(publish.payload).filter(|message| (message.0 as usize) < scene.history.messages.len());
        if message.is_none() && !publish.payload.is_empty() {
            self.broke(scene, Breach::NotPublished);
        }
        if let Some(message) = message {
            self.check_content(scene, message, publish);
            let id = publish.packet_id.map_or(0, PacketId::get);
            scene.add(Fact::Arrived { client: self.no, message, id, dup: publish.dup });
        }
        let stored = Stored { message, retain: publish.retain, dup: publish.dup };
        if let Some(id) = publish.packet_id {
            self.count_open(scene, id, publish);
            if publish.qos == QoS::ExactlyOnce {
                return self.store(scene, id, stored);
            }
        }
        self.hand_over(scene, stored, publish.qos);
        if let Some(id) = publish.packet_id {
            self.owe(AckKind::Puback, id);
        }
    }

    /// No more than the client allows may be open, and nothing new under an identifier that is.
    fn count_open(&mut self, scene: &mut Scene<'_>, id: PacketId, publish: &Publish<'_>) {
        if self.unanswered.contains(&id) {
            // Timed repetitions and answers can cross, so with them this proves nothing.
            let repeats = self.habits.version.may_resend();
            if publish.qos == QoS::AtLeastOnce && !publish.dup && !repeats {
                self.broke(scene, Breach::IdentifierInUse(id.get()));
            }
            return;
        }
        self.unanswered.push(id);
        if self.habits.receive_maximum.is_some_and(|most| self.unanswered.len() > usize::from(most)) {
            self.broke(scene, Breach::ReceiveMaximum);
        }
    }

    fn store(&mut self, scene: &mut Scene<'_>, id: PacketId, stored: Stored) {
        if let Some(first) = self.receiver.get(id) {
            if first.message != stored.message || !stored.dup {
                self.broke(scene, Breach::IdentifierInUse(id.get()));
            }
        } else {
            self.receiver.store(id, stored);
        }
        self.owe(AckKind::Pubrec, id);
    }

    fn pubrel(&mut self, scene: &mut Scene<'_>, id: PacketId) {
        if let Some(stored) = self.receiver.on_pubrel(id) {
            self.hand_over(scene, stored, QoS::ExactlyOnce);
        }
        self.owe(AckKind::Pubcomp, id);
    }

    fn hand_over(&self, scene: &mut Scene<'_>, stored: Stored, qos: QoS) {
        if let Some(message) = stored.message {
            scene.add(Fact::HandedOver { client: self.no, message, qos: qos as u8, retain: stored.retain, dup: stored.dup });
        }
    }

    fn check_content(&self, scene: &mut Scene<'_>, message: MessageNo, publish: &Publish<'_>) {
        let info = scene.history.message(message).clone();
        let same_topic = publish.topic.is_some_and(|name| name.as_str() == scene.history.vocabulary.topic(info.topic));
        if !same_topic || info.empty {
            self.broke(scene, Breach::NotPublished);
        }
        if publish.qos as u8 > info.qos {
            self.broke(scene, Breach::QosRaised);
        }
        if self.habits.version.has_properties() {
            self.check_properties(scene, message, &info, publish);
        }
    }

    fn check_properties(&self, scene: &mut Scene<'_>, message: MessageNo, info: &MessageInfo, publish: &Publish<'_>) {
        let properties = &publish.properties;
        let wrong_expiry = match properties.message_expiry {
            Some(left) => !info.expires || left > MESSAGE_EXPIRY,
            None => info.expires,
        };
        let named = info.will.is_none() && message.0.is_multiple_of(3) && properties.content_type.is_some();
        let label = label(message);
        let wrong_label =
            named && (properties.content_type != Some(&label) || !properties.user_properties.iter().eq([("m", label.as_str())]));
        if wrong_expiry || wrong_label {
            self.broke(scene, Breach::Properties);
        }
        for id in properties.subscription_ids.iter() {
            if !is_id_for(scene.history, id.get(), info.topic) {
                self.broke(scene, Breach::SubscriptionIdentifier);
            }
        }
    }
}

/// The two sides may have noticed the end of a connection at different times.
const EXPIRY_MARGIN: Micros = 1_000_000;

/// The longest that bytes on their way can hide from a client that its connection has ended.
const UNANSWERED_MARGIN: Micros = 4_000_000;

/// Message expiry interval in seconds, for messages that have one.
const MESSAGE_EXPIRY: u32 = 2;

/// Reasons that a broker may have to end a connection, with clients that are correct.
fn may_say(reason: ReasonCode) -> bool {
    [ReasonCode::SESSION_TAKEN_OVER, ReasonCode::KEEP_ALIVE_TIMEOUT, ReasonCode::SERVER_SHUTTING_DOWN, ReasonCode::QUOTA_EXCEEDED]
        .contains(&reason)
}

fn label(message: MessageNo) -> String {
    format!("m{}", message.0)
}

/// One identifier per SUBSCRIBE: one more than the number of its first subscription.
fn subscription_id(numbers: &[SubscriptionNo]) -> Option<columba_proto::property::SubscriptionId> {
    columba_proto::property::SubscriptionId::new(numbers.first()?.0 + 1)
}

/// Whether a subscription of that SUBSCRIBE matches the topic.
fn is_id_for(history: &History, id: u32, topic: TopicNo) -> bool {
    let first = id.saturating_sub(1) as usize;
    history.subscriptions.iter().skip(first).take(MOST_FILTERS).any(|asked| history.vocabulary.matches(asked.filter, topic))
}

/// Filters in one SUBSCRIBE at most.
pub(crate) const MOST_FILTERS: usize = 3;

fn qos(level: u8) -> QoS {
    QoS::try_from(level).expect("0 to 2")
}

fn topic(history: &History, topic: TopicNo) -> TopicName<'static> {
    TopicName::new(history.vocabulary.topic(topic)).expect("the vocabulary has topic names")
}
