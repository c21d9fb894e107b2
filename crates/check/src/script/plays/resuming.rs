//! What CONNECT does with the state that is there: Clean Start, session present, client identifiers as keys (§3.1.2.4, §3.2.2.1.1).

use std::time::Duration;

use columba_proto::packet::{Connect, Disconnect, Packet, Publish};
use columba_proto::{QoS, ReasonCode};

use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "a clean start ends the stored session",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.1.2-4"),
            v5("MQTT-3.1.2-6"),
            v5("MQTT-3.1.4-4"),
            v5("MQTT-3.2.2-2"),
            v3("MQTT-3.1.2-6"),
            v3("MQTT-3.1.4-3"),
            v3("MQTT-3.2.2-1"),
        ],
        needs: &[Need::Qos1],
        play: a_clean_start_ends_the_stored_session,
    },
    Script {
        title: "a stored session is resumed with its subscriptions and messages",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.1.2-5"),
            v5("MQTT-3.1.2-23"),
            v5("MQTT-3.1.4-4"),
            v5("MQTT-3.2.2-3"),
            v5("MQTT-3.2.0-1"),
            v3("MQTT-3.1.2-4"),
            v3("MQTT-3.1.2-5"),
            v3("MQTT-3.1.4-3"),
            v3("MQTT-3.2.0-1"),
            v3("MQTT-3.2.2-2"),
        ],
        needs: &[Need::Qos1],
        play: a_stored_session_is_resumed,
    },
    Script {
        title: "where nothing is stored a new session begins",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-6"), v5("MQTT-3.2.2-3"), v3("MQTT-3.1.2-4"), v3("MQTT-3.2.2-3")],
        needs: &[Need::Qos1],
        play: where_nothing_is_stored_a_new_session_begins,
    },
    Script {
        title: "a clean session ends with its connection",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-6"), v5("MQTT-3.2.2-3"), v3("MQTT-3.1.2-6"), v3("MQTT-3.2.2-3")],
        needs: &[Need::Qos1],
        play: a_clean_session_ends_with_its_connection,
    },
    Script {
        title: "a session ends when its expiry interval has passed",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-6"), v5("MQTT-3.1.2-23"), v5("MQTT-3.2.2-3")],
        needs: &[Need::Qos1],
        play: a_session_ends_when_its_expiry_interval_has_passed,
    },
    Script {
        title: "each client identifier has its own session",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.3-2"), v3("MQTT-3.1.3-2")],
        needs: &[Need::Qos1],
        play: each_client_identifier_has_its_own_session,
    },
    Script {
        title: "a session expiry out of nothing ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.14.2-2"), v5("MQTT-3.14.2-1"), v5("MQTT-4.13.1-1")],
        needs: &[],
        play: a_session_expiry_out_of_nothing_ends_the_connection,
    },
];

fn a_clean_start_ends_the_stored_session(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("again"), stage.topic("a"));
    let mut first = stage.connect("again", &stage.lasting(&id))?;
    stage.same("session present", false, first.session_present())?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();
    let at_least_once = Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"while away") };
    stage.client("publisher")?.deliver(&at_least_once)?;

    let anew = Connect { clean_start: true, ..stage.lasting(&id) };
    let mut second = stage.connect("again", &anew)?;
    stage.same("session present", false, second.session_present())?;
    second.deliver(&message(&topic, b"for nobody"))?;
    second.expect_nothing()
}

fn a_stored_session_is_resumed(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("keeper"), stage.topic("a"));
    let mut first = stage.connect("keeper", &stage.lasting(&id))?;
    first.subscribe(&topic, stage.features().maximum_qos)?;
    first.cut();

    let mut publisher = stage.client("publisher")?;
    let kept: Vec<QoS> = stage.each_qos().filter(|qos| *qos != QoS::AtMostOnce).collect();
    for qos in &kept {
        publisher.deliver(&Publish { qos: *qos, ..message(&topic, b"while away") })?;
    }
    // CONNACK is the first thing that it hears, although messages wait.
    let mut second = stage.connect("keeper", &stage.lasting(&id))?;
    if stage.version().has_session_present() {
        stage.same("session present", true, second.session_present())?;
    }
    for qos in kept {
        let heard = second.receive()?;
        stage.same("topic", topic.as_str(), heard.topic())?;
        stage.same("qos", qos, heard.publish().qos)?;
        stage.same("payload", &b"while away"[..], heard.publish().payload)?;
    }
    publisher.deliver(&message(&topic, b"live"))?;
    stage.same("payload", &b"live"[..], second.receive()?.publish().payload)?;
    second.expect_nothing()
}

fn where_nothing_is_stored_a_new_session_begins(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.lasting_client("new")?;
    stage.same("session present", false, client.session_present())?;
    client.subscribe(&topic, QoS::AtLeastOnce)?;
    stage.client("publisher")?.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"hello") })?;
    stage.same("payload", &b"hello"[..], client.receive()?.publish().payload)
}

fn a_clean_session_ends_with_its_connection(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("short"), stage.topic("a"));
    let mut first = stage.connect("short", &stage.clean(&id))?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.cut();

    let mut second = stage.connect("short", &Connect { clean_start: false, ..stage.clean(&id) })?;
    stage.same("session present", false, second.session_present())?;
    second.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"for nobody") })?;
    second.expect_nothing()
}

fn a_session_ends_when_its_expiry_interval_has_passed(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("mortal"), stage.topic("a"));
    let mut mortal = stage.lasting(&id);
    mortal.properties.session_expiry = Some(1);
    let mut first = stage.connect("mortal", &mortal)?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();

    // Here again in time.
    let second = stage.connect("mortal", &mortal)?;
    stage.same("session present", true, second.session_present())?;
    second.disconnect();

    stage.pass(Duration::from_millis(2_500));
    let mut third = stage.connect("mortal", &mortal)?;
    stage.same("session present", false, third.session_present())?;
    third.deliver(&message(&topic, b"for nobody"))?;
    third.expect_nothing()
}

fn each_client_identifier_has_its_own_session(stage: &Stage) -> Verdict {
    let (small, large, topic) = (stage.id("twin"), stage.id("TWIN"), stage.topic("a"));
    let mut first = stage.connect("twin", &stage.lasting(&small))?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    // Another identifier, though its letters are the same.
    let mut other = stage.connect("TWIN", &stage.lasting(&large))?;
    stage.same("session present", false, other.session_present())?;
    first.ping()?;
    other.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"for the twin") })?;
    stage.same("payload", &b"for the twin"[..], first.receive()?.publish().payload)?;
    other.expect_nothing()?;
    first.disconnect();
    other.disconnect();

    let back = stage.connect("twin", &stage.lasting(&small))?;
    if stage.version().has_session_present() {
        stage.same("session present", true, back.session_present())?;
    }
    Ok(())
}

fn a_session_expiry_out_of_nothing_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("one");
    let mut client = stage.connect("one", &stage.clean(&id))?;
    client
        .send(&Packet::Disconnect(Disconnect { session_expiry: Some(60), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) }));
    // From none to some is a protocol error (§3.14.2.2.2). An answer that held an expiry itself would not be well-formed.
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}
