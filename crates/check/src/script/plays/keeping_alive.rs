//! Keep Alive (§3.1.2.10).

use std::time::Duration;

use columba_proto::ReasonCode;
use columba_proto::packet::Connect;

use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Script, Stage, Suite, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "who is silent for one and a half keep-alive periods is cut off",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-22"), v5("MQTT-3.2.2-22"), v3("MQTT-3.1.2-24")],
        needs: &[],
        play: who_is_silent_is_cut_off,
    },
    Script {
        title: "every packet keeps the connection alive",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-22"), v3("MQTT-3.1.2-24")],
        needs: &[],
        play: every_packet_keeps_the_connection_alive,
    },
    Script {
        title: "a keep-alive of zero never ends the connection",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.1.2-22"), v5("MQTT-3.2.2-22"), v3("MQTT-3.1.2-24")],
        needs: &[],
        play: a_keep_alive_of_zero_never_ends_the_connection,
    },
];

/// What a broker may be late that looks at its clocks now and then, on a machine that has other things to do: nothing of it in simulated time.
pub(super) fn slack(stage: &Stage) -> Duration {
    stage.silence() * 30
}

/// The keep-alive that holds: the server may have one of its own.
pub(super) fn keep_alive_of(client: &Client<'_>, asked_s: u16) -> Duration {
    Duration::from_secs(client.connack().connack().properties.server_keep_alive.unwrap_or(asked_s).into())
}

fn who_is_silent_is_cut_off(stage: &Stage) -> Verdict {
    let id = stage.id("silent");
    let mut client = stage.connect("silent", &Connect { keep_alive: 2, ..stage.clean(&id) })?;
    let keep_alive = keep_alive_of(&client, 2);
    if keep_alive > Duration::from_secs(10) {
        return stage.skip("the server's own keep-alive is too long to wait for");
    }
    // What it hears does not count, and a keep-alive period is not over before it is over.
    let mut publisher = stage.client("publisher")?;
    let topic = stage.topic("a");
    client.subscribe(&topic, columba_proto::QoS::AtMostOnce)?;
    client.expect_nothing_for(keep_alive / 2)?;
    publisher.publish(&message(&topic, b"hello"));
    client.expect_publish()?;
    client.expect_nothing_for(keep_alive / 2)?;
    client.expect_end_within(keep_alive / 2 + slack(stage), &[ReasonCode::KEEP_ALIVE_TIMEOUT])
}

fn every_packet_keeps_the_connection_alive(stage: &Stage) -> Verdict {
    let id = stage.id("lively");
    let mut client = stage.connect("lively", &Connect { keep_alive: 1, ..stage.clean(&id) })?;
    for _ in 0..2 {
        client.expect_nothing_for(Duration::from_millis(900))?;
        client.publish(&message(&stage.topic("a"), b"still here"));
        client.expect_nothing_for(Duration::from_millis(900))?;
        client.ping()?;
    }
    Ok(())
}

fn a_keep_alive_of_zero_never_ends_the_connection(stage: &Stage) -> Verdict {
    let id = stage.id("trusted");
    let mut client = stage.connect("trusted", &Connect { keep_alive: 0, ..stage.clean(&id) })?;
    if client.connack().connack().properties.server_keep_alive.is_some() {
        return stage.skip("the server has a keep-alive of its own");
    }
    client.expect_nothing_for(Duration::from_millis(2_500))?;
    client.ping()
}
