//! What administrators see, and what they do.

use alloc::{format, vec::Vec};

use columba_proto::{AckKind, QoS, TopicName, Version};

use super::bench::{Bench, Client, Setup, id_of, persistent, v5, will};
use crate::{Config, NotPublished, Room, Wanted, event::DropReason, limits::QueueFull, seam::Commons as _};

fn publish(bench: &mut Bench, topic: &str, qos: QoS, retain: bool, payload: &str) -> Result<(), NotPublished> {
    let topic = TopicName::new(topic).unwrap();
    bench.act(|shard, cx| shard.publish(cx, topic, qos, retain, None, payload.as_bytes())).map(drop)
}

/// Two members of a group, each with one message that it has not acknowledged.
fn two_members(bench: &mut Bench, setup: &Setup<'_>) -> [Client; 2] {
    let members = ["one", "two"].map(|name| {
        let (client, _) = bench.connect(name, setup);
        bench.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
        client
    });
    publish(bench, "t", QoS::AtLeastOnce, false, "a").unwrap();
    publish(bench, "t", QoS::AtLeastOnce, false, "b").unwrap();
    assert_eq!(members.map(|it| bench.told(it)), [["publish q1 id1 t a"], ["publish q1 id1 t b"]]);
    members
}

fn names(bench: &mut Bench, wanted: &Wanted, max: usize, look: usize) -> Vec<alloc::string::String> {
    let (mut names, mut from) = (Vec::new(), Some(0));
    while let Some(slot) = from {
        let (page, next) = bench.act(|shard, cx| shard.sessions_from(cx, slot, wanted, max, look));
        assert!(page.len() <= max);
        names.extend(page.iter().map(|view| view.client_id.as_ref().into()));
        from = next;
    }
    names.sort();
    names
}

#[test]
fn sessions_are_shown_page_by_page_and_each_once() {
    let mut bench = Bench::new();
    for number in 0..7 {
        let (client, _) = bench.connect(&format!("c{number}"), &persistent());
        if number % 2 == 1 {
            bench.disconnect(client);
        }
    }

    let all = Wanted::default();
    for (max, look) in [(1, 1), (1, 100), (3, 2), (100, 3), (100, 100)] {
        assert_eq!(names(&mut bench, &all, max, look), ["c0", "c1", "c2", "c3", "c4", "c5", "c6"], "{max} {look}");
    }
    let here = Wanted { connected: true, ..Wanted::default() };
    assert_eq!(names(&mut bench, &here, 2, 3), ["c0", "c2", "c4", "c6"]);
    let some = Wanted { part: "5".into(), ..Wanted::default() };
    assert_eq!(names(&mut bench, &some, 2, 3), ["c5"]);
}

#[test]
fn a_session_is_shown_with_what_it_has() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("client", &Setup { will: Some(will("gone", 0)), ..v5(60) });
    bench.subscribe(client, "a/#", QoS::AtLeastOnce);
    bench.subscribe(client, "b", QoS::AtMostOnce);
    let (publisher, _) = bench.connect("publisher", &Setup::default());
    bench.publish(publisher, "a/x", QoS::AtLeastOnce, 1, "x");
    bench.publish(client, "nobody", QoS::ExactlyOnce, 1, "x");
    bench.pass(1500);

    let view = bench.act(|shard, cx| shard.session(cx, "client")).unwrap();

    let connection = view.connection.unwrap();
    assert_eq!((connection.version, connection.for_ms, &*connection.peer), (Version::V5, 1500, "table"));
    assert_eq!((view.expiry_s, view.durable, view.subscriptions), (60, true, 2));
    assert_eq!((view.in_flight_out.0, view.in_flight_in, view.will_topic.as_deref()), (1, 1, Some("gone")));
    let filters: Vec<_> = bench.shard.subscriptions("client", 1, 10);
    assert_eq!(filters.iter().map(|(filter, grant)| (&**filter, grant.qos)).collect::<Vec<_>>(), [("b", QoS::AtMostOnce)]);
    assert!(bench.act(|shard, cx| shard.session(cx, "nobody")).is_none());
}

#[test]
fn who_is_kicked_hears_why_and_keeps_the_session() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("client", &v5(60));

    assert!(bench.act(|shard, cx| shard.kick(cx, "client")));
    assert_eq!(bench.told(client), ["disconnect 0x98"]);
    assert!(!bench.act(|shard, cx| shard.kick(cx, "client")), "nobody is there now");
    assert!(!bench.act(|shard, cx| shard.kick(cx, "stranger")));

    let (_, present) = bench.connect("client", &v5(60));
    assert!(present);
}

#[test]
fn a_session_that_is_ended_is_gone_also_after_a_crash() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect("client", &v5(60));
    bench.subscribe(client, "t", QoS::AtLeastOnce);
    let (away, _) = bench.connect("away", &v5(60));
    bench.disconnect(away);

    assert!(bench.act(|shard, cx| shard.end_session(cx, "client")).is_some());
    assert!(bench.act(|shard, cx| shard.end_session(cx, "away")).is_some());
    assert_eq!(bench.act(|shard, cx| shard.end_session(cx, "client")), None);

    assert_eq!(bench.told(client), ["disconnect 0x98"]);
    bench.crash();
    assert_eq!(bench.shard.sessions(), 0);
}

#[test]
fn a_queue_is_emptied_piece_by_piece_and_what_is_on_its_way_is_not_touched() {
    let mut bench = Bench::with(Config { inflight: 1, ..Config::default() });
    let (reader, _) = bench.connect("reader", &persistent());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    let (publisher, _) = bench.connect("publisher", &v5(0));
    for number in 0..2_501 {
        bench.publish(publisher, "t", QoS::AtLeastOnce, 1, &format!("{number}"));
    }
    assert_eq!(bench.told(reader), ["publish q1 id1 t 0"]);

    assert_eq!(bench.act(|shard, cx| shard.purge(cx, "reader")), Some(2_500));
    bench.publish(publisher, "t", QoS::AtLeastOnce, 1, "later");
    let purged = |bench: &Bench| bench.shard.counters().dropped[DropReason::Purged as usize];
    assert!(purged(&bench) < 2_500, "others get their turn");
    while bench.shard.next_wake().is_some() && purged(&bench) < 2_500 {
        bench.pass(1);
    }

    bench.ack(reader, AckKind::Puback, 1);
    assert_eq!(bench.told(reader), ["publish q1 id2 t later"]);
    assert_eq!(purged(&bench), 2_500);
    assert_eq!(bench.act(|shard, cx| shard.purge(cx, "stranger")), None);
    bench.crash();
    let reader = bench.open("reader", &persistent());
    assert_eq!(bench.told(reader), ["connack present", "publish dup q1 id2 t later"]);
}

#[test]
fn what_an_administrator_publishes_goes_to_all_and_is_kept_where_it_must() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &persistent());
    bench.subscribe(reader, "a/#", QoS::ExactlyOnce);
    bench.disconnect(reader);

    for qos in QoS::ALL {
        assert_eq!(publish(&mut bench, "a/b", qos, false, "x"), Ok(()));
    }
    assert_eq!(publish(&mut bench, "kept", QoS::AtLeastOnce, true, "y"), Ok(()));

    bench.crash();
    let reader = bench.open("reader", &persistent());
    assert_eq!(bench.told(reader), ["connack present", "publish q1 id1 a/b x", "publish q2 id2 a/b x"]);
    bench.commons.read_retained(&mut |retained| assert_eq!(retained.len(), 1));
}

#[test]
fn an_administrator_may_not_what_nobody_may() {
    let mut bench = Bench::with(Config { max_qos: QoS::AtLeastOnce, retain: false, ..Config::default() });

    assert_eq!(publish(&mut bench, "$SYS/broker/uptime", QoS::AtMostOnce, false, "x"), Err(NotPublished::OwnTopic));
    assert_eq!(publish(&mut bench, "t", QoS::ExactlyOnce, false, "x"), Err(NotPublished::NotOffered));
    assert_eq!(publish(&mut bench, "t", QoS::AtMostOnce, true, "x"), Err(NotPublished::NotOffered));

    let (reader, _) = bench.connect("reader", &persistent());
    bench.subscribe(reader, "t", QoS::AtLeastOnce);
    bench.act(|shard, cx| shard.room_is(cx, Room::Scarce));
    assert_eq!(publish(&mut bench, "t", QoS::AtLeastOnce, false, "x"), Err(NotPublished::Unstorable));
    assert_eq!(publish(&mut bench, "t", QoS::AtMostOnce, false, "x"), Ok(()));
}

#[test]
fn an_administrator_fills_no_queue_that_has_no_room() {
    for filter in ["t", "$share/g/t"] {
        let mut bench = Bench::with(Config { inflight: 1, ephemeral_queue_max: 2, ..Config::default() });
        let (reader, _) = bench.connect("reader", &Setup::default());
        bench.subscribe(reader, filter, QoS::AtLeastOnce);

        let taken = (0..10).take_while(|_| publish(&mut bench, "t", QoS::AtLeastOnce, false, "x").is_ok()).count();
        assert!((2..=4).contains(&taken), "{filter}: {taken}");
        assert_eq!(publish(&mut bench, "t", QoS::AtLeastOnce, false, "x"), Err(NotPublished::Unstorable));
        assert_eq!(publish(&mut bench, "t", QoS::AtMostOnce, false, "x"), Ok(()), "at QoS 0 nothing waits");

        let told = bench.told(reader);
        for packet in told.iter().filter(|it| it.starts_with("publish q1")) {
            bench.ack(reader, AckKind::Puback, id_of(packet));
        }
        let waiting = bench.told(reader);
        bench.ack(reader, AckKind::Puback, id_of(&waiting[0]));
        assert_eq!(publish(&mut bench, "t", QoS::AtLeastOnce, false, "x"), Ok(()), "{filter}: there is room again");
    }
}

#[test]
fn what_an_administrator_publishes_to_a_group_is_given_at_once() {
    // Nothing is synced: no other call comes and does what was left.
    for (qos, expected) in [(QoS::AtLeastOnce, "publish q1 id1 t x"), (QoS::ExactlyOnce, "publish q2 id1 t x")] {
        let mut bench = Bench::new();
        let (reader, _) = bench.connect("reader", &Setup::default());
        bench.subscribe(reader, "$share/g/t", QoS::ExactlyOnce);
        bench.syncs = false;

        publish(&mut bench, "t", qos, false, "x").unwrap();

        assert_eq!(bench.told(reader), [expected]);
    }
}

#[test]
fn what_a_kicked_member_has_not_acknowledged_goes_to_another_at_once() {
    for setup in [persistent(), Setup::default()] {
        let mut bench = Bench::new();
        let [_, two] = two_members(&mut bench, &setup);
        bench.syncs = false;

        assert!(bench.act(|shard, cx| shard.kick(cx, "one")));

        assert_eq!(bench.told(two), ["publish q1 id2 t a"], "[MQTT-4.8.2-5]");
    }
}

#[test]
fn what_a_member_has_whose_session_is_ended_goes_to_another_at_once() {
    let mut bench = Bench::new();
    let [one, two] = two_members(&mut bench, &v5(60));

    assert!(bench.act(|shard, cx| shard.end_session(cx, "one")).is_some());

    assert_eq!(bench.told(one), ["disconnect 0x98"]);
    assert_eq!(bench.told(two), ["publish q1 id2 t a"]);
    for id in [1, 2] {
        bench.ack(two, AckKind::Puback, id);
    }
    assert!(bench.replay().groups.is_empty(), "nobody is owed anything");
}

#[test]
fn the_last_member_whose_session_is_ended_takes_its_group_along() {
    for is_there in [true, false] {
        let mut bench = Bench::new();
        let (one, _) = bench.connect("one", &v5(60));
        bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
        if !is_there {
            bench.disconnect(one);
        }
        publish(&mut bench, "t", QoS::AtLeastOnce, false, "a").unwrap();

        assert!(bench.act(|shard, cx| shard.end_session(cx, "one")).is_some());

        let state = bench.replay();
        assert!(state.groups.is_empty() && state.sessions.is_empty(), "{is_there}");
        bench.crash();
        let (one, _) = bench.connect("one", &v5(60));
        bench.subscribe(one, "$share/g/t", QoS::AtLeastOnce);
    }
}

#[test]
fn what_a_full_queue_drops_for_an_administrator_is_in_a_dead_letter() {
    let config = Config {
        queue_messages_max: 1,
        queue_full: QueueFull::DropOldest,
        dead_letter_topic: Some("dead".into()),
        ..Config::default()
    };
    for filter in ["t", "$share/g/t"] {
        let mut bench = Bench::with(config.clone());
        for (name, filter) in [("away", filter), ("dead", "dead/#")] {
            let (client, _) = bench.connect(name, &persistent());
            bench.subscribe(client, filter, QoS::AtLeastOnce);
            bench.disconnect(client);
        }

        publish(&mut bench, "t", QoS::AtLeastOnce, false, "a").unwrap();
        publish(&mut bench, "t", QoS::AtLeastOnce, false, "b").unwrap();

        bench.crash();
        for (name, expected) in [("away", "publish q1 id1 t b"), ("dead", "publish q1 id1 dead/t a")] {
            let client = bench.open(name, &persistent());
            assert_eq!(bench.told(client), ["connack present", expected], "{filter}");
        }
    }
}

#[test]
fn the_will_of_a_session_that_is_ended_is_published_and_one_of_a_kicked_client_too() {
    let mut bench = Bench::new();
    let (reader, _) = bench.connect("reader", &Setup::default());
    bench.subscribe(reader, "$share/g/gone/#", QoS::AtLeastOnce);
    for (number, setup) in [v5(60), v5(60)].into_iter().enumerate() {
        bench.connect(&format!("c{number}"), &Setup { will: Some(will("gone/x", 0)), ..setup });
    }

    assert!(bench.act(|shard, cx| shard.kick(cx, "c0")));
    assert!(bench.act(|shard, cx| shard.end_session(cx, "c1")).is_some());

    assert_eq!(bench.told(reader), ["publish q1 id1 gone/x gone", "publish q1 id2 gone/x gone"]);
}

#[test]
fn who_is_subscribed_is_told_in_pages_to_anything_or_to_one_filter() {
    let mut bench = Bench::new();
    for number in 0..5 {
        let (client, _) = bench.connect(&format!("client-{number}"), &Setup::default());
        for filter in ["a/#", "b", "$share/g/a/#"].iter().take(number) {
            bench.ask(client, filter, QoS::AtLeastOnce);
        }
    }
    let walk = |bench: &mut Bench, filter: Option<&str>, max: usize, look: usize| {
        let (mut all, mut at) = (Vec::new(), Some((0, 0)));
        while let Some(from) = at {
            let (found, next) = bench.act(|shard, _| shard.subscriptions_from(from, filter, max, look));
            assert!(found.len() <= max);
            assert!(next.is_none_or(|next| next > from), "it goes on");
            all.extend(found.iter().map(|it| format!("{} {}", it.client_id, it.filter)));
            at = next;
        }
        all
    };

    let all = walk(&mut bench, None, 100, 100);
    assert_eq!(all.len(), 1 + 2 + 3 + 3);
    for (max, look) in [(1, 1), (1, 100), (2, 3), (3, 100), (100, 1)] {
        assert_eq!(walk(&mut bench, None, max, look), all, "{max} of {look}");
        for (filter, expected) in [
            ("a/#", &["client-1 a/#", "client-2 a/#", "client-3 a/#", "client-4 a/#"][..]),
            ("$share/g/a/#", &["client-3 $share/g/a/#", "client-4 $share/g/a/#"]),
            // Not what it would match.
            ("a/b", &[]),
            ("#", &[]),
        ] {
            assert_eq!(walk(&mut bench, Some(filter), max, look), expected, "{filter}: {max} of {look}");
        }
    }
    assert_eq!(bench.act(|shard, _| shard.subscriptions_from((usize::MAX, usize::MAX), None, 1, 1)), (Vec::new(), None));
}

#[test]
fn whoever_ends_a_session_hears_when_that_is_on_disk_and_the_journal_that_somebody_waits() {
    let mut bench = Bench::new();
    let (lasting, _) = bench.connect("lasting", &v5(60));
    bench.disconnect(lasting);
    bench.connect("ephemeral", &Setup::default());
    bench.syncs = false;

    let until = bench.act(|shard, cx| shard.end_session(cx, "ephemeral")).unwrap();
    assert!(bench.shard.wants(until), "it was never on disk");
    let until = bench.act(|shard, cx| shard.end_session(cx, "lasting")).unwrap();
    assert!(bench.shard.awaits().is_none(), "nobody but the world");
    assert!(!bench.shard.wants(until));
    assert_eq!(bench.shard.awaits(), Some(until));
    bench.sync();

    assert!(bench.shard.wants(until));
    assert_eq!(bench.shard.awaits(), None);
}

#[test]
fn the_end_of_a_session_waits_for_that_of_the_one_before_it() {
    let mut bench = Bench::new();
    let (lasting, _) = bench.connect("client", &v5(60));
    bench.disconnect(lasting);
    bench.syncs = false;
    // A clean start, which ends the lasting one, and begins one that ends with its connection.
    bench.open("client", &Setup::default());

    let until = bench.act(|shard, cx| shard.end_session(cx, "client")).unwrap();

    assert!(!bench.shard.wants(until), "after a crash now, the lasting one would be back");
    bench.sync();
    assert!(bench.shard.wants(until));
    bench.crash();
    assert_eq!(bench.act(|shard, cx| shard.end_session(cx, "client")), None);
}
