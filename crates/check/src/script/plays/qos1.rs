//! QoS 0 and 1 (§4.3.1, §4.3.2), and what is sent again (§4.4).

use std::collections::BTreeSet;
use std::time::Duration;

use columba_proto::packet::{Ack, Packet, Publish};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use super::phrases::{at, hears, is, levels, takes};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "QoS 0 goes out without DUP and identifier, and is not answered",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.1-1"), v3("MQTT-4.3.1-1")],
        needs: &[],
        play: qos0,
    },
    Script {
        title: "a QoS 1 message is answered by PUBACK, and delivered with a fresh identifier and without DUP",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.2-2"), v5("MQTT-4.3.2-4"), v3("MQTT-4.3.2-1"), v3("MQTT-4.3.2-2")],
        needs: &[Need::Qos1],
        play: qos1,
    },
    Script {
        title: "QoS 1 messages in flight have identifiers of their own",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.2-1"), v3("MQTT-4.3.2-1")],
        needs: &[Need::Qos1],
        play: identifiers,
    },
    Script {
        title: "a QoS 1 message without PUBACK is sent again when its session resumes, until PUBACK",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[
            v5("MQTT-4.3.2-3"),
            v5("MQTT-4.4.0-1"),
            v5("MQTT-3.3.1-1"),
            v3("MQTT-4.3.2-1"),
            v3("MQTT-4.4.0-1"),
            v3("MQTT-3.3.1-1"),
        ],
        needs: &[Need::Qos1],
        play: until_puback,
    },
    Script {
        title: "nothing is sent again while the connection lasts",
        suite: Suite::Qos,
        versions: V5,
        clauses: &[v5("MQTT-4.4.0-1")],
        needs: &[Need::Qos1],
        play: nothing_again,
    },
    Script {
        title: "after PUBACK the identifier is a new message, whatever DUP says",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.2-5"), v3("MQTT-4.3.2-2")],
        needs: &[Need::Qos1],
        play: a_new_message,
    },
    Script {
        title: "a PUBACK that refuses settles the message",
        suite: Suite::Qos,
        versions: V5,
        clauses: &[v5("MQTT-4.4.0-2")],
        needs: &[Need::Qos1],
        play: a_refusal_settles,
    },
    Script {
        title: "a QoS 1 message is queued for everybody who subscribed",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-4.5.0-1"), v3("MQTT-4.5.0-1")],
        needs: &[Need::Qos1],
        play: everybody_who_subscribed,
    },
];

fn qos0(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::AtMostOnce)?;
    for qos in levels(stage) {
        // A DUP that comes in says nothing about what goes out.
        let publish = Publish { dup: qos > QoS::AtMostOnce, ..at(qos, &topic, b"x") };
        publisher.deliver(&publish)?;
        let heard = hears(stage, &mut reader, QoS::AtMostOnce, &topic, b"x")?;
        stage.same("DUP", false, heard.publish().dup)?;
        stage.same("the identifier", None, heard.publish().packet_id)?;
    }
    publisher.expect_nothing()?;
    reader.expect_nothing()
}

fn qos1(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    for (number, dup) in [(1, false), (0x1234, true), (u16::MAX, false)] {
        let packet_id = PacketId::new(number);
        publisher.deliver(&Publish { packet_id, dup, ..at(QoS::AtLeastOnce, &topic, b"x") })?;
        let heard = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"x")?;
        stage.same("DUP", false, heard.publish().dup)?;
        reader.take(&heard)?;
    }
    publisher.expect_nothing()?;
    reader.expect_nothing()
}

fn identifiers(stage: &Stage) -> Verdict {
    const COUNT: usize = 10;
    let (one, two) = (stage.topic("1"), stage.topic("2"));
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    let both = stage.features().maximum_qos;
    reader.subscribe(&one, QoS::AtLeastOnce)?;
    reader.subscribe(&two, both)?;
    let (mut open, mut last) = (BTreeSet::new(), None);
    // A window may be smaller than all of them: what does not come is waiting for an answer.
    for _ in 0..COUNT {
        publisher.deliver(&at(QoS::AtLeastOnce, &one, b"x"))?;
        publisher.deliver(&at(both, &two, b"x"))?;
    }
    while let Some(heard) = reader.hear_within(Duration::from_millis(200))? {
        let id = heard.publish().packet_id;
        stage.check(id.is_some() && open.insert(id), "an identifier that is free", heard.told())?;
        last = Some(heard);
    }
    stage.check(open.len() >= 2, "more messages than one in flight", open.len().to_string())?;

    // Those of others stay taken when one is free again.
    let Some(last) = last else { return Ok(()) };
    reader.take(&last)?;
    open.remove(&last.publish().packet_id);
    publisher.deliver(&at(QoS::AtLeastOnce, &one, b"one more"))?;
    let heard = reader.expect_publish()?;
    stage.check(open.insert(heard.publish().packet_id), "an identifier that is free", heard.told())
}

fn until_puback(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"kept"))?;
    let first = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"kept")?;
    stage.same("DUP", false, first.publish().dup)?;
    reader.cut();

    // Not once, but as often as it takes; after a good-bye too.
    for says_goodbye in [false, true, false] {
        let mut reader = stage.lasting_client("reader")?;
        let again = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"kept")?;
        stage.same("DUP", true, again.publish().dup)?;
        stage.same("the identifier", first.publish().packet_id, again.publish().packet_id)?;
        if says_goodbye { reader.leave() } else { reader.cut() }
    }
    let mut reader = stage.lasting_client("reader")?;
    reader.receive()?;
    // This says that PUBACK has arrived.
    reader.ping()?;
    reader.leave();

    let mut reader = stage.lasting_client("reader")?;
    reader.expect_nothing()
}

fn nothing_again(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let most = stage.features().maximum_qos;
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, most)?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"1"))?;
    hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"1")?;
    publisher.deliver(&at(most, &topic, b"2"))?;
    let heard = hears(stage, &mut reader, most, &topic, b"2")?;
    reader.expect_nothing_for(Duration::from_secs(2))?;
    if let Some(id) = heard.publish().packet_id.filter(|_| most == QoS::ExactlyOnce) {
        reader.acknowledge(AckKind::Pubrec, id);
        reader.expect_ack(AckKind::Pubrel, id)?;
    }
    reader.expect_nothing_for(Duration::from_secs(2))
}

fn a_new_message(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.lasting_client("publisher")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let packet_id = PacketId::new(7);
    for (payload, dup) in [(b"1", false), (b"2", true), (b"2", true), (b"3", false)] {
        publisher.deliver(&Publish { dup, packet_id, ..at(QoS::AtLeastOnce, &topic, payload) })?;
        takes(stage, &mut reader, QoS::AtLeastOnce, &topic, payload)?;
    }
    publisher.leave();

    // Also in the next connection of the same session.
    let mut publisher = stage.lasting_client("publisher")?;
    publisher.deliver(&Publish { dup: true, packet_id, ..at(QoS::AtLeastOnce, &topic, b"4") })?;
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"4")?;
    reader.expect_nothing()
}

fn a_refusal_settles(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut publisher = stage.client("publisher")?;
    for reason in [
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::NOT_AUTHORIZED,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::PAYLOAD_FORMAT_INVALID,
    ] {
        publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"unwanted"))?;
        let heard = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"unwanted")?;
        if let Some(id) = heard.publish().packet_id {
            reader.send(&Packet::Ack(Ack::new(AckKind::Puback, id, reason)));
        }
    }
    reader.ping()?;
    reader.leave();

    let mut reader = stage.lasting_client("reader")?;
    reader.expect_nothing()?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"wanted"))?;
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"wanted")
}

fn everybody_who_subscribed(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let names = ["here", "away", "gone for good"];
    let mut here = stage.client(names[0])?;
    here.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut away = stage.lasting_client(names[1])?;
    away.subscribe(&topic, QoS::AtLeastOnce)?;
    away.leave();
    let mut gone = stage.client(names[2])?;
    gone.subscribe(&topic, QoS::AtLeastOnce)?;
    gone.leave();

    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"for all"))?;
    publisher.deliver(&message(&stage.topic("b"), b"for nobody"))?;

    takes(stage, &mut here, QoS::AtLeastOnce, &topic, b"for all")?;
    here.expect_nothing()?;
    let mut away = stage.lasting_client(names[1])?;
    let heard = away.expect_publish()?;
    is(stage, &heard, QoS::AtLeastOnce, &topic, b"for all")?;
    away.take(&heard)?;
    away.expect_nothing()?;
    let mut gone = stage.lasting_client(names[2])?;
    gone.expect_nothing()
}
