//! What a shard counts.

use alloc::{format, vec::Vec};

use columba_proto::{AckKind, PacketType, QoS};

use super::bench::{Bench, Setup, persistent, v5};
use crate::{
    seam::{Gone, Origin, Output},
    stats::{Census, Counters},
};

#[test]
fn packets_bytes_and_messages_are_counted_in_both_directions() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &v5(60));
    bench.subscribe(reader, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("publisher", &Setup::default());
    let before = bench.shard.counters().clone();

    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "abc");
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "de");
    let sent: usize = [reader, publisher].map(|client| bench.bytes(client).len()).iter().sum();

    let now = bench.shard.counters().clone();
    let more = |count: fn(&Counters) -> u64| count(&now) - count(&before);
    assert_eq!(more(|it| it.packets_received[PacketType::Publish as usize]), 2);
    assert_eq!(more(|it| it.packets_sent[PacketType::Publish as usize]), 2);
    assert_eq!(more(|it| it.packets_sent[PacketType::Puback as usize]), 1);
    assert_eq!(more(|it| it.publish_bytes_received), 5);
    assert_eq!(more(|it| it.publish_bytes_sent), 5);
    assert_eq!(more(|it| it.bytes_sent), sent as u64);
    assert_eq!((now.publishes_received, now.publishes_sent), ([1, 1, 0], [1, 1, 0]));
    assert_eq!((now.opened, now.accepted, now.online), (2, 2, [[0, 1, 1]].into()));

    bench.disconnect(publisher);
    bench.cut_off(reader);
    assert_eq!((bench.shard.counters().ended, &bench.shard.counters().online), (2, &[[0, 0, 0]].into()));
}

#[test]
fn what_comes_in_pieces_or_in_many_packets_is_counted_once() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &Setup::default());
    let before = bench.shard.counters().clone();

    for byte in [0xc0, 0x00, 0xc0, 0x00] {
        bench.say_bytes(reader, &[byte]);
    }
    bench.say_bytes(reader, &[0xc0, 0x00, 0xc0, 0x00]);

    let now = bench.shard.counters();
    assert_eq!(now.bytes_received - before.bytes_received, 8);
    assert_eq!(now.packets_received[PacketType::Pingreq as usize], 4);
    assert_eq!(now.packets_sent[PacketType::Pingresp as usize], 4);
    assert_eq!(now.bytes_sent - before.bytes_sent, 8);
}

#[test]
fn a_census_in_pages_counts_what_one_over_all_counts() {
    let mut bench = Bench::new();
    let names: Vec<_> = (0..5).map(|number| format!("c{number}")).collect();
    for name in &names {
        let (client, _) = bench.connect(name, &persistent());
        bench.subscribe(client, "t", QoS::AtLeastOnce);
        bench.subscribe(client, "$share/g/t", QoS::AtMostOnce);
        if name != "c0" {
            bench.disconnect(client);
        }
    }
    let (publisher, _) = bench.connect("publisher", &Setup::default());
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    bench.publish(publisher, "t", QoS::ExactlyOnce, 2, "x");

    let (whole, end) = bench.shard.census(0, usize::MAX);
    let mut pages = Census::default();
    let mut from = Some(0);
    while let Some(slot) = from {
        let (page, next) = bench.shard.census(slot, 2);
        pages.add(&page);
        from = next;
    }

    assert_eq!((pages, end), (whole, None));
    assert_eq!((whole.attached, whole.detached, whole.shared_subscriptions), (2, 4, 5));
    assert_eq!((whole.queued_messages, whole.in_flight_out, whole.in_flight_in), (4, 1, 1));
}

#[test]
fn exchanges_of_qos_2_are_counted_by_what_they_wait_for() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &persistent());
    bench.subscribe(reader, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("publisher", &Setup::default());
    for id in 1..=3 {
        bench.publish(publisher, "t", QoS::ExactlyOnce, id, "x");
    }
    for id in 1..=2 {
        bench.ack(publisher, AckKind::Pubrel, id);
    }
    bench.publish(publisher, "t", QoS::AtLeastOnce, 4, "x");
    bench.ack(reader, AckKind::Pubrec, 1);

    let (census, _) = bench.shard.census(0, usize::MAX);

    assert_eq!((census.awaiting_pubrec, census.awaiting_pubcomp, census.in_flight_out), (1, 1, 3));
    assert_eq!(census.in_flight_in, 1);
    bench.disconnect(reader);
    assert_eq!(bench.shard.census(0, usize::MAX).0, Census { attached: 1, detached: 1, ..census }, "nor are they lost");
}

#[test]
fn connections_that_are_taken_over_are_counted() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.connect("twin", &v5(60));
    }
    bench.connect("other", &v5(60));

    let counters = bench.shard.counters();
    assert_eq!((counters.taken_over, counters.ended, counters.accepted), (2, 2, 4));
}

#[test]
fn who_connects_and_says_nothing_is_no_line_in_the_log() {
    let mut bench = Bench::new();
    let origin = || Origin::new("probe", 0);
    let goes = bench.act(|shard, cx| shard.opened(cx, origin()));
    bench.act(|shard, cx| shard.closed(cx, goes, Gone::ByPeer));
    bench.act(|shard, cx| shard.opened(cx, origin()));
    bench.pass(3_600_000);

    let told = bench.outputs().into_iter().filter(|output| matches!(output, Output::Event(_))).count();
    assert_eq!((told, bench.shard.connections()), (0, 0));
    assert_eq!(bench.shard.counters().refused, 0);
}
