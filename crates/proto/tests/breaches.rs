//! What the standard forbids, byte by byte: each case is one frame, who sends it, and the reason code that answers it.
//! Where 3.x has no reason codes the code still says what was wrong, and the connection closes.

use columba_proto::wire::{Split, split};
use columba_proto::{Malformed, Peer, PeerError, ReasonCode, TopicNameError, Version, Violation, decode};

use Peer::{Client, Server};
use Version::{V5, V31, V311};

const MALFORMED: ReasonCode = ReasonCode::MALFORMED_PACKET;
const PROTOCOL: ReasonCode = ReasonCode::PROTOCOL_ERROR;

fn read(version: Version, from: Peer, frame: &[u8]) -> Result<(), PeerError> {
    match split(frame, u32::MAX)? {
        Split::Frame { first, body, len } => {
            assert_eq!(len, frame.len(), "more than one frame: {frame:02x?}");
            decode(version, from, first, body).map(|_| ())
        }
        Split::Need => panic!("half a frame: {frame:02x?}"),
    }
}

/// A frame around this body.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).expect("short bodies only");
    assert!(len < 0x80, "short bodies only");
    [&[first, len], body].concat()
}

/// A body with a property block between its two halves.
fn with_properties(before: &[u8], properties: &[u8], after: &[u8]) -> Vec<u8> {
    let len = u8::try_from(properties.len()).expect("short blocks only");
    [before, &[len], properties, after].concat()
}

#[track_caller]
fn refused(version: Version, from: Peer, frame: &[u8], reason: ReasonCode) {
    let answer = read(version, from, frame).map_err(|error| error.reason_code());
    assert_eq!(answer, Err(reason), "{version:?} from {from:?}: {frame:02x?}");
}

#[track_caller]
fn accepted(version: Version, from: Peer, frame: &[u8]) {
    assert_eq!(read(version, from, frame), Ok(()), "{version:?} from {from:?}: {frame:02x?}");
}

/// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
#[test]
fn fixed_header_flags_have_exactly_the_listed_value() {
    let frames: [(u8, Peer, &[u8]); 14] = [
        (0x10, Client, b"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"),
        (0x20, Server, &[0, 0, 0]),
        (0x40, Client, &[0, 1]),
        (0x50, Client, &[0, 1]),
        (0x62, Client, &[0, 1]),
        (0x70, Client, &[0, 1]),
        (0x82, Client, &[0, 1, 0, 0, 1, b'a', 0]),
        (0x90, Server, &[0, 1, 0, 0]),
        (0xa2, Client, &[0, 1, 0, 0, 1, b'a']),
        (0xb0, Server, &[0, 1, 0, 0]),
        (0xc0, Client, &[]),
        (0xd0, Server, &[]),
        (0xe0, Client, &[]),
        (0xf0, Client, &[]),
    ];
    for (first, from, body) in frames {
        for flags in 0..16 {
            let found = frame(first & 0xf0 | flags, body);
            if flags == first & 0x0f {
                accepted(V5, from, &found);
            } else {
                refused(V5, from, &found, MALFORMED);
            }
        }
    }
}

/// 3.1 marks a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE with DUP; its successors reserve the bit.
#[test]
fn only_3_1_may_mark_a_repeated_request() {
    for (first, body) in [(0x6a, &[0, 1][..]), (0x8a, &[0, 1, 0, 1, b'a', 0]), (0xaa, &[0, 1, 0, 1, b'a'])] {
        accepted(V31, Client, &frame(first, body));
        refused(V311, Client, &frame(first, body), MALFORMED);
    }
}

/// §2.1.2
#[test]
fn reserved_packet_types_are_malformed() {
    refused(V5, Client, &[0x00, 0x00], MALFORMED);
    refused(V311, Client, &[0xf0, 0x00], MALFORMED);
    accepted(V5, Client, &[0xf0, 0x00]);
}

/// Table 2-1
#[test]
fn packets_go_only_the_way_they_are_meant_to() {
    refused(V5, Client, &frame(0x20, &[0, 0, 0]), PROTOCOL);
    refused(V311, Client, &frame(0x90, &[0, 1, 0]), PROTOCOL);
    refused(V311, Client, &frame(0xd0, &[]), PROTOCOL);
    refused(V311, Server, &frame(0x82, &[0, 1, 0, 1, b'a', 0]), PROTOCOL);
    refused(V311, Server, &frame(0xc0, &[]), PROTOCOL);
    refused(V311, Server, &frame(0xe0, &[]), PROTOCOL);
    accepted(V5, Server, &frame(0xe0, &[]));
}

/// [MQTT-1.5.5-1], §2.1.4
#[test]
fn a_remaining_length_takes_the_fewest_bytes_and_at_most_four() {
    refused(V5, Client, &[0xc0, 0x80, 0x00], MALFORMED);
    refused(V5, Client, &[0xc0, 0xff, 0xff, 0xff, 0xff, 0x7f], MALFORMED);
}

/// §2.1.4
#[test]
fn a_packet_ends_where_its_last_field_ends() {
    refused(V311, Client, &frame(0xc0, &[0]), MALFORMED);
    refused(V311, Client, &frame(0xe0, &[0]), MALFORMED);
    refused(V311, Client, &frame(0x40, &[0, 1, 0]), MALFORMED);
    refused(V311, Client, &frame(0x40, &[0]), MALFORMED);
    refused(V311, Server, &frame(0x20, &[0]), MALFORMED);
    refused(V311, Server, &frame(0x20, &[0, 0, 0]), MALFORMED);
    refused(V311, Server, &frame(0xb0, &[0, 1, 0]), MALFORMED);
    refused(V5, Client, &frame(0x40, &[0, 1, 0, 0, 0]), MALFORMED);
    refused(V5, Client, &frame(0x30, &[0, 9, b'a']), MALFORMED);
    refused(V311, Client, &frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00x"), MALFORMED);
}

mod connect {
    use super::*;

    fn v311(flags: u8, payload: &[u8]) -> Vec<u8> {
        frame(0x10, &[&b"\x00\x04MQTT\x04"[..], &[flags, 0, 10], payload].concat())
    }

    fn v5(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
        frame(0x10, &with_properties(&[&b"\x00\x04MQTT\x05"[..], &[flags, 0, 10]].concat(), properties, payload))
    }

    fn named(name: &[u8], level: u8) -> Result<(), PeerError> {
        let len = u8::try_from(name.len()).expect("short");
        let head = [&[0, len], name, &[level, 0x02, 0, 0]].concat();
        let rest: &[u8] = if level == 5 { &[0, 0, 0] } else { &[0, 0] };
        read(V5, Client, &frame(0x10, &[&head, rest].concat()))
    }

    /// [MQTT-3.1.2-1]
    #[test]
    fn the_protocol_name_is_mqtt_or_in_3_1_mqisdp() {
        for (name, level) in [(&b"MQTT"[..], 4), (b"MQTT", 5), (b"MQIsdp", 3)] {
            assert_eq!(named(name, level), Ok(()));
        }
        for name in [&b"mqtt"[..], b"MQT", b"MQTTT", b"", b"\xff\xff\xff\xff", b"HTTP/1.1"] {
            assert_eq!(named(name, 4), Err(Violation::UnknownProtocolName.into()));
        }
    }

    /// [MQTT-3.1.2-2]
    #[test]
    fn an_unknown_level_has_an_error_of_its_own() {
        for (name, level) in [(&b"MQTT"[..], 3), (b"MQIsdp", 4), (b"MQTT", 0), (b"MQTT", 6), (b"MQTT", 0x85), (b"MQTT", 0x86)] {
            assert_eq!(named(name, level), Err(Violation::UnsupportedProtocolVersion { level }.into()));
        }
    }

    #[test]
    fn a_bridge_may_say_so_in_the_level_of_3_x() {
        assert_eq!(named(b"MQTT", 0x84), Ok(()));
        assert_eq!(named(b"MQIsdp", 0x83), Ok(()));
    }

    /// [MQTT-3.1.2-3]
    #[test]
    fn the_reserved_connect_flag_is_zero() {
        refused(V5, Client, &v311(0x03, &[0, 0]), MALFORMED);
        refused(V5, Client, &v5(0x03, &[], &[0, 0]), MALFORMED);
    }

    /// [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
    #[test]
    fn without_a_will_its_flags_are_zero_and_will_qos_is_never_three() {
        refused(V5, Client, &v311(0x0a, &[0, 0]), MALFORMED);
        refused(V5, Client, &v5(0x22, &[], &[0, 0]), MALFORMED);
        refused(V5, Client, &v311(0x1e, &[0, 0, 0, 1, b'w', 0, 0]), MALFORMED);
        accepted(V5, Client, &v311(0x16, &[0, 0, 0, 1, b'w', 0, 0]));
    }

    /// [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19]
    #[test]
    fn what_the_flags_announce_is_there() {
        refused(V5, Client, &v311(0x06, &[0, 0]), MALFORMED);
        refused(V5, Client, &v311(0x82, &[0, 0]), MALFORMED);
        refused(V5, Client, &v311(0xc2, &[0, 0, 0, 1, b'u']), MALFORMED);
    }

    /// 3.1.1 [MQTT-3.1.2-22]; allowed since MQTT 5 (§3.1.2.9).
    #[test]
    fn a_password_alone_is_for_mqtt_5() {
        refused(V5, Client, &v311(0x42, &[0, 0, 0, 1, b'p']), MALFORMED);
        accepted(V5, Client, &v5(0x42, &[], &[0, 0, 0, 1, b'p']));
    }

    /// 3.1, "User name flag": the remaining length goes before the flag.
    #[test]
    fn in_3_1_an_announced_user_name_may_be_missing() {
        accepted(V5, Client, &frame(0x10, b"\x00\x06MQIsdp\x03\x82\x00\x00\x00\x01c"));
    }

    /// 3.1, "Will QoS": disregarded where the will flag is not set.
    #[test]
    fn in_3_1_the_flags_of_no_will_do_not_matter() {
        for flags in [0x0a, 0x1a, 0x22] {
            accepted(V5, Client, &frame(0x10, &[&b"\x00\x06MQIsdp\x03"[..], &[flags], b"\x00\x00\x00\x01c"].concat()));
        }
        refused(V5, Client, &v311(0x22, &[0, 0]), MALFORMED);
    }

    /// [MQTT-3.1.3-11], [MQTT-4.7.0-1]
    #[test]
    fn a_will_topic_is_a_topic_name() {
        let will = |topic: &[u8; 1]| [&[0, 0, 0, 0, 1], &topic[..], &[0, 0]].concat();
        refused(V5, Client, &v5(0x06, &[], &will(b"#")), MALFORMED);
        refused(V5, Client, &v5(0x06, &[], &will(b"\0")), MALFORMED);
        refused(V5, Client, &v5(0x06, &[], &will(b"\xff")), MALFORMED);
        accepted(V5, Client, &v5(0x06, &[], &will(b"w")));
    }

    /// §3.1.2.11
    #[test]
    fn properties_have_limits() {
        for properties in [
            &[0x21, 0, 0][..],                     // Receive Maximum 0
            &[0x27, 0, 0, 0, 0],                   // Maximum Packet Size 0
            &[0x17, 2],                            // Request Problem Information 2
            &[0x19, 2],                            // Request Response Information 2
            &[0x16, 0, 0],                         // Authentication Data without a method
            &[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], // Session Expiry Interval twice
        ] {
            refused(V5, Client, &v5(0x02, properties, &[0, 0]), PROTOCOL);
        }
        for properties in [
            &[0x00][..],            // no such property
            &[0x7f, 0],             // no such property
            &[0x01, 0],             // Payload Format Indicator is not for CONNECT
            &[0x18, 0, 0, 0, 0],    // Will Delay Interval stands in the will's own block
            &[0x11, 0, 0],          // cut off
            &[0x26, 0, 1, b'a', 0], // cut off
        ] {
            refused(V5, Client, &v5(0x02, properties, &[0, 0]), MALFORMED);
        }
    }
}

mod publish {
    use super::*;

    fn v5(first: u8, topic: &[u8], properties: &[u8]) -> Vec<u8> {
        let len = u8::try_from(topic.len()).expect("short");
        let id: &[u8] = if first & 0x06 == 0 { &[] } else { &[0, 1] };
        frame(first, &with_properties(&[&[0, len], topic, id].concat(), properties, b"payload"))
    }

    /// [MQTT-3.3.1-4] [MQTT-3.3.1-2]
    #[test]
    fn qos_3_and_a_repeated_qos_0_are_malformed() {
        for version in Version::ALL {
            refused(version, Client, &frame(0x36, &[0, 1, b'a', 0, 1]), MALFORMED);
            refused(version, Client, &frame(0x38, &[0, 1, b'a']), MALFORMED);
        }
    }

    /// [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    #[test]
    fn a_packet_identifier_is_not_zero() {
        for version in Version::ALL {
            refused(version, Client, &frame(0x32, &[0, 1, b'a', 0, 0]), MALFORMED);
        }
    }

    /// [MQTT-3.3.2-2] [MQTT-4.7.3-1]
    #[test]
    fn a_topic_name_has_no_wildcards_and_is_not_empty() {
        refused(V5, Client, &v5(0x30, b"a/+", &[]), MALFORMED);
        refused(V5, Client, &v5(0x30, b"#", &[]), MALFORMED);
        refused(V5, Client, &v5(0x30, b"", &[]), PROTOCOL);
        accepted(V5, Client, &v5(0x30, b"", &[0x23, 0, 1]));
        let empty = read(V311, Client, &frame(0x30, &[0, 0]));
        assert_eq!(empty, Err(Violation::TopicName(TopicNameError::Empty).into()));
    }

    /// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.4-3]
    #[test]
    fn a_topic_name_is_utf_8_without_nul() {
        for (topic, error) in [
            (&b"a\0"[..], Malformed::NulInString),
            (b"\xc3\x28", Malformed::NotUtf8),
            (b"\xed\xa0\x80", Malformed::NotUtf8),     // U+D800, half of a surrogate pair
            (b"\xf4\x90\x80\x80", Malformed::NotUtf8), // above U+10FFFF
            (b"\xc0\x80", Malformed::NotUtf8),         // U+0000 in disguise
        ] {
            assert_eq!(read(V5, Client, &v5(0x30, topic, &[])), Err(error.into()));
        }
        accepted(V5, Client, &v5(0x30, b"\xef\xbb\xbfa", &[]));
        accepted(V5, Client, &v5(0x30, b"\xef\xbf\xbf", &[]));
    }

    /// [MQTT-3.3.2-8] [MQTT-3.3.2-14] [MQTT-3.3.4-6], §3.3.2.3
    #[test]
    fn properties_have_limits() {
        for properties in [
            &[0x01, 2][..],      // Payload Format Indicator 2
            &[0x01, 0, 0x01, 0], // twice
            &[0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1],
            &[0x23, 0, 1, 0x23, 0, 1],
            &[0x08, 0, 1, b'#'], // Response Topic with a wildcard
            &[0x08, 0, 0],       // Response Topic without a character
            &[0x0b, 1],          // Subscription Identifier from a client
        ] {
            refused(V5, Client, &v5(0x30, b"a", properties), PROTOCOL);
        }
        refused(V5, Client, &v5(0x30, b"a", &[0x23, 0, 0]), ReasonCode::TOPIC_ALIAS_INVALID);
        refused(V5, Client, &v5(0x30, b"a", &[0x11, 0, 0, 0, 1]), MALFORMED);
        refused(V5, Server, &v5(0x30, b"a", &[0x0b, 0]), PROTOCOL);
        accepted(V5, Server, &v5(0x30, b"a", &[0x0b, 1, 0x0b, 0xff, 0xff, 0xff, 0x7f]));
    }

    /// §2.2.2.1
    #[test]
    fn a_property_block_ends_inside_its_packet() {
        refused(V5, Client, &frame(0x30, &[0, 1, b'a', 9, 0x01, 0]), MALFORMED);
        refused(V5, Client, &frame(0x30, &[0, 1, b'a']), MALFORMED);
        refused(V5, Client, &frame(0x30, &[0, 1, b'a', 0x80, 0x00]), MALFORMED);
    }
}

mod ack {
    use super::*;

    /// §3.4.2.1
    #[test]
    fn the_reason_code_and_the_properties_may_be_left_out() {
        for first in [0x40, 0x50, 0x62, 0x70] {
            accepted(V5, Client, &frame(first, &[0, 1]));
            accepted(V5, Client, &frame(first, &[0, 1, 0]));
            accepted(V5, Client, &frame(first, &[0, 1, 0, 0]));
            refused(V5, Client, &frame(first, &[0, 0]), MALFORMED);
        }
    }

    /// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    #[test]
    fn a_reason_code_is_one_of_those_listed() {
        refused(V5, Client, &frame(0x40, &[0, 1, 0x92]), PROTOCOL);
        refused(V5, Client, &frame(0x62, &[0, 1, 0x80]), PROTOCOL);
        refused(V5, Client, &frame(0x40, &[0, 1, 0x7f]), MALFORMED);
        // Only servers say it, and bridges in a client's place.
        accepted(V5, Client, &frame(0x40, &[0, 1, 0x10]));
        accepted(V5, Server, &frame(0x40, &[0, 1, 0x10]));
        accepted(V5, Client, &frame(0x62, &[0, 1, 0x92]));
    }
}

mod subscribe {
    use super::*;

    /// [MQTT-3.8.3-2] [MQTT-3.10.3-2]
    #[test]
    fn there_is_at_least_one_filter() {
        for version in [V31, V311] {
            refused(version, Client, &frame(0x82, &[0, 1]), PROTOCOL);
            refused(version, Client, &frame(0xa2, &[0, 1]), PROTOCOL);
        }
        refused(V5, Client, &frame(0x82, &[0, 1, 0]), PROTOCOL);
        refused(V5, Client, &frame(0xa2, &[0, 1, 0]), PROTOCOL);
    }

    /// [MQTT-3.8.3-5], §3.8.3.1; 3.1.1 [MQTT-3.8.3-4]
    #[test]
    fn options_have_limits() {
        for (options, reason) in [(0x40, MALFORMED), (0x80, MALFORMED), (0x03, PROTOCOL), (0x30, PROTOCOL)] {
            refused(V5, Client, &frame(0x82, &[0, 1, 0, 0, 1, b'a', options]), reason);
        }
        accepted(V5, Client, &frame(0x82, &[0, 1, 0, 0, 1, b'a', 0x2e]));
        for options in [0x03, 0x04, 0x08, 0x10, 0x80] {
            assert!(read(V311, Client, &frame(0x82, &[0, 1, 0, 1, b'a', options])).is_err());
        }
    }

    /// [MQTT-3.8.3-4]
    #[test]
    fn a_share_is_never_no_local() {
        let subscribe = |options| frame(0x82, &[&[0, 1, 0, 0, 10][..], b"$share/g/f", &[options]].concat());
        refused(V5, Client, &subscribe(0x04), PROTOCOL);
        accepted(V5, Client, &subscribe(0x00));
    }

    /// §3.8.2.1.2
    #[test]
    fn a_subscription_identifier_is_not_zero_and_stands_once() {
        refused(V5, Client, &frame(0x82, &[0, 1, 2, 0x0b, 0, 0, 1, b'a', 0]), PROTOCOL);
        refused(V5, Client, &frame(0x82, &[0, 1, 4, 0x0b, 1, 0x0b, 2, 0, 1, b'a', 0]), PROTOCOL);
        accepted(V5, Client, &frame(0x82, &[0, 1, 2, 0x0b, 1, 0, 1, b'a', 0]));
    }

    /// A bad filter is refused alone, in SUBACK; ill-formed text is not.
    #[test]
    fn a_filter_is_text() {
        accepted(V5, Client, &frame(0x82, &[0, 1, 0, 0, 2, b'a', b'#', 0]));
        refused(V5, Client, &frame(0x82, &[0, 1, 0, 0, 1, 0xff, 0]), MALFORMED);
        refused(V5, Client, &frame(0x82, &[0, 1, 0, 0, 1, 0, 0]), MALFORMED);
        refused(V5, Client, &frame(0x82, &[0, 1, 0, 0, 1, b'a']), MALFORMED);
    }
}

mod disconnect_and_auth {
    use super::*;

    /// §3.14.2.1, §3.15.2.1
    #[test]
    fn the_reason_code_and_the_properties_may_be_left_out() {
        accepted(V5, Client, &frame(0xe0, &[]));
        accepted(V5, Client, &frame(0xe0, &[0x04]));
        accepted(V5, Client, &frame(0xe0, &[0x00, 0]));
        accepted(V5, Client, &frame(0xf0, &[]));
        accepted(V5, Server, &frame(0xf0, &[0x00]));
        accepted(V5, Client, &frame(0xf0, &[0x18, 4, 0x15, 0, 1, b'm']));
    }

    /// [MQTT-3.14.2-1] [MQTT-3.15.2-1]
    #[test]
    fn a_reason_code_is_one_of_those_listed() {
        refused(V5, Client, &frame(0xe0, &[0x8d]), PROTOCOL);
        refused(V5, Server, &frame(0xe0, &[0x04]), PROTOCOL);
        accepted(V5, Server, &frame(0xe0, &[0x8d]));
        refused(V5, Server, &frame(0xf0, &[0x19, 4, 0x15, 0, 1, b'm']), PROTOCOL);
        refused(V5, Client, &frame(0xf0, &[0x80]), PROTOCOL);
    }

    /// [MQTT-3.14.2-2], §3.14.2.2.5
    #[test]
    fn session_expiry_comes_from_clients_and_server_reference_from_servers() {
        let expiry = frame(0xe0, &[0, 5, 0x11, 0, 0, 0, 1]);
        accepted(V5, Client, &expiry);
        refused(V5, Server, &expiry, PROTOCOL);
        let reference = frame(0xe0, &[0x9c, 4, 0x1c, 0, 1, b's']);
        accepted(V5, Server, &reference);
        refused(V5, Client, &reference, PROTOCOL);
    }

    /// §3.15.2.2.2
    #[test]
    fn auth_names_its_method() {
        refused(V5, Client, &frame(0xf0, &[0x18]), PROTOCOL);
        refused(V5, Client, &frame(0xf0, &[0x18, 3, 0x16, 0, 0]), PROTOCOL);
    }
}

mod connack_and_suback {
    use super::*;

    /// [MQTT-3.2.2-1] [MQTT-3.2.2-6] [MQTT-3.2.2-8]
    #[test]
    fn connack_keeps_to_its_flags_and_codes() {
        refused(V311, Server, &frame(0x20, &[2, 0]), MALFORMED);
        refused(V311, Server, &frame(0x20, &[0, 6]), MALFORMED);
        refused(V311, Server, &frame(0x20, &[1, 5]), PROTOCOL);
        refused(V5, Server, &frame(0x20, &[0, 0x8d, 0]), PROTOCOL);
        refused(V5, Server, &frame(0x20, &[0, 0, 2, 0x24, 2]), PROTOCOL);
        accepted(V5, Server, &frame(0x20, &[1, 0, 2, 0x24, 1]));
        accepted(V31, Server, &frame(0x20, &[0xff, 0]));
    }

    /// [MQTT-3.9.3-2] [MQTT-3.11.3-2]
    #[test]
    fn suback_keeps_to_its_codes() {
        refused(V311, Server, &frame(0x90, &[0, 1, 3]), MALFORMED);
        refused(V5, Server, &frame(0x90, &[0, 1, 0, 0x11]), PROTOCOL);
        accepted(V5, Server, &frame(0xb0, &[0, 1, 0, 0x11]));
        accepted(V311, Server, &frame(0x90, &[0, 1, 0, 1, 2, 0x80]));
    }
}
