//! One client's work beside the others: it is done by turns, and what comes of it is the same.

use alloc::{format, string::String, vec, vec::Vec};

use columba_proto::{
    AckKind, QoS, ReasonCode,
    packet::{Disconnect, Packet, Subscribe, SubscribeEntry, Unsubscribe},
    property::UserProperties,
};

use super::bench::{Bench, Client, Setup, message, pid, v5, will};
use crate::{Config, seam::Gone, testing::Rng};

/// So much work in a turn.
fn with_work(work_max: u32) -> Bench {
    Bench::with(Config { work_max, ..Config::default() })
}

fn written(client: Client, packets: &[Packet<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(client.version, &mut bytes).unwrap();
    }
    bytes
}

fn subscribe(filters: &[String], qos: QoS) -> Vec<SubscribeEntry<'_>> {
    filters.iter().map(|filter| SubscribeEntry { filter, options: qos.into() }).collect()
}

fn subscribe_packet<'a>(entries: &'a [SubscribeEntry<'a>]) -> Packet<'a> {
    let user_properties = UserProperties::default();
    Packet::Subscribe(Subscribe { id: pid(9), subscription_id: None, user_properties, entries: entries.into() })
}

fn unsubscribe_packet<'a>(filters: &'a [&'a str]) -> Packet<'a> {
    Packet::Unsubscribe(Unsubscribe { id: pid(8), user_properties: UserProperties::default(), filters: filters.into() })
}

/// 4,096 filters that all match any beginning of a topic of twelve times `b`.
fn bomb() -> Vec<String> {
    let levels = |number: u32| (0..12).map(move |level| if number >> level & 1 == 1 { "+/" } else { "b/" });
    (0..4_096).map(|number| levels(number).collect::<String>() + "end").collect()
}

/// One that has subscribed to all of that, and one that the topics do reach. A turn is a sixteenth of a search.
fn with_bomb(qos: QoS) -> (Bench, Client, Client) {
    let mut bench = with_work(500);
    let (bomber, _) = bench.connect("bomber", &Setup::default());
    for filters in bomb().chunks(50) {
        bench.say(bomber, &subscribe_packet(&subscribe(filters, QoS::AtMostOnce)));
        bench.take_turns();
        bench.told(bomber);
    }
    let (reader, _) = bench.connect("reader", &Setup::default());
    bench.subscribe(reader, &deep("#"), qos);
    (bench, bomber, reader)
}

fn deep(last: &str) -> String {
    "b/".repeat(12) + last
}

#[test]
fn a_search_through_very_many_filters_lets_others_pass_and_finds_everybody() {
    let (mut bench, bomber, reader) = with_bomb(QoS::AtMostOnce);
    let (good, _) = bench.connect("good", &Setup::default());
    bench.subscribe(good, "t", QoS::AtMostOnce);
    let reads = bench.commons.index_reads();

    bench.publish(bomber, &deep("1"), QoS::AtMostOnce, 0, "x");

    assert_eq!(bench.commons.index_reads(), reads + 1);
    assert!(!bench.shard.wants_reading(bomber.id), "there are 8,191 nodes to look at");
    assert!(bench.told(reader).is_empty());
    bench.publish(good, "t", QoS::AtMostOnce, 0, "y");
    assert_eq!(bench.told(good), ["publish q0 id0 t y"], "it did not wait for that");
    let turns = bench.take_turns();
    assert!((8_191 / 500..=8_191 / 500 + 2).contains(&turns), "{turns}");
    assert_eq!(bench.told(reader), [format!("publish q0 id0 {} x", deep("1"))]);
    assert!(bench.shard.wants_reading(bomber.id));

    let reads = bench.commons.index_reads();
    bench.publish(bomber, &deep("1"), QoS::AtMostOnce, 0, "z");
    assert_eq!(bench.told(reader), [format!("publish q0 id0 {} z", deep("1"))], "now it is known");
    assert_eq!(bench.commons.index_reads(), reads);
}

#[test]
fn of_several_who_search_each_has_its_own_and_one_that_goes_does_not_hold_up_the_next() {
    let (mut bench, bomber, reader) = with_bomb(QoS::AtLeastOnce);
    let clients: Vec<Client> = (0..4).map(|number| bench.connect(&format!("c{number}"), &Setup::default()).0).collect();

    for (number, client) in clients.iter().enumerate() {
        bench.publish(*client, &deep(&format!("{number}")), QoS::AtLeastOnce, 1, "x");
    }
    bench.pass(0);
    bench.say(bomber, &unsubscribe_packet(&[&bomb()[4_095]]));
    bench.cut_off(clients[0]);
    assert_eq!(bench.told(clients[1]), [""; 0]);
    bench.take_turns();

    let mut told = bench.told(reader);
    told.sort();
    let expected = (0..4).map(|number| format!("{} x", deep(&format!("{number}"))));
    assert!(told.iter().zip(expected).all(|(told, end)| told.ends_with(&end)), "{told:?}");
    assert_eq!(told.len(), 4, "also what came before the end of the connection");
    for client in &clients[1..] {
        assert_eq!(bench.told(*client), ["puback 1"]);
        assert!(bench.shard.wants_reading(client.id));
    }
}

#[test]
fn many_filters_of_one_request_are_taken_by_turns_and_answered_at_once() {
    let mut bench = with_work(100);
    let (client, _) = bench.connect("c", &Setup::default());
    let (other, _) = bench.connect("o", &Setup::default());
    let filters: Vec<String> = (0..200).map(|number| format!("t/{number}")).collect();
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();

    let entries = subscribe(&filters, QoS::AtMostOnce);
    bench.say_bytes(client, &written(client, &[subscribe_packet(&entries), Packet::Pingreq]));
    assert_eq!(bench.told(client), [""; 0]);
    bench.publish(other, "t/0", QoS::AtMostOnce, 0, "x");
    bench.publish(other, "t/199", QoS::AtMostOnce, 0, "x");
    assert_eq!(bench.told(client), ["publish q0 id0 t/0 x"], "what stands is there at once, the rest is not");
    assert!(bench.take_turns() > 10);
    let told = bench.told(client);
    assert_eq!((told[0].matches('0').count(), &*told[1], told.len()), (200, "pingresp", 2), "{told:?}");
    bench.publish(other, "t/199", QoS::AtMostOnce, 0, "x");
    assert_eq!(bench.told(client), ["publish q0 id0 t/199 x"]);

    bench.say(client, &unsubscribe_packet(&names));
    assert!(bench.take_turns() > 10);
    assert!(bench.told(client)[0].starts_with("unsuback"));
    assert!(bench.commons.index().is_empty());
}

#[test]
fn the_many_subscriptions_of_a_session_that_ends_leave_by_turns() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &v5(0));
    let filters: Vec<String> = (0..1_000).map(|number| format!("t/{number}")).chain(["$share/g/s".into()]).collect();
    bench.say(client, &subscribe_packet(&subscribe(&filters, QoS::AtLeastOnce)));
    bench.take_turns();
    let (other, _) = bench.connect("o", &v5(0));

    bench.disconnect(client);
    assert!(bench.commons.index().len() > 900, "not all in one go");
    assert_eq!(bench.shard.sessions(), 1);
    bench.publish(other, "t/999", QoS::AtLeastOnce, 1, "x");
    bench.publish(other, "s", QoS::AtLeastOnce, 2, "x");
    let told = bench.told(other);
    assert!(told[0].starts_with("puback 1") && told[1].starts_with("puback 2 "), "a group knows its members at once: {told:?}");
    let (again, _) = bench.connect("c", &v5(0));
    bench.subscribe(again, "t/5", QoS::AtLeastOnce);

    assert!(bench.take_turns() > 10);
    assert_eq!(bench.commons.index().len(), 1, "nothing is left but what is new");
    bench.publish(other, "t/5", QoS::AtLeastOnce, 3, "x");
    assert_eq!(bench.told(again), ["publish q1 id1 t/5 x"]);
}

#[test]
fn what_came_before_the_end_of_a_connection_counts_also_when_it_had_to_wait() {
    for says_goodbye in [true, false] {
        let mut bench = with_work(1);
        let (watcher, _) = bench.connect("w", &Setup::default());
        bench.subscribe(watcher, "#", QoS::AtMostOnce);
        bench.take_turns();
        let (client, _) = bench.connect("c", &Setup { will: Some(will("will", 0)), ..v5(0) });
        let goodbye = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        let mut packets: Vec<Packet<'_>> =
            ["a", "b", "c"].map(|topic| Packet::Publish(message(topic, QoS::AtMostOnce, 0, "x"))).into();
        packets.extend(says_goodbye.then_some(goodbye));

        bench.say_bytes(client, &written(client, &packets));
        bench.act(|shard, cx| shard.closed(cx, client.id, Gone::ByPeer));
        assert_eq!(bench.shard.connections(), 2, "its packets are still there");
        bench.take_turns();

        let mut expected = vec!["publish q0 id0 a x", "publish q0 id0 b x", "publish q0 id0 c x"];
        expected.extend((!says_goodbye).then_some("publish q0 id0 will gone"));
        assert_eq!(bench.told(watcher), expected);
        bench.outputs();
        bench.act(|shard, cx| shard.closed(cx, client.id, Gone::Failed));
        assert_eq!(bench.shard.connections(), 1);
    }
}

#[test]
fn who_keeps_the_broker_busy_is_not_read_and_its_keep_alive_does_not_run_out() {
    let mut bench = with_work(1);
    let (client, _) = bench.connect("c", &Setup { keep_alive: 10, ..Setup::default() });
    let pings = [Packet::Pingreq, Packet::Pingreq, Packet::Pingreq];

    bench.say_bytes(client, &written(client, &pings));
    assert_eq!(bench.told(client), ["pingresp"]);
    assert!(!bench.shard.wants_reading(client.id));
    bench.pass(60_000);
    assert_eq!(bench.told(client), ["pingresp"], "still there");
    bench.take_turns();
    assert_eq!(bench.told(client), ["pingresp"]);
    assert!(bench.shard.wants_reading(client.id));
}

/// A conversation of three clients, of which nothing waits for the disk; the answer is all that each was told.
fn converse(seed: u64, work_max: u32) -> Vec<Vec<String>> {
    let mut rng = Rng::new(seed);
    let mut bench = with_work(work_max);
    let clients: Vec<Client> = (0..3).map(|number| bench.connect(&format!("c{number}"), &Setup::default()).0).collect();
    let mut told: Vec<Vec<String>> = vec![Vec::new(); 3];
    let levels = ["a", "b", "c", "+"];
    for _ in 0..60 {
        let client = *rng.pick(&clients);
        let mut bytes = Vec::new();
        for _ in 0..=rng.below(6) {
            let name = |rng: &mut Rng, of: usize| format!("{}/{}", levels[rng.below(of)], levels[rng.below(of)]);
            let qos = *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce]);
            let id = u16::try_from(rng.below(1_000) + 1).unwrap();
            match rng.below(10) {
                0..5 => {
                    let topic = name(&mut rng, 3);
                    let id = if qos == QoS::AtMostOnce { 0 } else { id };
                    bytes.extend(written(client, &[Packet::Publish(message(&topic, qos, id, "x"))]));
                }
                5..8 => {
                    let filters: Vec<String> = (0..=rng.below(4)).map(|_| name(&mut rng, 4)).collect();
                    bytes.extend(written(client, &[subscribe_packet(&subscribe(&filters, qos))]));
                }
                8 => {
                    let filters: Vec<String> = (0..=rng.below(4)).map(|_| name(&mut rng, 4)).collect();
                    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
                    bytes.extend(written(client, &[unsubscribe_packet(&names)]));
                }
                _ => bytes.extend(written(client, &[Packet::Pingreq])),
            }
        }
        bench.say_bytes(client, &bytes);
        bench.take_turns();
        for (client, told) in clients.iter().zip(&mut told) {
            let new = bench.told(*client);
            for publish in new.iter().filter(|it| it.starts_with("publish q1")) {
                bench.ack(*client, AckKind::Puback, super::bench::id_of(publish));
                bench.take_turns();
            }
            told.extend(new);
        }
    }
    told
}

#[test]
fn clients_are_told_the_same_however_short_the_turns_are() {
    for seed in 0..40 {
        let whole = converse(seed, u32::MAX);
        assert!(whole.iter().map(Vec::len).sum::<usize>() > 50);
        for work_max in [1, 3, 40] {
            assert_eq!(converse(seed, work_max), whole, "seed {seed}, {work_max} at a time");
        }
    }
}
