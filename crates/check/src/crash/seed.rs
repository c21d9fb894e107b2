//! What the environment says about a run.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::outside::say;
use crate::sim::Rng;

/// Chance from the seed of `COLUMBA_SEED`, or from one that the clock gives. Either is said past the test harness, so that every
/// run can be repeated.
pub fn announced(test: &str) -> Rng {
    let given = std::env::var("COLUMBA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |since| u64::from(since.subsec_nanos()))
    });
    say(&format!("{test}: COLUMBA_SEED={seed}\n"));
    Rng::new(seed)
}

/// How many crashes `variable` asks for, or `few`.
///
/// # Panics
///
/// When it is set to something else than a number: a run that was meant to be long must not be short.
pub fn rounds(variable: &str, few: u64) -> u64 {
    let Ok(asked) = std::env::var(variable) else { return few };
    asked.parse().unwrap_or_else(|_| panic!("{variable}={asked} is no number of rounds"))
}
