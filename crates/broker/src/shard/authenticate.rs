//! AUTH: enhanced authentication with SCRAM-SHA-256, at CONNECT and again later (§4.12).

use alloc::{boxed::Box, string::ToString, vec::Vec};

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
    auth::Strangers,
    connection::{Authenticating, Connection, Exchange, Phase},
    event::Event,
    id::{ChangeSeq, ConnectionId},
    seam::Cx,
};

/// The first byte of every CONNECT.
const CONNECT: u8 = 0x10;

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
    /// Whether clients have to show who they are.
    pub(super) fn refuses_strangers(&self) -> bool {
        self.config.login.as_ref().is_some_and(|login| login.strangers == Strangers::Refused)
    }

    /// CONNECT names a method: the first step, which may have come with it.
    pub(super) fn begin_authentication(&mut self, id: ConnectionId, connecting: Connecting, connect: &Connect<'_>, body: &[u8]) {
        if self.config.login.is_none() || connect.properties.authentication_method != Some(scram::METHOD) {
            let why = "this authentication method is not offered [MQTT-4.12.0-1]";
            self.refuse(id, connect, &Refusal { reason: ReasonCode::BAD_AUTHENTICATION_METHOD, why });
            return;
        }
        let (exchange, challenge) = match self.first_step(connect.properties.authentication_data) {
            Ok(begun) => begun,
            Err(error) => {
                self.refuse(id, connect, &Refusal { reason: refusal_of(error), why: &error.to_string() });
                return;
            }
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Authenticating(Box::new(Authenticating {
            connecting,
            connect: body.into(),
            max_packet_size: max_packet_size(connect),
            exchange: Exchange::AwaitName,
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
        let exchange = core::mem::replace(&mut authenticating.exchange, Exchange::AwaitName);
        match self.step(exchange, auth.data.unwrap_or_default()) {
            Ok(Step::Continue(exchange, challenge)) => self.go_on(id, exchange, &challenge),
            Ok(Step::Done(proof)) => return self.take_up_connect(cx, id, proof),
            Err(error) => self.end_authentication(id, refusal_of(error), &error.to_string()),
        }
        Verdict::Here
    }

    /// One more AUTH from us.
    fn go_on(&mut self, id: ConnectionId, exchange: Exchange, challenge: &[u8]) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Phase::Authenticating(authenticating) = &mut connection.phase else { return };
        authenticating.exchange = exchange;
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
        let said = if reason == ReasonCode::SERVER_SHUTTING_DOWN { ReasonCode::SERVER_UNAVAILABLE } else { reason };
        self.append_connack(id, version, said, Some(why), limit);
        self.tell_refused(id, reason, why);
        self.drop_connection(id);
    }

    fn tell_refused(&mut self, id: ConnectionId, reason: ReasonCode, why: &str) {
        let Some(connection) = self.connections.get(id) else { return };
        let peer = connection.origin.peer.clone();
        let client_id = match &connection.phase {
            Phase::Authenticating(authenticating) => Connect::decode(&authenticating.connect).ok(),
            Phase::AwaitConnect | Phase::Open(_) | Phase::Closing => None,
        };
        let client_id = client_id.map(|connect| connect.client_id).filter(|client_id| !client_id.is_empty()).map(Box::from);
        self.event(Event::Refused { peer, client_id, why: why.into(), reason });
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
            Ok(Step::Done(proof)) if self.is_user(id, &proof.user) => self.say_auth(cx, id, ReasonCode::SUCCESS, &proof.answer),
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
        open.and_then(|open| open.login.as_ref()).is_some_and(|login| *login.user == *user)
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
                Ok(Step::Done(Proof { user, answer }))
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

/// What CONNACK says about a failed exchange.
fn refusal_of(error: ScramError) -> ReasonCode {
    if error == ScramError::Proof { ReasonCode::BAD_USER_NAME_OR_PASSWORD } else { ReasonCode::NOT_AUTHORIZED }
}
