//! Faults of brokers that say the wrong thing: what they send is changed on its way.

use columba_proto::packet::{AckProperties, Disconnect, Packet, Publish};
use columba_proto::{PacketId, Peer, QoS, ReasonCode, TopicName};

use super::{Fault, Frame, Scene};
use crate::script::clause::{v3, v5};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "writes lengths with a byte too many",
        breaks: &[v5("MQTT-1.5.5-1")],
        meddle: |scene, mut frame| {
            if frame.from == Peer::Server && frame.bytes[1] < 0x80 {
                frame.bytes[1] |= 0x80;
                frame.bytes.insert(2, 0);
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "drops byte order marks",
        breaks: &[v5("MQTT-1.5.4-3"), v3("MQTT-1.5.3-3")],
        meddle: |scene, frame| {
            let Some(Packet::Publish(publish)) = frame.packet().filter(|_| frame.from == Peer::Server) else {
                return scene.pass(&frame);
            };
            let plain = publish.topic.map_or("", TopicName::as_str).replace('\u{feff}', "");
            scene.answer(&Packet::Publish(Publish { topic: TopicName::new(&plain).ok(), ..publish }));
        },
    },
    Fault {
        name: "gives QoS 0 messages an identifier",
        breaks: &[v5("MQTT-2.2.1-2"), v3("MQTT-2.3.1-5")],
        meddle: |scene, frame| {
            let Some(Packet::Publish(publish)) = frame.packet().filter(|_| frame.from == Peer::Server) else {
                return scene.pass(&frame);
            };
            let payload = [&[0, 1], publish.payload].concat();
            let payload = if publish.qos == QoS::AtMostOnce { &payload } else { publish.payload };
            scene.answer(&Packet::Publish(Publish { payload, ..publish }));
        },
    },
    Fault {
        name: "gives all messages the same identifier",
        breaks: &[v5("MQTT-2.2.1-4"), v3("MQTT-2.3.1-4")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.packet_id = publish.packet_id.and(Some(PacketId::FIRST));
                }
            });
        },
    },
    Fault {
        name: "sets a reserved bit in CONNACK",
        breaks: &[v5("MQTT-3.2.2-1")],
        meddle: |scene, mut frame| {
            if frame.from == Peer::Server && frame.bytes[0] >> 4 == 2 {
                frame.bytes[2] |= 0x80;
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "says something before CONNACK",
        breaks: &[v5("MQTT-3.2.0-1"), v5("MQTT-3.1.4-5"), v3("MQTT-3.2.0-1"), v3("MQTT-3.1.4-4")],
        meddle: |scene, frame| {
            if matches!(frame.packet(), Some(Packet::Connack(_))) {
                return scene.held.push(frame);
            }
            scene.pass(&frame);
            if frame.from == Peer::Server {
                for held in core::mem::take(&mut scene.held) {
                    scene.pass(&held);
                }
            }
        },
    },
    Fault {
        name: "says CONNACK twice",
        breaks: &[v5("MQTT-3.2.0-2")],
        meddle: |scene, frame| {
            if matches!(frame.packet(), Some(Packet::Connack(_))) {
                scene.pass(&frame);
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "says that a session is there although it refuses the client",
        breaks: &[v5("MQTT-3.2.2-6"), v3("MQTT-3.2.2-4")],
        meddle: |scene, mut frame| {
            if is_refusal(&frame) {
                frame.bytes[2] = 1;
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "leaves the connection open after a refusal",
        breaks: &[v5("MQTT-3.1.4-2"), v5("MQTT-3.2.2-7"), v3("MQTT-3.2.2-5")],
        meddle: |scene, frame| {
            scene.hides_end |= is_refusal(&frame);
            scene.pass(&frame);
        },
    },
    Fault {
        name: "answers with reasons that are for others",
        breaks: &[v5("MQTT-3.4.2-1"), v5("MQTT-3.5.2-1"), v5("MQTT-3.6.2-1"), v5("MQTT-3.7.2-1")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Ack(ack) = packet {
                    ack.reason = ReasonCode::CONTINUE_AUTHENTICATION;
                }
            });
        },
    },
    Fault {
        name: "explains everything at length",
        breaks: &[
            v5("MQTT-3.1.2-24"),
            v5("MQTT-3.1.2-29"),
            v5("MQTT-3.2.2-19"),
            v5("MQTT-3.4.2-2"),
            v5("MQTT-3.5.2-2"),
            v5("MQTT-3.6.2-2"),
            v5("MQTT-3.7.2-2"),
        ],
        meddle: |scene, frame| explain(scene, &frame, Some("this is how it is, and how it has always been"), &[]),
    },
    Fault {
        name: "adds user properties to everything",
        breaks: &[
            v5("MQTT-3.1.2-24"),
            v5("MQTT-3.1.2-29"),
            v5("MQTT-3.2.2-20"),
            v5("MQTT-3.4.2-3"),
            v5("MQTT-3.5.2-3"),
            v5("MQTT-3.6.2-3"),
            v5("MQTT-3.7.2-3"),
        ],
        meddle: |scene, frame| explain(scene, &frame, None, &[("where", "in a broker"), ("when", "just now")]),
    },
    Fault {
        name: "offers response information to everybody",
        breaks: &[v5("MQTT-3.1.2-28")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Connack(connack) = packet {
                    connack.properties.response_information = Some("answers/");
                }
            });
        },
    },
    Fault {
        name: "does not say that it has no QoS 2",
        breaks: &[v5("MQTT-3.2.2-9")],
        meddle: |scene, frame| {
            let is_qos_2 = matches!(frame.packet(), Some(Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce);
            if frame.from == Peer::Client && is_qos_2 {
                return scene.answer(&Packet::Disconnect(Disconnect::new(ReasonCode::QOS_NOT_SUPPORTED)));
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not deliver messages without a payload",
        breaks: &[v5("MQTT-3.3.1-6"), v3("MQTT-3.3.1-10")],
        meddle: |scene, frame| {
            let is_empty = matches!(frame.packet(), Some(Packet::Publish(publish)) if publish.payload.is_empty());
            if frame.from == Peer::Client || !is_empty {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "delivers everything at QoS 0",
        breaks: &[v5("MQTT-3.3.4-2"), v3("MQTT-3.3.5-1"), v3("MQTT-3.3.1-5")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.qos = QoS::AtMostOnce;
                    publish.packet_id = None;
                    publish.dup = false;
                }
            });
        },
    },
    Fault {
        name: "does not name its topics right",
        breaks: &[v5("MQTT-3.3.2-3"), v3("MQTT-3.3.2-3")],
        meddle: |scene, frame| {
            let Some(Packet::Publish(publish)) = frame.packet().filter(|_| frame.from == Peer::Server) else {
                return scene.pass(&frame);
            };
            let other = format!("{}/", publish.topic.map_or("", TopicName::as_str));
            scene.answer(&Packet::Publish(Publish { topic: TopicName::new(&other).ok(), ..publish }));
        },
    },
];

fn from_server(scene: &mut Scene, frame: Frame, change: impl FnOnce(&mut Packet<'_>)) {
    let frame = if frame.from == Peer::Server { frame.changed(change) } else { frame };
    scene.pass(&frame);
}

fn is_refusal(frame: &Frame) -> bool {
    matches!(frame.packet(), Some(Packet::Connack(connack)) if connack.reason.is_failure())
}

/// Puts something for people into a refusal and every acknowledgement that has room for it.
fn explain(scene: &mut Scene, frame: &Frame, why: Option<&str>, pairs: &[(&str, &str)]) {
    let Some(mut packet) = frame.packet().filter(|_| frame.from == Peer::Server) else { return scene.pass(frame) };
    match &mut packet {
        Packet::Ack(ack) => ack.properties = AckProperties { reason_string: why, user_properties: pairs.into() },
        Packet::Connack(connack) if connack.reason.is_failure() => {
            connack.properties.reason_string = why;
            connack.properties.user_properties = pairs.into();
        }
        Packet::Connack(_)
        | Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Suback(_)
        | Packet::Unsubscribe(_)
        | Packet::Unsuback(_)
        | Packet::Pingreq
        | Packet::Pingresp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => {}
    }
    let explained = Frame::of(Peer::Server, frame.version, &packet);
    scene.pass(&explained);
}
