//! A few connections to a broker of one or two shards, and everything that can be said at the seam.

mod client;
mod journal;
mod packets;
mod world;

use std::{num::NonZeroU32, sync::Arc};

use columba_broker::{
    Config,
    auth::{Login, Strangers, UserVersion, Users},
    seam::Gone,
};
use columba_proto::scram::{Keys, Secret};

use self::{client::CLIENTS_MAX, world::World};
use super::choices::Choices;

/// Longer scripts show nothing that shorter ones do not.
const STEPS_MAX: usize = 400;

/// Milliseconds: a moment, a keep-alive, a retry interval, a session's life, a long time.
const PAUSES: [u64; 5] = [1, 1_500, 40_000, 100_000, 86_400_000];

/// Whatever clients send, whenever the disk, the other shard and the clock say something: no panic, only packets of the standard in answer, each answer
/// asked for, no identifier twice in flight, no more in flight than the client takes; and what the shards know is the fold of what they recorded.
///
/// # Panics
///
/// When one of these does not hold.
pub fn connection(data: &[u8]) {
    let mut choices = Choices::new(data);
    let shards = u16::from(1 + choices.below(2));
    let mut world = World::new(shards, Arc::new(config()));
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        step(&mut world, &mut choices);
    }
    world.settle();
    world.compare();
    world.hang_up();
    world.compare();
}

/// Small enough that a short script meets every bound.
fn config() -> Config {
    Config {
        receive_maximum: 4,
        inflight: 3,
        max_packet_size: 4_096,
        max_topic_alias: 3,
        topic_levels: 6,
        ephemeral_queue_max: 4,
        ephemeral_queue_bytes_max: 2_000,
        deliver_ahead_max: 600,
        unread_answers_max: 2_000,
        held_frames_max: 6,
        held_bytes_max: 3_000,
        awaiting_pubrel_max: 4,
        awaiting_pubrel_bytes_max: 2_000,
        hot_messages: 1,
        hot_bytes: 1_000,
        cold_window: 2,
        subscriptions_max: 5,
        cached_topics_max: 4,
        connections_max: 5,
        login: Some(Login::new(Arc::new(Name), Secret::new([5; 32]), Strangers::Welcome)),
        ..Config::default()
    }
}

/// There is "name", whose password is the same word.
#[derive(Debug)]
struct Name;

impl Users for Name {
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        (user == "name").then(|| Keys::derive(user, b"salt", NonZeroU32::MIN).expect("a password that can be"))
    }

    fn version(&self, user: &str) -> Option<UserVersion> {
        (user == "name").then_some(UserVersion(0))
    }

    fn may_try(&self, _: &str, _: &str) -> bool {
        true
    }
}

fn step(world: &mut World, choices: &mut Choices<'_>) {
    let kind = choices.below(32);
    let client = choices.among(CLIENTS_MAX);
    match kind {
        0 | 1 => world.open(client, choices.among(2)),
        2 => world.send(client, choices.block()),
        3 | 4 => {
            world.open(client, choices.among(2));
            let connect = packets::connect(choices);
            world.send(client, &connect);
        }
        5..=7 => world.send_packet(client, |version| packets::subscribe(version, choices)),
        8 => world.send_packet(client, |version| packets::unsubscribe(version, choices)),
        9..=13 => world.send_packet(client, |version| packets::publish(version, choices)),
        14 => world.send_packet(client, |version| packets::ack(version, choices)),
        15 | 16 => world.answer(client, choices.below(4) == 3),
        17 => world.send_packet(client, |version| packets::disconnect(version, choices)),
        18 => world.send_packet(client, |_| vec![0xc0, 0]),
        19 => world.closed(client, if choices.bit() { Gone::ByPeer } else { Gone::Failed }),
        20 => world.block(client),
        21 => world.take(client, usize::from(choices.byte())),
        22..=24 => world.sync(),
        25 => world.pass(choices.pick(&PAUSES)),
        26 => world.deliver_mail(choices.among(2)),
        27 => world.load(),
        28 => world.checkpoint(),
        29 => world.journal_is_full(choices.bit()),
        30 => world.crash(),
        _ => match choices.below(8) {
            0 => world.journal_fails(),
            1 => world.shut_down(),
            2 => world.hold_back(true),
            _ => world.settle(),
        },
    }
}
