//! Shared subscriptions: a message is its group's until a member acknowledges it, whatever ends in between (§4.8.2).

use alloc::{string::String, sync::Arc, vec::Vec};

use columba_proto::{
    AckKind, QoS, ReasonCode,
    packet::{Ack, Packet, Publish},
};

use super::bench::{Bench, Client, Setup, id_of, message, persistent, pid, v5};
use crate::{
    Config, Shard,
    id::MessageId,
    limits::QueueFull,
    message::Message,
    seam::{Commons as _, Delivery, Loaded, Output, Parcel},
};

const NOTHING: [&str; 0] = [];

/// A member that is away, with what was published to its groups meanwhile.
fn away_with(bench: &mut Bench, filters: &[&str], payloads: &[&str]) {
    let (one, _) = bench.connect("one", &v5(10));
    for filter in filters {
        bench.subscribe(one, filter, QoS::AtLeastOnce);
    }
    bench.disconnect(one);
    publish_all(bench, payloads);
}

fn publish_all(bench: &mut Bench, payloads: &[&str]) {
    let (publisher, _) = bench.connect("p", &Setup::default());
    for (id, payload) in (1..).zip(payloads) {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, payload);
    }
    assert_eq!(bench.told(publisher).len(), payloads.len(), "all are acknowledged");
}

fn publish_exactly_once(bench: &mut Bench, payload: &str) {
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, payload);
    bench.ack(publisher, AckKind::Pubrel, 1);
}

fn member(bench: &mut Bench, client_id: &str, filter: &str) -> Client {
    let (client, _) = bench.connect(client_id, &persistent());
    bench.subscribe(client, filter, QoS::ExactlyOnce);
    client
}

/// Connects a member again; the answer is what it is sent behind CONNACK.
fn back(bench: &mut Bench, client_id: &str) -> (Client, Vec<String>) {
    let client = bench.open(client_id, &persistent());
    let mut told = bench.told(client);
    assert_eq!(told.remove(0), "connack present");
    (client, told)
}

/// Subscribes; the answer is what comes with SUBACK.
fn join(bench: &mut Bench, client: Client, filter: &str) -> Vec<String> {
    bench.ask(client, filter, QoS::ExactlyOnce);
    let mut told = bench.told(client);
    told.retain(|packet| packet != "suback 2");
    told
}

/// The windows that the shard asks for, from a cold store that has all that the journal tells of groups.
fn answer_loads(bench: &mut Bench, at_once: usize) {
    loop {
        let asked = bench.outputs().into_iter().find_map(|output| match output {
            Output::Load { session, after, .. } => Some((session, after)),
            Output::Close { .. }
            | Output::ToShard { .. }
            | Output::HandOver { .. }
            | Output::LoadRetained { .. }
            | Output::Ask { .. }
            | Output::Event(_) => None,
        });
        let Some((session, after)) = asked else { return };
        let stored: Vec<Delivery> =
            bench.replay().groups.remove(&session).into_iter().flat_map(|group| group.queue.into_values()).collect();
        let behind = || stored.iter().filter(|delivery| delivery.id > after);
        let (entries, last) = (behind().take(at_once).cloned().collect(), behind().count() <= at_once);
        bench.act(|shard, cx| shard.loaded(cx, Loaded { session, entries, last }));
    }
}

#[test]
fn what_waits_goes_to_whoever_comes_first_and_to_nobody_else() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);

    let (two, _) = bench.connect("two", &persistent());
    assert_eq!(join(&mut bench, two, "$share/g/t"), ["publish q1 id1 t a", "publish q1 id2 t b"]);

    let one = bench.open("one", &v5(10));
    assert_eq!(bench.told(one), ["connack present"]);
}

#[test]
fn what_waits_in_the_cold_store_goes_to_whoever_comes_first() {
    let mut bench = Bench::with(Config { cold_window: 2, hot_messages: 0, ..Config::default() });
    away_with(&mut bench, &["$share/g/t"], &["a", "b", "c"]);
    let stored = bench.commons.clock().latest();
    bench.act(|shard, _| shard.stored(stored));
    let in_memory = bench.shard.snapshot().groups.into_values().map(|(in_memory, _)| in_memory.len());
    assert_eq!(in_memory.sum::<usize>(), 1, "the one with which the queue began");

    let (two, _) = bench.connect("two", &persistent());
    bench.ask(two, "$share/g/t", QoS::ExactlyOnce);
    answer_loads(&mut bench, 2);

    assert_eq!(bench.told(two), ["suback 2", "publish q1 id1 t a", "publish q1 id2 t b", "publish q1 id3 t c"]);
    for id in 1..=3 {
        bench.ack(two, AckKind::Puback, id);
    }
    assert!(bench.replay().groups.is_empty(), "and nothing is left");
}

#[test]
fn a_message_of_a_group_has_the_retain_flag_that_its_member_wants() {
    for (wants, expected) in [(false, "publish q1 id1 t x"), (true, "publish retain q1 id1 t x")] {
        let mut bench = Bench::new();
        let (one, _) = bench.connect("one", &v5(10));
        bench.subscribe_as_published(one, "$share/g/t", QoS::AtLeastOnce);
        bench.disconnect(one);
        let (publisher, _) = bench.connect("p", &Setup::default());
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message("t", QoS::AtLeastOnce, 1, "x") }));
        let (two, _) = bench.connect("two", &v5(100));
        if wants {
            bench.ask_as_published(two, "$share/g/t", QoS::AtLeastOnce);
        } else {
            bench.ask(two, "$share/g/t", QoS::AtLeastOnce);
        }

        assert_eq!(bench.told(two), ["suback 1", expected]);
    }
}

#[test]
fn what_waited_when_the_broker_died_goes_to_whoever_comes_first() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);

    bench.crash();

    let (two, _) = bench.connect("two", &persistent());
    assert_eq!(join(&mut bench, two, "$share/g/t"), ["publish q1 id1 t a", "publish q1 id2 t b"]);
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another_at_once() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    let two = member(&mut bench, "two", "$share/g/t");
    publish_all(&mut bench, &["a", "b"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t a"]);
    assert_eq!(bench.told(two), ["publish q1 id1 t b"]);

    bench.cut_off(one);

    assert_eq!(bench.told(two), ["publish q1 id2 t a"]);
    let (_, told) = back(&mut bench, "one");
    assert_eq!(told, NOTHING);
    bench.ack(two, AckKind::Puback, 1);
    bench.ack(two, AckKind::Puback, 2);
    assert!(bench.replay().groups.is_empty());
}

#[test]
fn a_member_that_nobody_could_stand_in_for_is_sent_the_same_again() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    publish_all(&mut bench, &["a"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t a"]);

    bench.cut_off(one);
    let (one, told) = back(&mut bench, "one");

    assert_eq!(told, ["publish dup q1 id1 t a"], "[MQTT-4.4.0-1]");
    bench.ack(one, AckKind::Puback, 1);
    assert!(bench.replay().groups.is_empty());
}

#[test]
fn what_a_member_holds_goes_to_who_comes_before_it() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    let two = member(&mut bench, "two", "$share/g/t");
    bench.disconnect(two);
    publish_all(&mut bench, &["a"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t a"]);
    bench.cut_off(one);

    let (_, told) = back(&mut bench, "two");

    assert_eq!(told, ["publish q1 id1 t a"]);
    assert_eq!(back(&mut bench, "one").1, NOTHING);
}

#[test]
fn a_slow_member_holds_nothing_up() {
    let mut bench = Bench::with(Config { inflight: 2, ..Config::default() });
    let slow = member(&mut bench, "slow", "$share/g/t");
    let fast = member(&mut bench, "fast", "$share/g/t");
    publish_all(&mut bench, &["1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!(bench.told(slow).len(), 2);

    let mut taken = 0;
    loop {
        let told = bench.told(fast);
        if told.is_empty() {
            break;
        }
        taken += told.len();
        for packet in told {
            bench.ack(fast, AckKind::Puback, id_of(&packet));
        }
    }

    assert_eq!(taken, 6);
    assert_eq!(bench.told(slow), NOTHING);
}

#[test]
fn at_qos_2_only_what_was_sent_stays_with_its_member() {
    let mut bench = Bench::with(Config { inflight: 1, ..Config::default() });
    let one = member(&mut bench, "one", "$share/g/t");
    publish_exactly_once(&mut bench, "sent");
    publish_exactly_once(&mut bench, "waits");
    assert_eq!(bench.told(one), ["publish q2 id1 t sent"]);
    bench.cut_off(one);

    let (two, _) = bench.connect("two", &persistent());
    assert_eq!(join(&mut bench, two, "$share/g/t"), ["publish q2 id1 t waits"]);

    let (_, told) = back(&mut bench, "one");
    assert_eq!(told, ["publish dup q2 id1 t sent"], "[MQTT-4.8.2-4]");
}

#[test]
fn a_qos_2_message_that_was_sent_ends_with_its_members_session() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/g/t", QoS::ExactlyOnce);
    publish_exactly_once(&mut bench, "x");
    assert_eq!(bench.told(one), ["publish q2 id1 t x"]);
    let two = member(&mut bench, "two", "$share/g/t");
    bench.cut_off(one);

    bench.pass(10_000);

    assert_eq!(bench.told(two), NOTHING, "[MQTT-4.8.2-5]");
    assert!(bench.replay().groups.is_empty());
}

#[test]
fn what_waits_for_a_group_without_members_is_dropped() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);

    bench.pass(10_000);

    assert!(bench.replay().groups.is_empty());
    let (two, _) = bench.connect("two", &persistent());
    assert_eq!(join(&mut bench, two, "$share/g/t"), NOTHING);
}

#[test]
fn publishers_to_a_group_without_lasting_members_wait_for_room() {
    let mut bench = Bench::with(Config { inflight: 1, ephemeral_queue_max: 2, ..Config::default() });
    let (one, _) = bench.connect("one", &Setup::default());
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=5 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert!(bench.told(publisher).len() < 5);

    for _ in 0..5 {
        let told = bench.told(one);
        assert_eq!(told.len(), 1);
        bench.ack(one, AckKind::Puback, id_of(&told[0]));
    }

    bench.pass(1_000);
    assert!(!bench.told(publisher).is_empty());
    assert_eq!(bench.told(one), NOTHING);
}

#[test]
fn members_that_take_nothing_from_a_full_queue_are_sent_away() {
    let config = Config { inflight: 1, ephemeral_queue_max: 2, slow_consumer_timeout_ms: 1_000, ..Config::default() };
    let mut bench = Bench::with(config);
    let (one, _) = bench.connect("one", &v5(0));
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=5 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert_eq!(bench.told(one).len(), 1);

    bench.pass(999);
    assert_eq!(bench.told(one), NOTHING);
    bench.pass(1);

    assert_eq!(bench.told(one), ["disconnect 0x97"]);
}

#[test]
fn a_letter_of_another_shard_comes_to_the_queue_and_survives_a_crash_on_its_way() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let two = member(&mut bench, "two", "$share/g/t");
    let target = bench.group_target("t");
    bench.disconnect(one);
    bench.pass(10_000);
    let message = Arc::new(Message::new("t".into(), QoS::AtLeastOnce, false, None, &[], b"x"));
    let id = MessageId(1 << 30);
    bench.record_elsewhere(id, &message, &target);

    let mut dies = bench.clone_journal();
    dies.crash();
    assert_eq!(back(&mut dies, "two").1, ["publish q1 id1 t x"], "where the broker dies before the letter comes");

    bench.act(|shard, cx| shard.parcel(cx, Parcel::Deliver { id, message, targets: alloc::vec![target] }));
    assert_eq!(bench.told(two), ["publish q1 id1 t x"], "where it comes");
    bench.ack(two, AckKind::Puback, 1);
    for state in [bench.replay(), bench.replay_with_elsewhere_last()] {
        assert!(state.groups.is_empty(), "in whatever order the two shards' records stand");
    }
}

#[test]
fn what_a_member_without_a_lasting_session_has_goes_to_another_when_the_broker_dies() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &Setup::default());
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let two = member(&mut bench, "two", "$share/g/t");
    bench.disconnect(two);
    publish_all(&mut bench, &["a", "b"]);
    bench.ack(one, AckKind::Puback, 1);
    assert_eq!(bench.told(one), ["publish q1 id1 t a", "publish q1 id2 t b"]);

    bench.crash();

    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present", "publish q1 id1 t b"], "but not what was acknowledged");
}

#[test]
fn a_qos_2_message_once_sent_is_nobody_elses_also_after_a_crash() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &Setup::default());
    bench.subscribe(one, "$share/g/t", QoS::ExactlyOnce);
    let two = member(&mut bench, "two", "$share/g/t");
    bench.disconnect(two);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "x");
    bench.syncs = false;
    bench.ack(publisher, AckKind::Pubrel, 1);
    assert!(bench.sync_once(), "the publication");
    assert_eq!(bench.told(one), NOTHING, "it does not leave before the journal knows whose it is");

    bench.sync();
    assert_eq!(bench.told(one), ["publish q2 id1 t x"]);
    bench.crash();

    let two = bench.open("two", &persistent());
    bench.sync();
    assert_eq!(bench.told(two), ["connack present"]);
}

#[test]
fn a_client_gets_a_copy_for_each_of_its_groups_and_one_for_itself() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    bench.subscribe(one, "$share/h/+", QoS::ExactlyOnce);
    bench.subscribe(one, "t", QoS::ExactlyOnce);

    publish_exactly_once(&mut bench, "x");

    let told = bench.told(one);
    assert_eq!(told, ["publish q2 id1 t x", "publish q2 id2 t x", "publish q2 id3 t x"], "[MQTT-3.3.4-3]");
    bench.ack(one, AckKind::Pubrec, 2);
    bench.cut_off(one);
    bench.crash();

    let (one, told) = back(&mut bench, "one");
    assert_eq!(told, ["publish dup q2 id1 t x", "pubrel 2", "publish dup q2 id3 t x"], "each is an exchange of its own");
    for id in [1, 3] {
        bench.ack(one, AckKind::Pubrec, id);
    }
    assert!(bench.replay().sessions.values().all(|session| session.queue.is_empty()));
}

#[test]
fn a_message_that_came_by_two_groups_goes_back_to_both() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    bench.subscribe(one, "$share/h/+", QoS::AtLeastOnce);
    publish_all(&mut bench, &["x"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t x", "publish q1 id2 t x"]);
    let of_g = member(&mut bench, "two", "$share/g/t");
    let of_h = member(&mut bench, "three", "$share/h/+");

    bench.cut_off(one);

    assert_eq!(bench.told(of_g), ["publish q1 id1 t x"]);
    assert_eq!(bench.told(of_h), ["publish q1 id1 t x"]);
    bench.ack(of_g, AckKind::Puback, 1);
    bench.crash();
    assert_eq!(back(&mut bench, "three").1, ["publish q1 id1 t x"], "which is the only one that is left");
    assert_eq!(back(&mut bench, "two").1, NOTHING);
}

#[test]
fn what_a_member_has_by_a_subscription_of_its_own_stays_with_it() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    bench.subscribe(one, "t", QoS::AtLeastOnce);
    publish_all(&mut bench, &["x"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t x", "publish q1 id2 t x"]);
    let two = member(&mut bench, "two", "$share/g/t");

    bench.cut_off(one);

    assert_eq!(bench.told(two), ["publish q1 id1 t x"]);
    assert_eq!(back(&mut bench, "one").1, ["publish dup q1 id1 t x"]);
}

#[test]
fn what_comes_back_goes_out_in_its_order() {
    let mut bench = Bench::with(Config { inflight: 2, ..Config::default() });
    let one = member(&mut bench, "one", "$share/g/t");
    publish_all(&mut bench, &["a", "b", "c", "d"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t a", "publish q1 id2 t b"]);
    bench.cut_off(one);

    let (two, _) = bench.connect("two", &persistent());
    assert_eq!(join(&mut bench, two, "$share/g/t"), ["publish q1 id1 t a", "publish q1 id2 t b"]);
    bench.ack(two, AckKind::Puback, 1);
    bench.ack(two, AckKind::Puback, 2);
    assert_eq!(bench.told(two), ["publish q1 id3 t c", "publish q1 id4 t d"]);
}

#[test]
fn what_is_refused_is_sent_to_nobody_else() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    publish_all(&mut bench, &["a"]);
    assert_eq!(bench.told(one), ["publish q1 id1 t a"]);
    let two = member(&mut bench, "two", "$share/g/t");

    bench.say(one, &Packet::Ack(Ack::new(AckKind::Puback, pid(1), ReasonCode::UNSPECIFIED_ERROR)));
    bench.cut_off(one);
    bench.pass(10_000);

    assert_eq!(bench.told(two), NOTHING, "[MQTT-4.8.2-6]");
    assert!(bench.replay().groups.is_empty());
}

#[test]
fn what_only_a_member_at_qos_0_can_have_waits_until_it_is_there() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);
    let (two, _) = bench.connect("two", &persistent());
    bench.disconnect(two);
    bench.crash();
    let one = bench.open("one", &v5(10));
    assert_eq!(bench.told(one), ["connack present", "publish q1 id1 t a", "publish q1 id2 t b"]);
    let two = bench.open("two", &persistent());
    bench.ask(two, "$share/g/t", QoS::AtMostOnce);
    assert_eq!(bench.told(two), ["connack present", "suback 0"]);
    bench.disconnect(two);
    bench.cut_off(one);
    bench.pass(10_000);
    bench.crash();

    assert_eq!(back(&mut bench, "two").1, ["publish q0 id0 t a", "publish q0 id0 t b"]);
    bench.crash();
    assert_eq!(back(&mut bench, "two").1, NOTHING, "at most once");
}

#[test]
fn what_goes_to_a_member_at_qos_0_leaves_when_the_journal_knows_it() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a"]);
    let (two, _) = bench.connect("two", &persistent());
    bench.syncs = false;

    bench.ask(two, "$share/g/t", QoS::AtMostOnce);
    assert_eq!(bench.told(two), NOTHING, "a crash now would give it away again");

    bench.sync();
    assert_eq!(bench.told(two), ["suback 0", "publish q0 id0 t a"]);
}

#[test]
fn what_comes_for_a_group_whose_members_take_qos_0_only_does_not_wait() {
    let mut bench = Bench::new();
    let (zero, _) = bench.connect("a", &persistent());
    bench.subscribe(zero, "$share/g/t", QoS::AtMostOnce);
    publish_all(&mut bench, &["a"]);
    assert_eq!(bench.told(zero), ["publish q0 id0 t a"]);
    bench.disconnect(zero);

    publish_all(&mut bench, &["b"]);

    assert_eq!(back(&mut bench, "a").1, NOTHING);
}

#[test]
fn the_queue_of_a_group_keeps_the_limit_of_a_session() {
    let full = |queue_full| {
        let mut bench = Bench::with(Config { queue_messages_max: 2, queue_full, ..Config::default() });
        let one = member(&mut bench, "one", "$share/g/t");
        bench.disconnect(one);
        let (publisher, _) = bench.connect("p", &v5(0));
        for (id, payload) in (1..).zip(["a", "b", "c"]) {
            bench.publish(publisher, "t", QoS::AtLeastOnce, id, payload);
        }
        let answers = bench.told(publisher);
        bench.crash();
        (answers.last().cloned().unwrap_or_default(), back(&mut bench, "one").1)
    };

    assert_eq!(
        full(QueueFull::Reject),
        ("puback 3 0x97".into(), alloc::vec!["publish q1 id1 t a".into(), "publish q1 id2 t b".into()])
    );
    assert_eq!(full(QueueFull::DropNewest).1, ["publish q1 id1 t a", "publish q1 id2 t b"]);
    for oldest in [QueueFull::DropOldest, QueueFull::Disconnect] {
        assert_eq!(full(oldest).1, ["publish q1 id1 t b", "publish q1 id2 t c"], "there is nobody to send away");
    }
}

#[test]
fn what_the_queue_of_a_group_drops_goes_to_the_dead_letters() {
    let dead_letter_topic = Some("dead".into());
    let config = Config { queue_messages_max: 1, queue_full: QueueFull::DropOldest, dead_letter_topic, ..Config::default() };
    let mut bench = Bench::with(config);
    let one = member(&mut bench, "one", "$share/g/t");
    bench.disconnect(one);
    let (reader, _) = bench.connect("reader", &Setup::default());
    bench.subscribe(reader, "dead/#", QoS::AtLeastOnce);

    publish_all(&mut bench, &["a", "b"]);

    assert_eq!(bench.told(reader), ["publish q1 id1 dead/t a"]);
}

#[test]
fn nothing_that_is_recorded_leaves_a_group_once_the_journal_is_lost() {
    let mut bench = Bench::new();
    let one = member(&mut bench, "one", "$share/g/t");
    bench.disconnect(one);
    publish_exactly_once(&mut bench, "x");
    bench.act(Shard::journal_failed);

    let (two, _) = bench.connect("two", &Setup::default());
    bench.subscribe(two, "$share/g/t", QoS::ExactlyOnce);
    assert_eq!(bench.told(two), NOTHING);

    bench.crash();
    assert_eq!(back(&mut bench, "one").1, ["publish q2 id1 t x"], "the next start finds it where it stood");
}
