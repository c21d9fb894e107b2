//! What a client could do to the others on its shard: work, memory, and answers that never come.

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use core::num::NonZeroU16;

use columba_proto::{
    AckKind, QoS, TopicName,
    packet::{Packet, Publish, PublishProperties, Subscribe, SubscribeEntry, Unsubscribe},
    property::UserProperties,
};

use super::bench::{Bench, Client, Setup, message, persistent, pid, v5, will};
use crate::{
    Config, Pressure, Shard,
    id::MessageId,
    limits::Rate,
    message::Message,
    route::Claim,
    seam::{Delivery, Parcel, ParcelTarget, SubscriptionIds},
};

const NOTHING: Vec<&str> = Vec::new();

fn subscribe_all(bench: &mut Bench, client: Client, filters: &[String]) {
    let entries: Vec<_> = filters.iter().map(|filter| SubscribeEntry { filter, options: QoS::AtLeastOnce.into() }).collect();
    let entries = (&entries[..]).into();
    let subscribe = Subscribe { id: pid(9), subscription_id: None, user_properties: UserProperties::default(), entries };
    bench.say(client, &Packet::Subscribe(subscribe));
    bench.take_turns();
}

#[test]
fn one_who_comes_and_goes_leaves_no_timers_behind() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        let (client, _) = bench.connect("c", &Setup { keep_alive: u16::MAX, ..v5(31_536_000) });
        bench.disconnect(client);
        bench.outputs();
        bench.pass(100);
    }

    assert!(bench.shard.timers.len() < 3_000, "{}", bench.shard.timers.len());
    bench.pass(31_536_000_000);
    assert_eq!(bench.shard.sessions(), 0, "the timer that counts is still there");
}

#[test]
fn withheld_acknowledgements_are_looked_at_by_one_timer() {
    let mut bench = Bench::with(Config { inflight: 1, ephemeral_queue_max: 2, ..Config::default() });
    let (stuck, _) = bench.connect("stuck", &Setup::default());
    bench.subscribe(stuck, "stuck", QoS::AtLeastOnce);
    let (slow, _) = bench.connect("slow", &Setup::default());
    bench.subscribe(slow, "slow", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (other, _) = bench.connect("o", &Setup::default());
    for id in 1..=6 {
        bench.publish(publisher, "stuck", QoS::AtLeastOnce, id, "x");
    }

    for _ in 0..200 {
        for id in 1..=4 {
            bench.publish(other, "slow", QoS::AtLeastOnce, id, "x");
        }
        for _ in 0..4 {
            let told = bench.told(slow);
            let id = told[0].split(" id").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
            bench.ack(slow, AckKind::Puback, id);
        }
    }

    let withheld = format!("{:?}", bench.shard.timers).matches("Withheld").count();
    assert_eq!(withheld, 1);
}

#[test]
fn who_floods_a_full_reader_is_not_read_beyond_a_bound_in_bytes() {
    let config = Config { inflight: 1, ephemeral_queue_max: 2, held_bytes_max: 1_000, ..Config::default() };
    let mut bench = Bench::with(config);
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let payload = "x".repeat(400);

    for id in 1..=4 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, &payload);
    }
    assert!(bench.shard.wants_reading(publisher.id));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 5, &payload);
    assert!(!bench.shard.wants_reading(publisher.id));

    bench.cut_off(reader);
    bench.pass(10);
    assert_eq!(bench.told(publisher).len(), 5);
    assert!(bench.shard.wants_reading(publisher.id));
}

#[test]
fn who_floods_with_retained_messages_that_nobody_acknowledges_is_held_back_by_the_disk() {
    let mut bench = Bench::new();
    let (floods, _) = bench.connect("f", &Setup::default());
    let (other, _) = bench.connect("o", &Setup::default());
    bench.say(floods, &Packet::Publish(Publish { retain: true, ..message("t", QoS::AtMostOnce, 0, "x") }));
    bench.publish(other, "t", QoS::AtMostOnce, 0, "x");
    let read = |bench: &Bench| (bench.shard.wants_reading(floods.id), bench.shard.wants_reading(other.id));
    assert_eq!(read(&bench), (true, true));

    for holds in [true, false] {
        bench.act(|shard, cx| shard.hold_back(cx, holds));
        assert_eq!(read(&bench), (!holds, true), "what has come and is not in the cold store");
    }
    for is_full in [true, false] {
        bench.act(|shard, cx| shard.journal_is_full(cx, is_full));
        assert_eq!(read(&bench), (!is_full, true), "what the journal has to write");
    }
}

#[test]
fn with_a_failed_journal_nobody_waits_for_ever() {
    let mut bench = Bench::new();
    let (durable, _) = bench.connect("d", &v5(100));
    bench.subscribe(durable, "t", QoS::AtLeastOnce);
    let (reader, _) = bench.connect("r", &v5(0));
    bench.subscribe(reader, "e", QoS::AtLeastOnce);
    let (waits, _) = bench.connect("w", &v5(0));
    let (third, _) = bench.connect("e", &v5(0));
    bench.syncs = false;
    bench.publish(waits, "t", QoS::AtLeastOnce, 1, "x");
    let greeted = bench.open("g", &Setup { will: Some(will("w", 0)), ..v5(0) });

    bench.act(Shard::journal_failed);

    assert_eq!(bench.told(waits), ["disconnect 0x89"], "its PUBACK would never leave, nor anything behind it");
    assert_eq!(bench.told(greeted), NOTHING);
    assert!(!bench.shard.wants_reading(greeted.id));
    bench.publish(third, "e", QoS::ExactlyOnce, 1, "x");
    bench.ack(third, AckKind::Pubrel, 1);
    assert_eq!(bench.told(third), ["pubrec 1", "pubcomp 1"]);
    assert_eq!(bench.told(reader), ["publish q1 id1 e x"]);
    let refused = bench.open("d", &Setup { clean: true, ..v5(0) });
    assert_eq!(bench.told(refused), ["connack 0x88"], "the end of its durable session could not be recorded");
}

#[test]
fn the_will_of_a_session_that_ends_at_the_takeover_is_published_whatever_its_delay() {
    let mut bench = Bench::new();
    let (watcher, _) = bench.connect("w", &v5(0));
    bench.subscribe(watcher, "will", QoS::AtLeastOnce);
    let setup = || Setup { will: Some(will("will", 60)), ..v5(0) };

    let (_old, _) = bench.connect("c", &setup());
    let (_new, present) = bench.connect("c", &setup());

    assert!(!present);
    assert_eq!(bench.told(watcher), ["publish q1 id1 will gone"]);
}

#[test]
fn what_was_on_its_way_to_a_member_that_ended_goes_to_another_one() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &Setup::default());
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let (two, _) = bench.connect("two", &persistent());
    bench.subscribe(two, "$share/g/t", QoS::AtLeastOnce);
    let (stranger, _) = bench.connect("stranger", &Setup::default());
    bench.subscribe(stranger, "$share/other/t", QoS::AtLeastOnce);
    let slot = bench.shard.by_client["one"];
    let to = bench.shard.sessions[slot as usize].reference(slot);
    let claim = bench.group_target("t").claim;
    bench.disconnect(one);

    let message = Arc::new(Message::new("t".into(), QoS::AtLeastOnce, false, None, &[], b"x"));
    let ids = SubscriptionIds::default();
    let target =
        ParcelTarget { session: to.clone(), qos: QoS::AtLeastOnce, retain: false, claim: Claim::default(), ids: ids.clone() };
    let of_its_own = Parcel::Deliver { id: MessageId(2 << 20), message: Arc::clone(&message), targets: vec![target] };
    to.presence.add_given();
    let delivery = Delivery { id: MessageId(1 << 20), message, qos: QoS::AtLeastOnce, retain: false, claim, ids };
    for parcel in [Parcel::Given { delivery, to }, of_its_own] {
        bench.act(|shard, cx| shard.parcel(cx, parcel));
    }

    assert_eq!(bench.told(two), ["publish q1 id1 t x"], "but not what was for the one alone");
    assert_eq!(bench.told(stranger), NOTHING);
}

#[test]
fn ten_thousand_subscriptions_come_and_go_in_any_order() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &persistent());
    let mut filters: Vec<_> = (0..10_000).map(|number| format!("f/{}", number * 7_919 % 10_000)).collect();
    subscribe_all(&mut bench, client, &filters);
    subscribe_all(&mut bench, client, &filters);
    subscribe_all(&mut bench, client, &["one/too/many".into()]);
    assert_eq!(bench.told(client).last().map(String::as_str), Some("suback 128"));

    filters.reverse();
    filters.push("never/there".into());
    let names: Vec<_> = filters.iter().map(String::as_str).collect();
    let unsubscribe = Unsubscribe { id: pid(8), user_properties: UserProperties::default(), filters: (&names[..]).into() };
    bench.say(client, &Packet::Unsubscribe(unsubscribe));
    bench.take_turns();

    assert_eq!(bench.told(client), ["unsuback"]);
    assert!(bench.shard.sessions.iter().all(|(_, session)| session.subscriptions.is_empty()));
}

#[test]
fn a_long_search_for_retained_messages_gives_way_to_others() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message("z/last", QoS::AtLeastOnce, 1, "x") }));
    let (client, _) = bench.connect("c", &Setup::default());
    let mut filters: Vec<_> = (0..100).map(|number| format!("+/nobody/{number}")).collect();
    filters.push("z/#".into());
    subscribe_all(&mut bench, client, &filters);

    assert_eq!(bench.told(client).len(), 1, "SUBACK, and the last filter is not reached yet");
    for _ in 0..60 {
        bench.pass(1);
    }

    assert_eq!(bench.told(client), ["publish retain q1 id1 z/last x"]);
}

#[test]
fn aliases_for_very_long_topics_have_a_bound() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &v5(0));
    let topic = "x".repeat(60_000);

    for alias in 1..=6 {
        let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
        let topic = Some(TopicName::new(&topic).unwrap());
        let publish = Publish { topic, properties, ..message("t", QoS::AtMostOnce, 0, "x") };
        bench.say(client, &Packet::Publish(publish));
    }

    assert_eq!(bench.told(client), ["disconnect 0x97"]);
}

/// A PUBLISH of 128 KiB, without its end.
fn half_a_packet() -> Vec<u8> {
    let mut bytes = vec![0x30, 0x80, 0x80, 0x08, 0, 1, b't'];
    bytes.resize(100_000, b'x');
    bytes
}

#[test]
fn while_memory_is_short_publishers_wait_and_readers_do_not() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("r", &Setup::default());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    let (slow, _) = bench.connect("s", &Setup::default());
    bench.say_bytes(slow, &half_a_packet());

    bench.act(|shard, cx| shard.pressure_is(cx, Pressure::High));

    assert!(!bench.shard.wants_reading(publisher.id));
    assert!(!bench.shard.wants_reading(slow.id), "the rest of a long packet has no room");
    assert!(bench.shard.wants_reading(reader.id), "its acknowledgements make room");
    bench.act(|shard, cx| shard.pressure_is(cx, Pressure::None));
    assert!(bench.shard.wants_reading(publisher.id) && bench.shard.wants_reading(slow.id));
}

#[test]
fn where_no_memory_is_left_who_holds_most_goes_first_and_who_holds_little_stays() {
    let mut bench = Bench::new();
    let (small, _) = bench.connect("small", &v5(0));
    bench.say_bytes(small, &half_a_packet()[..30_000]);
    let (large, _) = bench.connect("large", &v5(0));
    bench.say_bytes(large, &half_a_packet());
    let (larger, _) = bench.connect("larger", &v5(0));
    let mut bytes = half_a_packet();
    bytes.resize(120_000, b'x');
    bench.say_bytes(larger, &bytes);

    let gone = bench.act(|shard, cx| shard.shed(cx, 1));
    assert_eq!(gone, 1);
    assert_eq!(bench.told(larger), ["disconnect 0x97"]);

    let gone = bench.act(|shard, cx| shard.shed(cx, usize::MAX));
    assert_eq!(gone, 1);
    assert_eq!(bench.told(large), ["disconnect 0x97"]);
    assert_eq!(bench.told(small), NOTHING);
    assert_eq!(bench.act(|shard, cx| shard.shed(cx, usize::MAX)), 0, "nobody holds much");
}

#[test]
fn a_client_identifier_that_comes_too_often_stays_away_for_a_while() {
    let mut bench = Bench::with(Config { flapping_connects: Rate::new(5), ban_ms: 120_000, ..Config::default() });
    for _ in 0..6 {
        let (client, _) = bench.connect("flaps", &v5(0));
        bench.disconnect(client);
        bench.pass(1_000);
    }

    let refused = bench.open("flaps", &v5(0));
    assert_eq!(bench.told(refused), ["connack 0x8a"]);
    bench.connect("calm", &v5(0));
    bench.pass(120_000);
    bench.connect("flaps", &v5(0));
}

#[test]
fn who_comes_a_few_times_a_minute_is_never_banned() {
    let mut bench = Bench::with(Config { flapping_connects: Rate::new(5), ..Config::default() });
    for _ in 0..100 {
        let (client, _) = bench.connect("restless", &v5(0));
        bench.disconnect(client);
        bench.pass(15_000);
    }
}

#[test]
fn a_fight_for_one_identifier_is_told_once_with_both_addresses() {
    let mut bench = Bench::new();
    bench.connect("same", &v5(0));
    for _ in 0..200 {
        bench.connect("same", &v5(0));
        bench.pass(1_000);
        bench.outputs();
    }
    assert_eq!(bench.events.iter().filter(|event| event.starts_with("Fight")).count(), 1);
}
