//! Shared subscriptions: what a member leaves behind reaches another one, whatever ends in between (§4.8.2).

use alloc::{string::String, sync::Arc, vec::Vec};

use columba_proto::{
    AckKind, QoS,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5};
use crate::{
    Config,
    id::{MessageId, SessionNo},
    message::Message,
    seam::{Commons as _, Delivery, Loaded, Output, Parcel, ParcelTarget, SubscriptionIds},
};

const NOTHING: [&str; 0] = [];

/// A member that is away, with what was published to its groups meanwhile.
fn away_with(bench: &mut Bench, filters: &[&str], payloads: &[&str]) -> SessionNo {
    let (one, _) = bench.connect("one", &v5(10));
    for filter in filters {
        bench.subscribe(one, filter, QoS::AtLeastOnce);
    }
    bench.disconnect(one);
    publish_all(bench, payloads);
    bench.shard.sessions[bench.shard.by_client["one"] as usize].no
}

fn publish_all(bench: &mut Bench, payloads: &[&str]) {
    let (publisher, _) = bench.connect("p", &Setup::default());
    for (id, payload) in (1..).zip(payloads) {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, payload);
    }
    assert_eq!(bench.told(publisher).len(), payloads.len(), "all are acknowledged");
}

fn member(bench: &mut Bench, client_id: &str, filter: &str) -> Client {
    let (client, _) = bench.connect(client_id, &persistent());
    bench.subscribe(client, filter, QoS::ExactlyOnce);
    client
}

/// The windows that the shard asks for, from a cold store that has all that the journal tells of sessions that ended.
fn answer_loads(bench: &mut Bench, at_once: usize) {
    let mut stored: Vec<Delivery> = bench.replay().ended.into_values().flat_map(|ended| ended.queue.into_values()).collect();
    stored.sort_by_key(|delivery| delivery.id);
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
        let behind = || stored.iter().filter(|delivery| delivery.id > after);
        let (entries, last) = (behind().take(at_once).cloned().collect(), behind().count() <= at_once);
        bench.act(|shard, cx| shard.loaded(cx, Loaded { session, entries, last }));
    }
}

#[test]
fn what_a_member_has_in_the_cold_store_goes_to_another_when_its_session_ends() {
    let mut bench = Bench::with(Config { cold_window: 2, ..Config::default() });
    away_with(&mut bench, &["$share/g/t"], &["a", "b", "c"]);
    let stored = bench.commons.clock().latest();
    bench.act(|shard, _| shard.stored(stored));
    let two = member(&mut bench, "two", "$share/g/t");

    bench.pass(10_000);
    assert_eq!(bench.shard.sessions(), 1 + 1, "the session has ended: what is left are the publisher and the other member");
    answer_loads(&mut bench, 2);

    assert_eq!(bench.told(two), ["publish q1 id1 t a", "publish q1 id2 t b", "publish q1 id3 t c"]);
    assert!(bench.replay().ended.is_empty(), "and nothing is left to be passed on");
}

#[test]
fn what_is_passed_on_has_the_retain_flag_that_its_new_member_wants() {
    for (wants, expected) in [(false, "publish q1 id1 t x"), (true, "publish retain q1 id1 t x")] {
        let mut bench = Bench::new();
        let (one, _) = bench.connect("one", &v5(10));
        bench.subscribe_as_published(one, "$share/g/t", QoS::AtLeastOnce);
        bench.disconnect(one);
        let (publisher, _) = bench.connect("p", &Setup::default());
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message("t", QoS::AtLeastOnce, 1, "x") }));
        let (two, _) = bench.connect("two", &v5(100));
        if wants {
            bench.subscribe_as_published(two, "$share/g/t", QoS::AtLeastOnce);
        } else {
            bench.subscribe(two, "$share/g/t", QoS::AtLeastOnce);
        }

        bench.pass(10_000);
        assert_eq!(bench.told(two), [expected]);
    }
}

#[test]
fn what_was_still_in_the_cold_store_when_the_broker_died_goes_to_another_after_the_start() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);
    let stored = bench.commons.clock().latest();
    bench.act(|shard, _| shard.stored(stored));
    let two = member(&mut bench, "two", "$share/g/t");
    bench.disconnect(two);
    bench.pass(10_000);

    bench.crash();

    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present", "publish q1 id1 t a", "publish q1 id2 t b"]);
}

#[test]
fn a_message_on_its_way_to_a_member_that_ends_survives_a_crash() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    let two = member(&mut bench, "two", "$share/g/t");
    let slot = bench.shard.by_client["one"];
    let target = ParcelTarget {
        session: bench.shard.sessions[slot as usize].reference(slot),
        qos: QoS::AtLeastOnce,
        retain: false,
        claim: bench.claim("t"),
        ids: SubscriptionIds::default(),
    };
    bench.disconnect(one);
    bench.pass(10_000);
    // Another shard has recorded it for this member; its letter comes behind the end of the session.
    let message = Arc::new(Message::new("t".into(), QoS::AtLeastOnce, false, None, &[], b"x"));
    let id = MessageId(1 << 30);
    bench.record_elsewhere(id, &message, &target);

    let mut dies = bench.clone_journal();
    dies.crash();
    let two_after = dies.open("two", &persistent());
    assert_eq!(dies.told(two_after), ["connack present", "publish q1 id1 t x"], "where the broker dies before the letter comes");

    bench.act(|shard, cx| shard.parcel(cx, Parcel::Deliver { id, message, targets: alloc::vec![target] }));
    assert_eq!(bench.told(two), ["publish q1 id1 t x"], "where it comes");
    bench.crash();
    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present", "publish dup q1 id1 t x"], "once, for it was moved");
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

/// Inherits by one group what another shard has sent on its way to it by another one: the letter comes later.
fn inherited_before_its_letter() -> (Bench, Client, Parcel) {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/h/t", QoS::ExactlyOnce);
    let two = member(&mut bench, "two", "$share/g/t");
    bench.subscribe(two, "$share/h/t", QoS::ExactlyOnce);
    let message = Arc::new(Message::new("t".into(), QoS::ExactlyOnce, false, None, &[], b"x"));
    let id = MessageId(1 << 30);
    let mut letter_for = |client_id: &str, group: usize| {
        let slot = bench.shard.by_client[client_id];
        let session = bench.shard.sessions[slot as usize].reference(slot);
        let claim = bench.commons.index_mut().route("t".into()).groups[group].claim.clone();
        let ids = SubscriptionIds::default();
        let target = ParcelTarget { session, qos: QoS::ExactlyOnce, retain: false, claim, ids };
        bench.record_elsewhere(id, &message, &target);
        Parcel::Deliver { id, message: Arc::clone(&message), targets: alloc::vec![target] }
    };
    let (of_h, of_g) = (letter_for("one", 1), letter_for("two", 0));
    bench.disconnect(one);
    bench.pass(10_000);
    bench.act(|shard, cx| shard.parcel(cx, of_h));
    assert_eq!(bench.told(two), ["publish q2 id1 t x"], "what was on its way to a session that has ended");
    (bench, two, of_g)
}

#[test]
fn what_was_inherited_and_comes_by_another_group_is_in_flight_once() {
    let (mut bench, two, letter) = inherited_before_its_letter();

    bench.act(|shard, cx| shard.parcel(cx, letter));
    assert_eq!(bench.told(two), NOTHING, "the same message under two identifiers");

    bench.ack(two, AckKind::Pubrec, 1);
    assert_eq!(bench.told(two), ["pubrel 1"]);
    assert!(bench.replay().sessions.values().all(|session| session.queue.is_empty()), "one answer ends both");
}

#[test]
fn what_was_inherited_and_had_does_not_come_again_by_another_group() {
    let (mut bench, two, letter) = inherited_before_its_letter();
    bench.ack(two, AckKind::Pubrec, 1);
    bench.ack(two, AckKind::Pubcomp, 1);
    assert_eq!(bench.told(two), ["pubrel 1"]);

    bench.act(|shard, cx| shard.parcel(cx, letter));

    assert_eq!(bench.told(two), NOTHING);
    for state in [bench.replay(), bench.replay_with_elsewhere_last()] {
        assert!(state.sessions.values().all(|session| session.queue.is_empty() && session.in_flight.iter().next().is_none()));
    }
}

#[test]
fn what_only_a_member_at_qos_0_can_inherit_waits_until_it_is_there() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a", "b"]);
    let (two, _) = bench.connect("two", &persistent());
    bench.subscribe(two, "$share/g/t", QoS::AtMostOnce);
    bench.disconnect(two);

    bench.pass(10_000);
    assert!(bench.replay().ended.is_empty(), "it has been passed on");
    bench.crash();

    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present", "publish q0 id0 t a", "publish q0 id0 t b"]);
    bench.crash();
    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present"], "at most once");
}

#[test]
fn what_is_passed_on_at_qos_0_leaves_when_the_journal_knows_it() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t"], &["a"]);
    let (two, _) = bench.connect("two", &persistent());
    bench.subscribe(two, "$share/g/t", QoS::AtMostOnce);
    bench.syncs = false;

    bench.pass(10_000);
    assert_eq!(bench.told(two), NOTHING, "a crash now would give it away again");

    bench.sync();
    assert_eq!(bench.told(two), ["publish q0 id0 t a"]);
}

#[test]
fn a_member_that_is_away_at_qos_0_is_not_chosen() {
    let mut bench = Bench::new();
    let (zero, _) = bench.connect("a", &persistent());
    bench.subscribe(zero, "$share/g/t", QoS::AtMostOnce);
    bench.disconnect(zero);
    let one = member(&mut bench, "one", "$share/g/t");
    bench.disconnect(one);

    publish_all(&mut bench, &["a", "b"]);

    let one = bench.open("one", &persistent());
    assert_eq!(bench.told(one), ["connack present", "publish q1 id1 t a", "publish q1 id2 t b"]);
}

#[test]
fn a_message_that_came_by_two_groups_is_passed_on_by_both() {
    let mut bench = Bench::new();
    away_with(&mut bench, &["$share/g/t", "$share/h/+"], &["x"]);
    let of_g = member(&mut bench, "two", "$share/g/t");
    let of_h = member(&mut bench, "three", "$share/h/+");

    bench.pass(10_000);

    assert_eq!(bench.told(of_g), ["publish q1 id1 t x"]);
    assert_eq!(bench.told(of_h), ["publish q1 id1 t x"]);
    bench.crash();
    let of_h = bench.open("three", &persistent());
    assert_eq!(bench.told(of_h), ["connack present", "publish dup q1 id1 t x"]);
}

#[test]
fn a_message_passed_on_to_who_has_it_already_joins_its_own_copy() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &v5(10));
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    bench.disconnect(one);
    let two = member(&mut bench, "two", "t");
    bench.disconnect(two);
    let (publisher, _) = bench.connect("p", &Setup::default());
    bench.publish(publisher, "t", QoS::ExactlyOnce, 1, "x");
    bench.ack(publisher, AckKind::Pubrel, 1);
    let two = bench.open("two", &persistent());
    let told: Vec<String> = bench.told(two);
    assert_eq!(told, ["connack present", "publish q2 id1 t x"]);
    bench.subscribe(two, "$share/g/t", QoS::AtLeastOnce);

    bench.pass(10_000);

    assert_eq!(bench.told(two), NOTHING);
    bench.crash();
    let two = bench.open("two", &persistent());
    assert_eq!(bench.told(two), ["connack present", "publish dup q2 id1 t x"], "at its own QoS");
    bench.ack(two, AckKind::Pubrec, 1);
    assert!(bench.replay().sessions.values().all(|session| session.queue.is_empty()), "one answer ends both");
}
