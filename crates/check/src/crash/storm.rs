//! The storm itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use columba_proto::QoS;

use super::judge::Verdict;
use super::link::Shared;
use super::publisher::{Published, publish};
use super::subscriber::{Received, subscribe};
use crate::broker::Broker;
use crate::sim::Rng;

/// A broker that serves nobody any more goes down all the same, and the judge sees what is missing.
const CRASH_WAIT_MAX: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// The QoS of all publications and subscriptions.
    pub qos: QoS,
    /// How often the broker goes down.
    pub crashes: u64,
    /// Clients that publish, each on its own topic.
    pub publishers: usize,
    /// Clients that subscribe to all topics.
    pub subscribers: usize,
    /// Unacknowledged messages of each publisher.
    pub window: u16,
    /// Between two crashes clients receive at most so many packets.
    pub packets_max: u64,
}

impl Storm {
    /// A storm at one QoS as the tests make it.
    pub fn at(qos: QoS, crashes: u64) -> Self {
        Self { qos, crashes, publishers: 4, subscribers: 4, window: 16, packets_max: 4_000 }
    }
}

/// Who is in the storm.
pub trait Victim {
    /// Where it listens, before and after each crash.
    fn address(&self) -> SocketAddr;

    /// It goes down and comes back. What it says after `deafen` was called does not count.
    fn crash(&mut self, deafen: &dyn Fn());
}

/// SIGKILL: what it has said is true, also what is still on the way.
impl Victim for Broker {
    fn address(&self) -> SocketAddr {
        Self::address(self)
    }

    fn crash(&mut self, _deafen: &dyn Fn()) {
        self.kill();
        self.restart();
    }
}

/// Lets the storm loose on a broker and judges.
///
/// # Panics
///
/// When the broker does not start again.
pub fn storm(victim: &mut impl Victim, plan: Storm, rng: &mut Rng) -> Verdict {
    let shared = Shared::new(victim.address(), plan.qos, plan.publishers);
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
        wait_until(|| subscribed.load(Ordering::Relaxed) >= plan.subscribers as u64 || shared.done.load(Ordering::Relaxed) > 0);
        let publishers: Vec<_> = (0..plan.publishers)
            .map(|number| {
                let rng = rng.fork();
                scope.spawn(move || publish(shared, number, plan.window, rng))
            })
            .collect();

        for _ in 0..plan.crashes {
            let moment = shared.packets.load(Ordering::Relaxed) + rng.between(1, plan.packets_max);
            wait_until(|| shared.packets.load(Ordering::Relaxed) >= moment || shared.done.load(Ordering::Relaxed) > 0);
            victim.crash(&|| shared.deaf.store(true, Ordering::SeqCst));
            shared.deaf.store(false, Ordering::SeqCst);
            shared.crashes.fetch_add(1, Ordering::Relaxed);
        }
        shared.calm.store(true, Ordering::Relaxed);
        let published: Vec<Published> =
            publishers.into_iter().map(|thread| thread.join().expect("publishers do not panic")).collect();
        let received: Vec<Received> =
            subscribers.into_iter().map(|thread| thread.join().expect("subscribers do not panic")).collect();
        (published, received)
    });

    let takeovers = shared.takeovers.load(Ordering::Relaxed);
    let mut verdict = Verdict { crashes: plan.crashes, takeovers, ..Verdict::default() };
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
    let deadline = Instant::now() + CRASH_WAIT_MAX;
    while !holds() && Instant::now() < deadline {
        thread::sleep(Duration::from_micros(100));
    }
}
