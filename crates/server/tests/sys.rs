//! `$SYS`: what columba says there, beside what mosquitto says.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use common::{Keep, Raw, address, connect, ephemeral, publish, subscribe};

/// What is said below `$SYS/broker`, the last of each topic, until `enough`.
fn listen(at: SocketAddr, enough: impl Fn(&BTreeMap<String, String>) -> bool) -> BTreeMap<String, String> {
    let (mut reader, _) = Raw::connected(at, &connect(4, "reader", Keep::Nothing));
    reader.send(&subscribe(4, 1, "$SYS/#", 0));
    let mut said = BTreeMap::new();
    while !enough(&said) {
        let (first, body) = reader.frame().expect("the broker goes on");
        if first == 0x90 {
            continue;
        }
        assert_eq!(first & 0xFE, 0x30, "QoS 0");
        let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, payload) = body[2..].split_at(len);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        said.insert(text(topic), text(payload));
    }
    said
}

/// A payload with its digits and names taken out.
fn shape(payload: &str) -> String {
    let mut shape = String::new();
    for c in payload.replace("mosquitto", "NAME").replace("columba", "NAME").chars() {
        match c {
            '0'..='9' if shape.ends_with('N') && !shape.ends_with('.') => {}
            '0'..='9' => shape.push('N'),
            c => shape.push(c),
        }
    }
    // Decimals count.
    match payload.rsplit_once('.') {
        Some((_, decimals)) if payload.parse::<f64>().is_ok() => format!("{shape} to {} places", decimals.len()),
        _ => shape,
    }
}

struct Mosquitto(Child);

impl Mosquitto {
    fn start(port: u16, directory: &std::path::Path) -> io::Result<Self> {
        let file = directory.join("mosquitto.conf");
        std::fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n"))?;
        Command::new("mosquitto").arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

#[test]
fn every_topic_of_mosquitto_is_there_with_a_payload_of_its_shape() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let mosquitto = match Mosquitto::start(port, directory.path()) {
        Ok(mosquitto) => mosquitto,
        Err(error) => {
            writeln!(io::stderr(), "SKIPPED: no mosquitto to compare with ({error})").unwrap();
            return;
        }
    };
    let theirs_at = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(theirs_at).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    let ours = ephemeral(&["sys.interval=200ms"]);

    // The last topic that mosquitto begins with comes with its first client.
    let is_whole = |said: &BTreeMap<String, String>| {
        said.get("$SYS/broker/clients/maximum").is_some_and(|text| text != "0")
            && said.contains_key("$SYS/broker/heap/current")
            && said.get("$SYS/broker/load/messages/sent/1min").is_some_and(|text| text != "0.00")
    };
    let theirs = listen(theirs_at, is_whole);
    let ours = listen(address(&ours), is_whole);

    let mut problems = Vec::new();
    for (topic, payload) in &theirs {
        match ours.get(topic) {
            None => problems.push(format!("{topic} is missing")),
            Some(our) if shape(our) != shape(payload) => problems.push(format!("{topic}: {our:?}, mosquitto: {payload:?}")),
            Some(_) => {}
        }
    }
    assert!(theirs.len() >= 53, "mosquitto says little: {theirs:?}");
    assert_eq!(problems, [""; 0]);
    drop(mosquitto);
}

#[test]
fn the_present_values_come_at_once_and_tell_what_was_done() {
    let broker = ephemeral(&["sys.interval=100ms", "runtime.shards=3"]);
    let (mut client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Session));
    client.subscribe(5, "a/#", 1);
    client.subscribe(5, "$share/g/b", 0);
    for id in 1..=5 {
        client.send(&publish(5, id, "nobody/listens", b"12345"));
        client.expect(0x40);
    }

    let said = listen(address(&broker), |said| said.get("$SYS/broker/publish/bytes/received").is_some_and(|text| text == "25"));

    let value = |name: &str| said[&format!("$SYS/broker/{name}")].clone();
    assert_eq!(value("version"), format!("columba version {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(value("publish/messages/received"), "5");
    assert_eq!(value("shared_subscriptions/count"), "1");
    assert!(["1", "2"].contains(&&*value("subscriptions/count")), "{said:?}");
    assert!(["1", "2"].contains(&&*value("clients/connected")), "{said:?}");
}

#[test]
fn a_broker_with_a_disk_tells_how_long_it_takes_and_one_without_says_nothing_of_it() {
    const FSYNC: &str = "$SYS/broker/columba/fsync/p99";
    let directory = tempfile::tempdir().unwrap();
    let broker = common::durable(directory.path(), &["sys.interval=100ms"]);
    let (mut client, _) = Raw::connected(address(&broker), &connect(5, "client", Keep::Session));
    client.subscribe(5, "a", 1);

    let said = listen(address(&broker), |said| said.contains_key(FSYNC));

    let ms: f64 = said[FSYNC].parse().unwrap();
    assert!(ms > 0.0, "{ms}");
    let forgetful = ephemeral(&["sys.interval=100ms"]);
    let (mut client, _) = Raw::connected(address(&forgetful), &connect(5, "client", Keep::Session));
    client.subscribe(5, "a", 1);
    let said = listen(address(&forgetful), |said| said.get("$SYS/broker/subscriptions/count").is_some_and(|text| text != "0"));
    assert!(!said.contains_key(FSYNC), "{said:?}");
}

#[test]
fn an_interval_of_zero_turns_it_off_and_a_restart_forgets_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = common::durable(directory.path(), &["sys.interval=100ms"]);
    listen(address(&broker), |said| said.contains_key("$SYS/broker/uptime"));
    broker.stop();

    let broker = common::durable(directory.path(), &["sys.interval=0"]);
    assert_eq!(broker.recovered().retained, 0);
    let (mut reader, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Nothing));
    reader.subscribe(4, "$SYS/#", 0);
    reader.ping();
}
