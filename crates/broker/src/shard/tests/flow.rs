//! Bounds: windows, slow readers, repetition, keep-alive.

use alloc::{format, vec::Vec};

use columba_proto::{AckKind, QoS, Version};

use super::bench::{Bench, Setup, v5};
use crate::{Config, limits::Rate};

const NOTHING: Vec<&str> = Vec::new();

#[test]
fn a_client_gets_no_more_than_its_window_at_once() {
    let mut bench = Bench::with(Config { inflight: 2, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &Setup::default());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());

    for id in 1..=4 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert_eq!(bench.told(subscriber), ["publish q1 id1 t x", "publish q1 id2 t x"]);
    bench.ack(subscriber, AckKind::Puback, 1);

    assert_eq!(bench.told(subscriber), ["publish q1 id3 t x"]);
}

#[test]
fn acknowledgements_are_withheld_while_a_reader_has_no_room_and_it_goes_after_a_time() {
    let config = Config { inflight: 1, ephemeral_queue_max: 4, slow_consumer_timeout_ms: 1_000, ..Config::default() };
    let mut bench = Bench::with(config);
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());

    for id in 1..=8 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert_eq!(bench.told(publisher).len(), 4, "the queue has room for four beside the one in flight");

    bench.pass(999);
    assert_eq!(bench.told(publisher), NOTHING);
    bench.pass(1);
    bench.pass(10);

    assert_eq!(bench.told(publisher), ["puback 5", "puback 6", "puback 7", "puback 8"]);
    assert_eq!(bench.shard.sessions(), 1, "the reader is gone");
}

#[test]
fn two_clients_that_feed_each_other_and_read_nothing_do_not_stop_the_shard() {
    let config = Config { inflight: 4, ephemeral_queue_max: 16, deliver_ahead_max: 512, ..Config::default() };
    let mut bench = Bench::with(config);
    let (one, _) = bench.connect("one", &Setup::default());
    let (two, _) = bench.connect("two", &Setup::default());
    bench.subscribe(one, "for/one", QoS::AtLeastOnce);
    bench.subscribe(two, "for/two", QoS::AtLeastOnce);
    let (third, _) = bench.connect("three", &Setup::default());
    bench.subscribe(third, "other", QoS::AtMostOnce);

    for id in 1..=100 {
        bench.publish(one, "for/two", QoS::AtLeastOnce, id, "x");
        bench.publish(two, "for/one", QoS::AtLeastOnce, id, "x");
    }

    assert!(bench.shard.wants_reading(one.id) && bench.shard.wants_reading(two.id), "readers' queues never stop reading");
    bench.publish(one, "other", QoS::AtMostOnce, 0, "x");
    assert_eq!(bench.told(third), ["publish q0 id0 other x"]);
}

#[test]
fn an_unanswered_publish_is_repeated_to_a_3_1_1_client_and_never_to_an_mqtt_5_one() {
    for (version, repeats) in [(Version::V311, true), (Version::V5, false)] {
        let mut bench = Bench::with(Config { retry_interval_ms: 1_000, ..Config::default() });
        let (subscriber, _) = bench.connect("s", &Setup { version, ..Setup::default() });
        bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
        let (publisher, _) = bench.connect("p", &Setup::default());
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
        assert_eq!(bench.told(subscriber), ["publish q1 id1 t x"]);

        bench.pass(500);
        bench.pass(499);
        assert_eq!(bench.told(subscriber), NOTHING);
        bench.pass(1);
        bench.pass(500);

        let expected: &[&str] = if repeats { &["publish dup q1 id1 t x"] } else { &[] };
        assert_eq!(bench.told(subscriber), expected);
        bench.ack(subscriber, AckKind::Puback, 1);
        bench.pass(5_000);
        assert_eq!(bench.told(subscriber), NOTHING);
    }
}

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_keep_alive_periods() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &Setup { keep_alive: 10, ..v5(0) });

    bench.pass(14_000);
    bench.say_bytes(client, &[0xc0, 0x00]);
    bench.pass(14_999);
    assert_eq!(bench.told(client), ["pingresp"]);
    bench.pass(1);

    assert_eq!(bench.told(client), ["disconnect 0x8d"]);
}

#[test]
fn more_open_messages_than_the_receive_maximum_end_the_connection() {
    let mut bench = Bench::with(Config { receive_maximum: 3, ..Config::default() });
    let (client, _) = bench.connect("c", &v5(0));

    for id in 1..=3 {
        bench.publish(client, "t", QoS::ExactlyOnce, id, "x");
    }
    assert_eq!(bench.told(client), ["pubrec 1 0x10", "pubrec 2 0x10", "pubrec 3 0x10"]);
    bench.publish(client, "t", QoS::ExactlyOnce, 4, "x");

    assert_eq!(bench.told(client), ["disconnect 0x93"]);
}

#[test]
fn a_client_that_does_not_read_loses_qos_0_and_it_is_counted() {
    let mut bench = Bench::with(Config { deliver_ahead_max: 200, ..Config::default() });
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtMostOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());

    for _ in 0..100 {
        bench.publish(publisher, "t", QoS::AtMostOnce, 0, "0123456789");
    }

    let got = bench.told(reader).len();
    assert!(got < 20, "{got}");
    bench.pass(1_000);
    bench.outputs();
    let told = format!("reason: SlowConsumer, count: {} }}", 100 - got);
    assert!(bench.events.iter().any(|event| event.contains(&told)), "{:?}", bench.events);
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_time() {
    let mut bench = Bench::new();
    let id = bench.act(|shard, cx| shard.opened(cx, crate::seam::Origin::new("x", 0)));
    bench.pass(10_000);

    assert!(format!("{:?}", bench.outputs()).contains("Close"));
    assert!(bench.shard.out(id).is_none());
}

#[test]
fn who_sends_faster_than_allowed_is_read_from_later_and_loses_nothing() {
    let config = Config { messages_in: Rate::new(10), ..Config::default() };
    let mut bench = Bench::with(config);
    let (subscriber, _) = bench.connect("s", &Setup::default());
    bench.subscribe(subscriber, "t", QoS::AtMostOnce);
    let (publisher, _) = bench.connect("p", &Setup { keep_alive: 1, ..v5(0) });

    for number in 0..30 {
        bench.publish(publisher, "t", QoS::AtMostOnce, 0, &format!("{number}"));
    }
    assert_eq!(bench.told(subscriber).len(), 30, "what has come is taken");
    assert!(!bench.act(|shard, _| shard.wants_reading(publisher.id)));
    assert!(bench.act(|shard, _| shard.wants_reading(subscriber.id)), "nobody else waits");

    bench.pass(1_900);
    assert!(
        !bench.act(|shard, _| shard.wants_reading(publisher.id)),
        "twenty too many take two seconds; silent it cannot be called"
    );
    bench.pass(100);
    assert!(bench.act(|shard, _| shard.wants_reading(publisher.id)));

    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "more");
    assert!(!bench.act(|shard, _| shard.wants_reading(publisher.id)));
    bench.pass(100);
    assert!(bench.act(|shard, _| shard.wants_reading(publisher.id)));
}

#[test]
fn who_sends_more_bytes_than_allowed_is_read_from_later_whatever_they_are() {
    let mut bench = Bench::with(Config { bytes_in: Rate::new(1_000), ..Config::default() });
    let (client, _) = bench.connect("p", &v5(0));

    for _ in 0..1_000 {
        bench.say_bytes(client, &[0xC0, 0]);
    }
    assert!(!bench.act(|shard, _| shard.wants_reading(client.id)));
    assert_eq!(bench.told(client).len(), 1_000);
    bench.pass(900);
    assert!(!bench.act(|shard, _| shard.wants_reading(client.id)));
    bench.pass(200);
    assert!(bench.act(|shard, _| shard.wants_reading(client.id)));
}
