//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use std::num::NonZeroU32;

use columba_proto::{QoS, ReasonCode};

use super::phrases::{ILL_FORMED, at, each_ends, hears, is, request, takes, text};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Heard, Need, SINCE_V311, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "an UNSUBSCRIBE with other flags ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.10.1-1"), v3("MQTT-3.10.1-1")],
        needs: &[],
        play: other_flags,
    },
    Script {
        title: "a filter in UNSUBSCRIBE that is no UTF-8 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.10.3-1"), v3("MQTT-3.10.3-1")],
        needs: &[],
        play: ill_formed_filters,
    },
    Script {
        title: "an UNSUBSCRIBE without a filter ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.10.3-2"), v3("MQTT-3.10.3-2")],
        needs: &[],
        play: no_filter,
    },
    Script {
        title: "UNSUBSCRIBE removes the identical filter alone",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-1"), v3("MQTT-3.10.4-1")],
        needs: &[],
        play: the_identical_filter_alone,
    },
    Script {
        title: "UNSUBSCRIBE compares wildcards as characters",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-1"), v3("MQTT-3.10.4-1")],
        needs: &[Need::Wildcards],
        play: wildcards_are_characters,
    },
    Script {
        title: "after UNSUBACK nothing comes any more",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-2"), v3("MQTT-3.10.4-2")],
        needs: &[],
        play: nothing_comes_any_more,
    },
    Script {
        title: "a QoS 2 delivery goes on after UNSUBSCRIBE",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-3"), v3("MQTT-3.10.4-3")],
        needs: &[Need::Qos2],
        play: a_qos2_delivery_goes_on,
    },
    Script {
        title: "a QoS 1 delivery goes on after UNSUBSCRIBE",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-3"), v3("MQTT-3.10.4-3")],
        needs: &[Need::Qos1],
        play: a_qos1_delivery_goes_on,
    },
    Script {
        title: "UNSUBACK comes also where nothing was subscribed",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-4"), v5("MQTT-3.10.4-5"), v3("MQTT-3.10.4-4"), v3("MQTT-3.10.4-5")],
        needs: &[],
        play: unsuback_for_nothing,
    },
    Script {
        title: "several filters in one UNSUBSCRIBE are removed with one UNSUBACK",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.10.4-6"), v5("MQTT-3.11.3-1"), v5("MQTT-3.11.3-2"), v3("MQTT-3.10.4-6")],
        needs: &[],
        play: several_filters,
    },
    Script {
        title: "an UNSUBACK is no larger than the client takes",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.11.2-1"), v5("MQTT-3.11.2-2")],
        needs: &[],
        play: an_unsuback_fits,
    },
];

fn other_flags(stage: &Stage) -> Verdict {
    let payload = text(stage.topic("a").as_bytes());
    let flagged = |first: u8| request(stage.version(), first, &payload);
    let table = [
        ("UNSUBSCRIBE with flags 0000", flagged(0xa0)),
        ("UNSUBSCRIBE with flags 0011", flagged(0xa3)),
        ("UNSUBSCRIBE with flags 0110", flagged(0xa6)),
        ("UNSUBSCRIBE with flags 1010", flagged(0xaa)),
    ];
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET])
}

fn ill_formed_filters(stage: &Stage) -> Verdict {
    let table: Vec<_> = ILL_FORMED.iter().map(|&(what, filter)| (what, request(stage.version(), 0xa2, &text(filter)))).collect();
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET])
}

fn no_filter(stage: &Stage) -> Verdict {
    let request = request(stage.version(), 0xa2, &[]);
    each_ends(stage, &[("UNSUBSCRIBE without a filter", request)], &[ReasonCode::PROTOCOL_ERROR])
}

/// The reasons of an UNSUBACK, where the version has them.
fn reasons(heard: &Heard) -> Vec<ReasonCode> {
    heard.unsuback().reasons.iter().collect()
}

fn the_identical_filter_alone(stage: &Stage) -> Verdict {
    let kept = ["a", "a/", "/a", "a/b", "a b"].map(|name| stage.topic(name));
    let gone = stage.topic("A");
    let mut reader = stage.client("reader")?;
    for filter in kept.iter().chain([&gone]) {
        reader.subscribe(filter, QoS::AtMostOnce)?;
    }

    let id = reader.ask_no_more(&[&gone]);
    reader.expect_unsuback(id)?;

    let mut publisher = stage.client("publisher")?;
    publisher.deliver(&message(&gone, b"for nobody"))?;
    for topic in &kept {
        publisher.deliver(&message(topic, b"still"))?;
        takes(stage, &mut reader, QoS::AtMostOnce, topic, b"still")?;
    }
    reader.expect_nothing()
}

fn wildcards_are_characters(stage: &Stage) -> Verdict {
    let (wild, plain, topic) = (stage.topic("+/b"), stage.topic("a/b"), stage.topic("a/b"));
    let mut publisher = stage.client("publisher")?;

    let mut reader = stage.client("reader of one topic")?;
    reader.subscribe(&plain, QoS::AtMostOnce)?;
    let id = reader.ask_no_more(&[&wild]);
    reader.expect_unsuback(id)?;
    publisher.deliver(&message(&topic, b"still"))?;
    takes(stage, &mut reader, QoS::AtMostOnce, &topic, b"still")?;

    let mut reader = stage.client("reader of many")?;
    reader.subscribe(&wild, QoS::AtMostOnce)?;
    let id = reader.ask_no_more(&[&plain]);
    reader.expect_unsuback(id)?;
    publisher.deliver(&message(&topic, b"still"))?;
    takes(stage, &mut reader, QoS::AtMostOnce, &topic, b"still")
}

fn nothing_comes_any_more(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::AtMostOnce)?;
    publisher.deliver(&message(&topic, b"before"))?;
    takes(stage, &mut reader, QoS::AtMostOnce, &topic, b"before")?;

    let id = reader.ask_no_more(&[&topic]);
    reader.expect_unsuback(id)?;

    publisher.deliver(&at(stage.features().maximum_qos, &topic, b"after"))?;
    reader.ping()?;
    reader.expect_nothing()
}

fn a_qos2_delivery_goes_on(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::ExactlyOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::ExactlyOnce, &topic, b"begun"))?;
    let heard = hears(stage, &mut reader, QoS::ExactlyOnce, &topic, b"begun")?;

    let id = reader.ask_no_more(&[&topic]);
    reader.expect_unsuback(id)?;

    reader.take(&heard)?;
    reader.expect_nothing()
}

fn a_qos1_delivery_goes_on(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.lasting_client("reader")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"begun"))?;
    let before = hears(stage, &mut reader, QoS::AtLeastOnce, &topic, b"begun")?;
    let id = reader.ask_no_more(&[&topic]);
    reader.expect_unsuback(id)?;
    reader.leave();

    let mut reader = stage.lasting_client("reader")?;
    let again = reader.expect_publish()?;
    is(stage, &again, QoS::AtLeastOnce, &topic, b"begun")?;
    stage.same("the identifier", before.publish().packet_id, again.publish().packet_id)?;
    reader.take(&again)?;
    reader.expect_nothing()
}

fn unsuback_for_nothing(stage: &Stage) -> Verdict {
    let mut client = stage.client("reader")?;
    for _ in 0..0x102 {
        client.next_id();
    }
    let id = client.ask_no_more(&[&stage.topic("a")]);
    let heard = client.expect_unsuback(id)?;
    if !stage.version().unsuback_has_reasons() {
        return stage.same("the bytes behind the identifier", 2, heard.body().len());
    }
    let reasons = reasons(&heard);
    stage.same("the number of reasons", 1, reasons.len())?;
    if reasons[0] != ReasonCode::NO_SUBSCRIPTION_EXISTED {
        stage.advise(format!("UNSUBACK says {}, where there was no subscription", reasons[0]));
    }
    client.ping()
}

fn several_filters(stage: &Stage) -> Verdict {
    let (one, two, missing) = (stage.topic("1"), stage.topic("2"), stage.topic("3"));
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    let kept = stage.topic("kept");
    for filter in [&one, &two, &kept] {
        reader.subscribe(filter, QoS::AtMostOnce)?;
    }

    let id = reader.ask_no_more(&[&one, &two, &missing]);
    let heard = reader.expect_unsuback(id)?;

    if stage.version().unsuback_has_reasons() {
        let there = ReasonCode::SUCCESS;
        let wanted = vec![there, there, ReasonCode::NO_SUBSCRIPTION_EXISTED];
        stage.same("the reasons", wanted, reasons(&heard))?;
    }
    publisher.deliver(&message(&one, b"for nobody"))?;
    publisher.deliver(&message(&two, b"for nobody"))?;
    publisher.deliver(&message(&kept, b"still"))?;
    takes(stage, &mut reader, QoS::AtMostOnce, &kept, b"still")?;
    reader.expect_nothing()
}

fn an_unsuback_fits(stage: &Stage) -> Verdict {
    // The smallest that this broker can connect with.
    let measured = stage.client("measured")?.connack().size.max(16);
    let id = stage.id("small");
    let mut connect = stage.clean(&id);
    connect.properties.maximum_packet_size = u32::try_from(measured).ok().and_then(NonZeroU32::new);
    let mut client = stage.connect("small", &connect)?;
    // Type, length, identifier, no property, and a reason for each filter: it fits, and nothing else would.
    let count = measured - 5;
    let missing = stage.topic("a");

    let id = client.ask_no_more(&vec![missing.as_str(); count]);

    let heard = client.expect_unsuback(id)?;
    stage.same("the number of reasons", count, heard.unsuback().reasons.len())?;
    stage.check(heard.size <= measured, format!("{measured} bytes at most"), format!("{} bytes", heard.size))
}
