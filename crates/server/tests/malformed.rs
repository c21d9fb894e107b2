//! Whoever breaks the standard is closed with the right reason code, and nobody else notices.

mod common;

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use columba_server::Running;
use common::{Keep, Raw, address, connect, ephemeral, expect_disconnect, frame, publish, subscribe};
use tracing::{
    Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const UNSUPPORTED_VERSION: u8 = 0x84;
const TOO_LARGE: u8 = 0x95;
const QUOTA_EXCEEDED: u8 = 0x97;

/// A broker, and two who talk to each other while others misbehave.
struct Scene {
    broker: Running,
    reader: Raw,
    writer: Raw,
}

impl Scene {
    fn new(set: &[&str]) -> Self {
        let broker = ephemeral(set);
        let (mut reader, _) = Raw::connected(address(&broker), &connect(4, "reader", Keep::Nothing));
        reader.subscribe(4, "calm/#", 1);
        let (writer, _) = Raw::connected(address(&broker), &connect(5, "writer", Keep::Nothing));
        Self { broker, reader, writer }
    }

    fn address(&self) -> SocketAddr {
        address(&self.broker)
    }

    /// Nothing was disturbed: a message goes through, and it is the next thing that the reader hears.
    fn is_calm(&mut self, after: &str) {
        self.writer.send(&publish(5, 1, "calm/sea", after.as_bytes()));
        let body = self.reader.expect(0x32);
        assert!(body.ends_with(after.as_bytes()), "after {after}");
        self.reader.send(&frame(0x40, &body[10..12]));
        assert_eq!(self.writer.expect(0x40)[..2], [0, 1]);
    }
}

/// Bytes on an open connection, and the reason code that MQTT 5 answers with.
fn offences(version: u8) -> Vec<(&'static str, Vec<u8>, u8)> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let with = |head: &[u8], tail: &[u8]| [head, properties, tail].concat();
    vec![
        ("a reserved packet type", frame(0x00, &[]), MALFORMED),
        ("a remaining length of five bytes", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MALFORMED),
        ("QoS 3", frame(0x36, &with(b"\0\x01a\0\x01", b"x")), MALFORMED),
        ("a topic that is no UTF-8", frame(0x30, &with(b"\0\x02\xC3\x28", b"x")), MALFORMED),
        ("a topic with a surrogate", frame(0x30, &with(b"\0\x03\xED\xA0\x80", b"x")), MALFORMED),
        ("a topic with U+0000", frame(0x30, &with(b"\0\x03a\0b", b"x")), MALFORMED),
        ("a topic longer than its packet", frame(0x30, b"\xFF\xFFa"), MALFORMED),
        ("packet identifier 0", frame(0x32, &with(b"\0\x01a\0\0", b"x")), MALFORMED),
        ("SUBSCRIBE with wrong flags", frame(0x80, &with(b"\0\x01", b"\0\x01a\0")), MALFORMED),
        ("SUBSCRIBE without a filter", frame(0x82, &with(b"\0\x01", b"")), PROTOCOL_ERROR),
        ("a packet that only a server sends", frame(0x20, &[0, 0]), PROTOCOL_ERROR),
        ("a second CONNECT", connect(version, "again", Keep::Nothing), PROTOCOL_ERROR),
        ("a packet larger than allowed", vec![0x30, 0x80, 0x80, 0x80, 0x04], TOO_LARGE),
    ]
}

/// Log lines of this process about clients that left or were refused, by client identifier.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collect;

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.extend([" ", field.name(), "=", &format!("{value:?}")]);
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let line = format!("{}{}", event.metadata().level(), fields.0);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

#[test]
fn one_line_in_the_log_says_who_and_why() {
    // The broker's threads log for the whole process.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Collect)).unwrap();
    let broker = ephemeral(&[]);

    for (number, (what, bytes, reason)) in offences(5).into_iter().enumerate() {
        let client_id = format!("logged-{number:02}");
        let (mut offender, _) = Raw::connected(address(&broker), &connect(5, &client_id, Keep::Nothing));
        offender.send(&bytes);
        expect_disconnect(&mut offender, reason);
        let lines = LINES.lock().unwrap();
        let about: Vec<_> = lines.iter().filter(|line| line.contains(&client_id)).collect();
        assert_eq!(about.len(), 2, "{what}: {about:?}");
        assert!(about[0].contains("client connected"), "{what}: {about:?}");
        assert!(about[1].contains("client disconnected"), "{what}: {about:?}");
        assert!(about[1].contains(&format!("reason_code={reason}")), "{what}: {about:?}");
    }
}

#[test]
fn mqtt_5_hears_the_reason_and_nothing_else_is_disturbed() {
    let mut scene = Scene::new(&[]);

    for (what, bytes, reason) in offences(5) {
        let (mut offender, _) = Raw::connected(scene.address(), &connect(5, "offender", Keep::Nothing));
        offender.send(&bytes);
        let body = offender.expect(0xE0);
        assert_eq!(body.first(), Some(&reason), "{what}");
        offender.expect_end();
        scene.is_calm(what);
    }
}

#[test]
fn older_versions_are_closed_without_a_word() {
    let mut scene = Scene::new(&[]);

    for version in [3, 4] {
        for (what, bytes, _) in offences(version) {
            let (mut offender, _) = Raw::connected(scene.address(), &connect(version, "offender", Keep::Nothing));
            offender.send(&bytes);
            assert_eq!(offender.frame(), None, "{what}");
            scene.is_calm(what);
        }
    }
}

#[test]
fn what_comes_before_connect_is_not_heard() {
    let mut scene = Scene::new(&["limits.connect_wait=300ms"]);
    let wrong_name = frame(0x10, b"\0\x04MQTX\x04\x02\0\x3C\0\x01a");

    for (what, bytes) in [
        ("PUBLISH first", publish(4, 0, "calm/sea", b"storm")),
        ("SUBSCRIBE first", subscribe(4, 1, "#", 0)),
        ("PINGREQ first", vec![0xC0, 0]),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("another protocol's name", wrong_name),
        ("a CONNECT that is too large", vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F]),
    ] {
        let mut stranger = Raw::open(scene.address());
        stranger.send(&bytes);
        while let Some((first, body)) = stranger.frame() {
            assert!(first == 0x20 && body[1] != 0, "{what}: {first:02x} {body:02x?}");
        }
        scene.is_calm(what);
    }
}

#[test]
fn an_unknown_protocol_level_is_answered_in_its_own_terms() {
    let mut scene = Scene::new(&[]);
    let level = |level: u8| frame(0x10, &[b"\0\x04MQTT", &[level][..], b"\x02\0\x3C\0\x01a"].concat());

    let mut newer = Raw::open(scene.address());
    newer.send(&level(6));
    assert_eq!(newer.expect(0x20)[..2], [0, UNSUPPORTED_VERSION]);
    newer.expect_end();
    let mut older = Raw::open(scene.address());
    older.send(&level(2));
    assert_eq!(older.expect(0x20)[..2], [0, 1]);
    older.expect_end();

    scene.is_calm("unknown levels");
}

#[test]
fn one_who_goes_on_talking_still_hears_why_it_was_closed() {
    let mut scene = Scene::new(&[]);
    let (mut talker, _) = Raw::connected(scene.address(), &connect(5, "talker", Keep::Nothing));

    // Three megabytes that nobody wants lie unread when the connection is closed; a reset would swallow the DISCONNECT.
    talker.send(&publish(5, 0, "calm/sea", &vec![b'!'; 3 << 20]));

    expect_disconnect(&mut talker, TOO_LARGE);
    scene.is_calm("a long speech");
}

#[test]
fn a_half_sent_connect_is_closed_when_its_time_is_over() {
    let mut scene = Scene::new(&["limits.connect_wait=50ms"]);
    let whole = connect(5, "slow", Keep::Nothing);

    let mut slow = Raw::open(scene.address());
    slow.send(&whole[..whole.len() - 1]);
    slow.expect_end();
    let mut silent = Raw::open(scene.address());
    silent.expect_end();

    scene.is_calm("half a CONNECT");
}

#[test]
fn a_packet_in_single_bytes_is_still_a_packet() {
    let mut scene = Scene::new(&[]);
    let mut patient = Raw::open(scene.address());

    for byte in connect(5, "patient", Keep::Nothing) {
        patient.send(&[byte]);
    }

    assert_eq!(patient.expect(0x20)[1], 0);
    patient.ping();
    scene.is_calm("single bytes");
}

#[test]
fn limits_are_those_of_the_configuration() {
    let scene = Scene::new(&["limits.max_packet_size=128", "limits.max_connections=3"]);
    let (mut third, _) = Raw::connected(scene.address(), &connect(5, "third", Keep::Nothing));

    for (version, quota_exceeded) in [(5, 0x97), (4, 3), (3, 3)] {
        let mut fourth = Raw::open(scene.address());
        fourth.send(&connect(version, "fourth", Keep::Nothing));
        assert_eq!(fourth.expect(0x20)[1], quota_exceeded, "version {version}");
        fourth.expect_end();
    }
    third.send(&publish(5, 0, "a", &[0; 200]));

    expect_disconnect(&mut third, TOO_LARGE);
}

#[test]
fn one_address_has_no_more_connections_than_it_may_and_is_told() {
    let broker = ephemeral(&["limits.connections_per_address=2"]);
    let (mut first, _) = Raw::connected(address(&broker), &connect(5, "first", Keep::Nothing));
    let (_second, _) = Raw::connected(address(&broker), &connect(5, "second", Keep::Nothing));

    let mut third = Raw::open(address(&broker));
    third.send(&connect(5, "third", Keep::Nothing));
    assert_eq!(third.expect(0x20)[..2], [0, QUOTA_EXCEEDED]);
    third.expect_end();

    first.send(&[0xE0, 0]);
    first.expect_end();
    // The place is free a moment after the connection has ended.
    loop {
        let mut again = Raw::open(address(&broker));
        again.send(&connect(5, "third", Keep::Nothing));
        if again.expect(0x20)[1] == 0 {
            break;
        }
    }
}

#[test]
fn one_address_comes_no_faster_than_it_may() {
    let broker = ephemeral(&["limits.connect_rate_per_address=3"]);
    for _ in 0..3 {
        drop(Raw::connected(address(&broker), &connect(5, "hasty", Keep::Nothing)));
    }

    let closed = (0..20).filter(|_| Raw::open(address(&broker)).ends_without_a_word(&connect(5, "hasty", Keep::Nothing))).count();

    assert!(closed > 10, "{closed} of 20 were closed without a word");
}
