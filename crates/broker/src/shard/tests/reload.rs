//! Another configuration while clients are there: who is connected keeps what CONNACK has offered, whoever comes gets what is offered now.

use alloc::{sync::Arc, vec::Vec};

use columba_proto::{
    QoS, Version,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Setup, message, persistent, v5};
use crate::{Config, limits::Rate, seam::Origin};

fn becomes(bench: &mut Bench, config: Config) {
    bench.act(|shard, cx| shard.reconfigure(cx, Arc::new(config)));
}

#[test]
fn what_connack_has_offered_holds_as_long_as_the_connection_does() {
    let mut bench = Bench::new();
    let (old, _) = bench.connect("old", &v5(0));
    let less = Config {
        max_packet_size: 200,
        max_qos: QoS::AtMostOnce,
        retain: false,
        wildcard_subscriptions: false,
        shared_subscriptions: false,
        max_topic_alias: 0,
        ..Config::default()
    };

    becomes(&mut bench, less);

    bench.subscribe(old, "a/#", QoS::ExactlyOnce);
    bench.subscribe(old, "$share/g/b", QoS::AtLeastOnce);
    let long = "x".repeat(300);
    let retained = Publish { retain: true, ..message("t", QoS::AtLeastOnce, 1, &long) };
    bench.say(old, &Packet::Publish(retained.clone()));
    assert_eq!(bench.told(old), ["puback 1 0x10"]);

    let (new, _) = bench.connect("new", &v5(0));
    bench.ask(new, "a/#", QoS::AtMostOnce);
    bench.ask(new, "$share/g/b", QoS::AtMostOnce);
    assert_eq!(bench.told(new), ["suback 162", "suback 158"]);
    bench.say(new, &Packet::Publish(retained));
    assert_eq!(bench.told(new), ["disconnect 0x95"]);
    assert_eq!(bench.shard.connections(), 2, "the other one is still there, and the socket of this one");
}

#[test]
fn who_waits_behind_a_bound_goes_on_when_it_is_wider() {
    let config = Config { messages_in: Rate::new(1), messages_out: Rate::new(1), queue_messages_max: 1, ..Config::default() };
    let mut bench = Bench::with(config);
    let (away, _) = bench.connect("away", &persistent());
    bench.subscribe(away, "t", QoS::AtLeastOnce);
    bench.disconnect(away);
    let (publisher, _) = bench.connect("p", &v5(0));
    for id in 1..=2 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert_eq!(bench.told(publisher), ["puback 1", "puback 2 0x97"]);

    becomes(&mut bench, Config::default());

    bench.publish(publisher, "t", QoS::AtLeastOnce, 3, "y");
    assert_eq!(bench.told(publisher), ["puback 3"]);
    let (next, _) = bench.connect("q", &v5(0));
    (0..5).for_each(|_| bench.publish(next, "t", QoS::AtMostOnce, 0, "z"));
    assert!(bench.act(|shard, _| shard.wants_reading(next.id)));
    let (reader, _) = bench.connect("r", &v5(0));
    bench.subscribe(reader, "u", QoS::AtMostOnce);
    (0..5).for_each(|_| bench.publish(next, "u", QoS::AtMostOnce, 0, "z"));
    assert_eq!(bench.told(reader).len(), 5);
}

#[test]
fn a_session_is_bounded_by_what_is_said_when_it_is_taken_up() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &v5(1_000));
    bench.disconnect(client);
    becomes(&mut bench, Config { session_expiry_max_s: 10, ..Config::default() });

    let (client, present) = bench.connect("c", &v5(1_000));
    assert!(present);
    bench.disconnect(client);
    bench.pass(11_000);

    let told: Vec<_> = {
        let client = bench.open("c", &Setup { clean: false, ..v5(0) });
        bench.told(client)
    };
    assert_eq!(told, ["connack new"]);
}

#[test]
fn a_listener_that_is_closed_takes_its_clients_with_it_and_leaves_their_sessions() {
    let mut bench = Bench::new();
    let (stays, _) = bench.connect("stays", &v5(0));
    bench.listener = 1;
    let (goes, _) = bench.connect("goes", &v5(100));
    let old = bench.open("old", &Setup { version: Version::V311, ..Setup::default() });
    let nobody = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 1)));

    bench.act(|shard, cx| shard.close_listener(cx, 1));

    assert_eq!(bench.told(goes), ["disconnect 0x98"]);
    for id in [goes.id, old.id, nobody] {
        assert!(!bench.shard.wants_reading(id));
    }
    assert!(bench.shard.wants_reading(stays.id));
    let (_, present) = bench.connect("goes", &Setup { clean: false, ..v5(100) });
    assert!(present);
}
