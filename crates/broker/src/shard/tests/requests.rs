//! CONNECT, SUBSCRIBE and UNSUBSCRIBE: what is answered, in which order, and what is refused.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use columba_proto::{
    AckKind, QoS, Version,
    packet::{ConnectProperties, Packet, Publish, Unsubscribe},
    property::UserProperties,
};

use super::bench::{Bench, Setup, message, persistent, pid, v5};
use crate::seam::Origin;

const NOTHING: Vec<&str> = Vec::new();

fn with_max_packet_size(bytes: u32) -> Setup<'static> {
    let properties = ConnectProperties { maximum_packet_size: NonZeroU32::new(bytes), ..ConnectProperties::default() };
    Setup { version: Version::V5, properties, ..Setup::default() }
}

#[test]
fn another_protocol_is_closed_at_its_first_byte() {
    let mut bench = Bench::new();
    let id = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 0)));

    bench.act(|shard, cx| shard.received(cx, id, b"GET / HTTP/1.1\r\n"));

    assert!(bench.shard.out(id).is_none());
}

#[test]
fn connack_fits_into_twenty_bytes() {
    let mut bench = Bench::new();
    let client = bench.open("c", &with_max_packet_size(20));

    assert!(bench.shard.out(client.id).unwrap().len() <= 20);
    assert_eq!(bench.told(client), ["connack new"]);
}

#[test]
fn a_client_that_has_no_room_for_connack_is_refused_and_its_session_left_alone() {
    let mut bench = Bench::new();
    let (first, _) = bench.connect("c", &v5(100));

    let second = bench.open("c", &with_max_packet_size(15));
    assert_eq!(bench.told(second), ["connack 0x95"], "without a reason string it fits");
    let third = bench.open("c", &with_max_packet_size(4));
    assert_eq!(bench.told(third), NOTHING);

    assert!(bench.shard.out(third.id).is_none(), "closed");
    assert_eq!(bench.told(first), NOTHING);
    assert!(bench.shard.wants_reading(first.id), "nobody took over");
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn a_message_is_too_large_for_its_reader_with_the_first_byte_above_the_maximum() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (reader, _) = bench.connect("r", &with_max_packet_size(20));
    bench.ask(reader, "t", QoS::AtLeastOnce);
    bench.told(reader);

    // Two bytes of fixed header, three of topic, two of identifier, one of property length: twelve are left.
    for (id, payload) in [(1, "123456789012"), (2, "1234567890123"), (3, "small")] {
        bench.say(publisher, &Packet::Publish(message("t", QoS::AtLeastOnce, id, payload)));
    }

    assert_eq!(bench.told(reader), ["publish q1 id1 t 123456789012", "publish q1 id2 t small"]);
}

#[test]
fn retained_messages_come_behind_the_suback_that_waits_for_the_disk() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    for topic in ["t/1", "t/2"] {
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message(topic, QoS::AtMostOnce, 0, "x") }));
    }
    let (subscriber, _) = bench.connect("s", &persistent());

    bench.syncs = false;
    bench.ask(subscriber, "t/+", QoS::AtLeastOnce);
    assert_eq!(bench.told(subscriber), NOTHING);
    bench.sync();

    assert_eq!(bench.told(subscriber), ["suback 1", "publish retain q0 id0 t/1 x", "publish retain q0 id0 t/2 x"]);
}

#[test]
fn retained_messages_whose_suback_was_lost_with_the_connection_come_on_the_next() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message("t", QoS::AtLeastOnce, 1, "x") }));
    let (subscriber, _) = bench.connect("s", &persistent());

    bench.syncs = false;
    bench.ask(subscriber, "t", QoS::AtLeastOnce);
    bench.cut_off(subscriber);
    bench.syncs = true;
    let again = bench.open("s", &persistent());

    assert_eq!(bench.told(again), ["connack present", "publish retain q1 id1 t x"]);
}

#[test]
fn a_request_with_an_ill_formed_filter_ends_the_connection_and_does_nothing() {
    for filter in ["", "a#", "a/#/b", "+b", "$share//a", "$share/g", "$share/g+/a"] {
        for (version, farewell) in [(Version::V311, &[] as &[&str]), (Version::V5, &["disconnect 0x81"])] {
            let setup = Setup { version, ..Setup::default() };
            let mut bench = Bench::new();
            let (client, _) = bench.connect("c", &setup);
            bench.ask(client, filter, QoS::AtMostOnce);
            assert_eq!(bench.told(client), farewell, "SUBSCRIBE {filter:?}");

            let (client, _) = bench.connect("c", &setup);
            bench.subscribe(client, "good", QoS::AtMostOnce);
            let filters = ["good", filter];
            let unsubscribe =
                Unsubscribe { id: pid(3), user_properties: UserProperties::default(), filters: (&filters[..]).into() };
            bench.say(client, &Packet::Unsubscribe(unsubscribe));
            assert_eq!(bench.told(client), farewell, "UNSUBSCRIBE {filter:?}");
            assert!(!bench.shard.wants_reading(client.id), "closed");
        }
    }
}

#[test]
fn one_subscription_more_than_there_may_be_is_refused_and_told_once() {
    for (version, refused) in [(Version::V5, "suback 151"), (Version::V311, "suback 128")] {
        let mut bench = Bench::with(crate::limits::Config { subscriptions_max: 2, ..Default::default() });
        let (client, _) = bench.connect("c", &Setup { version, ..Setup::default() });
        for filter in ["a", "b"] {
            bench.subscribe(client, filter, QoS::AtMostOnce);
        }
        for filter in ["c", "d"] {
            bench.ask(client, filter, QoS::AtMostOnce);
            assert_eq!(bench.told(client), [refused], "{filter}");
        }
        // One that is there may be changed.
        bench.subscribe(client, "a", QoS::AtLeastOnce);

        let told = bench.events.iter().filter(|event| event.contains("limits.subscriptions")).count();
        assert_eq!(told, 1, "{:?}", bench.events);
    }
}

#[test]
fn what_is_in_flight_and_too_large_for_the_next_connection_counts_as_delivered() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &v5(100));
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let large = "0123456789abcdef0123456789";
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, large);
    bench.ack(publisher, AckKind::Pubrel, 1);
    bench.publish(publisher, "t", QoS::AtLeastOnce, 2, large);
    bench.publish(publisher, "t", QoS::AtLeastOnce, 3, "small");
    assert_eq!(bench.told(subscriber).len(), 3);
    bench.cut_off(subscriber);

    let again = bench.open("s", &Setup { clean: false, ..with_max_packet_size(20) });
    assert_eq!(bench.told(again), ["connack present", "pubrel 1", "publish dup q1 id3 t small"]);
    bench.ack(again, AckKind::Pubcomp, 1);
    bench.ack(again, AckKind::Puback, 3);

    let snapshot = bench.shard.snapshot();
    let session = snapshot.sessions.values().find(|session| &*session.client_id == "s").unwrap();
    assert!(session.in_flight.is_empty() && session.undelivered.is_empty());
}
