//! After some questions without an answer nobody is asked for a while: who waits would wait for nothing.

use std::time::{Duration, Instant};

/// Questions in a row without an answer until it opens.
const FAILURES_MAX: u32 = 5;

/// How long it stays open; then one question tries.
const PAUSE: Duration = Duration::from_secs(5);

/// Whether it is worth asking.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Nobody is asked before.
    until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask now. When the pause is over the first who asks this tries for all, and the others wait for another pause or for its answer.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    /// There was an answer; says whether it was open.
    pub(super) fn answered(&mut self) -> bool {
        self.failures = 0;
        self.until.take().is_some()
    }

    /// There was none; says whether it opens by that.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= FAILURES_MAX && self.until.is_none();
        if self.failures >= FAILURES_MAX {
            self.until = Some(now + PAUSE);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_failures_one_tries_for_all() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(start) && breaker.may_ask(start));
        }
        assert!(breaker.failed(start));
        assert!(!breaker.may_ask(start) && !breaker.may_ask(start + PAUSE / 2));

        assert!(breaker.may_ask(start + PAUSE), "one tries");
        assert!(!breaker.may_ask(start + PAUSE), "the others do not");
        assert!(!breaker.failed(start + PAUSE), "it was open");
        assert!(!breaker.may_ask(start + PAUSE));

        assert!(breaker.may_ask(start + 2 * PAUSE));
        assert!(breaker.answered());
        assert!(breaker.may_ask(start + 2 * PAUSE) && breaker.may_ask(start + 2 * PAUSE));
        assert!(!breaker.answered() && !breaker.failed(start), "it begins anew");
    }

    #[test]
    fn an_answer_in_between_keeps_it_closed() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                assert!(!breaker.failed(start));
            }
            assert!(!breaker.answered());
        }
        assert!(breaker.may_ask(start));
    }
}
