//! What an application message carries beside its payload, and what a client asks to be told (§3.3.2.3, §3.1.2.11).

use std::time::Duration;

use columba_proto::packet::{Ack, Packet, PacketType, Publish, PublishProperties};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use crate::script::bytes::{publish, text};
use crate::script::clause::v5;
use crate::script::client::message;
use crate::script::{Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "properties are forwarded unchanged",
        suite: Suite::Packets,
        versions: V5,
        clauses: FORWARDED,
        needs: &[],
        play: properties_are_forwarded_unchanged,
    },
    Script {
        title: "properties of a message that waited are forwarded unchanged",
        suite: Suite::Session,
        versions: V5,
        clauses: FORWARDED,
        needs: &[Need::Qos1],
        play: properties_of_a_message_that_waited_are_forwarded_unchanged,
    },
    Script {
        title: "properties of a retained message are forwarded unchanged",
        suite: Suite::Qos,
        versions: V5,
        clauses: FORWARDED,
        needs: &[Need::Retain],
        play: properties_of_a_retained_message_are_forwarded_unchanged,
    },
    Script {
        title: "a response topic with a wildcard ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-14")],
        needs: &[],
        play: a_response_topic_with_a_wildcard_ends_the_connection,
    },
    Script {
        title: "the message expiry is counted down while a message waits",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-6")],
        needs: &[Need::Qos1],
        play: the_message_expiry_is_counted_down,
    },
    Script {
        title: "a message that has expired is not delivered",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-5")],
        needs: &[Need::Qos1],
        play: a_message_that_has_expired_is_not_delivered,
    },
    Script {
        title: "a retained message expires",
        suite: Suite::Qos,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-5"), v5("MQTT-3.3.2-6")],
        needs: &[Need::Retain],
        play: a_retained_message_expires,
    },
    Script {
        title: "response information comes only where it was asked for",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-28")],
        needs: &[],
        play: response_information_comes_only_where_it_was_asked_for,
    },
    Script {
        title: "who wants no problem information is told no reasons",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-29"), v5("MQTT-3.3.2-17")],
        needs: &[],
        play: who_wants_no_problem_information_is_told_no_reasons,
    },
];

const FORWARDED: &[crate::script::clause::Clause] = &[
    v5("MQTT-3.3.2-4"),
    v5("MQTT-3.3.2-15"),
    v5("MQTT-3.3.2-16"),
    v5("MQTT-3.3.2-17"),
    v5("MQTT-3.3.2-18"),
    v5("MQTT-3.3.2-20"),
];

/// Names that stand twice, empty ones, and no order that sorting would give.
const PAIRS: &[(&str, &str)] = &[("b", "2"), ("a", "1"), ("b", "1"), ("", ""), ("ä", "\u{feff}"), ("b", "2")];

/// Sets of properties, each with something that is easily lost.
fn sets(response_topic: &str) -> [PublishProperties<'_>; 5] {
    let all = PublishProperties {
        payload_format: Some(true),
        response_topic: Some(response_topic),
        correlation_data: Some(b"\x00\xff\x00"),
        user_properties: PAIRS.into(),
        content_type: Some("application/ünknown"),
        ..PublishProperties::default()
    };
    [
        all,
        PublishProperties::default(),
        PublishProperties { payload_format: Some(false), ..PublishProperties::default() },
        PublishProperties { correlation_data: Some(b""), content_type: Some(""), ..PublishProperties::default() },
        PublishProperties { user_properties: PAIRS[1..3].into(), ..PublishProperties::default() },
    ]
}

fn arrives_with(stage: &Stage, client: &mut Client<'_>, wanted: PublishProperties<'_>) -> Verdict {
    let heard = client.receive()?;
    stage.same("payload", "text".as_bytes(), heard.publish().payload)?;
    stage.same("properties", wanted, heard.publish().properties)
}

fn properties_are_forwarded_unchanged(stage: &Stage) -> Verdict {
    let (topic, response_topic) = (stage.topic("a"), stage.topic("answers"));
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, stage.features().maximum_qos)?;
    let mut publisher = stage.client("publisher")?;
    for properties in sets(&response_topic) {
        for qos in stage.each_qos() {
            publisher.deliver(&Publish { qos, properties, ..message(&topic, b"text") })?;
            arrives_with(stage, &mut watcher, properties)?;
        }
    }
    Ok(())
}

fn properties_of_a_message_that_waited_are_forwarded_unchanged(stage: &Stage) -> Verdict {
    let (topic, response_topic) = (stage.topic("a"), stage.topic("answers"));
    let mut first = stage.lasting_client("keeper")?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();
    let mut publisher = stage.client("publisher")?;
    for properties in sets(&response_topic) {
        publisher.deliver(&Publish { qos: QoS::AtLeastOnce, properties, ..message(&topic, b"text") })?;
    }
    let mut second = stage.lasting_client("keeper")?;
    sets(&response_topic).into_iter().try_for_each(|properties| arrives_with(stage, &mut second, properties))
}

fn properties_of_a_retained_message_are_forwarded_unchanged(stage: &Stage) -> Verdict {
    let (topic, response_topic) = (stage.topic("state"), stage.topic("answers"));
    let mut publisher = stage.client("publisher")?;
    for properties in sets(&response_topic) {
        publisher.deliver(&Publish { retain: true, properties, ..message(&topic, b"text") })?;
        publisher.ping()?;
        let mut late = stage.client("late")?;
        late.subscribe(&topic, QoS::AtMostOnce)?;
        arrives_with(stage, &mut late, properties)?;
    }
    super::retained::clear(stage, &topic)
}

fn a_response_topic_with_a_wildcard_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let packet = |response_topic: &str| {
        let block = [vec![0x08], text(response_topic)].concat();
        ("PUBLISH", publish(stage.version(), 0, topic.as_bytes(), None, &block, b"x"))
    };
    let reasons = [ReasonCode::PROTOCOL_ERROR, ReasonCode::MALFORMED_PACKET, ReasonCode::TOPIC_NAME_INVALID];
    stage.each_ends(&["a/#", "+/a"].map(packet), &reasons)
}

fn expiring<'a>(topic: &'a str, payload: &'a [u8], seconds: u32, qos: QoS) -> Publish<'a> {
    let mut publish = Publish { qos, ..message(topic, payload) };
    publish.properties.message_expiry = Some(seconds);
    publish
}

fn the_message_expiry_is_counted_down(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut live = stage.client("live")?;
    live.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut first = stage.lasting_client("keeper")?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&expiring(&topic, b"soon over", 600, QoS::AtLeastOnce))?;
    publisher.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"for ever") })?;
    // It has not waited, so there is nothing to take away, but for a second that may have turned.
    let at_once = live.receive()?.publish().properties.message_expiry;
    stage.check(at_once.is_some_and(|left| (598..=600).contains(&left)), "600 s left", format!("{at_once:?}"))?;
    stage.same("no expiry", None, live.receive()?.publish().properties.message_expiry)?;

    stage.pass(Duration::from_millis(3_200));
    let mut second = stage.lasting_client("keeper")?;
    let later = second.receive()?.publish().properties.message_expiry;
    stage.check(later.is_some_and(|left| (585..=597).contains(&left)), "597 s left", format!("{later:?}"))?;
    stage.same("no expiry", None, second.receive()?.publish().properties.message_expiry)
}

fn a_message_that_has_expired_is_not_delivered(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut first = stage.lasting_client("keeper")?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&expiring(&topic, b"over", 1, QoS::AtLeastOnce))?;
    publisher.deliver(&expiring(&topic, b"in time", 600, QoS::AtLeastOnce))?;
    stage.pass(Duration::from_millis(2_500));
    let mut second = stage.lasting_client("keeper")?;
    stage.same("payload", &b"in time"[..], second.receive()?.publish().payload)?;
    second.expect_nothing()
}

fn a_retained_message_expires(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&Publish { retain: true, ..expiring(&topic, b"kept", 4, QoS::AtMostOnce) })?;
    publisher.ping()?;
    stage.pass(Duration::from_millis(1_200));
    let mut in_time = stage.client("in-time")?;
    in_time.subscribe(&topic, QoS::AtMostOnce)?;
    let left = in_time.receive()?.publish().properties.message_expiry;
    stage.check(left.is_some_and(|left| (1..=3).contains(&left)), "3 s left", format!("{left:?}"))?;

    stage.pass(Duration::from_secs(4));
    let mut late = stage.client("late")?;
    late.subscribe(&topic, QoS::AtMostOnce)?;
    late.expect_nothing()
}

fn response_information_comes_only_where_it_was_asked_for(stage: &Stage) -> Verdict {
    let id = stage.id("asks");
    for asked in [Some(false), None, Some(true)] {
        let mut connect = stage.clean(&id);
        connect.properties.request_response_information = asked;
        let client = stage.connect("asks", &connect)?;
        let told = client.connack().connack().properties.response_information.is_some();
        stage.check(!told || asked == Some(true), "no response information", client.connack().told())?;
        client.disconnect();
    }
    Ok(())
}

fn who_wants_no_problem_information_is_told_no_reasons(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("stoic"), stage.topic("a"));
    let mut connect = stage.clean(&id);
    connect.properties.request_problem_information = Some(false);
    let mut client = stage.connect("stoic", &connect)?;
    // Everything that a server could want to explain; each answer is looked at as it comes.
    if stage.features().maximum_qos >= QoS::AtLeastOnce {
        client.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&stage.topic("nobody"), b"x") })?;
    }
    let unknown = PacketId::new(4_321).expect("not zero");
    if stage.features().maximum_qos >= QoS::ExactlyOnce {
        client.deliver(&Publish { qos: QoS::ExactlyOnce, ..message(&stage.topic("nobody"), b"x") })?;
        client.send(&Packet::Ack(Ack::new(AckKind::Pubrel, unknown, ReasonCode::SUCCESS)));
        client.expect_ack(AckKind::Pubcomp, unknown)?;
    }
    let request = client.ask_no_more(&[&stage.topic("nobody")]);
    client.expect_unsuback(request)?;
    let request = client.ask(&[(&topic, QoS::AtMostOnce.into())]);
    client.expect_suback(request)?;
    if !stage.features().wildcards {
        let request = client.ask(&[(&stage.topic("#"), QoS::AtMostOnce.into())]);
        let answer = client.hear()?;
        stage.same("the answer", PacketType::Suback, answer.packet_type())?;
        stage.same("identifier", request, answer.suback().id)?;
    }
    // What publishers say travels on.
    let mut publish = message(&topic, b"hello");
    publish.properties.user_properties = PAIRS.into();
    stage.client("publisher")?.publish(&publish);
    stage.same("user properties", PAIRS.into(), client.receive()?.publish().properties.user_properties)
}
