//! Packets as bytes, written out by hand from the standard's figures: what we send is what others expect.

use columba_proto::packet::{
    Ack, AckProperties, Auth, Connack, ConnackProperties, Connect, ConnectProperties, Disconnect, Packet, Publish,
    PublishProperties, Reasons, Suback, Subscribe, SubscribeEntry, SubscriptionOptions, Unsuback, Unsubscribe, Will,
};
use columba_proto::property::UserProperties;
use columba_proto::{AckKind, PacketId, QoS, ReasonCode, TopicName, Version};

#[track_caller]
fn encodes(version: Version, packet: &Packet<'_>, expected: &[u8]) {
    let mut out = vec![0xaa];
    packet.encode(version, &mut out).expect("small");
    assert_eq!(out[1..], *expected, "{version:?} {packet:?}");
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::new(text).expect("a topic name")
}

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "c",
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

#[test]
fn connect_in_its_three_versions() {
    for (version, bytes) in [
        (Version::V31, &b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c"[..]),
        (Version::V311, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"),
        (Version::V5, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c"),
    ] {
        encodes(version, &Packet::Connect(connect(version)), bytes);
    }
}

#[test]
fn connect_with_everything_in_the_order_of_the_payload() {
    let will = Will {
        topic: topic("w"),
        payload: b"gone",
        qos: QoS::ExactlyOnce,
        retain: true,
        delay: 5,
        properties: PublishProperties { payload_format: Some(true), ..PublishProperties::default() },
    };
    let full = Connect {
        clean_start: false,
        will: Some(will),
        username: Some("u"),
        password: Some(b"p"),
        properties: ConnectProperties { session_expiry: Some(10), ..ConnectProperties::default() },
        ..connect(Version::V5)
    };

    encodes(
        Version::V5,
        &Packet::Connect(full),
        b"\x10\x2a\x00\x04MQTT\x05\xf4\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x01c\
          \x07\x18\x00\x00\x00\x05\x01\x01\x00\x01w\x00\x04gone\x00\x01u\x00\x01p",
    );
}

#[test]
fn connack_says_in_3_x_what_it_can() {
    let accepted = Connack { session_present: true, ..Connack::refusal(ReasonCode::SUCCESS) };
    encodes(Version::V31, &Packet::Connack(accepted), &[0x20, 2, 0, 0]);
    encodes(Version::V311, &Packet::Connack(accepted), &[0x20, 2, 1, 0]);
    encodes(Version::V5, &Packet::Connack(accepted), &[0x20, 3, 1, 0, 0]);

    let unauthorized = Packet::Connack(Connack::refusal(ReasonCode::NOT_AUTHORIZED));
    encodes(Version::V311, &unauthorized, &[0x20, 2, 0, 5]);
    encodes(Version::V5, &unauthorized, &[0x20, 3, 0, 0x87, 0]);

    // 3.1.1 [MQTT-3.2.2-6]: nothing fits, so nothing is said.
    let malformed = Packet::Connack(Connack::refusal(ReasonCode::MALFORMED_PACKET));
    encodes(Version::V311, &malformed, &[]);
    encodes(Version::V5, &malformed, &[0x20, 3, 0, 0x81, 0]);
}

#[test]
fn connack_leaves_maximum_qos_2_out() {
    let properties = ConnackProperties { maximum_qos: Some(QoS::ExactlyOnce), ..ConnackProperties::default() };
    let connack = Connack { session_present: false, reason: ReasonCode::SUCCESS, properties };

    encodes(Version::V5, &Packet::Connack(connack), &[0x20, 3, 0, 0, 0]);
}

#[test]
fn publish_has_an_identifier_with_qos_1_and_2_only() {
    let publish = |qos, packet_id| {
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(topic("a/b")),
            packet_id,
            payload: b"hi",
            properties: PublishProperties::default(),
        })
    };

    encodes(Version::V311, &publish(QoS::AtMostOnce, None), b"\x30\x07\x00\x03a/bhi");
    encodes(Version::V311, &publish(QoS::AtLeastOnce, Some(id(10))), b"\x32\x09\x00\x03a/b\x00\x0ahi");
    encodes(Version::V5, &publish(QoS::ExactlyOnce, Some(id(10))), b"\x34\x0a\x00\x03a/b\x00\x0a\x00hi");
}

#[test]
fn acknowledgements_are_as_short_as_they_can_be() {
    for (kind, first) in [(AckKind::Puback, 0x40), (AckKind::Pubrec, 0x50), (AckKind::Pubrel, 0x62), (AckKind::Pubcomp, 0x70)] {
        let plain = Packet::Ack(Ack::new(kind, id(0x1234), ReasonCode::SUCCESS));
        for version in Version::ALL {
            encodes(version, &plain, &[first, 2, 0x12, 0x34]);
        }
    }

    let unknown = Packet::Ack(Ack::new(AckKind::Pubrel, id(1), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
    encodes(Version::V311, &unknown, &[0x62, 2, 0, 1]);
    encodes(Version::V5, &unknown, &[0x62, 3, 0, 1, 0x92]);
}

#[test]
fn subscribe_and_unsubscribe_with_their_answers() {
    let entries = [
        SubscribeEntry { filter: "a", options: QoS::AtLeastOnce.into() },
        SubscribeEntry { filter: "b", options: SubscriptionOptions { no_local: true, ..QoS::ExactlyOnce.into() } },
    ];
    let subscribe = Packet::Subscribe(Subscribe {
        id: id(1),
        subscription_id: None,
        user_properties: UserProperties::EMPTY,
        entries: entries[..].into(),
    });
    encodes(Version::V311, &subscribe, b"\x82\x0a\x00\x01\x00\x01a\x01\x00\x01b\x02");
    encodes(Version::V5, &subscribe, b"\x82\x0b\x00\x01\x00\x00\x01a\x01\x00\x01b\x06");

    let reasons = [ReasonCode::GRANTED_QOS_1, ReasonCode::NOT_AUTHORIZED];
    let suback = Suback { id: id(1), reasons: reasons[..].into(), properties: AckProperties::default() };
    encodes(Version::V311, &Packet::Suback(suback), &[0x90, 4, 0, 1, 1, 0x80]);
    encodes(Version::V5, &Packet::Suback(suback), &[0x90, 5, 0, 1, 0, 1, 0x87]);

    let filters = ["a", "b"];
    let unsubscribe = Unsubscribe { id: id(2), user_properties: UserProperties::EMPTY, filters: filters[..].into() };
    encodes(Version::V311, &Packet::Unsubscribe(unsubscribe), b"\xa2\x08\x00\x02\x00\x01a\x00\x01b");

    let unsuback = Unsuback { id: id(2), reasons: Reasons::EMPTY, properties: AckProperties::default() };
    encodes(Version::V311, &Packet::Unsuback(unsuback), &[0xb0, 2, 0, 2]);
    let reasons = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
    let unsuback = Unsuback { reasons: reasons[..].into(), ..unsuback };
    encodes(Version::V5, &Packet::Unsuback(unsuback), &[0xb0, 5, 0, 2, 0, 0, 0x11]);
}

#[test]
fn the_short_ones() {
    encodes(Version::V311, &Packet::Pingreq, &[0xc0, 0]);
    encodes(Version::V311, &Packet::Pingresp, &[0xd0, 0]);
    let normal = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
    encodes(Version::V311, &normal, &[0xe0, 0]);
    encodes(Version::V5, &normal, &[0xe0, 0]);
    let taken_over = Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER));
    encodes(Version::V5, &taken_over, &[0xe0, 1, 0x8e]);
    let go_on = Packet::Auth(Auth::new(ReasonCode::CONTINUE_AUTHENTICATION, Some("m"), None));
    encodes(Version::V5, &go_on, &[0xf0, 6, 0x18, 4, 0x15, 0, 1, b'm']);
    encodes(Version::V311, &go_on, &[]);
}

#[test]
fn a_long_body_gets_a_long_length() {
    let reason = "x".repeat(200);
    let disconnect = Disconnect { reason_string: Some(&reason), ..Disconnect::new(ReasonCode::SERVER_BUSY) };
    let mut expected = vec![0xe0, 0xce, 0x01, 0x89, 0xcb, 0x01, 0x1f, 0x00, 200];
    expected.extend_from_slice(reason.as_bytes());

    encodes(Version::V5, &Packet::Disconnect(disconnect), &expected);
}
