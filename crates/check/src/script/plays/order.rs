//! The order of messages (§4.6).

use columba_proto::packet::{PacketType, Publish};
use columba_proto::{AckKind, PacketId, QoS};

use super::phrases::{at, hears, is, levels, take_all};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Need, Script, Stage, Suite, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "one publisher's messages of one QoS come in its order",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.6.0-5"), v5("MQTT-4.6.0-6"), v3("MQTT-4.6.0-5"), v3("MQTT-4.6.0-6")],
        needs: &[],
        play: in_its_order,
    },
    Script {
        title: "messages that waited for a client come in their order",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.6.0-5"), v5("MQTT-4.6.0-6"), v3("MQTT-4.6.0-5"), v3("MQTT-4.6.0-6")],
        needs: &[Need::Qos1],
        play: queued_in_order,
    },
    Script {
        title: "what is sent again keeps its first order, before what is new",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v3("MQTT-4.6.0-1"), v5("MQTT-4.4.0-1"), v5("MQTT-4.6.0-5"), v3("MQTT-4.6.0-6")],
        needs: &[Need::Qos1],
        play: again_in_order,
    },
    Script {
        title: "PUBRELs go out in the order of the PUBRECs",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v3("MQTT-4.6.0-4")],
        needs: &[Need::Qos2],
        play: pubrels_in_order,
    },
    Script {
        title: "PUBRELs are sent again in the order of the PUBRECs",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v3("MQTT-4.6.0-4"), v5("MQTT-4.4.0-1"), v3("MQTT-4.4.0-1")],
        needs: &[Need::Qos2],
        play: pubrels_again_in_order,
    },
];

const COUNT: u8 = 30;

/// Messages of several publishers and topics between each other: whoever mixes them up shows.
fn in_its_order(stage: &Stage) -> Verdict {
    for qos in levels(stage) {
        let (one, two) = (stage.topic("1"), stage.topic("2"));
        let mut reader = stage.client("reader")?;
        reader.subscribe(&one, qos)?;
        reader.subscribe(&two, qos)?;
        let mut publisher = stage.client("publisher")?;
        for number in 0..COUNT {
            publisher.deliver(&at(qos, &one, &[number]))?;
            publisher.deliver(&at(qos, &two, &[number]))?;
        }
        let mut next = [0_u8; 2];
        for heard in take_all(stage, &mut reader, 2 * usize::from(COUNT))? {
            let which = usize::from(heard.topic() == two);
            stage.same("the number", &[next[which]][..], heard.publish().payload)?;
            next[which] += 1;
        }
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn queued_in_order(stage: &Stage) -> Verdict {
    for qos in levels(stage).filter(|qos| *qos > QoS::AtMostOnce) {
        let topic = stage.topic("a");
        let mut reader = stage.lasting_client("reader")?;
        reader.subscribe(&topic, qos)?;
        reader.leave();
        let mut publisher = stage.client("publisher")?;
        for number in 0..COUNT {
            publisher.deliver(&at(qos, &topic, &[number]))?;
        }

        let mut reader = stage.lasting_client("reader")?;
        // What is published now stands behind what waited.
        publisher.deliver(&at(qos, &topic, &[COUNT]))?;
        let all = take_all(stage, &mut reader, 1 + usize::from(COUNT))?;
        for (heard, number) in all.iter().zip(0..=COUNT) {
            stage.same("the number", &[number][..], heard.publish().payload)?;
        }
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn again_in_order(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    for qos in levels(stage).filter(|qos| *qos > QoS::AtMostOnce) {
        let name = format!("reader {}", qos as u8);
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, qos)?;
        let mut publisher = stage.client("publisher")?;
        // As many as the narrowest window lets out.
        let mut ids = Vec::new();
        for number in 0..2_u8 {
            publisher.deliver(&at(qos, &topic, &[number]))?;
            ids.push(hears(stage, &mut reader, qos, &topic, &[number])?.publish().packet_id);
        }
        reader.cut();
        publisher.deliver(&at(qos, &topic, &[2]))?;

        let mut reader = stage.lasting_client(&name)?;
        let mut again = Vec::new();
        for number in 0..2_u8 {
            let heard = hears(stage, &mut reader, qos, &topic, &[number])?;
            stage.same("DUP", true, heard.publish().dup)?;
            again.push(heard.publish().packet_id);
        }
        stage.same("the identifiers", &ids, &again)?;
        let kind = if qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec };
        for id in again.into_iter().flatten() {
            reader.acknowledge(kind, id);
        }
        // PUBRELs may stand before what is new.
        let mut next = reader.hear()?;
        while next.packet_type() == PacketType::Pubrel {
            reader.acknowledge(AckKind::Pubcomp, next.ack().id);
            next = reader.hear()?;
        }
        stage.same("a packet", PacketType::Publish, next.packet_type())?;
        is(stage, &next, qos, &topic, &[2])?;
        let gone = stage.connect(&name, &stage.clean(&stage.id(&name)))?;
        gone.leave();
    }
    Ok(())
}

/// Three messages that a reader has received and not answered.
fn three(stage: &Stage, reader: &mut Client<'_>, topic: &str) -> Verdict<Vec<PacketId>> {
    let mut publisher = stage.client("publisher")?;
    let mut ids = Vec::new();
    for number in 0..3_u8 {
        let publish: Publish<'_> = message(topic, &[]);
        publisher.deliver(&Publish { qos: QoS::ExactlyOnce, payload: &[number], ..publish })?;
        ids.extend(hears(stage, reader, QoS::ExactlyOnce, topic, &[number])?.publish().packet_id);
    }
    Ok(ids)
}

fn pubrels_in_order(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    for order in [[0, 1, 2], [2, 0, 1]] {
        let ids = three(stage, &mut reader, &topic)?;
        for at in order {
            reader.acknowledge(AckKind::Pubrec, ids[at]);
        }
        for at in order {
            reader.expect_ack(AckKind::Pubrel, ids[at])?;
            reader.acknowledge(AckKind::Pubcomp, ids[at]);
        }
    }
    reader.expect_nothing()
}

fn pubrels_again_in_order(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let ids = three(stage, &mut reader, &topic)?;
    for id in &ids {
        reader.acknowledge(AckKind::Pubrec, *id);
        reader.expect_ack(AckKind::Pubrel, *id)?;
    }
    reader.cut();

    let mut reader = stage.lasting_client("reader")?;
    for id in &ids {
        reader.expect_ack(AckKind::Pubrel, *id)?;
    }
    for id in &ids {
        reader.acknowledge(AckKind::Pubcomp, *id);
    }
    reader.ping()?;
    reader.expect_nothing()
}
