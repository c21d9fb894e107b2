//! Bounds: windows, slow readers, repetition, keep-alive.

use alloc::{format, string::String, vec::Vec};

use columba_proto::{
    AckKind, QoS, Version,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5};
use crate::{
    Config,
    limits::{QueueFull, Rate},
};

const NOTHING: Vec<&str> = Vec::new();
const NO_NUMBERS: [u16; 0] = [];

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

/// Ten messages a second, so a second's worth and the one that makes it more come at once.
fn ten_a_second() -> Config {
    Config { messages_out: Rate::new(10), ..Config::default() }
}

fn publish_numbers(bench: &mut Bench, qos: QoS, count: u16) {
    let (publisher, _) = bench.connect("p", &Setup::default());
    for number in 1..=count {
        bench.publish(publisher, "t", qos, if qos == QoS::AtMostOnce { 0 } else { number }, &format!("{number}"));
    }
}

/// The payloads of what a client was told, which are all messages.
fn payloads(bench: &mut Bench, client: Client) -> Vec<u16> {
    let told = bench.told(client);
    told.iter().map(|it| it.rsplit(' ').next().and_then(|payload| payload.parse().ok()).expect("a message")).collect()
}

fn drops(bench: &mut Bench) -> Vec<String> {
    bench.pass(1_000);
    bench.outputs();
    bench.events.iter().filter(|event| event.starts_with("Dropped")).cloned().collect()
}

#[test]
fn who_has_been_sent_as_much_as_it_may_be_gets_the_rest_later_and_in_order() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::with(ten_a_second());
        let (reader, _) = bench.connect("r", &v5(100));
        bench.subscribe(reader, "t", qos);
        let (other, _) = bench.connect("o", &Setup::default());
        bench.subscribe(other, "other", qos);

        publish_numbers(&mut bench, qos, 20);
        if qos == QoS::ExactlyOnce {
            let (publisher, _) = bench.connect("p", &Setup::default());
            assert_eq!(payloads(&mut bench, reader), NO_NUMBERS, "nothing is released");
            for id in 1..=20 {
                bench.publish(publisher, "t", qos, id, &format!("{id}"));
                bench.ack(publisher, AckKind::Pubrel, id);
            }
        }

        assert_eq!(payloads(&mut bench, reader), (1..=11).collect::<Vec<_>>());
        bench.say_bytes(reader, &[0xc0, 0]);
        assert_eq!(bench.told(reader), ["pingresp"], "nothing but messages waits");
        bench.pass(99);
        assert_eq!(payloads(&mut bench, reader), NO_NUMBERS);
        for number in 12..=20 {
            bench.pass(if number == 12 { 1 } else { 100 });
            assert_eq!(payloads(&mut bench, reader), [number]);
        }
        assert_eq!(drops(&mut bench), NOTHING);
    }
}

#[test]
fn acknowledgements_and_pubrel_pass_what_waits() {
    let mut bench = Bench::with(ten_a_second());
    let (reader, _) = bench.connect("r", &v5(100));
    bench.subscribe(reader, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=20 {
        bench.publish(publisher, "t", QoS::ExactlyOnce, id, "x");
        bench.ack(publisher, AckKind::Pubrel, id);
    }
    assert_eq!(bench.told(reader).len(), 11);

    bench.ack(reader, AckKind::Pubrec, 1);
    bench.publish(reader, "elsewhere", QoS::AtLeastOnce, 1, "x");
    bench.ask(reader, "u", QoS::AtMostOnce);

    assert_eq!(bench.told(reader), ["pubrel 1", "puback 1 0x10", "suback 0"]);
}

#[test]
fn bytes_are_counted_as_the_packets_have_them_and_a_long_message_is_sent_whole() {
    let mut bench = Bench::with(Config { bytes_out: Rate::new(1_000), ..Config::default() });
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());

    // Fixed header 3, topic 3, identifier 2: a frame of 3,000 bytes.
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, &"x".repeat(2_992));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 2, "y");
    assert_eq!(bench.told(reader).len(), 1);
    bench.pass(1_999);
    assert_eq!(bench.told(reader), NOTHING);
    bench.pass(1);

    assert_eq!(bench.told(reader), ["publish q1 id2 t y"]);
}

#[test]
fn at_qos_0_what_is_beyond_the_rate_is_dropped_and_counted_and_what_waits_comes_first() {
    let mut bench = Bench::with(ten_a_second());
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    publish_numbers(&mut bench, QoS::AtMostOnce, 20);
    assert_eq!(payloads(&mut bench, reader), (1..=11).collect::<Vec<_>>());
    let dropped = drops(&mut bench);
    assert_eq!(dropped, ["Dropped { client_id: \"r\", reason: BeyondRate, count: 9 }"]);

    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);
    let at_once = payloads(&mut bench, reader).len();
    // As much time as one message takes: it is the one that waits.
    bench.now.0 += 100;
    publish_numbers(&mut bench, QoS::AtMostOnce, 1);
    assert_eq!(payloads(&mut bench, reader), NO_NUMBERS);
    bench.pass(0);

    assert_eq!(payloads(&mut bench, reader), [u16::try_from(at_once).unwrap() + 1]);
}

#[test]
fn what_is_sent_again_to_a_session_that_is_taken_up_keeps_to_the_rate_too() {
    let mut bench = Bench::with(Config { inflight: 30, ..Config::default() });
    let (reader, _) = bench.connect("r", &persistent());
    bench.subscribe(reader, "t", QoS::ExactlyOnce);
    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);
    assert_eq!(payloads(&mut bench, reader).len(), 20);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::ExactlyOnce, 21, "21");
    bench.ack(publisher, AckKind::Pubrel, 21);
    bench.ack(reader, AckKind::Pubrec, 21);
    assert_eq!(bench.told(reader), ["publish q2 id21 t 21", "pubrel 21"]);
    bench.cut_off(reader);
    bench.act(|shard, cx| shard.reconfigure(cx, alloc::sync::Arc::new(Config { inflight: 30, ..ten_a_second() })));

    let reader = bench.open("r", &persistent());
    let told = bench.told(reader);

    assert_eq!(told[..3], ["connack present", "pubrel 21", "publish dup q1 id1 t 1"]);
    assert_eq!(told.len(), 2 + 11);
    for number in 12..=20 {
        // For what is not sent yet, which changes nothing.
        bench.ack(reader, AckKind::Puback, number);
        bench.pass(100);
        assert_eq!(bench.told(reader), [format!("publish dup q1 id{number} t {number}")]);
    }
}

#[test]
fn what_a_3_1_1_client_has_left_unanswered_is_repeated_within_its_rate() {
    let mut bench = Bench::with(Config { retry_interval_ms: 1_000, messages_out: Rate::new(1), ..Config::default() });
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    publish_numbers(&mut bench, QoS::AtLeastOnce, 2);
    assert_eq!(bench.told(reader).len(), 2);

    let mut repeated = Vec::new();
    for half_seconds in 1..=20 {
        bench.pass(500);
        repeated.extend(bench.told(reader));
        assert!(repeated.len() <= half_seconds / 2, "{repeated:?}");
    }

    assert!(repeated.len() >= 8, "{repeated:?}");
    for id in 1..=2 {
        assert!(repeated.contains(&format!("publish dup q1 id{id} t {id}")), "{repeated:?}");
    }
}

#[test]
fn retained_messages_come_within_the_rate_and_none_is_dropped() {
    let mut bench = Bench::with(ten_a_second());
    let (publisher, _) = bench.connect("p", &Setup::default());
    for number in 10..40 {
        let (topic, payload) = (format!("r/{number}"), format!("{number}"));
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message(&topic, QoS::AtMostOnce, 0, &payload) }));
    }
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.ask(reader, "r/+", QoS::AtMostOnce);
    let told = bench.told(reader);
    assert_eq!((told.len(), &*told[0]), (12, "suback 0"));

    let mut got = Vec::new();
    for _ in 0..19 {
        bench.pass(100);
        got.extend(payloads(&mut bench, reader));
    }

    assert_eq!(got, (21..40).collect::<Vec<_>>());
    assert_eq!(drops(&mut bench), NOTHING);
}

#[test]
fn a_reader_that_is_held_back_is_not_a_slow_one_and_one_that_acknowledges_nothing_is() {
    let config = Config { inflight: 5, ephemeral_queue_max: 4, slow_consumer_timeout_ms: 1_000, ..ten_a_second() };
    let mut bench = Bench::with(Config { messages_out: Rate::new(1), ..config });
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);

    let mut got = Vec::new();
    for _ in 0..18 {
        for number in payloads(&mut bench, reader) {
            bench.ack(reader, AckKind::Puback, number);
            got.push(number);
        }
        bench.pass(1_000);
    }
    assert_eq!(got, (1..=19).collect::<Vec<_>>());

    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);
    let sessions = bench.shard.sessions();
    bench.pass(10_000);
    bench.pass(10_000);
    assert_eq!(bench.shard.sessions(), sessions - 1, "it takes nothing");
}

#[test]
fn what_waits_for_a_reader_that_is_held_back_keeps_to_the_bounds_of_its_queue() {
    let config = Config { queue_messages_max: 3, queue_full: QueueFull::DropOldest, ..ten_a_second() };
    let mut bench = Bench::with(config);
    let (reader, _) = bench.connect("r", &persistent());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);

    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);

    let mut got = payloads(&mut bench, reader);
    for _ in 0..4 {
        bench.pass(100);
        got.extend(payloads(&mut bench, reader));
    }
    assert_eq!(got, (1..=11).chain(18..=20).collect::<Vec<_>>());
    let dropped = drops(&mut bench);
    assert_eq!(dropped, ["Dropped { client_id: \"r\", reason: QueueFull, count: 6 }"]);
}

#[test]
fn of_a_shared_subscription_a_member_that_is_held_back_leaves_the_rest_to_the_others() {
    let mut bench = Bench::with(Config { messages_out: Rate::new(1), ..Config::default() });
    let (held_back, _) = bench.connect("held", &Setup::default());
    bench.subscribe(held_back, "$share/g/t", QoS::AtLeastOnce);
    bench.act(|shard, cx| shard.reconfigure(cx, alloc::sync::Arc::new(Config::default())));
    let (free, _) = bench.connect("free", &Setup::default());
    bench.subscribe(free, "$share/g/t", QoS::AtLeastOnce);

    publish_numbers(&mut bench, QoS::AtLeastOnce, 20);

    let few = payloads(&mut bench, held_back);
    let mut all = payloads(&mut bench, free);
    assert_eq!((few.len(), all.len()), (2, 18));
    all.extend(few);
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
    bench.pass(1_000);
    publish_numbers(&mut bench, QoS::AtLeastOnce, 2);
    assert_eq!(payloads(&mut bench, held_back).len(), 1, "it is a member as before");
}
