//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use std::num::NonZeroU32;

use columba_proto::packet::{Packet, PacketType, Publish, Subscribe, SubscribeEntry, SubscriptionOptions};
use columba_proto::property::SubscriptionId;
use columba_proto::{AckKind, QoS, ReasonCode};

use super::phrases::{ILL_FORMED, at, each_ends, hears, is, levels, request, takes, text};
use crate::script::clause::{v3, v5};
use crate::script::client::message;
use crate::script::{ALL, Client, Heard, Need, SINCE_V311, Script, Stage, Suite, V5, V311, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "a SUBSCRIBE with other flags ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.8.1-1"), v3("MQTT-3.8.1-1"), v5("MQTT-4.13.1-1"), v3("MQTT-4.8.0-1")],
        needs: &[],
        play: other_flags,
    },
    Script {
        title: "a filter in SUBSCRIBE that is no UTF-8 ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.8.3-1"), v3("MQTT-3.8.3-1")],
        needs: &[],
        play: ill_formed_filters,
    },
    Script {
        title: "a SUBSCRIBE without a filter ends the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.8.3-2"), v3("MQTT-3.8.3-3")],
        needs: &[],
        play: no_filter,
    },
    Script {
        title: "reserved bits behind a filter end the connection",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-3.8.3-5"), v3("MQTT-3.8.3-4")],
        needs: &[],
        play: reserved_options,
    },
    Script {
        title: "options that the standard forbids end the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-4.13.1-1")],
        needs: &[],
        play: forbidden_options,
    },
    Script {
        title: "No Local keeps a client's own messages from it, and no others",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.8.3-3")],
        needs: &[],
        play: no_local,
    },
    Script {
        title: "No Local belongs to one subscription",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.8.3-3")],
        needs: &[],
        play: no_local_is_of_one_subscription,
    },
    Script {
        title: "No Local on a shared subscription ends the connection",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.8.3-4")],
        needs: &[Need::Shared],
        play: no_local_on_a_share,
    },
    Script {
        title: "SUBACK has the identifier, and a reason for each filter in its order",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.8.4-1"),
            v5("MQTT-3.8.4-2"),
            v5("MQTT-3.8.4-5"),
            v5("MQTT-3.8.4-6"),
            v5("MQTT-3.8.4-7"),
            v5("MQTT-3.9.3-1"),
            v5("MQTT-3.9.3-2"),
            v3("MQTT-3.8.4-1"),
            v3("MQTT-3.8.4-2"),
            v3("MQTT-3.8.4-4"),
            v3("MQTT-3.8.4-5"),
            v3("MQTT-3.9.3-1"),
            v3("MQTT-3.9.3-2"),
        ],
        needs: &[],
        play: a_reason_for_each_filter,
    },
    Script {
        title: "a filter twice in one SUBSCRIBE is like two SUBSCRIBEs",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.8.4-5"), v5("MQTT-3.8.4-3"), v3("MQTT-3.8.4-4"), v3("MQTT-3.8.4-3")],
        needs: &[Need::Qos1],
        play: a_filter_twice,
    },
    Script {
        title: "subscribing again replaces the subscription",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.8.4-3"), v3("MQTT-3.8.4-3")],
        needs: &[Need::Qos1],
        play: subscribing_again,
    },
    Script {
        title: "subscribing again replaces options and identifier",
        suite: Suite::Packets,
        versions: V5,
        clauses: &[v5("MQTT-3.8.4-3")],
        needs: &[Need::SubscriptionIds],
        play: subscribing_again_with_others,
    },
    Script {
        title: "subscribing again sends the retained message again",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.8.4-4"), v3("MQTT-3.8.4-3")],
        needs: &[Need::Retain],
        play: retained_again,
    },
    Script {
        title: "subscribing again loses no message",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-3.8.4-4"), v3("MQTT-3.8.4-3")],
        needs: &[Need::Qos1],
        play: nothing_lost_by_subscribing_again,
    },
    Script {
        title: "a message comes with the smaller of its QoS and the granted one",
        suite: Suite::Qos,
        versions: ALL,
        clauses: &[v5("MQTT-3.8.4-8"), v3("MQTT-3.8.4-6")],
        needs: &[],
        play: the_smaller_qos,
    },
    Script {
        title: "a SUBACK is no larger than the client takes",
        suite: Suite::Limits,
        versions: V5,
        clauses: &[v5("MQTT-3.9.2-1"), v5("MQTT-3.9.2-2")],
        needs: &[],
        play: a_suback_fits,
    },
    Script {
        title: "filters with wildcards are served, or refused",
        suite: Suite::Limits,
        versions: V311,
        clauses: &[v3("MQTT-3.8.3-2")],
        needs: &[],
        play: wildcards_served_or_refused,
    },
];

/// A SUBSCRIBE with this byte behind the filter.
fn with_options(stage: &Stage, options: u8) -> Vec<u8> {
    let mut payload = text(stage.topic("a").as_bytes());
    payload.push(options);
    request(stage.version(), 0x82, &payload)
}

fn other_flags(stage: &Stage) -> Verdict {
    let mut payload = text(stage.topic("a").as_bytes());
    payload.push(0);
    let flagged = |first: u8| request(stage.version(), first, &payload);
    let table = [
        ("SUBSCRIBE with flags 0000", flagged(0x80)),
        ("SUBSCRIBE with flags 0011", flagged(0x83)),
        ("SUBSCRIBE with flags 0110", flagged(0x86)),
        ("SUBSCRIBE with flags 1010", flagged(0x8a)),
    ];
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET])
}

fn ill_formed_filters(stage: &Stage) -> Verdict {
    let table: Vec<_> = ILL_FORMED
        .iter()
        .map(|&(what, filter)| {
            let mut payload = text(filter);
            payload.push(0);
            (what, request(stage.version(), 0x82, &payload))
        })
        .collect();
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET])
}

fn no_filter(stage: &Stage) -> Verdict {
    each_ends(stage, &[("SUBSCRIBE without a filter", request(stage.version(), 0x82, &[]))], &[ReasonCode::PROTOCOL_ERROR])
}

fn reserved_options(stage: &Stage) -> Verdict {
    let mut table = vec![("bit 6", with_options(stage, 0x41)), ("bit 7", with_options(stage, 0x81))];
    if !stage.version().has_subscription_options() {
        table.extend([
            ("QoS 3", with_options(stage, 3)),
            ("bit 2", with_options(stage, 0x05)),
            ("bit 3", with_options(stage, 0x09)),
            ("bit 4", with_options(stage, 0x11)),
            ("bit 5", with_options(stage, 0x21)),
        ]);
    }
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET])
}

fn forbidden_options(stage: &Stage) -> Verdict {
    let table = [("QoS 3", with_options(stage, 3)), ("retain handling 3", with_options(stage, 0x31))];
    each_ends(stage, &table, &[ReasonCode::PROTOCOL_ERROR])
}

fn no_local(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut alone = stage.client("alone")?;
    let mut other = stage.client("other")?;
    alone.subscribe_with(&topic, SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() })?;
    other.subscribe_with(&topic, SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() })?;

    alone.publish(&message(&topic, b"of the one"));

    takes(stage, &mut other, QoS::AtMostOnce, &topic, b"of the one")?;
    alone.expect_nothing()?;
    other.publish(&message(&topic, b"of the other"));
    takes(stage, &mut alone, QoS::AtMostOnce, &topic, b"of the other")?;
    other.expect_nothing()
}

fn no_local_is_of_one_subscription(stage: &Stage) -> Verdict {
    let (quiet, loud) = (stage.topic("quiet"), stage.topic("loud"));
    let mut client = stage.client("both")?;
    client.subscribe_with(&quiet, SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() })?;
    client.subscribe(&loud, QoS::AtMostOnce)?;

    client.publish(&message(&quiet, b"not back"));
    client.publish(&message(&loud, b"back"));

    takes(stage, &mut client, QoS::AtMostOnce, &loud, b"back")?;
    client.expect_nothing()
}

fn no_local_on_a_share(stage: &Stage) -> Verdict {
    let mut client = stage.client("member")?;
    let filter = format!("$share/{}", stage.topic("a"));
    client.ask(&[(&filter, SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() })]);
    client.expect_end(&[ReasonCode::PROTOCOL_ERROR])
}

fn a_reason_for_each_filter(stage: &Stage) -> Verdict {
    use QoS::*;
    let (one, two, three) = (stage.topic("1"), stage.topic("2"), stage.topic("3"));
    for wanted in [[AtMostOnce, ExactlyOnce, AtLeastOnce], [AtLeastOnce, AtMostOnce, ExactlyOnce]] {
        let mut client = stage.client("reader")?;
        // Not an identifier that somebody would invent.
        for _ in 0..0x203 {
            client.next_id();
        }
        let id = client.ask(&[(&one, wanted[0].into()), (&two, wanted[1].into()), (&three, wanted[2].into())]);
        let heard = client.expect_suback(id)?;
        let granted: Vec<ReasonCode> = heard.suback().reasons.iter().collect();

        stage.same("the number of reasons", wanted.len(), granted.len())?;
        for (wanted, granted) in wanted.into_iter().zip(&granted) {
            // Less than what was asked for may be granted (§3.9.3), and no subscription be refused here.
            stage.check(*granted <= ReasonCode::from(wanted), format!("{wanted:?} or less"), granted.to_string())?;
        }
        for (topic, granted) in [&one, &two, &three].into_iter().zip(granted) {
            let mut publisher = stage.client("publisher")?;
            let qos = stage.features().maximum_qos;
            publisher.deliver(&at(qos, topic, b"x"))?;
            let heard = client.receive()?;
            let at_most = if granted == ReasonCode::GRANTED_QOS_0 { AtMostOnce } else { qos };
            stage.same("the topic", topic.as_str(), heard.topic())?;
            stage.check(heard.publish().qos <= at_most, format!("{at_most:?} or less"), heard.told())?;
            publisher.leave();
        }
        client.leave();
    }
    Ok(())
}

fn a_filter_twice(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let id = reader.ask(&[(&topic, QoS::AtMostOnce.into()), (&topic, QoS::AtLeastOnce.into())]);
    let heard = reader.expect_suback(id)?;
    let granted: Vec<_> = heard.suback().reasons.iter().collect();
    stage.same("granted", vec![ReasonCode::GRANTED_QOS_0, ReasonCode::GRANTED_QOS_1], granted)?;

    stage.client("publisher")?.deliver(&at(QoS::AtLeastOnce, &topic, b"once"))?;

    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"once")?;
    reader.expect_nothing()
}

fn subscribing_again(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut reader = stage.client("reader")?;
    let mut publisher = stage.client("publisher")?;
    reader.subscribe(&topic, QoS::AtMostOnce)?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"with more"))?;
    takes(stage, &mut reader, QoS::AtLeastOnce, &topic, b"with more")?;
    reader.expect_nothing()?;

    reader.subscribe(&topic, QoS::AtMostOnce)?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"with less"))?;
    takes(stage, &mut reader, QoS::AtMostOnce, &topic, b"with less")?;
    reader.expect_nothing()?;

    // There is one, and it goes at once.
    let id = reader.ask_no_more(&[&topic]);
    reader.expect_unsuback(id)?;
    publisher.deliver(&at(QoS::AtLeastOnce, &topic, b"for nobody"))?;
    reader.expect_nothing()
}

fn subscribe_as(client: &mut Client<'_>, filter: &str, options: SubscriptionOptions, number: u32) -> Verdict {
    let id = client.next_id();
    let entries = [SubscribeEntry { filter, options }];
    let subscription_id = SubscriptionId::new(number);
    client.send(&Packet::Subscribe(Subscribe {
        id,
        subscription_id,
        user_properties: <_>::default(),
        entries: entries.as_slice().into(),
    }));
    client.expect_suback(id).map(drop)
}

fn subscribing_again_with_others(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut client = stage.client("reader")?;
    subscribe_as(&mut client, &topic, SubscriptionOptions { no_local: true, ..QoS::AtMostOnce.into() }, 7)?;
    client.publish(&message(&topic, b"not back"));
    client.expect_nothing()?;

    subscribe_as(&mut client, &topic, QoS::AtMostOnce.into(), 9)?;
    client.publish(&message(&topic, b"back"));
    let heard = hears(stage, &mut client, QoS::AtMostOnce, &topic, b"back")?;
    let numbers: Vec<u32> = heard.publish().properties.subscription_ids.iter().map(SubscriptionId::get).collect();
    stage.same("the subscription identifiers", vec![9], numbers)?;

    client.subscribe(&topic, QoS::AtMostOnce)?;
    client.publish(&message(&topic, b"without"));
    let heard = hears(stage, &mut client, QoS::AtMostOnce, &topic, b"without")?;
    let numbers: Vec<u32> = heard.publish().properties.subscription_ids.iter().map(SubscriptionId::get).collect();
    stage.same("the subscription identifiers", vec![], numbers)
}

/// Subscribes at QoS 0; the answer is the SUBACK and one PUBLISH, which may come before it (§3.8.4).
fn suback_and_one(client: &mut Client<'_>, filter: &str) -> Verdict<Heard> {
    let id = client.ask(&[(filter, QoS::AtMostOnce.into())]);
    let first = client.hear()?;
    if first.packet_type() == PacketType::Publish {
        client.expect_suback(id)?;
        return Ok(first);
    }
    client.expect_publish()
}

fn retained_again(stage: &Stage) -> Verdict {
    let topic = stage.topic("a");
    let mut publisher = stage.client("publisher")?;
    let mut reader = stage.client("reader")?;
    let kept = Publish { retain: true, ..at(stage.features().maximum_qos, &topic, b"kept") };
    publisher.deliver(&kept)?;
    // QoS 0 is not answered: this says that it has arrived.
    publisher.ping()?;

    for _ in 0..3 {
        let heard = suback_and_one(&mut reader, &topic)?;
        is(stage, &heard, QoS::AtMostOnce, &topic, b"kept")?;
        stage.same("RETAIN", true, heard.publish().retain)?;
        reader.expect_nothing()?;
    }
    publisher.deliver(&Publish { retain: true, ..at(QoS::AtMostOnce, &topic, b"") })?;
    publisher.ping()
}

fn nothing_lost_by_subscribing_again(stage: &Stage) -> Verdict {
    const COUNT: usize = 20;
    let topic = stage.topic("a");
    let mut publisher = stage.client("publisher")?;
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::AtLeastOnce)?;
    let payloads: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    for payload in &payloads {
        let id = publisher.publish(&at(QoS::AtLeastOnce, &topic, payload.as_bytes()));
        reader.ask(&[(&topic, QoS::AtLeastOnce.into())]);
        if let Some(id) = id {
            publisher.expect_ack(AckKind::Puback, id)?;
        }
    }

    let (mut heard, mut subacks) = (Vec::new(), 0);
    while heard.len() < COUNT || subacks < COUNT {
        let next = reader.hear()?;
        if next.packet_type() == PacketType::Suback {
            subacks += 1;
        } else {
            stage.same("a message", PacketType::Publish, next.packet_type())?;
            reader.take(&next)?;
            heard.push(String::from_utf8_lossy(next.publish().payload).into_owned());
        }
    }

    stage.same("all messages, each once", payloads, heard)?;
    reader.expect_nothing()
}

fn the_smaller_qos(stage: &Stage) -> Verdict {
    let mut publisher = stage.client("publisher")?;
    for granted in levels(stage) {
        let topic = stage.topic(&format!("granted/{}", granted as u8));
        let mut reader = stage.client("reader")?;
        reader.subscribe(&topic, granted)?;
        for published in levels(stage) {
            publisher.deliver(&at(published, &topic, b"x"))?;
            takes(stage, &mut reader, published.min(granted), &topic, b"x")?;
        }
        reader.expect_nothing()?;
        reader.leave();
    }
    Ok(())
}

fn a_suback_fits(stage: &Stage) -> Verdict {
    // The smallest that this broker can connect with.
    let measured = stage.client("measured")?.connack().size.max(16);
    let id = stage.id("small");
    let mut connect = stage.clean(&id);
    connect.properties.maximum_packet_size = u32::try_from(measured).ok().and_then(NonZeroU32::new);
    // Type, length, identifier, no property, and a reason for each filter: it fits, and nothing else would.
    let count = measured - 5;
    // What is refused where filters can be, too deep or with a wildcard; where that ends the connection, what is granted.
    let refused = if stage.features().wildcards { "/".repeat(1_100) } else { stage.topic("+") };
    for filter in [refused, stage.topic("a")] {
        let mut client = stage.connect("small", &connect)?;
        client.ask(&vec![(filter.as_str(), SubscriptionOptions::from(QoS::AtMostOnce)); count]);
        if let Some(heard) = client.hear_or_end()?
            && heard.packet_type() == PacketType::Suback
        {
            stage.same("the number of reasons", count, heard.suback().reasons.len())?;
            return stage.check(heard.size <= measured, format!("{measured} bytes at most"), format!("{} bytes", heard.size));
        }
    }
    stage.check(false, "a SUBACK", "none")
}

fn wildcards_served_or_refused(stage: &Stage) -> Verdict {
    let (filter, topic) = (stage.topic("+/x"), stage.topic("a/x"));
    let mut client = stage.client("reader")?;
    let id = client.ask(&[(&filter, QoS::AtMostOnce.into())]);
    let heard = client.expect_suback(id)?;
    let granted: Vec<_> = heard.suback().reasons.iter().collect();
    stage.same("the number of reasons", 1, granted.len())?;

    stage.client("publisher")?.deliver(&message(&topic, b"x"))?;

    if granted[0].is_failure() {
        return client.expect_nothing();
    }
    stage.check(stage.features().wildcards, "to be refused, for the server says that it has no wildcards", "it is granted")?;
    takes(stage, &mut client, QoS::AtMostOnce, &topic, b"x")
}
