//! Enhanced authentication by SCRAM-SHA-256 (§4.12), for a user whose password is known.

use std::num::NonZeroU32;

use columba_proto::packet::{Auth, Connect, Packet, PacketType};
use columba_proto::scram::{self, AwaitChallenge, AwaitSignature, METHOD, ScramError};
use columba_proto::{QoS, ReasonCode};

use super::phrases::takes;
use crate::script::clause::{Clause, v5};
use crate::script::client::{frame, message};
use crate::script::{Client, Heard, Script, Stage, Stop, Suite, V5, Verdict};

const fn scram_script(title: &'static str, clauses: &'static [Clause], play: fn(&Stage) -> Verdict) -> Script {
    Script { title, suite: Suite::Security, versions: V5, clauses, needs: &[], play }
}

pub(super) const SCRIPTS: &[Script] = &[
    scram_script(
        "who proves the password is let in, and the server proves that it knows it",
        &[v5("MQTT-4.12.0-2"), v5("MQTT-4.12.0-5"), v5("MQTT-3.15.2-1"), v5("MQTT-3.15.1-1")],
        let_in,
    ),
    scram_script(
        "who proves another password is refused, and the connection closed",
        &[v5("MQTT-4.12.0-4"), v5("MQTT-4.13.2-1")],
        refused,
    ),
    scram_script("who is authenticated may be so again", &[v5("MQTT-4.12.0-5"), v5("MQTT-3.15.2-1")], again),
    scram_script(
        "an authentication that fails later ends the connection",
        &[v5("MQTT-4.12.1-2"), v5("MQTT-4.13.2-1")],
        fails_later,
    ),
    scram_script(
        "an AUTH that breaks the rules ends the authentication",
        &[v5("MQTT-3.15.1-1"), v5("MQTT-3.15.2-1"), v5("MQTT-4.13.1-1")],
        broken_auth,
    ),
    scram_script("AUTH is no larger than the client takes", &[v5("MQTT-3.15.2-2"), v5("MQTT-3.15.2-3")], auth_fits),
    scram_script("before CONNACK only AUTH and DISCONNECT are taken", &[v5("MQTT-3.1.2-30"), v5("MQTT-4.13.1-1")], only_auth),
];

/// What one side said that the other one cannot go on with.
fn broken(error: ScramError) -> Stop {
    Stop::Failed { expected: "a message of SCRAM-SHA-256".into(), got: error.to_string() }
}

/// Begins as the user whose password is known, but perhaps with another one. The answer: what is to be answered, and the first message.
fn begin(stage: &Stage, wrong: bool) -> Verdict<(AwaitChallenge, Vec<u8>)> {
    let known = stage.login().and_then(|login| Some((login, std::str::from_utf8(login.password.as_deref()?).ok()?)));
    let Some((login, password)) = known else {
        return stage.skip("nobody is known who could log in by SCRAM-SHA-256 (mqtt://USER:PASSWORD@HOST)");
    };
    // A story of its own has a nonce of its own; it need not be a secret here.
    let nonce = stage.id("nonce");
    scram::begin(&login.username, if wrong { "not the password" } else { password }, &nonce).map_err(broken)
}

/// The next packet is an AUTH with this reason and the method; its data.
fn expect_auth(stage: &Stage, client: &mut Client<'_>, reason: ReasonCode) -> Verdict<(Heard, Vec<u8>)> {
    let heard = client.hear()?;
    let refused = [ReasonCode::BAD_AUTHENTICATION_METHOD, ReasonCode::NOT_AUTHORIZED];
    let (said, method, data) = match heard.packet() {
        Packet::Auth(auth) => (auth.reason, auth.method, auth.data),
        Packet::Connack(connack) if refused.contains(&connack.reason) => {
            return stage.skip(format!("the server does not let this user log in by {METHOD}: {}", heard.told()));
        }
        Packet::Connack(_)
        | Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::Ack(_)
        | Packet::Subscribe(_)
        | Packet::Suback(_)
        | Packet::Unsubscribe(_)
        | Packet::Unsuback(_)
        | Packet::Pingreq
        | Packet::Pingresp
        | Packet::Disconnect(_) => return Err(Stop::Failed { expected: "AUTH".into(), got: heard.told() }),
    };
    stage.same("the reason and the method", (reason, Some(METHOD)), (said, method))?;
    let data = data.unwrap_or_default().to_vec();
    Ok((heard, data))
}

fn auth(reason: ReasonCode, data: &[u8]) -> Packet<'_> {
    Packet::Auth(Auth::new(reason, Some(METHOD), Some(data)))
}

/// CONNECT with the first message, and the challenge; what is to be answered to it is not said yet.
fn challenged(stage: &Stage, limit: Option<usize>, wrong: bool) -> Verdict<(Client<'_>, AwaitSignature, Vec<u8>, usize)> {
    let (await_challenge, first) = begin(stage, wrong)?;
    let id = stage.id("user");
    let mut connect: Connect<'_> = stage.clean(&id);
    connect.username = None;
    connect.password = None;
    connect.properties.maximum_packet_size = limit.and_then(|limit| NonZeroU32::new(u32::try_from(limit).ok()?));
    connect.properties.authentication_method = Some(METHOD);
    connect.properties.authentication_data = Some(&first);
    let mut client = stage.dial("user", stage.version())?;
    client.send(&Packet::Connect(connect));
    let (heard, challenge) = expect_auth(stage, &mut client, ReasonCode::CONTINUE_AUTHENTICATION)?;
    let (await_signature, last) = await_challenge.on_challenge(&challenge).map_err(broken)?;
    Ok((client, await_signature, last, heard.size))
}

/// A client that is logged in, and the size of the largest packet on the way.
fn logged_in(stage: &Stage, limit: Option<usize>) -> Verdict<(Client<'_>, usize)> {
    let (mut client, await_signature, last, size) = challenged(stage, limit, false)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
    let heard = client.expect_connack()?;
    let connack = heard.connack();
    stage.same("the reason", ReasonCode::SUCCESS, connack.reason)?;
    stage.same("the method", Some(METHOD), connack.properties.authentication_method)?;
    await_signature.on_signature(connack.properties.authentication_data.unwrap_or_default()).map_err(broken)?;
    Ok((client, size.max(heard.size)))
}

fn let_in(stage: &Stage) -> Verdict {
    let (mut client, _) = logged_in(stage, None)?;
    let topic = stage.topic("a");
    client.subscribe(&topic, QoS::AtMostOnce)?;
    client.publish(&message(&topic, b"mine"));
    takes(stage, &mut client, QoS::AtMostOnce, &topic, b"mine")
}

fn refused(stage: &Stage) -> Verdict {
    let (mut client, _, last, _) = challenged(stage, None, true)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
    for heard in client.hear_to_the_end()? {
        let is_refusal = matches!(heard.packet(), Packet::Connack(connack) if connack.reason.is_failure());
        stage.check(is_refusal, "a CONNACK that refuses, or nothing", heard.told())?;
    }
    // What is no message of the method at all.
    let (mut client, _, _, _) = challenged(stage, None, false)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, b"let me in"));
    client.expect_end(&[ReasonCode::NOT_AUTHORIZED, ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::PROTOCOL_ERROR])
}

/// Begins anew on a connection; what is to be said last.
fn begin_again(stage: &Stage, client: &mut Client<'_>, wrong: bool) -> Verdict<(AwaitSignature, Vec<u8>)> {
    let (await_challenge, first) = begin(stage, wrong)?;
    client.send(&auth(ReasonCode::RE_AUTHENTICATE, &first));
    let (_, challenge) = expect_auth(stage, client, ReasonCode::CONTINUE_AUTHENTICATION)?;
    await_challenge.on_challenge(&challenge).map_err(broken)
}

fn again(stage: &Stage) -> Verdict {
    let (mut client, _) = logged_in(stage, None)?;
    let topic = stage.topic("a");
    client.subscribe(&topic, QoS::AtMostOnce)?;
    for _ in 0..2 {
        let (await_signature, last) = begin_again(stage, &mut client, false)?;
        // Meanwhile all goes on as before (§4.12.1).
        client.publish(&message(&topic, b"meanwhile"));
        takes(stage, &mut client, QoS::AtMostOnce, &topic, b"meanwhile")?;
        client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
        let (_, signature) = expect_auth(stage, &mut client, ReasonCode::SUCCESS)?;
        await_signature.on_signature(&signature).map_err(broken)?;
    }
    client.ping()
}

fn fails_later(stage: &Stage) -> Verdict {
    let (mut client, _) = logged_in(stage, None)?;
    let (_, last) = begin_again(stage, &mut client, true)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
    client.expect_end(&[ReasonCode::NOT_AUTHORIZED, ReasonCode::BAD_USER_NAME_OR_PASSWORD])?;

    let (mut client, _) = logged_in(stage, None)?;
    client.send(&Packet::Auth(Auth::new(ReasonCode::RE_AUTHENTICATE, Some("another method"), Some(b"data"))));
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR, ReasonCode::BAD_AUTHENTICATION_METHOD, ReasonCode::NOT_AUTHORIZED])
}

/// An AUTH with any first byte and reason.
fn raw(first: u8, reason: u8, data: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    Auth::new(ReasonCode::RE_AUTHENTICATE, Some(METHOD), Some(data)).encode(columba_proto::Version::V5, &mut whole);
    // Behind the length, which is one byte here, stands the reason.
    let mut body = whole.split_off(2);
    if let Some(byte) = body.first_mut() {
        *byte = reason;
    }
    frame(first, &body)
}

fn broken_auth(stage: &Stage) -> Verdict {
    let reasons = [ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR];
    for (what, first, reason) in [
        ("AUTH with flags 0001", 0xf1, 0x18),
        ("AUTH with flags 1000", 0xf8, 0x18),
        ("AUTH with a reason that there is not", 0xf0, 0x77),
        ("AUTH with a reason of PUBACK", 0xf0, 0x10),
    ] {
        // At CONNECT,
        let (mut client, _, last, _) = challenged(stage, None, false)?;
        client.send_bytes(what, &raw(first, reason, &last));
        client.expect_end(&reasons)?;
        // and later, where the same packet without a fault would be taken.
        let (mut client, _) = logged_in(stage, None)?;
        let (_, first_message) = begin(stage, false)?;
        let reason = if reason == 0x18 { 0x19 } else { reason };
        client.send_bytes(what, &raw(first, reason, &first_message));
        client.expect_end(&reasons)?;
    }
    Ok(())
}

fn auth_fits(stage: &Stage) -> Verdict {
    let (client, largest) = logged_in(stage, None)?;
    client.leave();
    // Every packet is measured by what the client asked for.
    let (mut client, _) = logged_in(stage, Some(largest))?;
    let (_, last) = begin_again(stage, &mut client, false)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
    expect_auth(stage, &mut client, ReasonCode::SUCCESS)?;
    let (_, last) = begin_again(stage, &mut client, true)?;
    client.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &last));
    client.expect_end(&[ReasonCode::NOT_AUTHORIZED, ReasonCode::BAD_USER_NAME_OR_PASSWORD])
}

fn only_auth(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    for packet in [Packet::Publish(message(&topic, b"not yet")), Packet::Pingreq] {
        let (mut client, _, _, _) = challenged(stage, None, false)?;
        client.send(&packet);
        for heard in client.hear_to_the_end()? {
            stage.same("a packet", PacketType::Connack, heard.packet_type())?;
        }
    }
    let (mut client, _, _, _) = challenged(stage, None, false)?;
    client.send(&Packet::Disconnect(columba_proto::packet::Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
    client.expect_end(&[])?;
    witness.expect_nothing()
}
