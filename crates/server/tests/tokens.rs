//! Logging in over TCP by JSON Web Tokens, beside passwords, and on listeners that want different things.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use columba_check::talk::{Heard, Talk};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, Version, packet::Connect};
use columba_server::{
    Config, Running, Server,
    config::{Data, Http},
    users::{Kind, Secret, UsersFile},
};
use ring::hmac;
use serde_json::{Value, json};

const SECRET: &str = "a secret that is for tests alone, and long";

/// Tokens and a user, and a broker for them.
struct House {
    dir: tempfile::TempDir,
    broker: Running,
}

impl House {
    fn build(listeners: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (secret, users) = (dir.path().join("secret"), dir.path().join("users"));
        fs::write(&secret, SECRET).unwrap();
        let mut file = UsersFile::default();
        file.set("eve", Secret::derive(Kind::Sha512, "pencil", [1; 16]).unwrap()).unwrap();
        file.write(&users).unwrap();
        let broker = Server::start(Self::config(&dir, listeners, more)).unwrap();
        Self { dir, broker }
    }

    fn config(dir: &tempfile::TempDir, listeners: &str, more: &str) -> Config {
        let (secret, users) = (dir.path().join("secret"), dir.path().join("users"));
        config(&format!(
            "{listeners}\n[auth.password]\nfile = {users:?}\n[auth.jwt]\nsecret_file = {secret:?}\n{more}\n[runtime]\nworkers = 1\nshards = 2\n"
        ))
    }

    fn address(&self, listener: usize) -> SocketAddr {
        self.broker.local_addrs()[listener]
    }

    fn connect(&self, listener: usize, user: Option<&str>, password: Option<&str>) -> Result<(Talk, bool), ReasonCode> {
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: "gate-7",
            will: None,
            username: user,
            password: password.map(str::as_bytes),
            properties: columba_proto::packet::ConnectProperties::default(),
        };
        Talk::call(self.address(listener), &connect)
    }

    /// How a login goes.
    fn outcome(&self, listener: usize, user: Option<&str>, password: Option<&str>) -> ReasonCode {
        self.connect(listener, user, password).map_or_else(|reason| reason, |_| ReasonCode::SUCCESS)
    }
}

fn config(text: &str) -> Config {
    Config { data: Data::Ephemeral, http: Http::off(), ..Config::parse("test.toml", text).unwrap() }
}

fn token(secret: &str, claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.to_string().as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

const ONE: &str = "[[listener]]\nurl = \"mqtt://127.0.0.1:0\"";

#[test]
fn a_token_opens_the_door_with_or_without_a_user_name_and_so_does_a_password() {
    let house = House::build(ONE, "");
    let good = token(SECRET, &json!({"sub": "gate", "exp": now_s() + 3600}));
    let old = token(SECRET, &json!({"sub": "gate", "exp": now_s() - 3600}));
    let forged = token("another secret that is for tests alone", &json!({"sub": "gate"}));
    let bad = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
    for (user, password, expected) in [
        (None, Some(&*good), ReasonCode::SUCCESS),
        (Some("whoever"), Some(&*good), ReasonCode::SUCCESS),
        (Some("eve"), Some("pencil"), ReasonCode::SUCCESS),
        (Some("eve"), Some("Pencil"), bad),
        (None, Some(&*old), bad),
        // Tokens are no passwords, whatever the user is called.
        (Some("eve"), Some(&*forged), bad),
        (Some("eve"), None, bad),
        (None, None, ReasonCode::NOT_AUTHORIZED),
    ] {
        assert_eq!(house.outcome(0, user, password), expected, "{user:?} {password:?}");
    }
    house.broker.stop();
}

#[test]
fn a_connection_ends_with_its_token_and_does_only_what_that_allows() {
    let house = House::build(ONE, "leeway = 0");
    // As late as it can be without being over when it arrives.
    let claims =
        json!({"sub": "gate", "exp": now_s() + 10, "acl": {"pub": ["gates/${clientid}/state"], "sub": ["gates/${username}/#"]}});
    let (mut client, _) = house.connect(0, None, Some(&token(SECRET, &claims))).unwrap();

    assert_eq!(client.subscribe("gates/gate/set", QoS::AtMostOnce), ReasonCode::SUCCESS);
    assert_eq!(client.subscribe("gates/other/set", QoS::AtMostOnce), ReasonCode::NOT_AUTHORIZED);
    for (topic, reason) in
        [("gates/gate-7/state", ReasonCode::NO_MATCHING_SUBSCRIBERS), ("gates/gate-8/state", ReasonCode::NOT_AUTHORIZED)]
    {
        client.publish(QoS::AtLeastOnce, topic, b"open", 1);
        assert_eq!(client.hear(), Heard::Ack(AckKind::Puback, PacketId::new(1).unwrap(), reason), "{topic}");
    }

    assert_eq!(client.hear(), Heard::Disconnect(ReasonCode::MAXIMUM_CONNECT_TIME));
    assert_eq!(client.hear(), Heard::Closed);
}

#[test]
fn listeners_want_what_they_say() {
    let listener = |auth: &str| format!("[[listener]]\nurl = \"mqtt://127.0.0.1:0\"\n{auth}\n");
    let listeners = [
        listener("auth = [\"jwt\"]"),
        listener("auth = [\"password\"]"),
        listener("auth = [\"password\", \"jwt\", \"anonymous\"]"),
        listener("auth = \"anonymous\""),
        listener(""),
    ];
    let house = House::build(&listeners.concat(), "");
    let token = token(SECRET, &json!({"sub": "gate"}));
    let (yes, bad, no) = (ReasonCode::SUCCESS, ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::NOT_AUTHORIZED);
    for (listener, by_token, by_password, by_wrong, by_nothing) in
        [(0, yes, bad, bad, no), (1, bad, yes, bad, no), (2, yes, yes, bad, yes), (3, yes, yes, yes, yes), (4, yes, yes, bad, no)]
    {
        assert_eq!(house.outcome(listener, Some("x"), Some(&token)), by_token, "{listener}");
        assert_eq!(house.outcome(listener, Some("eve"), Some("pencil")), by_password, "{listener}");
        assert_eq!(house.outcome(listener, Some("eve"), Some("chalk")), by_wrong, "{listener}");
        assert_eq!(house.outcome(listener, None, None), by_nothing, "{listener}");
    }
}

#[test]
fn a_listener_has_other_ways_after_a_reload() {
    let listener = |port: u16, auth: &str| format!("[[listener]]\nurl = \"mqtt://127.0.0.1:{port}\"\nauth = \"{auth}\"\n");
    let (first, second) = (columba_check::load::free_port().unwrap(), columba_check::load::free_port().unwrap());
    let mut house = House::build(&listener(first, "jwt"), "");
    let token = token(SECRET, &json!({"sub": "gate"}));
    let (yes, bad) = (ReasonCode::SUCCESS, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!([house.outcome(0, None, Some(&token)), house.outcome(0, Some("eve"), Some("pencil"))], [yes, bad]);

    let listeners = [listener(first, "password"), listener(second, "jwt")].concat();
    let next = House::config(&house.dir, &listeners, "");
    assert!(house.broker.reload(next).unwrap().is_empty());

    let outcomes = [0, 1].map(|at| [house.outcome(at, Some("x"), Some(&token)), house.outcome(at, Some("eve"), Some("pencil"))]);
    assert_eq!(outcomes, [[bad, yes], [yes, bad]]);
}

#[test]
fn guesses_at_tokens_are_slowed_down_like_guesses_at_passwords() {
    let house = House::build(ONE, "");
    let guess = |number: u32| token("another secret that is for tests alone", &json!({"sub": "root", "n": number}));
    let mut refused = Vec::new();
    for number in 0..30 {
        refused.push(house.outcome(0, None, Some(&guess(number))));
    }

    let busy = refused.iter().filter(|&&reason| reason == ReasonCode::SERVER_BUSY).count();
    assert!(refused.starts_with(&[ReasonCode::BAD_USER_NAME_OR_PASSWORD; 10]), "{refused:?}");
    assert!(busy > 0 && !refused.contains(&ReasonCode::SUCCESS), "{refused:?}");
}

#[test]
fn what_does_not_go_together_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("pem");
    fs::write(&pem, "-----BEGIN PUBLIC KEY-----\n").unwrap();
    let start = |text: &str| Server::start(config(text)).map(Running::stop).unwrap_err().to_string();

    assert_eq!(
        start("[[listener]]\nurl = \"127.0.0.1:0\"\nauth = \"jwt\"\n"),
        "listener 127.0.0.1:0 names \"jwt\", and there is no key under auth.jwt"
    );
    assert_eq!(start("[auth]\norder = [\"password\"]\n"), "auth.order names \"password\", and there is no auth.password.file");
    let of_pem = |key: &str| start(&format!("[auth.jwt]\n{key} = {:?}\n", Path::new(&pem)));
    assert!(
        of_pem("secret_file")
            .ends_with("PEM in the place of a secret: what everybody may know would make tokens; write it behind key_file")
    );
    assert!(of_pem("key_file").contains("pem: "));
    assert!(of_pem("jwks").ends_with("not a JWK Set: {\"keys\": [...]}"));
    let wrong = |text: &str| Config::parse("t", text).unwrap_err().to_string();
    assert_eq!(wrong("[auth]\norder = [\"jwt\", \"jwt\"]\n"), "t:2:9: \"auth.order\" wants \"jwt\" once");
    assert_eq!(wrong("[[listener]]\nurl = \"a\"\nauth = []\n"), "t:3:8: \"auth\" wants at least one way to come in");
    assert_eq!(
        wrong("[auth]\norder = \"anonymous\"\n"),
        "t:2:9: \"auth.order\" wants a list of \"password\" or \"jwt\" or \"http\""
    );
}
