//! Values to build any packet from: owned, because packets borrow.
#![expect(clippy::unwrap_used, reason = "test code outside of a #[test] function")]

use columba_proto::packet::{
    Ack, AckProperties, Auth, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect, Packet, Publish,
    PublishProperties, Reasons, RetainHandling, Suback, Subscribe, SubscribeEntry, SubscriptionOptions, Unsuback, Unsubscribe,
    Will,
};
use columba_proto::property::{SubscriptionId, UserProperties};
use columba_proto::wire::{Split, split};
use columba_proto::{AckKind, PacketId, Peer, QoS, ReasonCode, ReasonPlace, TopicName, Version, decode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::num::{NonZeroU16, NonZeroU32};

pub(crate) type Pairs = Vec<(String, String)>;

/// Any text of the standard, sometimes longer than one length byte can say.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let any_char = any::<char>().prop_filter("U+0000", |c| *c != '\0');
    prop_oneof![
        8 => vec(any_char, 0..12).prop_map(String::from_iter),
        1 => (120_usize..400).prop_map(|len| "x".repeat(len)),
    ]
}

pub(crate) fn topic() -> impl Strategy<Value = String> {
    text().prop_filter("a topic name", |text| TopicName::new(text).is_ok())
}

pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 100..20_000)]
}

pub(crate) fn pairs() -> impl Strategy<Value = Pairs> {
    vec((text(), text()), 0..3)
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::ALL.to_vec())
}

pub(crate) fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(QoS::ALL.to_vec())
}

pub(crate) fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).unwrap())
}

pub(crate) fn subscription_id() -> impl Strategy<Value = SubscriptionId> {
    prop_oneof![1_u32..300, 1..=268_435_455_u32].prop_map(|number| SubscriptionId::new(number).unwrap())
}

pub(crate) fn peer() -> impl Strategy<Value = Peer> {
    prop::sample::select(vec![Peer::Client, Peer::Server])
}

/// A reason code that may stand there.
pub(crate) fn reason(place: ReasonPlace, from: Peer) -> impl Strategy<Value = ReasonCode> {
    let allowed = (0..=u8::MAX).filter_map(ReasonCode::new).filter(|code| code.is_allowed(place, from));
    prop::sample::select(allowed.collect::<Vec<_>>())
}

fn u16_above_zero() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|number| NonZeroU16::new(number).unwrap())
}

fn u32_above_zero() -> impl Strategy<Value = NonZeroU32> {
    (1..=u32::MAX).prop_map(|number| NonZeroU32::new(number).unwrap())
}

/// On a failure proptest writes its seed beside the test and prints it.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::Direct("tests/proptest-regressions/round_trip.txt");
    ProptestConfig { cases, failure_persistence: Some(Box::new(beside)), ..ProptestConfig::default() }
}

/// What a message has beside topic and payload.
#[derive(Clone, Debug)]
pub(crate) struct MessageParts {
    pub(crate) payload_format: Option<bool>,
    pub(crate) message_expiry: Option<u32>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
    pub(crate) content_type: Option<String>,
    pub(crate) pairs: Pairs,
}

pub(crate) fn message_parts() -> impl Strategy<Value = MessageParts> {
    (option::of(any::<bool>()), option::of(any::<u32>()), option::of(topic()), option::of(bytes()), option::of(text()), pairs())
        .prop_map(|(payload_format, message_expiry, response_topic, correlation_data, content_type, pairs)| MessageParts {
            payload_format,
            message_expiry,
            response_topic,
            correlation_data,
            content_type,
            pairs,
        })
}

impl MessageParts {
    /// As properties; none where the version has none. `pairs` is [`borrow_pairs`] of ours.
    pub(crate) fn borrow<'a>(&'a self, version: Version, pairs: &'a [(&'a str, &'a str)]) -> PublishProperties<'a> {
        if !version.has_properties() {
            return PublishProperties::default();
        }
        PublishProperties {
            payload_format: self.payload_format,
            message_expiry: self.message_expiry,
            response_topic: self.response_topic.as_deref(),
            correlation_data: self.correlation_data.as_deref(),
            content_type: self.content_type.as_deref(),
            user_properties: pairs.into(),
            ..PublishProperties::default()
        }
    }
}

pub(crate) fn borrow_pairs(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// One whole packet of any kind as bytes, with its version and who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) version: Version,
    pub(crate) from: Peer,
    pub(crate) frame: Vec<u8>,
    /// What the frame is decoded to, if that is not what was encoded. The test complains about it, not the strategy:
    /// only then does proptest shrink the case and print its seed.
    pub(crate) mismatch: Option<String>,
}

impl Encoded {
    pub(crate) fn first_and_body(&self) -> (u8, &[u8]) {
        match split(&self.frame, u32::MAX) {
            Ok(Split::Frame { first, body, len }) if len == self.frame.len() => (first, body),
            other => panic!("{:02x?} is not one frame: {other:?}", self.frame),
        }
    }
}

fn encoded(version: Version, from: Peer, packet: &Packet<'_>) -> Encoded {
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("small enough for a frame");
    let mismatch = match split(&frame, u32::MAX) {
        Ok(Split::Frame { first, body, len }) if len == frame.len() => {
            let decoded = decode(version, from, first, body);
            (decoded.as_ref() != Ok(packet)).then(|| format!("{packet:?} became {decoded:?}"))
        }
        other => Some(format!("{packet:?} became no frame: {other:?}")),
    };
    Encoded { version, from, frame, mismatch }
}

pub(crate) fn connect() -> impl Strategy<Value = Encoded> {
    let will = (topic(), bytes(), qos(), any::<bool>(), any::<u32>(), message_parts());
    let properties = (
        option::of(any::<u32>()),
        option::of(u16_above_zero()),
        option::of(u32_above_zero()),
        option::of(any::<u16>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of((text(), option::of(bytes()))),
        pairs(),
    );
    let fixed = (version(), any::<bool>(), any::<bool>(), any::<u16>(), text());
    (fixed, option::of(will), option::of(text()), option::of(bytes()), properties).prop_map(
        |((version, bridge, clean_start, keep_alive, client_id), will, username, password, properties)| {
            let (expiry, receive, size, aliases, response, problem, method, pairs) = properties;
            let pairs = borrow_pairs(&pairs);
            let properties = ConnectProperties {
                session_expiry: expiry,
                receive_maximum: receive,
                maximum_packet_size: size,
                topic_alias_maximum: aliases,
                request_response_information: response,
                request_problem_information: problem,
                user_properties: UserProperties::from(&*pairs),
                authentication_method: method.as_ref().map(|(method, _)| method.as_str()),
                authentication_data: method.as_ref().and_then(|(_, data)| data.as_deref()),
            };
            let has_properties = version.has_properties();
            let mut connect = Connect {
                version,
                bridge: bridge && version.has_bridge_bit(),
                clean_start,
                keep_alive,
                client_id: &client_id,
                will: None,
                username: username.as_deref(),
                password: password.as_deref().filter(|_| username.is_some() || version.allows_password_alone()),
                properties: if has_properties { properties } else { ConnectProperties::default() },
            };
            let will_pairs = will.as_ref().map_or_else(Vec::new, |will| borrow_pairs(&will.5.pairs));
            if let Some((topic, payload, qos, retain, delay, parts)) = &will {
                connect.will = Some(Will {
                    topic: TopicName::new(topic).unwrap(),
                    payload,
                    qos: *qos,
                    retain: *retain,
                    delay: if has_properties { *delay } else { 0 },
                    properties: parts.borrow(version, &will_pairs),
                });
            }
            encoded(version, Peer::Client, &Packet::Connect(connect))
        },
    )
}

pub(crate) fn connack() -> impl Strategy<Value = Encoded> {
    let limits = (
        option::of(any::<u32>()),
        option::of(u16_above_zero()),
        option::of(prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce])),
        option::of(u32_above_zero()),
        option::of(any::<u16>()),
        option::of(any::<u16>()),
    );
    let flags = [(); 4].map(|()| option::of(any::<bool>()));
    let texts = [(); 4].map(|()| option::of(text()));
    let fixed = (version(), any::<bool>(), reason(ReasonPlace::Connack, Peer::Server));
    (fixed, limits, flags, texts, option::of((text(), option::of(bytes()))), pairs()).prop_map(
        |((version, present, reason), limits, flags, texts, method, pairs)| {
            let (expiry, receive, qos, size, aliases, keep_alive) = limits;
            let pairs = borrow_pairs(&pairs);
            // A code that 3.x can say.
            let reason = if version.has_properties() || reason.connack_return_code() == Some(0) {
                reason
            } else {
                ReasonCode::NOT_AUTHORIZED
            };
            let properties = ConnackProperties {
                session_expiry: expiry,
                receive_maximum: receive,
                maximum_qos: qos,
                retain_available: flags[0],
                maximum_packet_size: size,
                assigned_client_id: texts[0].as_deref(),
                topic_alias_maximum: aliases,
                reason_string: texts[1].as_deref(),
                user_properties: UserProperties::from(&*pairs),
                wildcard_subscription_available: flags[1],
                subscription_identifiers_available: flags[2],
                shared_subscription_available: flags[3],
                server_keep_alive: keep_alive,
                response_information: texts[2].as_deref(),
                server_reference: texts[3].as_deref(),
                authentication_method: method.as_ref().map(|(method, _)| method.as_str()),
                authentication_data: method.as_ref().and_then(|(_, data)| data.as_deref()),
            };
            let connack = Connack {
                session_present: present && version.has_session_present() && !reason.is_failure(),
                reason,
                properties: if version.has_properties() { properties } else { ConnackProperties::default() },
            };
            encoded(version, Peer::Server, &Packet::Connack(connack))
        },
    )
}

pub(crate) fn publish() -> impl Strategy<Value = Encoded> {
    let fixed = (version(), peer(), any::<bool>(), qos(), any::<bool>(), packet_id());
    let only_v5 = (option::of(u16_above_zero()), any::<bool>(), vec(subscription_id(), 0..3));
    (fixed, topic(), bytes(), message_parts(), only_v5).prop_map(
        |((version, from, dup, qos, retain, id), topic, payload, parts, (alias, by_alias, ids))| {
            let pairs = borrow_pairs(&parts.pairs);
            let mut properties = parts.borrow(version, &pairs);
            if version.has_properties() {
                properties.topic_alias = alias;
                if from == Peer::Server {
                    properties.subscription_ids = (&*ids).into();
                }
            }
            let by_alias = by_alias && properties.topic_alias.is_some();
            let acknowledged = qos > QoS::AtMostOnce;
            let publish = Publish {
                dup: dup && acknowledged,
                qos,
                retain,
                topic: (!by_alias).then(|| TopicName::new(&topic).unwrap()),
                packet_id: acknowledged.then_some(id),
                payload: &payload,
                properties,
            };
            encoded(version, from, &Packet::Publish(publish))
        },
    )
}

pub(crate) fn ack() -> impl Strategy<Value = Encoded> {
    let kind = prop::sample::select(AckKind::ALL.to_vec());
    (version(), peer(), kind)
        .prop_flat_map(|(version, from, kind)| {
            let place = match kind {
                AckKind::Puback => ReasonPlace::Puback,
                AckKind::Pubrec => ReasonPlace::Pubrec,
                AckKind::Pubrel => ReasonPlace::Pubrel,
                AckKind::Pubcomp => ReasonPlace::Pubcomp,
            };
            (Just((version, from, kind)), packet_id(), reason(place, from), option::of(text()), pairs())
        })
        .prop_map(|((version, from, kind), id, reason, reason_string, pairs)| {
            let pairs = borrow_pairs(&pairs);
            let mut ack = Ack::new(kind, id, ReasonCode::SUCCESS);
            if version.has_properties() {
                ack.reason = reason;
                ack.properties = ack_properties(reason_string.as_deref(), &pairs);
            }
            encoded(version, from, &Packet::Ack(ack))
        })
}

fn ack_properties<'a>(reason_string: Option<&'a str>, pairs: &'a [(&'a str, &'a str)]) -> AckProperties<'a> {
    AckProperties { reason_string, user_properties: pairs.into() }
}

pub(crate) fn subscribe() -> impl Strategy<Value = Encoded> {
    let handling = vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    let options = (qos(), any::<bool>(), any::<bool>(), prop::sample::select(handling));
    let entries = vec((text(), options), 1..5);
    (version(), packet_id(), option::of(subscription_id()), pairs(), entries).prop_map(
        |(version, id, subscription_id, pairs, entries)| {
            let pairs = borrow_pairs(&pairs);
            let has_properties = version.has_properties();
            let entries: Vec<_> = entries
                .iter()
                .map(|(filter, (qos, no_local, retain_as_published, retain_handling))| SubscribeEntry {
                    filter,
                    options: if has_properties {
                        SubscriptionOptions {
                            qos: *qos,
                            no_local: *no_local && !filter.starts_with("$share/"),
                            retain_as_published: *retain_as_published,
                            retain_handling: *retain_handling,
                        }
                    } else {
                        SubscriptionOptions::from(*qos)
                    },
                })
                .collect();
            let subscribe = Subscribe {
                id,
                subscription_id: subscription_id.filter(|_| has_properties),
                user_properties: if has_properties { (&*pairs).into() } else { UserProperties::EMPTY },
                entries: (&*entries).into(),
            };
            encoded(version, Peer::Client, &Packet::Subscribe(subscribe))
        },
    )
}

pub(crate) fn suback() -> impl Strategy<Value = Encoded> {
    let reasons = vec(reason(ReasonPlace::Suback, Peer::Server), 1..5);
    (version(), packet_id(), option::of(text()), pairs(), reasons).prop_map(|(version, id, reason_string, pairs, mut reasons)| {
        let pairs = borrow_pairs(&pairs);
        let mut suback = Suback { id, reasons: Reasons::EMPTY, properties: AckProperties::default() };
        if version.has_properties() {
            suback.properties = ack_properties(reason_string.as_deref(), &pairs);
        } else {
            for reason in &mut reasons {
                *reason = ReasonCode::new(reason.suback_return_code()).unwrap();
            }
        }
        suback.reasons = (&*reasons).into();
        encoded(version, Peer::Server, &Packet::Suback(suback))
    })
}

pub(crate) fn unsubscribe() -> impl Strategy<Value = Encoded> {
    (version(), packet_id(), pairs(), vec(text(), 1..5)).prop_map(|(version, id, pairs, filters)| {
        let pairs = borrow_pairs(&pairs);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let unsubscribe = Unsubscribe {
            id,
            user_properties: if version.has_properties() { (&*pairs).into() } else { UserProperties::EMPTY },
            filters: (&*filters).into(),
        };
        encoded(version, Peer::Client, &Packet::Unsubscribe(unsubscribe))
    })
}

pub(crate) fn unsuback() -> impl Strategy<Value = Encoded> {
    let reasons = vec(reason(ReasonPlace::Unsuback, Peer::Server), 1..5);
    (version(), packet_id(), option::of(text()), pairs(), reasons).prop_map(|(version, id, reason_string, pairs, reasons)| {
        let pairs = borrow_pairs(&pairs);
        let mut unsuback = Unsuback { id, reasons: Reasons::EMPTY, properties: AckProperties::default() };
        if version.unsuback_has_reasons() {
            unsuback.reasons = (&*reasons).into();
            unsuback.properties = ack_properties(reason_string.as_deref(), &pairs);
        }
        encoded(version, Peer::Server, &Packet::Unsuback(unsuback))
    })
}

pub(crate) fn ping() -> impl Strategy<Value = Encoded> {
    (version(), peer()).prop_map(|(version, from)| match from {
        Peer::Client => encoded(version, from, &Packet::Pingreq),
        Peer::Server => encoded(version, from, &Packet::Pingresp),
    })
}

pub(crate) fn disconnect() -> impl Strategy<Value = Encoded> {
    peer()
        .prop_flat_map(|from| {
            let texts = (option::of(text()), option::of(text()));
            (version(), Just(from), reason(ReasonPlace::Disconnect, from), option::of(any::<u32>()), texts, pairs())
        })
        .prop_map(|(version, from, reason, session_expiry, (reason_string, server_reference), pairs)| {
            let pairs = borrow_pairs(&pairs);
            if !version.has_properties() {
                let normal = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
                return encoded(version, Peer::Client, &Packet::Disconnect(normal));
            }
            let disconnect = Disconnect {
                reason,
                session_expiry: session_expiry.filter(|_| from == Peer::Client),
                reason_string: reason_string.as_deref(),
                user_properties: (&*pairs).into(),
                server_reference: server_reference.as_deref().filter(|_| from == Peer::Server),
            };
            encoded(version, from, &Packet::Disconnect(disconnect))
        })
}

pub(crate) fn auth() -> impl Strategy<Value = Encoded> {
    peer()
        .prop_flat_map(|from| {
            let fields = (text(), option::of(bytes()), option::of(text()), pairs());
            (Just(from), reason(ReasonPlace::Auth, from), option::of(fields))
        })
        .prop_map(|(from, reason, fields)| {
            let Some((method, data, reason_string, pairs)) = fields else {
                return encoded(Version::V5, from, &Packet::Auth(Auth::new(ReasonCode::SUCCESS, None, None)));
            };
            let pairs = borrow_pairs(&pairs);
            let auth = Auth {
                reason,
                method: Some(&method),
                data: data.as_deref(),
                reason_string: reason_string.as_deref(),
                user_properties: (&*pairs).into(),
            };
            encoded(Version::V5, from, &Packet::Auth(auth))
        })
}

pub(crate) fn any_packet() -> impl Strategy<Value = Encoded> {
    prop_oneof![
        connect(),
        connack(),
        publish(),
        ack(),
        subscribe(),
        suback(),
        unsubscribe(),
        unsuback(),
        ping(),
        disconnect(),
        auth(),
    ]
}
