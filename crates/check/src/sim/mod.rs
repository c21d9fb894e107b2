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
//! | `faults` | faults planted around the broker, to show that the judge finds them |
//!
//! Same seed, same history. The judge is [`crate::model`].

mod agenda;
mod client;
mod faults;
mod host;
mod journal;
mod network;
mod payload;
mod plan;
mod rng;
mod world;

pub use faults::PlantedFault;
pub use rng::Rng;

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
    let mut world = world::World::new(seed, fault);
    world.run();
    let history = std::mem::take(&mut world.history);
    let violations = judge(&history);
    Outcome { seed, operations: world.operations(), history, violations }
}

/// Lives all these lives, on all processors, with what was wrong in each bad one, in the order of the seeds.
pub fn live_all(seeds: &[u64], fault: Option<PlantedFault>) -> Vec<(u64, String)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut bad = Vec::new();
        while let Some((index, &seed)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, seeds.get(index)?)))
        {
            let complaint =
                catch_unwind(|| run(seed, fault).complaint()).unwrap_or_else(|_| Some(format!("seed {seed}\nit panicked")));
            bad.extend(complaint.map(|complaint| (index, complaint)));
        }
        bad
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut bad = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    bad.sort_unstable();
    bad.into_iter().map(|(index, complaint)| (seeds[index], complaint)).collect()
}

/// The seeds of a series: `count` of them, drawn from `base`.
pub fn seeds(base: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut rng = Rng::new(base);
    // Small enough to be typed.
    (0..count).map(move |_| rng.next_u64() >> 24)
}
