//! Client identifiers: which are taken, which are given, which are refused (§3.1.3.1).

use columba_proto::ReasonCode;
use columba_proto::packet::{Connect, Packet};

use crate::script::clause::{v3, v5};
use crate::script::{ALL, SINCE_V311, Script, Stage, Suite, V3, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "identifiers of 1 to 23 letters and digits are accepted",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.3-5"), v3("MQTT-3.1.3-5")],
        needs: &[],
        play: short_identifiers_are_accepted,
    },
    Script {
        title: "every other identifier is accepted, or refused in due form",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.3-8"), v3("MQTT-3.1.3-9")],
        needs: &[],
        play: other_identifiers_are_accepted_or_refused,
    },
    Script {
        title: "a client without an identifier is given one of its own",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.1.3-6"), v5("MQTT-3.1.3-7"), v5("MQTT-3.2.2-16"), v3("MQTT-3.1.3-6")],
        needs: &[],
        play: a_client_without_an_identifier_is_given_one,
    },
    Script {
        title: "a client returns under the identifier that it was given",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.1.3-7"), v5("MQTT-3.2.2-16")],
        needs: &[],
        play: a_client_returns_under_the_identifier_that_it_was_given,
    },
    Script {
        title: "no session without an identifier",
        suite: Suite::Session,
        versions: V3,
        clauses: &[v3("MQTT-3.1.3-7"), v3("MQTT-3.1.3-8"), v3("MQTT-3.1.3-9"), v3("MQTT-3.2.2-5")],
        needs: &[],
        play: no_session_without_an_identifier,
    },
];

const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn short_identifiers_are_accepted(stage: &Stage) -> Verdict {
    // Each version its own, for they may be played at the same time.
    let mark = stage.version().level().to_string();
    let mut ids: Vec<String> =
        LETTERS.as_bytes().chunks(22).map(|chunk| format!("{mark}{}", String::from_utf8_lossy(chunk))).collect();
    ids.push(mark);
    for id in &ids {
        let mut client = stage.connect(id, &stage.clean(id))?;
        client.ping()?;
        client.disconnect();
    }
    Ok(())
}

fn other_identifiers_are_accepted_or_refused(stage: &Stage) -> Verdict {
    let long = "y".repeat(65_000);
    for name in ["more than twenty-three letters", "äöü€𝄞", " / + # $ ", "\u{7f}\u{1}", long.as_str()] {
        let id = stage.id(name);
        let mut client = stage.dial("named", stage.version())?;
        client.send(&Packet::Connect(stage.clean(&id)));
        let Some(connack) = client.expect_connack_or_end()? else {
            stage.note(format!("an identifier of {} bytes is refused", id.len()));
            continue;
        };
        let reason = connack.connack().reason;
        if reason == ReasonCode::SUCCESS {
            client.ping()?;
            client.disconnect();
            continue;
        }
        stage.note(format!("an identifier of {} bytes is refused: {reason}", id.len()));
        stage.same("the refusal", ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, reason)?;
        client.expect_end_unsaid()?;
    }
    Ok(())
}

fn a_client_without_an_identifier_is_given_one(stage: &Stage) -> Verdict {
    let mut clients = Vec::new();
    let mut names = Vec::new();
    for name in ["one", "two", "three"] {
        let mut client = stage.dial(name, stage.version())?;
        client.send(&Packet::Connect(stage.clean("")));
        let connack = client.expect_connack()?;
        let reason = connack.connack().reason;
        if reason == ReasonCode::CLIENT_IDENTIFIER_NOT_VALID {
            stage.note("an empty client identifier is refused");
            return client.expect_end_unsaid();
        }
        stage.same("accepted", ReasonCode::SUCCESS, reason)?;
        let properties = connack.connack().properties;
        if stage.version().tells_assigned_client_id() {
            let assigned = properties.assigned_client_id.unwrap_or_default();
            stage.check(!assigned.is_empty(), "CONNACK tells the identifier", connack.told())?;
            names.push(assigned.to_owned());
        }
        clients.push(client);
    }
    names.sort();
    names.dedup();
    if stage.version().tells_assigned_client_id() {
        stage.same("different identifiers", clients.len(), names.len())?;
    }
    // None has taken over from another.
    clients.iter_mut().try_for_each(crate::script::Client::ping)
}

fn a_client_returns_under_the_identifier_that_it_was_given(stage: &Stage) -> Verdict {
    let nameless = Connect { clean_start: true, ..stage.lasting("") };
    let mut first = match stage.try_connect("nameless", &nameless)? {
        Ok(client) => client,
        Err(reason) => return stage.skip(format!("an empty client identifier is refused: {reason}")),
    };
    let assigned = first.connack().connack().properties.assigned_client_id.unwrap_or_default().to_owned();
    stage.check(!assigned.is_empty(), "an assigned client identifier", "none")?;
    first.ping()?;
    first.disconnect();

    let back = stage.connect("named", &stage.lasting(&assigned))?;
    stage.same("session present", true, back.session_present())?;
    stage.check(back.connack().connack().properties.assigned_client_id.is_none(), "no other identifier", "another one")?;
    back.disconnect();
    let gone = stage.connect("named", &stage.clean(&assigned))?;
    stage.same("session present", false, gone.session_present())
}

fn no_session_without_an_identifier(stage: &Stage) -> Verdict {
    let mut client = stage.dial("nameless", stage.version())?;
    client.send(&Packet::Connect(stage.lasting("")));
    let connack = client.expect_connack()?;
    stage.same("the refusal", ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, connack.connack().reason)?;
    stage.same("session present", false, connack.connack().session_present)?;
    client.expect_end_unsaid()
}
