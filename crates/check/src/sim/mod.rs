//! Deterministic simulation: a broker lives through a bad life in one thread, on a simulated disk and network, and is judged by what its clients saw.
//!
//! | file | is |
//! |---|---|
//! | `world` | picks the next due thing, lets it happen, drains what follows; brings everybody to rest at the end |
//! | `host` | shards in the turn order of the server |
//! | `journal` | the real journal, cold store and checkpoint on a simulated disk, every wait made visible |
//! | `network` | connections as pipes of small fault nodes |
//! | `client` | a correct client, written on `proto`'s sender and receiver, and witness to all it sees |
//! | `plan` | what clients do, drawn from the seed |
//! | `hostile` | clients that break the protocol, never read, never answer |
//! | `faults` | faults planted around the broker, to show that the judge finds them |
//! | `air`, `tally` | what is on its way to the disk, so that crashes come at the worst moments; what happened, counted |
//!
//! Same seed, same history. The judge is [`crate::model`].

mod agenda;
mod air;
mod client;
mod faults;
mod host;
mod hostile;
mod journal;
mod network;
mod payload;
mod plan;
mod rng;
mod tally;
mod world;

pub use faults::PlantedFault;
pub(crate) use host::{Host, Wish};
pub(crate) use journal::{Journal, Medium, Wrote};
pub use rng::Rng;
pub use tally::{Happening, Tally};

use std::{
    panic::catch_unwind,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::model::{History, Violation, judge};

/// What came of one simulated life.
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// All that happened.
    pub history: History,
    /// How often clients did something.
    pub operations: usize,
    /// What happened, counted.
    pub tally: Tally,
    /// All promises that were broken.
    pub violations: Vec<Violation>,
}

impl Outcome {
    /// Why the life was bad, for people: every broken promise, and the story of the first one. `None` where none was broken.
    pub fn complaint(&self) -> Option<String> {
        let first = self.violations.first()?;
        let others: Vec<String> = self.violations[1..]
            .iter()
            .take(9)
            .map(|violation| format!("also: {:?} {:?} {:?}", violation.wrong, violation.message, violation.client))
            .collect();
        let notes = self.history.notes.join("\n");
        Some(format!("seed {}\n{}\n{}\n{notes}", self.seed, first.told(&self.history), others.join("\n")))
    }
}

/// Lives one life. With a planted fault the verdict should be bad.
pub fn run(seed: u64, fault: Option<PlantedFault>) -> Outcome {
    live(seed, world::World::new(seed, fault))
}

/// Lives one life that is led into a moment, and dies there some times.
pub fn run_into(seed: u64, moment: Happening) -> Outcome {
    let mut world = world::World::new(seed, None);
    world.lead_into(moment);
    live(seed, world)
}

fn live(seed: u64, mut world: world::World) -> Outcome {
    world.run();
    let history = std::mem::take(&mut world.history);
    let violations = judge(&history);
    Outcome { seed, operations: world.operations(), history, tally: world.tally(), violations }
}

/// What came of a series of lives.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What was wrong in each bad one, in the order of the seeds.
    pub bad: Vec<(u64, String)>,
    /// What happened in all of them, counted.
    pub tally: Tally,
}

/// Lives all these lives, on all processors.
pub fn live_all(seeds: &[u64], fault: Option<PlantedFault>) -> Series {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    live_on(threads, seeds, fault)
}

/// The same on so many threads.
///
/// # Panics
/// Where a thread dies of something else than the life that it lives.
pub fn live_on(threads: usize, seeds: &[u64], fault: Option<PlantedFault>) -> Series {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut bad, mut tally) = (Vec::new(), Tally::default());
        while let Some((index, &seed)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, seeds.get(index)?)))
        {
            match catch_unwind(|| run(seed, fault)) {
                Ok(outcome) => {
                    tally.take_in(&outcome.tally);
                    bad.extend(outcome.complaint().map(|complaint| (index, complaint)));
                }
                Err(_) => bad.push((index, format!("seed {seed}\nit panicked"))),
            }
        }
        (bad, tally)
    };
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a life's panic is caught")).collect::<Vec<_>>()
    });
    let (mut bad, mut tally) = (Vec::new(), Tally::default());
    for (some, counted) in parts {
        bad.extend(some);
        tally.merge(&counted);
    }
    bad.sort_unstable();
    Series { bad: bad.into_iter().map(|(index, complaint)| (seeds[index], complaint)).collect(), tally }
}

/// The seeds of a series: `count` of them, drawn from `base`.
pub fn seeds(base: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut rng = Rng::new(base);
    // Small enough to be typed.
    (0..count).map(move |_| rng.next_u64() >> 24)
}
