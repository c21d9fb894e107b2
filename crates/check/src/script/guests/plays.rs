//! The stories.

use core::num::NonZeroU16;
use std::time::Duration;

use columba_proto::packet::{ConnackProperties, Packet, PacketType};
use columba_proto::{AckKind, PacketId, QoS};

use super::guest::{Guest, failed};
use super::{Role, Story, Visit};
use crate::script::clause::{v3, v5};
use crate::script::client::frame;
use crate::script::{ALL, SINCE_V311, Stop, V5, Verdict};

/// Seconds of keep-alive that a server gives, and how long a client may then be silent.
const KEEP_ALIVE: u16 = 1;
const SILENT_AT_MOST: Duration = Duration::from_millis(1_500);

/// All of them.
pub static STORIES: &[Story] = &[
    Story {
        title: "a publisher at QoS 0 sends PUBLISH, and a DISCONNECT last",
        role: Role::Publisher,
        qos: QoS::AtMostOnce,
        versions: ALL,
        clauses: &[
            v5("MQTT-2.2.1-2"),
            v5("MQTT-3.1.0-1"),
            v5("MQTT-3.1.3-3"),
            v5("MQTT-3.3.1-2"),
            v5("MQTT-3.14.4-1"),
            v5("MQTT-3.14.4-2"),
            v5("MQTT-4.3.1-1"),
            v3("MQTT-2.3.1-5"),
            v3("MQTT-3.1.0-1"),
            v3("MQTT-3.1.3-3"),
            v3("MQTT-3.3.1-2"),
            v3("MQTT-3.14.4-1"),
            v3("MQTT-3.14.4-2"),
            v3("MQTT-4.3.1-1"),
        ],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let heard = published(visit, &mut guest, QoS::AtMostOnce)?;
            check(!heard.publish().dup, "DUP 0", &heard.told())?;
            guest.expect_end(visit)
        },
    },
    Story {
        title: "a publisher at QoS 1 takes an identifier, first sends DUP 0, and is done with PUBACK",
        role: Role::Publisher,
        qos: QoS::AtLeastOnce,
        versions: ALL,
        clauses: &[v5("MQTT-2.2.1-3"), v5("MQTT-4.3.2-1"), v5("MQTT-4.3.2-2"), v3("MQTT-2.3.1-1"), v3("MQTT-4.3.2-1")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let heard = published(visit, &mut guest, QoS::AtLeastOnce)?;
            check(!heard.publish().dup, "DUP 0", &heard.told())?;
            guest.acknowledge(visit, AckKind::Puback, id_of(&heard)?);
            guest.expect_end(visit)
        },
    },
    Story {
        title: "a publisher at QoS 2 answers PUBREC by PUBREL with the same identifier",
        role: Role::Publisher,
        qos: QoS::ExactlyOnce,
        versions: ALL,
        clauses: &[
            v5("MQTT-3.6.1-1"),
            v5("MQTT-4.3.3-1"),
            v5("MQTT-4.3.3-2"),
            v5("MQTT-4.3.3-4"),
            v3("MQTT-3.6.1-1"),
            v3("MQTT-4.3.3-1"),
        ],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let heard = published(visit, &mut guest, QoS::ExactlyOnce)?;
            let id = id_of(&heard)?;
            check(!heard.publish().dup, "DUP 0", &heard.told())?;
            guest.acknowledge(visit, AckKind::Pubrec, id);
            guest.expect_ack(visit, AckKind::Pubrel, id)?;
            guest.acknowledge(visit, AckKind::Pubcomp, id);
            guest.expect_end(visit)
        },
    },
    Story {
        title: "a publisher whose PUBLISH was not acknowledged sends it again, with DUP 1 and its identifier",
        role: Role::Publisher,
        qos: QoS::AtLeastOnce,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-1"), v5("MQTT-4.4.0-1"), v3("MQTT-3.3.1-1"), v3("MQTT-4.4.0-1"), v3("MQTT-2.3.1-3")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let first = id_of(&published(visit, &mut guest, QoS::AtLeastOnce)?)?;
            guest.cut(visit);
            let mut guest = back_in_session(visit)?;
            let heard = published(visit, &mut guest, QoS::AtLeastOnce)?;
            check(heard.publish().dup && id_of(&heard)? == first, &format!("DUP 1 and identifier {first}"), &heard.told())?;
            guest.acknowledge(visit, AckKind::Puback, first);
            Ok(())
        },
    },
    Story {
        title: "a publisher that has a PUBREC never sends the PUBLISH again",
        role: Role::Publisher,
        qos: QoS::ExactlyOnce,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.3-5"), v5("MQTT-4.3.3-6"), v5("MQTT-4.4.0-1"), v3("MQTT-4.3.3-1"), v3("MQTT-4.4.0-1")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let id = id_of(&published(visit, &mut guest, QoS::ExactlyOnce)?)?;
            guest.acknowledge(visit, AckKind::Pubrec, id);
            guest.expect_ack(visit, AckKind::Pubrel, id)?;
            guest.cut(visit);
            let mut guest = back_in_session(visit)?;
            guest.expect_ack(visit, AckKind::Pubrel, id)?;
            guest.acknowledge(visit, AckKind::Pubcomp, id);
            Ok(())
        },
    },
    Story {
        title: "a publisher stays within the server's maximum QoS",
        role: Role::Publisher,
        qos: QoS::ExactlyOnce,
        versions: V5,
        clauses: &[v5("MQTT-3.2.2-11")],
        play: |visit| {
            let mut guest = visit.guest()?;
            let properties = ConnackProperties { maximum_qos: Some(QoS::AtMostOnce), ..ConnackProperties::default() };
            guest.accept(visit, false, properties);
            quiet_or_within(
                visit,
                &mut guest,
                |packet| !matches!(packet, Packet::Publish(publish) if publish.qos > QoS::AtMostOnce),
            )
        },
    },
    Story {
        title: "a client without a session that is told of one closes the connection",
        role: Role::Publisher,
        qos: QoS::AtMostOnce,
        versions: V5,
        clauses: &[v5("MQTT-3.2.2-4")],
        play: |visit| {
            let mut guest = visit.guest()?;
            if !guest.connect().clean_start {
                return Err(Stop::Skipped("the client asks for a stored session, and may have one".into()));
            }
            guest.accept(visit, true, ConnackProperties::default());
            let heard = guest.hear_within(visit, super::PATIENCE);
            match heard {
                Ok(Some(heard)) if heard.packet_type() == PacketType::Disconnect => guest.expect_end(visit),
                Ok(Some(heard)) => failed("the client closes the connection", heard.told()),
                Ok(None) => failed("the client closes the connection", "it stays".into()),
                // Closed without a word.
                Err(_) => Ok(()),
            }
        },
    },
    Story {
        title: "a client goes by the server's keep-alive",
        role: Role::Subscriber,
        qos: QoS::AtMostOnce,
        versions: V5,
        clauses: &[v5("MQTT-3.1.2-20"), v5("MQTT-3.1.2-21"), v5("MQTT-3.2.2-21")],
        play: |visit| {
            let mut guest = visit.guest()?;
            let properties = ConnackProperties { server_keep_alive: Some(KEEP_ALIVE), ..ConnackProperties::default() };
            guest.accept(visit, false, properties);
            guest.grant(visit)?;
            for _ in 0..3 {
                match guest.hear_within(visit, SILENT_AT_MOST)? {
                    Some(heard) if heard.packet_type() == PacketType::Pingreq => guest.send(visit, &Packet::Pingresp),
                    Some(heard) => return failed("PINGREQ", heard.told()),
                    None => return failed("PINGREQ within one and a half keep-alive periods", "nothing".into()),
                }
            }
            Ok(())
        },
    },
    Story {
        title: "a subscriber's SUBSCRIBE has an identifier and the filter that it was asked for",
        role: Role::Subscriber,
        qos: QoS::AtLeastOnce,
        versions: ALL,
        clauses: &[
            v5("MQTT-2.2.1-3"),
            v5("MQTT-3.8.1-1"),
            v5("MQTT-3.8.3-2"),
            v3("MQTT-2.3.1-1"),
            v3("MQTT-3.8.1-1"),
            v3("MQTT-3.8.3-3"),
        ],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let heard = guest.grant(visit)?;
            let wanted = visit.order().topic.clone();
            let Packet::Subscribe(subscribe) = heard.packet() else { return failed("SUBSCRIBE", heard.told()) };
            let asks = subscribe.entries.iter().any(|entry| entry.filter == wanted && entry.options.qos == QoS::AtLeastOnce);
            check(asks, &format!("'{wanted}' at QoS 1"), &heard.told())
        },
    },
    Story {
        title: "a subscriber acknowledges QoS 1 messages in their order",
        role: Role::Subscriber,
        qos: QoS::AtLeastOnce,
        versions: ALL,
        clauses: &[
            v5("MQTT-4.3.2-4"),
            v5("MQTT-4.5.0-2"),
            v5("MQTT-4.6.0-2"),
            v5("MQTT-2.2.1-5"),
            v3("MQTT-4.3.2-2"),
            v3("MQTT-4.5.0-2"),
            v3("MQTT-4.6.0-2"),
            v3("MQTT-2.3.1-6"),
        ],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let ids = ids()?;
            for id in ids {
                guest.publish(visit, QoS::AtLeastOnce, Some(id), false, &format!("in-order-{id}"));
            }
            ids.into_iter().try_for_each(|id| guest.expect_ack(visit, AckKind::Puback, id))
        },
    },
    Story {
        title: "a subscriber answers PUBREC and PUBCOMP in order, and takes a QoS 2 message once",
        role: Role::Subscriber,
        qos: QoS::ExactlyOnce,
        versions: ALL,
        clauses: &[
            v5("MQTT-4.3.3-8"),
            v5("MQTT-4.3.3-10"),
            v5("MQTT-4.3.3-11"),
            v5("MQTT-4.6.0-3"),
            v3("MQTT-4.3.3-2"),
            v3("MQTT-4.6.0-3"),
        ],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let ids = ids()?;
            for id in ids {
                guest.publish(visit, QoS::ExactlyOnce, Some(id), false, &format!("exactly-{id}"));
            }
            ids.into_iter().try_for_each(|id| guest.expect_ack(visit, AckKind::Pubrec, id))?;
            let again = ids[0];
            guest.publish(visit, QoS::ExactlyOnce, Some(again), true, &format!("exactly-{again}"));
            guest.expect_ack(visit, AckKind::Pubrec, again)?;
            for id in ids {
                guest.acknowledge(visit, AckKind::Pubrel, id);
                guest.expect_ack(visit, AckKind::Pubcomp, id)?;
            }
            for id in ids {
                let payload = format!("exactly-{id}");
                let times = visit.printed(&payload);
                check(times == 1, &format!("{payload} once"), &format!("{times} times"))?;
            }
            Ok(())
        },
    },
    Story {
        title: "a subscriber answers a PUBREL that it does not know",
        role: Role::Subscriber,
        qos: QoS::ExactlyOnce,
        versions: ALL,
        clauses: &[v5("MQTT-4.3.3-11"), v3("MQTT-4.3.3-2")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let [id, ..] = ids()?;
            guest.acknowledge(visit, AckKind::Pubrel, id);
            guest.expect_ack(visit, AckKind::Pubcomp, id)
        },
    },
    Story {
        title: "a subscriber whose PUBREL was lost takes the message once",
        role: Role::Subscriber,
        qos: QoS::ExactlyOnce,
        versions: SINCE_V311,
        clauses: &[v5("MQTT-4.3.3-10"), v5("MQTT-4.1.0-1"), v3("MQTT-4.3.3-2"), v3("MQTT-4.1.0-1")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let [id, ..] = ids()?;
            guest.publish(visit, QoS::ExactlyOnce, Some(id), false, "through a cut");
            guest.expect_ack(visit, AckKind::Pubrec, id)?;
            guest.cut(visit);
            let mut guest = back_in_session(visit)?;
            guest.publish(visit, QoS::ExactlyOnce, Some(id), true, "through a cut");
            let mut heard = guest.hear_within(visit, super::PATIENCE)?;
            if heard.as_ref().is_some_and(|heard| heard.packet_type() == PacketType::Subscribe) {
                // Subscribing again to what stands is allowed.
                heard = guest.hear_within(visit, super::PATIENCE)?;
            }
            let Some(heard) = heard else { return failed("PUBREC", "nothing".into()) };
            check(heard.packet_type() == PacketType::Pubrec, "PUBREC", &heard.told())?;
            guest.acknowledge(visit, AckKind::Pubrel, id);
            guest.expect_ack(visit, AckKind::Pubcomp, id)?;
            let times = visit.printed("through a cut");
            check(times == 1, "the message once", &format!("{times} times"))
        },
    },
    Story {
        title: "a client closes the connection on a PUBLISH of QoS 3",
        role: Role::Subscriber,
        qos: QoS::AtMostOnce,
        versions: ALL,
        clauses: &[v5("MQTT-3.3.1-4"), v5("MQTT-4.13.1-1"), v3("MQTT-3.3.1-4"), v3("MQTT-4.8.0-1")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let properties: &[u8] = if visit.order().version.has_properties() { &[0] } else { &[] };
            let mut body = vec![0, 1, b'a', 0, 1];
            body.extend_from_slice(properties);
            guest.send_bytes(visit, "PUBLISH with QoS 3", &frame(0x36, &body));
            guest.expect_end(visit)
        },
    },
    Story {
        title: "a client closes the connection on text that is no UTF-8",
        role: Role::Subscriber,
        qos: QoS::AtMostOnce,
        versions: ALL,
        clauses: &[v5("MQTT-1.5.4-1"), v3("MQTT-1.5.3-1")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            guest.grant(visit)?;
            let properties: &[u8] = if visit.order().version.has_properties() { &[0] } else { &[] };
            let mut body = vec![0, 2, 0xC3, 0x28];
            body.extend_from_slice(properties);
            guest.send_bytes(visit, "PUBLISH to a topic that is no UTF-8", &frame(0x30, &body));
            guest.expect_end(visit)
        },
    },
    Story {
        title: "a client uses no alias that the server does not allow, and takes those that it allows itself",
        role: Role::Subscriber,
        qos: QoS::AtMostOnce,
        versions: V5,
        clauses: &[v5("MQTT-3.3.2-10"), v5("MQTT-3.3.2-7")],
        play: |visit| {
            let mut guest = welcome(visit)?;
            let allowed = guest.connect().properties.topic_alias_maximum.unwrap_or(0);
            guest.grant(visit)?;
            let Some(alias) = NonZeroU16::new(allowed) else {
                return Err(Stop::Skipped("the client takes no aliases".into()));
            };
            let topic = visit.order().topic.clone();
            let mut publish = crate::script::client::message(&topic, b"named-once");
            publish.properties.topic_alias = Some(alias);
            guest.send(visit, &Packet::Publish(publish.clone()));
            publish.topic = None;
            publish.payload = b"by-alias";
            guest.send(visit, &Packet::Publish(publish));
            let times = visit.printed("by-alias");
            check(times == 1, "the message under the alias", &format!("{times} times"))
        },
    },
];

fn welcome(visit: &mut Visit) -> Verdict<Guest> {
    let mut guest = visit.guest()?;
    guest.accept(visit, false, ConnackProperties::default());
    Ok(guest)
}

/// The client comes back and finds its session; one that begins anew has nothing to repeat.
fn back_in_session(visit: &mut Visit) -> Verdict<Guest> {
    let mut guest = visit.returning_guest()?;
    if guest.connect().clean_start {
        return Err(Stop::Skipped("the client comes back with a clean start".into()));
    }
    guest.accept(visit, true, ConnackProperties::default());
    Ok(guest)
}

/// The message that the client was asked to publish.
fn published(visit: &mut Visit, guest: &mut Guest, qos: QoS) -> Verdict<crate::script::Heard> {
    let heard = guest.expect(visit, PacketType::Publish)?;
    let order = visit.order();
    let publish = heard.publish();
    let is_it = publish.qos == qos && heard.topic() == order.topic && publish.payload == order.payload.as_bytes();
    check(is_it, &format!("'{}' to '{}' at QoS {}", order.payload, order.topic, qos as u8), &heard.told())?;
    Ok(heard)
}

fn id_of(heard: &crate::script::Heard) -> Verdict<PacketId> {
    heard.publish().packet_id.ok_or_else(|| Stop::Failed { expected: "an identifier".into(), got: heard.told() })
}

/// Three identifiers of a server.
fn ids() -> Verdict<[PacketId; 3]> {
    let id = |number| PacketId::new(number).ok_or_else(|| Stop::Skipped("no identifier".into()));
    Ok([id(11)?, id(7)?, id(12)?])
}

fn check(is_so: bool, expected: &str, got: &str) -> Verdict {
    if is_so { Ok(()) } else { failed(expected, got.to_owned()) }
}

/// All that the client sends is like this, until it goes or is silent for a second.
fn quiet_or_within(visit: &mut Visit, guest: &mut Guest, is_fine: fn(&Packet<'_>) -> bool) -> Verdict {
    loop {
        match guest.hear_within(visit, Duration::from_secs(1)) {
            Ok(Some(heard)) => check(is_fine(&heard.packet()), "nothing that the server has ruled out", &heard.told())?,
            Ok(None) | Err(Stop::Failed { .. }) => return Ok(()),
            Err(skipped) => return Err(skipped),
        }
    }
}
