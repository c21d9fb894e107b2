//! Tokens whose keys are behind a URL: fetched, changed, gone, slow, and never a reason to let somebody in.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

#[path = "common/pki.rs"]
mod pki;
#[path = "common/service.rs"]
mod service;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use columba_check::talk::Talk;
use columba_proto::{
    ReasonCode, Version,
    packet::{Connect, ConnectProperties},
};
use columba_server::{
    Config, Running, Server,
    config::Data,
    users::{Kind, Secret, UsersFile},
};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use pki::Authority;
use service::{Service, http};

const PATIENCE: Duration = Duration::from_mins(1);

const YES: ReasonCode = ReasonCode::SUCCESS;
const NO: ReasonCode = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
const NOBODY_KNOWS: ReasonCode = ReasonCode::SERVER_UNAVAILABLE;

/// Whoever signs tokens, by one key.
struct Issuer {
    kid: &'static str,
    key: Ed25519KeyPair,
}

impl Issuer {
    fn new(kid: &'static str, seed: u8) -> Self {
        Self { kid, key: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": encode(self.key.public_key())})
    }

    fn token(&self) -> String {
        let signed = self.unsigned("EdDSA");
        format!("{signed}.{}", encode(self.key.sign(signed.as_bytes())))
    }

    fn unsigned(&self, algorithm: &str) -> String {
        let header = json!({"alg": algorithm, "kid": self.kid}).to_string();
        format!("{}.{}", encode(header), encode(json!({"sub": "gate"}).to_string()))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn set(issuers: &[&Issuer]) -> Vec<u8> {
    http("200 OK", &json!({"keys": issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()}).to_string())
}

/// What the service answers at the moment.
type Said = Arc<Mutex<Vec<u8>>>;

fn serving(first: Vec<u8>) -> (Service, Said) {
    let said = Said::new(Mutex::new(first));
    let now = Arc::clone(&said);
    (Service::open(move |_| Some(now.lock().unwrap().clone())), said)
}

/// A broker that knows a user with a password, and fetches keys.
struct House {
    dir: tempfile::TempDir,
    jwt: String,
    broker: Running,
}

impl House {
    fn build(jwt: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut file = UsersFile::default();
        file.set("eve", Secret::derive(Kind::Sha512, "pencil", [1; 16]).unwrap()).unwrap();
        file.write(&dir.path().join("users")).unwrap();
        let broker = Server::start(Self::config(&dir, &jwt)).unwrap();
        Self { dir, jwt, broker }
    }

    fn config(dir: &tempfile::TempDir, jwt: &str) -> Config {
        let users = dir.path().join("users");
        let text = format!(
            "[[listener]]\nurl = \"127.0.0.1:0\"\n[http]\nurl = \"127.0.0.1:0\"\n[auth.password]\nfile = {users:?}\n\
             [auth.jwt]\n{jwt}\n[limits]\nconnect_wait = \"5m\"\n"
        );
        Config { data: Data::Ephemeral, ..Config::parse("test.toml", &text).unwrap() }
    }

    fn outcome(&self, user: Option<&str>, password: &str) -> ReasonCode {
        Talk::call(self.broker.local_addrs()[0], &connect(user, password)).map_or_else(|reason| reason, |_| YES)
    }

    fn by(&self, token: &str) -> ReasonCode {
        self.outcome(None, token)
    }

    /// Has the keys fetched again; who shows a token from now on waits for them where needed.
    fn fetches_again(&mut self, service: &Service) {
        let before = service.count().0;
        assert!(self.broker.reload(Self::config(&self.dir, &self.jwt)).unwrap().is_empty());
        until("it is asked again", || service.count().0 > before);
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = get(self.broker.http_addrs()[0], "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}\n{metrics}"));
        line.trim().parse().unwrap()
    }
}

fn connect<'c>(user: Option<&'c str>, password: &'c str) -> Connect<'c> {
    Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: "gate-7",
        will: None,
        username: user,
        password: Some(password.as_bytes()),
        properties: ConnectProperties::default(),
    }
}

fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn keys_behind_a_url_open_the_door_and_nothing_else_does() {
    let (one, two) = (Issuer::new("one", 1), Issuer::new("two", 2));
    let (service, _) = serving(set(&[&one]));
    let house = House::build(format!("jwks_url = {:?}", service.url("/keys?of=mqtt")));

    assert_eq!(house.by(&one.token()), YES, "whoever comes before the keys waits for them");
    assert_eq!(house.outcome(Some("eve"), "pencil"), YES);
    let asked = service.requests();
    assert_eq!(asked[0].line, "get /keys?of=mqtt http/1.1");
    assert_eq!(asked.len(), 1, "once for all");

    let by_the_public_key = {
        let signed = one.unsigned("HS256");
        let key = hmac::Key::new(hmac::HMAC_SHA256, one.key.public_key().as_ref());
        format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())))
    };
    let by_another = Issuer { kid: "one", ..Issuer::new("", 3) };
    for (what, token) in [
        ("another's key", by_another.token()),
        ("a key that is not there", two.token()),
        ("the public key as a secret", by_the_public_key),
        ("nobody", format!("{}.", one.unsigned("none"))),
        ("nobody, loudly", format!("{}.{}", one.unsigned("NONE"), encode("x"))),
    ] {
        assert_eq!(house.by(&token), NO, "signed by {what}");
    }
}

#[test]
fn a_key_that_is_new_is_fetched_when_the_first_token_names_it_and_an_old_one_is_forgotten() {
    let (one, two) = (Issuer::new("one", 1), Issuer::new("two", 2));
    let (service, said) = serving(set(&[&one]));
    let house = House::build(format!("jwks_url = {:?}\njwks_refresh = \"1d\"", service.url("/keys")));
    assert_eq!(house.by(&one.token()), YES);

    *said.lock().unwrap() = set(&[&two]);
    until("a token makes it fetch", || {
        // Not so often that it counts as guessing.
        thread::sleep(Duration::from_secs(1));
        house.by(&two.token()) == YES
    });

    assert_eq!(service.count().0, 2, "however often it was named meanwhile");
    assert_eq!(house.by(&one.token()), NO);
}

#[test]
fn keys_are_fetched_again_by_themselves() {
    let (one, two) = (Issuer::new("one", 1), Issuer::new("two", 2));
    let (service, said) = serving(set(&[&one, &two]));
    let house = House::build(format!("jwks_url = {:?}\njwks_refresh = \"1s\"", service.url("/keys")));
    assert_eq!([house.by(&one.token()), house.by(&two.token())], [YES, YES]);

    *said.lock().unwrap() = set(&[&two]);

    // Nothing that anybody shows asks for it.
    until("the key that was taken back is not good any more", || house.by(&one.token()) == NO);
    assert_eq!(house.by(&two.token()), YES);
}

#[test]
fn without_keys_nobody_gets_in_and_the_last_ones_stay() {
    let one = Issuer::new("one", 1);
    let (service, said) = serving(http("500 Oops", ""));
    let mut house = House::build(format!("jwks_url = {:?}", service.url("/keys")));
    // By no other way either: nobody knows that it is wrong.
    assert_eq!(house.by(&one.token()), NOBODY_KNOWS);
    assert_eq!(house.outcome(Some("eve"), &one.token()), NOBODY_KNOWS);
    assert_eq!(house.outcome(Some("eve"), "pencil"), YES, "who shows no token needs no keys");
    let never = format!("columba_key_set_fetched_timestamp_seconds{{url={:?}}}", service.url("/keys"));
    assert_eq!(house.metric(&never), 0);
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-More: x\r\n".repeat(100_000)).into_bytes();
    let huge = http("200 OK", &json!({"keys": [one.jwk()], "more": "x".repeat(300_000)}).to_string());
    let many = http("200 OK", &json!({"keys": vec![one.jwk(); 101]}).to_string());
    let bad = [
        ("nothing", http("200 OK", "")),
        ("no key", http("200 OK", r#"{"keys": []}"#)),
        ("a page", http("200 OK", "<html>login</html>")),
        ("another place", http("302 Found", "")),
        ("no HTTP", b"NOT HTTP AT ALL\r\n\r\n".to_vec()),
        ("less than it says", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{".to_vec()),
        ("heads without end", endless),
        ("too much", huge),
        ("too many keys", many),
    ];
    for (what, answer) in bad.clone() {
        *said.lock().unwrap() = answer;
        house.fetches_again(&service);
        assert_eq!(house.by(&one.token()), NOBODY_KNOWS, "{what}");
    }

    *said.lock().unwrap() = set(&[&one]);
    house.fetches_again(&service);
    assert_eq!(house.by(&one.token()), YES);

    for (what, answer) in bad {
        *said.lock().unwrap() = answer;
        let failed = house.metric("columba_key_set_fetches_total{result=\"failed\"}");
        house.fetches_again(&service);
        until("that is over", || house.metric("columba_key_set_fetches_total{result=\"failed\"}") > failed);
        assert_eq!(house.by(&one.token()), YES, "{what}");
    }
    assert_eq!(house.metric("columba_key_set_fetches_total{result=\"good\"}"), 1);
}

#[test]
fn who_waits_for_keys_holds_up_nobody_else() {
    let one = Issuer::new("one", 1);
    let (gate, answer) = (Arc::new((Mutex::new(false), Condvar::new())), set(&[&one]));
    let service = {
        let gate = Arc::clone(&gate);
        Service::open(move |_| {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |is_open| !*is_open).unwrap());
            Some(answer.clone())
        })
    };
    let house = House::build(format!("jwks_url = {:?}", service.url("/keys")));
    until("it is asked", || service.count().0 == 1);
    let mut waiting = TcpStream::connect(house.broker.local_addrs()[0]).unwrap();
    let mut frame = Vec::new();
    connect(None, &one.token()).encode(&mut frame);
    waiting.write_all(&frame).unwrap();
    waiting.set_nonblocking(true).unwrap();

    assert_eq!(house.outcome(Some("eve"), "pencil"), YES);
    assert_eq!(waiting.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock, "it is not sent away");

    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    waiting.set_nonblocking(false).unwrap();
    let mut head = [0; 4];
    waiting.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[3]), (0x20, 0), "CONNACK, and it is in");
}

#[test]
fn over_tls_keys_come_only_from_where_the_authority_says() {
    let (one, ours, others) = (Issuer::new("one", 1), Authority::new(), Authority::new());
    let signed = ours.client("localhost");
    let answer = set(&[&one]);
    let service = Service::open_tls(&signed.chain, &signed.key, move |_| Some(answer.clone()));
    let by = |name: &str, authority: &Authority| {
        let jwt = format!("jwks_url = {:?}\njwks_ca = {:?}", service.url_by(name, "/keys"), authority.ca_file());
        House::build(jwt).by(&one.token())
    };

    assert_eq!(by("localhost", &ours), YES);
    assert_eq!(by("localhost", &others), NOBODY_KNOWS, "somebody else's certificate");
    assert_eq!(by("127.0.0.1", &ours), NOBODY_KNOWS, "for another name");
    assert_eq!(service.count().0, 1, "nobody else was heard");
}
