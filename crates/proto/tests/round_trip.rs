//! Every packet of every version: what is encoded is decoded, and what is decoded survives another trip. On a failure
//! proptest prints the smallest case and its seed.

mod common;

use columba_proto::packet::{Packet, PublishHead, PublishProperties};
use columba_proto::wire::{Split, split};
use columba_proto::{PacketId, Peer, QoS, Version, decode};
use common::Encoded;
use proptest::prelude::*;

/// Makes a test of a strategy: building a value already encodes it, decodes it and compares the two.
macro_rules! survives {
    ($($packet:ident),+) => {
        proptest! {
            #![proptest_config(common::cases(1_000))]
            $(
                #[test]
                fn $packet(encoded in common::$packet()) {
                    check_prefixes(&encoded);
                }
            )+
        }
    };
}

survives!(connect, connack, publish, ack, subscribe, suback, unsubscribe, unsuback, ping, disconnect, auth);

/// No proper prefix is a frame, and no shortened body makes decode panic.
fn check_prefixes(encoded: &Encoded) {
    assert_eq!(encoded.mismatch, None);
    for len in 0..encoded.frame.len().min(200) {
        assert_eq!(split(&encoded.frame[..len], u32::MAX), Ok(Split::Need));
    }
    let (first, body) = encoded.first_and_body();
    for len in 0..body.len().min(200) {
        survives_another_trip(encoded.version, encoded.from, first, &body[..len]);
    }
}

/// Whatever can be decoded can be encoded, and is then the same packet.
fn survives_another_trip(version: Version, from: Peer, first: u8, body: &[u8]) {
    let Ok(packet) = decode(version, from, first, body) else {
        return;
    };
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut frame = Vec::new();
    packet.encode(version, &mut frame).expect("it fitted before");
    let Ok(Split::Frame { first, body, .. }) = split(&frame, u32::MAX) else {
        panic!("no frame: {frame:02x?}");
    };
    assert_eq!(decode(version, from, first, body).as_ref(), Ok(&packet));
}

proptest! {
    #![proptest_config(common::cases(4_000))]

    #[test]
    fn damaged_packets_never_panic_and_what_still_decodes_survives(
        encoded in common::any_packet(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        version in common::version(),
        from in common::peer(),
    ) {
        let (first, body) = encoded.first_and_body();
        let mut body = body.to_vec();
        for (at, byte) in &damage {
            if !body.is_empty() {
                // Most fields that steer stand at the front.
                let at = at.index(body.len().min(40));
                body[at] = *byte;
            }
        }
        survives_another_trip(encoded.version, encoded.from, first, &body);
        survives_another_trip(version, from, first, &body);
    }

    #[test]
    fn noise_never_panics(
        first in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..60),
        version in common::version(),
        from in common::peer(),
    ) {
        let frame: Vec<u8> = std::iter::once(first).chain(body.iter().copied()).collect();
        // Noise may well not be a frame; it must only not panic.
        assert!(split(&frame, 100).map_or(true, |found| matches!(found, Split::Need | Split::Frame { .. })));
        survives_another_trip(version, from, first, &body);
    }
}

proptest! {
    #![proptest_config(common::cases(1_000))]

    #[test]
    fn the_forwarded_block_brings_the_properties_back(parts in common::message_parts()) {
        let pairs = common::borrow_pairs(&parts.pairs);
        let properties = parts.borrow(Version::V5, &pairs);
        let mut block = Vec::new();
        properties.forwarded_block(&mut block);

        prop_assert_eq!(block.len(), properties.forwarded_len());
        let forwarded = PublishProperties { message_expiry: None, ..properties };
        prop_assert_eq!(PublishProperties::from_forwarded_block(&block), Ok(forwarded));
    }

    #[test]
    fn a_publish_head_knows_its_frame_length_beforehand(
        version in common::version(),
        topic in common::topic(),
        payload in common::bytes(),
        parts in common::message_parts(),
        ids in prop::collection::vec(common::subscription_id(), 0..3),
        qos in common::qos(),
        (id, other) in (common::packet_id(), common::packet_id()),
    ) {
        let pairs = common::borrow_pairs(&parts.pairs);
        let mut forwarded = Vec::new();
        parts.borrow(Version::V5, &pairs).forwarded_block(&mut forwarded);
        let head = |packet_id: PacketId, dup| PublishHead {
            topic: &topic,
            forwarded: &forwarded,
            message_expiry: parts.message_expiry,
            topic_alias: None,
            subscription_ids: &ids,
            retain: false,
            dup,
            qos,
            packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
            payload: &payload,
        };
        let encode = |head: PublishHead<'_>| {
            let mut frame = Vec::new();
            head.encode(version, &mut frame).expect("small");
            frame
        };

        let mut frame = encode(head(id, false));

        prop_assert_eq!(head(id, false).frame_len(version), frame.len() as u64);
        if qos > QoS::AtMostOnce {
            columba_proto::packet::set_packet_id(&mut frame, other);
            columba_proto::packet::mark_repeated(&mut frame);
            prop_assert_eq!(frame, encode(head(other, true)));
        }
    }
}
