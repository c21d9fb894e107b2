//! What is only in the cold store: queues and retained messages that come back from there, and publishers that wait for it.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use columba_proto::{
    AckKind, QoS,
    packet::{Packet, Publish},
};

use super::bench::{Bench, Setup, message, persistent};
use crate::{
    Config, Room, Shard,
    event::DropReason,
    id::MessageId,
    seam::{Commons as _, Loaded, LoadedRetained, Output},
};

/// The cold store has everything; memory keeps what it must.
fn store(bench: &mut Bench) {
    let up_to = bench.commons.clock().latest();
    bench.commons.write_retained(&mut |retained| assert!(!retained.stored(up_to, 0, usize::MAX)));
    bench.act(|shard, _| shard.stored(up_to));
}

/// Reads what the shard asks for, as the journal tells it, until it asks for no more.
fn read(bench: &mut Bench) {
    loop {
        let outputs = bench.outputs();
        if outputs.is_empty() {
            return;
        }
        let state = bench.replay();
        for output in outputs {
            match output {
                Output::Load { session, after, count } => {
                    let queue = &state.sessions[&session].queue;
                    let mut behind = queue.range(MessageId(after.0 + 1)..).map(|(_, delivery)| delivery.clone());
                    let entries = behind.by_ref().take(usize::from(count)).collect();
                    let last = behind.next().is_none();
                    bench.act(|shard, cx| shard.loaded(cx, Loaded { session, entries, last }));
                }
                Output::LoadRetained { session, topics } => {
                    let find = |topic: &Arc<str>| {
                        let (id, kept) = state.retained.get(topic)?;
                        Some((*id, Arc::clone(kept.message()?)))
                    };
                    let messages = topics.into_iter().map(|topic| (Arc::clone(&topic), find(&topic))).collect();
                    bench.act(|shard, cx| shard.retained_loaded(cx, LoadedRetained { session, messages }));
                }
                Output::Close { .. }
                | Output::ToShard { .. }
                | Output::HandOver { .. }
                | Output::Ask { .. }
                | Output::Event(_) => {
                    panic!("nothing else is expected: {output:?}")
                }
            }
        }
    }
}

fn retain(bench: &mut Bench, client: super::bench::Client, topic: &str, id: u16, payload: &str) {
    bench.say(client, &Packet::Publish(Publish { retain: true, ..message(topic, QoS::AtLeastOnce, id, payload) }));
}

fn topics(told: &[String]) -> Vec<&str> {
    told.iter().filter_map(|it| it.strip_prefix("publish ")?.split(' ').find(|word| word.starts_with("t/"))).collect()
}

#[test]
fn an_absent_client_gets_what_only_the_cold_store_has_in_order() {
    let mut bench = Bench::with(Config { cold_window: 3, inflight: 100, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=20 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, &format!("{id}"));
        if id == 15 {
            store(&mut bench);
            assert_eq!(bench.shard.backlog(), 0);
        }
    }
    let queued = bench.shard.snapshot().sessions.into_values().next().expect("one session is recorded").undelivered.len();
    assert_eq!(queued, 5, "fifteen have gone from memory");
    bench.outputs();

    let subscriber = bench.open("s", &persistent());
    read(&mut bench);

    let told = bench.told(subscriber);
    let expected: Vec<_> = (1..=20).map(|id| format!("publish q1 id{id} t {id}")).collect();
    assert_eq!(told[1..], expected);
}

#[test]
fn a_queue_that_an_administrator_empties_is_empty_also_where_only_the_cold_store_has_it() {
    let mut bench = Bench::with(Config { cold_window: 3, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=20 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, &format!("{id}"));
        if id == 15 {
            store(&mut bench);
        }
    }

    assert_eq!(bench.act(|shard, cx| shard.purge(cx, "s")), Some(20));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 21, "later");
    read(&mut bench);

    assert_eq!(bench.shard.counters().dropped[DropReason::Purged as usize], 20);
    bench.crash();
    let subscriber = bench.open("s", &persistent());
    read(&mut bench);
    assert_eq!(bench.told(subscriber), ["connack present", "publish q1 id1 t later"]);
}

#[test]
fn what_is_in_flight_when_its_client_goes_is_not_read_again() {
    let mut bench = Bench::with(Config { cold_window: 2, inflight: 2, ..Config::default() });
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=6 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, &format!("{id}"));
    }
    assert_eq!(bench.told(subscriber), ["publish q1 id1 t 1", "publish q1 id2 t 2"]);
    bench.ack(subscriber, AckKind::Puback, 1);
    assert_eq!(bench.told(subscriber), ["publish q1 id3 t 3"]);
    bench.cut_off(subscriber);
    store(&mut bench);
    bench.outputs();

    let subscriber = bench.open("s", &persistent());
    read(&mut bench);
    assert_eq!(bench.told(subscriber)[1..], ["publish dup q1 id2 t 2", "publish dup q1 id3 t 3"]);
    for id in 2..=3 {
        bench.ack(subscriber, AckKind::Puback, id);
    }
    read(&mut bench);

    assert_eq!(bench.told(subscriber), ["publish q1 id4 t 4", "publish q1 id5 t 5"]);
}

#[test]
fn retained_messages_that_only_the_cold_store_has_come_in_order() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=9 {
        retain(&mut bench, publisher, &format!("t/{id}"), id, "old");
        if id == 6 {
            store(&mut bench);
        }
    }
    bench.outputs();

    let (subscriber, _) = bench.connect("s", &Setup::default());
    bench.ask(subscriber, "t/#", QoS::AtLeastOnce);
    assert!(bench.shard.out(subscriber.id).is_some_and(|out| !out.is_empty()), "SUBACK does not wait");
    let suback = bench.shard.out(subscriber.id).map(|out| out.pending().len());
    // While they are read, one is replaced: it comes live, and once.
    retain(&mut bench, publisher, "t/3", 10, "new");
    read(&mut bench);

    let told = bench.told(subscriber);
    assert!(suback.is_some_and(|len| len > 0) && told[0].starts_with("suback"), "{told:?}");
    let mut found = topics(&told);
    let live = found.iter().position(|topic| *topic == "t/3").expect("the new version comes");
    found.remove(live);
    assert_eq!(found, ["t/1", "t/2", "t/4", "t/5", "t/6", "t/7", "t/8", "t/9"]);
    assert_eq!(told.iter().filter(|it| it.contains("t/3")).count(), 1);
}

#[test]
fn clients_that_fill_queues_wait_while_memory_is_full_and_nobody_else_does() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (other, _) = bench.connect("o", &Setup::default());
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "x");
    bench.publish(other, "nobody", QoS::AtLeastOnce, 1, "x");
    assert!(bench.shard.backlog() > 0);

    bench.act(|shard, cx| shard.hold_back(cx, true));
    assert!(!bench.shard.wants_reading(publisher.id));
    assert!(bench.shard.wants_reading(other.id));

    // Without room on the disk nothing comes into queues, and it is told so.
    bench.act(|shard, cx| shard.room_is(cx, Room::Scarce));
    assert!(bench.shard.wants_reading(publisher.id));
    bench.act(|shard, cx| shard.room_is(cx, Room::Ample));
    assert!(!bench.shard.wants_reading(publisher.id));

    store(&mut bench);
    bench.act(|shard, cx| shard.hold_back(cx, false));
    assert!(bench.shard.wants_reading(publisher.id));
    bench.act(Shard::tick);
}
