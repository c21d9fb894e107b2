//! Sessions, takeover, wills, retained messages.

use alloc::{format, vec, vec::Vec};

use columba_proto::{
    AckKind, QoS, ReasonCode, Version,
    packet::{Disconnect, Packet, Publish},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5, will};
use crate::seam::Gone;

const QOS: [QoS; 3] = QoS::ALL;

#[test]
fn the_delivered_qos_is_the_smaller_one_in_all_nine_cells() {
    for version in [Version::V311, Version::V5] {
        for published in QOS {
            for granted in QOS {
                let mut bench = Bench::new();
                let setup = || Setup { version, ..Setup::default() };
                let (subscriber, _) = bench.connect("s", &setup());
                let (publisher, _) = bench.connect("p", &setup());
                bench.subscribe(subscriber, "a/+", granted);

                bench.publish(publisher, "a/b", published, u16::from(published > QoS::AtMostOnce), "x");
                if published == QoS::ExactlyOnce {
                    assert_eq!(bench.told(publisher), ["pubrec 1"]);
                    assert_eq!(bench.told(subscriber), Vec::<&str>::new(), "nothing is handed on before PUBREL");
                    bench.ack(publisher, AckKind::Pubrel, 1);
                }

                let effective = published.min(granted) as u8;
                let id = u8::from(effective > 0);
                assert_eq!(bench.told(subscriber), [format!("publish q{effective} id{id} a/b x")], "{published:?} {granted:?}");
            }
        }
    }
}

#[test]
fn a_session_comes_back_with_what_was_published_meanwhile_in_order() {
    let mut bench = Bench::new();
    let (subscriber, present) = bench.connect("s", &persistent());
    assert!(!present);
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    bench.disconnect(subscriber);
    let (publisher, _) = bench.connect("p", &Setup::default());

    bench.publish(publisher, "t", QoS::AtMostOnce, 0, "lost");
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "one");
    bench.publish(publisher, "t", QoS::ExactlyOnce, 2, "two");
    bench.ack(publisher, AckKind::Pubrel, 2);
    assert_eq!(bench.told(publisher), ["puback 1", "pubrec 2", "pubcomp 2"]);

    let subscriber = bench.open("s", &persistent());
    assert_eq!(bench.told(subscriber), ["connack present", "publish q1 id1 t one", "publish q2 id2 t two"]);
}

#[test]
fn what_is_open_is_sent_again_with_dup_in_the_order_of_its_first_sending() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for (id, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        bench.publish(publisher, "t", QoS::ExactlyOnce, id, payload);
        bench.ack(publisher, AckKind::Pubrel, id);
    }
    assert_eq!(bench.told(subscriber).len(), 3);
    bench.ack(subscriber, AckKind::Pubrec, 2);
    assert_eq!(bench.told(subscriber), ["pubrel 2"]);
    bench.cut_off(subscriber);

    let subscriber = bench.open("s", &persistent());

    assert_eq!(bench.told(subscriber), ["connack present", "publish dup q2 id1 t one", "pubrel 2", "publish dup q2 id3 t three"]);
}

#[test]
fn a_clean_session_ends_with_its_connection() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect("s", &Setup::default());
    bench.subscribe(subscriber, "t", QoS::AtLeastOnce);
    bench.disconnect(subscriber);

    let (_, present) = bench.connect("s", &persistent());

    assert!(!present);
    assert_eq!(bench.shard.sessions(), 1);
}

#[test]
fn a_session_expires_when_its_interval_is_over_and_not_before() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("s", &v5(10));
    bench.disconnect(client);
    bench.pass(9_999);
    let (client, present) = bench.connect("s", &v5(10));
    assert!(present);
    bench.disconnect(client);

    bench.pass(10_000);

    let (_, present) = bench.connect("s", &v5(10));
    assert!(!present);
}

/// A way in which a connection ends.
type End = fn(&mut Bench, Client);

#[test]
fn a_will_is_published_whatever_ends_the_connection_but_a_normal_disconnect() {
    let ends: [(&str, bool, End); 7] = [
        ("DISCONNECT", false, Bench::disconnect),
        ("connection lost", true, Bench::cut_off),
        ("closed without a word", true, |bench, client| bench.act(|shard, cx| shard.closed(cx, client.id, Gone::ByPeer))),
        ("keep-alive", true, |bench, _| bench.pass(15_000)),
        ("malformed packet", true, |bench, client| bench.say_bytes(client, &[0x00, 0x00])),
        ("second CONNECT", true, |bench, client| bench.say_bytes(client, &[0x10, 0x00])),
        ("takeover", true, |bench, client| {
            bench.connect("c", &Setup { version: client.version, ..Setup::default() });
        }),
    ];
    let ends_of_5: [(&str, bool, End); 2] = [
        ("DISCONNECT with will", true, |bench, client| {
            bench.say(client, &Packet::Disconnect(Disconnect::new(ReasonCode::DISCONNECT_WITH_WILL_MESSAGE)));
        }),
        ("DISCONNECT with an error", true, |bench, client| {
            bench.say(client, &Packet::Disconnect(Disconnect::new(ReasonCode::UNSPECIFIED_ERROR)));
        }),
    ];
    for version in [Version::V31, Version::V311, Version::V5] {
        let more = ends_of_5.into_iter().filter(|_| version.disconnect_may_keep_will());
        for (name, is_published, end) in ends.into_iter().chain(more) {
            let mut bench = Bench::new();
            let (other, _) = bench.connect("o", &Setup::default());
            bench.subscribe(other, "will", QoS::AtMostOnce);
            let setup = Setup { version, keep_alive: 10, will: Some(will("will", 0)), ..Setup::default() };
            let (client, _) = bench.connect("c", &setup);

            end(&mut bench, client);

            assert_eq!(bench.told(other).len(), usize::from(is_published), "{name} in {version:?}");
        }
    }
}

#[test]
fn the_will_of_a_session_without_records_is_on_disk_before_its_connack() {
    let mut bench = Bench::new();
    bench.syncs = false;

    let client = bench.open("c", &Setup { will: Some(will("will", 0)), ..Setup::default() });

    assert_eq!(bench.told(client), Vec::<&str>::new());
    bench.sync();
    assert_eq!(bench.told(client), ["connack new"]);
}

#[test]
fn a_retained_message_comes_to_every_new_subscription_and_an_empty_one_clears_it() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    let retained = |topic, payload| Packet::Publish(Publish { retain: true, ..message(topic, QoS::AtLeastOnce, 1, payload) });
    bench.say(publisher, &retained("r/1", "one"));
    bench.say(publisher, &retained("r/2", "two"));
    bench.say(publisher, &retained("r/2", ""));
    let (subscriber, _) = bench.connect("s", &Setup::default());

    bench.ask(subscriber, "r/#", QoS::AtLeastOnce);

    assert_eq!(bench.told(subscriber), ["suback 1", "publish retain q1 id1 r/1 one"]);
    bench.say(publisher, &retained("r/3", "live"));
    assert_eq!(bench.told(subscriber), ["publish q1 id2 r/3 live"], "along a subscription that stands: RETAIN 0");
}

#[test]
fn many_retained_messages_all_come_paced_by_the_window() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    for number in 0..100_000 {
        let topic = format!("r/{number:05}");
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message(&topic, QoS::AtLeastOnce, 1, "x") }));
    }
    let (subscriber, _) = bench.connect("s", &persistent());
    bench.ask(subscriber, "r/+", QoS::AtLeastOnce);

    let mut topics = vec![];
    loop {
        let told = bench.told(subscriber);
        let ids: Vec<u16> =
            told.iter().filter_map(|line| line.strip_prefix("publish retain q1 id")?.split(' ').next()?.parse().ok()).collect();
        if ids.is_empty() {
            break;
        }
        assert!(ids.len() <= 101, "no more than the window");
        topics.extend(told.iter().filter_map(|line| line.split(' ').nth(4)).map(alloc::string::String::from));
        for id in ids {
            bench.ack(subscriber, AckKind::Puback, id);
        }
    }

    assert_eq!(topics.len(), 100_000);
    assert!(topics.is_sorted());
}

/// What the old connection of a client is in the middle of when another one takes its session over.
#[derive(Clone, Copy, Debug)]
enum Midst {
    /// Its CONNACK waits for the disk.
    Connecting,
    /// Its SUBACK does.
    Subscribing,
    /// Retained messages come, and it reads none.
    TakingRetained,
    /// It has more to read than the broker writes ahead.
    NotReading,
    /// Half of a packet has come.
    HalfAPacket,
    /// It was told to go, and its socket is still there.
    BeingClosed,
    /// It has said DISCONNECT, and its socket is still there.
    Gone,
}

#[test]
fn a_takeover_in_any_state_takes_the_session_over_once() {
    use Midst::{BeingClosed, Connecting, Gone, HalfAPacket, NotReading, Subscribing, TakingRetained};
    for midst in [Connecting, Subscribing, TakingRetained, NotReading, HalfAPacket, BeingClosed, Gone] {
        for version in [Version::V31, Version::V311, Version::V5] {
            let case = format!("{midst:?} {version:?}");
            let mut bench = Bench::with(crate::Config { deliver_ahead_max: 300, ..crate::Config::default() });
            let lasting = || Setup { version, ..if version == Version::V5 { v5(100) } else { persistent() } };
            let (publisher, _) = bench.connect("p", &Setup::default());
            for number in 0..40 {
                let topic = format!("r/{number:02}");
                bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message(&topic, QoS::AtLeastOnce, 1, "x") }));
            }
            bench.told(publisher);
            let (first, _) = bench.connect("s", &lasting());
            bench.subscribe(first, "t", QoS::AtLeastOnce);
            bench.subscribe(first, "filler", QoS::AtMostOnce);
            bench.cut_off(first);

            bench.syncs = !matches!(midst, Connecting);
            let old = bench.open("s", &lasting());
            let mut wanted = vec!["t one"];
            match midst {
                Connecting => wanted.clear(),
                Subscribing => {
                    bench.syncs = false;
                    bench.ask(old, "u", QoS::AtLeastOnce);
                    wanted.clear();
                }
                TakingRetained => bench.ask(old, "r/+", QoS::AtLeastOnce),
                NotReading => (0..80).for_each(|_| bench.publish(publisher, "filler", QoS::AtMostOnce, 0, "x")),
                HalfAPacket => bench.say_bytes(old, &[0x30, 10, 0]),
                BeingClosed => bench.say_bytes(old, &[0x00, 0x00]),
                Gone => bench.disconnect(old),
            }
            if bench.syncs {
                bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "one");
            }

            let new = bench.open("s", &lasting());
            // A third one at once, as a client does that loses patience.
            let last = bench.open("s", &lasting());
            bench.syncs = true;
            bench.sync();
            bench.publish(publisher, "t", QoS::AtLeastOnce, 2, "two");
            wanted.push("t two");

            let told = everything(&mut bench, last);
            assert!(told[0].starts_with("connack"), "{case}: {told:?}");
            let got: Vec<&str> = told.iter().filter_map(|line| line.split_once(" t ").map(|(_, payload)| payload)).collect();
            let wanted: Vec<&str> = wanted.iter().map(|line| &line[2..]).collect();
            assert_eq!(got, wanted, "{case}");
            if matches!(midst, TakingRetained) {
                assert_eq!(told.iter().filter(|line| line.contains(" r/")).count(), 40, "{case}: {told:?}");
            }
            for earlier in [old, new] {
                let told = bench.told(earlier);
                assert!(told.last().is_none_or(|last| !last.ends_with("two")), "{case}: {told:?}");
                bench.cut_off(earlier);
            }
            bench.publish(publisher, "t", QoS::AtLeastOnce, 3, "three");
            assert!(
                bench.told(last).iter().any(|line| line.ends_with("t three")),
                "{case}: the end of an old socket is not the end of the session"
            );
        }
    }
}

/// All that comes while everything is acknowledged.
fn everything(bench: &mut Bench, client: Client) -> Vec<alloc::string::String> {
    let mut all = vec![];
    loop {
        let told = bench.told(client);
        if told.is_empty() {
            return all;
        }
        for line in &told {
            let id = line.split_once(" q1 id").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            if let Some(id) = id {
                bench.ack(client, AckKind::Puback, id);
            }
        }
        all.extend(told);
    }
}

#[test]
fn retained_messages_at_qos_0_wait_for_a_slow_reader_and_none_is_dropped() {
    let mut bench = Bench::with(crate::Config { deliver_ahead_max: 300, ..crate::Config::default() });
    let (publisher, _) = bench.connect("p", &Setup::default());
    for number in 0..200 {
        let topic = format!("r/{number:04}");
        bench.say(publisher, &Packet::Publish(Publish { retain: true, ..message(&topic, QoS::AtLeastOnce, 1, "x") }));
    }
    let (subscriber, _) = bench.connect("s", &Setup::default());
    bench.ask(subscriber, "r/#", QoS::AtMostOnce);

    let mut got = 0;
    loop {
        let told = bench.told(subscriber);
        if told.is_empty() {
            break;
        }
        got += told.iter().filter(|line| line.starts_with("publish retain q0")).count();
    }

    assert_eq!(got, 200);
}

#[test]
fn a_shared_subscription_spreads_and_what_a_member_leaves_goes_to_another() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect("one", &Setup::default());
    let (two, _) = bench.connect("two", &Setup::default());
    bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    bench.subscribe(two, "$share/g/t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("p", &Setup::default());
    for id in 1..=4 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, id, "x");
    }
    assert_eq!(bench.told(one).len(), 2);
    assert_eq!(bench.told(two).len(), 2);

    bench.cut_off(two);

    assert_eq!(bench.told(one).len(), 2);
}
