//! Strings and string pairs: what is none, and what survives the trip (§1.5.4, §1.5.7).

use columba_proto::{QoS, ReasonCode};

use crate::script::bytes::{CLEAN, USER_NAME, WILL, connect, properties, publish, subscribe, text, unsubscribe, user_property};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{SINCE_V311, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "a string that is not UTF-8 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[
            v5("MQTT-1.5.4-1"),
            v5("MQTT-3.1.3-4"),
            v5("MQTT-3.1.3-11"),
            v5("MQTT-3.1.3-12"),
            v5("MQTT-3.3.2-1"),
            v5("MQTT-3.8.3-1"),
            v5("MQTT-3.10.3-1"),
            v3("MQTT-1.5.3-1"),
            v3("MQTT-3.1.3-4"),
            v3("MQTT-3.1.3-10"),
            v3("MQTT-3.1.3-11"),
            v3("MQTT-3.3.2-1"),
            v3("MQTT-3.8.3-1"),
            v3("MQTT-3.10.3-1"),
        ],
        needs: &[],
        play: a_string_that_is_not_utf_8_ends_the_connection,
    },
    Script {
        title: "a string with U+0000 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-1.5.4-2"), v3("MQTT-1.5.3-2")],
        needs: &[],
        play: a_string_with_nul_ends_the_connection,
    },
    Script {
        title: "a string in a property that is not UTF-8 ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-1.5.4-1"), v5("MQTT-1.5.4-2"), v5("MQTT-1.5.7-1"), v5("MQTT-3.3.2-13"), v5("MQTT-3.3.2-19")],
        needs: &[],
        play: a_string_in_a_property_that_is_not_utf_8_ends_the_connection,
    },
    Script {
        title: "a byte order mark is a character like any other",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-1.5.4-3"), v3("MQTT-1.5.3-3")],
        needs: &[],
        play: a_byte_order_mark_is_a_character_like_any_other,
    },
];

/// A lone byte, an overlong form, a surrogate, an end too early, more than Unicode has.
const ILL_FORMED: &[&[u8]] = &[b"a\xff", b"\xc0\xafb", b"a\xed\xa0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"];

const MALFORMED: &[ReasonCode] = &[ReasonCode::MALFORMED_PACKET];

/// This text in every place of CONNECT that every version has.
fn in_connect(stage: &Stage, bad: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let version = stage.version();
    let id = text(stage.id("breaker"));
    let no_will_properties = properties(version, &[]);
    let will = [id.clone(), no_will_properties, text(bad), text(b"gone")];
    [
        ("CONNECT, its client identifier", connect(version, CLEAN, &[], &[text(bad)])),
        ("CONNECT, its will topic", connect(version, CLEAN | WILL, &[], &will)),
        ("CONNECT, its user name", connect(version, CLEAN | USER_NAME, &[], &[id, text(bad)])),
    ]
}

/// The same for what a connected client sends.
fn in_requests(stage: &Stage, bad: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    let version = stage.version();
    [
        ("PUBLISH, its topic name", publish(version, 0, bad, None, &[], b"x")),
        ("SUBSCRIBE, its topic filter", subscribe(version, 1, bad)),
        ("UNSUBSCRIBE, its topic filter", unsubscribe(version, 1, bad)),
    ]
}

fn ends_everywhere(stage: &Stage, bad: &[u8]) -> Verdict {
    for (what, bytes) in in_connect(stage, bad) {
        let mut client = stage.dial("breaker", stage.version())?;
        client.send_bytes(what, &bytes);
        client.expect_end(MALFORMED)?;
    }
    stage.each_ends(&in_requests(stage, bad), MALFORMED)
}

fn a_string_that_is_not_utf_8_ends_the_connection(stage: &Stage) -> Verdict {
    ILL_FORMED.iter().try_for_each(|bad| ends_everywhere(stage, bad))
}

fn a_string_with_nul_ends_the_connection(stage: &Stage) -> Verdict {
    ends_everywhere(stage, b"a\0b")
}

fn a_string_in_a_property_that_is_not_utf_8_ends_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = stage.topic("a");
    let id = text(stage.id("breaker"));
    for bad in ILL_FORMED.iter().copied().chain([&b"a\0b"[..]]) {
        let blocks = [
            ("the name of a user property", user_property(bad, b"value")),
            ("the value of a user property", user_property(b"name", bad)),
            ("the content type", [vec![0x03], text(bad)].concat()),
            ("the response topic", [vec![0x08], text(bad)].concat()),
        ];
        let published = blocks.each_ref().map(|(what, block)| (*what, publish(version, 0, topic.as_bytes(), None, block, b"x")));
        stage.each_ends(&published, MALFORMED)?;
        let pair = &blocks[0].1;
        stage.each_connect_ends(
            &[("a user property of CONNECT", connect(version, CLEAN, pair, std::slice::from_ref(&id)))],
            MALFORMED,
        )?;
        for (what, block) in &blocks {
            let payload = [id.clone(), properties(version, block), text(&topic), text(b"gone")];
            stage.each_connect_ends(&[(*what, connect(version, CLEAN | WILL, &[], &payload))], MALFORMED)?;
        }
    }
    Ok(())
}

fn a_byte_order_mark_is_a_character_like_any_other(stage: &Stage) -> Verdict {
    let (plain, marked) = (stage.topic("a"), format!("\u{feff}{}", stage.topic("\u{feff}a\u{feff}")));
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&plain, QoS::AtMostOnce)?;
    watcher.subscribe(&marked, QoS::AtMostOnce)?;

    let mut publisher = stage.client("publisher")?;
    for topic in [&marked, &plain] {
        publisher.publish(&message(topic, b"hello"));
        stage.same("topic", topic.as_str(), watcher.receive()?.topic())?;
    }
    publisher.publish(&message(&stage.topic("a\u{feff}"), b"for nobody"));
    watcher.expect_nothing()
}
