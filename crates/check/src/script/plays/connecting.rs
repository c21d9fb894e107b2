//! CONNECT, CONNACK and what follows a refusal (§3.1, §3.2).

use columba_proto::packet::{Connect, Disconnect, Packet};
use columba_proto::{QoS, ReasonCode};

use crate::script::clause::{v3, v5};
use crate::script::client::{frame, message};
use crate::script::{ALL, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "the first packet is CONNECT",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.0-1"), v3("MQTT-3.1.0-1")],
        needs: &[],
        play: the_first_packet_is_connect,
    },
    Script {
        title: "a second CONNECT ends the connection",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.0-2"), v5("MQTT-3.2.0-2"), v3("MQTT-3.1.0-2")],
        needs: &[],
        play: a_second_connect_ends_the_connection,
    },
    Script {
        title: "another protocol name ends the connection",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-1"), v3("MQTT-3.1.2-1")],
        needs: &[],
        play: another_protocol_name_ends_the_connection,
    },
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
            v3("MQTT-3.2.2-1"),
        ],
        needs: &[Need::Qos1],
        play: a_clean_start_ends_the_stored_session,
    },
    Script {
        title: "a new connection takes the session over",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.4-3"), v3("MQTT-3.1.4-2")],
        needs: &[],
        play: a_new_connection_takes_the_session_over,
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

fn the_first_packet_is_connect(stage: &Stage) -> Verdict {
    let mut client = stage.dial("early", stage.version())?;
    client.publish(&message(&stage.topic("a"), b"too early"));
    client.expect_end(&[])
}

fn a_second_connect_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("twice");
    let mut client = stage.connect("twice", &stage.clean(&id))?;
    client.send(&Packet::Connect(stage.clean(&id)));
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}

fn another_protocol_name_ends_the_connection(stage: &Stage) -> Verdict {
    let mut body = vec![0, 4];
    body.extend_from_slice(b"MQTx");
    body.extend_from_slice(&[stage.version().level(), 2, 0, 60]);
    if stage.version().has_properties() {
        body.push(0);
    }
    body.extend_from_slice(&[0, 1, b'a']);
    let mut client = stage.dial("stranger", stage.version())?;
    client.send_bytes("CONNECT with the name MQTx", &frame(0x10, &body));
    client.expect_end(&[])
}

fn a_clean_start_ends_the_stored_session(stage: &Stage) -> Verdict {
    let (id, topic) = (stage.id("again"), stage.topic("a"));
    let mut first = stage.connect("again", &stage.lasting(&id))?;
    stage.same("session present", false, first.session_present())?;
    first.subscribe(&topic, QoS::AtLeastOnce)?;
    first.disconnect();

    let anew = Connect { clean_start: true, ..stage.lasting(&id) };
    let mut second = stage.connect("again", &anew)?;
    stage.same("session present", false, second.session_present())?;
    second.deliver(&message(&topic, b"for nobody"))?;
    second.expect_nothing()
}

fn a_new_connection_takes_the_session_over(stage: &Stage) -> Verdict {
    let id = stage.id("one");
    let older = stage.connect("older", &stage.clean(&id))?;
    let mut newer = stage.connect("newer", &stage.clean(&id))?;
    older.expect_end(&[ReasonCode::SESSION_TAKEN_OVER])?;
    newer.ping()
}

fn a_session_expiry_out_of_nothing_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("one");
    let mut client = stage.connect("one", &stage.clean(&id))?;
    client
        .send(&Packet::Disconnect(Disconnect { session_expiry: Some(60), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) }));
    // From none to some is a protocol error (§3.14.2.2.2). An answer that held an expiry itself would not be well-formed.
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}
