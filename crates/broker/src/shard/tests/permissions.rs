//! Rules for what clients may do, at each of their steps (docs/security.md).

use alloc::{format, string::String, sync::Arc, vec, vec::Vec};

use columba_proto::{
    AckKind, Peer, QoS, ReasonCode, Version, decode,
    packet::{ConnectProperties, Packet, Publish},
    wire::{Split, split},
};

use super::bench::{Bench, Client, Setup, message, persistent, v5, will};
use crate::{
    Config,
    access::{Acl, Action, Actions, DeniedPublish, Effect, Pattern, Placeholders, Rule, Who},
};

const NOTHING: Vec<&str> = Vec::new();

fn rule(effect: Effect, actions: &[Action], topic: &str) -> Rule {
    let actions = actions.iter().fold(Actions::default(), |actions, &action| actions.with(action));
    let topics = vec![Pattern::new(topic, Placeholders::Meant).unwrap()];
    Rule { name: format!("rule for {topic}").into(), effect, actions, topics, who: Who::default() }
}

/// Clients publish below `in` and hear what is below `out`, but not `out/secret`.
fn acl() -> Arc<Acl> {
    let rules = vec![
        rule(Effect::Deny, &[Action::Publish], "in/closed"),
        rule(Effect::Allow, &[Action::Publish], "in/#"),
        rule(Effect::Deny, &[Action::Subscribe, Action::Receive], "out/secret"),
        rule(Effect::Allow, &[Action::Subscribe, Action::Receive], "out/#"),
        rule(Effect::Allow, &[Action::Publish], "out/#"),
    ];
    Arc::new(Acl::new(rules, Effect::Deny))
}

fn bench() -> Bench {
    Bench::with(Config { acl: Some(acl()), ..Config::default() })
}

/// The reason string of the one packet that was sent.
fn reason_string(bench: &mut Bench, client: Client) -> (ReasonCode, Option<String>) {
    let bytes = bench.bytes(client);
    let Ok(Split::Frame { first, body, .. }) = split(&bytes, u32::MAX) else { panic!("no packet") };
    #[expect(clippy::wildcard_enum_match_arm, reason = "these two refuse")]
    match decode(Version::V5, Peer::Server, first, body).unwrap() {
        Packet::Ack(ack) => (ack.reason, ack.properties.reason_string.map(Into::into)),
        Packet::Suback(suback) => (suback.reasons.iter().next().unwrap(), suback.properties.reason_string.map(Into::into)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_denied_publication_is_answered_with_the_rule_and_reaches_nobody() {
    let mut bench = bench();
    let reader = bench.connect("reader", &v5(0)).0;
    bench.subscribe(reader, "out/#", QoS::ExactlyOnce);
    let client = bench.connect("c", &v5(0)).0;

    for (qos, kind, topic, rule) in [
        (QoS::AtLeastOnce, AckKind::Puback, "in/closed", "not allowed: rule for in/closed"),
        (QoS::ExactlyOnce, AckKind::Pubrec, "elsewhere", "not allowed: no rule allows it"),
    ] {
        bench.publish(client, topic, qos, 7, "x");
        assert_eq!(reason_string(&mut bench, client), (ReasonCode::NOT_AUTHORIZED, Some(rule.into())), "{kind:?}");
        // The identifier is free again, and the client goes on.
        bench.publish(client, "out/a", qos, 7, "y");
        let expected = if qos == QoS::AtLeastOnce { "puback 7" } else { "pubrec 7" };
        assert_eq!(bench.told(client), [expected]);
    }
    bench.ack(client, AckKind::Pubrel, 7);
    bench.publish(client, "elsewhere", QoS::AtMostOnce, 0, "z");
    assert_eq!(bench.told(client), ["pubcomp 7"]);
    assert_eq!(bench.told(reader), ["publish q1 id1 out/a y", "publish q2 id2 out/a y"]);
    let denied = bench.events.iter().filter(|event| event.starts_with("Denied")).count();
    assert_eq!(denied, 1, "once a second: {:?}", bench.events);
    bench.pass(1_000);
    bench.outputs();
    let told = bench.events.iter().any(|event| event.contains("NotAuthorized, count: 3"));
    assert!(told, "{:?}", bench.events);
}

#[test]
fn a_client_that_does_not_want_to_know_why_is_told_that_only() {
    let mut bench = bench();
    let properties = ConnectProperties { request_problem_information: Some(false), ..ConnectProperties::default() };
    let client = bench.connect("c", &Setup { version: Version::V5, properties, ..Setup::default() }).0;

    bench.publish(client, "in/closed", QoS::AtLeastOnce, 7, "x");

    assert_eq!(reason_string(&mut bench, client), (ReasonCode::NOT_AUTHORIZED, None), "[MQTT-3.1.2-29]");
}

#[test]
fn an_older_client_is_answered_as_if_it_had_been_taken() {
    for setup in [Setup::default(), persistent()] {
        let mut bench = bench();
        let client = bench.connect("c", &setup).0;

        bench.publish(client, "in/closed", QoS::AtLeastOnce, 7, "x");
        assert_eq!(bench.told(client), ["puback 7"]);
        for _ in 0..2 {
            bench.publish(client, "in/closed", QoS::ExactlyOnce, 8, "x");
            assert_eq!(bench.told(client), ["pubrec 8"]);
        }
        bench.ack(client, AckKind::Pubrel, 8);
        assert_eq!(bench.told(client), ["pubcomp 8"]);
    }
}

#[test]
fn by_configuration_a_denied_publication_ends_the_connection() {
    for (version, expected) in [(Version::V5, vec!["disconnect 0x87"]), (Version::V311, vec![])] {
        let config = Config { acl: Some(acl()), denied_publish: DeniedPublish::Disconnect, ..Config::default() };
        let mut bench = Bench::with(config);
        let client = bench.connect("c", &Setup { version, ..Setup::default() }).0;

        bench.publish(client, "in/closed", QoS::AtLeastOnce, 7, "x");

        assert_eq!(bench.told(client), expected);
        assert!(!bench.shard.wants_reading(client.id), "closed");
    }
}

#[test]
fn a_subscription_by_which_nothing_can_come_is_refused_with_the_rule() {
    let mut bench = bench();
    let old = bench.connect("old", &Setup::default()).0;
    bench.ask(old, "in/#", QoS::AtMostOnce);
    assert_eq!(bench.told(old), ["suback 128"]);
    bench.subscribe(old, "#", QoS::AtMostOnce);

    let client = bench.connect("c", &v5(0)).0;
    bench.ask(client, "out/secret", QoS::AtLeastOnce);
    let rule = "not allowed: rule for out/secret".into();
    assert_eq!(reason_string(&mut bench, client), (ReasonCode::NOT_AUTHORIZED, Some(rule)));
    bench.ask(client, "$share/group/in/+", QoS::AtLeastOnce);
    assert_eq!(reason_string(&mut bench, client).0, ReasonCode::NOT_AUTHORIZED);
    assert!(bench.events.iter().any(|event| event.contains("SubscriptionDenied")), "{:?}", bench.events);
}

#[test]
fn what_may_not_be_received_is_dropped_on_its_way_live_retained_or_kept() {
    let mut bench = bench();
    let publisher = bench.connect("p", &Setup::default()).0;
    let say = |bench: &mut Bench, topic: &str, qos, retain| {
        bench.say(publisher, &Packet::Publish(Publish { retain, ..message(topic, qos, u16::from(qos != QoS::AtMostOnce), "x") }));
        bench.told(publisher);
    };
    let reader = bench.connect("reader", &persistent()).0;
    bench.subscribe(reader, "#", QoS::AtLeastOnce);

    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for topic in ["out/secret", "in/a", "out/a"] {
            say(&mut bench, topic, qos, false);
        }
    }
    assert_eq!(bench.told(reader), ["publish q0 id0 out/a x", "publish q1 id1 out/a x"]);
    bench.ack(reader, AckKind::Puback, 1);

    bench.cut_off(reader);
    for topic in ["out/secret", "out/b"] {
        say(&mut bench, topic, QoS::AtLeastOnce, true);
    }
    let (reader, resumed) = {
        let client = bench.open("reader", &persistent());
        (client, bench.told(client))
    };
    assert_eq!(resumed, ["connack present", "publish q1 id2 out/b x"]);

    let late = bench.connect("late", &Setup::default()).0;
    bench.ask(late, "out/#", QoS::AtMostOnce);
    assert_eq!(bench.told(late), ["suback 0", "publish retain q0 id0 out/b x"]);
    bench.ack(reader, AckKind::Puback, 2);
    bench.crash();
    let (_, is_there) = bench.connect("reader", &persistent());
    assert!(is_there, "records and memory agree about what was dropped");
}

#[test]
fn a_will_that_may_not_be_published_is_none() {
    for (topic, expected) in [("in/closed", vec![]), ("out/will", vec!["publish q1 id1 out/will gone"])] {
        let mut bench = bench();
        let reader = bench.connect("reader", &v5(0)).0;
        bench.subscribe(reader, "out/#", QoS::AtLeastOnce);
        let client = bench.connect("c", &Setup { will: Some(will(topic, 0)), ..Setup::default() }).0;

        bench.cut_off(client);

        assert_eq!(bench.told(reader), expected, "{topic}");
        let told = bench.events.iter().any(|event| event.starts_with("Denied"));
        assert_eq!(told, topic == "in/closed", "{:?}", bench.events);
    }
}

#[test]
fn other_rules_hold_at_once_for_those_who_are_connected() {
    let mut bench = bench();
    let client = bench.connect("c", &v5(0)).0;
    bench.subscribe(client, "out/#", QoS::AtMostOnce);
    bench.publish(client, "out/a", QoS::AtLeastOnce, 1, "x");
    assert_eq!(bench.told(client), ["publish q0 id0 out/a x", "puback 1"]);

    let only = rule(Effect::Allow, &[Action::Publish, Action::Receive], "%c/#");
    bench.act(|shard, _| shard.set_acl(Some(Arc::new(Acl::new(vec![only], Effect::Deny)))));
    bench.publish(client, "out/a", QoS::AtLeastOnce, 2, "x");
    assert_eq!(reason_string(&mut bench, client).0, ReasonCode::NOT_AUTHORIZED);
    bench.publish(client, "c/a", QoS::AtLeastOnce, 3, "x");
    assert_eq!(bench.told(client), ["puback 3 0x10"]);

    bench.act(|shard, _| shard.set_acl(None));
    bench.publish(client, "out/a", QoS::AtMostOnce, 0, "y");
    assert_eq!(bench.told(client), ["publish q0 id0 out/a y"]);
    assert_eq!(bench.told(client), NOTHING);
}

#[test]
fn a_repeated_publish_of_what_was_taken_is_not_judged_again() {
    let mut bench = bench();
    let client = bench.connect("c", &v5(60)).0;
    bench.publish(client, "in/a", QoS::ExactlyOnce, 7, "x");
    assert_eq!(bench.told(client), ["pubrec 7 0x10"]);

    bench.act(|shard, _| shard.set_acl(Some(Arc::new(Acl::new(vec![], Effect::Deny)))));
    bench.publish(client, "in/a", QoS::ExactlyOnce, 7, "x");
    bench.ack(client, AckKind::Pubrel, 7);

    assert_eq!(bench.told(client), ["pubrec 7", "pubcomp 7"]);
}
