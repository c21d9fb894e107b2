//! Queues of durable sessions with a limit, and the four answers to a full one.

use alloc::{format, string::String, vec::Vec};

use columba_proto::{AckKind, QoS};

use super::bench::{Bench, Setup, persistent, v5, will};
use crate::{Config, QueueFull, shard::Shard};

/// A durable session `s` that is away, with room for two messages on `t`.
fn full(queue_full: QueueFull) -> Bench {
    let mut bench = Bench::with(Config { queue_messages_max: 2, queue_full, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    bench.disconnect(subscriber);
    bench.outputs();
    bench
}

/// Publishes five messages at QoS 1; what the publisher hears.
fn publish_five(bench: &mut Bench) -> Vec<String> {
    let (publisher, _) = bench.connect("p", &v5(0));
    for id in 1..=5 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, &format!("{id}"));
    }
    bench.told(publisher)
}

/// 0x97, Quota exceeded.
fn is_rejected(ack: &str) -> bool {
    ack.contains("97") || ack.contains("151") || ack.contains("Quota")
}

#[test]
fn a_full_queue_rejects_its_publishers_and_loses_nothing_acknowledged() {
    let mut bench = full(QueueFull::Reject);

    let told = publish_five(&mut bench);
    assert_eq!(told.iter().filter(|it| is_rejected(it)).count(), 3, "{told:?}");
    assert_eq!(told.len(), 5);

    // At QoS 2 it is said before anything is promised, and what was promised before is kept.
    let (publisher, _) = bench.connect("q", &v5(100));
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "six");
    assert_eq!(bench.told(publisher).len(), 1);
    bench.ack(publisher, AckKind::Pubrel, 1);
    bench.crash();
    assert_eq!(bench.collect("s"), ["publish q1 id1 t 1", "publish q1 id2 t 2"]);
}

#[test]
fn there_is_room_again_when_the_session_has_taken_something() {
    let mut bench = full(QueueFull::Reject);
    publish_five(&mut bench);
    bench.collect("s");

    let told = publish_five(&mut bench);

    assert!(told.iter().all(|it| !is_rejected(it)), "{told:?}");
}

#[test]
fn drop_newest_keeps_what_came_first_and_tells_of_every_drop() {
    let mut bench = full(QueueFull::DropNewest);

    assert_eq!(publish_five(&mut bench).len(), 5);
    bench.pass(1_000);
    bench.outputs();
    assert!(bench.events.iter().any(|event| event.contains("QueueFull, count: 3")), "{:?}", bench.events);
    bench.crash();

    assert_eq!(bench.collect("s"), ["publish q1 id1 t 1", "publish q1 id2 t 2"]);
}

#[test]
fn drop_oldest_keeps_what_came_last_and_tells_of_every_drop() {
    let mut bench = full(QueueFull::DropOldest);

    assert_eq!(publish_five(&mut bench).len(), 5);
    bench.pass(1_000);
    bench.outputs();
    assert!(bench.events.iter().any(|event| event.contains("QueueFull, count: 3")), "{:?}", bench.events);
    bench.crash();

    assert_eq!(bench.collect("s"), ["publish q1 id1 t 4", "publish q1 id2 t 5"]);
}

#[test]
fn disconnect_ends_the_session_with_all_it_had() {
    let mut bench = full(QueueFull::Disconnect);

    assert_eq!(publish_five(&mut bench).len(), 5);
    bench.pass(1_000);
    bench.pass(1_000);
    bench.outputs();
    assert!(bench.events.iter().any(|event| event.contains("QueueFull, count: 5")), "{:?}", bench.events);

    let (_, present) = bench.connect("s", &persistent());
    assert!(!present);
}

#[test]
fn bytes_count_and_so_does_what_was_stored_before_a_restart() {
    let config = Config { queue_bytes_max: 10, ..Config::default() };
    let mut bench = Bench::with(config);
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &v5(0));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "nine byte");
    bench.crash();

    let (publisher, _) = bench.connect("p", &v5(0));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    bench.publish(publisher, "elsewhere", QoS::AtLeastOnce, 2, "x");

    let told = bench.told(publisher);
    assert_eq!(told.iter().map(|it| is_rejected(it)).collect::<Vec<_>>(), [true, false], "{told:?}");
    assert_eq!(bench.collect("s"), ["publish q1 id1 t nine byte"]);
}

#[test]
fn a_message_waits_no_longer_than_the_limit() {
    let mut bench = Bench::with(Config { queue_age_ms: Some(5_000), ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "old");
    bench.pass(4_000);
    bench.publish(publisher, "t", QoS::AtLeastOnce, 2, "young");
    bench.pass(2_000);

    assert_eq!(bench.collect("s"), ["publish q1 id1 t young"]);
    bench.pass(1_000);
    bench.outputs();
    assert!(bench.events.iter().any(|event| event.contains("Expired, count: 1")), "{:?}", bench.events);
}

/// A full queue whose drops go to `dead/t`, where `d` waits for them.
fn with_dead_letters(queue_full: QueueFull) -> Bench {
    let config = Config { queue_messages_max: 2, queue_full, dead_letter_topic: Some("dead".into()), ..Config::default() };
    let mut bench = Bench::with(config);
    for (name, filter) in [("s", "t"), ("d", "dead/#")] {
        let (subscriber, _) = bench.connect(name, &persistent());
        bench.subscribe(subscriber, filter, QoS::ExactlyOnce);
        bench.disconnect(subscriber);
    }
    bench.outputs();
    bench
}

/// What a session gets when it is back: the payloads.
fn payloads(bench: &mut Bench, name: &str) -> Vec<String> {
    let subscriber = bench.open(name, &persistent());
    let told = bench.told(subscriber);
    told.iter().filter(|it| it.starts_with("publish")).filter_map(|it| it.split(' ').nth(4).map(String::from)).collect()
}

#[test]
fn what_a_full_queue_drops_is_in_a_dead_letter_after_a_crash() {
    for (queue_full, kept, letters) in
        [(QueueFull::DropOldest, ["4", "5"], ["2", "3"]), (QueueFull::DropNewest, ["1", "2"], ["3", "4"])]
    {
        let mut bench = with_dead_letters(queue_full);
        publish_five(&mut bench);
        bench.crash();

        assert_eq!(payloads(&mut bench, "s"), kept, "{queue_full:?}");
        // Three were dropped; the queue of dead letters has room for two of them, and what it drops itself is gone.
        assert_eq!(payloads(&mut bench, "d"), letters, "{queue_full:?}");
    }
}

#[test]
fn a_full_queue_that_takes_its_own_dead_letters_comes_to_rest() {
    let config = Config {
        queue_messages_max: 2,
        queue_full: QueueFull::DropOldest,
        dead_letter_topic: Some("dead".into()),
        ..Config::default()
    };
    let mut bench = Bench::with(config);
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "#", QoS::ExactlyOnce);
    bench.disconnect(subscriber);
    publish_five(&mut bench);
    bench.crash();

    assert_eq!(payloads(&mut bench, "s").len(), 2);
}

#[test]
fn what_the_will_of_a_stopping_broker_drops_is_in_a_dead_letter_after_the_start() {
    let mut bench = with_dead_letters(QueueFull::DropOldest);
    publish_five(&mut bench);
    payloads(&mut bench, "d");
    bench.connect("w", &Setup { will: Some(will("t", 0)), ..persistent() });

    bench.act(Shard::shutdown);
    bench.crash();

    assert_eq!(payloads(&mut bench, "s"), ["5", "gone"]);
    assert_eq!(payloads(&mut bench, "d").last().map(String::as_str), Some("4"));
}

#[test]
fn a_dead_letter_whose_topic_would_be_too_long_is_one_too() {
    let config = Config {
        queue_messages_max: 1,
        queue_full: QueueFull::DropOldest,
        dead_letter_topic: Some("dead".into()),
        ..Config::default()
    };
    let mut bench = Bench::with(config);
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "#", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let topic = "t".repeat(65_535);
    let (publisher, _) = bench.connect("p", &v5(0));
    for id in 1..=2 {
        bench.publish(publisher, &topic, QoS::AtLeastOnce, id, "x");
    }
    // The letter of the first takes the place of the second, whose letter takes its place; a letter that is dropped ends there.
    bench.pass(1_000);
    bench.outputs();
    let dropped = bench.events.iter().filter(|event| event.contains("QueueFull")).count();
    assert_eq!((dropped, payloads(&mut bench, "s").len()), (1, 1), "{:?}", bench.events);
    assert!(bench.events.iter().any(|event| event.contains("QueueFull, count: 3")), "{:?}", bench.events);
}

#[test]
fn a_dead_letter_says_whose_queue_was_full_behind_what_the_publisher_said() {
    let mut bench = with_dead_letters(QueueFull::DropNewest);
    publish_five(&mut bench);

    let subscriber = bench.open("d", &v5(100));
    let bytes = bench.act(|shard, _| shard.out(subscriber.id).map(|out| out.pending().to_vec())).unwrap();
    let told = String::from_utf8_lossy(&bytes);
    assert!(told.contains("dead-letter-for") && told.contains("queue-full"), "{told:?}");
}

#[test]
fn dead_letters_go_to_a_topic_that_clients_can_publish_to() {
    for (topic, is_one) in
        [("dead", true), ("dead/letters", true), ("dead/#", false), ("+", false), ("", false), ("$SYS/dead", false)]
    {
        assert_eq!(crate::is_dead_letter_topic(topic), is_one, "{topic}");
    }
}
