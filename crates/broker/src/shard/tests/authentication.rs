//! Enhanced authentication by SCRAM-SHA-256, at CONNECT and again later (§4.12).

use alloc::{string::String, sync::Arc, vec::Vec};
use core::num::NonZeroU32;

use columba_proto::{
    Peer, QoS, ReasonCode, Version, decode,
    packet::{Auth, ConnectProperties, Disconnect, Packet},
    scram::{self, AwaitChallenge, AwaitSignature, Keys, METHOD, Secret},
    wire::{Split, split},
};

use super::bench::{Bench, Client, Setup};
use crate::{
    Config,
    auth::{Login, Strangers, UserVersion, Users},
    seam::Origin,
};

const NOTHING: Vec<&str> = Vec::new();
/// Of both.
const VERSION: UserVersion = UserVersion(4);
const CONTINUE: ReasonCode = ReasonCode::CONTINUE_AUTHENTICATION;

/// There is "eve", and her password is "pencil"; and "bob" with the same.
#[derive(Debug)]
struct Two;

impl Users for Two {
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        let rounds = NonZeroU32::new(2).unwrap();
        ["eve", "bob"].contains(&user).then(|| Keys::derive("pencil", user.as_bytes(), rounds).unwrap())
    }

    fn version(&self, user: &str) -> Option<UserVersion> {
        ["eve", "bob"].contains(&user).then_some(VERSION)
    }

    fn may_try(&self, _: &str, _: &str) -> bool {
        true
    }
}

fn bench(strangers: Strangers) -> Bench {
    let login = Login::new(Arc::new(Two), Secret::new([3; 32]), strangers);
    Bench::with(Config { login: Some(login), ..Config::default() })
}

fn with_method<'a>(method: &'a str, data: Option<&'a [u8]>) -> Setup<'a> {
    let properties =
        ConnectProperties { authentication_method: Some(method), authentication_data: data, ..ConnectProperties::default() };
    Setup { version: Version::V5, properties, ..Setup::default() }
}

fn say_auth(bench: &mut Bench, client: Client, reason: ReasonCode, data: &[u8]) {
    bench.say(client, &Packet::Auth(Auth::new(reason, Some(METHOD), Some(data))));
}

/// The one packet that was sent: its reason, method and data.
fn answer(bench: &mut Bench, client: Client) -> (ReasonCode, Option<String>, Vec<u8>) {
    let bytes = bench.bytes(client);
    let Ok(Split::Frame { first, body, len }) = split(&bytes, u32::MAX) else { panic!("no packet") };
    assert_eq!(len, bytes.len(), "one packet");
    #[expect(clippy::wildcard_enum_match_arm, reason = "these two carry an authentication")]
    let (reason, method, data) = match decode(Version::V5, Peer::Server, first, body).unwrap() {
        Packet::Auth(auth) => (auth.reason, auth.method, auth.data),
        Packet::Connack(connack) => {
            (connack.reason, connack.properties.authentication_method, connack.properties.authentication_data)
        }
        other => panic!("{other:?}"),
    };
    (reason, method.map(Into::into), data.unwrap_or_default().to_vec())
}

/// CONNECT with the first message; the answer has the second.
fn challenged(bench: &mut Bench, user: &str, password: &str) -> (Client, AwaitSignature, Vec<u8>) {
    let (await_challenge, first) = scram::begin(user, password, "nonce").unwrap();
    let client = bench.open("c", &with_method(METHOD, Some(&first)));
    let (await_signature, last) = answer_challenge(bench, client, await_challenge);
    (client, await_signature, last)
}

fn answer_challenge(bench: &mut Bench, client: Client, await_challenge: AwaitChallenge) -> (AwaitSignature, Vec<u8>) {
    let (reason, method, challenge) = answer(bench, client);
    assert_eq!((reason, method.as_deref()), (CONTINUE, Some(METHOD)), "[MQTT-4.12.0-2] [MQTT-4.12.0-5]");
    await_challenge.on_challenge(&challenge).unwrap()
}

fn logged_in(bench: &mut Bench) -> Client {
    let (client, await_signature, last) = challenged(bench, "eve", "pencil");
    say_auth(bench, client, CONTINUE, &last);
    let (reason, method, signature) = answer(bench, client);
    assert_eq!((reason, method.as_deref()), (ReasonCode::SUCCESS, Some(METHOD)), "[MQTT-4.12.0-5]");
    await_signature.on_signature(&signature).unwrap();
    client
}

#[test]
fn who_knows_the_password_is_let_in_and_the_server_proves_itself() {
    let mut bench = bench(Strangers::Refused);

    let client = logged_in(&mut bench);

    bench.subscribe(client, "t", QoS::AtMostOnce);
    bench.outputs();
    assert!(bench.events.iter().any(|event| event.contains("user: Some(\"eve\")")), "{:?}", bench.events);
}

#[test]
fn a_method_without_data_is_asked_for_it() {
    let mut bench = bench(Strangers::Refused);
    let client = bench.open("c", &with_method(METHOD, None));
    let (reason, method, data) = answer(&mut bench, client);
    assert_eq!((reason, method.as_deref(), &*data), (CONTINUE, Some(METHOD), &[][..]));

    let (await_challenge, first) = scram::begin("eve", "pencil", "nonce").unwrap();
    say_auth(&mut bench, client, CONTINUE, &first);
    let (_, last) = answer_challenge(&mut bench, client, await_challenge);
    say_auth(&mut bench, client, CONTINUE, &last);

    assert_eq!(bench.told(client), ["connack new"]);
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_and_closed() {
    for (user, password) in [("eve", "Pencil"), ("mallory", "pencil")] {
        let mut bench = bench(Strangers::Welcome);
        let (client, _, last) = challenged(&mut bench, user, password);

        say_auth(&mut bench, client, CONTINUE, &last);

        assert_eq!(bench.told(client), ["connack 0x86"], "{user} [MQTT-4.12.0-4]");
        assert!(!bench.shard.wants_reading(client.id), "closed");
        assert_eq!(bench.shard.sessions(), 0);
    }
}

#[test]
fn another_method_is_refused_and_so_is_any_where_none_is_offered() {
    let mut with_users = bench(Strangers::Welcome);
    let mut without = Bench::new();

    for (bench, method) in [(&mut with_users, "SCRAM-SHA-1"), (&mut without, METHOD)] {
        let client = bench.open("c", &with_method(method, None));

        assert_eq!(bench.told(client), ["connack 0x8c"], "{method} [MQTT-4.12.0-1]");
        assert!(!bench.shard.wants_reading(client.id), "closed");
    }
}

#[test]
fn strangers_are_let_in_only_where_that_is_wanted() {
    for (strangers, v5, v3) in
        [(Strangers::Welcome, "connack new", "connack new"), (Strangers::Refused, "connack 0x87", "connack 0x87")]
    {
        let mut bench = bench(strangers);

        let client = bench.open("c", &Setup { version: Version::V5, ..Setup::default() });
        assert_eq!(bench.told(client), [v5]);
        let client = bench.open("d", &Setup::default());
        assert_eq!(bench.told(client), [v3], "return code 5 in 3.1.1");
    }
}

#[test]
fn before_connack_nothing_else_is_heard_and_a_disconnect_is_no_fault() {
    let farewell = |packet: &Packet<'_>| {
        let mut bench = bench(Strangers::Welcome);
        let (client, ..) = challenged(&mut bench, "eve", "pencil");
        bench.say(client, packet);
        assert!(!bench.shard.wants_reading(client.id), "closed");
        bench.told(client)
    };
    let auth = |reason, method| Packet::Auth(Auth::new(reason, Some(method), None));

    assert_eq!(farewell(&Packet::Pingreq), ["connack 0x82"], "[MQTT-3.1.2-30]");
    assert_eq!(farewell(&auth(CONTINUE, "other")), ["connack 0x82"], "[MQTT-4.12.0-5]");
    assert_eq!(farewell(&auth(ReasonCode::RE_AUTHENTICATE, METHOD)), ["connack 0x82"]);
    assert_eq!(farewell(&auth(CONTINUE, METHOD)), ["connack 0x87"], "no proof");
    assert_eq!(farewell(&Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION))), NOTHING);
}

#[test]
fn an_authentication_has_no_more_time_than_connect() {
    let mut bench = bench(Strangers::Welcome);
    let (client, ..) = challenged(&mut bench, "eve", "pencil");

    bench.pass(Config::default().connect_wait_ms);

    assert_eq!(bench.told(client), ["connack 0x87"]);
    assert!(!bench.shard.wants_reading(client.id), "closed");
}

#[test]
fn auth_is_not_larger_than_the_client_takes() {
    let mut bench = bench(Strangers::Welcome);
    let (_, first) = scram::begin("eve", "pencil", "nonce").unwrap();
    let mut setup = with_method(METHOD, Some(&first));
    setup.properties.maximum_packet_size = NonZeroU32::new(40);

    let client = bench.open("c", &setup);

    assert_eq!(bench.told(client), ["connack 0x95"], "[MQTT-3.1.2-24]");
}

#[test]
fn without_a_method_in_connect_there_is_no_auth() {
    for strangers in [Strangers::Welcome, Strangers::Refused] {
        let mut bench = bench(strangers);
        let client = bench.open("c", &Setup { version: Version::V5, ..Setup::default() });
        let told = bench.told(client);
        assert!(told.iter().all(|packet| packet.starts_with("connack")), "{told:?} [MQTT-4.12.0-6]");
    }
    let mut bench = bench(Strangers::Welcome);
    let (client, _) = bench.connect("c", &Setup { version: Version::V5, ..Setup::default() });

    say_auth(&mut bench, client, ReasonCode::RE_AUTHENTICATE, b"n,,n=eve,r=abc");

    assert_eq!(bench.told(client), ["disconnect 0x82"], "[MQTT-4.12.0-7]");
}

#[test]
fn a_client_authenticates_again_while_everything_goes_on() {
    let mut bench = bench(Strangers::Refused);
    let client = logged_in(&mut bench);

    let (await_challenge, first) = scram::begin("eve", "pencil", "another").unwrap();
    say_auth(&mut bench, client, ReasonCode::RE_AUTHENTICATE, &first);
    let (await_signature, last) = answer_challenge(&mut bench, client, await_challenge);
    bench.subscribe(client, "t", QoS::AtMostOnce);
    say_auth(&mut bench, client, CONTINUE, &last);

    let (reason, method, signature) = answer(&mut bench, client);
    assert_eq!((reason, method.as_deref()), (ReasonCode::SUCCESS, Some(METHOD)));
    await_signature.on_signature(&signature).unwrap();
    bench.subscribe(client, "u", QoS::AtMostOnce);
}

#[test]
fn who_fails_to_authenticate_again_is_sent_away() {
    for (user, password, why) in [("eve", "Pencil", "wrong password"), ("bob", "pencil", "somebody else")] {
        let mut bench = bench(Strangers::Refused);
        let client = logged_in(&mut bench);
        let (await_challenge, first) = scram::begin(user, password, "another").unwrap();
        say_auth(&mut bench, client, ReasonCode::RE_AUTHENTICATE, &first);
        let (_, last) = answer_challenge(&mut bench, client, await_challenge);

        say_auth(&mut bench, client, CONTINUE, &last);

        assert_eq!(bench.told(client), ["disconnect 0x87"], "{why} [MQTT-4.12.1-2]");
        assert!(!bench.shard.wants_reading(client.id), "closed");
    }
}

#[test]
fn auth_out_of_turn_or_by_another_method_ends_the_connection() {
    for auth in [
        Auth::new(CONTINUE, Some(METHOD), Some(b"c=biws")),
        Auth::new(ReasonCode::RE_AUTHENTICATE, Some("other"), Some(b"n,,n=eve,r=abc")),
        Auth::new(ReasonCode::SUCCESS, None, None),
    ] {
        let mut bench = bench(Strangers::Refused);
        let client = logged_in(&mut bench);

        bench.say(client, &Packet::Auth(auth));

        assert_eq!(bench.told(client), ["disconnect 0x82"], "{auth:?} [MQTT-4.12.1-1]");
    }
}

#[test]
fn auth_before_connect_is_closed_at_its_first_byte() {
    let mut bench = bench(Strangers::Welcome);
    let id = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 0)));

    bench.act(|shard, cx| shard.received(cx, id, &[0xf0, 0x00]));

    assert!(bench.shard.out(id).is_none(), "[MQTT-3.1.0-1]");
}
