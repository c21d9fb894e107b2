//! A disk that fails under the running program: every write and sync is an I/O error from some moment on. Nothing durable is acknowledged
//! any more, what promises nothing durable goes on, and a start on the repaired disk has everything that was acknowledged.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use columba_check::broker::Broker;
use columba_check::load::{Peer, SessionKind};
use columba_check::loopdisk::LoopDisk;
use columba_check::talk::{Heard, Talk};
use columba_proto::{AckKind, QoS, ReasonCode, Version};

const COLUMBA: &str = env!("CARGO_BIN_EXE_columba");
const DISK_MIB: u64 = 256;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn client(broker: &Broker, version: Version, name: &str, session: SessionKind) -> Talk {
    Talk::connect(broker.address(), version, name, session).expect("it is let in").0
}

/// A session that will want everything below `kept/`, and is away.
fn leave_a_subscriber(broker: &Broker) {
    let mut away = client(broker, Version::V5, "away", SessionKind::Persistent);
    assert_eq!(away.subscribe("kept/#", QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
}

/// Publishes one message after the other, until the connection ends; the number of those that were acknowledged. The disk fails after
/// the first hundred.
fn publish_until_refused(broker: &Broker, disk: &LoopDisk) -> u16 {
    let mut publisher = client(broker, Version::V5, "publisher", SessionKind::Persistent);
    for number in 1_u16.. {
        if number == 101 {
            disk.cut_power();
        }
        publisher.publish(QoS::AtLeastOnce, "kept/numbers", &number.to_le_bytes(), number);
        match publisher.hear() {
            Heard::Ack(AckKind::Puback, _, reason) if !reason.is_failure() => {
                assert!(number <= 100, "message {number} was acknowledged by a broker without a disk");
            }
            Heard::Disconnect(_) | Heard::Closed => return number - 1,
            other @ (Heard::Ack(..) | Heard::Message(..) | Heard::Pong) => panic!("message {number} was answered by {other:?}"),
        }
    }
    unreachable!("the connection ends")
}

/// Every acknowledged message, from a broker that started on the repaired disk.
fn assert_all_there(broker: &Broker, acknowledged: u16) {
    let (mut away, present) =
        Talk::connect(broker.address(), Version::V5, "away", SessionKind::Persistent).expect("it is let in");
    assert!(present, "the session was on disk");
    let mut missing: BTreeSet<u16> = (1..=acknowledged).collect();
    while !missing.is_empty() {
        let (id, payload) = away.hear_message();
        missing.remove(&u16::from_le_bytes(payload.try_into().expect("two bytes")));
        away.acknowledge(AckKind::Puback, id);
    }
}

/// What the broker has logged, as soon as this stands there: a thread of its own writes it.
fn log_with(broker: &Broker, part: &str) -> String {
    let began = Instant::now();
    loop {
        let log = broker.log();
        if log.contains(part) {
            return log;
        }
        assert!(began.elapsed() < PATIENCE, "{part:?} does not come: {log}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_a_disk_nothing_durable_is_acknowledged_and_the_rest_goes_on() {
    let test = "without_a_disk_nothing_durable_is_acknowledged_and_the_rest_goes_on";
    let Some(mut disk) = LoopDisk::or_skip(test, DISK_MIB) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &[]).with_data_in(disk.path()));
    leave_a_subscriber(&broker);
    let mut live = client(&broker, Version::V5, "live", SessionKind::Clean);
    assert_eq!(live.subscribe("live/#", QoS::AtLeastOnce), ReasonCode::GRANTED_QOS_1);
    let mut sensor = client(&broker, Version::V5, "sensor", SessionKind::Clean);
    let mut old_sensor = client(&broker, Version::V311, "old-sensor", SessionKind::Clean);

    let acknowledged = publish_until_refused(&broker, &disk);
    assert_eq!(acknowledged, 100);

    // What lives in memory only goes on, on the connections that are there and on new ones.
    let mut new_sensor = client(&broker, Version::V311, "new-sensor", SessionKind::Clean);
    for sensor in [&mut sensor, &mut old_sensor, &mut new_sensor] {
        sensor.publish(QoS::AtMostOnce, "live/a", b"0", 0);
        assert_eq!(live.hear(), Heard::Message(None, b"0".to_vec()));
        sensor.publish(QoS::AtLeastOnce, "live/a", b"1", 7);
        let Heard::Ack(AckKind::Puback, _, ReasonCode::SUCCESS) = sensor.hear() else { panic!("no promise stands in the way") };
        let (id, payload) = live.hear_message();
        assert_eq!(payload, b"1");
        live.acknowledge(AckKind::Puback, id);
        // For the session that is away nothing can be promised. Old clients have no word for that.
        sensor.publish(QoS::AtLeastOnce, "kept/numbers", b"no", 8);
    }
    let Heard::Ack(AckKind::Puback, _, ReasonCode::QUOTA_EXCEEDED) = sensor.hear() else { panic!("MQTT 5 has a word") };
    for old in [&mut old_sensor, &mut new_sensor] {
        old.ping();
        assert_eq!(old.hear(), Heard::Pong);
    }
    let refused = Talk::connect(broker.address(), Version::V5, "away", SessionKind::Persistent).map(|_| ());
    assert_eq!(refused, Err(ReasonCode::SERVER_UNAVAILABLE));
    let log = log_with(&broker, "the journal failed");
    assert_eq!(log.matches("the journal failed: nothing is acknowledged until a restart").count(), 1, "{log}");
    assert!(log.contains("Input/output error"), "{log}");

    broker.kill();
    disk.remount();
    broker.restart();

    assert_all_there(&broker, acknowledged);
}

#[test]
fn a_broker_that_is_told_so_leaves_when_its_disk_fails() {
    let test = "a_broker_that_is_told_so_leaves_when_its_disk_fails";
    let Some(mut disk) = LoopDisk::or_skip(test, DISK_MIB) else { return };
    let mut broker = Broker::of(Peer::columba(COLUMBA, &["--set", "durability.on_failure=exit"]).with_data_in(disk.path()));
    leave_a_subscriber(&broker);
    let acknowledged = publish_until_refused(&broker, &disk);

    let status = broker.leave();

    let log = broker.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("error: the journal failed"), "{log}");
    disk.remount();
    broker.restart();
    assert_all_there(&broker, acknowledged);
}
