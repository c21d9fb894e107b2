//! What devices do that are older than 3.1.1, or bend it: MQTT 3.1, bridges.

use columba_proto::packet::{Connect, Packet, PacketType};
use columba_proto::{QoS, ReasonCode, Version};

use crate::script::bytes::{CLEAN, RESERVED, USER_NAME, WILL_QOS_1, WILL_RETAIN, connect, connect_as, text};
use crate::script::clause::v3;
use crate::script::client::{frame, message};
use crate::script::{Client, Script, Stage, Suite, V3, Verdict};

const V31: &[Version] = &[Version::V31];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "MQIsdp is a name of MQTT",
        suite: Suite::Packets,
        versions: V31,
        clauses: &[v3("MQTT-3.1.4-4"), v3("MQTT-3.2.0-1")],
        needs: &[],
        play: mqisdp_is_a_name_of_mqtt,
    },
    Script {
        title: "an old device needs an identifier",
        suite: Suite::Packets,
        versions: V31,
        clauses: &[v3("MQTT-3.1.3-9")],
        needs: &[],
        play: an_old_device_needs_an_identifier,
    },
    Script {
        title: "flags that MQTT 3.1 does not look at do no harm",
        suite: Suite::Packets,
        versions: V31,
        clauses: &[],
        needs: &[],
        play: flags_that_mqtt_3_1_does_not_look_at_do_no_harm,
    },
    Script {
        title: "a bridge may say that it is one",
        suite: Suite::Packets,
        versions: V3,
        clauses: &[],
        needs: &[],
        play: a_bridge_may_say_that_it_is_one,
    },
];

/// Whether this CONNECT is accepted, and its client as good as any. MQTT 3.1 has no numbered statements: who does otherwise is advised.
fn should_be_accepted<'s>(stage: &'s Stage, what: &str, bytes: &[u8]) -> Verdict<Option<Client<'s>>> {
    let mut client = stage.dial("device", stage.version())?;
    client.send_bytes(what, bytes);
    let is_accepted = client.expect_connack_or_end()?.is_some_and(|connack| connack.connack().reason == ReasonCode::SUCCESS);
    if is_accepted {
        client.ping()?;
        return Ok(Some(client));
    }
    stage.advise(format!("{what} should be accepted"));
    Ok(None)
}

fn mqisdp_is_a_name_of_mqtt(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let bytes = connect_as("MQIsdp", 3, CLEAN, &text(stage.id("device")));
    let mut client = stage.dial("device", stage.version())?;
    client.send_bytes("CONNECT with MQIsdp and 3", &bytes);
    stage.same("accepted", &[0x20, 2, 0, 0][..], &frame(0x20, client.accepted()?.body()))?;
    client.subscribe(&topic, QoS::AtMostOnce)?;
    client.publish(&message(&topic, b"hello"));
    stage.same("payload", &b"hello"[..], client.expect_publish()?.publish().payload)
}

fn an_old_device_needs_an_identifier(stage: &Stage) -> Verdict {
    let mut client = stage.dial("nameless", stage.version())?;
    client.send(&Packet::Connect(Connect { clean_start: true, ..stage.clean("") }));
    let Some(connack) = client.expect_connack_or_end()? else { return Ok(()) };
    let reason = connack.connack().reason;
    if reason == ReasonCode::SUCCESS {
        stage.advise("MQTT 3.1 wants an identifier of at least one character");
        return Ok(());
    }
    stage.same("the refusal", ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, reason)?;
    client.expect_end_unsaid()
}

fn flags_that_mqtt_3_1_does_not_look_at_do_no_harm(stage: &Stage) -> Verdict {
    let version = stage.version();
    let id = text(stage.id("device"));
    for (what, flags) in [
        ("CONNECT with the reserved flag", RESERVED),
        ("CONNECT with will QoS and will retain, but no will", WILL_QOS_1 | WILL_RETAIN),
        ("CONNECT with a flag for a user name that is not there", USER_NAME),
    ] {
        should_be_accepted(stage, what, &connect(version, CLEAN | flags, &[], std::slice::from_ref(&id)))?;
    }
    // DUP is for SUBSCRIBE too.
    let filter = text(stage.topic("a"));
    let mut client = stage.client("device")?;
    client.send_bytes("SUBSCRIBE with DUP", &frame(0x8a, &[&[0, 1], &filter[..], &[0]].concat()));
    if let Some(heard) = client.hear_or_end()? {
        return stage.same("the answer", PacketType::Suback, heard.packet_type());
    }
    stage.advise("MQTT 3.1 lets SUBSCRIBE be repeated with DUP");
    Ok(())
}

fn a_bridge_may_say_that_it_is_one(stage: &Stage) -> Verdict {
    let version = stage.version();
    let bytes = connect_as(version.protocol_name(), version.level() | 0x80, CLEAN, &text(stage.id("bridge")));
    let Some(mut bridge) = should_be_accepted(stage, "CONNECT with the bridge bit", &bytes)? else { return Ok(()) };
    let topic = stage.topic("a");
    bridge.subscribe(&topic, QoS::AtMostOnce)?;
    stage.client("publisher")?.publish(&message(&topic, b"hello"));
    stage.same("payload", &b"hello"[..], bridge.expect_publish()?.publish().payload)
}
