//! Maximum packet size and receive maximum, both ways (§3.1.2.11, §3.3.4, §4.9).

use std::num::{NonZeroU16, NonZeroU32};

use columba_proto::packet::{Ack, Connect, Packet, PacketType, Publish};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use crate::script::bytes::{connect, text};
use crate::script::clause::v5;
use crate::script::client::message;
use crate::script::{Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "what is too large for a client counts as delivered",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-24"), v5("MQTT-3.1.2-25")],
        needs: &[Need::Qos1],
        play: what_is_too_large_for_a_client_counts_as_delivered,
    },
    Script {
        title: "a packet that is larger than the server takes ends the connection",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-4.13.1-1")],
        needs: &[Need::PacketLimit],
        play: a_packet_that_is_larger_than_the_server_takes_ends_the_connection,
    },
    Script {
        title: "answers are cut to the client's maximum packet size",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[
            v5("MQTT-3.1.2-24"),
            v5("MQTT-3.4.2-2"),
            v5("MQTT-3.4.2-3"),
            v5("MQTT-3.5.2-2"),
            v5("MQTT-3.5.2-3"),
            v5("MQTT-3.6.2-2"),
            v5("MQTT-3.6.2-3"),
            v5("MQTT-3.7.2-2"),
            v5("MQTT-3.7.2-3"),
        ],
        needs: &[Need::Qos2],
        play: answers_are_cut_to_the_clients_maximum_packet_size,
    },
    Script {
        title: "a refusal is cut to the client's maximum packet size",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-24"), v5("MQTT-3.2.2-19"), v5("MQTT-3.2.2-20")],
        needs: &[],
        play: a_refusal_is_cut_to_the_clients_maximum_packet_size,
    },
    Script {
        title: "the server keeps to the client's receive maximum, and holds back nothing else",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.3.4-9"), v5("MQTT-3.3.4-10")],
        needs: &[Need::Qos1],
        play: the_server_keeps_to_the_clients_receive_maximum,
    },
    Script {
        title: "a QoS 2 message counts until PUBCOMP",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.3.4-9")],
        needs: &[Need::Qos2],
        play: a_qos_2_message_counts_until_pubcomp,
    },
    Script {
        title: "more messages than the server's receive maximum end the connection",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.3.4-7")],
        needs: &[Need::Qos2, Need::ReceiveLimit],
        play: more_messages_than_the_servers_receive_maximum_end_the_connection,
    },
];

fn limited<'s>(stage: &'s Stage, id: &str, maximum: u32) -> Verdict<Client<'s>> {
    let mut connect = stage.lasting(id);
    connect.properties.maximum_packet_size = NonZeroU32::new(maximum);
    connect.properties.receive_maximum = NonZeroU16::new(1);
    stage.connect("small", &connect)
}

fn what_is_too_large_for_a_client_counts_as_delivered(stage: &Stage) -> Verdict {
    const MAXIMUM: u32 = 200;
    let (id, topic) = (stage.id("small"), stage.topic("a"));
    let mut small = limited(stage, &id, MAXIMUM)?;
    small.subscribe(&topic, stage.features().maximum_qos)?;
    let mut publisher = stage.client("publisher")?;
    for qos in stage.each_qos() {
        // Fixed header of three bytes, for 128 and more follow; topic, identifier, property length.
        let overhead = 3 + 2 + topic.len() + if qos == QoS::AtMostOnce { 0 } else { 2 } + 1;
        let fits = vec![b'x'; MAXIMUM as usize - overhead];
        let too_large = vec![b'x'; fits.len() + 1];
        for payload in [&fits[..], &too_large, b"small", &[b'y'; 1_000], b"last"] {
            publisher.deliver(&Publish { qos, ..message(&topic, payload) })?;
        }
        // With a receive maximum of 1, none that waited for an answer would let the next one pass.
        for payload in [&fits[..], b"small", b"last"] {
            let heard = small.receive()?;
            stage.same("qos", qos, heard.publish().qos)?;
            stage.same("payload", payload, heard.publish().payload)?;
        }
        small.expect_nothing()?;
    }
    small.disconnect();
    // Nor does any of them wait for a connection that would have room.
    stage.connect("large", &stage.lasting(&id))?.expect_nothing()
}

fn a_packet_that_is_larger_than_the_server_takes_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let Some(maximum) = stage.features().maximum_packet_size else { return stage.skip("the server limits no packet size") };
    let overhead = |size: u32| 1 + columba_proto::wire::varint_len(size) + 2 + topic.len() + 1;
    let largest = vec![b'x'; maximum as usize - overhead(maximum)];
    let mut client = stage.client("publisher")?;
    client.publish(&message(&topic, &largest));
    client.ping()?;
    client.publish(&message(&topic, &vec![b'x'; largest.len() + 4]));
    client.expect_end(&[ReasonCode::PACKET_TOO_LARGE])
}

fn answers_are_cut_to_the_clients_maximum_packet_size(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("small"), stage.topic("a"));
    // CONNACK has to fit, and not much more.
    let size = stage.connect("small", &stage.lasting(&id))?.connack().size;
    let mut small = limited(stage, &id, u32::try_from(size).unwrap_or(u32::MAX))?;
    // Every packet is measured as it comes.
    let unknown = PacketId::new(4_321).expect("not zero");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        small.deliver(&Publish { qos, ..message(&topic, b"x") })?;
    }
    small.send(&Packet::Ack(Ack::new(AckKind::Pubrel, unknown, ReasonCode::SUCCESS)));
    small.expect_ack(AckKind::Pubcomp, unknown)?;
    // A PUBREC that answers nothing is answered by PUBREL with 0x92, or not at all.
    small.send(&Packet::Ack(Ack::new(AckKind::Pubrec, unknown, ReasonCode::SUCCESS)));
    if let Some(heard) = small.hear_within(stage.silence())? {
        stage.same("the answer", PacketType::Pubrel, heard.packet_type())?;
        stage.same("identifier", unknown, heard.ack().id)?;
    }
    small.ping()
}

fn a_refusal_is_cut_to_the_clients_maximum_packet_size(stage: &Stage) -> Verdict {
    const MAXIMUM: u8 = 9;
    let id = stage.id("small");
    let method = [vec![0x15], text("columba-check-no-such-method")].concat();
    let block = [&[0x27, 0, 0, 0, MAXIMUM], &method[..]].concat();
    let mut client = stage.dial("small", stage.version())?;
    client.send_bytes("CONNECT that is refused", &connect(stage.version(), 0x02, &block, &[text(id)]));
    let said = client.expect_closed()?;
    stage.check(said.len() <= usize::from(MAXIMUM), "at most 9 bytes", format!("{} bytes: {said:02x?}", said.len()))
}

fn the_server_keeps_to_the_clients_receive_maximum(stage: &Stage) -> Verdict {
    let (id, topic, other) = (stage.id("slow"), stage.topic("a"), stage.topic("b"));
    let mut connect = stage.clean(&id);
    connect.properties.receive_maximum = NonZeroU16::new(2);
    let mut slow = stage.connect("slow", &Connect { ..connect })?;
    slow.subscribe(&topic, stage.features().maximum_qos)?;
    let mut publisher = stage.client("publisher")?;
    for payload in [b"0", b"1", b"2", b"3", b"4"] {
        publisher.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, payload) })?;
    }
    let mut open = vec![slow.expect_publish()?, slow.expect_publish()?];
    slow.expect_nothing()?;
    // All else is answered.
    slow.ping()?;
    slow.subscribe(&other, QoS::AtMostOnce)?;
    let request = slow.ask_no_more(&[&other]);
    slow.expect_unsuback(request)?;
    slow.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&other, b"x") })?;
    for wanted in 0..5_u8 {
        let heard = open.remove(0);
        stage.same("payload", &[b'0' + wanted][..], heard.publish().payload)?;
        slow.take(&heard)?;
        if wanted < 3 {
            open.push(slow.expect_publish()?);
            slow.expect_nothing()?;
        }
    }
    slow.expect_nothing()
}

fn a_qos_2_message_counts_until_pubcomp(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("slow"), stage.topic("a"));
    let mut connect = stage.clean(&id);
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let mut slow = stage.connect("slow", &Connect { ..connect })?;
    slow.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    for payload in [b"0", b"1"] {
        publisher.deliver(&Publish { qos: QoS::ExactlyOnce, ..message(&topic, payload) })?;
    }
    let first = slow.expect_publish()?;
    let Some(packet_id) = first.publish().packet_id else { return stage.check(false, "QoS 2", first.told()) };
    slow.expect_nothing()?;
    slow.acknowledge(AckKind::Pubrec, packet_id);
    slow.expect_ack(AckKind::Pubrel, packet_id)?;
    slow.expect_nothing()?;
    slow.acknowledge(AckKind::Pubcomp, packet_id);
    stage.same("payload", &b"1"[..], slow.receive()?.publish().payload)
}

fn more_messages_than_the_servers_receive_maximum_end_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let maximum = stage.features().receive_maximum;
    let mut client = stage.client("hasty")?;
    let publish = Publish { qos: QoS::ExactlyOnce, ..message(&topic, b"x") };
    for _ in 0..maximum {
        let Some(id) = client.publish(&publish) else { return Ok(()) };
        client.expect_ack(AckKind::Pubrec, id)?;
    }
    // As many as are allowed, none of them released; one that is released makes room for one.
    client.acknowledge(AckKind::Pubrel, PacketId::FIRST);
    client.expect_ack(AckKind::Pubcomp, PacketId::FIRST)?;
    if let Some(id) = client.publish(&publish) {
        client.expect_ack(AckKind::Pubrec, id)?;
    }
    client.publish(&publish);
    client.expect_end(&[ReasonCode::RECEIVE_MAXIMUM_EXCEEDED])
}
