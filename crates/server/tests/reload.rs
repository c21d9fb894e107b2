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

use columba_check::talk::{Heard, Talk};
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
    // The file is read beside the reload.
    while login(also, "new-carl", "carl", "pencil").is_ok() {}
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
