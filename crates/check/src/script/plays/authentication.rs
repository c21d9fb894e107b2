//! AUTH and enhanced authentication (§3.15, §4.12).

use columba_proto::ReasonCode;
use columba_proto::packet::{Auth, Packet, PacketType};

use super::phrases::{each_ends, text};
use crate::script::clause::{v3, v5};
use crate::script::client::frame;
use crate::script::{SINCE_V311, Script, Stage, Suite, V3, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "an authentication method that nobody knows ends the connection",
        suite: Suite::Security,
        versions: V5,
        clauses: &[v5("MQTT-4.12.0-1"), v5("MQTT-4.13.2-1")],
        needs: &[],
        play: an_unknown_method,
    },
    Script {
        title: "who named no method hears of none",
        suite: Suite::Security,
        versions: V5,
        clauses: &[v5("MQTT-4.12.0-6")],
        needs: &[],
        play: no_method,
    },
    Script {
        title: "an AUTH from who named no method ends the connection",
        suite: Suite::Security,
        versions: V5,
        clauses: &[v5("MQTT-4.12.0-7"), v5("MQTT-4.13.1-1")],
        needs: &[],
        play: auth_without_a_method,
    },
    Script {
        title: "an AUTH that is malformed ends the connection",
        suite: Suite::Security,
        versions: V5,
        clauses: &[v5("MQTT-3.15.1-1"), v5("MQTT-3.15.2-1")],
        needs: &[],
        play: malformed_auth,
    },
    Script {
        title: "authentication data without a method ends the connection",
        suite: Suite::Security,
        versions: V5,
        clauses: &[v5("MQTT-4.13.1-1")],
        needs: &[],
        play: data_without_a_method,
    },
    Script {
        title: "before MQTT 5 there is no AUTH",
        suite: Suite::Security,
        versions: V3,
        clauses: &[v3("MQTT-4.8.0-1"), v3("MQTT-2.2.2-2")],
        needs: &[],
        play: no_auth_before_5,
    },
    Script {
        title: "AUTH is not the first packet",
        suite: Suite::Security,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.0-1"), v3("MQTT-3.1.0-1")],
        needs: &[],
        play: auth_first,
    },
];

fn an_unknown_method(stage: &Stage) -> Verdict {
    let id = stage.id("stranger");
    for method in ["no such method", "", "scram-sha-256 but not quite"] {
        let mut connect = stage.clean(&id);
        connect.properties.authentication_method = Some(method);
        connect.properties.authentication_data = Some(b"n,,n=user,r=nonce");
        let mut client = stage.dial("stranger", stage.version())?;
        client.send(&Packet::Connect(connect));
        let all = client.hear_to_the_end()?;
        for heard in &all {
            let Packet::Connack(connack) = heard.packet() else {
                return stage.check(false, "a CONNACK that refuses, or nothing", heard.told());
            };
            let allowed = [ReasonCode::BAD_AUTHENTICATION_METHOD, ReasonCode::NOT_AUTHORIZED];
            stage.check(allowed.contains(&connack.reason), "Bad authentication method, or Not authorized", heard.told())?;
        }
        if all.is_empty() {
            stage.note("closed without a word; a CONNACK may say why");
        }
    }
    Ok(())
}

fn no_method(stage: &Stage) -> Verdict {
    let mut client = stage.client("simple")?;
    let properties = client.connack().connack().properties;
    stage.same("the method", None, properties.authentication_method)?;
    stage.same("the data", None, properties.authentication_data)?;
    client.ping()?;
    client.expect_nothing()?;

    // Nor who is refused.
    let id = stage.id("wrong");
    let mut connect = stage.clean(&id);
    connect.username = Some("nobody that there is");
    connect.password = Some(b"wrong");
    let mut client = stage.dial("wrong", stage.version())?;
    client.send(&Packet::Connect(connect));
    let Some(heard) = client.hear_or_end()? else { return Ok(()) };
    stage.same("a packet", PacketType::Connack, heard.packet_type())?;
    stage.same("the method", None, heard.connack().properties.authentication_method)
}

/// An AUTH with this reason, method and data.
fn auth(reason: ReasonCode, method: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Auth::new(reason, method, method.map(|_| &b"data"[..])).encode(columba_proto::Version::V5, &mut bytes);
    bytes
}

fn auth_without_a_method(stage: &Stage) -> Verdict {
    let table = [
        ("AUTH that goes on", auth(ReasonCode::CONTINUE_AUTHENTICATION, Some("SCRAM-SHA-256"))),
        ("AUTH again", auth(ReasonCode::RE_AUTHENTICATE, Some("SCRAM-SHA-256"))),
        ("AUTH with another method", auth(ReasonCode::RE_AUTHENTICATE, Some("another"))),
    ];
    each_ends(stage, &table, &[ReasonCode::PROTOCOL_ERROR])
}

fn malformed_auth(stage: &Stage) -> Verdict {
    let mut method = vec![0x15];
    method.extend(text(b"SCRAM-SHA-256"));
    let properties = [&[u8::try_from(method.len()).unwrap_or(0)][..], &method].concat();
    let with_reason = |reason: u8| [&[reason][..], &properties].concat();
    let table = [
        ("AUTH with flags 0001", frame(0xf1, &with_reason(0x19))),
        ("AUTH with flags 1000", frame(0xf8, &with_reason(0x19))),
        ("AUTH with a reason of PUBACK", frame(0xf0, &with_reason(0x10))),
        ("AUTH with a reason that there is not", frame(0xf0, &with_reason(0x77))),
        ("AUTH with a property of CONNECT", frame(0xf0, &[0x19, 3, 0x21, 0, 9])),
    ];
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR])
}

fn data_without_a_method(stage: &Stage) -> Verdict {
    let mut properties = vec![0x16];
    properties.extend(text(b"data"));
    let mut body = text(b"MQTT");
    body.extend([5, 2, 0, 60, u8::try_from(properties.len()).unwrap_or(0)]);
    body.extend(properties);
    body.extend(text(stage.id("a").as_bytes()));
    let mut client = stage.dial("stranger", stage.version())?;
    client.send_bytes("CONNECT with data and without a method", &frame(0x10, &body));
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}

fn no_auth_before_5(stage: &Stage) -> Verdict {
    each_ends(stage, &[("packet type 15", frame(0xf0, &[])), ("AUTH", auth(ReasonCode::RE_AUTHENTICATE, Some("a")))], &[])
}

fn auth_first(stage: &Stage) -> Verdict {
    let mut client = stage.dial("early", stage.version())?;
    client.send_bytes("AUTH", &auth(ReasonCode::CONTINUE_AUTHENTICATION, Some("SCRAM-SHA-256")));
    client.expect_end(&[])
}
