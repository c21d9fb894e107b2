//! Faults of brokers that do something else than what they were asked.

use columba_proto::packet::{Packet, PublishProperties, Reasons, RetainHandling, Suback, SubscribeEntry, Unsuback};
use columba_proto::{AckKind, PacketId, Peer, QoS, ReasonCode};

use super::{Fault, Frame, Scene};
use crate::script::clause::{v3, v5};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "never closes a connection",
        breaks: &[
            v5("MQTT-1.5.4-1"),
            v5("MQTT-1.5.4-2"),
            v5("MQTT-2.1.3-1"),
            v5("MQTT-3.1.0-1"),
            v5("MQTT-3.1.0-2"),
            v5("MQTT-3.1.2-1"),
            v5("MQTT-3.1.2-2"),
            v5("MQTT-3.1.2-3"),
            v5("MQTT-3.1.2-22"),
            v5("MQTT-3.1.4-1"),
            v5("MQTT-3.1.4-3"),
            v5("MQTT-3.3.1-4"),
            v5("MQTT-3.3.2-2"),
            v5("MQTT-3.3.4-6"),
            v5("MQTT-3.6.1-1"),
            v5("MQTT-3.8.1-1"),
            v5("MQTT-3.8.3-2"),
            v5("MQTT-3.8.3-4"),
            v5("MQTT-3.8.3-5"),
            v5("MQTT-3.10.1-1"),
            v5("MQTT-3.10.3-2"),
            v5("MQTT-3.14.1-1"),
            v5("MQTT-4.13.1-1"),
            v3("MQTT-1.5.3-1"),
            v3("MQTT-1.5.3-2"),
            v3("MQTT-2.2.2-2"),
            v3("MQTT-3.1.0-1"),
            v3("MQTT-3.1.0-2"),
            v3("MQTT-3.1.2-1"),
            v3("MQTT-3.1.2-2"),
            v3("MQTT-3.1.2-3"),
            v3("MQTT-3.1.2-24"),
            v3("MQTT-3.1.4-1"),
            v3("MQTT-3.1.4-2"),
            v3("MQTT-3.3.1-4"),
            v3("MQTT-3.6.1-1"),
            v3("MQTT-3.8.1-1"),
            v3("MQTT-3.8.3-3"),
            v3("MQTT-3.8.3-4"),
            v3("MQTT-3.10.1-1"),
            v3("MQTT-3.10.3-2"),
            v3("MQTT-3.14.1-1"),
            v3("MQTT-4.8.0-1"),
        ],
        meddle: |scene, frame| {
            scene.hides_end = true;
            scene.pass(&frame);
        },
    },
    Fault {
        name: "says that every session was there",
        breaks: &[v5("MQTT-3.2.2-2"), v5("MQTT-3.2.2-3"), v3("MQTT-3.2.2-1"), v3("MQTT-3.2.2-3")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connack(connack) = packet
                    && connack.reason == ReasonCode::SUCCESS
                {
                    connack.session_present = true;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "says that no session was there",
        breaks: &[v5("MQTT-3.2.2-3"), v3("MQTT-3.2.2-2")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connack(connack) = packet {
                    connack.session_present = false;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "keeps sessions in spite of a clean start",
        breaks: &[v5("MQTT-3.1.2-4"), v3("MQTT-3.1.2-6")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.clean_start = connect.client_id.is_empty();
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "starts every session anew",
        breaks: &[v5("MQTT-3.1.2-5"), v5("MQTT-4.1.0-1"), v3("MQTT-3.1.2-4"), v3("MQTT-4.4.0-1"), v5("MQTT-4.4.0-1")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.clean_start = true;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "has no keep-alive",
        breaks: &[v5("MQTT-3.1.2-22"), v5("MQTT-3.2.2-22"), v3("MQTT-3.1.2-24")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.keep_alive = 0;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "publishes no wills",
        breaks: &[v5("MQTT-3.1.2-8"), v3("MQTT-3.1.2-8")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.will = None;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "publishes wills after a good-bye",
        breaks: &[v5("MQTT-3.14.4-3"), v5("MQTT-3.1.2-10"), v3("MQTT-3.14.4-3"), v3("MQTT-3.1.2-10")],
        meddle: |scene, frame| {
            if !matches!((frame.from, frame.packet()), (Peer::Client, Some(Packet::Disconnect(_)))) {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "does not retain wills",
        breaks: &[v5("MQTT-3.1.2-15"), v3("MQTT-3.1.2-17")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && let Some(will) = &mut connect.will
                {
                    will.retain = false;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "retains every will",
        breaks: &[v5("MQTT-3.1.2-14"), v3("MQTT-3.1.2-16")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && let Some(will) = &mut connect.will
                {
                    will.retain = true;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not wait for the will delay",
        breaks: &[v5("MQTT-3.1.3-9")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && let Some(will) = &mut connect.will
                {
                    will.delay = 0;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not say which identifier it gave",
        breaks: &[v5("MQTT-3.1.3-7"), v5("MQTT-3.2.2-16")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connack(connack) = packet {
                    connack.properties.assigned_client_id = None;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "sends packets of any size",
        breaks: &[v5("MQTT-3.1.2-24"), v5("MQTT-3.1.2-25")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.properties.maximum_packet_size = None;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "sends as many messages as it likes",
        breaks: &[v5("MQTT-3.3.4-9"), v5("MQTT-4.9.0-2")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.properties.receive_maximum = None;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "ends every session with its connection",
        breaks: &[v5("MQTT-3.1.2-23"), v3("MQTT-3.1.2-4")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet {
                    connect.properties.session_expiry = None;
                    connect.clean_start |= !connect.version.has_properties();
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "keeps every session for ever",
        breaks: &[v5("MQTT-4.1.0-2")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && connect.version.has_properties()
                {
                    connect.properties.session_expiry = Some(u32::MAX);
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "acknowledges no QoS 1 message",
        breaks: &[v5("MQTT-4.3.2-4"), v5("MQTT-3.3.4-1"), v3("MQTT-4.3.2-2"), v3("MQTT-3.3.4-1")],
        meddle: |scene, frame| drop_ack(scene, &frame, AckKind::Puback),
    },
    Fault {
        name: "sends no PUBREC",
        breaks: &[v5("MQTT-4.3.3-8"), v3("MQTT-4.3.3-2")],
        meddle: |scene, frame| drop_ack(scene, &frame, AckKind::Pubrec),
    },
    Fault {
        name: "sends no PUBREL",
        breaks: &[v5("MQTT-4.3.3-4"), v3("MQTT-4.3.3-1")],
        meddle: |scene, frame| drop_ack(scene, &frame, AckKind::Pubrel),
    },
    Fault {
        name: "sends no PUBCOMP",
        breaks: &[v5("MQTT-4.3.3-11"), v3("MQTT-4.3.3-2")],
        meddle: |scene, frame| drop_ack(scene, &frame, AckKind::Pubcomp),
    },
    Fault {
        name: "acknowledges other identifiers",
        breaks: &[v5("MQTT-2.2.1-5"), v5("MQTT-4.3.2-4"), v5("MQTT-4.3.3-8"), v3("MQTT-2.3.1-6")],
        meddle: |scene, frame| {
            let frame = if frame.from == Peer::Server {
                frame.changed(|packet| {
                    if let Packet::Ack(ack) = packet {
                        ack.id = following(ack.id);
                    }
                })
            } else {
                frame
            };
            scene.pass(&frame);
        },
    },
    Fault {
        name: "delivers a QoS 2 message again that is repeated before PUBREL",
        breaks: &[v5("MQTT-4.3.3-10"), v3("MQTT-4.3.3-2")],
        meddle: |scene, frame| repeated_means_new(scene, &frame),
    },
    Fault {
        name: "answers no SUBSCRIBE",
        breaks: &[v5("MQTT-3.8.4-1"), v3("MQTT-3.8.4-1")],
        meddle: |scene, frame| {
            if !matches!(frame.packet(), Some(Packet::Suback(_))) {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "answers SUBSCRIBE and UNSUBSCRIBE under other identifiers",
        breaks: &[v5("MQTT-2.2.1-6"), v5("MQTT-3.8.4-2"), v5("MQTT-3.10.4-5"), v3("MQTT-2.3.1-7"), v3("MQTT-3.8.4-2")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Suback(Suback { id, .. }) | Packet::Unsuback(Unsuback { id, .. }) = packet {
                    *id = following(*id);
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "answers the first filter of a SUBSCRIBE only",
        breaks: &[v5("MQTT-3.8.4-6"), v5("MQTT-3.8.4-5"), v3("MQTT-3.8.4-4"), v3("MQTT-3.8.4-5")],
        meddle: |scene, frame| {
            let Some(Packet::Suback(suback)) = frame.packet() else { return scene.pass(&frame) };
            let reasons: Vec<_> = suback.reasons.iter().take(1).collect();
            scene.answer(&Packet::Suback(Suback { reasons: reasons.as_slice().into(), ..suback }));
        },
    },
    Fault {
        name: "answers the filters of a SUBSCRIBE and UNSUBSCRIBE backwards",
        breaks: &[v5("MQTT-3.9.3-1"), v5("MQTT-3.11.3-1"), v3("MQTT-3.9.3-1")],
        meddle: |scene, frame| {
            let packet = frame.packet();
            if let Some(Packet::Suback(suback)) = packet {
                let reasons = backwards(&suback.reasons);
                scene.answer(&Packet::Suback(Suback { reasons: reasons.as_slice().into(), ..suback }));
            } else if let Some(Packet::Unsuback(unsuback)) = packet {
                let reasons = backwards(&unsuback.reasons);
                scene.answer(&Packet::Unsuback(Unsuback { reasons: reasons.as_slice().into(), ..unsuback }));
            } else {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "serves every subscription at QoS 2",
        breaks: &[v5("MQTT-3.8.4-8"), v3("MQTT-3.8.4-6")],
        meddle: |scene, frame| {
            // The answer says what was asked for: the subscriber is none the wiser.
            if let Some(Packet::Suback(suback)) = frame.packet() {
                let count = suback.reasons.len();
                let asked: Vec<_> = scene.held.drain(..).flat_map(|held| asked_qos(&held)).take(count).collect();
                return scene.answer(&Packet::Suback(Suback { reasons: asked.as_slice().into(), ..suback }));
            }
            if matches!(frame.packet(), Some(Packet::Subscribe(_))) {
                scene.held.push(frame.clone());
            }
            resubscribe(scene, &frame, |entry| entry.options.qos = QoS::ExactlyOnce);
        },
    },
    Fault {
        name: "sends clients their own messages whatever they want",
        breaks: &[v5("MQTT-3.8.3-3")],
        meddle: |scene, frame| resubscribe(scene, &frame, |entry| entry.options.no_local = false),
    },
    Fault {
        name: "forwards no RETAIN",
        breaks: &[v5("MQTT-3.3.1-13")],
        meddle: |scene, frame| resubscribe(scene, &frame, |entry| entry.options.retain_as_published = false),
    },
    Fault {
        name: "forwards every RETAIN",
        breaks: &[v5("MQTT-3.3.1-12")],
        meddle: |scene, frame| resubscribe(scene, &frame, |entry| entry.options.retain_as_published = true),
    },
    Fault {
        name: "sends retained messages at every SUBSCRIBE",
        breaks: &[v5("MQTT-3.3.1-10"), v5("MQTT-3.3.1-11")],
        meddle: |scene, frame| resubscribe(scene, &frame, |entry| entry.options.retain_handling = RetainHandling::Send),
    },
    Fault {
        name: "sends no retained messages",
        breaks: &[v5("MQTT-3.3.1-5"), v5("MQTT-3.3.1-9"), v3("MQTT-3.3.1-5"), v3("MQTT-3.3.1-6")],
        meddle: |scene, frame| {
            let is_retained =
                matches!((frame.from, frame.packet()), (Peer::Server, Some(Packet::Publish(publish))) if publish.retain);
            if !is_retained {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "sends retained messages without RETAIN",
        breaks: &[v3("MQTT-3.3.1-8")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.retain = false;
                }
            });
        },
    },
    Fault {
        name: "sends everything with RETAIN",
        breaks: &[v3("MQTT-3.3.1-9")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.retain = true;
                }
            });
        },
    },
    Fault {
        name: "retains everything",
        breaks: &[v5("MQTT-3.3.1-8"), v3("MQTT-3.3.1-12")],
        meddle: |scene, frame| {
            from_client(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.retain = true;
                }
            });
        },
    },
    Fault {
        name: "retains nothing",
        breaks: &[v5("MQTT-3.3.1-5"), v3("MQTT-3.3.1-5")],
        meddle: |scene, frame| {
            from_client(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.retain = false;
                }
            });
        },
    },
    Fault {
        name: "sends everything with DUP",
        breaks: &[v5("MQTT-3.3.1-3"), v5("MQTT-4.3.2-2"), v5("MQTT-4.3.3-2"), v3("MQTT-3.3.1-3"), v3("MQTT-4.3.2-1")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.dup = publish.qos != QoS::AtMostOnce;
                }
            });
        },
    },
    Fault {
        name: "repeats without DUP",
        breaks: &[v5("MQTT-3.3.1-1"), v3("MQTT-3.3.1-1")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.dup = false;
                }
            });
        },
    },
    Fault {
        name: "drops what it does not need of a message",
        breaks: &[
            v5("MQTT-3.3.2-4"),
            v5("MQTT-3.3.2-15"),
            v5("MQTT-3.3.2-16"),
            v5("MQTT-3.3.2-17"),
            v5("MQTT-3.3.2-20"),
            v5("MQTT-3.3.4-3"),
            v5("MQTT-3.3.4-4"),
        ],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.properties = PublishProperties::default();
                }
            });
        },
    },
    Fault {
        name: "turns user properties round",
        breaks: &[v5("MQTT-3.3.2-18"), v5("MQTT-3.1.3-10")],
        meddle: |scene, frame| {
            let Some(Packet::Publish(mut publish)) = frame.packet().filter(|_| frame.from == Peer::Server) else {
                return scene.pass(&frame);
            };
            let mut pairs: Vec<_> = publish.properties.user_properties.iter().collect();
            pairs.reverse();
            publish.properties.user_properties = pairs.as_slice().into();
            scene.answer(&Packet::Publish(publish));
        },
    },
    Fault {
        name: "does not count the expiry down",
        breaks: &[v5("MQTT-3.3.2-6")],
        meddle: |scene, frame| {
            // Stories wait for a few seconds and take round numbers.
            let whole = |seconds: u32| seconds.div_ceil(10) * 10;
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.properties.message_expiry = publish.properties.message_expiry.map(whole);
                }
            });
        },
    },
    Fault {
        name: "uses an alias that nobody allowed",
        breaks: &[v5("MQTT-3.1.2-27")],
        meddle: |scene, frame| {
            from_server(scene, frame, |packet| {
                if let Packet::Publish(publish) = packet {
                    publish.properties.topic_alias = core::num::NonZeroU16::new(5);
                }
            });
        },
    },
    Fault {
        name: "delivers two messages in the wrong order",
        breaks: &[v5("MQTT-4.6.0-5"), v3("MQTT-4.6.0-6")],
        meddle: |scene, frame| {
            let is_message = matches!((frame.from, frame.packet()), (Peer::Server, Some(Packet::Publish(_))));
            if !is_message {
                return scene.pass(&frame);
            }
            scene.count += 1;
            if scene.count == 2 {
                return scene.held.push(frame);
            }
            scene.pass(&frame);
            for held in core::mem::take(&mut scene.held) {
                scene.pass(&held);
            }
        },
    },
    Fault {
        name: "answers no UNSUBSCRIBE",
        breaks: &[v5("MQTT-3.10.4-4"), v3("MQTT-3.10.4-4"), v3("MQTT-3.10.4-5")],
        meddle: |scene, frame| {
            if !matches!(frame.packet(), Some(Packet::Unsuback(_))) {
                scene.pass(&frame);
            }
        },
    },
    Fault {
        name: "goes on with what was unsubscribed",
        breaks: &[v5("MQTT-3.10.4-1"), v5("MQTT-3.10.4-2"), v3("MQTT-3.10.4-1"), v3("MQTT-3.10.4-2")],
        meddle: |scene, frame| {
            let Some(Packet::Unsubscribe(unsubscribe)) = frame.packet() else { return scene.pass(&frame) };
            let v5 = frame.version.has_properties();
            let reasons = vec![ReasonCode::SUCCESS; if v5 { unsubscribe.filters.len() } else { 0 }];
            let unsuback = Unsuback { id: unsubscribe.id, properties: <_>::default(), reasons: reasons.as_slice().into() };
            scene.answer(&Packet::Unsuback(unsuback));
        },
    },
    Fault {
        name: "answers no PINGREQ",
        breaks: &[v5("MQTT-3.12.4-1"), v3("MQTT-3.12.4-1")],
        meddle: |scene, frame| {
            if !matches!(frame.packet(), Some(Packet::Pingresp)) {
                scene.pass(&frame);
            }
        },
    },
];

fn following(id: PacketId) -> PacketId {
    PacketId::new(id.get().wrapping_add(1)).unwrap_or(PacketId::FIRST)
}

fn backwards(reasons: &Reasons<'_>) -> Vec<ReasonCode> {
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.reverse();
    reasons
}

fn from_server(scene: &mut Scene, frame: Frame, change: impl FnOnce(&mut Packet<'_>)) {
    let frame = if frame.from == Peer::Server { frame.changed(change) } else { frame };
    scene.pass(&frame);
}

fn from_client(scene: &mut Scene, frame: Frame, change: impl FnOnce(&mut Packet<'_>)) {
    let frame = if frame.from == Peer::Client { frame.changed(change) } else { frame };
    scene.pass(&frame);
}

fn drop_ack(scene: &mut Scene, frame: &Frame, kind: AckKind) {
    let is_it = matches!((frame.from, frame.packet()), (Peer::Server, Some(Packet::Ack(ack))) if ack.kind == kind);
    if !is_it {
        scene.pass(frame);
    }
}

/// Changes every entry of a SUBSCRIBE.
fn resubscribe(scene: &mut Scene, frame: &Frame, change: impl Fn(&mut SubscribeEntry<'_>)) {
    let Some(Packet::Subscribe(subscribe)) = frame.packet() else { return scene.pass(frame) };
    let mut entries: Vec<_> = subscribe.entries.iter().collect();
    entries.iter_mut().for_each(change);
    let mut changed = subscribe;
    changed.entries = entries.as_slice().into();
    let changed = Frame::of(Peer::Client, frame.version, &Packet::Subscribe(changed));
    scene.pass(&changed);
}

fn asked_qos(frame: &Frame) -> Vec<ReasonCode> {
    let Some(Packet::Subscribe(subscribe)) = frame.packet() else { return Vec::new() };
    subscribe.entries.iter().map(|entry| ReasonCode::from(entry.options.qos)).collect()
}

/// A repeated QoS 2 PUBLISH goes to the broker under another identifier, and is released at once.
fn repeated_means_new(scene: &mut Scene, frame: &Frame) {
    const OTHER: u16 = 30_000;
    let packet = frame.packet();
    if let Some(Packet::Publish(mut publish)) = packet {
        if frame.from == Peer::Server || !publish.dup || publish.qos != QoS::ExactlyOnce {
            return scene.pass(frame);
        }
        publish.packet_id = publish.packet_id.and_then(|id| PacketId::new(id.get() + OTHER));
        publish.dup = false;
        let anew = Frame::of(Peer::Client, frame.version, &Packet::Publish(publish));
        scene.pass(&anew);
    } else if let Some(Packet::Ack(mut ack)) = packet {
        if frame.from == Peer::Client || ack.id.get() <= OTHER {
            return scene.pass(frame);
        }
        if ack.kind == AckKind::Pubrec {
            let mut release = ack;
            release.kind = AckKind::Pubrel;
            let release = Frame::of(Peer::Client, frame.version, &Packet::Ack(release));
            scene.pass(&release);
            ack.id = PacketId::new(ack.id.get() - OTHER).unwrap_or(PacketId::FIRST);
            scene.answer(&Packet::Ack(ack));
        }
    } else {
        scene.pass(frame);
    }
}
