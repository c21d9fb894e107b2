//! The disk is nearly full: nothing new is stored, and what makes room goes on.

use alloc::vec::Vec;

use columba_proto::{
    AckKind, QoS, Version,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Setup, message, persistent, v5};
use crate::Room;

const NOTHING: Vec<&str> = Vec::new();

/// A broker with a durable session that wants everything below `kept/`, and what it has to say.
fn scarce(before: impl FnOnce(&mut Bench)) -> Bench {
    let mut bench = Bench::new();
    let (away, _) = bench.connect("away", &persistent());
    bench.subscribe(away, "kept/#", QoS::ExactlyOnce);
    bench.disconnect(away);
    before(&mut bench);
    bench.act(|shard, cx| shard.room_is(cx, Room::Scarce));
    bench
}

#[test]
fn new_publications_are_refused_until_there_is_room_and_then_taken_on_the_same_connection() {
    let mut bench = scarce(|_| {});
    let (publisher, _) = bench.connect("p", &v5(0));

    bench.publish(publisher, "kept/a", QoS::AtLeastOnce, 1, "x");
    bench.publish(publisher, "kept/a", QoS::ExactlyOnce, 2, "x");
    bench.publish(publisher, "nobody/durable", QoS::AtLeastOnce, 3, "x");
    assert_eq!(bench.told(publisher), ["puback 1 0x97", "pubrec 2 0x97", "puback 3 0x10"]);

    bench.act(|shard, cx| shard.room_is(cx, Room::Ample));
    bench.publish(publisher, "kept/a", QoS::AtLeastOnce, 1, "y");
    bench.publish(publisher, "kept/a", QoS::ExactlyOnce, 2, "y");
    bench.ack(publisher, AckKind::Pubrel, 2);
    assert_eq!(bench.told(publisher), ["puback 1", "pubrec 2", "pubcomp 2"]);

    let away = bench.open("away", &persistent());
    let told = bench.told(away);
    assert_eq!(told, ["connack present", "publish q1 id1 kept/a y", "publish q2 id2 kept/a y"], "what was refused is not there");
}

#[test]
fn a_durable_publisher_hears_at_publish_that_its_qos_2_cannot_be_stored() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &v5(100));
    bench.act(|shard, cx| shard.room_is(cx, Room::Scarce));

    // Nobody durable wants it, but its identifier would have to be kept.
    bench.publish(publisher, "nobody", QoS::ExactlyOnce, 1, "x");

    assert_eq!(bench.told(publisher), ["pubrec 1 0x97"]);
}

#[test]
fn an_old_client_is_heard_no_further_than_its_first_refused_publication() {
    let mut bench = scarce(|_| {});
    let (publisher, _) = bench.connect("p", &Setup { version: Version::V311, ..Setup::default() });

    bench.publish(publisher, "kept/a", QoS::AtLeastOnce, 1, "refused");
    bench.act(|shard, cx| shard.room_is(cx, Room::Ample));
    bench.publish(publisher, "kept/a", QoS::AtLeastOnce, 2, "would pass it");
    assert_eq!(bench.told(publisher), NOTHING);
    bench.pass(30_000);
    assert!(bench.shard.out(publisher.id).is_none(), "closed");

    let (publisher, _) = bench.connect("p", &Setup { version: Version::V311, ..Setup::default() });
    bench.publish(publisher, "kept/a", QoS::AtLeastOnce, 1, "refused");
    assert_eq!(bench.told(publisher), ["puback 1"]);
}

#[test]
fn what_was_promised_before_is_kept_and_queues_are_emptied() {
    let mut publisher = None;
    let mut bench = scarce(|bench| {
        let (client, _) = bench.connect("p", &v5(100));
        bench.publish(client, "kept/a", QoS::AtLeastOnce, 1, "one");
        bench.publish(client, "kept/a", QoS::ExactlyOnce, 2, "two");
        assert_eq!(bench.told(client), ["puback 1", "pubrec 2"]);
        publisher = Some(client);
    });
    let publisher = publisher.expect("it connected");

    bench.publish(publisher, "kept/a", QoS::ExactlyOnce, 2, "two");
    bench.ack(publisher, AckKind::Pubrel, 2);
    assert_eq!(bench.told(publisher), ["pubrec 2", "pubcomp 2"], "a promise is no new one");

    let away = bench.open("away", &persistent());
    assert_eq!(bench.told(away), ["connack present", "publish q1 id1 kept/a one", "publish q2 id2 kept/a two"]);
    bench.ack(away, AckKind::Puback, 1);
    bench.ack(away, AckKind::Pubrec, 2);
    assert_eq!(bench.told(away), ["pubrel 2"]);
    bench.ack(away, AckKind::Pubcomp, 2);
}

#[test]
fn a_new_durable_session_or_subscription_is_refused_and_an_old_one_is_not() {
    let mut bench = scarce(|_| {});

    let newcomer = bench.open("new", &v5(100));
    assert_eq!(bench.told(newcomer), ["connack 0x97"]);
    let (clean, _) = bench.connect("clean", &v5(0));
    bench.subscribe(clean, "live", QoS::AtLeastOnce);
    let (away, present) = bench.connect("away", &v5(100));
    assert!(present);
    bench.subscribe(away, "kept/#", QoS::AtLeastOnce);
    bench.ask(away, "more/#", QoS::AtLeastOnce);
    assert_eq!(bench.told(away), ["suback 151"]);
}

#[test]
fn clearing_a_retained_message_makes_room_and_a_new_one_at_qos_0_is_lost() {
    let mut bench = scarce(|_| {});
    let (hearer, _) = bench.connect("hearer", &v5(0));
    bench.subscribe(hearer, "live", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &v5(0));
    let retained = |qos, id, payload| Publish { retain: true, ..message("live", qos, id, payload) };

    bench.say(publisher, &Packet::Publish(retained(QoS::AtLeastOnce, 1, "kept")));
    bench.say(publisher, &Packet::Publish(retained(QoS::AtMostOnce, 0, "kept")));
    assert_eq!((bench.told(publisher), bench.told(hearer)), (["puback 1 0x97".into()].to_vec(), Vec::new()));

    bench.say(publisher, &Packet::Publish(retained(QoS::AtLeastOnce, 2, "")));
    assert_eq!(bench.told(publisher), ["puback 2"]);
    assert_eq!(bench.told(hearer), ["publish q1 id1 live "]);
    bench.pass(2_000);
    assert_eq!(bench.told(publisher), NOTHING);
    assert!(bench.events.iter().any(|event| event.contains("reason: Unstorable, count: 2")), "{:?}", bench.events);
}
