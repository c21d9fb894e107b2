//! CONNECT, CONNACK and what follows a refusal (§3.1, §3.2).

use columba_proto::packet::{Packet, PacketType, Subscribe, SubscribeEntry};
use columba_proto::{PacketId, QoS, ReasonCode};

use crate::script::bytes::{CLEAN, RESERVED, connect, connect_as, properties, publish, text};
use crate::script::clause::{v3, v5};
use crate::script::client::{frame, message};
use crate::script::{ALL, SINCE_V311, Script, Stage, Suite, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "the first packet is CONNECT",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.0-1"), v3("MQTT-3.1.0-1")],
        needs: &[],
        play: the_first_packet_is_connect,
    },
    Script {
        title: "a second CONNECT ends the connection",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.0-2"), v5("MQTT-3.2.0-2"), v3("MQTT-3.1.0-2")],
        needs: &[],
        play: a_second_connect_ends_the_connection,
    },
    Script {
        title: "another protocol name ends the connection",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-1"), v3("MQTT-3.1.2-1")],
        needs: &[],
        play: another_protocol_name_ends_the_connection,
    },
    Script {
        title: "a protocol level that nobody speaks is refused",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-2"), v3("MQTT-3.1.2-2"), v3("MQTT-3.2.2-5")],
        needs: &[],
        play: a_protocol_level_that_nobody_speaks_is_refused,
    },
    Script {
        title: "the reserved connect flag is zero",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.2-3"), v3("MQTT-3.1.2-3")],
        needs: &[],
        play: the_reserved_connect_flag_is_zero,
    },
    Script {
        title: "CONNACK comes before all other answers",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.1.4-5"),
            v5("MQTT-3.2.0-1"),
            v5("MQTT-3.2.0-2"),
            v5("MQTT-3.2.2-1"),
            v3("MQTT-3.1.4-4"),
            v3("MQTT-7.1.1-1"),
            v3("MQTT-3.2.0-1"),
        ],
        needs: &[],
        play: connack_comes_before_all_other_answers,
    },
    Script {
        title: "a refusal takes up no session and ends the connection",
        suite: Suite::Session,
        versions: SINCE_V311,
        clauses: &[
            v5("MQTT-3.1.4-2"),
            v5("MQTT-3.2.2-6"),
            v5("MQTT-3.2.2-7"),
            v5("MQTT-3.2.2-8"),
            v3("MQTT-3.2.2-4"),
            v3("MQTT-3.2.2-5"),
        ],
        needs: &[],
        play: a_refusal_takes_up_no_session_and_ends_the_connection,
    },
    Script {
        title: "nothing behind a refused CONNECT is processed",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.4-6"), v5("MQTT-3.1.4-2"), v3("MQTT-3.1.4-5")],
        needs: &[],
        play: nothing_behind_a_refused_connect_is_processed,
    },
    Script {
        title: "a new connection takes the session over",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.4-3"), v3("MQTT-3.1.4-2")],
        needs: &[],
        play: a_new_connection_takes_the_session_over,
    },
];

fn the_first_packet_is_connect(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = stage.topic("early");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtMostOnce)?;

    let mut client = stage.dial("publisher", version)?;
    client.publish(&message(&topic, b"too early"));
    client.expect_end_unsaid()?;
    let others = [("PINGREQ", frame(0xc0, &[])), ("PUBREL", frame(0x62, &[0, 1])), ("CONNACK", frame(0x20, &[0, 0]))];
    for (what, bytes) in others {
        let mut client = stage.dial(what, version)?;
        client.send_bytes(what, &bytes);
        client.expect_end_unsaid()?;
    }
    watcher.expect_nothing()
}

fn a_second_connect_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("twice");
    let mut client = stage.connect("twice", &stage.clean(&id))?;
    client.send(&Packet::Connect(stage.clean(&id)));
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}

fn another_protocol_name_ends_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let rest = [properties(version, &[]), text(stage.id("stranger"))].concat();
    for name in ["MQTx", "mqtt", "MQTTT", ""] {
        let mut client = stage.dial("stranger", version)?;
        client.send_bytes("CONNECT with another name", &connect_as(name, version.level(), CLEAN, &rest));
        client.expect_end(&[])?;
    }
    Ok(())
}

fn a_protocol_level_that_nobody_speaks_is_refused(stage: &Stage) -> Verdict {
    let version = stage.version();
    let rest = [properties(version, &[]), text(stage.id("old"))].concat();
    // A level from the future may be answered as MQTT 5 does; one from the past is answered as 3.1.1 does.
    let level = if version.has_properties() { 6 } else { 2 };
    let mut client = stage.dial("stranger", version)?;
    client.send_bytes("CONNECT of no version", &connect_as(version.protocol_name(), level, CLEAN, &rest));
    if version.has_properties() {
        // It may say so, in the version that it likes best.
        let last_words = client.expect_closed()?;
        let is_refusal = matches!(last_words[..], [] | [0x20, 2, 0, 1] | [0x20, _, 0, 0x84, ..]);
        return stage.check(is_refusal, "CONNACK 0x84, 0x01 in the older form, or nothing", format!("{last_words:02x?}"));
    }
    let refusal = client.expect_connack()?;
    stage.same("the refusal", ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, refusal.connack().reason)?;
    client.expect_end_unsaid()
}

fn the_reserved_connect_flag_is_zero(stage: &Stage) -> Verdict {
    let connect = connect(stage.version(), CLEAN | RESERVED, &[], &[text(stage.id("reserved"))]);
    stage.each_connect_ends(&[("CONNECT with the reserved flag", connect)], &[ReasonCode::MALFORMED_PACKET])
}

fn connack_comes_before_all_other_answers(stage: &Stage) -> Verdict {
    let version = stage.version();
    let (id, topic) = (stage.id("hasty"), stage.topic("a"));
    let mut client = stage.dial("hasty", version)?;
    let entries = [SubscribeEntry { filter: &topic, options: QoS::AtMostOnce.into() }];
    let subscribe =
        Subscribe { id: PacketId::FIRST, subscription_id: None, user_properties: <_>::default(), entries: entries[..].into() };
    // Clients need not wait for CONNACK (§3.1.4).
    let mut bytes = Vec::new();
    for packet in [
        Packet::Connect(stage.clean(&id)),
        Packet::Pingreq,
        Packet::Subscribe(subscribe),
        Packet::Publish(message(&topic, b"hello")),
        Packet::Pingreq,
    ] {
        packet.encode(version, &mut bytes).map_or_else(|error| stage.skip(error.to_string()), Ok)?;
    }
    client.send_bytes("CONNECT, PINGREQ, SUBSCRIBE, PUBLISH and PINGREQ", &bytes);
    let connack = client.expect_connack()?;
    stage.same("accepted", ReasonCode::SUCCESS, connack.connack().reason)?;
    stage.same("acknowledge flags", 0, connack.body()[0])?;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(client.hear()?.packet_type());
    }
    for (kind, count) in [(PacketType::Pingresp, 2), (PacketType::Suback, 1), (PacketType::Publish, 1)] {
        stage.same(kind.name(), count, heard.iter().filter(|heard| **heard == kind).count())?;
    }
    client.expect_nothing()
}

/// What no server accepts: an authentication method that nobody has, and before MQTT 5 a level that nobody speaks.
fn refusable(stage: &Stage, id: &str) -> Vec<u8> {
    let version = stage.version();
    if version.has_properties() {
        let expiry = [0x11, 0, 0, 2, 0];
        let method = [vec![0x15], text("columba-check-no-such-method")].concat();
        return connect(version, 0, &[&expiry[..], &method].concat(), &[text(id)]);
    }
    connect_as(version.protocol_name(), 2, 0, &text(id))
}

const REFUSALS: &[ReasonCode] = &[ReasonCode::BAD_AUTHENTICATION_METHOD, ReasonCode::NOT_AUTHORIZED];

fn a_refusal_takes_up_no_session_and_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("kept");
    stage.connect("kept", &stage.lasting(&id))?.disconnect();

    let mut refused = stage.dial("refused", stage.version())?;
    refused.send_bytes("CONNECT that is refused", &refusable(stage, &id));
    if !stage.version().has_properties() {
        let refusal = refused.expect_connack()?;
        stage.same("the refusal", ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, refusal.connack().reason)?;
        stage.same("acknowledge flags", 0, refusal.body()[0])?;
    }
    // A CONNACK that refuses and says that the session is there would not be well-formed.
    let reasons = if stage.version().has_properties() { REFUSALS } else { &[] };
    refused.expect_end(reasons)?;

    let back = stage.connect("kept", &stage.lasting(&id))?;
    stage.same("session present", true, back.session_present())
}

fn nothing_behind_a_refused_connect_is_processed(stage: &Stage) -> Verdict {
    let topic = stage.topic("refused");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtMostOnce)?;

    let mut bytes = refusable(stage, &stage.id("refused"));
    bytes.extend(publish(stage.version(), 0, topic.as_bytes(), None, &[], b"from nobody"));
    let mut refused = stage.dial("refused", stage.version())?;
    refused.send_bytes("CONNECT that is refused, PUBLISH", &bytes);
    refused.expect_end(&[])?;
    watcher.expect_nothing()
}

fn a_new_connection_takes_the_session_over(stage: &Stage) -> Verdict {
    let id = stage.id("one");
    let older = stage.connect("older", &stage.clean(&id))?;
    let mut newer = stage.connect("newer", &stage.clean(&id))?;
    older.expect_end(&[ReasonCode::SESSION_TAKEN_OVER])?;
    newer.ping()?;
    newer.expect_nothing()
}
