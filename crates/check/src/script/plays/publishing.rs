//! PUBLISH: answers, identifiers, DUP, topics, overlapping subscriptions (§3.3).

use std::collections::BTreeSet;

use columba_proto::packet::{Packet, PacketType, Publish, Subscribe, SubscribeEntry};
use columba_proto::property::SubscriptionId;
use columba_proto::wire::varint_len;
use columba_proto::{AckKind, PacketId, QoS, ReasonCode};

use crate::script::bytes::{properties, text};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Need, SINCE_V311, Script, Stage, Suite, V3, V5, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "each QoS is answered in its own way, under the identifier that the client chose",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.4-1"), v5("MQTT-2.2.1-5"), v3("MQTT-3.3.4-1"), v3("MQTT-2.3.1-6")],
        needs: &[],
        play: each_qos_is_answered_in_its_own_way,
    },
    Script {
        title: "a QoS 0 message arrives byte by byte, without an identifier",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[
            v5("MQTT-2.2.1-2"),
            v5("MQTT-2.2.2-1"),
            v5("MQTT-3.3.1-2"),
            v5("MQTT-3.3.2-1"),
            v3("MQTT-2.3.1-5"),
            v3("MQTT-3.3.1-2"),
            v3("MQTT-3.3.2-1"),
        ],
        needs: &[],
        play: a_qos_0_message_arrives_byte_by_byte,
    },
    Script {
        title: "lengths take as few bytes as they can",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-1.5.5-1")],
        needs: &[],
        play: lengths_take_as_few_bytes_as_they_can,
    },
    Script {
        title: "the server's identifiers are free ones",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-2.2.1-4"), v3("MQTT-2.3.1-1"), v3("MQTT-2.3.1-4")],
        needs: &[Need::Qos1],
        play: the_servers_identifiers_are_free_ones,
    },
    Script {
        title: "SUBACK and UNSUBACK repeat the identifier of their request",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-2.2.1-6"), v3("MQTT-2.3.1-7")],
        needs: &[],
        play: suback_and_unsuback_repeat_the_identifier,
    },
    Script {
        title: "DUP is not handed on",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-3"), v3("MQTT-3.3.1-3")],
        needs: &[Need::Qos1],
        play: dup_is_not_handed_on,
    },
    Script {
        title: "what is sent again has DUP and its old identifier",
        suite: Suite::Session,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-1"), v5("MQTT-3.3.1-3"), v3("MQTT-3.3.1-1"), v3("MQTT-3.3.1-3")],
        needs: &[Need::Qos1],
        play: what_is_sent_again_has_dup,
    },
    Script {
        title: "a topic name with a wildcard ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.3.2-2"), v3("MQTT-3.3.2-2")],
        needs: &[],
        play: a_topic_name_with_a_wildcard_ends_the_connection,
    },
    Script {
        title: "what arrives matches the filter",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.2-3"), v3("MQTT-3.3.2-3")],
        needs: &[Need::Wildcards],
        play: what_arrives_matches_the_filter,
    },
    Script {
        title: "overlapping subscriptions deliver at the highest QoS of them",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.4-2"), v3("MQTT-3.3.5-1")],
        needs: &[Need::Qos1, Need::Wildcards],
        play: overlapping_subscriptions_deliver_at_the_highest_qos,
    },
    Script {
        title: "overlapping subscriptions name their identifiers",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.3.4-3"), v5("MQTT-3.3.4-4"), v5("MQTT-3.3.4-5")],
        needs: &[Need::SubscriptionIds, Need::Wildcards],
        play: overlapping_subscriptions_name_their_identifiers,
    },
    Script {
        title: "what a client may not publish is acknowledged, or ends the connection",
        suite: Suite::Security,
        versions: V3,
        clauses: &[v3("MQTT-3.3.5-2")],
        needs: &[Need::Qos1],
        play: what_a_client_may_not_publish_is_acknowledged,
    },
    Script {
        title: "the server takes what its maximum QoS says",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.2.2-9"), v5("MQTT-3.3.4-1")],
        needs: &[],
        play: the_server_takes_what_its_maximum_qos_says,
    },
    Script {
        title: "a maximum QoS does not keep anybody from subscribing",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.2.2-9"), v5("MQTT-3.2.2-10")],
        needs: &[Need::QosLimit],
        play: a_maximum_qos_does_not_keep_anybody_from_subscribing,
    },
];

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("stories do not use zero")
}

fn each_qos_is_answered_in_its_own_way(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.client("publisher")?;
    client.publish(&message(&topic, b"0"));
    // Nothing else than PINGRESP.
    client.ping()?;
    for number in [7, 65_535, 1] {
        let packet_id = Some(id(number));
        if stage.features().maximum_qos >= QoS::AtLeastOnce {
            client.deliver(&Publish { qos: QoS::AtLeastOnce, packet_id, ..message(&topic, b"1") })?;
        }
        if stage.features().maximum_qos >= QoS::ExactlyOnce {
            client.deliver(&Publish { qos: QoS::ExactlyOnce, packet_id, ..message(&topic, b"2") })?;
        }
    }
    if stage.features().maximum_qos >= QoS::ExactlyOnce {
        // Two at a time, released the other way round.
        let two = [id(300), id(40_000)];
        for packet_id in two {
            client.publish(&Publish { qos: QoS::ExactlyOnce, packet_id: Some(packet_id), ..message(&topic, b"2") });
            client.expect_ack(AckKind::Pubrec, packet_id)?;
        }
        for packet_id in two.into_iter().rev() {
            client.acknowledge(AckKind::Pubrel, packet_id);
            client.expect_ack_with(AckKind::Pubcomp, packet_id, ReasonCode::SUCCESS)?;
        }
    }
    client.expect_nothing()
}

fn a_qos_0_message_arrives_byte_by_byte(stage: &Stage) -> Verdict {
    let topic = stage.topic("ä/ /b");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtMostOnce)?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let mut publisher = stage.client("publisher")?;
    for payload in [&all[..], b"", b"\0"] {
        publisher.publish(&message(&topic, payload));
        let heard = watcher.expect_publish()?;
        let wanted = [&text(&topic)[..], &properties(stage.version(), &[]), payload].concat();
        stage.same("flags", (QoS::AtMostOnce, false, false), {
            let publish = heard.publish();
            (publish.qos, publish.dup, publish.retain)
        })?;
        stage.same("the whole body", &wanted[..], heard.body())?;
    }
    Ok(())
}

fn lengths_take_as_few_bytes_as_they_can(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtMostOnce)?;
    let mut publisher = stage.client("publisher")?;
    let limit = stage.features().maximum_packet_size.map_or(usize::MAX, |limit| limit as usize);
    let overhead = 2 + topic.len() + usize::from(stage.version().has_properties());
    for remaining in [127_usize, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let size = 1 + varint_len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining;
        if size > limit {
            continue;
        }
        publisher.publish(&message(&topic, &vec![b'x'; remaining - overhead]));
        // A length with a useless byte would not be well-formed.
        stage.same("bytes of the packet", size, watcher.expect_publish()?.size)?;
    }
    if !stage.version().has_properties() {
        return Ok(());
    }
    for value in [b"", &[b'v'; 116][..], &[b'v'; 117], &[b'v'; 300]] {
        let value = String::from_utf8_lossy(value);
        let pairs = [("name", &*value)];
        let mut publish = message(&topic, b"x");
        publish.properties.user_properties = pairs[..].into();
        publisher.publish(&publish);
        let block = 5 + 4 + value.len();
        let remaining = 2 + topic.len() + varint_len(u32::try_from(block).unwrap_or(u32::MAX)) + block + 1;
        let size = 1 + varint_len(u32::try_from(remaining).unwrap_or(u32::MAX)) + remaining;
        stage.same("bytes of the packet", size, watcher.expect_publish()?.size)?;
    }
    Ok(())
}

fn the_servers_identifiers_are_free_ones(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, QoS::AtLeastOnce)?;
    let mut publisher = stage.client("publisher")?;
    for _ in 0..8 {
        publisher.deliver(&Publish { qos: QoS::AtLeastOnce, ..message(&topic, b"hello") })?;
    }
    // As many as the server sends without an answer, then one for each answer. Zero would not be well-formed.
    let mut open: Vec<PacketId> = Vec::new();
    for count in 0..8 {
        let heard = if let Some(heard) = watcher.hear_within(stage.silence())? {
            heard
        } else {
            stage.check(!open.is_empty(), "a message", "nothing")?;
            let middle = open.remove(open.len() / 2);
            watcher.acknowledge(AckKind::Puback, middle);
            watcher.hear()?
        };
        stage.same("a message", PacketType::Publish, heard.packet_type())?;
        let Some(new) = heard.publish().packet_id else { return stage.check(false, "QoS 1", heard.told()) };
        stage.check(!open.contains(&new), format!("message {count} has a free identifier"), heard.told())?;
        open.push(new);
    }
    Ok(())
}

fn suback_and_unsuback_repeat_the_identifier(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.client("subscriber")?;
    for number in [9, 65_535, 256] {
        let entries = [SubscribeEntry { filter: &topic, options: QoS::AtMostOnce.into() }];
        client.send(&Packet::Subscribe(Subscribe {
            id: id(number),
            subscription_id: None,
            user_properties: <_>::default(),
            entries: entries[..].into(),
        }));
        client.expect_suback(id(number))?;
        let filters = [&*topic];
        client.send(&Packet::Unsubscribe(columba_proto::packet::Unsubscribe {
            id: id(number),
            user_properties: <_>::default(),
            filters: filters[..].into(),
        }));
        client.expect_unsuback(id(number))?;
    }
    Ok(())
}

fn dup_is_not_handed_on(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&topic, stage.features().maximum_qos)?;
    let mut publisher = stage.client("publisher")?;
    for qos in stage.each_qos().skip(1) {
        for dup in [true, false] {
            publisher.deliver(&Publish { qos, dup, ..message(&topic, b"hello") })?;
            let heard = watcher.receive()?;
            stage.same("qos", qos, heard.publish().qos)?;
            stage.same("dup", false, heard.publish().dup)?;
        }
    }
    Ok(())
}

fn what_is_sent_again_has_dup(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    for qos in stage.each_qos().skip(1) {
        let mut first = stage.lasting_client("keeper")?;
        first.subscribe(&topic, qos)?;
        stage.client("publisher")?.deliver(&Publish { qos, ..message(&topic, b"hello") })?;
        let heard = first.expect_publish()?;
        stage.same("dup", false, heard.publish().dup)?;
        let packet_id = heard.publish().packet_id;
        first.cut();

        let mut second = stage.lasting_client("keeper")?;
        let again = second.receive()?;
        stage.same("payload", &b"hello"[..], again.publish().payload)?;
        stage.same("qos", qos, again.publish().qos)?;
        stage.same("dup", true, again.publish().dup)?;
        stage.same("identifier", packet_id, again.publish().packet_id)?;
        second.expect_nothing()?;
        second.disconnect();
    }
    Ok(())
}

fn a_topic_name_with_a_wildcard_ends_the_connection(stage: &Stage) -> Verdict {
    let topics = ["#", "+", "a/+", "a/#", "a/+/b", "a+", "#a"].map(|topic| stage.topic(topic));
    let packet = |topic: &String| crate::script::bytes::publish(stage.version(), 0, topic.as_bytes(), None, &[], b"x");
    let table = topics.each_ref().map(|topic| ("PUBLISH", packet(topic)));
    stage.each_ends(&table, &[ReasonCode::TOPIC_NAME_INVALID, ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR])
}

fn what_arrives_matches_the_filter(stage: &Stage) -> Verdict {
    let mut watcher = stage.client("watcher")?;
    watcher.subscribe(&stage.topic("a/+"), QoS::AtMostOnce)?;
    let mut publisher = stage.client("publisher")?;
    for name in ["a", "a/b", "a/b/c", "b/b", "a/", "A/b", "a/c"] {
        publisher.publish(&message(&stage.topic(name), name.as_bytes()));
    }
    for name in ["a/b", "a/", "a/c"] {
        let heard = watcher.expect_publish()?;
        stage.same("topic", stage.topic(name).as_str(), heard.topic())?;
        stage.same("payload", name.as_bytes(), heard.publish().payload)?;
    }
    watcher.expect_nothing()
}

fn overlapping_subscriptions_deliver_at_the_highest_qos(stage: &Stage) -> Verdict {
    let topic = stage.topic("a/b");
    let maximum = stage.features().maximum_qos;
    let mut watcher = stage.client("watcher")?;
    for (filter, qos) in [("a/#", QoS::AtMostOnce), ("a/b", maximum), ("a/+", QoS::AtLeastOnce)] {
        watcher.subscribe(&stage.topic(filter), qos)?;
    }
    let mut publisher = stage.client("publisher")?;
    for qos in stage.each_qos() {
        publisher.deliver(&Publish { qos, ..message(&topic, b"hello") })?;
        let heard = watcher.receive_all()?;
        stage.check((1..=3).contains(&heard.len()), "one message, or one for each subscription", heard.len().to_string())?;
        let highest = heard.iter().map(|heard| heard.publish().qos).max();
        stage.same("the highest QoS", Some(qos), highest)?;
    }
    Ok(())
}

/// Subscribes under an identifier.
fn subscribe_as(client: &mut Client<'_>, filter: &str, number: u32) -> Verdict {
    let id = client.next_id();
    let entries = [SubscribeEntry { filter, options: QoS::AtMostOnce.into() }];
    client.send(&Packet::Subscribe(Subscribe {
        id,
        subscription_id: SubscriptionId::new(number),
        user_properties: <_>::default(),
        entries: entries[..].into(),
    }));
    client.expect_suback(id).map(drop)
}

fn overlapping_subscriptions_name_their_identifiers(stage: &Stage) -> Verdict {
    let mut watcher = stage.client("watcher")?;
    subscribe_as(&mut watcher, &stage.topic("a/#"), 1)?;
    subscribe_as(&mut watcher, &stage.topic("a/b"), 268_435_455)?;
    subscribe_as(&mut watcher, &stage.topic("c"), 7)?;
    watcher.subscribe(&stage.topic("a/+"), QoS::AtMostOnce)?;
    let mut publisher = stage.client("publisher")?;
    for (name, wanted) in [("a/b", &[1, 268_435_455][..]), ("c", &[7]), ("a/x", &[1])] {
        publisher.publish(&message(&stage.topic(name), b"hello"));
        let heard = watcher.receive_all()?;
        let ids = |heard: &crate::script::Heard| -> Vec<u32> {
            heard.publish().properties.subscription_ids.iter().map(SubscriptionId::get).collect()
        };
        let all: Vec<u32> = heard.iter().flat_map(ids).collect();
        let different: BTreeSet<u32> = all.iter().copied().collect();
        stage.same("identifiers", wanted.iter().copied().collect(), different)?;
        stage.same("each once", wanted.len(), all.len())?;
        if heard.len() > 1 {
            stage.note("one copy for each subscription");
            stage.check(
                heard.iter().all(|heard| ids(heard).len() <= 1),
                "each copy has its own identifier",
                format!("{all:?}"),
            )?;
        }
    }
    Ok(())
}

fn what_a_client_may_not_publish_is_acknowledged(stage: &Stage) -> Verdict {
    let mut client = stage.client("publisher")?;
    // Most servers let nobody publish there; those that do acknowledge as well.
    let packet_id = client.publish(&Publish { qos: QoS::AtLeastOnce, ..message("$SYS/columba-check", b"x") });
    match client.hear_or_end()? {
        None => Ok(()),
        Some(heard) => {
            stage.same("PUBACK or the end", PacketType::Puback, heard.packet_type())?;
            stage.same("identifier", packet_id, Some(heard.ack().id))
        }
    }
}

fn the_server_takes_what_its_maximum_qos_says(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let maximum = stage.features().maximum_qos;
    for qos in QoS::ALL {
        let mut client = stage.client("publisher")?;
        let publish = Publish { qos, ..message(&topic, b"hello") };
        if qos <= maximum {
            client.deliver(&publish)?;
        } else {
            client.publish(&publish);
            client.expect_end(&[ReasonCode::QOS_NOT_SUPPORTED])?;
        }
    }
    Ok(())
}

fn a_maximum_qos_does_not_keep_anybody_from_subscribing(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let maximum = stage.features().maximum_qos;
    for qos in QoS::ALL {
        let mut client = stage.client("subscriber")?;
        let id = client.ask(&[(&topic, qos.into())]);
        let suback = client.expect_suback(id)?;
        let granted: Vec<ReasonCode> = suback.suback().reasons.iter().collect();
        stage.check(granted.len() == 1 && !granted[0].is_failure(), "the subscription is accepted", suback.told())?;
        let publish = Publish { qos: maximum, ..message(&topic, b"hello") };
        stage.client("publisher")?.deliver(&publish)?;
        stage.same("qos", maximum.min(qos), client.receive()?.publish().qos)?;
    }
    Ok(())
}
