//! QoS 0 messages for clients that are away, where the configuration keeps them.

use alloc::{format, string::String, vec::Vec};

use columba_proto::QoS;

use super::bench::{Bench, Client, Setup, persistent, v5};
use crate::{Config, MissedQos0, event::DropReason, shard::Pressure};

fn keeping() -> Config {
    Config { missed_qos0: MissedQos0::Waits, ..Config::default() }
}

/// A session `s` that is away, subscribed to `t` at this QoS, and a publisher.
fn away(config: Config, qos: QoS) -> (Bench, Client) {
    let mut bench = Bench::with(config);
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", qos);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &v5(0));
    (bench, publisher)
}

#[test]
fn they_wait_in_their_order_and_come_once() {
    let (mut bench, publisher) = away(keeping(), QoS::ExactlyOnce);
    for number in 1..=3 {
        bench.publish(publisher, "t", QoS::AtMostOnce, 0, &format!("{number}"));
    }

    assert_eq!(bench.collect("s"), ["publish q0 id0 t 1", "publish q0 id0 t 2", "publish q0 id0 t 3"]);
    assert_eq!(bench.collect("s"), Vec::<String>::new());
}

#[test]
fn so_does_what_only_the_subscription_takes_to_qos_0() {
    let (mut bench, publisher) = away(keeping(), QoS::AtMostOnce);
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "one");

    assert_eq!(bench.collect("s"), ["publish q0 id0 t one"]);
}

#[test]
fn nothing_waits_where_nobody_asked_for_it() {
    let (mut bench, publisher) = away(Config::default(), QoS::ExactlyOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");

    assert_eq!(bench.collect("s"), Vec::<String>::new());
}

#[test]
fn what_comes_while_the_first_are_on_their_way_waits_behind_them() {
    let (mut bench, publisher) = away(Config { deliver_ahead_max: 100, ..keeping() }, QoS::AtMostOnce);
    for number in 1..=20 {
        bench.publish(publisher, "t", QoS::AtMostOnce, 0, &format!("a message of some length, {number}"));
    }
    let subscriber = bench.open("s", &persistent());
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "a message of some length, 21");

    let mut came = Vec::new();
    loop {
        let told = bench.told(subscriber);
        if told.is_empty() {
            break;
        }
        came.extend(told.into_iter().filter(|it| it.starts_with("publish")));
    }

    let expected: Vec<String> = (1..=21).map(|number| format!("publish q0 id0 t a message of some length, {number}")).collect();
    assert_eq!(came, expected);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "at once");
    assert_eq!(bench.told(subscriber), ["publish q0 id0 t at once"]);
}

#[test]
fn there_is_an_end_to_how_much_waits_and_the_rest_is_counted() {
    for config in [Config { ephemeral_queue_max: 2, ..keeping() }, Config { queue_messages_max: 2, ..keeping() }] {
        let (mut bench, publisher) = away(config, QoS::AtMostOnce);
        for number in 1..=5 {
            bench.publish(publisher, "t", QoS::AtMostOnce, 0, &format!("{number}"));
        }
        assert_eq!(bench.shard.counters().dropped[DropReason::QueueFull as usize], 3);

        assert_eq!(bench.collect("s"), ["publish q0 id0 t 1", "publish q0 id0 t 2"]);
    }
}

#[test]
fn nothing_more_is_kept_while_memory_is_short() {
    let (mut bench, publisher) = away(keeping(), QoS::AtMostOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");
    bench.act(|shard, cx| shard.pressure_is(cx, Pressure::High));
    let (other, _) = bench.connect("q", &v5(0));
    bench.publish(other, "t", QoS::AtMostOnce, 0, "two");

    assert_eq!(bench.collect("s"), ["publish q0 id0 t one"]);
}

#[test]
fn they_go_before_anybody_is_sent_away_where_there_is_no_memory_left() {
    let (mut bench, publisher) = away(keeping(), QoS::AtMostOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");

    assert_eq!(bench.act(|shard, cx| shard.shed(cx, 1)), 0, "nobody is sent away");

    assert_eq!(bench.shard.counters().dropped[DropReason::QueueFull as usize], 1);
    assert_eq!(bench.collect("s"), Vec::<String>::new());
}

#[test]
fn they_are_gone_with_the_process_and_with_their_session_and_when_they_expire() {
    let (mut bench, publisher) = away(keeping(), QoS::ExactlyOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");
    bench.crash();
    assert_eq!(bench.collect("s"), Vec::<String>::new());

    let (mut bench, publisher) = away(keeping(), QoS::ExactlyOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");
    let (_, present) = bench.connect("s", &Setup { clean: true, ..persistent() });
    assert!(!present);
    assert_eq!(bench.shard.counters().dropped[DropReason::SessionEnded as usize], 1);
}

#[test]
fn administrators_see_them_and_can_drop_them() {
    let (mut bench, publisher) = away(keeping(), QoS::ExactlyOnce);
    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "one");
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "two");

    assert_eq!(bench.act(|shard, cx| shard.purge(cx, "s")), Some(2));
    assert_eq!(bench.shard.counters().dropped[DropReason::Purged as usize], 2);
    assert_eq!(bench.collect("s"), Vec::<String>::new());
}
