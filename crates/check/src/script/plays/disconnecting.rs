//! PINGREQ and DISCONNECT (§3.12 to §3.14), and how connections end (§4.13).

use std::num::NonZeroU32;

use columba_proto::packet::{Connect, Disconnect, Packet};
use columba_proto::{AckKind, QoS, ReasonCode};

use super::phrases::{at, each_ends, takes, with_will};
use crate::script::clause::{v3, v5};
use crate::script::client::{frame, message};
use crate::script::{ALL, Client, Need, SINCE_V311, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "PINGREQ is answered by PINGRESP",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.12.4-1"), v3("MQTT-3.12.4-1")],
        needs: &[],
        play: pings,
    },
    Script {
        title: "a DISCONNECT with reserved bits is none, and ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.14.1-1"), v3("MQTT-3.14.1-1")],
        needs: &[],
        play: reserved_bits,
    },
    Script {
        title: "DISCONNECT drops the will",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.14.4-3"), v3("MQTT-3.14.4-3")],
        needs: &[],
        play: disconnect_drops_the_will,
    },
    Script {
        title: "DISCONNECT with another reason than 0 does not drop the will",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.14.2-1"), v5("MQTT-3.1.2-8")],
        needs: &[],
        play: disconnect_with_the_will,
    },
    Script {
        title: "a DISCONNECT with a reason of another packet does not drop the will",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.14.2-1")],
        needs: &[],
        play: disconnect_with_a_reason_of_others,
    },
    Script {
        title: "what stands behind DISCONNECT is not heard",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.14.4-1"), v5("MQTT-3.14.4-2")],
        needs: &[],
        play: behind_disconnect,
    },
    Script {
        title: "the server's DISCONNECT is its last packet, and says why",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[
            v5("MQTT-3.14.2-1"),
            v5("MQTT-3.14.2-2"),
            v5("MQTT-3.14.4-1"),
            v5("MQTT-3.14.4-2"),
            v5("MQTT-4.13.2-1"),
            v5("MQTT-3.1.4-3"),
        ],
        needs: &[],
        play: the_last_packet,
    },
    Script {
        title: "the server sends no DISCONNECT to whom it has not accepted",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.14.0-1"), v5("MQTT-4.13.2-1")],
        needs: &[],
        play: no_disconnect_before_connack,
    },
    Script {
        title: "the server's DISCONNECT is no larger than the client takes",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.14.2-3"), v5("MQTT-3.14.2-4")],
        needs: &[],
        play: a_disconnect_fits,
    },
    Script {
        title: "a packet that is malformed ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.13.1-1"), v3("MQTT-4.8.0-1")],
        needs: &[],
        play: malformed_packets,
    },
    Script {
        title: "a packet that only a server may send ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.13.1-1"), v3("MQTT-4.8.0-1")],
        needs: &[],
        play: packets_of_servers,
    },
    Script {
        title: "an error ends one connection, and the others stay",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v3("MQTT-4.8.0-1"), v5("MQTT-4.13.1-1")],
        needs: &[Need::Qos1],
        play: the_others_stay,
    },
];

fn pings(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.client("pinging")?;
    client.ping()?;
    // Two at once are answered by two.
    client.send_bytes("two PINGREQ", &[0xc0, 0, 0xc0, 0]);
    client.send(&Packet::Pingreq);
    for _ in 0..3 {
        let heard = client.hear()?;
        stage.same("a packet", Packet::Pingresp, heard.packet())?;
    }
    client.subscribe(&topic, QoS::AtMostOnce)?;
    client.ping()?;
    client.expect_nothing()
}

/// Connects somebody whose will a witness hears.
fn mortal<'s>(stage: &'s Stage, topic: &str) -> Verdict<Client<'s>> {
    let id = stage.id("mortal");
    stage.connect("mortal", &with_will(stage, &id, topic))
}

fn reserved_bits(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    for first in [0xe1, 0xe2, 0xe4, 0xe8] {
        let mut client = mortal(stage, &topic)?;
        client.send_bytes("DISCONNECT with a reserved bit", &frame(first, &[]));
        client.expect_end(&[ReasonCode::MALFORMED_PACKET])?;
        takes(stage, &mut witness, QoS::AtMostOnce, &topic, b"the will")?;
    }
    witness.expect_nothing()
}

fn disconnect_drops_the_will(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    mortal(stage, &topic)?.leave();
    if stage.version().has_properties() {
        // Reason 0 spelled out, with and without properties.
        for body in [&[0_u8][..], &[0, 0]] {
            let mut client = mortal(stage, &topic)?;
            client.send_bytes("DISCONNECT with reason 0", &frame(0xe0, body));
            client.expect_end(&[])?;
        }
    }
    witness.expect_nothing()?;

    // The witness is not deaf.
    mortal(stage, &topic)?.cut();
    takes(stage, &mut witness, QoS::AtMostOnce, &topic, b"the will")
}

fn disconnect_with_the_will(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    for reason in [
        ReasonCode::DISCONNECT_WITH_WILL_MESSAGE,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::MALFORMED_PACKET,
        ReasonCode::PROTOCOL_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode::TOPIC_ALIAS_INVALID,
        ReasonCode::PACKET_TOO_LARGE,
        ReasonCode::MESSAGE_RATE_TOO_HIGH,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::ADMINISTRATIVE_ACTION,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
    ] {
        let mut client = mortal(stage, &topic)?;
        client.send(&Packet::Disconnect(Disconnect::new(reason)));
        client.cut();
        takes(stage, &mut witness, QoS::AtMostOnce, &topic, b"the will")?;
    }
    witness.expect_nothing()
}

fn disconnect_with_a_reason_of_others(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    for (what, reason) in
        [("no reason at all", 0x77), ("of SUBACK", 0x01), ("of PUBACK", 0x10), ("of CONNACK", 0x84), ("of a server", 0x8e)]
    {
        let mut client = mortal(stage, &topic)?;
        client.send_bytes(&format!("DISCONNECT with a reason: {what}"), &frame(0xe0, &[reason]));
        client.expect_end(&[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR])?;
        takes(stage, &mut witness, QoS::AtMostOnce, &topic, b"the will")?;
    }
    witness.expect_nothing()
}

fn behind_disconnect(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut witness = stage.client("witness")?;
    witness.subscribe(&topic, QoS::AtMostOnce)?;
    let mut client = stage.client("talkative")?;
    let mut bytes = frame(0xe0, &[]);
    bytes.extend([0xc0, 0]);
    // The standard tells the client what not to do, and the server to close if the client does not.
    client.send_bytes("DISCONNECT, and PINGREQ behind it", &bytes);
    match client.hear_or_end() {
        Ok(None) => {}
        Ok(Some(heard)) => {
            return stage.check(false, "the broker answers nothing that comes behind DISCONNECT", heard.told());
        }
        Err(_) => stage.advise("the connection stays open after DISCONNECT, if the client does not close it"),
    }

    let mut client = stage.client("talkative")?;
    let mut bytes = frame(0xe0, &[]);
    let mut publish = Vec::new();
    let packet = Packet::Publish(message(&topic, b"too late"));
    packet.encode(stage.version(), &mut publish).unwrap_or_default();
    bytes.extend(publish);
    client.send_bytes("DISCONNECT, and PUBLISH behind it", &bytes);
    client.cut();
    witness.expect_nothing()
}

fn the_last_packet(stage: &Stage) -> Verdict {
    let id = stage.id("one");
    let older = stage.connect("older", &stage.clean(&id))?;
    let mut newer = stage.connect("newer", &stage.clean(&id))?;
    newer.ping()?;
    let mut twice = stage.client("twice")?;
    let other = stage.id("twice");
    twice.send(&Packet::Connect(stage.clean(&other)));
    let mut breaker = stage.client("breaker")?;
    breaker.send_bytes("packet type 0", &frame(0x00, &[]));

    let mut is_said = false;
    for (client, reasons) in [
        (older, &[ReasonCode::SESSION_TAKEN_OVER][..]),
        (twice, &[ReasonCode::PROTOCOL_ERROR]),
        (breaker, &[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR]),
    ] {
        let all = client.hear_to_the_end()?;
        // Closing is owed, saying why is not (§4.13).
        let Some(last) = all.first() else {
            stage.advise(format!("closed without a reason; {} would say why", reasons[0]));
            continue;
        };
        let Packet::Disconnect(disconnect) = last.packet() else { return stage.check(false, "a DISCONNECT", last.told()) };
        stage.check(reasons.contains(&disconnect.reason), reasons[0].to_string(), last.told())?;
        stage.check(all.len() == 1, "DISCONNECT is the last packet", all[all.len() - 1].told())?;
        is_said = true;
    }
    if is_said { Ok(()) } else { stage.skip("the server sends no DISCONNECT") }
}

fn no_disconnect_before_connack(stage: &Stage) -> Verdict {
    let mut body = vec![0, 4];
    body.extend_from_slice(b"MQTT");
    let will_qos_3 = [&body[..], &[5, 0x1e, 0, 60, 0, 0, 1, b'a']].concat();
    let reserved_flag = [&body[..], &[5, 3, 0, 60, 0, 0, 1, b'a']].concat();
    let twice = [&body[..], &[5, 2, 0, 60, 10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1, 0, 1, b'a']].concat();
    let mut publish = Vec::new();
    Packet::Publish(message(&stage.topic("a"), b"x")).encode(stage.version(), &mut publish).unwrap_or_default();
    for (what, bytes) in [
        ("CONNECT with a will of QoS 3", frame(0x10, &will_qos_3)),
        ("CONNECT with the reserved flag", frame(0x10, &reserved_flag)),
        ("CONNECT with a property twice", frame(0x10, &twice)),
        ("PUBLISH", publish),
        ("PINGREQ", frame(0xc0, &[])),
        ("AUTH", frame(0xf0, &[0x18, 0])),
    ] {
        let mut client = stage.dial("stranger", stage.version())?;
        client.send_bytes(what, &bytes);
        let all = client.hear_to_the_end()?;
        for heard in &all {
            let refused = matches!(heard.packet(), Packet::Connack(connack) if connack.reason.is_failure());
            stage.check(refused, "a CONNACK that refuses, or nothing", heard.told())?;
        }
        stage.check(all.len() <= 1, "one packet at most", format!("{} packets", all.len()))?;
    }
    Ok(())
}

fn a_disconnect_fits(stage: &Stage) -> Verdict {
    // The smallest that this broker can connect with.
    let measured = stage.client("measured")?.connack().size.max(16);
    let id = stage.id("small");
    let mut small: Connect<'_> = stage.clean(&id);
    small.properties.maximum_packet_size = u32::try_from(measured).ok().and_then(NonZeroU32::new);
    let long = frame(0x82, &[0, 10, 0, 0, 3, b'a', b'/', b'b', 0xff]);
    let mut twice = Vec::new();
    Packet::Connect(stage.clean(&id)).encode(stage.version(), &mut twice).unwrap_or_default();
    for (what, bytes) in [
        ("a second CONNECT", twice),
        ("SUBSCRIBE with reserved bits", long),
        ("PUBREL with other flags", frame(0x60, &[0, 1])),
        ("PUBLISH with QoS 3", frame(0x36, &[0, 1, b'a', 0, 1, 0])),
    ] {
        let mut client = stage.connect("small", &small)?;
        client.send_bytes(what, &bytes);
        for heard in client.hear_to_the_end()? {
            stage.check(heard.size <= measured, format!("{measured} bytes at most"), format!("{} bytes", heard.size))?;
        }
    }
    Ok(())
}

fn malformed_packets(stage: &Stage) -> Verdict {
    let has_properties = stage.version().has_properties();
    let none: &[u8] = if has_properties { &[0] } else { &[] };
    let mut table = vec![
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("packet type 0", frame(0x00, &[])),
        ("PUBLISH with QoS 3", frame(0x36, &[&[0, 1, b'a', 0, 1], none].concat())),
        ("PUBLISH with a topic longer than the packet", frame(0x30, &[0, 9, b'a'])),
        ("PUBACK with half an identifier", frame(0x40, &[0])),
        ("PUBREL with flags 0000", frame(0x60, &[0, 1])),
        ("SUBSCRIBE with a filter longer than the packet", frame(0x82, &[&[0, 1], none, &[0, 9, b'a']].concat())),
        ("SUBSCRIBE without options", frame(0x82, &[&[0, 1], none, &[0, 1, b'a']].concat())),
        ("PINGREQ with flags 0001", frame(0xc1, &[])),
    ];
    if has_properties {
        table.extend([
            ("PUBLISH with an unknown property", frame(0x30, &[0, 1, b'a', 2, 0x7f, 0])),
            ("PUBLISH with a property of CONNECT", frame(0x30, &[0, 1, b'a', 3, 0x21, 0, 9])),
            ("PUBLISH with properties longer than the packet", frame(0x30, &[0, 1, b'a', 9, 0x01, 0])),
            ("PUBACK with an unknown reason", frame(0x40, &[0, 1, 0x7f])),
        ]);
    }
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR])
}

fn packets_of_servers(stage: &Stage) -> Verdict {
    let has_properties = stage.version().has_properties();
    let table = [
        ("CONNACK", frame(0x20, if has_properties { &[0, 0, 0] } else { &[0, 0] })),
        ("SUBACK", frame(0x90, if has_properties { &[0, 1, 0, 0] } else { &[0, 1, 0] })),
        ("UNSUBACK", frame(0xb0, if has_properties { &[0, 1, 0, 0] } else { &[0, 1] })),
        ("PINGRESP", frame(0xd0, &[])),
    ];
    each_ends(stage, &table, &[ReasonCode::PROTOCOL_ERROR])
}

fn the_others_stay(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let id = publisher.publish(&at(QoS::AtLeastOnce, &topic, b"before"));

    let mut breaker = stage.client("breaker")?;
    breaker.send_bytes("packet type 0", &frame(0x00, &[]));
    breaker.expect_end(&[ReasonCode::MALFORMED_PACKET])?;

    if let Some(id) = id {
        publisher.expect_ack(AckKind::Puback, id)?;
    }
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"before")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"after"))?;
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"after")
}
