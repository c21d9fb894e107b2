//! What clients do: drawn from the seed, with odds that differ from seed to seed.

use columba_proto::Version;

use super::{
    client::{Habits, MOST_FILTERS, PublishPlan},
    rng::Rng,
};
use crate::model::{FilterNo, Micros, Retained, SubscriptionInfo, TopicNo, Vocabulary};

/// Topics: `r/...` hold retained messages, `s/...` feed the shared groups.
pub(crate) const TOPICS: [&str; 9] = ["a/b", "a/c", "b", "a/b/d", "r/1", "r/2", "r", "s/x", "s/y/z"];

/// Filters for plain subscriptions first, then the groups.
pub(crate) const FILTERS: [&str; 15] =
    ["a/b", "a/+", "a/#", "#", "+/b", "b", "+/+", "a/b/#", "r/#", "r/1", "+/1", "s/#", "+", "$share/g/s/#", "$share/h/s/x"];

/// How many of the filters are plain.
const PLAIN_FILTERS: usize = 13;

/// The vocabulary of all runs.
pub(crate) fn vocabulary() -> Vocabulary {
    static ONCE: std::sync::OnceLock<Vocabulary> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| Vocabulary::new(&TOPICS, &FILTERS)).clone()
}

/// What a client does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    /// The connection breaks, and both sides learn of it.
    Cut,
    /// The client vanishes: the broker learns it from silence or from the next CONNECT.
    Vanish,
    /// Connects again over the old connection.
    TakeOver,
    Ping,
    Rest,
}

/// The odds of one run.
#[derive(Clone, Debug)]
pub(crate) struct Odds {
    pub(crate) shards: u16,
    pub(crate) lanes: u16,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) operations: usize,
    /// Out of 1000 operations, so many are followed by a crash.
    pub(crate) crash: u64,
    /// Longest time between two operations of one client.
    pub(crate) pace: Micros,
    /// How long a sync takes at most.
    pub(crate) sync: Micros,
    /// Between two checkpoints, at most; none where this is `None`.
    pub(crate) checkpoint: Option<Micros>,
    /// One turn in so many is left open for a while.
    pub(crate) lazy_turns: u64,
    /// Weights of the operations of a connected client, in the order of [`CONNECTED`].
    weights: [u64; 8],
    /// Weights of QoS 0, 1 and 2.
    qos: [u64; 3],
    retained: u64,
    topics: usize,
}

const CONNECTED: [Operation; 8] = [
    Operation::Publish,
    Operation::Subscribe,
    Operation::Unsubscribe,
    Operation::Disconnect,
    Operation::Cut,
    Operation::Vanish,
    Operation::TakeOver,
    Operation::Ping,
];

impl Odds {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let shards = rng.pick(&[1, 1, 2, 3]);
        let troubled = rng.chance(2, 3);
        let trouble = |rng: &mut Rng, most: u64| if troubled { rng.below(most) } else { 0 };
        Self {
            shards,
            lanes: rng.pick(&[4, 7, 64]),
            clients: rng.index(5) + 3,
            workers: if rng.chance(1, 3) { rng.index(3) + 1 } else { 0 },
            operations: 200 + rng.index(80),
            crash: if rng.chance(3, 4) { rng.pick(&[4, 10, 25]) } else { 0 },
            pace: rng.pick(&[300, 3_000, 30_000]),
            sync: rng.pick(&[100, 1_000, 1_000, 20_000, 400_000]),
            checkpoint: rng.chance(2, 3).then(|| rng.pick(&[500, 5_000, 50_000])),
            lazy_turns: rng.pick(&[2, 4, 1_000]),
            weights: [60, 8 + rng.below(8), rng.below(4), trouble(rng, 6), trouble(rng, 8), trouble(rng, 4), trouble(rng, 4), 1],
            qos: [rng.below(6), 2 + rng.below(10), 2 + rng.below(14)],
            retained: rng.pick(&[0, 2, 8]),
            topics: rng.pick(&[3, 6, TOPICS.len()]),
        }
    }

    /// The habits of a client; of a worker of one of the two groups where `worker` says so.
    pub(crate) fn habits(rng: &mut Rng, worker: bool) -> Habits {
        let version = rng.pick(&[Version::V31, Version::V311, Version::V311, Version::V5, Version::V5, Version::V5]);
        let lasting = rng.chance(3, 4);
        let (expiry, always_clean) = if version.has_properties() {
            (if lasting { rng.pick(&[u32::MAX, 3_600, 30, 5]) } else { 0 }, !lasting && rng.chance(1, 2))
        } else {
            (if lasting { u32::MAX } else { 0 }, !lasting)
        };
        Habits {
            version,
            expiry,
            always_clean,
            receive_maximum: (version.has_properties() && rng.chance(1, 2)).then(|| rng.pick(&[1, 2, 5, 20])),
            packet_max: (version.has_properties() && rng.chance(1, 6)).then_some(400),
            window: rng.pick(&[1, 3, 10, 50]),
            slow: rng.chance(1, 4).then(|| rng.pick(&[500, 20_000, 2_000_000])),
            keep_alive: rng.pick(&[0, 0, 0, 10, 60]),
            worker: worker.then(|| rng.pick(&[FilterNo(13), FilterNo(13), FilterNo(14)])),
        }
    }

    /// What a connected client does next.
    pub(crate) fn operation(&self, rng: &mut Rng) -> Operation {
        CONNECTED[weighted(rng, &self.weights)]
    }

    pub(crate) fn publish(&self, rng: &mut Rng) -> PublishPlan {
        let topic = rng.index(self.topics);
        let on_shelf = TOPICS[topic].starts_with('r');
        let retain = self.retained > 0 && rng.chance(if on_shelf { 8 } else { 1 }, 16);
        let level = weighted(rng, &self.qos);
        PublishPlan {
            topic: TopicNo(small(topic)),
            qos: small(level),
            retain,
            empty: retain && rng.chance(1, 8),
            expires: rng.chance(1, 20),
        }
    }

    pub(crate) fn subscribe(rng: &mut Rng, habits: &Habits) -> Vec<SubscriptionInfo> {
        let extended = habits.version.has_subscription_options();
        if let Some(filter) = habits.worker.filter(|_| rng.chance(3, 4)) {
            let qos = small(if rng.chance(1, 10) { 0 } else { 1 + rng.index(2) });
            return vec![SubscriptionInfo {
                filter,
                qos,
                no_local: false,
                retain_as_published: false,
                retained: Retained::Always,
            }];
        }
        let mut asked: Vec<SubscriptionInfo> = Vec::new();
        for _ in 0..=rng.index(MOST_FILTERS) {
            let filter = FilterNo(small(rng.index(PLAIN_FILTERS)));
            if asked.iter().all(|other| other.filter != filter) {
                asked.push(SubscriptionInfo {
                    filter,
                    qos: rng.pick(&[0, 1, 1, 2, 2, 2]),
                    no_local: extended && rng.chance(1, 10),
                    retain_as_published: extended && rng.chance(1, 6),
                    retained: if extended {
                        rng.pick(&[Retained::Always, Retained::Always, Retained::IfNew, Retained::Never])
                    } else {
                        Retained::Always
                    },
                });
            }
        }
        asked
    }
}

fn weighted(rng: &mut Rng, weights: &[u64]) -> usize {
    let mut left = rng.below(weights.iter().sum());
    for (index, &weight) in weights.iter().enumerate() {
        if left < weight {
            return index;
        }
        left -= weight;
    }
    0
}

fn small(index: usize) -> u8 {
    u8::try_from(index).expect("the vocabulary is small")
}
