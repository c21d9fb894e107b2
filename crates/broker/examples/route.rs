//! What routing costs: `cargo run --release -p columba-broker --example route [subscriptions]`.
//!
//! One million subscriptions by default: 85 % without a wildcard, 5 % each of `a/#`, `a/+` and `a/+/b/+`. Prints the time of a match (cold: random topics; hot:
//! 1,000 topics), of a hit in the topic cache with as many topics, and the bytes that a subscription takes.

#![expect(clippy::disallowed_types, reason = "a measurement has a clock")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use columba_broker::{
    commons::LocalCommons,
    id::SessionNo,
    placement::Placement,
    route::{Grant, SessionRef, TopicCache},
    seam::{Commons, Cx},
};
use columba_proto::{QoS, Time, packet::RetainHandling, topic::SubscriptionFilter};

/// The system's allocator, counting.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a global allocator cannot be written without")]
// SAFETY: hands every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let count = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<u64>())?;
    let seed = 42;
    let world = LocalCommons::new(Placement::new([0; 16], 64, 1), seed);
    let sessions: Vec<SessionRef> =
        (0..count).map(|n| SessionRef { no: SessionNo((n + 1) << 12), slot: 0, presence: Arc::default() }).collect();

    let (held, started) = (HELD.load(Relaxed), Instant::now());
    for (n, session) in (0..).zip(&sessions) {
        let filter: SubscriptionFilter = filter(n).parse()?;
        let grant = Grant {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: None,
        };
        world.index_mut().insert(&filter, session.clone(), grant, world.versions());
    }
    report(&mut out, "subscribe", started.elapsed(), count)?;
    writeln!(out, "{:<34}{:>8} B", "memory per subscription", (HELD.load(Relaxed) - held) as u64 / count)?;

    let cx = Cx { now: Time(0), commons: &world };
    for (name, topics) in [("of random topics", count.min(285_000)), ("of 1,000 topics", 1000)] {
        let topics: Vec<Arc<str>> = (0..topics).map(|n| topic(mix(n) % count).into()).collect();
        let index = world.index();
        let mut found = 0;
        let took = fastest(&topics, |topic| found += index.route(Arc::clone(topic)).targets.len());
        found /= ROUNDS;
        report(&mut out, &format!("match {name}"), took, topics.len() as u64)?;
        writeln!(out, "{:<34}{:>8.2}", "  receivers each", found as f64 / topics.len() as f64)?;
        drop(index);

        let mut cache = TopicCache::new(topics.len() * 4, seed);
        for topic in &topics {
            cache.route(&cx, topic);
        }
        let took = fastest(&topics, |topic| drop(black_box(cache.route(&cx, topic))));
        report(&mut out, &format!("cache hit {name}"), took, topics.len() as u64)?;
    }

    let started = Instant::now();
    for (n, session) in (0..).zip(&sessions) {
        let filter: SubscriptionFilter = filter(n).parse()?;
        world.index_mut().remove(&filter, session.no, world.versions());
    }
    report(&mut out, "unsubscribe", started.elapsed(), count)?;
    writeln!(out, "{:<34}{:>8} B", "memory left", HELD.load(Relaxed).saturating_sub(held))?;
    Ok(())
}

const ROUNDS: usize = 20;

/// The time of the fastest of several rounds: what the others had more belongs to the neighbours on the machine.
fn fastest(topics: &[Arc<str>], mut each: impl FnMut(&Arc<str>)) -> Duration {
    let round = |_| {
        let started = Instant::now();
        topics.iter().for_each(&mut each);
        started.elapsed()
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn filter(n: u64) -> String {
    let (site, device, value) = parts(n);
    match n % 20 {
        0 => format!("site{site}/dev{device}/#"),
        1 => format!("site{site}/+/{device}"),
        2 => format!("site{site}/+/{value}/+"),
        _ => topic(n),
    }
}

fn topic(n: u64) -> String {
    let (site, device, value) = parts(n);
    format!("site{site}/dev{device}/{value}")
}

fn parts(n: u64) -> (u64, u64, u64) {
    (mix(n) % 1000, n / 10, n % 10)
}

/// Spreads numbers.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 20
}

fn report(out: &mut impl Write, what: &str, took: Duration, times: u64) -> std::io::Result<()> {
    writeln!(out, "{what:<34}{:>8.1} ns", took.as_nanos() as f64 / times as f64)
}
