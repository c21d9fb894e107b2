//! Listeners that come, go and change while the broker runs: only who is concerned notices, and what cannot be had changes nothing.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use columba_server::{
    Config, Running, Server,
    config::{Data, Http},
};

use self::common::{Keep, Raw, connect, publish};

/// 0x98 of a DISCONNECT.
const ADMINISTRATIVE_ACTION: u8 = 0x98;

fn config(listeners: &[&str], more: &str) -> Config {
    let tables = listeners.join("\n[[listener]]\n");
    let text = format!("[runtime]\nworkers = 2\nshards = 3\n{more}\n[[listener]]\n{tables}\n");
    let config = Config::parse("test.toml", &text).unwrap();
    Config { data: Data::Ephemeral, http: Http::off(), ..config }
}

fn start(listeners: &[&str]) -> Running {
    Server::start(config(listeners, "")).unwrap()
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn url(scheme: &str, port: u16) -> String {
    format!("url = \"{scheme}://127.0.0.1:{port}\"")
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// As soon as shards have done what they were told.
fn until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(at(port)).is_ok()
}

/// A publisher and a subscriber at QoS 1 that go on all the time; the count of what was acknowledged and came, in order.
struct Load {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Load {
    fn over(address: SocketAddr) -> Self {
        let (mut subscriber, _) = Raw::connected(address, &connect(5, "subscriber", Keep::Nothing));
        subscriber.subscribe(5, "load", 1);
        let (mut publisher, _) = Raw::connected(address, &connect(5, "publisher", Keep::Nothing));
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let thread = thread::spawn(move || {
            let mut count: u32 = 0;
            loop {
                count += 1;
                publisher.send(&publish(5, 1, "load", &count.to_be_bytes()));
                publisher.expect(0x40);
                let came = subscriber.expect(0x32);
                assert!(came.ends_with(&count.to_be_bytes()), "message {count} and nothing else");
                let id = &came[6..8];
                subscriber.send(&[0x40, 2, id[0], id[1]]);
                if stop.load(Ordering::Relaxed) {
                    return count;
                }
            }
        });
        Self { enough, thread }
    }

    fn stop(self) -> u32 {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn one_comes_and_goes_and_only_its_own_clients_notice() {
    let mut broker = start(&["url = \"mqtt://127.0.0.1:0\""]);
    let first = common::address(&broker);
    let load = Load::over(first);
    let port = free_port();

    for round in 0..3 {
        let both = config(&["url = \"mqtt://127.0.0.1:0\"", &url("mqtt", port)], "");
        assert_eq!(broker.reload(both).unwrap(), Vec::<&str>::new(), "nothing waits for a start");
        assert_eq!(broker.local_addrs(), [first, at(port)]);
        // More than there are shards: each of them listens.
        let mut guests: Vec<Raw> =
            (0..8).map(|guest| Raw::connected(at(port), &connect(5, &format!("g{guest}"), Keep::Session)).0).collect();

        broker.reload(config(&["url = \"mqtt://127.0.0.1:0\""], "")).unwrap();
        for guest in &mut guests {
            assert_eq!(guest.expect(0xE0)[0], ADMINISTRATIVE_ACTION, "round {round}");
            guest.expect_end();
        }
        until(|| !is_open(port));
        let (_, had_session) = Raw::connected(first, &connect(5, "g0", Keep::Session));
        assert!(had_session, "the session is not the listener's");
    }
    assert!(load.stop() > 0);
}

#[test]
fn other_terms_hold_for_who_comes_and_its_former_clients_go_with_it() {
    let port = free_port();
    let mut broker = start(&["url = \"mqtt://127.0.0.1:0\"", &url("mqtt", port)]);
    let load = Load::over(common::address(&broker));
    let (mut old, _) = Raw::connected(at(port), &connect(5, "old", Keep::Nothing));

    broker.reload(config(&["url = \"mqtt://127.0.0.1:0\"", &url("ws", port)], "")).unwrap();

    // The port speaks HTTP now, on each shard.
    until(|| {
        (0..8).all(|_| {
            let mut newcomer = TcpStream::connect(at(port)).unwrap();
            newcomer.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
            let mut answer = [0; 10];
            newcomer.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 4"
        })
    });
    old.ping();

    broker.reload(config(&["url = \"mqtt://127.0.0.1:0\""], "")).unwrap();
    assert_eq!(old.expect(0xE0)[0], ADMINISTRATIVE_ACTION, "it came through a listener that is no more");
    assert!(load.stop() > 0);
}

#[test]
fn fewer_may_come_and_who_is_there_stays() {
    let mut broker = start(&["url = \"mqtt://127.0.0.1:0\""]);
    let address = common::address(&broker);
    let (mut first, _) = Raw::connected(address, &connect(5, "first", Keep::Nothing));
    let (mut second, _) = Raw::connected(address, &connect(5, "second", Keep::Nothing));

    broker.reload(config(&["url = \"mqtt://127.0.0.1:0\"\nmax_connections = 1"], "")).unwrap();

    let mut third = Raw::open(address);
    third.send(&connect(5, "third", Keep::Nothing));
    assert_eq!(third.expect(0x20)[1], 0x97);
    first.ping();
    second.ping();
}

#[test]
fn what_cannot_be_had_changes_nothing() {
    let mut broker = start(&["url = \"mqtt://127.0.0.1:0\""]);
    let address = common::address(&broker);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = url("mqtt", taken.local_addr().unwrap().port());
    let free = free_port();
    let no_file = format!("{}\ncert = \"/no/such/file\"\nkey = \"/no/such/file\"", url("mqtts", free));

    for (listener, why) in [
        (&*taken, "is taken"),
        (&no_file, "/no/such/file"),
        ("url = \"mqtt://0.0.0.0:0\"", "is reachable from other machines and has no authentication"),
    ] {
        // It would also have closed the first one, and taken no QoS any more.
        let next = config(&[&url("mqtt", free), listener], "[limits]\nmax_qos = 0");
        let error = broker.reload(next).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(broker.local_addrs(), [address]);
        assert!(!is_open(free), "{why}");
        let (mut client, _) = Raw::connected(address, &connect(5, "c", Keep::Nothing));
        client.subscribe(5, "a", 2);
        client.send(&publish(5, 1, "b", b"x"));
        client.expect(0x40);
    }
}

#[test]
fn each_listener_has_terms_of_its_own() {
    let (plain, mounted) = (free_port(), free_port());
    let terms = "\nprotocols = [\"5\"]\nmax_qos = 1\nmax_topic_alias = 3\nmount_point = \"site/7/\"";
    let mut broker = start(&[&url("mqtt", plain), &(url("mqtt", mounted) + terms)]);
    let (mut outside, _) = Raw::connected(at(plain), &connect(4, "outside", Keep::Nothing));
    outside.subscribe(4, "#", 2);
    let (mut inside, _) = Raw::connected(at(mounted), &connect(5, "inside", Keep::Nothing));
    inside.subscribe(5, "#", 1);

    inside.send(&publish(5, 1, "up", b"1"));
    // CONNECT, SUBSCRIBE, PUBLISH: the topic is whole outside and its own inside.
    assert!(outside.expect(0x32).starts_with(b"\x00\x09site/7/up"));
    let mut heard = [inside.frame().unwrap(), inside.frame().unwrap()];
    heard.sort();
    assert_eq!(heard[1].0, 0x40, "{heard:?}");
    assert!(heard[0].0 == 0x32 && heard[0].1.starts_with(b"\x00\x02up"), "{heard:?}");
    outside.send(&publish(4, 0, "elsewhere", b"2"));
    outside.send(&publish(4, 0, "site/7/down", b"3"));
    assert!(inside.expect(0x30).starts_with(b"\x00\x04down"));

    let mut old = Raw::open(at(mounted));
    old.send(&connect(4, "old", Keep::Nothing));
    assert_eq!(old.expect(0x20), [0, 1], "unacceptable protocol version");
    old.expect_end();
    let mut told = Raw::open(at(mounted));
    told.send(&connect(5, "told", Keep::Nothing));
    let connack = told.expect(0x20);
    for property in [&[0x24, 1][..], &[0x22, 0, 3]] {
        assert!(connack.windows(property.len()).any(|bytes| bytes == property), "{connack:02x?}");
    }

    // Who is there keeps its terms, who comes has the new ones.
    broker.reload(config(&[&url("mqtt", plain), &(url("mqtt", mounted) + "\nmount_point = \"b/\"")], "")).unwrap();
    until(|| {
        let mut old = Raw::open(at(mounted));
        old.send(&connect(4, "old", Keep::Nothing));
        old.expect(0x20) == [0, 0]
    });
    let (mut new, _) = Raw::connected(at(mounted), &connect(4, "new", Keep::Nothing));
    outside.send(&publish(4, 0, "other", b""));
    new.send(&publish(4, 0, "x", b""));
    inside.send(&publish(5, 0, "x", b""));
    let mut topics = Vec::new();
    while topics.len() < 5 {
        let (_, body) = outside.frame().unwrap();
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        topics.push(String::from_utf8(body[2..2 + len].to_vec()).unwrap());
    }
    topics.sort();
    assert_eq!(topics, ["b/x", "elsewhere", "other", "site/7/down", "site/7/x"]);
}
