//! Listeners on which something else holds than on the others: which versions are spoken, what is offered, and what stands before every topic.

use alloc::{string::String, sync::Arc, vec, vec::Vec};

use columba_proto::{
    AckKind, Peer, QoS, Version, decode,
    packet::{ConnectProperties, Packet, Publish, Unsubscribe, Will},
    property::UserProperties,
    wire::{Split, split},
};

use super::bench::{Bench, Client, Setup, message, persistent, pid, v5, will};
use crate::{
    Config,
    access::{Acl, Action, Actions, Effect, Pattern, Placeholders, Rule, Who},
    limits::Terms,
};

const NOTHING: Vec<&str> = Vec::new();

/// The second listener.
const OTHER: u16 = 1;

/// Everything as usual on the first listener, and these on the second.
fn with(terms: Terms) -> Bench {
    Bench::with(Config { listeners: vec![Terms::default(), terms], ..Config::default() })
}

fn mounted() -> Bench {
    with(Terms { mount_point: Some("site/7/".parse().unwrap()), ..Terms::default() })
}

fn connect_at(bench: &mut Bench, listener: u16, client_id: &str, setup: &Setup<'_>) -> Client {
    bench.listener = listener;
    bench.connect(client_id, setup).0
}

#[test]
fn a_version_that_is_not_spoken_is_refused_as_the_standard_says() {
    let mut bench = with(Terms { versions: vec![Version::V311], ..Terms::default() });
    for (listener, version, expected) in [
        (0, Version::V31, "connack new"),
        (0, Version::V311, "connack new"),
        (0, Version::V5, "connack new"),
        (OTHER, Version::V31, "connack 0x84"),
        (OTHER, Version::V311, "connack new"),
        (OTHER, Version::V5, "connack 0x84"),
    ] {
        bench.listener = listener;
        let client = bench.open("c", &Setup { version, ..Setup::default() });
        assert_eq!(bench.told(client), [expected], "{version:?} at {listener}");
    }
    assert!(bench.events.iter().any(|event| event.contains("not spoken here")), "{:?}", bench.events);
}

#[test]
fn a_client_of_an_older_version_hears_the_code_that_it_knows() {
    let mut bench = with(Terms { versions: vec![Version::V5], ..Terms::default() });
    bench.listener = OTHER;
    let client = bench.open("c", &Setup::default());

    // "Unacceptable protocol version" of 3.1.1, table 3.1.
    assert_eq!(bench.bytes(client), [0x20, 2, 0, 1]);
}

/// Maximum QoS and Topic Alias Maximum, as CONNACK says them.
fn offered(bench: &mut Bench, listener: u16) -> (Option<QoS>, Option<u16>) {
    bench.listener = listener;
    let client = bench.open("c", &v5(0));
    let bytes = bench.bytes(client);
    let Ok(Split::Frame { first, body, .. }) = split(&bytes, u32::MAX) else { panic!("{bytes:?}") };
    let Packet::Connack(connack) = decode(Version::V5, Peer::Server, first, body).unwrap() else { panic!("{bytes:?}") };
    (connack.properties.maximum_qos, connack.properties.topic_alias_maximum)
}

#[test]
fn connack_says_what_is_offered_on_its_listener_and_that_holds() {
    let mut bench = with(Terms { max_qos: Some(QoS::AtLeastOnce), max_topic_alias: Some(2), ..Terms::default() });
    assert_eq!(offered(&mut bench, 0), (None, Some(64)));
    assert_eq!(offered(&mut bench, OTHER), (Some(QoS::AtLeastOnce), Some(2)));

    let here = connect_at(&mut bench, 0, "here", &v5(0));
    bench.publish(here, "t", QoS::ExactlyOnce, 1, "x");
    assert_eq!(bench.told(here), ["pubrec 1 0x10"]);
    let there = connect_at(&mut bench, OTHER, "there", &v5(0));
    bench.publish(there, "t", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(there), ["puback 1 0x10"]);
    bench.publish(there, "t", QoS::ExactlyOnce, 2, "x");
    assert_eq!(bench.told(there), ["disconnect 0x9b"]);

    let there = connect_at(&mut bench, OTHER, "there", &v5(0));
    let mut aliased = message("t", QoS::AtMostOnce, 0, "x");
    aliased.properties.topic_alias = 3.try_into().ok();
    bench.say(there, &Packet::Publish(aliased));
    assert_eq!(bench.told(there), ["disconnect 0x94"], "an alias above the maximum");

    bench.listener = OTHER;
    let last = Will { qos: QoS::ExactlyOnce, ..will("w", 0) };
    let client = bench.open("w", &Setup { will: Some(last), ..v5(0) });
    assert_eq!(bench.told(client), ["connack 0x9b"]);
}

#[test]
fn one_listener_may_offer_more_than_the_others() {
    let terms = vec![Terms::default(), Terms { max_qos: Some(QoS::ExactlyOnce), max_topic_alias: Some(9), ..Terms::default() }];
    let mut bench = Bench::with(Config { max_qos: QoS::AtMostOnce, max_topic_alias: 0, listeners: terms, ..Config::default() });

    assert_eq!(offered(&mut bench, 0), (Some(QoS::AtMostOnce), Some(0)));
    assert_eq!(offered(&mut bench, OTHER), (None, Some(9)));
}

#[test]
fn other_terms_hold_for_who_comes_then() {
    let mut bench = with(Terms::default());
    let old = connect_at(&mut bench, OTHER, "old", &v5(0));
    let terms = Terms {
        versions: vec![Version::V5],
        max_qos: Some(QoS::AtMostOnce),
        mount_point: Some("m/".parse().unwrap()),
        ..Terms::default()
    };
    let next = Arc::new(Config { listeners: vec![Terms::default(), terms], ..Config::default() });

    bench.act(|shard, cx| shard.reconfigure(cx, Arc::clone(&next)));

    bench.subscribe(old, "t", QoS::AtLeastOnce);
    bench.publish(old, "t", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(old), ["publish q1 id1 t x", "puback 1"]);
    let late = bench.open("late", &Setup::default());
    assert_eq!(bench.told(late), ["connack 0x84"]);
}

#[test]
fn behind_a_mount_point_topics_are_its_own_and_others_see_them_whole() {
    let mut bench = mounted();
    let (out, inside) = (connect_at(&mut bench, 0, "out", &v5(0)), connect_at(&mut bench, OTHER, "in", &v5(0)));
    let old = connect_at(&mut bench, OTHER, "old", &Setup::default());
    bench.subscribe(out, "#", QoS::ExactlyOnce);
    bench.subscribe(inside, "a/+", QoS::ExactlyOnce);
    bench.subscribe(old, "#", QoS::AtMostOnce);

    bench.publish(inside, "a/b", QoS::AtLeastOnce, 1, "up");
    assert_eq!(bench.told(out), ["publish q1 id1 site/7/a/b up"]);
    assert_eq!(bench.told(inside), ["publish q1 id1 a/b up", "puback 1"]);
    assert_eq!(bench.told(old), ["publish q0 id0 a/b up"]);

    bench.publish(out, "site/7/a/c", QoS::AtMostOnce, 0, "down");
    assert_eq!(bench.told(inside), ["publish q0 id0 a/c down"]);
    assert_eq!(bench.told(old), ["publish q0 id0 a/c down"]);
    // Nothing of what is elsewhere, and not the parent of it all, which `#` matches [MQTT-4.7.1-2].
    for topic in ["a/b", "site/8/a/b", "site/7", "site"] {
        bench.publish(out, topic, QoS::AtMostOnce, 0, "x");
        assert_eq!((bench.told(inside), bench.told(old)), (Vec::new(), Vec::new()), "{topic}");
    }

    // QoS 2, and a topic that is the broker's own everywhere else.
    bench.publish(inside, "$SYS/x", QoS::ExactlyOnce, 2, "mine");
    assert_eq!(bench.told(inside), ["pubrec 2"]);
    bench.ack(inside, AckKind::Pubrel, 2);
    assert_eq!(bench.told(inside), ["pubcomp 2"]);
    assert!(bench.told(out).last().is_some_and(|last| last.ends_with("site/7/$SYS/x mine")));
}

#[test]
fn retained_messages_wills_shares_and_aliases_know_the_mount_point() {
    let mut bench = mounted();
    let (out, inside) = (connect_at(&mut bench, 0, "out", &v5(0)), connect_at(&mut bench, OTHER, "in", &v5(0)));
    bench.say(inside, &Packet::Publish(Publish { retain: true, ..message("kept", QoS::AtLeastOnce, 1, "x") }));
    bench.say(out, &Packet::Publish(Publish { retain: true, ..message("kept", QoS::AtLeastOnce, 1, "y") }));
    bench.told(inside);
    bench.told(out);
    for (client, expected) in [(inside, "publish retain q1 id1 kept x"), (out, "publish retain q1 id1 kept y")] {
        bench.ask(client, "kept", QoS::AtLeastOnce);
        assert_eq!(bench.told(client), ["suback 1", expected]);
    }

    bench.subscribe(out, "site/7/gone", QoS::AtMostOnce);
    let dying = connect_at(&mut bench, OTHER, "dying", &Setup { will: Some(will("gone", 0)), ..v5(0) });
    bench.cut_off(dying);
    assert_eq!(bench.told(out), ["publish q0 id0 site/7/gone gone"]);

    // One group, wherever its members are.
    bench.subscribe(out, "$share/g/site/7/work", QoS::AtLeastOnce);
    bench.subscribe(inside, "$share/g/work", QoS::AtLeastOnce);
    for id in 2..=3 {
        bench.publish(inside, "work", QoS::AtLeastOnce, id, "w");
    }
    let shares = |told: Vec<String>| told.into_iter().filter(|word| word.contains("work w")).collect::<Vec<_>>();
    let (theirs, ours) = (shares(bench.told(out)), shares(bench.told(inside)));
    assert_eq!((theirs.len(), ours.len()), (1, 1), "{theirs:?} {ours:?}");
    assert!(theirs[0].ends_with("site/7/work w") && ours[0].ends_with(" work w"), "{theirs:?} {ours:?}");

    let properties = ConnectProperties { topic_alias_maximum: Some(4), ..ConnectProperties::default() };
    let keeps = connect_at(&mut bench, OTHER, "keeps", &Setup { version: Version::V5, properties, ..Setup::default() });
    bench.subscribe(keeps, "often", QoS::AtMostOnce);
    for payload in ["1", "2"] {
        let mut aliased = message("often", QoS::AtMostOnce, 0, payload);
        aliased.properties.topic_alias = 1.try_into().ok();
        bench.say(inside, &Packet::Publish(aliased));
    }
    assert_eq!(bench.told(keeps), ["publish q0 id0 often=1 1", "publish q0 id0 =1 2"]);
}

#[test]
fn what_is_unsubscribed_behind_a_mount_point_is_gone() {
    let mut bench = mounted();
    let (out, inside) = (connect_at(&mut bench, 0, "out", &v5(0)), connect_at(&mut bench, OTHER, "in", &persistent()));
    for filter in ["a", "$share/g/a"] {
        bench.subscribe(inside, filter, QoS::AtMostOnce);
        let filters = [filter];
        let unsubscribe = Unsubscribe { id: pid(3), user_properties: UserProperties::default(), filters: (&filters[..]).into() };
        bench.say(inside, &Packet::Unsubscribe(unsubscribe));
        assert_eq!(bench.told(inside), ["unsuback"]);
        bench.publish(out, "site/7/a", QoS::AtMostOnce, 0, "x");
        assert_eq!(bench.told(inside), NOTHING, "{filter}");
    }
}

#[test]
fn rules_speak_of_whole_topics() {
    let mut bench = mounted();
    let actions = [Action::Publish, Action::Subscribe, Action::Receive];
    let rule = Rule {
        name: "r".into(),
        effect: Effect::Allow,
        actions: actions.into_iter().fold(Actions::default(), Actions::with),
        topics: vec![Pattern::new("site/7/mine/#", Placeholders::Meant).unwrap()],
        who: Who::default(),
    };
    bench.act(|shard, _| shard.set_acl(Some(Arc::new(Acl::new(vec![rule], Effect::Deny)))));
    let inside = connect_at(&mut bench, OTHER, "in", &v5(0));

    bench.subscribe(inside, "mine/a", QoS::AtMostOnce);
    bench.ask(inside, "other/a", QoS::AtMostOnce);
    assert_eq!(bench.told(inside), ["suback 135"]);
    bench.publish(inside, "mine/a", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(inside), ["publish q0 id0 mine/a x", "puback 1"]);
    bench.publish(inside, "site/7/mine/a", QoS::AtLeastOnce, 2, "x");
    assert_eq!(bench.told(inside), ["puback 2 0x87"]);
}

#[test]
fn a_session_that_comes_back_elsewhere_gets_only_what_it_can_name_there() {
    let mut bench = mounted();
    let publisher = connect_at(&mut bench, 0, "p", &v5(0));
    let moving = connect_at(&mut bench, 0, "moving", &v5(100));
    bench.subscribe(moving, "#", QoS::ExactlyOnce);
    // One of each in flight, and one of each that waits.
    bench.publish(publisher, "a", QoS::AtLeastOnce, 1, "outside");
    bench.publish(publisher, "site/7/a", QoS::AtLeastOnce, 2, "inside");
    assert_eq!(bench.told(moving), ["publish q1 id1 a outside", "publish q1 id2 site/7/a inside"]);
    bench.cut_off(moving);
    bench.publish(publisher, "b", QoS::AtLeastOnce, 3, "outside");
    bench.publish(publisher, "site/7/b", QoS::AtLeastOnce, 4, "inside");

    bench.listener = OTHER;
    let moving = bench.open("moving", &v5(100));
    assert_eq!(bench.told(moving), ["connack present", "publish dup q1 id2 a inside", "publish q1 id3 b inside"]);
    bench.ack(moving, AckKind::Puback, 2);
    bench.ack(moving, AckKind::Puback, 3);

    // What the journal says is the same.
    bench.crash();
    let (moving, present) = bench.connect("moving", &v5(100));
    assert!(present);
    assert_eq!(bench.told(moving), NOTHING);
}

#[test]
fn a_topic_that_is_too_long_behind_the_mount_point_ends_its_connection() {
    let mut bench = mounted();
    let long = "a".repeat(65_530);
    let inside = connect_at(&mut bench, OTHER, "in", &v5(0));
    bench.ask(inside, &long, QoS::AtMostOnce);
    assert_eq!(bench.told(inside), ["suback 143"]);
    bench.publish(inside, &long, QoS::AtMostOnce, 0, "x");
    assert_eq!(bench.told(inside), ["disconnect 0x90"]);
}
