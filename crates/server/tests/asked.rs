//! Logging in where a service over HTTP is asked: one that is slow delays its clients and nobody else, and who waits for it is bounded.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

#[path = "common/pki.rs"]
mod pki;
#[path = "common/service.rs"]
mod service;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use columba_check::talk::{Heard, Talk};
use columba_proto::{
    QoS, ReasonCode, Version,
    packet::{Connect, ConnectProperties},
};
use columba_server::{
    Config, Running, Server,
    config::{Data, Http},
    users::{Kind, Secret, UsersFile},
};
use pki::Authority;
use service::{Request, Service, http};

const PATIENCE: Duration = Duration::from_mins(1);

/// Opens when those who wait may have their answers.
type Gate = Arc<(Mutex<bool>, Condvar)>;

/// A service that lets everybody in but "nobody", knows nothing of "eve", and takes its time for those called "slow...".
fn open() -> (Service, Gate) {
    let gate = Gate::default();
    let kept = Arc::clone(&gate);
    (Service::open(move |request| Some(answer(request, &kept))), gate)
}

fn answer(request: &Request, gate: &Gate) -> Vec<u8> {
    let question: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let user = question["username"].as_str().unwrap();
    if user.starts_with("slow") {
        let open = gate.0.lock().unwrap();
        drop(gate.1.wait_while(open, |is_open| !*is_open).unwrap());
    }
    let result = match user {
        "nobody" => "deny",
        "eve" => "ignore",
        _ => "allow",
    };
    http("200 OK", &format!("{{\"result\": \"{result}\"}}"))
}

/// Whoever waits has its answer now.
fn let_go(gate: &Gate) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

fn broker(url: &str, order: &str, dir: &tempfile::TempDir) -> Running {
    broker_with(&format!("url = {url:?}"), order, dir)
}

fn broker_with(service: &str, order: &str, dir: &tempfile::TempDir) -> Running {
    Server::start(config("127.0.0.1:0", service, order, dir)).unwrap()
}

fn config(listener: &str, service: &str, order: &str, dir: &tempfile::TempDir) -> Config {
    let users = dir.path().join("users");
    let mut file = UsersFile::default();
    file.set("eve", Secret::derive(Kind::Sha512, "pencil", [1; 16]).unwrap()).unwrap();
    file.write(&users).unwrap();
    let text = format!(
        "[[listener]]\nurl = \"{listener}\"\n[auth]\norder = {order}\n[auth.password]\nfile = {users:?}\n\
         [auth.http]\n{service}\nconnections = 2\ntimeout = \"1m\"\n[limits]\nconnect_wait = \"5m\"\n"
    );
    Config { data: Data::Ephemeral, http: Http::off(), ..Config::parse("test.toml", &text).unwrap() }
}

fn connect<'c>(client_id: &'c str, user: &'c str, password: &'c str) -> Connect<'c> {
    Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id,
        will: None,
        username: Some(user),
        password: Some(password.as_bytes()),
        properties: ConnectProperties::default(),
    }
}

fn outcome(broker: &Running, user: &str, password: &str) -> ReasonCode {
    let connected = Talk::call(broker.local_addrs()[0], &connect(user, user, password));
    connected.map_or_else(|reason| reason, |_| ReasonCode::SUCCESS)
}

/// A client that does not wait for its answer.
fn knock(broker: &Running, user: &str) -> TcpStream {
    let mut stream = TcpStream::connect(broker.local_addrs()[0]).unwrap();
    let mut frame = Vec::new();
    connect(user, user, "x").encode(&mut frame);
    stream.write_all(&frame).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// The reason code of CONNACK, if it has come.
fn answered(mut stream: &TcpStream) -> Option<u8> {
    let mut head = [0; 4];
    match stream.read(&mut head) {
        Ok(4) => Some(head[3]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        other => panic!("{other:?}"),
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_the_service_does_not_know_goes_on_to_the_next_way_and_its_no_ends_it() {
    let (dir, service) = (tempfile::tempdir().unwrap(), open().0);
    let broker = broker(&service.url("/auth"), "[\"http\", \"password\"]", &dir);

    assert_eq!(outcome(&broker, "anybody", "x"), ReasonCode::SUCCESS);
    assert_eq!(outcome(&broker, "eve", "pencil"), ReasonCode::SUCCESS, "by the users file");
    assert_eq!(outcome(&broker, "eve", "chalk"), ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(outcome(&broker, "nobody", "x"), ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(service.count().0, 4);
}

#[test]
fn whoever_waits_for_a_service_that_is_not_asked_any_more_hears_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (service, gate) = open();
    let url = format!("url = {:?}", service.url("/auth"));
    let listener = format!("127.0.0.1:{}", columba_check::load::free_port().unwrap());
    let mut broker = Server::start(config(&listener, &url, "[\"http\"]", &dir)).unwrap();
    let mut waiting: Vec<TcpStream> = (0..2).map(|number| knock(&broker, &format!("slow-{number}"))).collect();
    until("two lines are busy", || service.count().0 == 2);

    let (other, _) = open();
    let other_url = format!("url = {:?}", other.url("/auth"));
    broker.reload(config(&listener, &other_url, "[\"http\"]", &dir)).unwrap();

    let mut codes = Vec::new();
    until("all have their answers", || {
        waiting.retain(|stream| answered(stream).map(|code| codes.push(code)).is_none());
        waiting.is_empty()
    });
    assert!(codes.iter().all(|code| [0x88, 0x89].contains(code)), "come back later: {codes:x?}");
    assert_eq!(outcome(&broker, "quick", "x"), ReasonCode::SUCCESS);
    assert_eq!((service.count().0, other.count().0), (2, 1), "it is the other one that is asked");
    let_go(&gate);
}

#[test]
fn a_slow_service_delays_its_clients_only_and_a_crowd_before_it_is_bounded() {
    const CROWD: usize = 1_500;
    // Two are on their way, and so many of one address wait.
    const HEARD: usize = 2 + 256;
    let dir = tempfile::tempdir().unwrap();
    let (service, gate) = open();
    let broker = broker(&service.url("/auth"), "[\"password\", \"http\"]", &dir);
    let (mut early, _) = Talk::call(broker.local_addrs()[0], &connect("early", "early", "x")).unwrap();
    early.subscribe("t", QoS::AtMostOnce);

    let first = knock(&broker, "slow-first");
    until("the first is asked about", || service.count().0 == 2);
    assert_eq!(outcome(&broker, "quick", "x"), ReasonCode::SUCCESS, "another line is free");
    let mut waiting = vec![first];
    waiting.extend((1..CROWD).map(|number| knock(&broker, &format!("slow-{number}"))));
    let mut refused = Vec::new();
    until("the crowd is sent away but for some", || {
        waiting.retain(|stream| {
            answered(stream).is_none_or(|code| {
                refused.push(code);
                false
            })
        });
        refused.len() >= CROWD - HEARD
    });

    assert!(refused.iter().all(|&code| code == 0x89), "{refused:x?}");
    assert_eq!(outcome(&broker, "eve", "pencil"), ReasonCode::SUCCESS, "who needs no service does not wait");
    early.publish(QoS::AtMostOnce, "t", b"on", 0);
    assert_eq!(early.hear(), Heard::Message(None, b"on".to_vec()));
    let_go(&gate);
    let mut codes = Vec::new();
    until("those who waited have their answers", || {
        waiting.retain(|stream| {
            answered(stream).is_none_or(|code| {
                codes.push(code);
                false
            })
        });
        waiting.is_empty()
    });
    let (heard, late): (Vec<u8>, Vec<u8>) = codes.into_iter().partition(|&code| code == 0);
    assert!((1..=HEARD).contains(&heard.len()) && late.iter().all(|&code| code == 0x89), "{} {late:x?}", heard.len());
}

#[test]
fn where_the_service_is_gone_nobody_gets_in_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = broker(&format!("http://{address}/auth"), "[\"http\", \"password\"]", &dir);

    for _ in 0..10 {
        // Not by the next way either: it might have said no.
        assert_eq!(outcome(&broker, "eve", "pencil"), ReasonCode::SERVER_UNAVAILABLE);
    }
    broker.stop();
}

#[test]
fn over_tls_a_service_is_asked_only_where_its_authority_is_the_one_that_is_named() {
    let (dir, ours, others) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let signed = ours.client("localhost");
    let service = Service::open_tls(&signed.chain, &signed.key, |request| Some(answer(request, &Gate::default())));
    let ask = |name: &str, authority: &Authority, user: &str| {
        let service = format!("url = {:?}\nca = {:?}", service.url_by(name, "/auth"), authority.ca_file());
        outcome(&broker_with(&service, "\"http\"", &dir), user, "x")
    };

    assert_eq!(ask("localhost", &ours, "anybody"), ReasonCode::SUCCESS);
    assert_eq!(ask("localhost", &ours, "nobody"), ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    assert_eq!(service.count().0, 2);
    assert_eq!(ask("localhost", &others, "anybody"), ReasonCode::SERVER_UNAVAILABLE, "somebody else's certificate");
    assert_eq!(ask("127.0.0.1", &ours, "anybody"), ReasonCode::SERVER_UNAVAILABLE, "for another name");
    assert_eq!(service.count().0, 2, "no password went there");
}
