//! TLS, WebSocket, Unix sockets and the PROXY protocol as bytes on sockets: who gets in, as whom, and what the others are told.

#![expect(clippy::unwrap_used, reason = "where a step fails, so does the test")]
#![expect(clippy::unnecessary_debug_formatting, reason = "TOML quotes paths as Rust does")]

mod common;
#[path = "common/layered.rs"]
mod layered;
#[path = "common/pki.rs"]
mod pki;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::symlink, net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_server::{Config, ListeningAt, Running, Server, config::Data};

use self::{
    layered::{Layered, Via},
    pki::{Authority, Files, Signed},
};

const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x3C\x00\x00\x00";
const PING: &[u8] = b"\xC0\x00";

/// A broker with one listener, as its table says.
fn broker(table: &str) -> Running {
    try_broker(table).unwrap()
}

fn try_broker(table: &str) -> Result<Running, String> {
    Server::start(config(table)).map_err(|error| error.to_string())
}

fn config(table: &str) -> Config {
    let config = Config::parse("test.toml", &format!("[runtime]\nworkers = 2\nshards = 2\n[[listener]]\n{table}")).unwrap();
    Config { data: Data::Ephemeral, http: columba_server::config::Http::off(), ..config }
}

fn tls(scheme: &str, files: &Files, more: &str) -> String {
    format!("url = \"{scheme}://127.0.0.1:0\"\ncert = {:?}\nkey = {:?}\n{more}", files.cert(), files.key())
}

/// Whether an MQTT client gets its CONNACK and its PINGRESP.
fn is_served(client: &mut Layered) -> bool {
    client.send(CONNECT);
    let served = client.receive(2).is_some_and(|head| head[0] == 0x20 && client.receive(usize::from(head[1])).is_some());
    served && {
        client.send(PING);
        client.receive(2).as_deref() == Some(b"\xD0\x00")
    }
}

#[test]
fn every_transport_carries_mqtt() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let web = || Via::web("/any/path");
    for (table, via) in [
        (tls("mqtts", &files, ""), Via::tls(&authority, None)),
        (tls("mqtts", &files, "tls_version = \"1.3\""), Via::tls(&authority, None)),
        (tls("mqtts", &files, "websocket = true"), Via::tls(&authority, None).and(web())),
        (tls("wss", &files, ""), Via::tls(&authority, None).and(web())),
        ("url = \"ws://127.0.0.1:0\"".to_owned(), web()),
        ("url = \"mqtt://127.0.0.1:0\"\nwebsocket = true".to_owned(), web()),
        ("url = \"mqtt://127.0.0.1:0\"\nwebsocket = true".to_owned(), Via::plain()),
    ] {
        let broker = broker(&table);
        // Clients with chosen identifiers of both shards, so that some are handed over.
        for _ in 0..4 {
            let mut client = Layered::open(common::address(&broker), &via);
            assert!(is_served(&mut client), "{table}");
        }
    }
}

#[test]
fn a_unix_socket_carries_mqtt_and_goes_with_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("columba.sock");
    let broker = broker(&format!("url = \"unix:{}\"", path.display()));

    assert_eq!(broker.listening_at(), [ListeningAt::Path(path.clone())]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(CONNECT).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);

    broker.stop();
    assert!(!path.exists());
}

#[test]
fn a_large_message_passes_every_transport_both_ways() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    for (table, via) in [
        (tls("mqtts", &files, ""), Via::tls(&authority, None)),
        (tls("wss", &files, ""), Via::tls(&authority, None).and(Via::web("/"))),
        ("url = \"ws://127.0.0.1:0\"".to_owned(), Via::web("/")),
    ] {
        let broker = broker(&table);
        let mut client = Layered::open(common::address(&broker), &via);
        assert!(is_served(&mut client));
        client.send(b"\x82\x09\x00\x01\x00\x00\x03big\x00");
        assert_eq!(client.receive(6).unwrap()[0], 0x90);

        // PUBLISH at QoS 0 with 1.5 MB.
        let payload: Vec<u8> = (0..1_500_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let body = [b"\x00\x03big\x00".as_slice(), &payload].concat();
        let len = [body.len() & 0x7F | 0x80, body.len() >> 7 & 0x7F | 0x80, body.len() >> 14];
        let head: Vec<u8> = [0x30].into_iter().chain(len.map(|byte| u8::try_from(byte).unwrap())).collect();
        let packet = [head, body].concat();
        client.send(&packet);

        assert!(client.receive(packet.len()).as_deref() == Some(packet.as_slice()), "{table}");
    }
}

#[test]
fn a_certificate_opens_the_door_and_names_the_user() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = authority.server_files("localhost");
    let ca = authority.ca_file();
    let table = tls("mqtts", &files, &format!("ca = {ca:?}\nclient_cert = \"require\"\nidentity = \"cn\"\n"));
    // Who is in the users file may come in; here that is nobody.
    let users = tempfile::NamedTempFile::new().unwrap();
    let broker = broker(&format!("{table}[auth]\npassword.file = {:?}\n", users.path()));
    let try_with = |identity: Option<Signed>| {
        is_served(&mut Layered::open(common::address(&broker), &Via::tls(&authority, identity.as_ref())))
    };

    assert!(try_with(Some(authority.client("pump-7"))));
    assert!(!try_with(None), "no certificate");
    assert!(!try_with(Some(stranger.client("pump-7"))), "of another authority");
    assert!(!try_with(Some(authority.expired_client("pump-7"))), "expired");
    assert!(!try_with(Some(authority.client(""))), "without a name");
}

#[test]
fn who_needs_a_certificate_may_come_from_anywhere() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let ca = authority.ca_file();
    let reachable = tls("mqtts", &files, "").replace("127.0.0.1", "0.0.0.0");

    assert!(try_broker(&reachable).unwrap_err().contains("reachable from other machines"));
    assert!(try_broker(&format!("{reachable}ca = {ca:?}\nclient_cert = \"require\"\n")).is_ok());
    assert!(try_broker(&format!("{reachable}ca = {ca:?}\nclient_cert = \"optional\"\n")).is_err());
}

#[test]
fn files_that_do_not_do_are_named_at_the_start() {
    let authority = Authority::new();
    let (one, other) = (authority.server_files("localhost"), authority.server_files("localhost"));
    let with = |cert: &Path, key: &Path| {
        try_broker(&format!("url = \"mqtts://127.0.0.1:0\"\ncert = {cert:?}\nkey = {key:?}\n")).unwrap_err()
    };

    assert!(with(Path::new("/nowhere/x.pem"), one.key()).starts_with("/nowhere/x.pem: "));
    let mismatch = with(one.cert(), other.key());
    assert!(
        mismatch.starts_with(&format!("{}: the private key does not go with the certificate", other.key().display())),
        "{mismatch}"
    );
    let swapped = with(one.key(), one.cert());
    assert!(swapped.contains("there is no certificate in it"), "{swapped}");
}

/// Asks until the broker shows this certificate; it looks at its files by itself.
fn until_shown(broker: &Running, authority: &Authority, certificate: &[u8]) {
    loop {
        let client = Layered::open(common::address(broker), &Via::tls(authority, None));
        if client.server_certificate().as_deref() == Some(certificate) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_new_certificate_is_shown_to_new_clients_and_a_bad_one_changes_nothing() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let table = tls("mqtts", &files, "");
    let mut broker = broker(&table);
    let first = files.der();
    until_shown(&broker, &authority, &first);
    let mut old = Layered::open(common::address(&broker), &Via::tls(&authority, None));
    assert!(is_served(&mut old));

    std::fs::write(files.cert(), "no certificate").unwrap();
    broker.reload(config(&table)).unwrap();
    until_shown(&broker, &authority, &first);

    // Seen without a word, too.
    authority.renew(&files, "localhost");
    assert_ne!(files.der(), first);
    until_shown(&broker, &authority, &files.der());

    old.send(PING);
    assert_eq!(old.receive(2).as_deref(), Some(b"\xD0\x00".as_slice()), "nobody is dropped");
}

/// Clients that are there while certificates are renewed; `just attack` has a thousand.
fn renewal_clients() -> usize {
    std::env::var("COLUMBA_RENEWAL_CLIENTS").map_or(150, |count| count.parse().unwrap())
}

/// A publisher and its subscriber, who count together at QoS 1.
struct Pair {
    publisher: Layered,
    subscriber: Layered,
    topic: String,
}

impl Pair {
    fn new(number: usize, address: SocketAddr, via: &Via) -> Self {
        let mut pair = Self {
            publisher: Layered::open(address, via),
            subscriber: Layered::open(address, via),
            topic: format!("renewal/{number:04}"),
        };
        assert!(is_served(&mut pair.publisher) && is_served(&mut pair.subscriber));
        let filter = [b"\x82\x12\0\x01\0\0\x0C", pair.topic.as_bytes(), b"\x01"].concat();
        pair.subscriber.send(&filter);
        assert_eq!(pair.subscriber.receive(6).as_deref(), Some(b"\x90\x04\0\x01\0\x01".as_slice()));
        pair
    }

    fn publish(&mut self, count: u32) {
        let packet = [b"\x32\x15\0\x0C", self.topic.as_bytes(), b"\0\x01\0", &count.to_be_bytes()].concat();
        self.publisher.send(&packet);
    }

    /// The publisher has its PUBACK, and the subscriber this message and no other.
    fn hears(&mut self, count: u32) {
        assert_eq!(self.publisher.receive(4).as_deref(), Some(b"\x40\x02\0\x01".as_slice()), "{} is acknowledged", self.topic);
        let packet = self.subscriber.receive(23).unwrap_or_else(|| panic!("{} was dropped", self.topic));
        assert_eq!((packet[0], &packet[4..16], &packet[19..]), (0x32, self.topic.as_bytes(), count.to_be_bytes().as_slice()));
        self.subscriber.send(&[&b"\x40\x02"[..], &packet[16..18]].concat());
    }
}

/// Pairs that count from now on, whatever else happens.
struct Traffic {
    rounds: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Traffic {
    fn start(mut pairs: Vec<Pair>) -> Self {
        let (rounds, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, is_over) = (Arc::clone(&rounds), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let count = counted.load(Ordering::Relaxed);
                for pair in &mut pairs {
                    pair.publish(count);
                }
                for pair in &mut pairs {
                    pair.hears(count);
                }
                counted.store(count + 1, Ordering::Relaxed);
            }
        });
        Self { rounds, over, thread }
    }

    /// Waits until so many more messages of each pair have come; at once where they come no more, which the end tells.
    fn goes_on(&self, more: u32) {
        let wanted = self.rounds.load(Ordering::Relaxed) + more;
        while self.rounds.load(Ordering::Relaxed) < wanted && !self.thread.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every message came, once and in order");
        self.rounds.load(Ordering::Relaxed)
    }
}

#[test]
fn many_clients_go_on_while_certificates_are_renewed() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let table = tls("mqtts", &files, "");
    let mut broker = broker(&table);
    let via = Via::tls(&authority, None);
    let address = common::address(&broker);
    // Half of them are silent but for their pings.
    let pairs: Vec<Pair> = (0..renewal_clients() / 4).map(|number| Pair::new(number, address, &via)).collect();
    let mut clients: Vec<Layered> = (0..renewal_clients() / 2).map(|_| Layered::open(address, &via)).collect();
    assert!(clients.iter_mut().all(is_served));
    let traffic = Traffic::start(pairs);
    let all_answer = |clients: &mut [Layered]| {
        for client in clients.iter_mut() {
            client.send(PING);
        }
        clients.iter_mut().all(|client| client.receive(2).as_deref() == Some(b"\xD0\x00"))
    };

    for _ in 0..3 {
        let before = files.der();
        for client in &mut clients {
            client.send(PING);
        }
        traffic.goes_on(3);
        authority.renew(&files, "localhost");
        assert_ne!(files.der(), before);
        broker.reload(config(&table)).unwrap();
        until_shown(&broker, &authority, &files.der());
        assert!(clients.iter_mut().all(|client| client.receive(2).as_deref() == Some(b"\xD0\x00")), "somebody was dropped");
        assert!(all_answer(&mut clients), "somebody was dropped");
        traffic.goes_on(3);
    }
    assert!(traffic.stop() >= 18);
}

#[test]
fn a_certificate_of_unreasonable_size_is_not_looked_at() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let ca = authority.ca_file();
    let broker = broker(&tls("mqtts", &files, &format!("ca = {ca:?}\nclient_cert = \"require\"\n")));
    let pump = authority.client("pump-7");
    let endless = Signed { chain: pump.chain.repeat(2_000), ..pump.clone() };

    assert!(!is_served(&mut Layered::open(common::address(&broker), &Via::tls(&authority, Some(&endless)))));
    assert!(is_served(&mut Layered::open(common::address(&broker), &Via::tls(&authority, Some(&pump)))), "the others go on");
}

#[test]
fn a_listener_that_is_slowed_down_takes_everybody_in_the_end() {
    let broker = broker("url = \"mqtt://127.0.0.1:0\"\nconnect_rate = 40\n");
    for _ in 0..60 {
        assert!(is_served(&mut Layered::open(common::address(&broker), &Via::plain())));
    }
}

#[test]
fn who_is_revoked_while_the_broker_runs_comes_in_no_more() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let (ca, crl) = (authority.ca_file(), authority.crl_file(&[]));
    let table = tls("mqtts", &files, &format!("ca = {ca:?}\ncrl = {crl:?}\nclient_cert = \"require\"\n"));
    let mut broker = broker(&table);
    let address = common::address(&broker);
    let pump = authority.client("pump-7");
    let try_with = || is_served(&mut Layered::open(address, &Via::tls(&authority, Some(&pump))));

    assert!(try_with());
    authority.revoke(&crl, &[&pump]);
    broker.reload(config(&table)).unwrap();

    while try_with() {
        thread::sleep(Duration::from_millis(20));
    }
    authority.revoke(&crl, &[]);
    broker.reload(config(&table)).unwrap();
    while !try_with() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn authorities_of_a_directory_come_and_go_while_the_broker_runs() {
    let (first, second) = (Authority::new(), Authority::new());
    let files = first.server_files("localhost");
    let dir = tempfile::tempdir().unwrap();
    let link = |authority: &Authority, name: &str| symlink(authority.ca_file(), dir.path().join(name)).unwrap();
    let unlink = |name: &str| std::fs::remove_file(dir.path().join(name)).unwrap();
    link(&first, "4a5b6c7d.0");
    link(&second, "second.pem");
    let table = tls("mqtts", &files, &format!("ca_dir = {:?}\nclient_cert = \"require\"\n", dir.path()));
    let mut broker = broker(&table);
    let address = common::address(&broker);
    let (of_first, of_second) = (first.client("pump-1"), second.client("pump-2"));
    let comes_in = |client: &Signed| is_served(&mut Layered::open(address, &Via::tls(&first, Some(client))));

    assert!(comes_in(&of_first));
    assert!(!comes_in(&of_second), "nobody would look for it under that name");
    link(&second, "0a0b0c0d.0");
    while !comes_in(&of_second) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(comes_in(&of_first));
    unlink("4a5b6c7d.0");
    while comes_in(&of_first) {
        thread::sleep(Duration::from_millis(20));
    }
    unlink("0a0b0c0d.0");
    broker.reload(config(&table)).unwrap();
    assert!(comes_in(&of_second), "a directory of nobody changes nothing");
}

#[test]
fn a_directory_of_authorities_that_does_not_do_is_named_at_the_start() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().display();
    let named = dir.path().join("4a5b6c7d.0");
    let with = |more: &str| try_broker(&tls("mqtts", &files, &format!("ca_dir = {:?}\n{more}", dir.path()))).map(drop);
    let required = "client_cert = \"require\"\n";

    std::fs::copy(authority.ca_file(), dir.path().join("ca.pem")).unwrap();
    let unnamed = with(required).unwrap_err();
    assert_eq!(unnamed, format!("{shown}: no certificate in it has the name that `openssl rehash` gives it, like 4a5b6c7d.0"));
    assert_eq!(with(""), Ok(()), "where nobody is asked for a certificate, nobody is needed who has signed one");
    assert_eq!(with(&format!("{required}ca = {:?}\n", authority.ca_file())), Ok(()), "there is one beside it");
    std::fs::write(&named, "no certificate").unwrap();
    assert_eq!(
        with(required).unwrap_err(),
        format!("{shown}/4a5b6c7d.0: there is no certificate in it (PEM, \"BEGIN CERTIFICATE\")")
    );
    std::fs::copy(authority.ca_file(), &named).unwrap();
    assert_eq!(with(required), Ok(()));
    std::fs::remove_dir_all(dir.path()).unwrap();
    let gone = with(required).unwrap_err();
    assert!(gone.starts_with(&format!("{shown}: No such file or directory")), "{gone}");
}

#[test]
fn a_trusted_proxy_says_for_whom_it_speaks_and_nobody_else_gets_in() {
    let headers: [&[u8]; 2] = [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 1883\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0C\xC0\x00\x02\x07\x0A\x00\x00\x01\x1F\x90\x07\x5B",
    ];
    let trusted = broker("url = \"mqtt://127.0.0.1:0\"\nproxy_protocol = true\nproxy_trust = [\"127.0.0.0/8\"]\n");
    for header in headers {
        let mut client = Layered::behind(common::address(&trusted), header, &Via::plain());
        assert!(is_served(&mut client));
    }
    let mut direct = Layered::open(common::address(&trusted), &Via::plain());
    assert!(!is_served(&mut direct), "without a header");
    let others = broker("url = \"mqtt://127.0.0.1:0\"\nproxy_protocol = true\nproxy_trust = [\"10.0.0.0/8\"]\n");
    let mut client = Layered::behind(common::address(&others), headers[0], &Via::plain());
    assert!(!is_served(&mut client), "not of the proxies");

    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let both = broker(&tls("wss", &files, "proxy_protocol = true\nproxy_trust = [\"127.0.0.1\"]\n"));
    let via = Via::tls(&authority, None).and(Via::web("/"));
    assert!(is_served(&mut Layered::behind(common::address(&both), headers[1], &via)));
}

/// What a WebSocket port answers to this, until it closes.
fn answer(broker: &Running, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(common::address(broker)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn who_asks_in_the_wrong_way_is_told_what_is_wrong() {
    let broker = broker("url = \"ws://127.0.0.1:0\"\npath = \"/mqtt\"\n");
    let text = |request: &str| String::from_utf8(answer(&broker, request.as_bytes())).unwrap();
    let good = "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

    assert!(text("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(text("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
    let other = text(&good.replace("Protocol: mqtt", "Protocol: chat"));
    assert!(other.starts_with("HTTP/1.1 400 Bad Request\r\n") && other.contains("[MQTT-6.0.0-3]"), "{other}");
    assert!(answer(&broker, CONNECT).is_empty() || !answer(&broker, CONNECT).starts_with(b"HTTP/1.1 101"));
}

/// Opens a WebSocket by hand, so that its frames can be wrong.
fn by_hand(broker: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(common::address(broker)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    stream
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

#[test]
fn a_packet_in_frames_of_one_byte_and_two_packets_in_one_frame_are_understood() {
    let broker = broker("url = \"ws://127.0.0.1:0\"");
    let mut stream = by_hand(&broker);
    let packets = [CONNECT, PING].concat();
    let (first, rest) = packets.split_at(CONNECT.len() - 1);
    for &byte in first {
        stream.write_all(&frame(0x82, &[byte])).unwrap();
        stream.write_all(&frame(0x89, b"ping")).unwrap();
    }

    stream.write_all(&frame(0x02, &rest[..2])).unwrap();
    stream.write_all(&frame(0x80, &rest[2..])).unwrap();

    let mut got = Vec::new();
    while !got.ends_with(b"\xD0\x00") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    assert!(got.windows(6).any(|bytes| bytes == b"\x8A\x04ping"), "a pong");
}

#[test]
fn frames_that_may_not_come_close_the_connection_with_their_code() {
    let broker = broker("url = \"ws://127.0.0.1:0\"");
    for (bytes, code) in [
        (frame(0x81, b"text"), 1003u16),
        (frame(0xC2, b"compressed"), 1002),
        (b"\x82\x04\x10\x0C\x00\x04".to_vec(), 1002),
        ([[0x82, 0xFF].as_slice(), &u64::MAX.to_be_bytes(), &[0; 4]].concat(), 1009),
    ] {
        let mut stream = by_hand(&broker);
        stream.write_all(&bytes).unwrap();

        let mut end = Vec::new();
        stream.read_to_end(&mut end).unwrap();
        assert_eq!(end, [[0x88, 2].as_slice(), &code.to_be_bytes()].concat());
    }
}

#[test]
fn garbage_on_a_tls_port_is_answered_by_an_alert() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let broker = broker(&tls("mqtts", &files, ""));
    for garbage in [CONNECT, b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 3000]] {
        assert_eq!(answer(&broker, garbage).first(), Some(&21));
    }
    let mut client = Layered::open(common::address(&broker), &Via::tls(&authority, None));
    assert!(is_served(&mut client), "the others go on");
}

#[test]
fn silence_in_the_middle_of_a_handshake_ends_with_connect_wait() {
    let authority = Authority::new();
    let files = authority.server_files("localhost");
    let table = tls("wss", &files, "") + "[limits]\nconnect_wait = \"200ms\"\n";
    let broker = broker(&table);
    let half = Layered::first_words(&Via::tls(&authority, None));

    let mut stream = TcpStream::connect(common::address(&broker)).unwrap();
    stream.write_all(&half[..half.len() / 2]).unwrap();

    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut end = Vec::new();
    stream.read_to_end(&mut end).unwrap();
    assert!(end.is_empty() || end[0] == 21);
}
