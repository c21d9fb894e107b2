//! Shared subscriptions (§4.8.2).

use std::time::Duration;

use columba_proto::packet::{Ack, Packet, PacketType, Publish};
use columba_proto::{AckKind, QoS, ReasonCode};

use super::phrases::{at, back, hears, takes};
use crate::script::clause::{Clause, v5};
use crate::script::client::message;
use crate::script::{Client, Heard, Need, Script, Stage, Suite, V5, Verdict};

const fn shared(title: &'static str, clauses: &'static [Clause], needs: &'static [Need], play: fn(&Stage) -> Verdict) -> Script {
    Script { title, suite: Suite::Qos, versions: V5, clauses, needs, play }
}

const SHARED: &[Need] = &[Need::Shared];
const SHARED_QOS1: &[Need] = &[Need::Shared, Need::Qos1];
const SHARED_QOS2: &[Need] = &[Need::Shared, Need::Qos2];

pub(super) const SCRIPTS: &[Script] = &[
    shared(
        "a share name is one level without wildcards, and a filter follows",
        &[v5("MQTT-4.8.2-1"), v5("MQTT-4.8.2-2")],
        SHARED,
        forms,
    ),
    shared(
        "a message goes to one member of each group, at the QoS that it was granted",
        &[v5("MQTT-4.8.2-3"), v5("MQTT-4.8.2-1"), v5("MQTT-4.8.2-2")],
        SHARED_QOS1,
        one_of_each_group,
    ),
    shared(
        "a QoS 2 delivery that was begun is completed to its member when it is back",
        &[v5("MQTT-4.8.2-4")],
        SHARED_QOS2,
        completed_to_its_member,
    ),
    shared(
        "a QoS 2 message that was sent ends with the session of its member",
        &[v5("MQTT-4.8.2-5")],
        SHARED_QOS2,
        ends_with_its_member,
    ),
    shared("a message that a member refuses goes to nobody else", &[v5("MQTT-4.8.2-6")], SHARED_QOS1, refused_for_all),
    shared("what a member leaves without PUBACK goes to the others when its session ends", &[], SHARED_QOS1, left_behind),
    shared("a group gets no retained messages", &[], &[Need::Shared, Need::Retain], no_retained),
    shared("a client is in a group and outside at the same time", &[v5("MQTT-3.10.4-1")], SHARED, in_and_outside),
];

fn forms(stage: &Stage) -> Verdict {
    let own = stage.id("own");
    for filter in [
        "$share".to_owned(),
        "$share/".to_owned(),
        format!("$share/{own}"),
        format!("$share/{own}/"),
        format!("$share//{own}"),
        format!("$share/+/{own}"),
        format!("$share/#/{own}"),
        format!("$share/a+/{own}"),
        format!("$share/a#b/{own}"),
    ] {
        let mut client = stage.client("member")?;
        let id = client.ask(&[(&filter, QoS::AtMostOnce.into())]);
        let Some(heard) = client.hear_or_end()? else { continue };
        if heard.packet_type() == PacketType::Suback {
            stage.same("the identifier", id, heard.suback().id)?;
            let refused = heard.suback().reasons.iter().all(ReasonCode::is_failure);
            // `$share` alone has not the form of a shared subscription: it is a topic as well.
            let is_topic = filter == "$share";
            stage.check(refused || is_topic, format!("'{filter}' is refused"), heard.told())?;
            client.leave();
        } else {
            stage.same("a packet", PacketType::Disconnect, heard.packet_type())?;
            client.expect_end(&[])?;
        }
    }
    Ok(())
}

/// What came, by payload.
fn payloads(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(|heard| String::from_utf8_lossy(heard.publish().payload).into_owned()).collect()
}

fn one_of_each_group(stage: &Stage) -> Verdict {
    const COUNT: usize = 10;
    let topic = stage.topic("a");
    let (first, second) = (format!("$share/{}/{topic}", stage.id("g")), format!("$share/{}/{topic}", stage.id("h")));
    let mut publisher = stage.client("publisher")?;
    let mut members = Vec::new();
    for (name, filter, qos) in [
        ("g0", &first, QoS::AtMostOnce),
        ("g1", &first, QoS::AtLeastOnce),
        ("h1", &second, QoS::AtLeastOnce),
        ("outside", &topic, QoS::AtLeastOnce),
    ] {
        let mut member = stage.client(name)?;
        member.subscribe(filter, qos)?;
        members.push((member, qos));
    }
    let sent: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    for payload in &sent {
        publisher.deliver(&at(QoS::AtLeastOnce, &topic, payload.as_bytes()))?;
    }

    let mut got = Vec::new();
    for (member, qos) in &mut members {
        let heard = member.receive_all()?;
        for one in &heard {
            stage.same("the QoS", *qos, one.publish().qos)?;
            stage.same("the topic", topic.as_str(), one.topic())?;
        }
        got.push(payloads(&heard));
    }

    let mut of_first: Vec<String> = got[0].iter().chain(&got[1]).cloned().collect();
    of_first.sort();
    stage.same("what the first group got", &sent, &of_first)?;
    stage.same("what the second group got", &sent, &got[2])?;
    stage.same("what came outside of all groups", &sent, &got[3])
}

/// A member, of a group of which it is the only one as yet.
fn member<'s>(stage: &'s Stage, name: &str, filter: &str, qos: QoS) -> Verdict<Client<'s>> {
    let mut member = stage.lasting_client(name)?;
    member.subscribe(filter, qos)?;
    Ok(member)
}

fn completed_to_its_member(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut first = member(stage, "first", &filter, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"sent"))?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"received"))?;
    let sent = hears(stage, &mut first, QoS::ExactlyOnce, &topic, b"sent")?;
    let received = hears(stage, &mut first, QoS::ExactlyOnce, &topic, b"received")?;
    let Some(half) = received.publish().packet_id else { return Ok(()) };
    first.acknowledge(AckKind::Pubrec, half);
    first.expect_ack(AckKind::Pubrel, half)?;
    let mut second = member(stage, "second", &filter, QoS::ExactlyOnce)?;
    first.cut();
    second.expect_nothing()?;

    let mut first = back(stage, "first")?;
    let mut is_again = [false; 2];
    for _ in 0..2 {
        let heard = first.hear()?;
        if heard.packet_type() == PacketType::Publish {
            stage.same("the identifier", sent.publish().packet_id, heard.publish().packet_id)?;
            stage.same("DUP", true, heard.publish().dup)?;
            is_again[0] = true;
        } else {
            stage.same("PUBREL", (AckKind::Pubrel, half), (heard.ack().kind, heard.ack().id))?;
            is_again[1] = true;
        }
    }
    stage.same("PUBLISH and PUBREL again", [true; 2], is_again)?;
    first.acknowledge(AckKind::Pubcomp, half);
    first.take(&sent)?;
    first.expect_nothing()?;
    second.expect_nothing()
}

fn ends_with_its_member(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut publisher = stage.client("publisher")?;
    for is_received in [false, true] {
        let mut first = member(stage, "first", &filter, QoS::ExactlyOnce)?;
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"sent"))?;
        let heard = hears(stage, &mut first, QoS::ExactlyOnce, &topic, b"sent")?;
        if let Some(id) = heard.publish().packet_id.filter(|_| is_received) {
            first.acknowledge(AckKind::Pubrec, id);
            first.expect_ack(AckKind::Pubrel, id)?;
        }
        let mut second = member(stage, "second", &filter, QoS::ExactlyOnce)?;
        first.cut();

        // A clean start ends the session.
        stage.client("first")?.leave();

        second.expect_nothing()?;
        publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"next"))?;
        takes(stage, &mut second, QoS::ExactlyOnce, &topic, b"next")?;
        second.leave();
        stage.client("second")?.leave();
    }
    Ok(())
}

fn refused_for_all(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut publisher = stage.client("publisher")?;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        if qos > stage.features().maximum_qos {
            continue;
        }
        let kind = if qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec };
        let mut first = stage.client("first")?;
        first.subscribe(&filter, qos)?;
        publisher.deliver(&at(qos, &topic, b"refused"))?;
        let heard = hears(stage, &mut first, qos, &topic, b"refused")?;
        let mut second = stage.client("second")?;
        second.subscribe(&filter, qos)?;
        if let Some(id) = heard.publish().packet_id {
            first.send(&Packet::Ack(Ack::new(kind, id, ReasonCode::UNSPECIFIED_ERROR)));
        }

        first.expect_nothing()?;
        second.expect_nothing()?;
        first.leave();
        second.expect_nothing()?;
        second.leave();
    }
    Ok(())
}

fn left_behind(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut first = stage.client("first")?;
    first.subscribe(&filter, QoS::AtLeastOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"left"))?;
    hears(stage, &mut first, QoS::AtLeastOnce, &topic, b"left")?;
    let mut second = stage.client("second")?;
    second.subscribe(&filter, QoS::AtLeastOnce)?;

    first.leave();

    // The standard says only that the server should do so (§4.8.2).
    match second.hear_within(Duration::from_secs(1))? {
        None => stage
            .advise("a QoS 1 message that a member did not acknowledge is lost with its session, although the group has others"),
        Some(heard) => {
            stage.same("the payload", &b"left"[..], heard.publish().payload)?;
            second.take(&heard)?;
        }
    }
    second.expect_nothing()
}

fn no_retained(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&Publish { retain: true, ..message(&topic, b"kept") })?;
    publisher.ping()?;
    let mut member = stage.client("member")?;
    member.subscribe(&filter, QoS::AtMostOnce)?;
    // No numbered statement says so: whoever takes part in the work is not told what was there before.
    if member.hear_within(Duration::from_millis(200))?.is_some() {
        stage.advise("a group gets the retained messages, each of its members anew");
    }
    publisher.deliver(&Publish { retain: true, ..message(&topic, b"") })?;
    takes(stage, &mut member, QoS::AtMostOnce, &topic, b"")
}

fn in_and_outside(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let filter = format!("$share/{}/{topic}", stage.id("g"));
    let mut member = stage.client("member")?;
    member.subscribe(&filter, QoS::AtMostOnce)?;
    member.subscribe(&topic, QoS::AtMostOnce)?;
    let mut publisher = stage.client("publisher")?;
    publisher.publish(&message(&topic, b"twice"));
    takes(stage, &mut member, QoS::AtMostOnce, &topic, b"twice")?;
    takes(stage, &mut member, QoS::AtMostOnce, &topic, b"twice")?;
    member.expect_nothing()?;

    let id = member.ask_no_more(&[&topic]);
    member.expect_unsuback(id)?;
    publisher.publish(&message(&topic, b"in the group"));
    takes(stage, &mut member, QoS::AtMostOnce, &topic, b"in the group")?;
    member.expect_nothing()?;

    let id = member.ask_no_more(&[&filter]);
    member.expect_unsuback(id)?;
    publisher.publish(&message(&topic, b"for nobody"));
    member.expect_nothing()
}
