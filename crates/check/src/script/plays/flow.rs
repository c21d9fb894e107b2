//! Flow control (§4.9): how many messages may be under way.

use std::num::NonZeroU16;

use columba_proto::packet::{Ack, Connect, Packet, PacketType};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use super::phrases::at;
use crate::script::clause::{Clause, v5};
use crate::script::client::message;
use crate::script::{Client, Heard, Need, Script, Stage, Stop, Suite, V5, Verdict};

const fn limit(title: &'static str, clauses: &'static [Clause], needs: &'static [Need], play: fn(&Stage) -> Verdict) -> Script {
    Script { title, suite: Suite::Limits, versions: V5, clauses, needs, play }
}

pub(super) const SCRIPTS: &[Script] = &[
    limit(
        "no more QoS 1 messages are under way than the client takes",
        &[v5("MQTT-4.9.0-1"), v5("MQTT-4.9.0-2")],
        &[Need::Qos1],
        no_more_qos1,
    ),
    limit(
        "a QoS 2 message is under way until PUBCOMP, or a PUBREC that refuses",
        &[v5("MQTT-4.9.0-1"), v5("MQTT-4.9.0-2")],
        &[Need::Qos2],
        until_pubcomp,
    ),
    limit("QoS 1 and 2 are counted together", &[v5("MQTT-4.9.0-2")], &[Need::Qos2], counted_together),
    limit("all other packets are answered while no message may be sent", &[v5("MQTT-4.9.0-3")], &[Need::Qos1], answered_at_zero),
    limit(
        "all other packets are answered while the client may send no message",
        &[v5("MQTT-4.9.0-3")],
        &[Need::Qos2, Need::ReceiveLimit],
        answered_at_the_servers_limit,
    ),
    limit("the quota is full again in the next connection", &[v5("MQTT-4.9.0-1"), v5("MQTT-4.9.0-2")], &[Need::Qos1], full_again),
];

/// A client that takes so many messages at a time.
fn narrow<'s>(stage: &'s Stage, name: &str, maximum: u16) -> Verdict<Client<'s>> {
    let id = stage.id(name);
    let mut connect: Connect<'_> = stage.lasting(&id);
    connect.properties.receive_maximum = NonZeroU16::new(maximum);
    stage.connect(name, &connect)
}

fn id_of(heard: &Heard) -> Verdict<PacketId> {
    let wrong = || Stop::Failed { expected: "a packet identifier".into(), got: heard.told() };
    heard.publish().packet_id.ok_or_else(wrong)
}

/// The next packet is a message with this payload.
fn next(stage: &Stage, client: &mut Client<'_>, payload: u8) -> Verdict<PacketId> {
    let heard = client.expect_publish()?;
    stage.same("the payload", &[payload][..], heard.publish().payload)?;
    id_of(&heard)
}

fn no_more_qos1(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    for maximum in [1, 2] {
        let mut reader = narrow(stage, "reader", maximum)?;
        reader.subscribe(&topic, QoS::AtLeastOnce)?;
        let mut publisher = stage.client("publisher")?;
        for number in 0..6 {
            publisher.deliver(&at(QoS::AtLeastOnce, &topic, &[number]))?;
        }
        let mut open = Vec::new();
        for number in 0..6 {
            if open.len() == usize::from(maximum) {
                reader.expect_nothing()?;
                reader.acknowledge(AckKind::Puback, open.remove(0));
            }
            open.push(next(stage, &mut reader, number)?);
        }
        for id in open {
            reader.acknowledge(AckKind::Puback, id);
        }
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn until_pubcomp(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = narrow(stage, "reader", 1)?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    for number in 0..3 {
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, &[number]))?;
    }
    let id = next(stage, &mut reader, 0)?;
    reader.expect_nothing()?;
    reader.acknowledge(AckKind::Pubrec, id);
    reader.expect_ack(AckKind::Pubrel, id)?;
    reader.expect_nothing()?;
    reader.acknowledge(AckKind::Pubcomp, id);

    let id = next(stage, &mut reader, 1)?;
    reader.expect_nothing()?;
    reader.send(&Packet::Ack(Ack::new(AckKind::Pubrec, id, ReasonCode::UNSPECIFIED_ERROR)));

    let id = next(stage, &mut reader, 2)?;
    reader.acknowledge(AckKind::Pubrec, id);
    reader.expect_ack(AckKind::Pubrel, id)?;
    reader.acknowledge(AckKind::Pubcomp, id);
    reader.expect_nothing()
}

fn counted_together(stage: &Stage) -> Verdict {
    let (one, two) = (stage.topic("1"), stage.topic("2"));
    let mut reader = narrow(stage, "reader", 2)?;
    reader.subscribe(&one, QoS::AtLeastOnce)?;
    reader.subscribe(&two, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &one, b"1"))?;
    publisher.deliver(&at(QoS::ExactlyOnce, &two, b"2"))?;
    publisher.deliver(&at(QoS::AtLeastOnce, &one, b"3"))?;
    let id = next(stage, &mut reader, b'1')?;
    next(stage, &mut reader, b'2')?;
    reader.expect_nothing()?;
    reader.acknowledge(AckKind::Puback, id);
    next(stage, &mut reader, b'3').map(drop)
}

fn answered_at_zero(stage: &Stage) -> Verdict {
    let (topic, other) = (stage.topic("a"), stage.topic("b"));
    let mut reader = narrow(stage, "reader", 1)?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, &[0]))?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, &[1]))?;
    let id = next(stage, &mut reader, 0)?;

    reader.ping()?;
    reader.subscribe(&other, QoS::AtMostOnce)?;
    for qos in stage.each_qos() {
        let elsewhere = stage.topic("c");
        reader.deliver(&at(qos, &elsewhere, b"mine"))?;
    }
    let request = reader.ask_no_more(&[&other]);
    reader.expect_unsuback(request)?;
    reader.expect_nothing()?;

    reader.acknowledge(AckKind::Puback, id);
    let id = next(stage, &mut reader, 1)?;
    reader.acknowledge(AckKind::Puback, id);
    reader.expect_nothing()
}

fn answered_at_the_servers_limit(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.client("publisher")?;
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::AtMostOnce)?;
    let mut open = Vec::new();
    for _ in 0..stage.features().receive_maximum {
        if let Some(id) = client.publish(&at(QoS::ExactlyOnce, &topic, b"x")) {
            client.expect_ack(AckKind::Pubrec, id)?;
            open.push(id);
        }
    }

    client.ping()?;
    client.subscribe(&stage.topic("b"), QoS::AtMostOnce)?;
    // QoS 0 is not counted.
    client.publish(&message(&stage.topic("b"), b"mine"));
    let heard = client.hear()?;
    stage.same("a packet", PacketType::Publish, heard.packet_type())?;
    let again = open[0];
    client.acknowledge(AckKind::Pubrel, again);
    client.expect_ack(AckKind::Pubcomp, again)?;
    // There is room for one again.
    client.deliver(&at(QoS::AtLeastOnce, &stage.topic("c"), b"x"))
}

fn full_again(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = narrow(stage, "reader", 2)?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut publisher = stage.client("publisher")?;
    for number in 0..4 {
        publisher.deliver(&at(QoS::AtLeastOnce, &topic, &[number]))?;
    }
    next(stage, &mut reader, 0)?;
    next(stage, &mut reader, 1)?;
    reader.expect_nothing()?;
    reader.leave();

    // What it says of itself counts for this connection.
    let mut reader = narrow(stage, "reader", 1)?;
    for number in 0..4 {
        let id = next(stage, &mut reader, number)?;
        reader.expect_nothing()?;
        reader.acknowledge(AckKind::Puback, id);
    }
    reader.expect_nothing()
}
