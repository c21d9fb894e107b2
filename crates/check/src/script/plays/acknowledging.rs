//! PUBACK, PUBREC, PUBREL and PUBCOMP: their forms and reasons (§3.4 to §3.7).

use std::num::NonZeroU16;

use columba_proto::packet::Publish;
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use crate::script::bytes::{properties, text, user_property};
use crate::script::clause::v5;
use crate::script::client::{frame, message};
use crate::script::{Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "PUBACK is understood in every form",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.4.2-1"), v5("MQTT-2.2.1-5")],
        needs: &[Need::Qos1],
        play: puback_is_understood_in_every_form,
    },
    Script {
        title: "PUBREC, PUBREL and PUBCOMP are understood in every form",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.5.2-1"), v5("MQTT-3.6.2-1"), v5("MQTT-3.7.2-1"), v5("MQTT-2.2.1-5")],
        needs: &[Need::Qos2],
        play: pubrec_pubrel_and_pubcomp_are_understood_in_every_form,
    },
    Script {
        title: "acknowledgements give a reason that is listed for them",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.4.2-1"), v5("MQTT-3.5.2-1"), v5("MQTT-3.6.2-1"), v5("MQTT-3.7.2-1")],
        needs: &[Need::Qos2],
        play: acknowledgements_give_a_reason_that_is_listed_for_them,
    },
];

/// What may stand behind the identifier: nothing, a reason, a reason and properties.
fn forms(stage: &Stage) -> Vec<Vec<u8>> {
    let why = [vec![0x1f], text("all is well")].concat();
    let pair = user_property(b"name", b"value");
    let block = [why, pair.clone(), pair].concat();
    vec![vec![], vec![0], vec![0, 0], [vec![0], properties(stage.version(), &block)].concat()]
}

fn acknowledge(client: &mut Client<'_>, first: u8, id: PacketId, form: &[u8]) {
    let body = [&id.get().to_be_bytes()[..], form].concat();
    client.send_bytes("an acknowledgement", &frame(first, &body));
}

/// A reader that is sent one message at a time.
fn reader<'s>(stage: &'s Stage, topic: &str, qos: QoS) -> Verdict<Client<'s>> {
    let id = stage.id("reader");
    let mut connect = stage.clean(&id);
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let mut reader = stage.connect("reader", &connect)?;
    reader.subscribe(topic, qos)?;
    Ok(reader)
}

fn puback_is_understood_in_every_form(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = reader(stage, &topic, QoS::AtLeastOnce)?;
    let mut publisher = stage.client("publisher")?;
    // A failure ends the exchange just as well.
    let forms = [forms(stage), vec![vec![0x80], vec![0x97, 0]]].concat();
    for _ in 0..=forms.len() {
        publisher.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"hello") })?;
    }
    for form in forms {
        let heard = reader.expect_publish()?;
        stage.same("dup", false, heard.publish().dup)?;
        let Some(id) = heard.publish().packet_id else { return stage.check(false, "QoS 1", heard.told()) };
        reader.expect_nothing()?;
        acknowledge(&mut reader, 0x40, id, &form);
    }
    reader.receive()?;
    reader.expect_nothing()
}

fn pubrec_pubrel_and_pubcomp_are_understood_in_every_form(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = reader(stage, &topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    for form in forms(stage) {
        let Some(id) = publisher.publish(&Publish { qos: QoS::ExactlyOnce, ..message(&topic, b"hello") }) else { return Ok(()) };
        publisher.expect_ack(AckKind::Pubrec, id)?;
        acknowledge(&mut publisher, 0x62, id, &form);
        publisher.expect_ack_with(AckKind::Pubcomp, id, ReasonCode::SUCCESS)?;

        let heard = reader.expect_publish()?;
        let Some(id) = heard.publish().packet_id else { return stage.check(false, "QoS 2", heard.told()) };
        acknowledge(&mut reader, 0x50, id, &form);
        reader.expect_ack_with(AckKind::Pubrel, id, ReasonCode::SUCCESS)?;
        acknowledge(&mut reader, 0x70, id, &form);
    }
    reader.expect_nothing()
}

fn acknowledgements_give_a_reason_that_is_listed_for_them(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = reader(stage, &topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    // A reason that is not listed for its packet would not be well-formed.
    for topic in [&topic, &stage.topic("nobody")] {
        for (qos, kind) in [(QoS::AtLeastOnce, AckKind::Puback), (QoS::ExactlyOnce, AckKind::Pubrec)] {
            let Some(id) = publisher.publish(&Publish { qos, ..message(topic, b"hello") }) else { continue };
            let answer = publisher.expect_ack(kind, id)?;
            stage.check(!answer.ack().reason.is_failure(), "the message is taken", answer.told())?;
            if kind == AckKind::Pubrec {
                publisher.acknowledge(AckKind::Pubrel, id);
                publisher.expect_ack_with(AckKind::Pubcomp, id, ReasonCode::SUCCESS)?;
            }
        }
    }
    for _ in 0..2 {
        reader.receive()?;
    }
    let unknown = PacketId::new(4_321).expect("not zero");
    publisher.acknowledge(AckKind::Pubrel, unknown);
    let answer = publisher.expect_ack(AckKind::Pubcomp, unknown)?;
    if answer.ack().reason != ReasonCode::PACKET_IDENTIFIER_NOT_FOUND {
        stage.advise(format!("{} where 0x92 would say that there is no such identifier", answer.ack().reason));
    }
    Ok(())
}
