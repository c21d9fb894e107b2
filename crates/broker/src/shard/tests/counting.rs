//! What a shard counts.

use alloc::{format, vec::Vec};

use columba_proto::{
    AckKind, PacketType, QoS, ReasonCode,
    packet::{Ack, Packet},
};

use super::bench::{Bench, Setup, persistent, pid, v5};
use crate::{
    Config, Shard,
    seam::{Gone, Origin, Output},
    stats::{Census, Counters, REFUSALS},
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

/// Reason codes that were counted, and how often.
fn refusals(bench: &Bench) -> Vec<(ReasonCode, u64)> {
    let counted = REFUSALS.into_iter().zip(bench.shard.counters().refusals);
    counted.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_clients_are_refused_is_counted_by_its_reason_code() {
    let mut bench = Bench::with(Config {
        max_packet_size: 200,
        queue_messages_max: 1,
        wildcard_subscriptions: false,
        shared_subscriptions: false,
        topic_levels: 3,
        ..Config::default()
    });
    let (away, _) = bench.connect("away", &persistent());
    bench.subscribe(away, "t", QoS::AtLeastOnce);
    bench.disconnect(away);
    let (client, _) = bench.connect("client", &v5(0));

    bench.ask(client, "a/#", QoS::AtMostOnce);
    bench.ask(client, "$share/g/t", QoS::AtMostOnce);
    bench.say(client, &Packet::Ack(Ack::new(AckKind::Pubrel, pid(9), ReasonCode::SUCCESS)));
    for id in 1..=3 {
        bench.publish(client, "t", QoS::AtLeastOnce, id, "x");
    }
    bench.publish(client, "t", QoS::AtLeastOnce, 4, &"x".repeat(300));
    let told = bench.told(client);
    let expected =
        ["suback 162", "suback 158", "pubcomp 9 0x92", "puback 1", "puback 2 0x97", "puback 3 0x97", "disconnect 0x95"];
    assert_eq!(told, expected);
    let (old, _) = bench.connect("old", &Setup::default());
    bench.publish(old, "too/many/levels/of/it", QoS::AtLeastOnce, 1, "x");
    let speaks_http = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 0)));
    bench.act(|shard, cx| shard.received(cx, speaks_http, b"GET / HTTP/1.1\r\n"));

    assert_eq!(
        refusals(&bench),
        [
            (ReasonCode::PROTOCOL_ERROR, 1),
            (ReasonCode::TOPIC_NAME_INVALID, 1),
            (ReasonCode::PACKET_IDENTIFIER_NOT_FOUND, 1),
            (ReasonCode::PACKET_TOO_LARGE, 1),
            (ReasonCode::QUOTA_EXCEEDED, 2),
            (ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 1),
            (ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, 1),
        ]
    );
}

#[test]
fn what_ends_without_a_fault_of_the_client_is_no_refusal() {
    let mut bench = Bench::new();
    bench.connect("twin", &v5(0));
    let (twin, _) = bench.connect("twin", &v5(0));
    bench.disconnect(twin);
    let (lost, _) = bench.connect("lost", &v5(0));
    bench.cut_off(lost);
    bench.connect("kicked", &v5(0));
    assert!(bench.act(|shard, cx| shard.kick(cx, "kicked")));
    bench.connect("stays", &v5(0));
    bench.act(Shard::shutdown);

    assert_eq!(refusals(&bench), []);
}
