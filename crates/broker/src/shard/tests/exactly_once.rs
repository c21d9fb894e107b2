//! QoS 2 towards us and from us, and what waits for the disk.

use alloc::vec::Vec;

use columba_proto::{AckKind, QoS};

use super::bench::{Bench, Setup, persistent};

const NOTHING: Vec<&str> = Vec::new();

#[test]
fn every_frame_of_a_durable_exchange_waits_for_its_record() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &persistent());
    bench.syncs = false;

    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "x");
    assert_eq!(bench.told(publisher), NOTHING);
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "x");
    assert_eq!(bench.told(publisher), NOTHING, "also the answer to a repetition");
    bench.sync();
    assert_eq!(bench.told(publisher), ["pubrec 1", "pubrec 1"]);

    bench.ack(publisher, AckKind::Pubrel, 1);
    assert_eq!(bench.told(publisher), NOTHING);
    assert_eq!(bench.told(subscriber), NOTHING);
    assert!(bench.sync_once(), "a record of the release");
    assert_eq!(bench.told(publisher), ["pubcomp 1"]);
    assert_eq!(bench.told(subscriber), NOTHING, "its identifier is not on disk yet");
    bench.sync();
    assert_eq!(bench.told(subscriber), ["publish q2 id1 t x"]);

    bench.ack(subscriber, AckKind::Pubrec, 1);
    assert_eq!(bench.told(subscriber), NOTHING);
    bench.sync();
    assert_eq!(bench.told(subscriber), ["pubrel 1"]);
}

#[test]
fn puback_waits_for_a_durable_target_and_not_for_an_ephemeral_one() {
    let mut bench = Bench::new();
    let (durable, _) = bench.connect("d", &persistent());
    bench.subscribe(durable, "durable", QoS::AtLeastOnce);
    let (ephemeral, _) = bench.connect("e", &Setup::default());
    bench.subscribe(ephemeral, "ephemeral", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.syncs = false;

    bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(publisher), ["puback 1"]);
    bench.publish(publisher, "durable", QoS::AtLeastOnce, 2, "x");
    bench.publish(publisher, "ephemeral", QoS::AtLeastOnce, 3, "x");
    assert_eq!(bench.told(publisher), NOTHING, "acknowledgements keep the order of the publications");
    assert_eq!(bench.told(durable), ["publish q1 id1 durable x"], "a QoS 1 publication is delivered at once");
    bench.sync();

    assert_eq!(bench.told(publisher), ["puback 2", "puback 3"]);
}

#[test]
fn connack_and_suback_of_a_durable_session_wait_for_the_disk() {
    let mut bench = Bench::new();
    bench.syncs = false;

    let client = bench.open("c", &persistent());
    assert_eq!(bench.told(client), NOTHING);
    bench.say_bytes(client, &[0xc0, 0x00]);
    assert_eq!(bench.told(client), NOTHING, "nothing passes CONNACK");
    bench.sync();

    assert_eq!(bench.told(client), ["connack new", "pingresp"]);
}

#[test]
fn what_a_subscriber_acknowledges_is_recorded_and_nobody_waits_for_it() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &persistent());
    bench.syncs = false;

    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    let publication = bench.shard.awaits();
    assert!(publication.is_some(), "PUBACK waits");
    bench.sync();
    assert_eq!(bench.shard.awaits(), None);

    bench.ack(subscriber, AckKind::Puback, 1);
    assert!(bench.shard.is_waiting(), "it is recorded");
    assert_eq!(bench.shard.awaits(), None);

    bench.publish(publisher, "t", QoS::AtLeastOnce, 2, "y");
    assert!(bench.shard.awaits() > publication);
}
