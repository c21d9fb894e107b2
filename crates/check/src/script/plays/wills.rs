//! Wills: when they are published, and as what (§3.1.2.5 to §3.1.2.7).

use std::time::Duration;

use columba_proto::packet::{Connect, Disconnect, Packet, Will};
use columba_proto::{QoS, ReasonCode, TopicName};

use crate::script::clause::{v3, v5};
use crate::script::client::frame;
use crate::script::{ALL, Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "the will is published when the connection breaks, once",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.1.2-7"),
            v5("MQTT-3.1.2-8"),
            v5("MQTT-3.1.2-9"),
            v5("MQTT-3.1.2-10"),
            v5("MQTT-3.1.3-1"),
            v3("MQTT-3.1.2-8"),
            v3("MQTT-3.1.2-9"),
            v3("MQTT-3.1.2-10"),
            v3("MQTT-3.1.2-12"),
            v3("MQTT-3.1.3-1"),
        ],
        needs: &[],
        play: the_will_is_published_when_the_connection_breaks,
    },
    Script {
        title: "the will is published at each QoS",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-8"), v5("MQTT-3.1.2-12"), v3("MQTT-3.1.2-8"), v3("MQTT-3.1.2-9"), v3("MQTT-3.1.2-14")],
        needs: &[Need::Qos1],
        play: the_will_is_published_at_each_qos,
    },
    Script {
        title: "DISCONNECT removes the will",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.1.2-8"),
            v5("MQTT-3.1.2-10"),
            v5("MQTT-3.14.4-3"),
            v3("MQTT-3.1.2-8"),
            v3("MQTT-3.1.2-10"),
            v3("MQTT-3.14.4-3"),
        ],
        needs: &[],
        play: disconnect_removes_the_will,
    },
    Script {
        title: "DISCONNECT with another reason leaves the will",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-8"), v5("MQTT-3.1.2-10")],
        needs: &[],
        play: disconnect_with_another_reason_leaves_the_will,
    },
    Script {
        title: "the will is published when its client breaks the protocol",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-8"), v3("MQTT-3.1.2-8")],
        needs: &[],
        play: the_will_is_published_when_its_client_breaks_the_protocol,
    },
    Script {
        title: "the will is published when the keep-alive has run out",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-8"), v5("MQTT-3.1.2-22"), v3("MQTT-3.1.2-8"), v3("MQTT-3.1.2-24")],
        needs: &[],
        play: the_will_is_published_when_the_keep_alive_has_run_out,
    },
    Script {
        title: "the will is published when another connection takes over",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-8"), v5("MQTT-3.1.4-3"), v3("MQTT-3.1.2-8"), v3("MQTT-3.1.4-2")],
        needs: &[],
        play: the_will_is_published_when_another_connection_takes_over,
    },
    Script {
        title: "a will with RETAIN is retained",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-15"), v3("MQTT-3.1.2-17")],
        needs: &[Need::Retain],
        play: a_will_with_retain_is_retained,
    },
    Script {
        title: "a will without RETAIN is not retained",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-14"), v3("MQTT-3.1.2-16")],
        needs: &[Need::Retain],
        play: a_will_without_retain_is_not_retained,
    },
    Script {
        title: "the will waits for its delay",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-7"), v5("MQTT-3.1.2-8")],
        needs: &[],
        play: the_will_waits_for_its_delay,
    },
    Script {
        title: "who is back before the delay is over has no will published",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.3-9")],
        needs: &[],
        play: who_is_back_in_time_has_no_will_published,
    },
    Script {
        title: "the will waits no longer than the session lives",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-8")],
        needs: &[],
        play: the_will_waits_no_longer_than_the_session_lives,
    },
    Script {
        title: "a clean start ends the old session and publishes its will",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-8"), v5("MQTT-3.1.2-4")],
        needs: &[],
        play: a_clean_start_publishes_the_will,
    },
    Script {
        title: "a will is published with its properties",
        suite: Suite::Session,
        versions: V5,
        clauses: &[
            v5("MQTT-3.1.2-9"),
            v5("MQTT-3.1.3-10"),
            v5("MQTT-3.3.2-4"),
            v5("MQTT-3.3.2-15"),
            v5("MQTT-3.3.2-16"),
            v5("MQTT-3.3.2-18"),
            v5("MQTT-3.3.2-20"),
        ],
        needs: &[],
        play: a_will_is_published_with_its_properties,
    },
    Script {
        title: "a will above the maximum QoS is refused",
        suite: Suite::Limits,
        versions: ALL,
        clauses: &[v5("MQTT-3.2.2-12"), v5("MQTT-3.1.4-2"), v5("MQTT-3.2.2-7"), v3("MQTT-3.2.2-6")],
        needs: &[Need::QosLimit],
        play: a_will_above_the_maximum_qos_is_refused,
    },
    Script {
        title: "a retained will is refused where nothing is retained",
        suite: Suite::Limits,
        versions: ALL,
        clauses: &[v5("MQTT-3.2.2-13"), v5("MQTT-3.1.4-2"), v5("MQTT-3.2.2-7"), v3("MQTT-3.2.2-6")],
        needs: &[Need::RetainRefused],
        play: a_retained_will_is_refused_where_nothing_is_retained,
    },
];

fn will(topic: &str, qos: QoS) -> Will<'_> {
    let topic = TopicName::new(topic).expect("stories have topic names");
    Will { topic, payload: b"gone", qos, retain: false, delay: 0, properties: <_>::default() }
}

/// Somebody who hears the will.
fn watcher<'s>(stage: &'s Stage, topic: &str) -> Verdict<Client<'s>> {
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(topic, stage.features().maximum_qos)?;
    Ok(watcher)
}

/// A client with a will, and a session that ends with its connection.
fn mortal<'s>(stage: &'s Stage, will: Will<'_>) -> Verdict<Client<'s>> {
    stage.connect("mortal", &Connect { will: Some(will), ..stage.clean(&stage.id("mortal")) })
}

fn hears_the_will(stage: &Stage, watcher: &mut Client<'_>, topic: &str, qos: QoS) -> Verdict {
    let heard = watcher.receive()?;
    let publish = heard.publish();
    stage.same("topic", topic, heard.topic())?;
    stage.same("payload", &b"gone"[..], publish.payload)?;
    stage.same("qos", qos, publish.qos)?;
    stage.same("retain", false, publish.retain)
}

fn the_will_is_published_when_the_connection_breaks(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    let id = stage.id("mortal");
    let plain = Connect { will: Some(will(&topic, QoS::AtMostOnce)), ..stage.lasting(&id) };
    // All fields of the payload where the broker takes them, so that none is taken for another.
    let full =
        Connect { username: plain.username.or(Some("user")), password: plain.password.or(Some(b"secret")), ..plain.clone() };
    match stage.try_connect("mortal", &full)? {
        Ok(client) => client.cut(),
        Err(_) => stage.connect("mortal", &plain)?.cut(),
    }
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;

    // It is forgotten: the session goes on, and ends without one.
    stage.connect("mortal", &stage.lasting(&id))?.cut();
    watcher.expect_nothing()
}

fn the_will_is_published_at_each_qos(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    for qos in stage.each_qos() {
        mortal(stage, will(&topic, qos))?.cut();
        hears_the_will(stage, &mut watcher, &topic, qos)?;
    }
    watcher.expect_nothing()
}

fn disconnect_removes_the_will(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    mortal(stage, will(&topic, QoS::AtMostOnce))?.disconnect();
    let id = stage.id("keeper");
    let lasting = Connect { will: Some(will(&topic, QoS::AtMostOnce)), ..stage.lasting(&id) };
    stage.connect("keeper", &lasting)?.disconnect();
    watcher.expect_nothing()
}

fn disconnect_with_another_reason_leaves_the_will(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    let reasons = [
        ReasonCode::DISCONNECT_WITH_WILL_MESSAGE,
        ReasonCode::UNSPECIFIED_ERROR,
        ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        ReasonCode::ADMINISTRATIVE_ACTION,
    ];
    for reason in reasons {
        let mut client = mortal(stage, will(&topic, QoS::AtMostOnce))?;
        client.send(&Packet::Disconnect(Disconnect::new(reason)));
        hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;
        client.cut();
    }
    watcher.expect_nothing()
}

fn the_will_is_published_when_its_client_breaks_the_protocol(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    let mut client = mortal(stage, will(&topic, QoS::AtMostOnce))?;
    client.send_bytes("a packet of type 0", &frame(0x00, &[]));
    client.expect_end(&[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR])?;
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;
    watcher.expect_nothing()
}

fn the_will_is_published_when_the_keep_alive_has_run_out(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    let id = stage.id("silent");
    let connect = Connect { keep_alive: 1, will: Some(will(&topic, QoS::AtMostOnce)), ..stage.clean(&id) };
    let silent = stage.connect("silent", &connect)?;
    let keep_alive = super::keeping_alive::keep_alive_of(&silent, 1);
    watcher.expect_nothing_for(keep_alive.mul_f64(0.9))?;
    let heard = watcher.expect_publish_within(keep_alive + super::keeping_alive::slack(stage))?;
    stage.same("topic", topic.as_str(), heard.topic())?;
    silent.expect_end(&[ReasonCode::KEEP_ALIVE_TIMEOUT])
}

fn the_will_is_published_when_another_connection_takes_over(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    let older = mortal(stage, will(&topic, QoS::AtMostOnce))?;
    let mut newer = stage.client("mortal")?;
    older.expect_end(&[ReasonCode::SESSION_TAKEN_OVER])?;
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;
    newer.ping()?;
    watcher.expect_nothing()
}

fn a_will_with_retain_is_retained(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    mortal(stage, Will { retain: true, ..will(&topic, QoS::AtMostOnce) })?.cut();
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;

    let mut late = stage.client("late")?;
    late.subscribe(&topic, QoS::AtMostOnce)?;
    let heard = late.receive()?;
    stage.same("topic", topic.as_str(), heard.topic())?;
    stage.same("payload", &b"gone"[..], heard.publish().payload)?;
    stage.same("retain", true, heard.publish().retain)?;
    super::retained::clear(stage, &topic)
}

fn a_will_without_retain_is_not_retained(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    mortal(stage, will(&topic, QoS::AtMostOnce))?.cut();
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;

    let mut late = stage.client("late")?;
    late.subscribe(&topic, QoS::AtMostOnce)?;
    late.expect_nothing()
}

/// A client that leaves without a word, a delayed will, and how long its session lives.
fn leave_with_delay(stage: &Stage, topic: &str, delay: u32, session_expiry: u32) -> Verdict {
    let id = stage.id("mortal");
    let mut connect = Connect { will: Some(Will { delay, ..will(topic, QoS::AtMostOnce) }), ..stage.lasting(&id) };
    connect.properties.session_expiry = Some(session_expiry);
    stage.connect("mortal", &connect)?.cut();
    Ok(())
}

fn the_will_waits_for_its_delay(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    leave_with_delay(stage, &topic, 2, 600)?;
    watcher.expect_nothing_for(Duration::from_millis(1_500))?;
    let heard = watcher.expect_publish()?;
    stage.same("payload", &b"gone"[..], heard.publish().payload)?;
    watcher.expect_nothing()
}

fn who_is_back_in_time_has_no_will_published(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    leave_with_delay(stage, &topic, 1, 600)?;
    let mut back = stage.connect("mortal", &stage.lasting(&stage.id("mortal")))?;
    stage.same("session present", true, back.session_present())?;
    watcher.expect_nothing_for(Duration::from_millis(2_500))?;
    back.ping()
}

fn the_will_waits_no_longer_than_the_session_lives(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    leave_with_delay(stage, &topic, 600, 1)?;
    let heard = watcher.expect_publish_within(Duration::from_secs(1) + super::keeping_alive::slack(stage))?;
    stage.same("payload", &b"gone"[..], heard.publish().payload)
}

fn a_clean_start_publishes_the_will(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    let mut watcher = watcher(stage, &topic)?;
    leave_with_delay(stage, &topic, 600, 600)?;
    let mut anew = stage.client("mortal")?;
    stage.same("session present", false, anew.session_present())?;
    hears_the_will(stage, &mut watcher, &topic, QoS::AtMostOnce)?;
    anew.ping()
}

fn a_will_is_published_with_its_properties(stage: &Stage) -> Verdict {
    let (topic, response_topic) = (stage.topic("will"), stage.topic("answers"));
    let mut watcher = watcher(stage, &topic)?;
    let pairs = [("b", "1"), ("a", "2"), ("b", "0"), ("", "")];
    let mut last_will = will(&topic, QoS::AtMostOnce);
    last_will.properties.payload_format = Some(true);
    last_will.properties.message_expiry = Some(900);
    last_will.properties.content_type = Some("text/plain");
    last_will.properties.response_topic = Some(&response_topic);
    last_will.properties.correlation_data = Some(b"\x00\xff7");
    last_will.properties.user_properties = pairs[..].into();
    let wanted = last_will.properties;
    mortal(stage, last_will)?.cut();

    let heard = watcher.receive()?;
    let got = heard.publish().properties;
    stage.check(got.message_expiry.is_some_and(|left| (895..=900).contains(&left)), "an expiry of 900 s", heard.told())?;
    let comparable = |properties| columba_proto::packet::PublishProperties { message_expiry: None, ..properties };
    stage.same("properties", comparable(wanted), comparable(got))
}

fn a_will_above_the_maximum_qos_is_refused(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    is_refused(stage, will(&topic, QoS::ExactlyOnce), ReasonCode::QOS_NOT_SUPPORTED)
}

fn a_retained_will_is_refused_where_nothing_is_retained(stage: &Stage) -> Verdict {
    let topic = stage.topic("will");
    is_refused(stage, Will { retain: true, ..will(&topic, QoS::AtMostOnce) }, ReasonCode::RETAIN_NOT_SUPPORTED)
}

/// The version without properties has no code for it, and then there is no CONNACK: one with a code that nobody has listed would not be well-formed.
fn is_refused(stage: &Stage, will: Will<'_>, reason: ReasonCode) -> Verdict {
    let id = stage.id("mortal");
    let mut client = stage.dial("mortal", stage.version())?;
    client.send(&Packet::Connect(Connect { will: Some(will), ..stage.clean(&id) }));
    client.expect_end(&[reason])
}
