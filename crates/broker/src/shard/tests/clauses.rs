//! Single clauses of the standards, each a short conversation.

use alloc::{format, string::String, vec, vec::Vec};
use core::num::NonZeroU32;

use columba_proto::{
    AckKind, QoS, ReasonCode, Version,
    packet::{Disconnect, Packet, Publish, Subscribe, SubscribeEntry},
    property::UserProperties,
    wire::FRAME_LEN_MAX,
};

use super::bench::{Bench, Client, Setup, message, pid, v5};
use crate::{Config, Room, Shard, seam::Origin};

const NOTHING: Vec<&str> = Vec::new();

fn with_aliases(max: u16, expiry: u32) -> Setup<'static> {
    let mut setup = v5(expiry);
    setup.properties.topic_alias_maximum = Some(max);
    setup
}

#[test]
fn a_bridge_does_not_get_its_own_messages_back_and_retain_travels_on_to_it() {
    for version in [Version::V31, Version::V311] {
        let mut bench = Bench::new();
        let (bridge, _) = bench.connect("bridge", &Setup { version, bridge: true, ..Setup::default() });
        let (device, _) = bench.connect("device", &Setup { version, ..Setup::default() });
        bench.subscribe(bridge, "#", QoS::AtMostOnce);

        let retained = Publish { retain: true, ..message("t", QoS::AtMostOnce, 0, "x") };
        bench.say(bridge, &Packet::Publish(retained.clone()));
        assert_eq!(bench.told(bridge), NOTHING);

        bench.say(device, &Packet::Publish(retained));
        assert_eq!(bench.told(bridge), ["publish retain q0 id0 t x"]);
    }
}

#[test]
fn topics_go_out_by_alias_where_the_client_takes_any_and_by_name_where_not() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (two, _) = bench.connect("two", &with_aliases(2, 0));
    let (none, _) = bench.connect("none", &with_aliases(0, 0));
    let (silent, _) = bench.connect("silent", &v5(0));
    for client in [two, none, silent] {
        bench.subscribe(client, "gate/#", QoS::ExactlyOnce);
    }

    for (id, topic) in [(1, "gate/1"), (2, "gate/1"), (3, "gate/2"), (4, "gate/3"), (5, "gate/2")] {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][usize::from(id % 2)];
        bench.publish(publisher, topic, qos, if id % 2 == 1 { id } else { 0 }, "x");
    }

    // No alias above the maximum [MQTT-3.1.2-26] [MQTT-3.3.2-11]; none without one [MQTT-3.1.2-27].
    let by_alias = [
        "publish q1 id1 gate/1=1 x",
        "publish q0 id0 =1 x",
        "publish q1 id2 gate/2=2 x",
        "publish q0 id0 gate/3 x",
        "publish q1 id3 =2 x",
    ];
    let by_name = [
        "publish q1 id1 gate/1 x",
        "publish q0 id0 gate/1 x",
        "publish q1 id2 gate/2 x",
        "publish q0 id0 gate/3 x",
        "publish q1 id3 gate/2 x",
    ];
    assert_eq!(bench.told(two), by_alias);
    assert_eq!(bench.told(none), by_name);
    assert_eq!(bench.told(silent), by_name);
}

#[test]
fn aliases_end_with_the_connection() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect("p", &Setup::default());
    let (subscriber, _) = bench.connect("s", &with_aliases(9, 100));
    bench.subscribe(subscriber, "gate/#", QoS::ExactlyOnce);
    bench.publish(publisher, "gate/1", QoS::AtLeastOnce, 1, "x");
    bench.publish(publisher, "gate/1", QoS::AtLeastOnce, 2, "y");
    assert_eq!(bench.told(subscriber), ["publish q1 id1 gate/1=1 x", "publish q1 id2 =1 y"]);
    bench.ack(subscriber, AckKind::Puback, 1);
    bench.cut_off(subscriber);

    let again = bench.open("s", &with_aliases(9, 100));
    assert_eq!(bench.told(again), ["connack present", "publish dup q1 id2 gate/1=1 y"], "[MQTT-3.3.2-7]");
    bench.cut_off(again);
    let again = bench.open("s", &v5(100));
    assert_eq!(bench.told(again), ["connack present", "publish dup q1 id2 gate/1 y"], "[MQTT-3.1.2-27]");
}

#[test]
fn an_alias_makes_no_message_too_large() {
    for (limit, expected) in [(30, "publish q0 id0 gate/1=1 0123456789"), (24, "publish q0 id0 gate/1 0123456789")] {
        let mut bench = Bench::new();
        let (publisher, _) = bench.connect("p", &Setup::default());
        let mut setup = with_aliases(9, 0);
        setup.properties.maximum_packet_size = NonZeroU32::new(limit);
        let (subscriber, _) = bench.connect("s", &setup);
        bench.subscribe(subscriber, "gate/#", QoS::AtMostOnce);

        bench.publish(publisher, "gate/1", QoS::AtMostOnce, 0, "0123456789");

        assert!(bench.shard.out(subscriber.id).unwrap().len() <= limit as usize, "[MQTT-3.1.2-24]");
        assert_eq!(bench.told(subscriber), [expected]);
    }
}

/// Whether what a client was sent has a reason string, and what it was sent.
fn explained(bench: &mut Bench, client: Client) -> (bool, Vec<String>) {
    let Some(out) = bench.shard.out(client.id) else { return (false, Vec::new()) };
    // No other packet here has bytes of text.
    let text = out.pending().windows(5).any(|bytes| bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b' '));
    (text, bench.told(client))
}

fn asking(request_problem_information: Option<bool>, max_packet_size: u32) -> Setup<'static> {
    let mut setup = v5(0);
    setup.properties.request_problem_information = request_problem_information;
    setup.properties.maximum_packet_size = NonZeroU32::new(max_packet_size);
    setup
}

#[test]
fn a_refused_subscription_is_explained_where_that_is_wanted_and_fits() {
    // Wanted, too large [MQTT-3.9.2-1], not wanted [MQTT-3.1.2-29].
    for (wanted, limit, explains) in [(None, 100, true), (Some(true), 100, true), (None, 30, false), (Some(false), 100, false)] {
        let mut bench = Bench::with(Config { wildcard_subscriptions: false, shared_subscriptions: false, ..Config::default() });
        let (client, _) = bench.connect("c", &asking(wanted, limit));

        bench.ask(client, "#", QoS::AtMostOnce);
        assert_eq!(explained(&mut bench, client), (explains, vec!["suback 162".into()]), "{wanted:?} {limit}");
        bench.ask(client, "$share/g/a", QoS::AtMostOnce);
        assert_eq!(explained(&mut bench, client), (explains, vec!["suback 158".into()]), "{wanted:?} {limit}");
        bench.ask(client, "a", QoS::AtMostOnce);
        assert_eq!(explained(&mut bench, client), (false, vec!["suback 0".into()]));
    }
}

#[test]
fn a_refused_publication_and_an_unknown_identifier_are_explained_where_that_is_wanted_and_fits() {
    // Wanted, too large [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2], not wanted [MQTT-3.1.2-29].
    for (wanted, limit, explains) in [(None, 100, true), (None, 30, false), (Some(false), 100, false)] {
        let mut bench = Bench::new();
        let (subscriber, _) = bench.connect("s", &v5(100));
        bench.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let (client, _) = bench.connect("c", &asking(wanted, limit));
        bench.act(|shard, cx| shard.room_is(cx, Room::Scarce));

        bench.publish(client, "t", QoS::AtLeastOnce, 1, "x");
        assert_eq!(explained(&mut bench, client), (explains, vec!["puback 1 0x97".into()]), "{wanted:?} {limit}");
        bench.publish(client, "t", QoS::ExactlyOnce, 2, "x");
        assert_eq!(explained(&mut bench, client), (explains, vec!["pubrec 2 0x97".into()]), "{wanted:?} {limit}");
        bench.ack(client, AckKind::Pubrel, 3);
        assert_eq!(explained(&mut bench, client), (explains, vec!["pubcomp 3 0x92".into()]), "{wanted:?} {limit}");
        bench.ack(client, AckKind::Pubrec, 4);
        assert_eq!(explained(&mut bench, client), (explains, vec!["pubrel 4 0x92".into()]), "{wanted:?} {limit}");
    }
}

#[test]
fn a_request_whose_answer_would_be_too_large_is_not_done() {
    let mut bench = Bench::new();
    let filters: Vec<String> = (0..30).map(|number| format!("f{number}")).collect();
    let entries: Vec<_> = filters.iter().map(|filter| SubscribeEntry { filter, options: QoS::AtMostOnce.into() }).collect();
    let subscribe = Subscribe {
        id: pid(1),
        subscription_id: None,
        user_properties: UserProperties::default(),
        entries: (&entries[..]).into(),
    };

    let (roomy, _) = bench.connect("roomy", &asking(None, 35));
    bench.say(roomy, &Packet::Subscribe(subscribe));
    assert!(bench.told(roomy)[0].starts_with("suback"));
    let (client, _) = bench.connect("c", &asking(None, 34));
    bench.say(client, &Packet::Subscribe(subscribe));

    assert_eq!(bench.told(client), ["disconnect 0x95"], "[MQTT-3.1.2-24]");
}

#[test]
fn disconnect_changes_the_session_expiry_but_not_from_nothing_to_something() {
    let say = |bench: &mut Bench, client, session_expiry| {
        let normal = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        bench.say(client, &Packet::Disconnect(Disconnect { session_expiry: Some(session_expiry), ..normal }));
    };
    // (before, in DISCONNECT, milliseconds away, whether the session is there again)
    for (before, after, away, there) in
        [(10, 20, 15_000, true), (10, 20, 20_000, false), (10, 5, 6_000, false), (10, 0, 0, false), (0, 0, 0, false)]
    {
        let mut bench = Bench::new();
        let (client, _) = bench.connect("c", &v5(before));
        say(&mut bench, client, after);
        assert_eq!(bench.told(client), NOTHING);
        bench.pass(away);
        assert_eq!(bench.connect("c", &v5(before)).1, there, "{before} {after} {away}");
    }

    let mut bench = Bench::new();
    let (client, _) = bench.connect("c", &v5(0));
    say(&mut bench, client, 1);
    assert_eq!(bench.told(client), ["disconnect 0x82"], "§3.14.2.2.2");
    assert!(!bench.connect("c", &v5(0)).1);
}

#[test]
fn an_empty_client_identifier_is_taken_where_the_version_allows_it() {
    // 3.1 knows none; 3.1.1 takes it with a clean session [MQTT-3.1.3-8]; 5 always [MQTT-3.1.3-6].
    for (version, clean, answer) in [
        (Version::V31, true, "connack 0x85"),
        (Version::V31, false, "connack 0x85"),
        (Version::V311, true, "connack new"),
        (Version::V311, false, "connack 0x85"),
        (Version::V5, true, "connack new"),
        (Version::V5, false, "connack new"),
    ] {
        let mut bench = Bench::new();
        let client = bench.open("", &Setup { version, clean, ..Setup::default() });
        let bytes = bench.bytes(client);
        match (version, answer) {
            (Version::V31 | Version::V311, "connack 0x85") => {
                assert_eq!(bytes, [0x20, 2, 0, 2], "{version:?}");
                assert!(!bench.shard.wants_reading(client.id), "closed");
            }
            (Version::V31 | Version::V311, _) => assert_eq!(bytes, [0x20, 2, 0, 0], "{version:?}"),
            (Version::V5, _) => {
                assert_eq!(bytes[..4], [0x20, bytes[1], 0, 0]);
                assert!(bytes.windows(5).any(|part| part == b"auto-"), "it is told its identifier [MQTT-3.2.2-16]");
            }
        }
    }
}

#[test]
fn a_client_identifier_is_any_text() {
    for client_id in ["a", "012345678901234567890123456789", "ünï/#+ $", "\u{feff}\u{10ffff}", &"x".repeat(65_535)] {
        for version in Version::ALL {
            let mut bench = Bench::new();
            let setup = || Setup { version, clean: false, ..v5(100) };
            let (client, _) = bench.connect(client_id, &setup());
            bench.disconnect(client);

            let (_, present) = bench.connect(client_id, &setup());

            assert_eq!(present, version.has_session_present(), "{version:?} [MQTT-3.1.3-2]");
            assert_eq!(bench.shard.sessions(), 1);
        }
    }
}

/// CONNECT with flags and what stands behind the client identifier "c".
fn connect_bytes(version: Version, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let name = version.protocol_name();
    body.extend_from_slice(&[0, u8::try_from(name.len()).unwrap()]);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&[version.level(), flags, 0, 0]);
    if version.has_properties() {
        body.push(0);
    }
    body.extend_from_slice(b"\x00\x01c");
    body.extend_from_slice(rest);
    let mut frame = vec![0x10, u8::try_from(body.len()).unwrap()];
    frame.extend_from_slice(&body);
    frame
}

#[test]
fn a_password_without_a_user_name_is_taken_in_mqtt_5_only() {
    for (version, is_taken) in [(Version::V31, false), (Version::V311, false), (Version::V5, true)] {
        let mut bench = Bench::new();
        let id = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 0)));
        let client = Client { id, version };

        bench.say_bytes(client, &connect_bytes(version, 0b0100_0010, b"\x00\x02pw"));

        let expected = if is_taken { vec!["connack new"] } else { Vec::new() };
        assert_eq!(bench.told(client), expected, "{version:?}, 3.1.1 [MQTT-3.1.2-22] [MQTT-3.1.4-1]");
        assert_eq!(bench.shard.wants_reading(id), is_taken, "{version:?}");
    }
}

#[test]
fn who_is_one_too_many_is_told_so_and_takes_nothing_over() {
    for (version, code) in [(Version::V31, 3), (Version::V311, 3), (Version::V5, 0x97)] {
        let mut bench = Bench::new();
        let (first, _) = bench.connect("c", &Setup { version, ..Setup::default() });
        let id = bench.act(|shard, cx| shard.opened(cx, Origin { is_surplus: true, ..Origin::new("x", 0) }));

        bench.say_bytes(Client { id, version }, &connect_bytes(version, 2, b""));

        let said = bench.bytes(Client { id, version });
        assert_eq!((said.first().copied(), said.get(3).copied()), (Some(0x20), Some(code)), "{version:?} 3.2.2.2");
        assert!(!bench.shard.wants_reading(id), "closed [MQTT-3.2.2-7]");
        assert!(bench.shard.wants_reading(first.id), "who was there stays");
    }
}

#[test]
fn a_level_that_is_none_is_refused_in_the_words_of_its_time() {
    // (name and level, the code in CONNACK: that of 3.1.1 below level 5)
    for (head, code) in [
        (&b"\x00\x04MQTT\x03"[..], Some(1)),
        (b"\x00\x04MQTT\x06", Some(0x84)),
        (b"\x00\x04MQTT\x85", Some(0x84)),
        (b"\x00\x06MQIsdp\x04", Some(1)),
        (b"\x00\x04HTTP\x04", None),
    ] {
        let mut bench = Bench::new();
        let id = bench.act(|shard, cx| shard.opened(cx, Origin::new("x", 0)));
        let mut frame = vec![0x10, u8::try_from(head.len()).unwrap() + 6];
        frame.extend_from_slice(head);
        frame.extend_from_slice(b"\x02\x00\x00\x00\x01c");
        let client = Client { id, version: Version::V311 };

        bench.say_bytes(client, &frame);

        let said = bench.bytes(client);
        assert_eq!(
            (said.first().copied(), said.get(3).copied()),
            (code.map(|_| 0x20), code),
            "{head:?} [MQTT-3.1.2-1] [MQTT-3.1.2-2]"
        );
        assert!(!bench.shard.wants_reading(id), "closed");
    }
}

#[test]
fn a_topic_has_up_to_65_535_bytes() {
    let topic = "t".repeat(65_535);
    for version in Version::ALL {
        let mut bench = Bench::new();
        let (client, _) = bench.connect("c", &Setup { version, ..Setup::default() });
        bench.subscribe(client, &topic, QoS::AtLeastOnce);

        bench.publish(client, &topic, QoS::AtLeastOnce, 1, "x");

        assert_eq!(bench.told(client), [format!("publish q1 id1 {topic} x"), "puback 1".into()], "{version:?} [MQTT-4.7.3-3]");
    }
}

#[test]
fn a_packet_of_the_greatest_length_goes_through_where_the_limit_allows_it() {
    let mut bench = Bench::with(Config { max_packet_size: FRAME_LEN_MAX, ..Config::default() });
    let (client, _) = bench.connect("c", &Setup::default());
    bench.subscribe(client, "t", QoS::AtMostOnce);
    let mut frame = vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't'];
    frame.resize(268_435_455 + 5, b'x');

    bench.say_bytes(client, &frame);

    assert!(bench.bytes(client) == frame, "as it came");
}

#[test]
fn a_packet_above_the_limit_ends_the_connection() {
    let config = || Config { max_packet_size: 100, ..Config::default() };
    for (version, farewell) in [(Version::V311, &[][..]), (Version::V5, &["disconnect 0x95"])] {
        let mut bench = Bench::with(config());
        let (client, _) = bench.connect("c", &Setup { version, ..Setup::default() });

        // Its end need not come.
        bench.say_bytes(client, &[0x30, 99]);

        assert_eq!(bench.told(client), farewell, "§3.2.2.3.6");
        assert!(!bench.shard.wants_reading(client.id), "closed");
    }
}

/// Whether the CONNACK of a client that asks for response information, or not, has it.
fn told_where_to_answer(wanted: Option<bool>, max_packet_size: u32) -> bool {
    let mut bench = Bench::with(Config { response_information: Some("replies/".into()), ..Config::default() });
    let mut setup = asking(None, max_packet_size);
    setup.properties.request_response_information = wanted;
    let client = bench.open("c", &setup);
    let bytes = bench.bytes(client);
    bytes.windows(8).any(|part| part == b"replies/")
}

#[test]
fn response_information_is_for_those_who_ask_and_have_room() {
    assert!(told_where_to_answer(Some(true), 1_000));
    assert!(!told_where_to_answer(Some(false), 1_000), "[MQTT-3.1.2-28]");
    assert!(!told_where_to_answer(None, 1_000), "[MQTT-3.1.2-28]");
    assert!(!told_where_to_answer(Some(true), 40));
}

#[test]
fn a_server_that_stops_names_another_one() {
    for (reference, said, names) in [(Some("other:1883"), "disconnect 0x9c", true), (None, "disconnect 0x8b", false)] {
        let mut bench = Bench::with(Config { server_reference: reference.map(Into::into), ..Config::default() });
        let (client, _) = bench.connect("c", &v5(0));
        let (old, _) = bench.connect("old", &Setup::default());

        bench.act(Shard::shutdown);

        let out = bench.shard.out(client.id).unwrap().pending();
        assert_eq!(out.windows(10).any(|part| part == b"other:1883"), names, "§4.11");
        assert_eq!(bench.told(client), [said]);
        assert_eq!(bench.told(old), NOTHING);
    }
}
