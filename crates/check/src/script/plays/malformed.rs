//! Packets that are none: flags, lengths, identifiers, properties (§2).

use columba_proto::ReasonCode;
use columba_proto::packet::PacketType;

use crate::script::bytes::{properties, publish, subscribe, text, unsubscribe, user_property};
use crate::script::clause::{v3, v5};
use crate::script::client::frame;
use crate::script::{ALL, Need, SINCE_V311, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "reserved flags of the fixed header end the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[
            v5("MQTT-2.1.3-1"),
            v5("MQTT-3.8.1-1"),
            v5("MQTT-3.10.1-1"),
            v3("MQTT-2.2.2-1"),
            v3("MQTT-2.2.2-2"),
            v3("MQTT-3.8.1-1"),
            v3("MQTT-3.10.1-1"),
            v3("MQTT-3.14.1-1"),
        ],
        needs: &[],
        play: reserved_flags_end_the_connection,
    },
    Script {
        title: "PUBREL with other flags than 0010 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.6.1-1"), v5("MQTT-2.1.3-1"), v3("MQTT-3.6.1-1"), v3("MQTT-2.2.2-2")],
        needs: &[Need::Qos2],
        play: pubrel_with_other_flags_ends_the_connection,
    },
    Script {
        title: "a packet identifier of zero ends the connection",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-2.2.1-3"), v3("MQTT-2.3.1-1")],
        needs: &[Need::Qos1],
        play: a_packet_identifier_of_zero_ends_the_connection,
    },
    Script {
        title: "QoS 3 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.3.1-4"), v3("MQTT-3.3.1-4")],
        needs: &[],
        play: qos_3_ends_the_connection,
    },
    Script {
        title: "DUP on a QoS 0 message ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.3.1-2"), v3("MQTT-3.3.1-2")],
        needs: &[],
        play: dup_on_a_qos_0_message_ends_the_connection,
    },
    Script {
        title: "a packet type that no client sends ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.13.1-1"), v3("MQTT-4.8.0-1")],
        needs: &[],
        play: a_packet_type_that_no_client_sends_ends_the_connection,
    },
    Script {
        title: "lengths that cannot be end the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.13.1-1"), v5("MQTT-2.2.2-1"), v3("MQTT-4.8.0-1")],
        needs: &[],
        play: lengths_that_cannot_be_end_the_connection,
    },
    Script {
        title: "properties that cannot be end the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-4.13.1-1"), v5("MQTT-2.2.2-1")],
        needs: &[],
        play: properties_that_cannot_be_end_the_connection,
    },
    Script {
        title: "a client publishes without a subscription identifier",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.3.4-6")],
        needs: &[],
        play: a_client_publishes_without_a_subscription_identifier,
    },
];

const MALFORMED: &[ReasonCode] = &[ReasonCode::MALFORMED_PACKET];
/// Where the standard names both, or leaves it open which it is.
const BREACH: &[ReasonCode] = &[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR];

fn reserved_flags_end_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let filter = stage.topic("a");
    let (subscribe, unsubscribe) = (subscribe(version, 1, filter.as_bytes()), unsubscribe(version, 1, filter.as_bytes()));
    let mut table = Vec::new();
    for flags in [0b0001, 0b0010, 0b0100, 0b1000] {
        table.push(("PINGREQ", frame(0xc0 | flags, &[])));
        table.push(("DISCONNECT", frame(0xe0 | flags, &[])));
        // Without these flags they would be ignored, or be a protocol error at most.
        table.push(("PUBACK", frame(0x40 | flags, &[0, 1])));
        table.push(("PUBCOMP", frame(0x70 | flags, &[0, 1])));
        // Two bytes, which are type and length.
        table.push(("SUBSCRIBE", [&[(subscribe[0] ^ flags)], &subscribe[1..]].concat()));
        table.push(("UNSUBSCRIBE", [&[(unsubscribe[0] ^ flags)], &unsubscribe[1..]].concat()));
    }
    stage.each_ends(&table, MALFORMED)
}

fn pubrel_with_other_flags_ends_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = stage.topic("a");
    for flags in [0b0000, 0b0011, 0b0110, 0b1010] {
        let mut client = stage.client("breaker")?;
        client.send_bytes("PUBLISH", &publish(version, 0b0100, topic.as_bytes(), Some(1), &[], b"twice kept"));
        let pubrec = client.hear()?;
        stage.same("the answer", PacketType::Pubrec, pubrec.packet_type())?;
        client.send_bytes("PUBREL", &frame(0x60 | flags, &[0, 1]));
        client.expect_end(MALFORMED)?;
    }
    Ok(())
}

fn a_packet_identifier_of_zero_ends_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = stage.topic("a");
    let mut table =
        vec![("SUBSCRIBE", subscribe(version, 0, topic.as_bytes())), ("UNSUBSCRIBE", unsubscribe(version, 0, topic.as_bytes()))];
    for qos in stage.each_qos().filter(|qos| *qos as u8 > 0) {
        table.push(("PUBLISH", publish(version, (qos as u8) << 1, topic.as_bytes(), Some(0), &[], b"x")));
    }
    stage.each_ends(&table, BREACH)
}

fn qos_3_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let packet = |flags| publish(stage.version(), flags, topic.as_bytes(), Some(1), &[], b"x");
    stage.each_ends(&[("PUBLISH", packet(0b0110)), ("PUBLISH with DUP", packet(0b1110))], MALFORMED)
}

fn dup_on_a_qos_0_message_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let packet = publish(stage.version(), 0b1000, topic.as_bytes(), None, &[], b"x");
    stage.each_ends(&[("PUBLISH with DUP", packet)], BREACH)
}

fn a_packet_type_that_no_client_sends_ends_the_connection(stage: &Stage) -> Verdict {
    let no_properties = properties(stage.version(), &[]);
    let mut table = vec![
        ("type 0", frame(0x00, &[])),
        ("CONNACK", frame(0x20, &[&[0, 0], &no_properties[..]].concat())),
        ("SUBACK", frame(0x90, &[&[0, 1], &no_properties[..], &[0]].concat())),
        ("UNSUBACK", frame(0xb0, &[&[0, 1], &no_properties[..]].concat())),
        ("PINGRESP", frame(0xd0, &[])),
    ];
    if !stage.version().has_auth() {
        table.push(("type 15", frame(0xf0, &[])));
    }
    stage.each_ends(&table, BREACH)
}

fn lengths_that_cannot_be_end_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = text(stage.topic("a"));
    let mut table = vec![
        ("a remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a topic that goes beyond its packet", frame(0x30, &[0, 9, b'a'])),
        ("a PUBLISH of one byte", frame(0x30, &[0])),
        ("a QoS 1 PUBLISH that ends before its identifier", frame(0x32, &topic)),
        ("a PUBACK of one byte", frame(0x40, &[1])),
        ("a SUBSCRIBE that ends behind its identifier", frame(0x82, &[0, 1])),
        ("a SUBSCRIBE without options", frame(0x82, &[&[0, 1], &properties(version, &[])[..], &topic].concat())),
        ("an UNSUBSCRIBE that ends behind its identifier", frame(0xa2, &[0, 1])),
        ("a PINGREQ with a body", frame(0xc0, &[0])),
    ];
    if version.has_properties() {
        table.push(("a PUBLISH without a property length", frame(0x30, &topic)));
        table.push(("a PUBLISH whose properties go beyond it", frame(0x30, &[&topic[..], &[9, 0x01, 0]].concat())));
        table.push(("properties that end inside of one", publish(version, 0, &topic[2..], None, &[0x02, 0, 0], &[])));
        table.push(("a property length of five bytes", frame(0x30, &[&topic[..], &[0x80, 0x80, 0x80, 0x80, 0]].concat())));
    } else {
        table.push(("a PUBACK with more than its identifier", frame(0x40, &[0, 1, 0])));
        table.push(("a DISCONNECT with a body", frame(0xe0, &[0])));
    }
    stage.each_ends(&table, BREACH)
}

fn properties_that_cannot_be_end_the_connection(stage: &Stage) -> Verdict {
    let version = stage.version();
    let topic = stage.topic("a");
    let response_topic = [vec![0x08], text("r")].concat();
    let blocks: [(&str, Vec<u8>); 8] = [
        ("a property that nobody has listed", vec![0x7f, 0]),
        ("property 0", vec![0x00, 0]),
        ("a session expiry in PUBLISH", vec![0x11, 0, 0, 0, 1]),
        ("a reason string in PUBLISH", [vec![0x1f], text("why")].concat()),
        ("two payload formats", vec![0x01, 0, 0x01, 0]),
        ("two message expiries", vec![0x02, 0, 0, 0, 9, 0x02, 0, 0, 0, 9]),
        ("two response topics", [response_topic.clone(), response_topic].concat()),
        ("two content types", [vec![0x03], text("c"), vec![0x03], text("c")].concat()),
    ];
    let published = blocks.each_ref().map(|(what, block)| (*what, publish(version, 0, topic.as_bytes(), None, block, b"x")));
    stage.each_ends(&published, BREACH)?;
    let filter = text(&topic);
    let subscribe = |block: &[u8]| frame(0x82, &[&[0, 1], &properties(version, block)[..], &filter, &[0]].concat());
    let unsubscribe = |block: &[u8]| frame(0xa2, &[&[0, 1], &properties(version, block)[..], &filter].concat());
    let disconnect = |block: &[u8]| frame(0xe0, &[&[0], &properties(version, block)[..]].concat());
    let pair = user_property(b"name", b"value");
    let requests = [
        ("subscription identifier 0", subscribe(&[0x0b, 0])),
        ("two subscription identifiers", subscribe(&[0x0b, 1, 0x0b, 2])),
        ("a payload format in SUBSCRIBE", subscribe(&[&pair[..], &[0x01, 0]].concat())),
        ("a subscription identifier in UNSUBSCRIBE", unsubscribe(&[0x0b, 1])),
        ("a receive maximum in DISCONNECT", disconnect(&[0x21, 0, 1])),
    ];
    stage.each_ends(&requests, BREACH)
}

fn a_client_publishes_without_a_subscription_identifier(stage: &Stage) -> Verdict {
    let packet = publish(stage.version(), 0, stage.topic("a").as_bytes(), None, &[0x0b, 1], b"x");
    stage.each_ends(&[("PUBLISH with a subscription identifier", packet)], BREACH)
}
