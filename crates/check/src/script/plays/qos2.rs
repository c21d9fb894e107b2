//! QoS 2 (§4.3.3): each packet of the exchange, repeated and cut off, in both directions.

use std::time::Duration;

use columba_proto::packet::{Ack, Packet, PacketType, Publish, PublishProperties};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use super::phrases::{PAST_A_SECOND, at, back, hears, is, take_all, takes};
use crate::script::clause::{Clause, v3, v5};
use crate::script::{ALL, Client, Heard, Need, Script, Stage, Stop, Suite, V5, Verdict};

const fn qos2(title: &'static str, clauses: &'static [Clause], play: fn(&Stage) -> Verdict) -> Script {
    Script { title, suite: Suite::Qos, versions: ALL, clauses, needs: &[Need::Qos2], play }
}

const fn qos2_v5(title: &'static str, clauses: &'static [Clause], play: fn(&Stage) -> Verdict) -> Script {
    Script { versions: V5, ..qos2(title, clauses, play) }
}

pub(super) const SCRIPTS: &[Script] = &[
    qos2(
        "a QoS 2 message goes through PUBREC, PUBREL and PUBCOMP on both sides",
        &[
            v5("MQTT-4.3.3-2"),
            v5("MQTT-4.3.3-4"),
            v5("MQTT-4.3.3-8"),
            v5("MQTT-4.3.3-11"),
            v3("MQTT-4.3.3-1"),
            v3("MQTT-4.3.3-2"),
        ],
        the_whole_exchange,
    ),
    qos2(
        "a repeated PUBLISH before PUBREL is acknowledged and delivered once",
        &[v5("MQTT-4.3.3-10"), v3("MQTT-4.3.3-2")],
        a_repeated_publish,
    ),
    qos2(
        "a PUBLISH repeated in the next connection is delivered once",
        &[v5("MQTT-4.3.3-10"), v3("MQTT-4.3.3-2")],
        a_publish_repeated_later,
    ),
    qos2(
        "PUBREL is answered in the next connection, and delivers once",
        &[v5("MQTT-4.3.3-11"), v5("MQTT-4.3.3-8"), v3("MQTT-4.3.3-2"), v3("MQTT-4.4.0-1")],
        a_pubrel_in_the_next_connection,
    ),
    qos2(
        "a repeated PUBREL is answered by PUBCOMP and delivers nothing",
        &[v5("MQTT-4.3.3-11"), v3("MQTT-4.3.3-2")],
        a_repeated_pubrel,
    ),
    qos2(
        "after PUBCOMP the identifier is a new message, whatever DUP says",
        &[v5("MQTT-4.3.3-12"), v3("MQTT-4.3.3-2")],
        after_pubcomp,
    ),
    qos2("two QoS 2 messages under way are two", &[v5("MQTT-4.3.3-10"), v3("MQTT-4.3.3-2")], two_under_way),
    qos2("QoS 2 messages in flight have identifiers of their own", &[v5("MQTT-4.3.3-1"), v3("MQTT-4.3.3-1")], identifiers),
    qos2(
        "a PUBLISH without PUBREC is sent again when its session resumes",
        &[v5("MQTT-4.3.3-3"), v5("MQTT-4.4.0-1"), v3("MQTT-4.3.3-1"), v3("MQTT-4.4.0-1")],
        until_pubrec,
    ),
    qos2(
        "a PUBREL without PUBCOMP is sent again when its session resumes, and the PUBLISH is not",
        &[v5("MQTT-4.3.3-5"), v5("MQTT-4.3.3-6"), v5("MQTT-4.4.0-1"), v3("MQTT-4.3.3-1"), v3("MQTT-4.4.0-1")],
        until_pubcomp,
    ),
    qos2(
        "a repeated PUBREC is answered by PUBREL again",
        &[v5("MQTT-4.3.3-4"), v5("MQTT-4.3.3-6"), v3("MQTT-4.3.3-1")],
        a_repeated_pubrec,
    ),
    qos2_v5("a PUBREC that refuses settles the message and frees its place", &[v5("MQTT-4.3.3-9"), v5("MQTT-4.4.0-2")], refused),
    qos2_v5("no expiry is applied once the PUBLISH was sent", &[v5("MQTT-4.3.3-7"), v5("MQTT-4.3.3-13")], no_expiry_once_sent),
    qos2_v5(
        "a publisher's exchange is finished although the message expired",
        &[v5("MQTT-4.3.3-13"), v5("MQTT-4.3.3-11")],
        expired_under_way,
    ),
    qos2_v5("a PUBREL or PUBREC for nothing is answered", &[v5("MQTT-4.3.3-11"), v5("MQTT-4.3.3-4")], for_nothing),
];

/// The identifier of a QoS 1 or 2 message.
fn id_of(heard: &Heard) -> Verdict<PacketId> {
    let wrong = || Stop::Failed { expected: "a packet identifier".into(), got: heard.told() };
    heard.publish().packet_id.ok_or_else(wrong)
}

/// Publishes under this identifier and waits for PUBREC.
fn begin(client: &mut Client<'_>, topic: &str, payload: &[u8], id: PacketId, dup: bool) -> Verdict {
    client.publish(&Publish { packet_id: Some(id), dup, ..at(QoS::ExactlyOnce, topic, payload) });
    client.expect_ack(AckKind::Pubrec, id).map(drop)
}

/// Sends PUBREL and waits for PUBCOMP.
fn finish(client: &mut Client<'_>, id: PacketId) -> Verdict<Heard> {
    client.acknowledge(AckKind::Pubrel, id);
    client.expect_ack(AckKind::Pubcomp, id)
}

const SEVEN: Option<PacketId> = PacketId::new(7);

fn seven() -> PacketId {
    SEVEN.unwrap_or(PacketId::FIRST)
}

fn the_whole_exchange(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    for (number, dup) in [(1, false), (0x1234, true), (u16::MAX, false)] {
        let id = PacketId::new(number).unwrap_or(PacketId::FIRST);
        begin(&mut publisher, &topic, b"x", id, dup)?;
        let ack = finish(&mut publisher, id)?;
        stage.same("the reason", ReasonCode::SUCCESS, ack.ack().reason)?;

        let heard = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?;
        stage.same("DUP", false, heard.publish().dup)?;
        let id = id_of(&heard)?;
        reader.acknowledge(AckKind::Pubrec, id);
        reader.expect_ack_with(AckKind::Pubrel, id, ReasonCode::SUCCESS)?;
        reader.acknowledge(AckKind::Pubcomp, id);
    }
    publisher.expect_nothing()?;
    reader.expect_nothing()
}

fn a_repeated_publish(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let id = seven();
    // With DUP and, as a careless client might, without.
    for dup in [false, true, true, false] {
        begin(&mut publisher, &topic, b"x", id, dup)?;
    }
    finish(&mut publisher, id)?;

    takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?;
    reader.expect_nothing()
}

fn a_publish_repeated_later(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let id = seven();
    for says_goodbye in [false, true] {
        let mut publisher = stage.lasting_client("publisher")?;
        begin(&mut publisher, &topic, b"x", id, false)?;
        if says_goodbye {
            publisher.leave();
        } else {
            publisher.cut();
        }

        for _ in 0..2 {
            let mut publisher = back(stage, "publisher")?;
            begin(&mut publisher, &topic, b"x", id, true)?;
            publisher.cut();
        }
        let mut publisher = stage.lasting_client("publisher")?;
        begin(&mut publisher, &topic, b"x", id, true)?;
        finish(&mut publisher, id)?;
        publisher.leave();

        takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?;
        reader.expect_nothing()?;
    }
    Ok(())
}

fn a_pubrel_in_the_next_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let id = seven();
    let mut publisher = stage.lasting_client("publisher")?;
    begin(&mut publisher, &topic, b"x", id, false)?;
    publisher.cut();

    let mut publisher = stage.lasting_client("publisher")?;
    publisher.acknowledge(AckKind::Pubrel, id);
    publisher.expect_ack_with(AckKind::Pubcomp, id, ReasonCode::SUCCESS)?;
    takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?;
    publisher.cut();

    // PUBCOMP may have been lost: the client asks again.
    let mut publisher = stage.lasting_client("publisher")?;
    finish(&mut publisher, id)?;
    reader.expect_nothing()
}

fn a_repeated_pubrel(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let id = seven();
    begin(&mut publisher, &topic, b"x", id, false)?;
    for _ in 0..3 {
        finish(&mut publisher, id)?;
    }
    takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?;
    reader.expect_nothing()
}

fn after_pubcomp(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.lasting_client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let id = seven();
    for (payload, dup) in [(b"1", false), (b"2", true), (b"2", true), (b"3", false)] {
        begin(&mut publisher, &topic, payload, id, dup)?;
        finish(&mut publisher, id)?;
        takes(stage, &mut reader, QoS::ExactlyOnce, &topic, payload)?;
    }
    // It is free for QoS 1 as well.
    publisher.deliver(&Publish { packet_id: Some(id), ..at(QoS::AtLeastOnce, &topic, b"4") })?;
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"4")?;
    publisher.leave();

    let mut publisher = stage.lasting_client("publisher")?;
    begin(&mut publisher, &topic, b"5", id, true)?;
    finish(&mut publisher, id)?;
    takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"5")?;
    reader.expect_nothing()
}

fn two_under_way(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let (one, two) = (PacketId::FIRST, PacketId::FIRST.next());
    begin(&mut publisher, &topic, b"1", one, false)?;
    begin(&mut publisher, &topic, b"2", two, false)?;
    begin(&mut publisher, &topic, b"1", one, true)?;
    finish(&mut publisher, one)?;
    begin(&mut publisher, &topic, b"2", two, true)?;
    finish(&mut publisher, two)?;

    let all = take_all(stage, &mut reader, 2)?;
    is(stage, &all[0], QoS::ExactlyOnce, &topic, b"1")?;
    is(stage, &all[1], QoS::ExactlyOnce, &topic, b"2")?;
    reader.expect_nothing()
}

fn identifiers(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut open: Vec<PacketId> = Vec::new();
    for number in 0..10_u8 {
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, &[number]))?;
        let heard = reader.expect_publish()?;
        let id = id_of(&heard)?;
        stage.check(!open.contains(&id), "an identifier that is free", heard.told())?;
        open.push(id);
        // Some wait for PUBREC, some for PUBCOMP: both keep their identifier.
        if number % 2 == 0 {
            reader.acknowledge(AckKind::Pubrec, id);
            reader.expect_ack(AckKind::Pubrel, id)?;
        }
    }
    Ok(())
}

fn until_pubrec(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::ExactlyOnce, &topic, b"kept"))?;
    let first = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"kept")?;
    reader.cut();
    for says_goodbye in [true, false] {
        let mut reader = stage.lasting_client("reader")?;
        let again = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"kept")?;
        stage.same("DUP", true, again.publish().dup)?;
        stage.same("the identifier", first.publish().packet_id, again.publish().packet_id)?;
        if says_goodbye { reader.leave() } else { reader.cut() }
    }

    let mut reader = stage.lasting_client("reader")?;
    reader.receive()?;
    reader.ping()?;
    reader.leave();
    let mut reader = stage.lasting_client("reader")?;
    reader.expect_nothing()
}

fn until_pubcomp(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::ExactlyOnce, &topic, b"kept"))?;
    let id = id_of(&hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"kept")?)?;
    reader.acknowledge(AckKind::Pubrec, id);
    reader.expect_ack(AckKind::Pubrel, id)?;
    reader.cut();
    for says_goodbye in [true, false] {
        let mut reader = stage.lasting_client("reader")?;
        reader.expect_ack(AckKind::Pubrel, id)?;
        reader.expect_nothing()?;
        if says_goodbye { reader.leave() } else { reader.cut() }
    }

    let mut reader = stage.lasting_client("reader")?;
    reader.expect_ack(AckKind::Pubrel, id)?;
    reader.acknowledge(AckKind::Pubcomp, id);
    reader.ping()?;
    reader.leave();
    let mut reader = stage.lasting_client("reader")?;
    reader.expect_nothing()
}

fn a_repeated_pubrec(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::ExactlyOnce, &topic, b"x"))?;
    let id = id_of(&hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"x")?)?;
    for _ in 0..3 {
        reader.acknowledge(AckKind::Pubrec, id);
        reader.expect_ack(AckKind::Pubrel, id)?;
    }
    reader.acknowledge(AckKind::Pubcomp, id);
    reader.expect_nothing()
}

fn refused(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let id = stage.id("reader");
    let mut connect = stage.lasting(&id);
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let mut reader = stage.connect("reader", &connect)?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    for _ in 0..3 {
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"unwanted"))?;
    }
    for reason in [ReasonCode::UNSPECIFIED_ERROR, ReasonCode::QUOTA_EXCEEDED, ReasonCode::PAYLOAD_FORMAT_INVALID] {
        // It comes only if the one before is settled: there is room for one.
        let heard = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"unwanted")?;
        reader.send(&Packet::Ack(Ack::new(AckKind::Pubrec, id_of(&heard)?, reason)));
    }
    reader.expect_nothing()?;
    reader.leave();

    let mut reader = stage.connect("reader", &connect)?;
    reader.expect_nothing()?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"wanted"))?;
    takes(stage, &mut reader, QoS::ExactlyOnce, &topic, b"wanted")
}

fn no_expiry_once_sent(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    let properties = PublishProperties { message_expiry: Some(1), ..PublishProperties::default() };
    publisher.deliver(&Publish { properties, ..at(QoS::ExactlyOnce, &topic, b"1") })?;
    publisher.deliver(&Publish { properties, ..at(QoS::ExactlyOnce, &topic, b"2") })?;
    let one = id_of(&hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"1")?)?;
    let two = id_of(&hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"2")?)?;
    reader.acknowledge(AckKind::Pubrec, two);
    reader.expect_ack(AckKind::Pubrel, two)?;
    stage.pass(PAST_A_SECOND);

    reader.cut();
    let mut reader = stage.lasting_client("reader")?;
    let mut again = Vec::new();
    for _ in 0..2 {
        let heard = reader.hear()?;
        again.push(heard.packet_type());
        if heard.packet_type() == PacketType::Publish {
            is(stage, &heard, QoS::ExactlyOnce, &topic, b"1")?;
            stage.same("the identifier", one, id_of(&heard)?)?;
        } else {
            stage.same("PUBREL", (AckKind::Pubrel, two), (heard.ack().kind, heard.ack().id))?;
        }
    }
    stage.check(again[0] != again[1], "PUBLISH and PUBREL again", format!("{again:?}"))?;
    reader.acknowledge(AckKind::Pubcomp, two);
    reader.acknowledge(AckKind::Pubrec, one);
    reader.expect_ack(AckKind::Pubrel, one)?;
    reader.acknowledge(AckKind::Pubcomp, one);
    reader.expect_nothing()
}

fn expired_under_way(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    let properties = PublishProperties { message_expiry: Some(1), ..PublishProperties::default() };
    let id = publisher.publish(&Publish { properties, ..at(QoS::ExactlyOnce, &topic, b"x") });
    let Some(id) = id else { return Ok(()) };
    publisher.expect_ack(AckKind::Pubrec, id)?;
    stage.pass(PAST_A_SECOND);

    publisher.acknowledge(AckKind::Pubrel, id);
    publisher.expect_ack_with(AckKind::Pubcomp, id, ReasonCode::SUCCESS)?;

    // Whether it was delivered at PUBLISH, is at PUBREL or not at all, is the broker's choice.
    if let Some(heard) = reader.hear_within(Duration::from_millis(200))? {
        is(stage, &heard, QoS::ExactlyOnce, &topic, b"x")?;
        reader.take(&heard)?;
    }
    reader.expect_nothing()
}

fn for_nothing(stage: &Stage) -> Verdict {
    let mut client = stage.client("lost")?;
    for (kind, answer) in [(AckKind::Pubrel, AckKind::Pubcomp), (AckKind::Pubrec, AckKind::Pubrel)] {
        client.acknowledge(kind, seven());
        let heard = client.expect_ack(answer, seven())?;
        if heard.ack().reason != ReasonCode::PACKET_IDENTIFIER_NOT_FOUND {
            stage.advise(format!("{}: 0x92 would say that the identifier is not known", heard.told()));
        }
        if answer == AckKind::Pubrel {
            client.acknowledge(AckKind::Pubcomp, seven());
        }
    }
    client.ping()
}
