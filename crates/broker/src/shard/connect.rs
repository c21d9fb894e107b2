//! CONNECT: who may in, which session it takes up, who has to go for it (§3.1.4, §4.1).

use alloc::{boxed::Box, format, string::String, string::ToString, sync::Arc, vec::Vec};
use core::num::NonZero;

use columba_proto::{
    AliasesIn, AliasesOut, KeepAlive, PacketType, QoS, ReasonCode, Version,
    connection::server::{AwaitConnect, Connecting, answer_to_refused},
    packet::{Connack, ConnackProperties, Connect, Packet, Will},
    qos::ReceiveQuota,
};

use super::{Shard, own_topics::is_own};
use crate::{
    auth::{Known, Passwords, Way},
    connection::{Ending, LoggedIn, Offer, Open, Phase, ProblemInformation, Publications, Published},
    durable::{Record, StoredWill},
    event::Event,
    hold::{Frame, Ring},
    id::{ChangeSeq, ConnectionId, ShardId},
    limits::{ALIASES_OUT_MAX, Durable, FRAME_MAX},
    pace::Pace,
    seam::Cx,
    seats::Seat,
    session::{Link, Session},
    stats::LoginOutcome,
    timers::Timer,
};

/// Where a connection goes on after its first packet.
pub(super) enum Verdict {
    /// Here, or it was refused here.
    Here,
    /// On the shard that owns its client identifier.
    Elsewhere(ShardId),
}

/// A CONNECT that is refused (§3.2.2.2).
pub(super) struct Refusal<'w> {
    pub(super) reason: ReasonCode,
    pub(super) why: &'w str,
}

/// More bytes than a CONNACK of ours has without response information.
const CONNACK_LEN_MAX: usize = 256;

/// What a client has shown of who it is.
pub(super) enum Shown<'b> {
    /// Nothing yet; the body of its CONNECT.
    Nothing(&'b [u8]),
    /// That it knows the password of somebody.
    Proof(Proof),
}

/// The end of an authentication that went well.
pub(super) struct Proof {
    /// Who the client is.
    pub(super) known: Known,
    /// Authentication Data for the client, where CONNECT named a method.
    pub(super) answer: Option<Vec<u8>>,
}

/// A user has as many connections as it may have.
struct Full;

/// What CONNACK tells a client about its connection.
struct Terms<'p> {
    offer: Offer,
    expiry_s: u32,
    server_keep_alive: Option<u16>,
    proof: Option<&'p Proof>,
}

impl Shard {
    /// The first packet: a CONNECT, or the connection is dropped [MQTT-3.1.0-1].
    pub(super) fn first_packet(&mut self, cx: &Cx<'_>, id: ConnectionId, first: u8, body: &[u8]) -> Verdict {
        match AwaitConnect::new().on_packet(first, body) {
            Ok((connecting, connect)) => self.on_connect(cx, id, connecting, &connect, Shown::Nothing(body)),
            Err(error) => {
                if let Some((version, reason)) = answer_to_refused(first, body, error) {
                    self.append_connack(id, version, reason, None, u32::MAX);
                }
                self.fail(cx, id, error.reason_code(), &error.to_string());
                Verdict::Here
            }
        }
    }

    pub(super) fn on_connect(
        &mut self,
        cx: &Cx<'_>,
        id: ConnectionId,
        connecting: Connecting,
        connect: &Connect<'_>,
        shown: Shown<'_>,
    ) -> Verdict {
        if self.connections.get(id).is_some_and(|connection| connection.origin.is_surplus) {
            let why = "there are as many connections as this broker allows";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::QUOTA_EXCEEDED, why });
            return Verdict::Here;
        }
        let config = Arc::clone(&self.config);
        let listener = self.connections.get(id).map(|connection| connection.origin.listener);
        let terms_here = listener.and_then(|listener| config.listeners.get(usize::from(listener)));
        if terms_here.is_some_and(|terms| !terms.versions.contains(&connect.version)) {
            let why = "this version of MQTT is not spoken here [MQTT-3.1.2-2]";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, why });
            return Verdict::Here;
        }
        let mount = terms_here.and_then(|terms| terms.mount_point.as_ref());
        let mut will_topic = String::new();
        let mounted = match (mount, &connect.will) {
            (Some(mount), Some(will)) => {
                let Ok(topic) = mount.whole(will.topic.as_str(), &mut will_topic) else {
                    let why = "the will topic is too long behind the listener's mount point";
                    self.refuse(id, connect, &Refusal { reason: ReasonCode::TOPIC_NAME_INVALID, why });
                    return Verdict::Here;
                };
                Some(Connect { will: Some(Will { topic, ..will.clone() }), ..connect.clone() })
            }
            (None, _) | (_, None) => None,
        };
        let connect = mounted.as_ref().unwrap_or(connect);
        let offer = Offer::of(&config, terms_here);
        let client_id = match self.check(connect, offer) {
            Ok(()) if connect.client_id.is_empty() => self.assign_client_id(cx),
            Ok(()) => connect.client_id.to_string(),
            Err(refusal) => {
                self.refuse(id, connect, &refusal);
                return Verdict::Here;
            }
        };
        let placement = cx.commons.placement();
        let lane = placement.lane(&client_id);
        let owner = placement.shard(lane);
        if owner != self.id {
            return Verdict::Elsewhere(owner);
        }
        if self.is_banned(cx, &client_id) {
            let why = "this client identifier connects too often, and has to stay away for a while";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::BANNED, why });
            return Verdict::Here;
        }
        let proof = match shown {
            Shown::Proof(proof) => Some(proof),
            Shown::Nothing(body) if connect.properties.authentication_method.is_some() => {
                self.begin_authentication(id, connecting, connect, body);
                return Verdict::Here;
            }
            Shown::Nothing(body) if self.is_asked_about(id, connect) && self.identity(id).is_none() => {
                self.ask(id, connecting, connect, body);
                return Verdict::Here;
            }
            Shown::Nothing(_) if self.refuses_strangers(id) && self.identity(id).is_none() => {
                self.counters.login(LoginOutcome::Refused, Way::Nothing);
                let why = "who connects has to log in, by user name and password";
                self.refuse(id, connect, &Refusal { reason: ReasonCode::NOT_AUTHORIZED, why });
                return Verdict::Here;
            }
            Shown::Nothing(_) => None,
        };

        let version = connect.version;
        let expiry_s = connect.session_expiry().min(self.config.session_expiry_max_s);
        // An ephemeral connection that takes up a recorded session, or ends it, would wait for the disk for ever.
        let has_records = || self.by_client.get(&*client_id).is_some_and(|&slot| self.sessions[slot as usize].recorded);
        if self.journal_has_failed() && (expiry_s > 0 || has_records()) {
            let refusal = Refusal {
                reason: ReasonCode::SERVER_UNAVAILABLE,
                why: "the journal failed; durable sessions are refused until a restart",
            };
            self.refuse(id, connect, &refusal);
            return Verdict::Here;
        }
        if self.is_room_scarce() && expiry_s > 0 && !has_records() {
            let why = "the disk or the memory is full; new durable sessions are refused until there is room";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::QUOTA_EXCEEDED, why });
            return Verdict::Here;
        }

        let known = proof
            .as_ref()
            .map(|proof| proof.known.clone())
            .or_else(|| self.identity(id).map(|user| Known::user(user, Way::Certificate, None)));
        let Ok(seat) = self.seat(cx, &client_id, known.as_ref()) else {
            let why = "this user has as many connections as it may have";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::QUOTA_EXCEEDED, why });
            return Verdict::Here;
        };

        let (keep_alive_s, is_keep_alive_ours) = self.keep_alive(version, connect.keep_alive);
        let terms =
            Terms { offer, expiry_s, server_keep_alive: is_keep_alive_ours.then_some(keep_alive_s), proof: proof.as_ref() };
        let max_packet_size = max_packet_size(connect);
        if max_packet_size < u32::MAX {
            let connack = self.connack(connect, &client_id, false, &terms);
            if connack.len() > max_packet_size as usize {
                let why = "CONNACK is larger than the client's maximum packet size [MQTT-3.1.2-24]";
                self.refuse(id, connect, &Refusal { reason: ReasonCode::PACKET_TOO_LARGE, why });
                return Verdict::Here;
            }
        }

        self.note_coming(cx, id, &client_id);
        let mut until = self.forget_lone_will(&client_id);
        let (slot, resumed, taken_up) = self.take_up(cx, &client_id, connect.clean_start, expiry_s > 0);
        until = until.max(taken_up);
        let is_written_enough = listener.is_some_and(|listener| self.config.written_listeners.contains(&listener));
        let waits_for = if is_written_enough { Durable::Written } else { Durable::Synced };
        let login_ends = known.as_ref().and_then(|known| known.until);
        let mut access = self.access_of(id, &client_id, known.as_ref());
        // Judged now: when it is due nobody is there whose rights could be looked up.
        let denied_will =
            access.as_mut().zip(connect.will.as_ref()).and_then(|(access, will)| access.may_publish(will.topic.as_str()).err());
        let will = connect.will.as_ref().filter(|_| denied_will.is_none());
        let open = Open {
            protocol: connecting.accept(),
            session: slot,
            login: known.map(|known| Box::new(LoggedIn { known, again: None, seat })),
            access,
            greeted: false,
            since: cx.now,
            keep_alive: KeepAlive::new(keep_alive_s, cx.now),
            max_packet_size,
            receiving: ReceiveQuota::new(if version.has_properties() { self.config.receive_maximum } else { u16::MAX }),
            ring: Ring::default(),
            waits_for,
            held_bytes: 0,
            published: Published::Nothing,
            is_bridge: connect.bridge,
            is_full_told: false,
            aliases: (version.has_topic_aliases() && offer.max_topic_alias > 0)
                .then(|| Box::new(AliasesIn::new(offer.max_topic_alias))),
            aliases_out: aliases_out(connect),
            problems: problems(connect),
            publications: Publications::Judged,
            offer,
            mount: mount.cloned(),
            pace: Pace::new(self.config.bytes_in, self.config.messages_in, cx.now).map(Box::new),
            pace_out: Pace::new(self.config.bytes_out, self.config.messages_out, cx.now).map(Box::new),
            unanswered: None,
            half: None,
        };
        if let Some(deadline) = open.keep_alive.deadline() {
            self.timers.set(deadline, Timer::KeepAlive(id));
        }
        if let Some(ends) = login_ends {
            self.timers.set(ends, Timer::LoginEnds(id));
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.phase = Phase::Open(Box::new(open));
        }

        let window = connect.properties.receive_maximum.map_or(u16::MAX, NonZero::get).min(self.config.inflight);
        let will = will.map(|will| Box::new(StoredWill::new(will)));
        until = until.max(self.attach(cx, slot, id, expiry_s, window, will));

        if let (Some(denied), Some(will)) = (denied_will, &connect.will) {
            self.count_denied(cx, slot, will.topic.as_str(), denied);
        }
        let connack = self.connack(connect, &client_id, resumed, &terms);
        self.send(cx, id, until, Frame::Bytes(connack.into()));
        self.tell_connected(id, slot, version, resumed);
        self.resume(cx, id, slot);
        self.attend_groups(cx, slot);
        Verdict::Here
    }

    /// A seat for one more connection of this user, where these are bounded. A client that takes itself over needs none: it gets that of the old connection.
    fn seat(&self, cx: &Cx<'_>, client_id: &str, known: Option<&Known>) -> Result<Option<Seat>, Full> {
        let Some((max, known)) = self.config.connections_per_user.zip(known) else { return Ok(None) };
        let seat = cx.commons.seat(&known.user);
        let old = self.by_client.get(client_id).and_then(|&slot| self.sessions[slot as usize].connection());
        let old_login = old.and_then(|old| self.connections.get(old)).and_then(|old| match &old.phase {
            Phase::Open(open) => open.login.as_ref(),
            Phase::AwaitConnect | Phase::Authenticating(_) | Phase::Closing => None,
        });
        let goes = old_login.is_some_and(|login| login.seat.is_some() && login.known.user == known.user);
        let is_full = seat.taken() - usize::from(goes) > max as usize;
        if is_full { Err(Full) } else { Ok(Some(seat)) }
    }

    /// Whether the world is asked about what this CONNECT shows.
    fn is_asked_about(&self, id: ConnectionId, connect: &Connect<'_>) -> bool {
        self.door(id).is_some_and(|door| match door.passwords {
            Passwords::Ignored => false,
            Passwords::Named => connect.username.is_some(),
            Passwords::All => connect.username.is_some() || connect.password.is_some(),
        })
    }

    /// The user whom the connection itself has shown to come from.
    fn identity(&self, id: ConnectionId) -> Option<Box<str>> {
        self.connections.get(id)?.origin.identity.clone()
    }

    /// What can be said without looking at sessions.
    fn check(&self, connect: &Connect<'_>, offer: Offer) -> Result<(), Refusal<'static>> {
        let version = connect.version;
        let refuse = |reason, why| Err(Refusal { reason, why });
        if self.is_draining && self.config.server_reference.is_some() {
            return refuse(ReasonCode::USE_ANOTHER_SERVER, "the server is shutting down");
        }
        if self.is_draining {
            return refuse(ReasonCode::SERVER_UNAVAILABLE, "the server is shutting down");
        }
        if connect.client_id.is_empty() {
            if !version.allows_empty_client_id() {
                return refuse(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, "an empty client identifier in MQTT 3.1");
            }
            if version.empty_client_id_needs_clean_start() && !connect.clean_start {
                return refuse(
                    ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                    "an empty client identifier without a clean session [MQTT-3.1.3-8]",
                );
            }
        }
        if let Some(will) = &connect.will {
            if will.qos > offer.max_qos {
                return refuse(ReasonCode::QOS_NOT_SUPPORTED, "the will's QoS is above the maximum QoS [MQTT-3.2.2-12]");
            }
            if will.retain && !offer.retain {
                return refuse(ReasonCode::RETAIN_NOT_SUPPORTED, "a retained will, but retain is not offered [MQTT-3.2.2-13]");
            }
            if will.payload.len() > self.config.max_payload {
                return refuse(ReasonCode::PACKET_TOO_LARGE, "the will's payload is longer than limits.max_payload");
            }
            if is_own(will.topic.as_str()) {
                return refuse(ReasonCode::NOT_AUTHORIZED, "the will topic is one of the broker's own (4.7.2)");
            }
            if will.topic.levels().count() > usize::from(self.config.topic_levels) {
                return refuse(ReasonCode::TOPIC_NAME_INVALID, "the will topic has too many levels");
            }
        }
        Ok(())
    }

    /// A unique identifier that lives on this shard [MQTT-3.1.3-6].
    fn assign_client_id(&mut self, cx: &Cx<'_>) -> String {
        loop {
            self.assigned += 1;
            let unique = mix(self.seed ^ (u64::from(self.id.0) << 48) ^ self.assigned ^ (cx.now.0 << 16));
            let client_id = format!("auto-{unique:016x}");
            let placement = cx.commons.placement();
            if placement.shard(placement.lane(&client_id)) == self.id && !self.by_client.contains_key(client_id.as_str()) {
                return client_id;
            }
        }
    }

    /// The keep-alive to go by, and whether it is ours rather than the client's [MQTT-3.2.2-22].
    fn keep_alive(&self, version: Version, asked_s: u16) -> (u16, bool) {
        let max = self.config.max_keep_alive_s;
        let too_long = max > 0 && (asked_s == 0 || asked_s > max);
        if too_long && version.has_properties() { (max, true) } else { (asked_s, false) }
    }

    /// The session that this CONNECT begins or takes up, whether it was there, and what CONNACK has to wait for.
    fn take_up(&mut self, cx: &Cx<'_>, client_id: &str, clean_start: bool, persistent: bool) -> (u32, bool, ChangeSeq) {
        let mut until = ChangeSeq(0);
        if let Some(&slot) = self.by_client.get(client_id)
            && let Some(old) = self.sessions[slot as usize].connection()
        {
            self.take_over(cx, old, slot, clean_start);
        }
        if let Some(&slot) = self.by_client.get(client_id) {
            self.end_what_is_due(cx, slot);
        }
        // Time, or the old connection's end, may have ended the session.
        if let Some(&slot) = self.by_client.get(client_id) {
            let session = &mut self.sessions[slot as usize];
            if session.is_in_grace(cx.now) {
                // The connection ended with a crash, and the client is back in time.
                session.will = None;
            }
            // Taken up with expiry 0 before a crash: it ended with that connection.
            let has_ended = session.expiry_s == 0 && matches!(session.link, Link::Detached { .. });
            if !clean_start && !has_ended {
                return (slot, true, self.batch.last_append());
            }
            if self.sessions[slot as usize].recorded {
                until = self.delete_session(cx, slot);
            } else {
                self.delete_session(cx, slot);
            }
        }
        let lane = cx.commons.placement().lane(client_id);
        let no = cx.commons.clock().session(lane);
        let client_id: Arc<str> = client_id.into();
        let session = Session::new(no, Arc::clone(&client_id), persistent);
        let slot = self.admit(session);
        if persistent {
            until = self.record(&Record::Created { session: no, client_id: &client_id });
        }
        (slot, false, until)
    }

    /// A new connection under a client identifier that is online closes the older one [MQTT-3.1.4-3].
    fn take_over(&mut self, cx: &Cx<'_>, old: ConnectionId, slot: u32, clean_start: bool) {
        // With Clean Start 0 the new connection comes before the will's delay is over [MQTT-3.1.3-9]; without a delay it comes too late.
        let session = &self.sessions[slot as usize];
        // A session that ends with its connection ends now, and its will is due then, whatever its delay.
        let goes_on = !clean_start && session.expiry_s > 0;
        let spared = goes_on && session.will.as_ref().is_some_and(|will| will.delay > 0);
        if spared {
            self.sessions[slot as usize].will = None;
        }
        let ending = Ending { reason: ReasonCode::SESSION_TAKEN_OVER, is_normal: false, is_ours: true };
        self.end(cx, old, ending, "the client connected again");
    }

    /// Ties session and connection together and records it; the answer is what CONNACK has to wait for.
    fn attach(
        &mut self,
        cx: &Cx<'_>,
        slot: u32,
        id: ConnectionId,
        expiry_s: u32,
        window: u16,
        will: Option<Box<StoredWill>>,
    ) -> ChangeSeq {
        let session = &mut self.sessions[slot as usize];
        session.attach(id);
        session.expiry_s = expiry_s;
        session.sender.set_window(window);
        session.will = will;
        let no = session.no;
        let client_id = Arc::clone(&session.client_id);
        let has_will = session.will.is_some();
        let will = self.sessions[slot as usize].will.clone();
        if self.sessions[slot as usize].recorded {
            return self.record(&Record::Attached {
                session: no,
                expiry: expiry_s,
                will: will.as_deref().map(StoredWill::to_record),
            });
        }
        if !has_will || self.journal_has_failed() {
            return ChangeSeq(0);
        }
        // The session has no records, but its will must fire even after a crash.
        let lone = cx.commons.clock().session(no.lane());
        self.sessions[slot as usize].rare().lone_will = Some(lone);
        let will = will.as_deref().map(StoredWill::to_record).expect("there is a will");
        self.record(&Record::WillSet { session: lone, client_id: &client_id, will })
    }

    fn connack(&self, connect: &Connect<'_>, client_id: &str, resumed: bool, terms: &Terms<'_>) -> Vec<u8> {
        let version = connect.version;
        let (config, offer) = (&self.config, terms.offer);
        let properties = if version.has_properties() {
            ConnackProperties {
                session_expiry: (terms.expiry_s != connect.session_expiry()).then_some(terms.expiry_s),
                receive_maximum: NonZero::new(config.receive_maximum),
                maximum_qos: (offer.max_qos < QoS::ExactlyOnce).then_some(offer.max_qos),
                // What is there is said by absence, so that CONNACK fits into the smallest of clients.
                retain_available: (!offer.retain).then_some(false),
                maximum_packet_size: NonZero::new(offer.max_packet_size),
                assigned_client_id: connect.client_id.is_empty().then_some(client_id),
                topic_alias_maximum: Some(offer.max_topic_alias),
                wildcard_subscription_available: (!offer.wildcard_subscriptions).then_some(false),
                shared_subscription_available: (!offer.shared_subscriptions).then_some(false),
                server_keep_alive: terms.server_keep_alive,
                response_information: self.response_information(connect),
                // That of CONNECT [MQTT-4.12.0-5], and none without one there [MQTT-4.12.0-6].
                authentication_method: connect.properties.authentication_method,
                authentication_data: terms.proof.and_then(|proof| proof.answer.as_deref()),
                ..ConnackProperties::default()
            }
        } else {
            ConnackProperties::default()
        };
        let mut frame = Vec::new();
        Connack { session_present: resumed, reason: ReasonCode::SUCCESS, properties }.encode(version, &mut frame);
        frame
    }

    /// Only for those who ask [MQTT-3.1.2-28], and who have room for it: it is nothing that a connection should fail for.
    fn response_information(&self, connect: &Connect<'_>) -> Option<&str> {
        let text = self.config.response_information.as_deref()?;
        let is_wanted = connect.properties.request_response_information == Some(true);
        (is_wanted && max_packet_size(connect) as usize > CONNACK_LEN_MAX + text.len()).then_some(text)
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, connect: &Connect<'_>, refusal: &Refusal<'_>) {
        self.append_connack(id, connect.version, refusal.reason, Some(refusal.why), max_packet_size(connect));
        if let Some(connection) = self.connections.get(id) {
            let peer = connection.origin.peer.clone();
            let client_id = (!connect.client_id.is_empty()).then(|| connect.client_id.into());
            self.event(Event::Refused { peer, client_id, why: refusal.why.into(), reason: refusal.reason });
        }
        self.drop_connection(id);
    }

    /// A CONNACK with a failure has session present 0 [MQTT-3.2.2-6]; where the version has no code for it there is none [MQTT-3.2.2-6 of 3.1.1].
    /// The reason string gives way to the client's limit [MQTT-3.2.2-19], and so does the packet [MQTT-3.1.2-24].
    pub(super) fn append_connack(
        &mut self,
        id: ConnectionId,
        version: Version,
        reason: ReasonCode,
        why: Option<&str>,
        limit: u32,
    ) {
        if !version.has_properties() && reason.connack_return_code().is_none() {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let properties = ConnackProperties {
            reason_string: why.filter(|_| version.has_properties()),
            server_reference: self.config.reference_with(reason).filter(|_| version.has_properties()),
            ..ConnackProperties::default()
        };
        let out = Self::append(connection, &mut self.pool, &mut self.dirty, id);
        let connack = Packet::Connack(Connack { session_present: false, reason, properties });
        // One that does not fit is left out; the connection is closed either way [MQTT-3.2.2-7].
        let before = out.len();
        connack.encode_within(version, limit, out).unwrap_or_default();
        let len = out.len() - before;
        if len > 0 {
            self.counters.sent(PacketType::Connack, len);
        }
    }

    fn tell_connected(&mut self, id: ConnectionId, slot: u32, version: Version, resumed: bool) {
        let Some(connection) = self.connections.get(id) else { return };
        let (peer, listener) = (connection.origin.peer.clone(), connection.origin.listener);
        *self.counters.online(listener, version) += 1;
        let login = connection.as_open().and_then(|open| open.login.as_ref());
        let (outcome, way) = match login {
            Some(login) => (LoginOutcome::Accepted, login.known.by),
            None => (LoginOutcome::Anonymous, Way::Nothing),
        };
        self.counters.login(outcome, way);
        let user = login.map(|login| login.known.user.clone());
        let client_id = Box::from(&*self.sessions[slot as usize].client_id);
        self.event(Event::Connected { client_id, user, peer, listener, version, resumed });
    }
}

/// Bytes of the largest packet that the client takes (§3.1.2.11.4).
pub(super) fn max_packet_size(connect: &Connect<'_>) -> u32 {
    connect.properties.maximum_packet_size.map_or(FRAME_MAX, NonZero::get).min(FRAME_MAX)
}

fn problems(connect: &Connect<'_>) -> ProblemInformation {
    if connect.version.has_properties() && connect.properties.wants_problem_information() {
        ProblemInformation::Wanted
    } else {
        ProblemInformation::Unwanted
    }
}

/// Aliases towards a client that keeps any (§3.1.2.11.5).
fn aliases_out(connect: &Connect<'_>) -> Option<Box<AliasesOut>> {
    let max = connect.properties.topic_alias_maximum.unwrap_or(0).min(ALIASES_OUT_MAX);
    (max > 0).then(|| Box::new(AliasesOut::new(max)))
}

/// A number that looks like chance.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
