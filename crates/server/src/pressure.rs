//! Looks how much memory the process has, and tells shards and doorkeeper when that comes near its bound or above it (docs/adr/0032).

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_broker::Pressure;

use crate::{
    admin::Memory,
    core::{Mail, Shared},
};

/// How often memory is looked at: near its bound, and far from it or where it has none.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Bytes by which memory may grow in a millisecond: what peers could send if nothing else held them up.
const GROWTH_PER_MS: u64 = 2 << 20;

/// From so many parts of a hundred on publishers are held back, until it is so many again.
const HIGH: u64 = 85;
const CALM: u64 = 80;

/// Above the bound nothing more is stored and who holds most goes, until it is so many parts of a hundred again.
const RELIEVED: u64 = 95;

/// Of so many looks, publishers are heard after one: else they would wait for ever where it is something else that takes the memory.
const HEARD_EVERY: u32 = 10;

/// Looks between two rounds of sending away: what is freed shows a moment later.
const SHED_EVERY: u32 = 3;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Dropped to stop it.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How near the bound memory is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Calm,
    High,
    Spent,
}

/// What a shard is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) pressure: Pressure,
    /// Nothing new is stored.
    pub(crate) is_spent: bool,
    /// So many bytes should be given back.
    pub(crate) shed: usize,
}

const NOTHING: Told = Told { pressure: Pressure::None, is_spent: false, shed: 0 };

struct Watching {
    shared: Arc<Shared>,
    level: Level,
    looks: u32,
    told: Told,
}

impl Watch {
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (running, orders) = mpsc::channel();
        let watching = Watching { shared: Arc::clone(shared), level: Level::Calm, looks: 0, told: NOTHING };
        let thread = thread::Builder::new().name("memory".into()).spawn(move || watching.run(&orders))?;
        Ok(Self { running: Some(running), thread: Some(thread) })
    }

    pub(crate) fn stop(&mut self) {
        drop(self.running.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches memory has ended by itself");
        }
    }
}

impl Watching {
    fn run(mut self, orders: &Receiver<()>) {
        loop {
            let bound = self.shared.doorkeeper.memory_max();
            let resident = bound.and_then(|_| Memory::resident_now());
            self.look(resident.unwrap_or(0), bound.unwrap_or(u64::MAX));
            let interval = bound.map_or(INTERVAL_MAX, |bound| interval(resident.unwrap_or(0), bound));
            if orders.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn look(&mut self, resident: u64, bound: u64) {
        let level = judge(self.level, resident, bound);
        if level != self.level {
            match level {
                Level::Calm => tracing::info!(resident, bound, "memory is well below its bound again"),
                Level::High => tracing::warn!(resident, bound, "memory is near its bound: publishers are slowed down"),
                Level::Spent => {
                    tracing::error!(
                        resident,
                        bound,
                        "memory is above its bound: nothing more is stored, nobody comes in, and who holds most is sent away"
                    );
                }
            }
            self.level = level;
            self.looks = 0;
            self.shared.doorkeeper.shut(level == Level::Spent);
        }
        let shards = self.shared.mesh.len();
        let told = advise(level, self.looks, resident, bound, shards);
        self.looks = self.looks.wrapping_add(1);
        if told == self.told && told.shed == 0 {
            return;
        }
        self.told = told;
        for shard in 0..shards {
            self.shared.mesh.post_one(shard, Mail::Memory(told));
        }
    }
}

/// How long the bound cannot be reached from here.
fn interval(resident: u64, bound: u64) -> Duration {
    let far = parts(bound, HIGH).saturating_sub(resident) / GROWTH_PER_MS;
    Duration::from_millis(far).clamp(INTERVAL, INTERVAL_MAX)
}

fn parts(bound: u64, of_hundred: u64) -> u64 {
    bound / 100 * of_hundred
}

/// Each level is left below the point where it is entered: a state that changes with each message helps nobody.
fn judge(before: Level, resident: u64, bound: u64) -> Level {
    let spent_from = if before == Level::Spent { parts(bound, RELIEVED) } else { bound };
    let high_from = if before == Level::Calm { parts(bound, HIGH) } else { parts(bound, CALM) };
    match resident {
        _ if resident > spent_from => Level::Spent,
        _ if resident > high_from => Level::High,
        _ => Level::Calm,
    }
}

/// What to tell at the look of this number since the level began.
fn advise(level: Level, look: u32, resident: u64, bound: u64, shards: usize) -> Told {
    if level == Level::Calm {
        return NOTHING;
    }
    let pressure = if look % HEARD_EVERY == HEARD_EVERY - 1 { Pressure::None } else { Pressure::High };
    let is_spent = level == Level::Spent;
    // Publishers first: they have a moment to make a difference.
    let is_time = is_spent && look % SHED_EVERY == SHED_EVERY - 1;
    let excess = resident.saturating_sub(parts(bound, RELIEVED)) / (shards.max(1) as u64);
    let shed = if is_time { usize::try_from(excess).unwrap_or(usize::MAX).max(1) } else { 0 };
    Told { pressure, is_spent, shed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_left_below_the_point_where_it_is_entered() {
        use Level::*;
        for (before, resident, expected) in [
            (Calm, 850, Calm),
            (Calm, 851, High),
            (High, 810, High),
            (High, 800, Calm),
            (High, 1_001, Spent),
            (Spent, 960, Spent),
            (Spent, 950, High),
            (Spent, 100, Calm),
            (Calm, 5_000, Spent),
        ] {
            assert_eq!(judge(before, resident, 1_000), expected, "{before:?} {resident}");
        }
    }

    #[test]
    fn memory_that_is_far_from_its_bound_is_looked_at_seldom() {
        assert_eq!(interval(50 << 20, 64 << 20), INTERVAL);
        assert_eq!(interval(1 << 30, 20 << 30), INTERVAL_MAX);
        let between = interval(1 << 30, 2 << 30);
        assert!(between > INTERVAL && between < INTERVAL_MAX, "{between:?}");
    }

    #[test]
    fn without_a_bound_it_is_always_calm() {
        assert_eq!(judge(Level::Spent, u64::MAX / 2, u64::MAX), Level::Calm);
    }

    #[test]
    fn publishers_wait_first_and_are_heard_now_and_then_and_only_then_somebody_goes() {
        let told: Vec<Told> = (0..HEARD_EVERY).map(|look| advise(Level::Spent, look, 1_200, 1_000, 2)).collect();

        assert_eq!(told[0], Told { pressure: Pressure::High, is_spent: true, shed: 0 });
        assert_eq!(told[2].shed, 125, "each shard its half of what is above 95 %");
        assert_eq!(told.iter().filter(|told| told.pressure == Pressure::None).count(), 1);
        assert!((0..30).all(|look| advise(Level::High, look, 900, 1_000, 2).shed == 0));
        assert_eq!(advise(Level::Calm, 5, 10, 1_000, 2), NOTHING);
    }
}
