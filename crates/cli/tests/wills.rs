//! Wills and time across kill -9, with the real program over TCP.

use std::thread;
use std::time::Duration;

use columba_check::broker::Broker;
use columba_check::talk::{Heard, Talk};
use columba_proto::packet::{Connect, ConnectProperties, Disconnect, Packet, Publish, PublishProperties, Will};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, TopicName, Version};

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");

/// How a client connects.
#[derive(Clone, Copy)]
struct Caller {
    name: &'static str,
    version: Version,
    clean: bool,
    /// Session Expiry Interval in seconds, in MQTT 5.
    expiry: u32,
    /// Delay in seconds.
    will: Option<u32>,
}

impl Caller {
    /// One with a session that lasts, and no will.
    fn new(name: &'static str, version: Version) -> Self {
        Self { name, version, clean: false, expiry: 1_000, will: None }
    }

    /// Connects; says whether the session was there.
    fn call(self, broker: &Broker) -> (Talk, bool) {
        let connect = Connect {
            version: self.version,
            bridge: false,
            clean_start: self.clean,
            keep_alive: 0,
            client_id: self.name,
            will: self.will.map(|delay| Will {
                topic: TopicName::new("will").expect("a topic"),
                payload: self.name.as_bytes(),
                qos: QoS::AtLeastOnce,
                retain: false,
                delay,
                properties: PublishProperties::default(),
            }),
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry: self.version.has_properties().then_some(self.expiry),
                ..ConnectProperties::default()
            },
        };
        Talk::call(broker.address(), &connect).expect("it is let in")
    }
}

/// The next message, which is acknowledged.
fn next(client: &mut Talk) -> String {
    let (id, payload) = client.hear_message();
    client.acknowledge(AckKind::Puback, id);
    String::from_utf8(payload).expect("text")
}

/// Publishes at QoS 1, until PUBACK.
fn publish(client: &mut Talk, topic: &str, payload: &str, message_expiry: Option<u32>) {
    client.tell(&Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: Some(TopicName::new(topic).expect("a topic")),
        packet_id: Some(PacketId::FIRST),
        payload: payload.as_bytes(),
        properties: PublishProperties { message_expiry, ..PublishProperties::default() },
    }));
    assert_eq!(client.hear(), Heard::Ack(AckKind::Puback, PacketId::FIRST, ReasonCode::SUCCESS));
}

/// Says DISCONNECT and waits until the broker has understood it.
fn leave(mut client: Talk, reason: ReasonCode) {
    client.tell(&Packet::Disconnect(Disconnect::new(reason)));
    assert_eq!(client.hear(), Heard::Closed);
}

#[test]
fn after_a_kill_wills_come_from_those_who_do_not_come_back() {
    let mut broker = Broker::start(COLUMBA, &[]);
    let watcher = Caller::new("watcher", Version::V311);
    let (mut watching, _) = watcher.call(&broker);
    watching.subscribe("will", QoS::AtLeastOnce);
    // Sessions of both kinds: of those that end with their connection there is nothing on disk but the will.
    let ending = |name| Caller { clean: true, expiry: 0, will: Some(0), ..Caller::new(name, Version::V5) };
    let lasting = |name| Caller { will: Some(0), ..Caller::new(name, Version::V311) };
    let stay_away = [ending("ending"), lasting("lasting")].map(|caller| caller.call(&broker));
    let come_back = [ending("ending, back"), lasting("lasting, back")];
    let connected = come_back.map(|caller| caller.call(&broker));

    broker.kill();
    drop((stay_away, connected));
    broker.restart();
    let returned = come_back.map(|caller| Caller { will: None, ..caller }.call(&broker));

    // All had the same time to come back: whatever else there is, is published with these two.
    let (mut watching, present) = watcher.call(&broker);
    assert!(present);
    let mut wills = [next(&mut watching), next(&mut watching)];
    wills.sort();
    assert_eq!(wills, ["ending", "lasting"]);
    let (mut marker, _) = Caller::new("marker", Version::V311).call(&broker);
    publish(&mut marker, "will", "marker", None);
    assert_eq!(next(&mut watching), "marker");
    drop(returned);
}

#[test]
fn time_counts_while_the_broker_is_down() {
    // A client that was connected would have the whole grace, which is longer than anybody waits here.
    let mut broker = Broker::start(COLUMBA, &["--set", "limits.will_grace=10m"]);
    let watcher = Caller::new("watcher", Version::V311);
    let (mut watching, _) = watcher.call(&broker);
    watching.subscribe("will", QoS::AtLeastOnce);
    let reader = Caller::new("reader", Version::V5);
    let (mut reading, _) = reader.call(&broker);
    reading.subscribe("t", QoS::AtLeastOnce);
    leave(reading, ReasonCode::NORMAL_DISCONNECTION);
    let short = Caller { expiry: 1, ..Caller::new("short", Version::V5) };
    leave(short.call(&broker).0, ReasonCode::NORMAL_DISCONNECTION);
    let (willing, _) = Caller { will: Some(1), ..Caller::new("late", Version::V5) }.call(&broker);
    leave(willing, ReasonCode::DISCONNECT_WITH_WILL_MESSAGE);
    let (mut publisher, _) = Caller { clean: true, expiry: 0, ..Caller::new("publisher", Version::V5) }.call(&broker);
    publish(&mut publisher, "t", "stale", Some(1));
    publish(&mut publisher, "t", "fresh", Some(1_000));

    broker.kill();
    thread::sleep(Duration::from_millis(1_100));
    broker.restart();

    let (mut watching, _) = watcher.call(&broker);
    assert_eq!(next(&mut watching), "late", "its delay had begun before the kill");
    assert!(!short.call(&broker).1, "its expiry had begun before the kill");
    let (mut reading, present) = reader.call(&broker);
    assert!(present);
    assert_eq!(next(&mut reading), "fresh");
}
