//! Hostile clients: they break the protocol, never read, never answer. Nothing that they do may cost a correct client a message.
//!
//! They publish under `$hostile/` only, where no filter of the others looks, and join no shared subscription: what they take from a group they would take by right.

use columba_proto::{
    AckKind, PacketId, QoS, TopicName, Version,
    packet::{
        Ack, AckProperties, Connect, ConnectProperties, Packet, Publish, PublishProperties, Subscribe, SubscribeEntry, Will,
    },
    property::UserProperties,
};

use super::rng::Rng;

/// What a hostile client sends, piece by piece.
pub(crate) fn script(rng: &mut Rng, number: usize) -> Vec<Vec<u8>> {
    let version = rng.pick(&[Version::V31, Version::V311, Version::V5]);
    let lasting = version.has_properties() && rng.chance(1, 3);
    let connect = connect(version, number, lasting, rng.chance(1, 2));
    match rng.index(8) {
        0 => vec![noise(rng, 200)],
        1 => vec![connect[..rng.index(connect.len())].to_vec()],
        2 => vec![connect.clone(), connect],
        3 => {
            let everything = subscribe(version, "#", QoS::ExactlyOnce);
            vec![connect, everything]
        }
        4 => {
            let flood = (1..=u16::try_from(rng.between(5, 60)).unwrap_or(5)).map(|id| publish(version, rng, id));
            std::iter::once(connect).chain(flood).collect()
        }
        5 => {
            let kinds = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp];
            let acks = (1..20).flat_map(|id| ack(version, rng.pick(&kinds), id)).collect();
            vec![connect, subscribe(version, "a/#", QoS::AtLeastOnce), acks]
        }
        6 => {
            let mut broken = publish(version, rng, 1);
            let at = rng.index(4);
            broken[at] ^= rng.pick(&[1, 2, 4, 8, 16, 32, 64, 128]);
            vec![connect, broken, noise(rng, 20)]
        }
        // A packet that never ends, and is longer than any may be.
        _ => vec![connect, vec![0x30, 0xff, 0xff, 0xff, 0x7f], noise(rng, 200)],
    }
}

fn noise(rng: &mut Rng, most: u64) -> Vec<u8> {
    (0..=rng.below(most)).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
}

fn connect(version: Version, number: usize, lasting: bool, has_will: bool) -> Vec<u8> {
    let client_id = format!("hostile-{number}");
    let will = has_will.then(|| Will {
        topic: TopicName::new("$hostile/will").expect("a topic"),
        payload: b"gone",
        qos: QoS::ExactlyOnce,
        retain: true,
        delay: 0,
        properties: PublishProperties::default(),
    });
    let properties = ConnectProperties { session_expiry: lasting.then_some(5), ..ConnectProperties::default() };
    let clean_start = !lasting;
    let connect = Connect {
        version,
        bridge: false,
        clean_start,
        keep_alive: 0,
        client_id: &client_id,
        will,
        username: None,
        password: None,
        properties,
    };
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    bytes
}

fn subscribe(version: Version, filter: &str, qos: QoS) -> Vec<u8> {
    let entries = [SubscribeEntry { filter, options: qos.into() }];
    let entries = (&entries[..]).into();
    let id = PacketId::new(9).expect("not zero");
    encoded(
        version,
        &Packet::Subscribe(Subscribe { id, subscription_id: None, user_properties: UserProperties::default(), entries }),
    )
}

fn publish(version: Version, rng: &mut Rng, id: u16) -> Vec<u8> {
    let qos = rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let publish = Publish {
        dup: rng.chance(1, 4),
        qos,
        retain: rng.chance(1, 4),
        topic: Some(TopicName::new("$hostile/x").expect("a topic")),
        packet_id: PacketId::new(id),
        payload: b"noise",
        properties: PublishProperties::default(),
    };
    encoded(version, &Packet::Publish(publish))
}

fn ack(version: Version, kind: AckKind, id: u16) -> Vec<u8> {
    let id = PacketId::new(id).expect("not zero");
    let reason = columba_proto::ReasonCode::SUCCESS;
    encoded(version, &Packet::Ack(Ack { kind, id, reason, properties: AckProperties::default() }))
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("small packets");
    bytes
}
