//! The storm itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::QoS;

use super::client::{Published, Received, Shared, publish, subscribe};
use super::judge::Verdict;
use crate::broker::Broker;
use crate::sim::Rng;

/// Between two kills clients receive at least and at most so many packets.
const PACKETS_BETWEEN_KILLS: std::ops::Range<u64> = 1..4_000;
/// A broker that serves nobody any more is killed all the same, and the judge sees what is missing.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// The QoS of all publications and subscriptions.
    pub qos: QoS,
    /// How often the broker is killed.
    pub kills: u64,
    /// Clients that publish, each on its own topic.
    pub publishers: usize,
    /// Clients that subscribe to all topics.
    pub subscribers: usize,
    /// Unacknowledged messages of each publisher.
    pub window: u16,
}

impl Storm {
    /// A storm at one QoS as the tests make it.
    pub fn at(qos: QoS, kills: u64) -> Self {
        Self { qos, kills, publishers: 4, subscribers: 3, window: 16 }
    }
}

/// Lets the storm loose on `broker` and judges.
///
/// # Panics
///
/// When the broker does not start again.
pub fn storm(broker: &mut Broker, plan: Storm, rng: &mut Rng) -> Verdict {
    let shared = Shared {
        address: broker.address(),
        qos: plan.qos,
        publishers: plan.publishers,
        packets: AtomicU64::new(0),
        kills: AtomicU64::new(0),
        calm: AtomicBool::new(false),
        done: AtomicU64::new(0),
    };
    let subscribed = AtomicU64::new(0);
    let (published, received) = thread::scope(|scope| {
        let shared = &shared;
        let subscribed = &subscribed;
        let subscribers: Vec<_> = (0..plan.subscribers)
            .map(|number| {
                let rng = rng.fork();
                scope.spawn(move || subscribe(shared, number, subscribed, rng))
            })
            .collect();
        wait_until(|| subscribed.load(Ordering::Relaxed) == plan.subscribers as u64 || shared.done.load(Ordering::Relaxed) > 0);
        let publishers: Vec<_> =
            (0..plan.publishers).map(|number| scope.spawn(move || publish(shared, number, plan.window))).collect();

        for _ in 0..plan.kills {
            let more = PACKETS_BETWEEN_KILLS.start + rng.below(PACKETS_BETWEEN_KILLS.end - PACKETS_BETWEEN_KILLS.start);
            let moment = shared.packets.load(Ordering::Relaxed) + more;
            wait_until(|| shared.packets.load(Ordering::Relaxed) >= moment || shared.done.load(Ordering::Relaxed) > 0);
            broker.kill();
            shared.kills.fetch_add(1, Ordering::Relaxed);
            broker.restart();
        }
        shared.calm.store(true, Ordering::Relaxed);
        let published: Vec<Published> =
            publishers.into_iter().map(|thread| thread.join().expect("publishers do not panic")).collect();
        let received: Vec<Received> =
            subscribers.into_iter().map(|thread| thread.join().expect("subscribers do not panic")).collect();
        (published, received)
    });

    let mut verdict = Verdict { kills: plan.kills, ..Verdict::default() };
    verdict.sent = published.iter().map(|publisher| publisher.sent).sum();
    let acknowledged: Vec<BTreeSet<u64>> = published.iter().map(|publisher| publisher.acknowledged.clone()).collect();
    for (subscriber, received) in received.iter().enumerate() {
        verdict.judge(plan.qos, subscriber, &received.deliveries, &acknowledged);
    }
    let of_publishers = published.into_iter().flat_map(|publisher| publisher.faults);
    let of_subscribers = received.into_iter().flat_map(|subscriber| subscriber.faults);
    verdict.faults.extend(of_publishers.chain(of_subscribers));
    verdict
}

/// Looks again and again, for a bounded time.
fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + KILL_WAIT_MAX;
    while !holds() && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(100));
    }
}
