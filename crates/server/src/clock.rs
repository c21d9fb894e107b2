//! The time that the brain is given: the wall clock at start plus what a monotonic clock counted since.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use columba_proto::Time;

/// Never goes back while the process runs, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessClock {
    wall_ms: u64,
    started: Instant,
}

impl ProcessClock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX), started: Instant::now() }
    }

    pub(crate) fn at(&self, instant: Instant) -> Time {
        let elapsed = instant.saturating_duration_since(self.started).as_millis();
        Time(self.wall_ms.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX)))
    }

    pub(crate) fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// How long from `now` until `at`.
    pub(crate) fn until(&self, at: Time, now: Instant) -> Duration {
        let due = self.started + Duration::from_millis(at.0.saturating_sub(self.wall_ms));
        due.saturating_duration_since(now)
    }
}
