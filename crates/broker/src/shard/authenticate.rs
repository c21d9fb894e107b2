//! Who is it: a password in CONNECT (§3.1.3.6), or enhanced authentication with SCRAM-SHA-256, at CONNECT and again later (§4.12).

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};

use columba_proto::{
    PacketType, ReasonCode, ReasonPlace, Version, Violation,
    connection::server::{AwaitConnect, BeforeConnack, Connecting},
    packet::{Auth, Connect, Packet},
    scram::{self, ClientFirst, ScramError},
};

use super::{
    Shard,
    connect::{Proof, Refusal, Shown, Verdict, max_packet_size},
};
use crate::{
    auth::{Answer, Door, Known, Question, Strangers, Way},
    connection::{Authenticating, By, Connection, Exchange, Phase},
    event::Event,
    id::{ChangeSeq, ConnectionId},
    seam::{Cx, Output},
    stats::LoginOutcome,
    timers::Timer,
};

/// The first byte of every CONNECT.
const CONNECT: u8 = 0x10;

/// The same for a wrong password and for nobody's name.
const BAD_LOGIN: &str = "bad user name or password";

/// Whether this password is right is not said any more.
const TOO_MANY_WRONG: &str = "too many wrong logins; try again later";

const AUTH_TOO_LARGE: &str = "AUTH is larger than the client's maximum packet size [MQTT-3.1.2-24]";

/// What comes of one more message of the client.
enum Step {
    /// The client has to say more.
    Continue(Exchange, Vec<u8>),
    /// It has said all.
    Done(Proof),
}

/// At CONNECT.
impl Shard {
    /// What is asked of this client; `None`: nothing.
    pub(super) fn door(&self, id: ConnectionId) -> Option<Door> {
        let listener = self.connections.get(id)?.origin.listener;
        self.config.login.as_ref().map(|login| login.door(listener))
    }

    /// Whether it has to show who it is.
    pub(super) fn refuses_strangers(&self, id: ConnectionId) -> bool {
        self.door(id).is_some_and(|door| door.strangers == Strangers::Refused)
    }

    /// CONNECT names a method: the first step, which may have come with it.
    pub(super) fn begin_authentication(&mut self, id: ConnectionId, connecting: Connecting, connect: &Connect<'_>, body: &[u8]) {
        let is_offered = self.door(id).is_some_and(|door| door.scram);
        if !is_offered || connect.properties.authentication_method != Some(scram::METHOD) {
            self.counters.login(LoginOutcome::Refused, Way::Nothing);
            let why = "this authentication method is not offered [MQTT-4.12.0-1]";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::BAD_AUTHENTICATION_METHOD, why });
            return;
        }
        let (exchange, challenge) = match self.first_step(connect.properties.authentication_data) {
            Ok(begun) => begun,
            Err(error) => {
                self.counters.login(LoginOutcome::Refused, Way::Scram);
                self.refuse(id, connect, &Refusal { reason: ReasonCode::NOT_AUTHORIZED, why: &error.to_string() });
                return;
            }
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Authenticating(Box::new(Authenticating {
            connecting,
            connect: body.into(),
            max_packet_size: max_packet_size(connect),
            by: By::Exchange(Exchange::AwaitName),
        }));
        self.go_on(id, exchange, &challenge);
    }

    /// A packet of a client whose CONNECT is not answered yet.
    pub(super) fn packet_before_connack(&mut self, cx: &Cx<'_>, id: ConnectionId, first: u8, body: &[u8]) -> Verdict {
        let Some(connection) = self.connections.get_mut(id) else { return Verdict::Here };
        let Phase::Authenticating(authenticating) = &mut connection.phase else { return Verdict::Here };
        let step = match authenticating.connecting.on_packet(first, body) {
            Ok(BeforeConnack::Auth(auth)) => check_auth(&auth, ReasonCode::CONTINUE_AUTHENTICATION).map(|()| auth),
            Ok(BeforeConnack::Disconnect(_)) => {
                self.tell_refused(id, ReasonCode::NORMAL_DISCONNECTION, "the client went before the end of the authentication");
                self.drop_connection(id);
                return Verdict::Here;
            }
            Err(error) => Err(error),
        };
        let auth = match step {
            Ok(auth) => auth,
            Err(error) => {
                self.blame(cx, id, &error);
                return Verdict::Here;
            }
        };
        let By::Exchange(exchange) = &mut authenticating.by else { return Verdict::Here };
        let exchange = core::mem::replace(exchange, Exchange::AwaitName);
        let user = exchange.user();
        if let (Some(user), Some(login)) = (&user, &self.config.login)
            && !login.users.may_try(&connection.origin.peer, user)
        {
            self.end_authentication(id, ReasonCode::SERVER_BUSY, TOO_MANY_WRONG);
            return Verdict::Here;
        }
        match self.step(exchange, auth.data.unwrap_or_default()) {
            Ok(Step::Continue(exchange, challenge)) => self.go_on(id, exchange, &challenge),
            Ok(Step::Done(proof)) => return self.take_up_connect(cx, id, proof),
            Err(ScramError::Proof) => {
                self.refuse_login(id, user.unwrap_or_default(), Way::Scram, "wrong proof, or no user of that name");
            }
            Err(error) => self.end_authentication(id, ReasonCode::NOT_AUTHORIZED, &error.to_string()),
        }
        Verdict::Here
    }

    /// One more AUTH from us.
    fn go_on(&mut self, id: ConnectionId, exchange: Exchange, challenge: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Phase::Authenticating(authenticating) = &mut connection.phase else { return };
        authenticating.by = By::Exchange(exchange);
        let (version, limit) = (authenticating.connecting.version(), authenticating.max_packet_size);
        let Some(frame) = auth(version, limit, ReasonCode::CONTINUE_AUTHENTICATION, challenge) else {
            self.end_authentication(id, ReasonCode::PACKET_TOO_LARGE, AUTH_TOO_LARGE);
            return;
        };
        Self::append(connection, &mut self.pool, &mut self.dirty, id).extend_from_slice(&frame);
        self.counters.sent(PacketType::Auth, frame.len());
    }

    /// It is known who sent CONNECT.
    fn take_up_connect(&mut self, cx: &Cx<'_>, id: ConnectionId, proof: Proof) -> Verdict {
        let Some(connection) = self.connections.get_mut(id) else { return Verdict::Here };
        let Phase::Authenticating(authenticating) = core::mem::replace(&mut connection.phase, Phase::AwaitConnect) else {
            return Verdict::Here;
        };
        let (connecting, connect) =
            AwaitConnect::new().on_packet(CONNECT, &authenticating.connect).expect("it was read before, and has not changed");
        self.on_connect(cx, id, connecting, &connect, Shown::Proof(proof))
    }

    /// An authentication ends without a session [MQTT-4.12.0-4]. DISCONNECT is not for those who have no CONNACK [MQTT-3.14.0-1].
    pub(super) fn end_authentication(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        let Some(connection) = self.connections.get(id) else { return };
        let Phase::Authenticating(authenticating) = &connection.phase else { return };
        let (version, limit) = (authenticating.connecting.version(), authenticating.max_packet_size);
        let way = match authenticating.by {
            By::Exchange(_) => Way::Scram,
            By::Password => Way::Password,
        };
        match reason {
            ReasonCode::NOT_AUTHORIZED => self.counters.login(LoginOutcome::Refused, way),
            ReasonCode::SERVER_BUSY | ReasonCode::SERVER_UNAVAILABLE => self.counters.login(LoginOutcome::Unjudged, way),
            _ => {}
        }
        let said = if reason == ReasonCode::SERVER_SHUTTING_DOWN { ReasonCode::SERVER_UNAVAILABLE } else { reason };
        self.append_connack(id, version, said, Some(why), limit);
        self.tell_refused(id, reason, why);
        self.drop_connection(id);
    }

    /// Somebody has shown not to be who it says it is.
    fn refuse_login(&mut self, id: ConnectionId, user: Box<str>, by: Way, why: &'static str) {
        let Some(connection) = self.connections.get(id) else { return };
        let Phase::Authenticating(authenticating) = &connection.phase else { return };
        let (version, limit) = (authenticating.connecting.version(), authenticating.max_packet_size);
        self.append_connack(id, version, ReasonCode::BAD_USER_NAME_OR_PASSWORD, Some(BAD_LOGIN), limit);
        self.counters.login(LoginOutcome::Wrong, by);
        if let Some((peer, client_id)) = self.who_authenticates(id) {
            self.event(Event::LoginFailed { peer, client_id, user, why });
        }
        self.drop_connection(id);
    }

    fn tell_refused(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        if let Some((peer, client_id)) = self.who_authenticates(id) {
            self.event(Event::Refused { peer, client_id, why: why.into(), reason });
        }
    }

    fn who_authenticates(&self, id: ConnectionId) -> Option<(Box<str>, Option<Box<str>>)> {
        let connection = self.connections.get(id)?;
        let connect = match &connection.phase {
            Phase::Authenticating(authenticating) => Connect::decode(&authenticating.connect).ok(),
            Phase::AwaitConnect | Phase::Open(_) | Phase::Closing => None,
        };
        let client_id = connect.map(|connect| connect.client_id).filter(|client_id| !client_id.is_empty()).map(Box::from);
        Some((connection.origin.peer.clone(), client_id))
    }
}

/// A password in CONNECT (§3.1.3.6).
impl Shard {
    /// Asks the world about it, and lets the client wait: no session is looked at before it is known who asks for it.
    pub(super) fn ask(&mut self, id: ConnectionId, connecting: Connecting, connect: &Connect<'_>, body: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Authenticating(Box::new(Authenticating {
            connecting,
            connect: body.into(),
            max_packet_size: max_packet_size(connect),
            by: By::Password,
        }));
        let user = connect.username.unwrap_or_default().into();
        let Some(password) = connect.password else {
            self.refuse_login(id, user, Way::Password, "no password");
            return;
        };
        let question = Question {
            user,
            password: password.into(),
            peer: connection.origin.peer.clone(),
            client_id: connect.client_id.into(),
            listener: connection.origin.listener,
        };
        if !self.config.login.as_ref().is_some_and(|login| login.users.may_try(&question.peer, &question.user)) {
            self.end_authentication(id, ReasonCode::SERVER_BUSY, TOO_MANY_WRONG);
            return;
        }
        connection.is_paused = true;
        self.reading_changed.push(id);
        self.outputs.push_back(Output::Ask { connection: id, question });
    }

    /// The answer to an [`Output::Ask`]. It comes too late where the client has gone, or has waited too long.
    pub fn answered(&mut self, cx: &Cx<'_>, id: ConnectionId, answer: Answer) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Phase::Authenticating(authenticating) = &connection.phase else { return };
        if !matches!(authenticating.by, By::Password) {
            return;
        }
        let user = Connect::decode(&authenticating.connect).ok().and_then(|connect| connect.username).unwrap_or_default().into();
        connection.is_paused = false;
        self.reading_changed.push(id);
        match answer {
            Answer::Right(known) => {
                let verdict = self.take_up_connect(cx, id, Proof { known, answer: None });
                debug_assert!(matches!(verdict, Verdict::Here), "where it belongs was seen before it was asked");
            }
            Answer::Wrong(by, why) => self.refuse_login(id, user, by, why),
            Answer::Unjudged => {
                self.end_authentication(
                    id,
                    ReasonCode::SERVER_BUSY,
                    "too many logins at a time, or too many wrong ones; try again later",
                );
            }
            Answer::Unreachable => {
                let why = "who knows the users does not answer; try again later";
                self.end_authentication(id, ReasonCode::SERVER_UNAVAILABLE, why);
            }
        }
        self.end_call(cx);
        // What it said meanwhile.
        self.received(cx, id, &[]);
    }

    /// Users have come, gone, or have other passwords, or others are let in than before. Who is connected as one that has gone, by a password that is none any more,
    /// or without a name where that is not enough any more, is sent away.
    pub fn users_changed(&mut self, cx: &Cx<'_>) {
        let Some(users) = self.config.login.as_ref().map(|login| Arc::clone(&login.users)) else { return };
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            let refuses_strangers = self.refuses_strangers(id);
            let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { continue };
            let is_user = |known: &Known| known.version.is_none_or(|version| users.version(&known.user) == Some(version));
            let why = match &open.login {
                Some(login) if !is_user(&login.known) => "its user has gone, or has another password",
                None if refuses_strangers => "clients that do not log in are not let in any more",
                Some(_) | None => continue,
            };
            self.fail(cx, id, ReasonCode::NOT_AUTHORIZED, why);
        }
        self.end_call(cx);
    }
}

/// Who has shown it for a time only.
impl Shard {
    /// A client goes when its time is over, and may come back with something newer.
    pub(super) fn login_ends(&mut self, cx: &Cx<'_>, id: ConnectionId) {
        let open = self.connections.get_mut(id).and_then(Connection::open);
        let Some(until) = open.and_then(|open| open.login.as_ref()?.known.until) else { return };
        if until > cx.now {
            self.timers.set(until, Timer::LoginEnds(id));
            return;
        }
        self.fail(cx, id, ReasonCode::MAXIMUM_CONNECT_TIME, "what it logged in with is good no more");
    }
}

/// On an open connection (§4.12.1).
impl Shard {
    /// The client shows once more who it is; meanwhile everything goes on.
    pub(super) fn on_auth(&mut self, cx: &Cx<'_>, id: ConnectionId, auth: &Auth<'_>) {
        let Some(login) = self.connections.get_mut(id).and_then(Connection::open).and_then(|open| open.login.as_mut()) else {
            self.blame(cx, id, &Violation::UnexpectedAuth.into());
            return;
        };
        let again = login.again.take();
        let expected = if again.is_some() { ReasonCode::CONTINUE_AUTHENTICATION } else { ReasonCode::RE_AUTHENTICATE };
        if let Err(error) = check_auth(auth, expected) {
            self.blame(cx, id, &error);
            return;
        }
        let step = match again {
            None => self.first_step(auth.data).map(|(exchange, challenge)| Step::Continue(exchange, challenge)),
            Some(exchange) => self.step(exchange, auth.data.unwrap_or_default()),
        };
        match step {
            Ok(Step::Continue(exchange, challenge)) => {
                if let Some(login) = self.connections.get_mut(id).and_then(Connection::open).and_then(|open| open.login.as_mut())
                {
                    login.again = Some(exchange);
                }
                self.say_auth(cx, id, ReasonCode::CONTINUE_AUTHENTICATION, &challenge);
            }
            Ok(Step::Done(proof)) if self.is_user(id, &proof.known.user) => {
                if let Some(login) = self.connections.get_mut(id).and_then(Connection::open).and_then(|open| open.login.as_mut())
                {
                    login.known.version = proof.known.version;
                }
                self.say_auth(cx, id, ReasonCode::SUCCESS, proof.answer.as_deref().unwrap_or_default());
            }
            Ok(Step::Done(_)) => {
                self.fail(cx, id, ReasonCode::NOT_AUTHORIZED, "it authenticates again as another user [MQTT-4.12.1-2]");
            }
            Err(error) => {
                let why = error.to_string() + " [MQTT-4.12.1-2]";
                self.fail(cx, id, ReasonCode::NOT_AUTHORIZED, &why);
            }
        }
    }

    fn is_user(&mut self, id: ConnectionId, user: &str) -> bool {
        let open = self.connections.get_mut(id).and_then(Connection::open);
        open.and_then(|open| open.login.as_ref()).is_some_and(|login| *login.known.user == *user)
    }

    fn say_auth(&mut self, cx: &Cx<'_>, id: ConnectionId, reason: ReasonCode, data: &[u8]) {
        let Some(open) = self.connections.get_mut(id).and_then(Connection::open) else { return };
        let Some(frame) = auth(open.protocol.version(), open.max_packet_size, reason, data) else {
            self.fail(cx, id, ReasonCode::PACKET_TOO_LARGE, AUTH_TOO_LARGE);
            return;
        };
        self.send_bytes(id, ChangeSeq(0), &frame);
    }
}

/// What SCRAM says.
impl Shard {
    /// The client's first message may come with the method, or be asked for by a challenge without content (RFC 4422 §3).
    fn first_step(&mut self, data: Option<&[u8]>) -> Result<(Exchange, Vec<u8>), ScramError> {
        match data {
            None | Some([]) => Ok((Exchange::AwaitName, Vec::new())),
            Some(data) => self.challenge(data),
        }
    }

    fn step(&mut self, exchange: Exchange, data: &[u8]) -> Result<Step, ScramError> {
        match exchange {
            Exchange::AwaitName => self.challenge(data).map(|(exchange, challenge)| Step::Continue(exchange, challenge)),
            Exchange::AwaitProof(await_proof) => {
                let (user, answer) = await_proof.on_proof(data)?;
                // Keys that were taken away meanwhile prove nothing.
                let login = self.config.login.as_ref().ok_or(ScramError::Proof)?;
                let version = login.users.version(&user).ok_or(ScramError::Proof)?;
                Ok(Step::Done(Proof { known: Known::user(user, Way::Scram, Some(version)), answer: Some(answer) }))
            }
        }
    }

    fn challenge(&mut self, data: &[u8]) -> Result<(Exchange, Vec<u8>), ScramError> {
        let first = ClientFirst::read(data)?;
        let login = self.config.login.as_ref().ok_or(ScramError::Proof)?;
        let keys = login.users.scram_keys(first.user());
        self.challenges += 1;
        let number = u64::from(self.id.0) << 48 | self.challenges;
        let (await_proof, challenge) = first.challenge(keys, &login.secret, number);
        Ok((Exchange::AwaitProof(await_proof), challenge))
    }
}

/// The method is that of CONNECT [MQTT-4.12.0-5], and the reason the one that has its turn.
fn check_auth(auth: &Auth<'_>, expected: ReasonCode) -> Result<(), columba_proto::PeerError> {
    if auth.method != Some(scram::METHOD) {
        return Err(Violation::OtherAuthenticationMethod.into());
    }
    if auth.reason != expected {
        return Err(Violation::MisplacedReasonCode { code: auth.reason, place: ReasonPlace::Auth }.into());
    }
    Ok(())
}

/// An AUTH of ours, where the client takes one of that size.
fn auth(version: Version, limit: u32, reason: ReasonCode, data: &[u8]) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    let auth = Auth::new(reason, Some(scram::METHOD), Some(data));
    Packet::Auth(auth).encode_within(version, limit, &mut frame).ok().map(|()| frame)
}
