//! Wills and timers survive a crash: who was connected gets time to come back, and time that passes while the broker is down counts.

use alloc::{format, vec::Vec};

use columba_proto::{
    QoS, ReasonCode,
    packet::{Disconnect, Packet, Publish, PublishProperties, Will},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5, will};
use crate::Config;

const NOTHING: Vec<&str> = Vec::new();
const GRACE_MS: u64 = 5_000;

/// Clients of every kind that can leave a will behind: name, and what they connect with.
fn willing() -> [(&'static str, Setup<'static>); 4] {
    [
        ("3.1.1, clean", Setup { will: Some(will("will", 0)), ..Setup::default() }),
        ("3.1.1, lasting", Setup { will: Some(will("will", 0)), ..persistent() }),
        ("5.0, ends with its connection", Setup { will: Some(will("will", 0)), ..v5(0) }),
        ("5.0, lasting", Setup { will: Some(will("will", 0)), ..v5(100) }),
    ]
}

/// Somebody who hears wills, also after a crash.
fn watch(bench: &mut Bench) {
    let (watcher, _) = bench.connect("watcher", &persistent());
    bench.subscribe(watcher, "will", QoS::AtLeastOnce);
}

fn watcher(bench: &mut Bench) -> Client {
    let (watcher, present) = bench.connect("watcher", &persistent());
    assert!(present);
    watcher
}

#[test]
fn the_will_of_a_client_that_was_connected_comes_after_the_grace_and_once() {
    for (name, setup) in willing() {
        let mut bench = Bench::new();
        watch(&mut bench);
        bench.connect("c", &setup);

        bench.crash_for(60_000);
        bench.pass(GRACE_MS - 1);
        let heard = watcher(&mut bench);
        assert_eq!(bench.told(heard), NOTHING, "{name}");
        bench.pass(1);
        assert_eq!(bench.told(heard), ["publish q1 id1 will gone"], "{name}");

        // Published is forgotten, also for the next start.
        bench.crash();
        bench.pass(10 * GRACE_MS);
        let again = bench.open("watcher", &persistent());
        assert_eq!(bench.told(again), ["connack present", "publish dup q1 id1 will gone"], "{name}");
    }
}

#[test]
fn a_client_that_is_back_within_the_grace_has_left_no_will() {
    for (name, setup) in willing() {
        for clean in [false, true] {
            let mut bench = Bench::new();
            watch(&mut bench);
            bench.connect("c", &setup);
            bench.crash_for(60_000);
            bench.pass(GRACE_MS - 1);

            let (client, _) = bench.connect("c", &Setup { will: None, clean, ..setup });
            bench.disconnect(client);
            let heard = watcher(&mut bench);
            bench.pass(10 * GRACE_MS);
            bench.crash();
            bench.pass(10 * GRACE_MS);

            let again = bench.open("watcher", &persistent());
            assert_eq!(bench.told(again), ["connack present"], "{name}, clean: {clean}");
            assert_eq!(bench.told(heard), NOTHING);
        }
    }
}

#[test]
fn connack_of_a_client_that_is_back_waits_until_its_will_is_gone() {
    for (name, setup) in willing() {
        let mut bench = Bench::new();
        bench.connect("c", &setup);
        bench.crash();
        bench.syncs = false;

        let client = bench.open("c", &Setup { will: None, ..setup });
        assert_eq!(bench.told(client), NOTHING, "{name}");
        bench.sync();

        assert_eq!(bench.told(client).len(), 1, "{name}");
    }
}

#[test]
fn a_crash_within_the_grace_gives_the_whole_grace_again() {
    for (name, setup) in willing() {
        let mut bench = Bench::new();
        watch(&mut bench);
        bench.connect("c", &setup);
        for _ in 0..3 {
            bench.crash();
            bench.pass(GRACE_MS - 1);
        }
        let heard = watcher(&mut bench);
        assert_eq!(bench.told(heard), NOTHING, "{name}");
        bench.pass(1);
        assert_eq!(bench.told(heard), ["publish q1 id1 will gone"], "{name}");
    }
}

#[test]
fn a_will_with_a_delay_of_a_connected_client_counts_from_the_recovery() {
    for (delay, due) in [(2, GRACE_MS), (60, 60_000)] {
        let mut bench = Bench::new();
        watch(&mut bench);
        bench.connect("c", &Setup { will: Some(will("will", delay)), ..v5(100) });

        bench.crash_for(600_000);
        bench.pass(due - 1);
        let heard = watcher(&mut bench);
        assert_eq!(bench.told(heard), NOTHING, "delay {delay}");
        bench.pass(1);
        assert_eq!(bench.told(heard), ["publish q1 id1 will gone"], "delay {delay}");
    }
}

#[test]
fn a_will_delay_that_had_begun_counts_the_time_without_a_broker() {
    // Due 20 s after the loss; the broker is back 10 s or 30 s after it.
    for (down_ms, left_ms) in [(10_000, 10_000), (30_000, 0)] {
        let mut bench = Bench::new();
        watch(&mut bench);
        let (client, _) = bench.connect("c", &Setup { will: Some(will("will", 20)), ..v5(100) });
        bench.cut_off(client);

        bench.crash_for(down_ms);
        let heard = watcher(&mut bench);
        if left_ms > 0 {
            bench.pass(left_ms - 1);
            assert_eq!(bench.told(heard), NOTHING);
        }
        bench.pass(1);
        assert_eq!(bench.told(heard), ["publish q1 id1 will gone"], "it was not connected, so it has no grace");
    }
}

#[test]
fn a_session_expiry_that_had_begun_counts_the_time_without_a_broker() {
    for (down_ms, present) in [(9_999, true), (10_000, false)] {
        for ticks in [true, false] {
            let mut bench = Bench::new();
            let (client, _) = bench.connect("c", &v5(10));
            bench.disconnect(client);

            bench.crash_for(down_ms);
            if ticks {
                bench.pass(0);
            }

            assert_eq!(bench.connect("c", &v5(10)).1, present, "down {down_ms} ms, looked at the timers: {ticks}");
        }
    }
}

#[test]
fn the_expiry_of_a_connected_session_counts_from_the_first_recovery_and_not_from_the_last() {
    let mut bench = Bench::new();
    bench.connect("c", &v5(20));
    bench.crash_for(600_000);
    bench.pass(GRACE_MS);

    // A broker that starts every few seconds must not keep a session for ever.
    for _ in 0..2 {
        bench.crash_for(5_000);
        bench.pass(1);
    }
    assert_eq!(bench.shard.sessions(), 1);
    bench.crash_for(5_000);
    bench.pass(0);

    assert_eq!(bench.shard.sessions(), 0);
}

#[test]
fn a_session_shorter_than_the_grace_waits_for_its_client_all_the_same() {
    for expiry in [0, 1] {
        let mut bench = Bench::new();
        let (client, _) = bench.connect("c", &v5(100));
        bench.subscribe(client, "t", QoS::AtLeastOnce);
        bench.disconnect(client);
        bench.connect("c", &v5(expiry));
        bench.crash();
        bench.pass(GRACE_MS - 1);
        assert_eq!(bench.shard.sessions(), 1);

        if expiry == 0 {
            bench.pass(1);
            assert_eq!(bench.shard.sessions(), 0, "it ended with its connection");
        } else {
            assert!(bench.connect("c", &v5(expiry)).1);
        }
    }
}

#[test]
fn many_wills_and_sessions_are_looked_at_in_several_goes() {
    let mut bench = Bench::new();
    watch(&mut bench);
    for number in 0..3_000 {
        let setup = if number % 2 == 0 { Setup::default() } else { persistent() };
        bench.connect(&format!("c{number}"), &Setup { will: Some(Will { qos: QoS::AtMostOnce, ..will("other", 0) }), ..setup });
    }
    bench.crash();
    let (heard, _) = bench.connect("other", &Setup::default());
    bench.subscribe(heard, "other", QoS::AtMostOnce);

    let mut wills = 0;
    bench.pass(GRACE_MS);
    for _ in 0..10 {
        wills += bench.told(heard).len();
        bench.pass(1);
    }

    assert_eq!(wills, 3_000);
}

#[test]
fn a_will_that_disconnect_removed_or_kept_is_the_same_after_a_crash() {
    for (reason, heard) in [(ReasonCode::NORMAL_DISCONNECTION, 0), (ReasonCode::DISCONNECT_WITH_WILL_MESSAGE, 1)] {
        for expiry in [0, 100] {
            let mut bench = Bench::new();
            watch(&mut bench);
            let (client, _) = bench.connect("c", &Setup { will: Some(will("will", 0)), ..v5(expiry) });
            bench.say(client, &Packet::Disconnect(Disconnect::new(reason)));
            bench.crash();
            bench.pass(10 * GRACE_MS);

            let again = bench.open("watcher", &persistent());
            assert_eq!(bench.told(again).len(), 1 + heard, "{reason:?} expiry {expiry}");
        }
    }
}

#[test]
fn message_expiry_counts_the_time_without_a_broker() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &v5(100));
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &v5(0));
    for (id, seconds, payload) in [(1, 10, "short"), (2, 30, "long")] {
        let properties = PublishProperties { message_expiry: Some(seconds), ..PublishProperties::default() };
        let publish = Publish { properties, ..message("t", QoS::AtLeastOnce, id, payload) };
        bench.say(publisher, &Packet::Publish(publish.clone()));
        bench.say(
            publisher,
            &Packet::Publish(Publish { retain: true, topic: message(payload, QoS::AtLeastOnce, id, "").topic, ..publish }),
        );
    }
    bench.publish(publisher, "t", QoS::AtLeastOnce, 3, "for ever");

    bench.crash_for(10_000);

    let subscriber = bench.open("s", &v5(100));
    let told = ["connack present", "publish q1 id1 t long for 20s", "publish q1 id2 t for ever"];
    assert_eq!(bench.told(subscriber), told);
    for (topic, retained) in [("short", None), ("long", Some("publish retain q1 id3 long long for 20s"))] {
        bench.ask(subscriber, topic, QoS::AtLeastOnce);
        let told = bench.told(subscriber);
        assert_eq!(told.get(1).map(|line| &**line), retained);
    }
}

#[test]
fn the_expiry_of_a_will_counts_from_its_publication() {
    let mut bench = Bench::with(Config { will_grace_ms: 2_000, ..Config::default() });
    let (watcher, _) = bench.connect("watcher", &v5(10_000));
    bench.subscribe(watcher, "will", QoS::AtLeastOnce);
    let properties = PublishProperties { message_expiry: Some(10), ..PublishProperties::default() };
    bench.connect("c", &Setup { will: Some(Will { properties, ..will("will", 0) }), ..v5(0) });

    bench.crash_for(60_000);
    bench.pass(2_000);
    bench.pass(4_000);

    let watcher = bench.open("watcher", &v5(10_000));
    assert_eq!(bench.told(watcher), ["connack present", "publish q1 id1 will gone for 6s"]);
}
