//! Another configuration under load: a listener more, other limits, a user less. Only who is concerned notices.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use columba_check::{
    load::SessionKind,
    talk::{Heard, Talk},
};
use columba_proto::{
    AckKind, PacketId, QoS, ReasonCode, Version,
    packet::{Connect, ConnectProperties},
};
use columba_server::{
    Config, Running, Server,
    config::{Data, Http},
    users::{Kind, Secret, UsersFile},
};

/// As the users file has them; all passwords are "pencil" until somebody changes hers.
const USERS: [&str; 4] = ["anna", "bert", "carl", "dora"];

/// What whoever is not a user any more is told.
const GONE: ReasonCode = ReasonCode::NOT_AUTHORIZED;

/// Clients that publish and read at QoS 1 all the time, in pairs of one user each.
struct Load {
    enough: Arc<AtomicBool>,
    pairs: Vec<Pair>,
}

struct Pair {
    user: &'static str,
    /// Messages that were acknowledged, and came.
    count: Arc<AtomicU64>,
    /// `None`: nothing has happened to it.
    thread: JoinHandle<Option<ReasonCode>>,
}

impl Load {
    fn begin(address: SocketAddr, pairs: usize) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let pair = |number: usize| {
            let (user, count) = (USERS[number % USERS.len()], Arc::new(AtomicU64::new(0)));
            let mut publisher = login(address, &format!("publisher-{number}"), user, "pencil").unwrap();
            let mut reader = login(address, &format!("reader-{number}"), user, "pencil").unwrap();
            let topic = format!("load/{number}");
            assert_eq!(reader.subscribe(&topic, QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
            let (stop, counted) = (Arc::clone(&enough), Arc::clone(&count));
            let thread = thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = counted.load(Ordering::Relaxed) + 1;
                    match exchange(&mut publisher, &mut reader, &topic, number) {
                        Ok(()) => counted.store(number, Ordering::Relaxed),
                        Err(reason) => {
                            // Both of them, for both are the same user.
                            assert_eq!((farewell(&mut publisher, reason), farewell(&mut reader, reason)), (reason, reason));
                            return Some(reason);
                        }
                    }
                }
                None
            });
            Pair { user, count, thread }
        };
        let pairs = (0..pairs).map(pair).collect();
        Self { enough, pairs }
    }

    /// Each of these users' clients gets so many messages more through.
    fn goes_on(&self, users: &[&str], more: u64) {
        let concerned = || self.pairs.iter().filter(|pair| users.contains(&pair.user));
        let marks: Vec<u64> = concerned().map(|pair| pair.count.load(Ordering::Relaxed) + more).collect();
        for (pair, mark) in concerned().zip(marks) {
            while pair.count.load(Ordering::Relaxed) < mark {
                assert!(!pair.thread.is_finished(), "{} was sent away", pair.user);
                thread::yield_now();
            }
        }
    }

    /// What became of each pair, by user.
    fn end(self) -> Vec<(&'static str, Option<ReasonCode>)> {
        self.enough.store(true, Ordering::Relaxed);
        self.pairs.into_iter().map(|pair| (pair.user, pair.thread.join().unwrap())).collect()
    }
}

/// One message there and back, with its acknowledgements, and nothing else between; or the reason why it ended.
fn exchange(publisher: &mut Talk, reader: &mut Talk, topic: &str, number: u64) -> Result<(), ReasonCode> {
    let payload = number.to_be_bytes();
    publisher.publish(QoS::AtLeastOnce, topic, &payload, 1);
    match publisher.hear() {
        Heard::Ack(AckKind::Puback, id, reason) => assert_eq!((id.get(), reason), (1, ReasonCode::SUCCESS)),
        Heard::Disconnect(reason) => return Err(reason),
        other @ (Heard::Ack(..) | Heard::Message(..) | Heard::Pong | Heard::Closed) => panic!("{topic} {number}: {other:?}"),
    }
    let id: PacketId = match reader.hear() {
        Heard::Message(Some(id), came) => {
            assert_eq!(came, payload, "{topic}: the next one, once");
            id
        }
        Heard::Disconnect(reason) => return Err(reason),
        other @ (Heard::Ack(..) | Heard::Message(None, _) | Heard::Pong | Heard::Closed) => {
            panic!("{topic} {number}: {other:?}")
        }
    };
    reader.acknowledge(AckKind::Puback, id);
    Ok(())
}

/// The last words of a connection of which the other one has heard `reason`, or which has heard it itself.
fn farewell(talk: &mut Talk, reason: ReasonCode) -> ReasonCode {
    loop {
        match talk.hear() {
            Heard::Disconnect(said) => return said,
            Heard::Closed => return reason,
            Heard::Ack(..) | Heard::Message(..) | Heard::Pong => {}
        }
    }
}

fn login(address: SocketAddr, client_id: &str, user: &str, password: &str) -> Result<Talk, ReasonCode> {
    let connect = Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id,
        will: None,
        username: Some(user),
        password: Some(password.as_bytes()),
        properties: ConnectProperties::default(),
    };
    Talk::call(address, &connect).map(|(talk, _)| talk)
}

fn write_users(path: &Path, users: &[(&str, &str)]) {
    let mut file = UsersFile::default();
    for (user, password) in users {
        file.set(user, Secret::derive(Kind::Sha512, password, [1; 16]).unwrap()).unwrap();
    }
    file.write(path).unwrap();
}

fn config(directory: &Path, listeners: &[u16], limits: &str) -> Config {
    let users = directory.join("users");
    let listeners: String = listeners
        .iter()
        .flat_map(|port| ["[[listener]]\nurl = \"127.0.0.1:".to_owned(), port.to_string(), "\"\n".to_owned()])
        .collect();
    let text = format!("{listeners}[auth.password]\nfile = {users:?}\n[limits]\n{limits}\n[runtime]\nworkers = 2\nshards = 3\n");
    let data = Data::Directory(directory.join("data"));
    Config { data, http: Http::off(), ..Config::parse("test.toml", &text).unwrap() }
}

fn start(directory: &Path, port: u16) -> (Running, SocketAddr) {
    write_users(&directory.join("users"), &USERS.map(|user| (user, "pencil")));
    let broker = Server::start(config(directory, &[port], "")).unwrap();
    let address = broker.local_addrs()[0];
    (broker, address)
}

#[test]
fn a_listener_more_other_limits_and_a_user_less_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [columba_check::load::free_port().unwrap(), columba_check::load::free_port().unwrap()];
    let (mut broker, address) = start(dir.path(), first);
    let mut quiet = login(address, "quiet", "anna", "pencil").unwrap();
    let load = Load::begin(address, 12);
    load.goes_on(&USERS, 20);

    // Carl leaves, and Dora has another password.
    write_users(&dir.path().join("users"), &[("anna", "pencil"), ("bert", "pencil"), ("dora", "chalk")]);
    let waiting = broker.reload(config(dir.path(), &[first, second], "max_qos = 1\ninflight = 7")).unwrap();
    assert!(waiting.is_empty(), "nothing waits for a start: {waiting:?}");
    load.goes_on(&["anna", "bert"], 20);

    let also = broker.local_addrs()[1];
    assert_eq!(also.port(), second);
    let carl = login(also, "new-carl", "carl", "pencil");
    assert_eq!(carl.unwrap_err(), ReasonCode::BAD_USER_NAME_OR_PASSWORD, "the file was read before the listener was opened");
    let mut newcomer = login(also, "new", "dora", "chalk").unwrap();
    newcomer.publish(QoS::ExactlyOnce, "t", b"x", 1);
    assert_eq!(newcomer.hear(), Heard::Disconnect(ReasonCode::QOS_NOT_SUPPORTED), "the limits are the new ones");
    quiet.publish(QoS::ExactlyOnce, "t", b"x", 1);
    let id = PacketId::new(1).unwrap();
    assert_eq!(quiet.hear(), Heard::Ack(AckKind::Pubrec, id, ReasonCode::NO_MATCHING_SUBSCRIBERS), "what was offered holds");
    // A file that goes wrong, and a configuration that cannot be had, change nothing.
    fs::write(dir.path().join("users"), "nonsense\n").unwrap();
    broker.reload(config(dir.path(), &[first, second], "max_qos = 1\ninflight = 7")).unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    broker.reload(config(dir.path(), &[taken], "max_qos = 0")).unwrap_err();
    load.goes_on(&["anna", "bert"], 20);

    for (user, ended) in load.end() {
        let expected = if ["carl", "dora"].contains(&user) { Some(GONE) } else { None };
        assert_eq!(ended, expected, "{user}");
    }
}

fn stranger(address: SocketAddr, client_id: &str) -> Result<Talk, ReasonCode> {
    Talk::connect(address, Version::V5, client_id, SessionKind::Clean).map(|(talk, _)| talk)
}

fn policy(directory: &Path, listeners: &[u16], rest: &str) -> Config {
    let listeners: Vec<String> = listeners.iter().map(|port| format!("[[listener]]\nurl = \"127.0.0.1:{port}\"\n")).collect();
    let config = Config::parse("test.toml", &(listeners.concat() + rest)).unwrap();
    Config { data: Data::Directory(directory.join("data")), http: Http::off(), ..config }
}

#[test]
fn who_may_come_in_and_do_what_holds_at_once_and_before_a_new_listener_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [columba_check::load::free_port().unwrap(), columba_check::load::free_port().unwrap()];
    let (users, others, rules) = (dir.path().join("users"), dir.path().join("others"), dir.path().join("acl.toml"));
    write_users(&users, &[("anna", "pencil"), ("carl", "pencil")]);
    write_users(&others, &[("anna", "pencil"), ("bert", "chalk")]);
    fs::write(&rules, "default = \"deny\"\n[[rule]]\nallow = \"all\"\ntopics = \"open/#\"\n").unwrap();
    let mut broker = Server::start(policy(dir.path(), &[first], "[auth]\nanonymous = true\n")).unwrap();
    let at = broker.local_addrs()[0];
    let mut unnamed = stranger(at, "unnamed").unwrap();

    // From nothing to users and rules, and a listener that has never known anything else.
    let guarded = format!("[auth]\nanonymous = false\n[auth.password]\nfile = {users:?}\n[acl]\nfile = {rules:?}\n");
    assert!(broker.reload(policy(dir.path(), &[first, second], &guarded)).unwrap().is_empty(), "nothing waits for a start");

    assert_eq!(unnamed.hear(), Heard::Disconnect(ReasonCode::NOT_AUTHORIZED), "it would not be let in now");
    let also = broker.local_addrs()[1];
    for (number, address) in [at, also].into_iter().enumerate() {
        assert_eq!(stranger(address, "stranger").unwrap_err(), ReasonCode::NOT_AUTHORIZED, "listener {number}");
        let mut anna = login(address, "anna", "anna", "pencil").unwrap();
        anna.publish(QoS::AtLeastOnce, "secret", b"x", 1);
        let Heard::Ack(AckKind::Puback, _, reason) = anna.hear() else { panic!("no answer") };
        assert_eq!(reason, ReasonCode::NOT_AUTHORIZED, "listener {number}");
        anna.publish(QoS::AtLeastOnce, "open/door", b"x", 1);
        let Heard::Ack(AckKind::Puback, _, reason) = anna.hear() else { panic!("no answer") };
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS, "listener {number}");
    }

    // Another file of users: who is in both is still there.
    let mut anna = login(at, "anna", "anna", "pencil").unwrap();
    let mut carl = login(at, "carl", "carl", "pencil").unwrap();
    let other_users = guarded.replace("/users", "/others");
    broker.reload(policy(dir.path(), &[first, second], &other_users)).unwrap();
    assert_eq!(carl.hear(), Heard::Disconnect(GONE));
    anna.ping();
    assert_eq!(anna.hear(), Heard::Pong);
    login(also, "bert", "bert", "chalk").unwrap();
    // It is the new one that is looked at from now on.
    write_users(&others, &[("bert", "chalk")]);
    assert_eq!(anna.hear(), Heard::Disconnect(GONE));

    // What cannot be read changes nothing at all, and opens nothing.
    let third = columba_check::load::free_port().unwrap();
    for wrong in [other_users.replace("/others", "/none"), other_users.replace("/acl.toml", "/none.toml")] {
        broker.reload(policy(dir.path(), &[third], &wrong)).unwrap_err();
        login(at, "bert", "bert", "chalk").unwrap();
        std::net::TcpStream::connect(("127.0.0.1", third)).unwrap_err();
    }

    // And back again.
    broker.reload(policy(dir.path(), &[first], "[auth]\nanonymous = true\n")).unwrap();
    let mut free = stranger(at, "free").unwrap();
    free.publish(QoS::AtLeastOnce, "secret", b"x", 1);
    let Heard::Ack(AckKind::Puback, _, reason) = free.hear() else { panic!("no answer") };
    assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
}

#[test]
fn a_client_that_was_sent_its_share_gets_the_rest_when_it_may_and_a_reload_is_for_those_that_come() {
    let dir = tempfile::tempdir().unwrap();
    let port = columba_check::load::free_port().unwrap();
    let limits = |limits: &str| Config { data: Data::Ephemeral, ..config(dir.path(), &[port], limits) };
    write_users(&dir.path().join("users"), &USERS.map(|user| (user, "pencil")));
    let mut broker = Server::start(limits("bytes_out = \"1k\"")).unwrap();
    let address = broker.local_addrs()[0];
    let stays = || {
        let properties = ConnectProperties { session_expiry: Some(3_600), ..ConnectProperties::default() };
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: false,
            keep_alive: 60,
            client_id: "reader",
            will: None,
            username: Some("anna"),
            password: Some(b"pencil"),
            properties,
        };
        Talk::call(address, &connect).unwrap().0
    };
    let mut reader = stays();
    assert_eq!(reader.subscribe("t", QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
    let mut publisher = login(address, "publisher", "bert", "pencil").unwrap();
    // A quarter of an hour's worth.
    let long = vec![b'x'; 900_000];
    let payloads: [&[u8]; 3] = [&long, b"second", b"third"];
    for (id, payload) in (1..).zip(payloads) {
        publisher.publish(QoS::AtLeastOnce, "t", payload, id);
        assert_eq!(publisher.hear(), Heard::Ack(AckKind::Puback, PacketId::new(id).unwrap(), ReasonCode::SUCCESS));
    }
    let first = PacketId::new(1).unwrap();
    assert_eq!(reader.hear(), Heard::Message(Some(first), long.clone()));
    reader.acknowledge(AckKind::Puback, first);
    reader.ping();
    assert_eq!(reader.hear(), Heard::Pong, "an answer does not wait, and the messages do");

    broker.reload(limits("")).unwrap();
    reader.ping();
    assert_eq!(reader.hear(), Heard::Pong, "a connection keeps what it came with");
    let mut reader = stays();

    for payload in &payloads[1..] {
        let Heard::Message(Some(id), came) = reader.hear() else { panic!("a message") };
        assert_eq!(came, *payload);
        reader.acknowledge(AckKind::Puback, id);
    }
}
