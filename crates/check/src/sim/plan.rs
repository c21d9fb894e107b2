//! What clients do: drawn from the seed, with odds that differ from seed to seed.

use columba_proto::Version;

use super::{
    client::{Habits, MOST_FILTERS, PublishPlan},
    rng::Rng,
    tally::Happening,
};
use crate::model::{FilterNo, Micros, Retained, SubscriptionInfo, TopicNo, Vocabulary};

/// Topics: `r/...` hold retained messages, `s/...` feed the shared groups.
pub(crate) const TOPICS: [&str; 9] = ["a/b", "a/c", "b", "a/b/d", "r/1", "r/2", "r", "s/x", "s/y/z"];

/// Filters for plain subscriptions first, then the groups.
pub(crate) const FILTERS: [&str; 15] =
    ["a/b", "a/+", "a/#", "#", "+/b", "b", "+/+", "a/b/#", "r/#", "r/1", "+/1", "s/#", "+", "$share/g/s/#", "$share/h/s/x"];

/// The shared groups among the filters.
const G: FilterNo = FilterNo(13);
const H: FilterNo = FilterNo(14);

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
    /// Each start may have another number of shards.
    pub(crate) reshards: bool,
    pub(crate) lanes: u16,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) operations: usize,
    /// Out of 1000 operations, so many are followed by a crash.
    pub(crate) crash: u64,
    /// At one commit point in so many the process dies, more often where much is at stake; 0: at none.
    pub(crate) moments: u64,
    /// Out of 16 publications, so many are followed at once by a new connection, or by the same again.
    pub(crate) hasty: u64,
    /// Hostile clients that come one after the other.
    pub(crate) hostiles: usize,
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
    /// The disk is often full.
    pub(crate) full_disks: bool,
    topics: usize,
    /// Half of all publications go to the shared groups.
    to_groups: bool,
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
    /// Makes likelier what a life is to be led into.
    pub(crate) fn lead_into(&mut self, what: Happening) {
        self.crash = self.crash.max(10);
        self.checkpoint = Some(self.checkpoint.unwrap_or(5_000).min(5_000));
        self.sync = self.sync.max(1_000);
        self.reshards |= what == Happening::OtherShardCount;
        if what == Happening::RepeatBeforeSync {
            (self.hasty, self.sync) = (4, self.sync.max(20_000));
        }
        if matches!(what, Happening::CutBetweenLanes | Happening::CheckpointBeforeTaking) {
            self.shards = self.shards.max(2);
        }
        if what == Happening::AssignmentCutInHalf {
            (self.workers, self.topics, self.to_groups) = (self.workers.max(3), TOPICS.len(), true);
        }
        self.full_disks = what == Happening::PubrelOnFullDisk;
    }

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let shards = rng.pick(&[1, 2, 2, 3]);
        let troubled = rng.chance(2, 3);
        let trouble = |rng: &mut Rng, most: u64| if troubled { rng.below(most) } else { 0 };
        let workers = if rng.chance(2, 5) { rng.index(3) + 2 } else { 0 };
        let crashes = rng.chance(3, 4);
        Self {
            shards,
            reshards: rng.chance(1, 4),
            moments: if crashes && rng.chance(1, 2) { rng.pick(&[15, 60]) } else { 0 },
            hasty: if rng.chance(1, 4) { 3 } else { 0 },
            hostiles: if rng.chance(1, 5) { 1 + rng.index(8) } else { 0 },
            lanes: rng.pick(&[4, 7, 64]),
            clients: rng.index(5) + 3,
            workers,
            operations: 200 + rng.index(80),
            crash: if crashes { rng.pick(&[4, 10, 25]) } else { 0 },
            pace: rng.pick(&[300, 3_000, 30_000]),
            sync: rng.pick(&[100, 1_000, 1_000, 20_000, 400_000]),
            checkpoint: rng.chance(2, 3).then(|| rng.pick(&[500, 5_000, 50_000])),
            lazy_turns: rng.pick(&[2, 4, 1_000]),
            weights: [60, 8 + rng.below(8), rng.below(4), trouble(rng, 6), trouble(rng, 8), trouble(rng, 4), trouble(rng, 4), 1],
            qos: [rng.below(6), 2 + rng.below(10), 2 + rng.below(14)],
            retained: rng.pick(&[0, 2, 8]),
            full_disks: false,
            topics: if workers > 0 { TOPICS.len() } else { rng.pick(&[3, 6, TOPICS.len()]) },
            to_groups: workers > 0 && rng.chance(2, 3),
        }
    }

    /// The habits of a client; of a worker of one or both of the two groups where `worker` says so.
    pub(crate) fn habits(rng: &mut Rng, worker: bool) -> Habits {
        let version = rng.pick(&[Version::V31, Version::V311, Version::V311, Version::V5, Version::V5, Version::V5]);
        let lasting = rng.chance(3, 4);
        let (expiry, always_clean) = if version.has_properties() {
            (if lasting { rng.pick(&[u32::MAX, 3_600, 30, 5, 2]) } else { 0 }, !lasting && rng.chance(1, 2))
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
            slow: rng.chance(if worker { 2 } else { 1 }, 4).then(|| rng.pick(&[500, 20_000, 2_000_000])),
            keep_alive: rng.pick(&[0, 0, 0, 10, 60]),
            worker: worker.then(|| rng.pick(&[[G, G], [G, G], [H, H], [G, H]])),
        }
    }

    /// What a connected client does next. Members of groups come and go more often than others.
    pub(crate) fn operation(&self, rng: &mut Rng, habits: &Habits, subscribes: bool) -> Operation {
        if habits.worker.is_some() {
            match rng.below(16) {
                0..4 if !subscribes => return Operation::Subscribe,
                4 => return Operation::Disconnect,
                5 => return Operation::Vanish,
                _ => {}
            }
        }
        CONNECTED[weighted(rng, &self.weights)]
    }

    pub(crate) fn publish(&self, rng: &mut Rng) -> PublishPlan {
        let topic = if self.to_groups && rng.chance(1, 2) { rng.pick(&[7, 8]) } else { rng.index(self.topics) };
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
        if let Some(groups) = habits.worker.filter(|_| rng.chance(3, 4)) {
            let filter = rng.pick(&groups);
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
