//! What one message costs the brain of a shard, without sockets and disk: `cargo run --release -p columba-broker --example brain`.
//!
//! Ten publishers to ten subscribers, 64 bytes, MQTT 3.1.1, batches of 20 as a window of 20 gives them.
#![expect(clippy::disallowed_types, clippy::print_stdout, reason = "a measurement needs a clock and says what it saw")]

use std::{sync::Arc, time::Instant};

use columba_broker::{
    Config, Shard,
    commons::LocalCommons,
    id::{ConnectionId, ShardId},
    placement::Placement,
    seam::{Cx, Origin},
};
use columba_proto::{
    AckKind, PacketId, Peer, QoS, ReasonCode, Time, TopicName, Version, decode,
    packet::{Ack, Connect, ConnectProperties, Packet, Publish, PublishProperties, Subscribe, SubscribeEntry},
    property::UserProperties,
    wire::{Split, split},
};

const CLIENTS: usize = 10;
const WINDOW: u16 = 20;
const ROUNDS: usize = 500;

struct World {
    shard: Shard,
    commons: LocalCommons,
    spent: u128,
}

fn main() {
    // One case alone, for a profiler: `brain clean 1`.
    let only = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    for persistent in [false, true] {
        for qos in QoS::ALL {
            let case = format!("{} {}", if persistent { "persistent" } else { "clean" }, qos as u8);
            if !case.starts_with(&only) {
                continue;
            }
            let mut runs: Vec<_> = (0..5).map(|_| run(qos, persistent)).collect();
            runs.sort_by(f64::total_cmp);
            println!("{case:12}  {:6.0} ns a delivered message", runs[2]);
        }
    }
}

fn run(qos: QoS, persistent: bool) -> f64 {
    let commons = LocalCommons::new(Placement::new([0; 16], 64, 1), 1);
    let mut world = World { shard: Shard::new(ShardId(0), Arc::new(Config::default()), 1), commons, spent: 0 };
    let subscribers: Vec<_> = (0..CLIENTS).map(|number| world.connect(&format!("s{number}"), !persistent)).collect();
    let publishers: Vec<_> = (0..CLIENTS).map(|number| world.connect(&format!("p{number}"), true)).collect();
    for (number, subscriber) in subscribers.iter().enumerate() {
        world.say(*subscriber, &bytes(&subscribe(&format!("t/{number}"), qos)));
        world.hear(*subscriber);
    }
    let batches: Vec<Vec<u8>> = (0..CLIENTS).map(|number| batch(&format!("t/{number}"), qos)).collect();
    world.spent = 0;
    let mut delivered = 0;
    for _ in 0..ROUNDS {
        for (publisher, batch) in publishers.iter().zip(&batches) {
            world.say(*publisher, batch);
        }
        world.turn();
        // Everybody answers until nothing is left to be answered.
        loop {
            let mut answers = 0;
            for client in publishers.iter().chain(&subscribers) {
                let heard = world.hear(*client);
                let (reply, count) = answer(&heard);
                delivered += count;
                answers += reply.len();
                world.say(*client, &reply);
            }
            world.turn();
            if answers == 0 {
                break;
            }
        }
    }
    f64::from(u32::try_from(world.spent / 1_000).expect("a run takes less than an hour")) * 1_000.0 / f64::from(delivered)
}

impl World {
    fn call<R>(&mut self, call: impl FnOnce(&mut Shard, &Cx<'_>) -> R) -> R {
        let cx = Cx { now: Time(1_000_000), commons: &self.commons };
        let start = Instant::now();
        let result = call(&mut self.shard, &cx);
        self.spent += start.elapsed().as_nanos();
        result
    }

    fn turn(&mut self) {
        let mut records = Vec::new();
        self.call(|shard, cx| {
            while let Some(cut) = shard.cut(&mut records) {
                records.clear();
                shard.synced(cx, cut);
            }
        });
        while self.shard.pop_output().is_some() {}
    }

    fn connect(&mut self, client_id: &str, clean_start: bool) -> ConnectionId {
        let id = self.call(|shard, cx| shard.opened(cx, Origin::new("table", 0)));
        let connect = Connect {
            version: Version::V311,
            bridge: false,
            clean_start,
            keep_alive: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        self.say(id, &bytes(&Packet::Connect(connect)));
        self.turn();
        self.hear(id);
        id
    }

    fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.call(|shard, cx| shard.received(cx, id, bytes));
        }
    }

    fn hear(&mut self, id: ConnectionId) -> Vec<u8> {
        let Some(out) = self.shard.out(id) else { return Vec::new() };
        let heard = out.pending().to_vec();
        out.consume(heard.len());
        self.call(|shard, cx| shard.flushed(cx, id));
        heard
    }
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V311, &mut bytes).expect("a small packet");
    bytes
}

fn subscribe(filter: &str, qos: QoS) -> Packet<'_> {
    let entries = vec![SubscribeEntry { filter, options: qos.into() }].leak();
    let entries = (&*entries).into();
    Packet::Subscribe(Subscribe { id: number(1), subscription_id: None, user_properties: UserProperties::default(), entries })
}

fn batch(topic: &str, qos: QoS) -> Vec<u8> {
    let publish = |id| {
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(topic).expect("a topic")),
            packet_id: (qos > QoS::AtMostOnce).then(|| number(id)),
            payload: &[7; 64],
            properties: PublishProperties::default(),
        })
    };
    (1..=WINDOW).flat_map(|id| bytes(&publish(id))).collect()
}

/// What a correct client says to this, and how many messages it was.
fn answer(heard: &[u8]) -> (Vec<u8>, u32) {
    let (mut reply, mut publishes, mut rest) = (Vec::new(), 0, heard);
    while let Ok(Split::Frame { first, body, len }) = split(rest, u32::MAX) {
        rest = &rest[len..];
        let (kind, id) = match decode(Version::V311, Peer::Server, first, body) {
            Ok(Packet::Publish(publish)) => {
                publishes += 1;
                match (publish.qos, publish.packet_id) {
                    (QoS::AtLeastOnce, Some(id)) => (AckKind::Puback, id),
                    (QoS::ExactlyOnce, Some(id)) => (AckKind::Pubrec, id),
                    _ => continue,
                }
            }
            Ok(Packet::Ack(ack)) if ack.kind == AckKind::Pubrec => (AckKind::Pubrel, ack.id),
            Ok(Packet::Ack(ack)) if ack.kind == AckKind::Pubrel => (AckKind::Pubcomp, ack.id),
            _ => continue,
        };
        reply.extend(bytes(&Packet::Ack(Ack::new(kind, id, ReasonCode::SUCCESS))));
    }
    (reply, publishes)
}

fn number(id: u16) -> PacketId {
    PacketId::new(id).expect("not zero")
}
