//! Faults of brokers that take what they should refuse: what a client sends is mended on its way.

use columba_proto::packet::{Connack, Packet};
use columba_proto::{Peer, ReasonCode};

use super::{Fault, Frame, Scene};
use crate::script::bytes::{CLEAN, PASSWORD, RESERVED, USER_NAME, WILL, WILL_QOS_1, WILL_QOS_2, WILL_RETAIN};
use crate::script::clause::{v3, v5};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "reads any bytes as text",
        breaks: &[
            v5("MQTT-1.5.4-1"),
            v5("MQTT-1.5.7-1"),
            v5("MQTT-3.1.3-4"),
            v5("MQTT-3.1.3-11"),
            v5("MQTT-3.1.3-12"),
            v5("MQTT-3.3.2-1"),
            v5("MQTT-3.3.2-13"),
            v5("MQTT-3.3.2-19"),
            v5("MQTT-3.8.3-1"),
            v5("MQTT-3.10.3-1"),
            v3("MQTT-1.5.3-1"),
            v3("MQTT-3.1.3-4"),
            v3("MQTT-3.1.3-10"),
            v3("MQTT-3.1.3-11"),
            v3("MQTT-3.3.2-1"),
            v3("MQTT-3.8.3-1"),
            v3("MQTT-3.10.3-1"),
        ],
        meddle: |scene, frame| {
            mended(scene, frame, |kind, body| {
                let text_at = if kind == CONNECT { 10 } else { 2 };
                body.iter_mut().skip(text_at).filter(|byte| **byte >= 0x80).for_each(|byte| *byte = b'?');
            });
        },
    },
    Fault {
        name: "takes U+0000 for a character",
        breaks: &[v5("MQTT-1.5.4-2"), v3("MQTT-1.5.3-2")],
        meddle: |scene, frame| mended(scene, frame, |_, body| replace(body, b"a\0b", b"a_b")),
    },
    Fault {
        name: "looks at no reserved flags of the fixed header",
        breaks: &[
            v5("MQTT-2.1.3-1"),
            v5("MQTT-3.6.1-1"),
            v5("MQTT-3.8.1-1"),
            v5("MQTT-3.10.1-1"),
            v3("MQTT-2.2.2-1"),
            v3("MQTT-2.2.2-2"),
            v3("MQTT-3.6.1-1"),
            v3("MQTT-3.8.1-1"),
            v3("MQTT-3.10.1-1"),
            v3("MQTT-3.14.1-1"),
        ],
        meddle: |scene, mut frame| {
            let kind = frame.bytes[0] >> 4;
            if frame.from == Peer::Client && kind != PUBLISH {
                frame.bytes[0] = kind << 4 | if matches!(kind, 6 | SUBSCRIBE | UNSUBSCRIBE) { 0b0010 } else { 0 };
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "takes zero for an identifier",
        breaks: &[v5("MQTT-2.2.1-3"), v3("MQTT-2.3.1-1")],
        meddle: |scene, frame| {
            mended(scene, frame, |kind, body| {
                if matches!(kind, SUBSCRIBE | UNSUBSCRIBE) && body.starts_with(&[0, 0]) {
                    body[1] = 1;
                }
            });
        },
    },
    Fault {
        name: "takes QoS 3 for QoS 2",
        breaks: &[v5("MQTT-3.3.1-4"), v3("MQTT-3.3.1-4")],
        meddle: |scene, mut frame| {
            if frame.from == Peer::Client && frame.bytes[0] >> 4 == PUBLISH && frame.bytes[0] & 0b0110 == 0b0110 {
                frame.bytes[0] &= 0b1111_1101;
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not mind DUP at QoS 0",
        breaks: &[v5("MQTT-3.3.1-2"), v3("MQTT-3.3.1-2")],
        meddle: |scene, mut frame| {
            if frame.from == Peer::Client && frame.bytes[0] >> 4 == PUBLISH && frame.bytes[0] & 0b0110 == 0 {
                frame.bytes[0] &= 0b1111_0111;
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not mind the reserved connect flag",
        breaks: &[v5("MQTT-3.1.2-3"), v3("MQTT-3.1.2-3")],
        meddle: |scene, frame| flags(scene, frame, |flags| flags & !RESERVED),
    },
    Fault {
        name: "does not look at the flags of a will that is not there",
        breaks: &[v5("MQTT-3.1.2-11"), v5("MQTT-3.1.2-13"), v3("MQTT-3.1.2-11"), v3("MQTT-3.1.2-13"), v3("MQTT-3.1.2-15")],
        meddle: |scene, frame| {
            flags(scene, frame, |flags| if flags & WILL == 0 { flags & !(WILL_QOS_1 | WILL_QOS_2 | WILL_RETAIN) } else { flags });
        },
    },
    Fault {
        name: "takes will QoS 3 for will QoS 2",
        breaks: &[v5("MQTT-3.1.2-12"), v3("MQTT-3.1.2-14")],
        meddle: |scene, frame| flags(scene, frame, |flags| flags & !WILL_QOS_1),
    },
    Fault {
        name: "goes by what is in a CONNECT and not by its flags",
        breaks: &[
            v5("MQTT-3.1.2-9"),
            v5("MQTT-3.1.2-16"),
            v5("MQTT-3.1.2-17"),
            v5("MQTT-3.1.2-18"),
            v5("MQTT-3.1.2-19"),
            v5("MQTT-3.1.4-1"),
            v3("MQTT-3.1.2-9"),
            v3("MQTT-3.1.2-11"),
            v3("MQTT-3.1.2-18"),
            v3("MQTT-3.1.2-19"),
            v3("MQTT-3.1.2-20"),
            v3("MQTT-3.1.2-21"),
            v3("MQTT-3.1.2-22"),
            v3("MQTT-3.1.4-1"),
        ],
        meddle: |scene, frame| {
            let tried = [0, USER_NAME, USER_NAME | PASSWORD, WILL, WILL | USER_NAME | PASSWORD];
            let guess = tried.into_iter().find_map(|guess| {
                let mut guessed = frame.clone();
                guessed.mend(|kind, body| set_flags(kind, body, |_| CLEAN | guess));
                guessed.packet().is_some().then_some(guessed)
            });
            match guess {
                Some(guessed) if frame.from == Peer::Client && frame.packet().is_none() => scene.pass(&guessed),
                Some(_) | None => scene.pass(&frame),
            }
        },
    },
    Fault {
        name: "takes every protocol name",
        breaks: &[v5("MQTT-3.1.2-1"), v3("MQTT-3.1.2-1")],
        meddle: |scene, frame| {
            mended(scene, frame, |kind, body| {
                if kind == CONNECT && body.starts_with(&[0, 4]) {
                    body[2..6].copy_from_slice(b"MQTT");
                }
            });
        },
    },
    Fault {
        name: "speaks versions that do not exist",
        breaks: &[v5("MQTT-3.1.2-2"), v3("MQTT-3.1.2-2")],
        meddle: |scene, frame| {
            mended(scene, frame, |kind, body| {
                if kind == CONNECT && body.starts_with(b"\0\x04MQTT") {
                    body[6] = if body[6] < 5 { 4 } else { 5 };
                }
            });
        },
    },
    Fault {
        name: "publishes to wildcards",
        breaks: &[v5("MQTT-3.3.2-2"), v5("MQTT-3.3.2-14"), v3("MQTT-3.3.2-2")],
        meddle: |scene, frame| {
            mended(scene, frame, |kind, body| {
                if kind == PUBLISH {
                    body.iter_mut().filter(|byte| matches!(**byte, b'#' | b'+')).for_each(|byte| *byte = b'x');
                }
            });
        },
    },
    Fault {
        name: "lets clients publish with a subscription identifier",
        breaks: &[v5("MQTT-3.3.4-6")],
        // A payload format in its place has as many bytes.
        meddle: |scene, frame| mended(scene, frame, |_, body| replace(body, &[2, 0x0b, 1], &[2, 0x01, 1])),
    },
    Fault {
        name: "takes alias 0",
        breaks: &[v5("MQTT-3.3.2-8")],
        meddle: |scene, frame| mended(scene, frame, |_, body| replace(body, &[0x23, 0, 0], &[0x23, 0, 1])),
    },
    Fault {
        name: "has one alias only, and takes all for it",
        breaks: &[v5("MQTT-3.3.2-9"), v5("MQTT-3.3.2-12")],
        meddle: |scene, frame| {
            let frame = if frame.from == Peer::Client {
                frame.changed(|packet| {
                    if let Packet::Publish(publish) = packet {
                        publish.properties.topic_alias = publish.properties.topic_alias.and(Some(core::num::NonZeroU16::MIN));
                    }
                })
            } else {
                frame
            };
            scene.pass(&frame);
        },
    },
    Fault {
        name: "gives every nameless client the same identifier",
        breaks: &[v5("MQTT-3.1.3-6"), v5("MQTT-3.2.2-16"), v3("MQTT-3.1.3-6")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && connect.client_id.is_empty()
                {
                    connect.client_id = "nobody";
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "has room for 22 bytes of identifier",
        breaks: &[v5("MQTT-3.1.3-5"), v3("MQTT-3.1.3-5")],
        meddle: |scene, frame| {
            let is_too_long = matches!(frame.packet(), Some(Packet::Connect(connect)) if connect.client_id.len() == 23);
            if is_too_long {
                return scene.answer(&Packet::Connack(Connack::refusal(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID)));
            }
            scene.pass(&frame);
        },
    },
    Fault {
        name: "does not tell large letters from small ones",
        breaks: &[v5("MQTT-3.1.3-2"), v3("MQTT-3.1.3-2")],
        meddle: |scene, frame| {
            let Some(Packet::Connect(mut connect)) = frame.packet() else { return scene.pass(&frame) };
            let small = connect.client_id.to_lowercase();
            connect.client_id = &small;
            let small = Frame::of(Peer::Client, frame.version, &Packet::Connect(connect));
            scene.pass(&small);
        },
    },
    Fault {
        name: "publishes every will at QoS 0",
        breaks: &[v5("MQTT-3.1.2-8"), v3("MQTT-3.1.2-9")],
        meddle: |scene, frame| {
            let frame = frame.changed(|packet| {
                if let Packet::Connect(connect) = packet
                    && let Some(will) = &mut connect.will
                {
                    will.qos = columba_proto::QoS::AtMostOnce;
                }
            });
            scene.pass(&frame);
        },
    },
    Fault {
        name: "forgets when messages expire",
        breaks: &[v5("MQTT-3.3.2-5"), v5("MQTT-3.3.2-6")],
        meddle: |scene, frame| {
            let frame = if frame.from == Peer::Client {
                frame.changed(|packet| {
                    if let Packet::Publish(publish) = packet {
                        publish.properties.message_expiry = None;
                    }
                })
            } else {
                frame
            };
            scene.pass(&frame);
        },
    },
];

impl Frame {
    /// Changes type and body in place; no byte more or less.
    fn mend(&mut self, mend: impl FnOnce(u8, &mut [u8])) {
        let length_bytes = 1 + self.bytes.iter().skip(1).take_while(|byte| **byte >= 0x80).count();
        let kind = self.bytes[0] >> 4;
        mend(kind, &mut self.bytes[1 + length_bytes..]);
    }
}

/// Mends what a client sends and nobody should understand.
fn mended(scene: &mut Scene, mut frame: Frame, mend: impl FnOnce(u8, &mut [u8])) {
    if frame.from == Peer::Client && frame.packet().is_none() {
        frame.mend(mend);
    }
    scene.pass(&frame);
}

fn flags(scene: &mut Scene, frame: Frame, change: impl FnOnce(u8) -> u8) {
    mended(scene, frame, |kind, body| set_flags(kind, body, change));
}

/// The connect flags stand behind name and level.
fn set_flags(kind: u8, body: &mut [u8], change: impl FnOnce(u8) -> u8) {
    if kind == CONNECT
        && let Some(at) = body.get(1).map(|name| usize::from(*name) + 3)
        && let Some(flags) = body.get_mut(at)
    {
        *flags = change(*flags);
    }
}

fn replace(body: &mut [u8], from: &[u8], to: &[u8]) {
    if let Some(at) = body.windows(from.len()).position(|window| window == from) {
        body[at..at + from.len()].copy_from_slice(to);
    }
}
