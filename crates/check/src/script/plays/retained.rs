//! Retained messages (§3.3.1.3).

use columba_proto::QoS;
use columba_proto::packet::{Publish, RetainHandling, SubscriptionOptions};

use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "the last retained message is kept for those who come later",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.3.1-5"),
            v5("MQTT-3.3.1-9"),
            v3("MQTT-3.3.1-5"),
            v3("MQTT-3.3.1-6"),
            v3("MQTT-3.3.1-8"),
            v3("MQTT-3.1.2-7"),
        ],
        needs: &[Need::Retain],
        play: the_last_retained_message_is_kept,
    },
    Script {
        title: "a wildcard finds the retained message of each topic",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-9"), v5("MQTT-3.3.2-3"), v3("MQTT-3.3.1-6"), v3("MQTT-3.3.2-3")],
        needs: &[Need::Retain, Need::Wildcards],
        play: a_wildcard_finds_the_retained_message_of_each_topic,
    },
    Script {
        title: "a retained message keeps its QoS",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-5"), v3("MQTT-3.3.1-5")],
        needs: &[Need::Retain, Need::Qos1],
        play: a_retained_message_keeps_its_qos,
    },
    Script {
        title: "a retained QoS 0 message displaces the one before it",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-5"), v3("MQTT-3.3.1-7")],
        needs: &[Need::Retain, Need::Qos1],
        play: a_retained_qos_0_message_displaces_the_one_before_it,
    },
    Script {
        title: "an empty retained message is delivered, clears its topic and is not kept",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-6"), v5("MQTT-3.3.1-7"), v3("MQTT-3.3.1-10"), v3("MQTT-3.3.1-11")],
        needs: &[Need::Retain],
        play: an_empty_retained_message_clears_its_topic,
    },
    Script {
        title: "a message without RETAIN leaves the retained one alone",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-8"), v3("MQTT-3.3.1-12")],
        needs: &[Need::Retain],
        play: a_message_without_retain_leaves_the_retained_one_alone,
    },
    Script {
        title: "along a subscription that is there RETAIN is 0",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-12"), v3("MQTT-3.3.1-9")],
        needs: &[Need::Retain],
        play: along_a_subscription_that_is_there_retain_is_0,
    },
    Script {
        title: "retain as published forwards what the publisher set",
        suite: Suite::Qos,
        versions: V5,
        clauses: &[v5("MQTT-3.3.1-12"), v5("MQTT-3.3.1-13")],
        needs: &[Need::Retain],
        play: retain_as_published_forwards_what_the_publisher_set,
    },
    Script {
        title: "retain handling says when retained messages come",
        suite: Suite::Qos,
        versions: V5,
        clauses: &[v5("MQTT-3.3.1-9"), v5("MQTT-3.3.1-10"), v5("MQTT-3.3.1-11")],
        needs: &[Need::Retain],
        play: retain_handling_says_when_retained_messages_come,
    },
    Script {
        title: "retain handling 1 knows the subscriptions of a resumed session",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.3.1-10"), v5("MQTT-3.1.2-5")],
        needs: &[Need::Retain],
        play: retain_handling_1_knows_a_resumed_session,
    },
    Script {
        title: "RETAIN is refused where nothing is retained",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.2.2-14"), v5("MQTT-4.13.1-1")],
        needs: &[Need::RetainRefused],
        play: retain_is_refused_where_nothing_is_retained,
    },
];

fn retain<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Publish<'a> {
    Publish { retain: true, qos, ..message(topic, payload) }
}

/// Publishes from a client that is gone afterwards.
fn publish(stage: &Stage, publish: &Publish<'_>) -> Verdict {
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(publish)?;
    // Whoever has PINGRESP knows that the broker has read what was before.
    publisher.ping()?;
    publisher.disconnect();
    Ok(())
}

/// Leaves nothing behind on a broker that is not ours.
pub(super) fn clear(stage: &Stage, topic: &str) -> Verdict {
    publish(stage, &retain(topic, b"", QoS::AtMostOnce))
}

/// What somebody is sent who subscribes now.
fn newcomer<'s>(stage: &'s Stage, filter: &str) -> Verdict<Client<'s>> {
    let mut client = stage.client("newcomer")?;
    client.subscribe(filter, stage.features().maximum_qos)?;
    Ok(client)
}

fn the_last_retained_message_is_kept(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    for payload in [&b"first"[..], b"second"] {
        publish(stage, &retain(&topic, payload, QoS::AtMostOnce))?;
    }
    let mut client = newcomer(stage, &topic)?;
    let heard = client.receive()?;
    stage.same("topic", topic.as_str(), heard.topic())?;
    stage.same("payload", &b"second"[..], heard.publish().payload)?;
    stage.same("retain", true, heard.publish().retain)?;
    client.expect_nothing()?;
    // It stays, and comes at every SUBSCRIBE.
    client.subscribe(&topic, QoS::AtMostOnce)?;
    stage.same("payload", &b"second"[..], client.receive()?.publish().payload)?;
    client.expect_nothing()?;
    clear(stage, &topic)
}

fn a_wildcard_finds_the_retained_message_of_each_topic(stage: &Stage) -> Verdict {
    let mut topics = ["a", "b/c", "b/d", "b/d/e"].map(|name| stage.topic(name));
    topics.sort();
    for topic in &topics {
        publish(stage, &retain(topic, topic.as_bytes(), QoS::AtMostOnce))?;
    }
    for (filter, wanted) in [("#", &topics[..]), ("b/+", &topics[1..3]), ("b/#", &topics[1..])] {
        let mut client = newcomer(stage, &stage.topic(filter))?;
        let heard = client.receive_all()?;
        let mut got: Vec<&str> = heard.iter().map(crate::script::Heard::topic).collect();
        got.sort_unstable();
        stage.same("topics", wanted.iter().map(String::as_str).collect(), got)?;
        for heard in &heard {
            stage.same("payload", heard.topic().as_bytes(), heard.publish().payload)?;
            stage.same("retain", true, heard.publish().retain)?;
        }
    }
    topics.iter().try_for_each(|topic| clear(stage, topic))
}

fn a_retained_message_keeps_its_qos(stage: &Stage) -> Verdict {
    for qos in stage.each_qos() {
        let topic = stage.topic(&format!("state{}", qos as u8));
        publish(stage, &retain(&topic, b"kept", qos))?;
        let heard = newcomer(stage, &topic)?.receive()?;
        stage.same("qos", qos, heard.publish().qos)?;
        stage.same("payload", &b"kept"[..], heard.publish().payload)?;
        clear(stage, &topic)?;
    }
    Ok(())
}

fn a_retained_qos_0_message_displaces_the_one_before_it(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    publish(stage, &retain(&topic, b"old", QoS::AtLeastOnce))?;
    publish(stage, &retain(&topic, b"new", QoS::AtMostOnce))?;
    let heard = newcomer(stage, &topic)?.receive_all()?;
    let got: Vec<&[u8]> = heard.iter().map(|heard| heard.publish().payload).collect();
    if got.is_empty() && !stage.version().has_properties() {
        stage.advise("a retained QoS 0 message should be stored (3.1.1 §3.3.1.3)");
        return Ok(());
    }
    stage.same("retained", vec![&b"new"[..]], got)?;
    clear(stage, &topic)
}

fn an_empty_retained_message_clears_its_topic(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    let mut live = newcomer(stage, &topic)?;
    publish(stage, &retain(&topic, b"kept", QoS::AtMostOnce))?;
    stage.same("payload", &b"kept"[..], live.receive()?.publish().payload)?;

    publish(stage, &retain(&topic, b"", QoS::AtMostOnce))?;
    let heard = live.receive()?;
    stage.same("topic", topic.as_str(), heard.topic())?;
    stage.same("payload", &b""[..], heard.publish().payload)?;
    stage.same("retain", false, heard.publish().retain)?;
    newcomer(stage, &topic)?.expect_nothing()?;
    // Nor is it kept where there was nothing.
    publish(stage, &retain(&stage.topic("other"), b"", QoS::AtMostOnce))?;
    newcomer(stage, &stage.topic("other"))?.expect_nothing()
}

fn a_message_without_retain_leaves_the_retained_one_alone(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    publish(stage, &message(&topic, b"passing"))?;
    newcomer(stage, &topic)?.expect_nothing()?;

    publish(stage, &retain(&topic, b"kept", QoS::AtMostOnce))?;
    for payload in [&b"passing"[..], b""] {
        publish(stage, &message(&topic, payload))?;
        let mut client = newcomer(stage, &topic)?;
        stage.same("payload", &b"kept"[..], client.receive()?.publish().payload)?;
        client.expect_nothing()?;
    }
    clear(stage, &topic)
}

fn along_a_subscription_that_is_there_retain_is_0(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    let mut live = newcomer(stage, &topic)?;
    for qos in stage.each_qos() {
        publish(stage, &retain(&topic, b"live", qos))?;
        let heard = live.receive()?;
        stage.same("payload", &b"live"[..], heard.publish().payload)?;
        stage.same("qos", qos, heard.publish().qos)?;
        stage.same("retain", false, heard.publish().retain)?;
    }
    clear(stage, &topic)
}

fn retain_as_published_forwards_what_the_publisher_set(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    let mut plain = stage.client("plain")?;
    plain.subscribe(&topic, QoS::AtMostOnce)?;
    let mut faithful = stage.client("faithful")?;
    faithful.subscribe_with(&topic, SubscriptionOptions { retain_as_published: true, ..QoS::AtMostOnce.into() })?;
    for is_retained in [true, false] {
        publish(stage, &Publish { retain: is_retained, ..message(&topic, b"live") })?;
        stage.same("retain as published", is_retained, faithful.receive()?.publish().retain)?;
        stage.same("retain", false, plain.receive()?.publish().retain)?;
    }
    clear(stage, &topic)
}

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..QoS::AtMostOnce.into() }
}

fn retain_handling_says_when_retained_messages_come(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    publish(stage, &retain(&topic, b"kept", QoS::AtMostOnce))?;
    for (how, at_first, again) in
        [(RetainHandling::Send, 1, 1), (RetainHandling::SendIfNew, 1, 0), (RetainHandling::DoNotSend, 0, 0)]
    {
        let mut client = stage.client(&format!("{how:?}"))?;
        for (what, count) in [("at first", at_first), ("again", again)] {
            client.subscribe_with(&topic, handling(how))?;
            let heard = client.receive_all()?;
            stage.same(what, count, heard.len())?;
            for heard in heard {
                stage.same("payload", &b"kept"[..], heard.publish().payload)?;
                stage.same("retain", true, heard.publish().retain)?;
            }
        }
        // After an unsubscribe it is new again.
        let id = client.ask_no_more(&[&topic]);
        client.expect_unsuback(id)?;
        client.subscribe_with(&topic, handling(how))?;
        stage.same("after an unsubscribe", at_first, client.receive_all()?.len())?;
    }
    clear(stage, &topic)
}

fn retain_handling_1_knows_a_resumed_session(stage: &Stage) -> Verdict {
    let topic = stage.topic("state");
    publish(stage, &retain(&topic, b"kept", QoS::AtMostOnce))?;
    let mut first = stage.lasting_client("keeper")?;
    first.subscribe_with(&topic, handling(RetainHandling::SendIfNew))?;
    stage.same("retained messages", 1, first.receive_all()?.len())?;
    first.disconnect();

    let mut second = stage.lasting_client("keeper")?;
    stage.same("session present", true, second.session_present())?;
    second.subscribe_with(&topic, handling(RetainHandling::SendIfNew))?;
    second.expect_nothing()?;
    clear(stage, &topic)
}

fn retain_is_refused_where_nothing_is_retained(stage: &Stage) -> Verdict {
    let mut client = stage.client("keeper")?;
    client.publish(&retain(&stage.topic("state"), b"kept", QoS::AtMostOnce));
    client.expect_end(&[columba_proto::ReasonCode::RETAIN_NOT_SUPPORTED])
}
