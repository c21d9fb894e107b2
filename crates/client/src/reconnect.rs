//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Exponential back-off with full jitter: each wait is drawn from nothing to a ceiling that doubles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub first: Duration,
    /// No ceiling is higher.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait before attempt `attempt` (from 0), for a `chance` of 0 to `u64::MAX`.
    pub fn wait(&self, attempt: u32, chance: u64) -> Duration {
        let ceiling = self.first.saturating_mul(2_u32.saturating_pow(attempt)).min(self.max);
        let millis = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(if millis == 0 { 0 } else { chance % (millis + 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };

        assert!(backoff.wait(0, 999) <= Duration::from_secs(1));
        assert_eq!(backoff.wait(2, 4_000), Duration::from_secs(4));
        assert_eq!(backoff.wait(60, 30_000), Duration::from_secs(30));
        assert_eq!(backoff.wait(60, 0), Duration::ZERO);
        assert_eq!(Backoff { first: Duration::ZERO, max: Duration::ZERO }.wait(3, 17), Duration::ZERO);
    }
}
