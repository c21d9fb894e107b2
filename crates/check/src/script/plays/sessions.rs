//! What outlives a connection, and for how long (§4.1).

use std::time::Duration;

use columba_proto::packet::{Connect, Disconnect, Packet, PacketType, Publish};
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use super::phrases::{PAST_A_SECOND, at, back, hears, is, takes};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "a session lasts as long as its connection, whatever its expiry",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-4.1.0-1"), v3("MQTT-4.1.0-1"), v3("MQTT-4.1.0-2")],
        needs: &[Need::Qos2],
        play: as_long_as_its_connection,
    },
    Script {
        title: "all that a session has comes back with it",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[
            v5("MQTT-4.1.0-1"),
            v5("MQTT-4.4.0-1"),
            v5("MQTT-4.5.0-1"),
            v3("MQTT-4.1.0-1"),
            v3("MQTT-4.4.0-1"),
            v3("MQTT-4.5.0-1"),
        ],
        needs: &[Need::Qos2],
        play: all_comes_back,
    },
    Script {
        title: "a session is taken over with all that it has",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.4-3"), v5("MQTT-4.4.0-1"), v3("MQTT-3.1.4-2"), v3("MQTT-4.4.0-1")],
        needs: &[Need::Qos2],
        play: taken_over,
    },
    Script {
        title: "DISCONNECT changes how long a session lasts",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-4.1.0-2")],
        needs: &[],
        play: disconnect_changes_the_expiry,
    },
    Script {
        title: "a session's expiry is that of its last connection, and begins at its end",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-4.1.0-2"), v5("MQTT-4.1.0-1")],
        needs: &[],
        play: the_last_expiry,
    },
    Script {
        title: "a session without an expiry ends with its connection",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-4.1.0-2")],
        needs: &[Need::Qos1],
        play: no_expiry,
    },
];

/// Starts a QoS 2 message and leaves it at PUBREC.
fn half_sent(client: &mut Client<'_>, topic: &str, payload: &[u8]) -> Verdict<PacketId> {
    let id = client.next_id();
    client.publish(&Publish { packet_id: Some(id), ..at(QoS::ExactlyOnce, topic, payload) });
    client.expect_ack(AckKind::Pubrec, id)?;
    Ok(id)
}

fn as_long_as_its_connection(stage: &Stage) -> Verdict {
    let (topic, other) = (stage.topic("a"), stage.topic("b"));
    let id = stage.id("quiet");
    let mut connect: Connect<'_> = stage.clean(&id);
    if stage.version().has_properties() {
        connect.properties.session_expiry = Some(1);
    }
    let mut client = stage.connect("quiet", &connect)?;
    let mut witness = stage.client("witness")?;
    client.subscribe(&topic, QoS::ExactlyOnce)?;
    witness.subscribe(&other, QoS::ExactlyOnce)?;
    let sent = half_sent(&mut client, &other, b"half")?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"before"))?;
    let before = hears(stage, &mut client, QoS::ExactlyOnce, &topic, b"before")?;

    stage.pass(PAST_A_SECOND);

    client.take(&before)?;
    client.publish(&Publish { packet_id: Some(sent), dup: true, ..at(QoS::ExactlyOnce, &other, b"half") });
    client.expect_ack(AckKind::Pubrec, sent)?;
    client.acknowledge(AckKind::Pubrel, sent);
    client.expect_ack_with(AckKind::Pubcomp, sent, ReasonCode::SUCCESS)?;
    takes(stage, &mut witness, QoS::ExactlyOnce, &other, b"half")?;
    witness.expect_nothing()?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"after"))?;
    takes(stage, &mut client, QoS::ExactlyOnce, &topic, b"after")?;
    client.expect_nothing()
}

/// A session with all that one can have: subscriptions, messages before PUBACK, PUBREC and PUBCOMP, one of its own before PUBREL.
struct Full {
    topic: String,
    own: String,
    puback: Option<PacketId>,
    pubrec: Option<PacketId>,
    pubcomp: PacketId,
    pubrel: PacketId,
}

fn fill(stage: &Stage, client: &mut Client<'_>) -> Verdict<Full> {
    let (topic, own) = (stage.topic("a"), stage.topic("own"));
    client.subscribe(&topic, QoS::ExactlyOnce)?;
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"1"))?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"2"))?;
    publisher.deliver(&at(QoS::ExactlyOnce, &topic, b"3"))?;
    // Those of one QoS come in their order; those of another one between them.
    let (mut puback, mut exactly) = (None, Vec::new());
    for _ in 0..3 {
        let heard = client.expect_publish()?;
        let id = heard.publish().packet_id;
        if heard.publish().qos == QoS::AtLeastOnce { puback = id } else { exactly.extend(id) }
    }
    stage.same("the number of QoS 2 messages", 2, exactly.len())?;
    client.acknowledge(AckKind::Pubrec, exactly[1]);
    client.expect_ack(AckKind::Pubrel, exactly[1])?;
    let pubrel = half_sent(client, &own, b"half")?;
    publisher.leave();
    Ok(Full { topic, own, puback, pubrec: Some(exactly[0]), pubcomp: exactly[1], pubrel })
}

/// All of it comes again, in whatever order, and can be finished.
fn finish(stage: &Stage, client: &mut Client<'_>, full: &Full) -> Verdict {
    let mut missing = vec!["1", "2", "PUBREL"];
    while !missing.is_empty() {
        let heard = client.hear()?;
        let what = match heard.packet_type() {
            PacketType::Publish if heard.publish().qos == QoS::AtLeastOnce => {
                is(stage, &heard, QoS::AtLeastOnce, &full.topic, b"1")?;
                stage.same("the identifier", full.puback, heard.publish().packet_id)?;
                stage.same("DUP", true, heard.publish().dup)?;
                "1"
            }
            PacketType::Publish => {
                is(stage, &heard, QoS::ExactlyOnce, &full.topic, b"2")?;
                stage.same("the identifier", full.pubrec, heard.publish().packet_id)?;
                stage.same("DUP", true, heard.publish().dup)?;
                "2"
            }
            PacketType::Pubrel => {
                stage.same("the identifier", full.pubcomp, heard.ack().id)?;
                "PUBREL"
            }
            PacketType::Connect
            | PacketType::Connack
            | PacketType::Puback
            | PacketType::Pubrec
            | PacketType::Pubcomp
            | PacketType::Subscribe
            | PacketType::Suback
            | PacketType::Unsubscribe
            | PacketType::Unsuback
            | PacketType::Pingreq
            | PacketType::Pingresp
            | PacketType::Disconnect
            | PacketType::Auth => return stage.check(false, "what was open", heard.told()),
        };
        let wanted = missing.len();
        missing.retain(|one| *one != what);
        stage.check(missing.len() < wanted, "each of them once", heard.told())?;
    }
    if let (Some(puback), Some(pubrec)) = (full.puback, full.pubrec) {
        client.acknowledge(AckKind::Puback, puback);
        client.acknowledge(AckKind::Pubcomp, full.pubcomp);
        client.acknowledge(AckKind::Pubrec, pubrec);
        client.expect_ack(AckKind::Pubrel, pubrec)?;
        client.acknowledge(AckKind::Pubcomp, pubrec);
    }
    client.publish(&Publish { packet_id: Some(full.pubrel), dup: true, ..at(QoS::ExactlyOnce, &full.own, b"half") });
    client.expect_ack(AckKind::Pubrec, full.pubrel)?;
    client.acknowledge(AckKind::Pubrel, full.pubrel);
    client.expect_ack_with(AckKind::Pubcomp, full.pubrel, ReasonCode::SUCCESS)
}

fn all_comes_back(stage: &Stage) -> Verdict {
    let mut witness = stage.client("witness")?;
    witness.subscribe(&stage.topic("own"), QoS::ExactlyOnce)?;
    let mut client = stage.lasting_client("forgetful")?;
    let full = fill(stage, &mut client)?;
    client.leave();
    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&at(QoS::AtLeastOnce, &full.topic, b"4"))?;

    // It may go again before it has heard anything, and nothing is lost by that.
    back(stage, "forgetful")?.cut();
    let mut client = back(stage, "forgetful")?;
    // What waited comes behind what was open.
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.hear()?);
    }
    let last = open.pop();
    if let Some(last) = last {
        is(stage, &last, QoS::AtLeastOnce, &full.topic, b"4")?;
        client.take(&last)?;
    }
    client.ping()?;
    client.leave();

    let mut client = back(stage, "forgetful")?;
    finish(stage, &mut client, &full)?;
    client.expect_nothing()?;
    takes(stage, &mut witness, QoS::ExactlyOnce, &full.own, b"half")?;
    witness.expect_nothing()?;
    publisher.deliver(&at(QoS::AtLeastOnce, &full.topic, b"still subscribed"))?;
    takes(stage, &mut client, QoS::AtLeastOnce, &full.topic, b"still subscribed")
}

fn taken_over(stage: &Stage) -> Verdict {
    let mut witness = stage.client("witness")?;
    witness.subscribe(&stage.topic("own"), QoS::ExactlyOnce)?;
    let mut older = stage.lasting_client("one")?;
    let full = fill(stage, &mut older)?;

    let mut newer = back(stage, "one")?;

    older.expect_end(&[ReasonCode::SESSION_TAKEN_OVER])?;
    finish(stage, &mut newer, &full)?;
    newer.expect_nothing()?;
    takes(stage, &mut witness, QoS::ExactlyOnce, &full.own, b"half")?;
    witness.expect_nothing()?;
    stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &full.topic, b"still subscribed"))?;
    takes(stage, &mut newer, QoS::AtLeastOnce, &full.topic, b"still subscribed")
}

/// Connects with this expiry, taking up what there is.
fn with_expiry<'s>(stage: &'s Stage, name: &str, seconds: Option<u32>) -> Verdict<Client<'s>> {
    let id = stage.id(name);
    let mut connect: Connect<'_> = stage.lasting(&id);
    connect.properties.session_expiry = seconds;
    stage.connect(name, &connect)
}

/// Leaves with this expiry.
fn leave_with(mut client: Client<'_>, seconds: u32) -> Verdict {
    let disconnect = Disconnect { session_expiry: Some(seconds), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) };
    client.send(&Packet::Disconnect(disconnect));
    client.expect_end(&[])
}

fn disconnect_changes_the_expiry(stage: &Stage) -> Verdict {
    leave_with(with_expiry(stage, "to none", Some(600))?, 0)?;
    leave_with(with_expiry(stage, "longer", Some(1))?, 600)?;
    leave_with(with_expiry(stage, "shorter", Some(600))?, 1)?;
    leave_with(with_expiry(stage, "for ever", Some(1))?, u32::MAX)?;
    with_expiry(stage, "unchanged", Some(1))?.leave();
    with_expiry(stage, "not changed", Some(600))?.leave();

    let client = with_expiry(stage, "to none", Some(600))?;
    stage.same("session present, having left with expiry 0", false, client.session_present())?;
    stage.pass(PAST_A_SECOND);
    for (name, is_there) in
        [("longer", true), ("shorter", false), ("for ever", true), ("unchanged", false), ("not changed", true)]
    {
        let client = with_expiry(stage, name, None)?;
        stage.same(&format!("session present ({name})"), is_there, client.session_present())?;
    }
    Ok(())
}

fn the_last_expiry(stage: &Stage) -> Verdict {
    with_expiry(stage, "longer", Some(1))?.cut();
    with_expiry(stage, "longer", Some(600))?.cut();
    with_expiry(stage, "shorter", Some(600))?.cut();
    with_expiry(stage, "shorter", Some(1))?.cut();
    let quiet = with_expiry(stage, "quiet", Some(2))?;
    stage.pass(PAST_A_SECOND);
    quiet.cut();
    for (name, is_there) in [("longer", true), ("shorter", false), ("quiet", true)] {
        let client = with_expiry(stage, name, None)?;
        stage.same(&format!("session present ({name})"), is_there, client.session_present())?;
    }
    Ok(())
}

fn no_expiry(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut publisher = stage.client("publisher")?;
    for (seconds, says_goodbye) in [(None, true), (None, false), (Some(0), true), (Some(0), false)] {
        let mut client = with_expiry(stage, "short", seconds)?;
        stage.same("session present", false, client.session_present())?;
        client.subscribe(&topic, QoS::AtLeastOnce)?;
        publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"open"))?;
        hears(stage, &mut client, QoS::AtLeastOnce, &topic, b"open")?;
        if says_goodbye {
            client.leave();
        } else {
            client.cut();
        }

        let mut client = with_expiry(stage, "short", seconds)?;
        stage.same("session present", false, client.session_present())?;
        publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"for nobody"))?;
        publisher.publish(&message(&topic, b"for nobody"));
        client.expect_nothing_for(Duration::from_millis(200))?;
        client.leave();
    }
    Ok(())
}
