//! What outlives the broker: sessions, retained messages and wills, over a clean stop and over a kill.

use std::time::Duration;

use columba_proto::packet::{Connect, Packet, PacketType, Publish, Will};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, TopicName};

use super::phrases::{PAST_A_SECOND, at, back, hears, is, take_all, takes};
use crate::script::clause::{Clause, v3, v5};
use crate::script::client::message;
use crate::script::world::Ending;
use crate::script::{ALL, Need, SINCE_V311, Script, Stage, Suite, V5, Verdict};

const fn restart(title: &'static str, clauses: &'static [Clause], needs: &'static [Need], play: fn(&Stage) -> Verdict) -> Script {
    Script { title, suite: Suite::Session, versions: ALL, clauses, needs, play }
}

const QOS1: &[Need] = &[Need::Restart, Need::Qos1];
const QOS2: &[Need] = &[Need::Restart, Need::Qos2];

pub(super) const SCRIPTS: &[Script] = &[
    restart(
        "subscriptions, and messages that wait, outlive the broker",
        &[v5("MQTT-4.5.0-1"), v5("MQTT-4.6.0-5"), v3("MQTT-4.5.0-1"), v3("MQTT-4.6.0-6")],
        QOS1,
        what_waits,
    ),
    restart(
        "a QoS 1 message without PUBACK outlives the broker",
        &[v5("MQTT-4.4.0-1"), v5("MQTT-4.3.2-3"), v3("MQTT-4.4.0-1"), v3("MQTT-4.3.2-1")],
        QOS1,
        without_puback,
    ),
    restart(
        "a QoS 2 message without PUBREC, and one without PUBCOMP, outlive the broker",
        &[v5("MQTT-4.3.3-3"), v5("MQTT-4.3.3-5"), v5("MQTT-4.3.3-6"), v5("MQTT-4.4.0-1"), v3("MQTT-4.3.3-1"), v3("MQTT-4.4.0-1")],
        QOS2,
        half_delivered,
    ),
    restart(
        "a QoS 2 message without PUBREL outlives the broker, and is delivered once",
        &[v5("MQTT-4.3.3-8"), v5("MQTT-4.3.3-10"), v5("MQTT-4.3.3-11"), v3("MQTT-4.3.3-2")],
        QOS2,
        half_published,
    ),
    restart("retained messages, and that there is none, outlive the broker", &[], &[Need::Restart, Need::Retain], retained),
    restart(
        "a subscription that was removed does not come back with the broker",
        &[v5("MQTT-3.10.4-2"), v3("MQTT-3.10.4-2")],
        QOS1,
        unsubscribed,
    ),
    Script {
        versions: SINCE_V311,
        ..restart(
            "a session that was ended does not come back with the broker",
            &[v5("MQTT-3.1.2-4"), v3("MQTT-3.1.2-6")],
            QOS1,
            ended,
        )
    },
    Script {
        versions: V5,
        ..restart("a session expires although the broker was away", &[v5("MQTT-4.1.0-2")], &[Need::Restart], expired)
    },
    restart("a will is published although it was the broker that went", &[v5("MQTT-3.1.2-8"), v3("MQTT-3.1.2-8")], QOS1, wills),
    Script {
        versions: V5,
        ..restart("a broker that is stopped says so", &[v5("MQTT-3.14.2-1")], &[Need::Restart], says_goodbye)
    },
];

const ENDINGS: [Ending; 2] = [Ending::Killed, Ending::Stopped];

fn what_waits(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let name = format!("reader {ending:?}");
        let most = stage.features().maximum_qos;
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, most)?;
        reader.leave();
        let mut publisher = stage.client("publisher")?;
        for number in 0..10_u8 {
            publisher.deliver(&at(if number % 2 == 0 { most } else { QoS::AtLeastOnce }, &topic, &[number]))?;
        }

        stage.restart(ending)?;

        let mut reader = back(stage, &name)?;
        let all = take_all(stage, &mut reader, 10)?;
        for remainder in 0..2 {
            let of_one_qos: Vec<u8> = all
                .iter()
                .filter_map(|heard| heard.publish().payload.first().copied())
                .filter(|number| number % 2 == remainder)
                .collect();
            let wanted: Vec<u8> = (0..10).filter(|number| number % 2 == remainder).collect();
            stage.same("the messages of one QoS", wanted, of_one_qos)?;
        }
        reader.expect_nothing()?;
        stage.client("publisher")?.deliver(&at(most, &topic, b"still"))?;
        takes(stage, &mut reader, most, &topic, b"still")?;
        reader.leave();
    }
    Ok(())
}

fn without_puback(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let name = format!("reader {ending:?}");
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, QoS::AtLeastOnce)?;
        stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"kept"))?;
        hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"kept")?;

        stage.restart(ending)?;

        let mut reader = back(stage, &name)?;
        let again = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"kept")?;
        if !again.publish().dup {
            stage.note("sent again without DUP: the broker does not remember that it has been sent");
        }
        reader.take(&again)?;
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn half_delivered(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let name = format!("reader {ending:?}");
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, QoS::ExactlyOnce)?;
        let mut publisher = stage.client("publisher")?;
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"sent"))?;
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"received"))?;
        let sent = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"sent")?.publish().packet_id;
        let received = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"received")?.publish().packet_id;
        let (Some(sent), Some(received)) = (sent, received) else { return Ok(()) };
        reader.acknowledge(AckKind::Pubrec, received);
        reader.expect_ack(AckKind::Pubrel, received)?;

        stage.restart(ending)?;

        let mut reader = back(stage, &name)?;
        let mut is_again = [false; 2];
        for _ in 0..2 {
            let heard = reader.hear()?;
            if heard.packet_type() == PacketType::Publish {
                is(stage, &heard, QoS::ExactlyOnce, &topic, b"sent")?;
                stage.same("the identifier", Some(sent), heard.publish().packet_id)?;
                is_again[0] = true;
            } else {
                stage.same("PUBREL", (AckKind::Pubrel, received), (heard.ack().kind, heard.ack().id))?;
                is_again[1] = true;
            }
        }
        stage.same("PUBLISH and PUBREL again", [true; 2], is_again)?;
        reader.acknowledge(AckKind::Pubrec, sent);
        reader.expect_ack(AckKind::Pubrel, sent)?;
        reader.acknowledge(AckKind::Pubcomp, received);
        reader.acknowledge(AckKind::Pubcomp, sent);
        reader.ping()?;
        reader.expect_nothing()?;
        reader.leave();
        stage.restart(Ending::Stopped)?;
        back(stage, &name)?.expect_nothing()?;
    }
    Ok(())
}

fn half_published(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let (name, writer) = (format!("reader {ending:?}"), format!("writer {ending:?}"));
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, QoS::ExactlyOnce)?;
        let mut publisher = stage.lasting_client(&writer)?;
        let (one, two) = (PacketId::FIRST, PacketId::FIRST.next());
        for (id, payload) in [(one, b"1"), (two, b"2")] {
            publisher.publish(&Publish { packet_id: Some(id), ..at(QoS::ExactlyOnce, &topic, payload) });
            publisher.expect_ack(AckKind::Pubrec, id)?;
        }

        stage.restart(ending)?;

        // PUBREC may have been lost: one is repeated, for the other one the publisher goes on.
        let mut publisher = back(stage, &writer)?;
        publisher.publish(&Publish { packet_id: Some(one), dup: true, ..at(QoS::ExactlyOnce, &topic, b"1") });
        publisher.expect_ack(AckKind::Pubrec, one)?;
        for id in [one, two] {
            publisher.acknowledge(AckKind::Pubrel, id);
            publisher.expect_ack_with(AckKind::Pubcomp, id, ReasonCode::SUCCESS)?;
        }
        let mut reader = back(stage, &name)?;
        let all = take_all(stage, &mut reader, 2)?;
        is(stage, &all[0], QoS::ExactlyOnce, &topic, b"1")?;
        is(stage, &all[1], QoS::ExactlyOnce, &topic, b"2")?;
        reader.ping()?;

        stage.restart(ending)?;

        // PUBCOMP may have been lost.
        let mut publisher = back(stage, &writer)?;
        publisher.acknowledge(AckKind::Pubrel, one);
        publisher.expect_ack(AckKind::Pubcomp, one)?;
        // So may the reader's PUBCOMP: then PUBREL comes again, and no message.
        let mut reader = back(stage, &name)?;
        while let Some(heard) = reader.hear_within(Duration::from_millis(200))? {
            stage.same("a packet", PacketType::Pubrel, heard.packet_type())?;
            reader.acknowledge(AckKind::Pubcomp, heard.ack().id);
        }
    }
    Ok(())
}

fn retained(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let (kept, gone) = (stage.topic(&format!("kept/{ending:?}")), stage.topic(&format!("gone/{ending:?}")));
        // What is answered was taken: QoS 0 may be lost with the broker.
        let qos = stage.features().maximum_qos;
        let mut publisher = stage.client("publisher")?;
        for (topic, payload) in [(&kept, &b"older"[..]), (&kept, b"kept"), (&gone, b"gone"), (&gone, b"")] {
            publisher.deliver(&Publish { retain: true, ..at(qos, topic, payload) })?;
        }
        publisher.ping()?;

        stage.restart(ending)?;

        let mut reader = stage.client("reader")?;
        let id = reader.ask(&[(&kept, QoS::AtMostOnce.into()), (&gone, QoS::AtMostOnce.into())]);
        let mut first = reader.hear()?;
        if first.packet_type() == PacketType::Suback {
            first = reader.expect_publish()?;
        } else {
            reader.expect_suback(id)?;
        }
        is(stage, &first, QoS::AtMostOnce, &kept, b"kept")?;
        stage.same("RETAIN", true, first.publish().retain)?;
        reader.expect_nothing()?;
        stage.client("publisher")?.deliver(&Publish { retain: true, ..at(qos, &kept, b"") })?;
    }
    Ok(())
}

fn unsubscribed(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let (kept, gone) = (stage.topic(&format!("kept/{ending:?}")), stage.topic(&format!("gone/{ending:?}")));
        let name = format!("reader {ending:?}");
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&kept, QoS::AtLeastOnce)?;
        reader.subscribe(&gone, QoS::AtLeastOnce)?;
        let id = reader.ask_no_more(&[&gone]);
        reader.expect_unsuback(id)?;

        stage.restart(ending)?;

        let mut publisher = stage.client("publisher")?;
        publisher.deliver(&at(QoS::AtLeastOnce, &gone, b"for nobody"))?;
        publisher.deliver(&at(QoS::AtLeastOnce, &kept, b"still"))?;
        let mut reader = back(stage, &name)?;
        takes(stage, &mut reader, QoS::AtLeastOnce, &kept, b"still")?;
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn ended(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let name = format!("reader {ending:?}");
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, QoS::AtLeastOnce)?;
        reader.leave();
        // A clean start, for good.
        stage.client(&name)?.leave();

        stage.restart(ending)?;

        stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"for nobody"))?;
        let mut reader = stage.lasting_client(&name)?;
        stage.same("session present", false, reader.session_present())?;
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn expired(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let name = format!("reader {ending:?}");
        let id = stage.id(&name);
        let mut connect: Connect<'_> = stage.lasting(&id);
        connect.properties.session_expiry = Some(1);
        stage.connect(&name, &connect)?.leave();
        let lasting = format!("other {ending:?}");
        stage.lasting_client(&lasting)?.leave();

        stage.restart(ending)?;
        stage.pass(PAST_A_SECOND);

        let reader = stage.connect(&name, &connect)?;
        stage.same("session present", false, reader.session_present())?;
        back(stage, &lasting)?.leave();
    }
    Ok(())
}

/// How long a broker may wait for clients to come back before it publishes their wills.
const WILL_PATIENCE: Duration = Duration::from_secs(15);

fn wills(stage: &Stage) -> Verdict {
    for ending in ENDINGS {
        let topic = stage.topic(&format!("{ending:?}"));
        let (name, mortal) = (format!("reader {ending:?}"), stage.id(&format!("mortal {ending:?}")));
        let mut reader = stage.lasting_client(&name)?;
        reader.subscribe(&topic, QoS::AtLeastOnce)?;
        let mut connect: Connect<'_> = stage.clean(&mortal);
        let Ok(will_topic) = TopicName::new(&topic) else { return Ok(()) };
        connect.will = Some(Will {
            topic: will_topic,
            payload: b"the will",
            qos: QoS::AtLeastOnce,
            retain: false,
            delay: 0,
            properties: <_>::default(),
        });
        stage.connect("mortal", &connect)?;

        stage.restart(ending)?;

        // At the end of the broker, or as late as after its start (§3.1.2.5).
        let mut reader = back(stage, &name)?;
        let heard = reader.expect_publish_within(WILL_PATIENCE)?;
        is(stage, &heard, QoS::AtLeastOnce, &topic, b"the will")?;
        reader.take(&heard)?;
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn says_goodbye(stage: &Stage) -> Verdict {
    let client = stage.client("staying")?;
    stage.restart(Ending::Stopped)?;
    let all = client.hear_to_the_end()?;
    let says_why =
        |packet: &Packet<'_>| matches!(packet, Packet::Disconnect(last) if last.reason == ReasonCode::SERVER_SHUTTING_DOWN);
    match all.as_slice() {
        [] => {
            stage.advise("connections end without a word when the broker is stopped; Server shutting down (0x8b) would say why");
        }
        [last] if says_why(&last.packet()) => {}
        [last, ..] => stage.check(false, "DISCONNECT: Server shutting down (0x8b)", last.told())?,
    }
    // It is there again.
    let mut client = stage.client("new")?;
    let topic = stage.topic("a");
    client.subscribe(&topic, QoS::AtMostOnce)?;
    client.publish(&message(&topic, b"x"));
    takes(stage, &mut client, QoS::AtMostOnce, &topic, b"x")
}
