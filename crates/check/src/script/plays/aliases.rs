//! Topic aliases, both ways (§3.3.2.3.4).

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use columba_proto::packet::{Publish, PublishProperties};
use columba_proto::{QoS, ReasonCode};

use crate::script::bytes::publish;
use crate::script::clause::v5;
use crate::script::client::message;
use crate::script::{Need, Script, Stage, Suite, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "every alias up to the maximum stands for its topic",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-12")],
        needs: &[Need::Aliases],
        play: every_alias_up_to_the_maximum_stands_for_its_topic,
    },
    Script {
        title: "alias 0 ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-8")],
        needs: &[],
        play: alias_0_ends_the_connection,
    },
    Script {
        title: "an alias above the maximum ends the connection",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-9")],
        needs: &[Need::AliasLimit],
        play: an_alias_above_the_maximum_ends_the_connection,
    },
    Script {
        title: "aliases end with the connection",
        suite: Suite::Session,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-7")],
        needs: &[Need::Aliases],
        play: aliases_end_with_the_connection,
    },
    Script {
        title: "neither topic nor alias ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-4.13.1-1")],
        needs: &[],
        play: neither_topic_nor_alias_ends_the_connection,
    },
    Script {
        title: "the server's aliases stay within the client's maximum",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-26"), v5("MQTT-3.3.2-11"), v5("MQTT-3.3.2-8"), v5("MQTT-3.3.2-7")],
        needs: &[],
        play: the_servers_aliases_stay_within_the_clients_maximum,
    },
    Script {
        title: "the server uses no aliases where the client takes none",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-27"), v5("MQTT-3.1.2-26"), v5("MQTT-3.3.2-11")],
        needs: &[],
        play: the_server_uses_no_aliases_where_the_client_takes_none,
    },
];

/// Aliases that are tried one by one; of more only the last is.
const TRIED_MAX: u16 = 200;

/// A message whose topic has an alias, or is one.
fn aliased<'a>(topic: Option<&'a str>, alias: u16, payload: &'a [u8]) -> Publish<'a> {
    let properties = PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
    let publish = Publish { properties, ..message("x", payload) };
    match topic {
        Some(topic) => Publish { topic: message(topic, b"").topic, ..publish },
        None => Publish { topic: None, ..publish },
    }
}

fn every_alias_up_to_the_maximum_stands_for_its_topic(stage: &Stage) -> Verdict {
    let maximum = stage.features().topic_alias_maximum;
    let aliases: Vec<u16> = (1..=maximum.min(TRIED_MAX)).chain((maximum > TRIED_MAX).then_some(maximum)).collect();
    let topics: Vec<String> = aliases.iter().map(|alias| stage.topic(&format!("t{alias}"))).collect();
    let other = stage.topic("other");
    let mut watcher = stage.client("watcher")?;
    for topic in topics.iter().chain([&other]) {
        watcher.subscribe(topic, stage.features().maximum_qos)?;
    }
    let mut publisher = stage.client("publisher")?;
    for (alias, topic) in aliases.iter().zip(&topics) {
        publisher.publish(&aliased(Some(topic), *alias, b"named"));
        stage.same("topic", topic.as_str(), watcher.receive()?.topic())?;
    }
    for (alias, topic) in aliases.iter().zip(&topics) {
        for qos in stage.each_qos() {
            publisher.deliver(&Publish { qos, ..aliased(None, *alias, b"by alias") })?;
            let heard = watcher.receive()?;
            stage.same("topic", topic.as_str(), heard.topic())?;
            stage.same("payload", &b"by alias"[..], heard.publish().payload)?;
        }
    }
    // It stands for another one as soon as that is said.
    publisher.publish(&aliased(Some(&other), maximum, b"named"));
    publisher.publish(&aliased(None, maximum, b"by alias"));
    stage.same("topic", other.as_str(), watcher.receive()?.topic())?;
    stage.same("topic", other.as_str(), watcher.receive()?.topic())?;
    // Aliases of others are not known here.
    let mut stranger = stage.client("stranger")?;
    stranger.publish(&aliased(None, 1, b"by a foreign alias"));
    stranger.expect_end(&[ReasonCode::PROTOCOL_ERROR, ReasonCode::TOPIC_ALIAS_INVALID])?;
    watcher.expect_nothing()
}

fn alias_0_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let packet = |topic: &str| publish(stage.version(), 0, topic.as_bytes(), None, &[0x23, 0, 0], b"x");
    stage.each_ends(&[("alias 0 and a topic", packet(&topic)), ("alias 0", packet(""))], &[ReasonCode::TOPIC_ALIAS_INVALID])
}

fn an_alias_above_the_maximum_ends_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    for alias in [stage.features().topic_alias_maximum + 1, u16::MAX] {
        let mut client = stage.client("publisher")?;
        client.publish(&aliased(Some(&topic), alias, b"x"));
        client.expect_end(&[ReasonCode::TOPIC_ALIAS_INVALID])?;
    }
    Ok(())
}

fn aliases_end_with_the_connection(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtMostOnce)?;
    let mut first = stage.lasting_client("publisher")?;
    first.publish(&aliased(Some(&topic), 1, b"named"));
    watcher.receive()?;
    first.cut();

    let mut second = stage.lasting_client("publisher")?;
    stage.same("session present", true, second.session_present())?;
    second.publish(&aliased(None, 1, b"by an alias of another connection"));
    second.expect_end(&[ReasonCode::PROTOCOL_ERROR, ReasonCode::TOPIC_ALIAS_INVALID])?;
    watcher.expect_nothing()
}

fn neither_topic_nor_alias_ends_the_connection(stage: &Stage) -> Verdict {
    let packet = publish(stage.version(), 0, b"", None, &[], b"x");
    let reasons = [ReasonCode::PROTOCOL_ERROR, ReasonCode::TOPIC_NAME_INVALID, ReasonCode::MALFORMED_PACKET];
    stage.each_ends(&[("PUBLISH", packet)], &reasons)
}

fn the_servers_aliases_stay_within_the_clients_maximum(stage: &Stage) -> Verdict {
    let topics = ["one", "two", "three", "four"].map(|name| stage.topic(name));
    let id = stage.id("reader");
    let mut connect = stage.lasting(&id);
    connect.properties.topic_alias_maximum = Some(2);
    let mut publisher = stage.client("publisher")?;
    // The second connection of the session knows no alias of the first.
    for _ in 0..2 {
        let mut reader = stage.connect("reader", &connect)?;
        for topic in &topics {
            reader.subscribe(topic, QoS::AtMostOnce)?;
        }
        let mut aliases: BTreeMap<u16, String> = BTreeMap::new();
        for topic in [&topics, &topics, &topics].into_iter().flatten() {
            publisher.publish(&message(topic, b"hello"));
            let heard = reader.receive()?;
            // One above the maximum fails as it comes, and so does alias 0.
            let alias = heard.publish().properties.topic_alias.map(NonZeroU16::get);
            let meant = match (heard.topic(), alias) {
                ("", Some(alias)) => aliases.get(&alias).cloned().unwrap_or_default(),
                (named, Some(alias)) => {
                    aliases.insert(alias, named.to_owned());
                    named.to_owned()
                }
                (named, None) => named.to_owned(),
            };
            stage.same("the topic that is meant", topic.as_str(), &meant)?;
        }
        if aliases.is_empty() {
            stage.note("the server uses no topic aliases");
        }
        reader.cut();
    }
    Ok(())
}

fn the_server_uses_no_aliases_where_the_client_takes_none(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut publisher = stage.client("publisher")?;
    for maximum in [None, Some(0)] {
        let id = stage.id("reader");
        let mut connect = stage.clean(&id);
        connect.properties.topic_alias_maximum = maximum;
        let mut reader = stage.connect("reader", &connect)?;
        reader.subscribe(&topic, QoS::AtMostOnce)?;
        for _ in 0..3 {
            publisher.publish(&message(&topic, b"hello"));
            let heard = reader.receive()?;
            stage.same("topic", topic.as_str(), heard.topic())?;
            stage.check(heard.publish().properties.topic_alias.is_none(), "no topic alias", heard.told())?;
        }
    }
    Ok(())
}
