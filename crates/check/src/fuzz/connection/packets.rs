//! Packets as clients send them, drawn from bytes: well-formed, and often enough not allowed where they come.

use std::num::{NonZeroU16, NonZeroU32};

use columba_proto::{
    AckKind, PacketId, QoS, ReasonCode, TopicName, Version,
    packet::{
        Ack, Connect, ConnectProperties, Disconnect, Publish, PublishProperties, RetainHandling, Subscribe, SubscribeEntry,
        SubscriptionOptions, Unsubscribe, Will,
    },
    property::{SubscriptionId, UserProperties},
};

use crate::fuzz::choices::Choices;

const CLIENT_IDS: [&str; 4] = ["one", "two", "three", ""];
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "$SYS/x", "r", "1/2/3/4/5/6/7"];
const FILTERS: [&str; 10] = ["a", "a/b", "a/+", "a/#", "#", "+", "r", "$share/g/a/#", "$share/g/a/b", "a/#/b"];
const PAYLOADS: [usize; 5] = [0, 1, 20, 300, 1_500];
const WILL: &[u8] = b"was cut off";
const EXPIRIES: [Option<u32>; 5] = [None, Some(0), Some(1), Some(60), Some(u32::MAX)];

pub(super) fn connect(choices: &mut Choices<'_>) -> Vec<u8> {
    let version = choices.pick(&Version::ALL);
    let expiry = choices.pick(&EXPIRIES);
    let limits = choices.byte();
    let mut connect = Connect {
        version,
        bridge: false,
        clean_start: choices.bit(),
        keep_alive: choices.pick(&[0, 1, 60]),
        client_id: choices.pick(&CLIENT_IDS),
        will: None,
        username: (limits >> 6 == 3).then_some("name"),
        // One of the two is right.
        password: (limits >> 6 == 3).then_some(if limits & 1 == 1 { b"name" } else { b"other" }),
        properties: ConnectProperties::default(),
    };
    if version.has_properties() {
        connect.properties.session_expiry = expiry;
        connect.properties.receive_maximum = NonZeroU16::new(u16::from(limits & 3));
        connect.properties.maximum_packet_size = (limits >> 2 & 3 == 3).then_some(NonZeroU32::new(60)).flatten();
        connect.properties.topic_alias_maximum = (limits >> 4 & 3 == 3).then_some(2);
    }
    if choices.bit() {
        let properties = properties(version, choices);
        let (topic, payload) = (topic(choices), &WILL[..choices.among(WILL.len())]);
        let delay = if version.has_properties() { choices.pick(&[0, 1, 60]) } else { 0 };
        connect.will = Some(Will { topic, payload, qos: qos(choices), retain: choices.bit(), delay, properties });
    }
    let mut frame = Vec::new();
    connect.encode(&mut frame);
    frame
}

pub(super) fn subscribe(version: Version, choices: &mut Choices<'_>) -> Vec<u8> {
    let entries: Vec<SubscribeEntry<'_>> = (0..=choices.below(3))
        .map(|_| {
            let (filter, bits) = (choices.pick(&FILTERS), choices.byte());
            let mut options = SubscriptionOptions::from(qos(choices));
            if version.has_properties() {
                options.no_local = bits & 1 == 1;
                options.retain_as_published = bits & 2 == 2;
                let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
                options.retain_handling = handling[usize::from(bits >> 2) % 3];
            }
            SubscribeEntry { filter, options }
        })
        .collect();
    let subscription_id = if version.has_properties() { SubscriptionId::new(choices.below(4).into()) } else { None };
    let packet = Subscribe {
        id: id(choices),
        subscription_id,
        user_properties: UserProperties::EMPTY,
        entries: entries.as_slice().into(),
    };
    let mut frame = Vec::new();
    packet.encode(version, &mut frame);
    frame
}

pub(super) fn unsubscribe(version: Version, choices: &mut Choices<'_>) -> Vec<u8> {
    let filters: Vec<&str> = (0..=choices.below(2)).map(|_| choices.pick(&FILTERS)).collect();
    let mut frame = Vec::new();
    Unsubscribe { id: id(choices), user_properties: UserProperties::EMPTY, filters: filters.as_slice().into() }
        .encode(version, &mut frame);
    frame
}

pub(super) fn publish(version: Version, choices: &mut Choices<'_>) -> Vec<u8> {
    let (qos, id, bits) = (qos(choices), id(choices), choices.byte());
    let (topic, payload) = (topic(choices), vec![bits; choices.pick(&PAYLOADS)]);
    let mut properties = properties(version, choices);
    let mut by_alias = false;
    if version.has_topic_aliases() && bits & 4 == 4 {
        properties.topic_alias = NonZeroU16::new(choices.below(5).into());
        by_alias = properties.topic_alias.is_some() && choices.bit();
    }
    let acknowledged = qos > QoS::AtMostOnce;
    let packet = Publish {
        dup: acknowledged && bits & 1 == 1,
        qos,
        retain: bits & 2 == 2,
        topic: (!by_alias).then_some(topic),
        packet_id: acknowledged.then_some(id),
        payload: &payload,
        properties,
    };
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("a short payload");
    frame
}

pub(super) fn ack(version: Version, choices: &mut Choices<'_>) -> Vec<u8> {
    let (kind, id) = (choices.pick(&AckKind::ALL), id(choices));
    let refuses = choices.below(4) == 3 && version.has_properties();
    answer(version, kind, id, refuses)
}

/// What a client answers with; refused as each kind of answer can.
pub(super) fn answer(version: Version, kind: AckKind, id: PacketId, refuses: bool) -> Vec<u8> {
    let reason = match kind {
        _ if !refuses => ReasonCode::SUCCESS,
        AckKind::Puback | AckKind::Pubrec => ReasonCode::NOT_AUTHORIZED,
        AckKind::Pubrel | AckKind::Pubcomp => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
    };
    let mut frame = Vec::new();
    Ack::new(kind, id, reason).encode(version, &mut frame);
    frame
}

pub(super) fn disconnect(version: Version, choices: &mut Choices<'_>) -> Vec<u8> {
    let with_will = choices.bit() && version.has_properties();
    let reason = if with_will { ReasonCode::DISCONNECT_WITH_WILL_MESSAGE } else { ReasonCode::SUCCESS };
    let mut disconnect = Disconnect::new(reason);
    if version.has_properties() {
        disconnect.session_expiry = choices.pick(&EXPIRIES);
    }
    let mut frame = Vec::new();
    disconnect.encode(version, &mut frame);
    frame
}

fn properties(version: Version, choices: &mut Choices<'_>) -> PublishProperties<'static> {
    if !version.has_properties() {
        return PublishProperties::default();
    }
    let bits = choices.byte();
    PublishProperties {
        message_expiry: (bits & 1 == 1).then_some(u32::from(bits >> 4)),
        content_type: (bits & 2 == 2).then_some("text"),
        response_topic: (bits & 4 == 4).then_some("answer"),
        ..PublishProperties::default()
    }
}

fn topic(choices: &mut Choices<'_>) -> TopicName<'static> {
    TopicName::new(choices.pick(&TOPICS)).expect("all of them are")
}

fn qos(choices: &mut Choices<'_>) -> QoS {
    choices.pick(&QoS::ALL)
}

/// Few, so that they meet.
fn id(choices: &mut Choices<'_>) -> PacketId {
    PacketId::new(1 + u16::from(choices.below(5))).expect("above 0")
}
