//! Topic names, filters, and which of them match (§4.7).

use std::time::Duration;

use columba_proto::packet::{PacketType, Publish, SubscriptionOptions};
use columba_proto::{QoS, ReasonCode};

use super::phrases::{each_ends, hears, request, takes, text};
use crate::script::clause::{v3, v5};
use crate::script::client::{frame, message};
use crate::script::{ALL, Client, Need, SINCE_V311, Script, Stage, Suite, Verdict};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        title: "filters match level by level, and empty levels are levels",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.7.1-1"), v5("MQTT-4.7.1-2"), v3("MQTT-4.7.1-2"), v3("MQTT-4.7.1-3")],
        needs: &[Need::Wildcards],
        play: level_by_level,
    },
    Script {
        title: "wildcards that do not stand alone are refused",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.7.1-1"), v5("MQTT-4.7.1-2"), v3("MQTT-4.7.1-2"), v3("MQTT-4.7.1-3")],
        needs: &[Need::Wildcards],
        play: misplaced_wildcards,
    },
    Script {
        title: "nothing is published to a filter",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.7.0-1"), v3("MQTT-4.7.1-1")],
        needs: &[],
        play: no_wildcards_in_topics,
    },
    Script {
        title: "wildcards at the start do not match topics that begin with $",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.7.2-1"), v3("MQTT-4.7.2-1")],
        needs: &[Need::Wildcards],
        play: dollar_topics,
    },
    Script {
        title: "the server's own topics are hidden from wildcards at the start",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.7.2-1"), v3("MQTT-4.7.2-1")],
        needs: &[Need::Wildcards],
        play: the_servers_own_topics,
    },
    Script {
        title: "topic names and filters have at least one character",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.7.3-1"), v3("MQTT-4.7.3-1")],
        needs: &[],
        play: at_least_one_character,
    },
    Script {
        title: "topic names and filters have no U+0000",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.7.3-2"), v3("MQTT-4.7.3-2")],
        needs: &[],
        play: no_zero,
    },
    Script {
        title: "topic names and filters may have 65,535 bytes",
        suite: Suite::Packets,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.7.3-3"), v3("MQTT-4.7.3-3")],
        needs: &[],
        play: the_longest,
    },
    Script {
        title: "topic names are compared and forwarded as they are",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.7.3-4"), v3("MQTT-4.7.3-4")],
        needs: &[],
        play: as_they_are,
    },
    Script {
        title: "a message goes to every subscription that matches, and to no other",
        suite: Suite::Packets,
        versions: ALL,
        clauses: &[v5("MQTT-4.5.0-1"), v3("MQTT-4.5.0-1")],
        needs: &[Need::Wildcards],
        play: many_filters,
    },
];

/// Filter, topics that it matches, topics that it does not match; all below a first level of the story's own.
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("sport/tennis", &["sport/tennis"], &["sport", "sport/tennis/", "sport/tennis/a", "sport/Tennis", "/sport/tennis"]),
    ("sport/#", &["sport", "sport/", "sport/tennis", "sport/tennis/player1/ranking", "sport//"], &["sports", "spor", "Sport/a"]),
    ("sport/+", &["sport/tennis", "sport/"], &["sport", "sport/tennis/player1", "sport/tennis/", "sport//"]),
    ("sport/+/player1", &["sport/tennis/player1", "sport//player1"], &["sport/player1", "sport/tennis/a/player1"]),
    ("+/tennis/#", &["sport/tennis", "/tennis", "a/tennis/", "a/tennis/b/c"], &["tennis", "a/b/tennis", "a/tennis2"]),
    ("+/+", &["/finance", "a/b", "/", "a/"], &["finance", "/finance/", "//"]),
    ("/+", &["/finance", "/"], &["finance", "a/finance", "//"]),
    ("+", &["finance", ""], &["/finance", "a/b", "finance/"]),
    ("/", &["/"], &["", "//", "a/"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b", "a///b"]),
    ("#", &["a", "", "/", "a/b/c"], &[]),
    ("+/#", &["a", "", "/", "a/b/c"], &[]),
    ("a/+/+/#", &["a///", "a/b/c", "a/b/c/d/e"], &["a/b", "a", "b/b/c"]),
    ("a b/ c", &["a b/ c"], &["ab/c", "a b/c"]),
    ("$a/b", &["$a/b"], &["a/b"]),
    ("+/b", &["$a/b", "a/b"], &["$a"]),
];

fn level_by_level(stage: &Stage) -> Verdict {
    let mut publisher = stage.client("publisher")?;
    for (filter, matched, unmatched) in MATCHES {
        let filter = stage.topic(filter);
        let mut reader = stage.client("reader")?;
        reader.subscribe(&filter, QoS::AtMostOnce)?;
        for name in *unmatched {
            publisher.publish(&message(&stage.topic(name), b"not here"));
        }
        for name in *matched {
            let topic = stage.topic(name);
            publisher.publish(&message(&topic, filter.as_bytes()));
            takes(stage, &mut reader, QoS::AtMostOnce, &topic, filter.as_bytes())?;
        }
        publisher.ping()?;
        reader.ping()?;
        // Those with a parent: `sport/#` matches `sport` as well, and here the story's own first level.
        reader.leave();
    }
    Ok(())
}

fn misplaced_wildcards(stage: &Stage) -> Verdict {
    for name in ["a#", "a/b#", "#/a", "a/#/b", "##", "a/##", "+#", "a+", "+a", "a/b+/c", "a/+b/c", "++", "a/+/+b"] {
        let filter = stage.topic(name);
        let mut client = stage.client("reader")?;
        let id = client.ask(&[(&filter, QoS::AtMostOnce.into())]);
        let Some(heard) = client.hear_or_end()? else { continue };
        // Refused in either way.
        if heard.packet_type() == PacketType::Suback {
            stage.same("the identifier", id, heard.suback().id)?;
            let refused = heard.suback().reasons.iter().all(ReasonCode::is_failure);
            stage.check(refused, format!("'{name}' is refused"), heard.told())?;
            client.leave();
        } else {
            stage.same("a packet", PacketType::Disconnect, heard.packet_type())?;
            client.expect_end(&[])?;
        }
    }
    Ok(())
}

/// A PUBLISH with QoS 0 to any bytes.
fn publish_to(stage: &Stage, topic: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if stage.version().has_properties() {
        body.push(0);
    }
    body.extend_from_slice(b"x");
    frame(0x30, &body)
}

fn no_wildcards_in_topics(stage: &Stage) -> Verdict {
    let topics = ["+", "#", "a/+", "a/#", "a/+/b", "a+", "a#b"].map(|name| stage.topic(name));
    let mut witness = stage.client("witness")?;
    if stage.features().wildcards {
        witness.subscribe(&stage.topic("#"), QoS::AtMostOnce)?;
    }
    let table: Vec<_> = topics.iter().map(|topic| ("PUBLISH to a filter", publish_to(stage, topic.as_bytes()))).collect();
    each_ends(stage, &table, &[ReasonCode::TOPIC_NAME_INVALID, ReasonCode::MALFORMED_PACKET])?;
    witness.expect_nothing()
}

fn dollar_topics(stage: &Stage) -> Verdict {
    // The first level is the story's own, with and without the sign.
    let own = stage.id("own");
    let (hidden, open) = (format!("${own}/x"), format!("{own}/x"));
    let mut witness = stage.client("witness")?;
    witness.subscribe(&format!("${own}/#"), QoS::AtMostOnce)?;
    let mut publisher = stage.client("publisher")?;
    let filters = ["+/x", "+/#", "#", "+/+"];
    for filter in filters {
        let mut reader = stage.client("reader")?;
        reader.subscribe(filter, QoS::AtMostOnce)?;
        publisher.publish(&message(&hidden, b"hidden"));
        publisher.publish(&message(&open, b"open"));
        if publisher.ping().is_err() || witness.hear_within(Duration::from_millis(500))?.is_none() {
            return stage.skip("the server keeps topics that begin with $ to itself");
        }
        // Others may publish, too: only these two are ours.
        loop {
            let heard = reader.expect_publish()?;
            stage.check(heard.topic() != hidden, format!("'{filter}' does not match '{hidden}'"), heard.told())?;
            if heard.topic() == open {
                break;
            }
        }
        reader.leave();
    }

    let mut reader = stage.client("reader")?;
    for filter in [hidden.clone(), format!("${own}/+"), format!("${own}/#")] {
        reader.subscribe(&filter, QoS::AtMostOnce)?;
        publisher.publish(&message(&hidden, b"named"));
        takes(stage, &mut reader, QoS::AtMostOnce, &hidden, b"named")?;
        let id = reader.ask_no_more(&[&filter]);
        reader.expect_unsuback(id)?;
    }
    reader.expect_nothing()
}

fn the_servers_own_topics(stage: &Stage) -> Verdict {
    let mut reader = stage.client("reader")?;
    let topic = stage.topic("last");
    let filters: [(&str, SubscriptionOptions); 3] =
        [("#", QoS::AtMostOnce.into()), ("+/#", QoS::AtMostOnce.into()), ("+/broker/#", QoS::AtMostOnce.into())];
    let id = reader.ask(&filters);
    // Retained messages of $SYS would come now, before or after SUBACK.
    stage.client("publisher")?.publish(&message(&topic, b"last"));
    let mut is_granted = false;
    let mut is_last = false;
    while !is_granted || !is_last {
        let heard = reader.hear()?;
        if heard.packet_type() == PacketType::Suback {
            stage.same("the identifier", id, heard.suback().id)?;
            is_granted = true;
        } else {
            let publish: Publish<'_> = heard.publish();
            let shown = publish.topic.map_or("", |topic| topic.as_str());
            stage.check(!shown.starts_with('$'), "no topic that begins with $", heard.told())?;
            is_last |= shown == topic;
        }
    }
    // Others may publish all the time.
    let until = stage.now() + Duration::from_millis(300);
    while let Some(heard) = reader.hear_within(until.saturating_sub(stage.now()))? {
        stage.check(!heard.topic().starts_with('$'), "no topic that begins with $", heard.told())?;
    }
    Ok(())
}

fn at_least_one_character(stage: &Stage) -> Verdict {
    let reasons = [ReasonCode::PROTOCOL_ERROR, ReasonCode::MALFORMED_PACKET, ReasonCode::TOPIC_NAME_INVALID];
    each_ends(stage, &[("PUBLISH without a topic", publish_to(stage, b""))], &reasons)?;

    let mut client = stage.client("reader")?;
    client.send_bytes("SUBSCRIBE to nothing", &request(stage.version(), 0x82, &[0, 0, 0]));
    refused_or_ended(stage, client)
}

/// A SUBSCRIBE was refused: by its reason, or with the connection.
fn refused_or_ended(stage: &Stage, mut client: Client<'_>) -> Verdict {
    let Some(heard) = client.hear_or_end()? else { return Ok(()) };
    if heard.packet_type() == PacketType::Suback {
        let refused = heard.suback().reasons.iter().all(ReasonCode::is_failure);
        return stage.check(refused, "to be refused", heard.told());
    }
    stage.same("a packet", PacketType::Disconnect, heard.packet_type())?;
    client.expect_end(&[])
}

fn no_zero(stage: &Stage) -> Verdict {
    let topic = stage.topic("a\0b");
    let mut subscribe = text(topic.as_bytes());
    let unsubscribe = request(stage.version(), 0xa2, &subscribe);
    subscribe.push(0);
    let table = [
        ("PUBLISH to a topic with U+0000", publish_to(stage, topic.as_bytes())),
        ("SUBSCRIBE to a filter with U+0000", request(stage.version(), 0x82, &subscribe)),
        ("UNSUBSCRIBE from a filter with U+0000", unsubscribe),
    ];
    each_ends(stage, &table, &[ReasonCode::MALFORMED_PACKET, ReasonCode::TOPIC_NAME_INVALID])
}

fn the_longest(stage: &Stage) -> Verdict {
    // What the longest string needs, and as much as properties and headers may add.
    const LONGEST: usize = 65_535;
    let most = stage.features().maximum_packet_size.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    // The server's limit on packets comes first: then the longest that fits.
    let length = LONGEST.min(most - 64);
    let mut topic = stage.topic("long/");
    topic.push_str(&"x".repeat(length - topic.len()));
    let mut reader = stage.client("reader")?;
    reader.subscribe(&topic, QoS::AtMostOnce)?;
    stage.client("publisher")?.publish(&message(&topic, b"far"));
    takes(stage, &mut reader, QoS::AtMostOnce, &topic, b"far")?;
    let id = reader.ask_no_more(&[&topic]);
    reader.expect_unsuback(id).map(drop)
}

/// Names that somebody who tidies up would take for each other.
const LOOKALIKES: &[&str] = &[
    "accounts",
    "Accounts",
    "accounts ",
    " accounts",
    "accounts/",
    "/accounts",
    "//accounts",
    "./accounts",
    "accounts/.",
    "%61ccounts",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{fb01}n",
    "fin",
    "\u{212b}",
    "\u{c5}",
    "a\u{feff}b",
    "ab",
    "a\u{200b}b",
    "\u{df}",
    "ss",
];

fn as_they_are(stage: &Stage) -> Verdict {
    let mut publisher = stage.client("publisher")?;
    for subscribed in LOOKALIKES {
        let filter = stage.topic(subscribed);
        let mut reader = stage.client("reader")?;
        reader.subscribe(&filter, QoS::AtMostOnce)?;
        for published in LOOKALIKES {
            publisher.publish(&message(&stage.topic(published), published.as_bytes()));
        }
        hears(stage, &mut reader, QoS::AtMostOnce, &filter, subscribed.as_bytes())?;
        // All were taken, and no other came.
        publisher.ping()?;
        reader.ping()?;
        reader.leave();
    }
    Ok(())
}

fn many_filters(stage: &Stage) -> Verdict {
    let filters = ["a/b", "a/+", "+/b", "a/#", "#", "+/+", "b/a"].map(|name| stage.topic(name));
    let wanted = ["a/b", "a/c", "c/b", "b/a"].map(|name| stage.topic(name));
    let mut readers = Vec::new();
    for (at, filter) in filters.iter().enumerate() {
        let mut reader = stage.client(&format!("reader{at}"))?;
        reader.subscribe(filter, QoS::AtMostOnce)?;
        readers.push(reader);
    }
    let mut publisher = stage.client("publisher")?;
    for topic in &wanted {
        publisher.publish(&message(topic, b"x"));
    }
    let matched: [&[usize]; 7] = [&[0], &[0, 1], &[0, 2], &[0, 1], &[0, 1, 2, 3], &[0, 1, 2, 3], &[3]];
    for (reader, matched) in readers.iter_mut().zip(matched) {
        for at in matched {
            takes(stage, reader, QoS::AtMostOnce, &wanted[*at], b"x")?;
        }
        reader.expect_nothing()?;
    }
    Ok(())
}
