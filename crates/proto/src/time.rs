//! Time as an input.

/// Milliseconds since the Unix epoch, handed in by whoever owns a clock.
///
/// Within one process it never runs backwards: the shell adds the elapsed monotonic time to the wall clock at start.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(pub u64);

impl Time {
    /// This moment and `millis` milliseconds; stops at the end of time instead of wrapping.
    #[inline]
    #[must_use]
    pub const fn plus_ms(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment and `seconds` seconds; stops at the end of time instead of wrapping.
    #[inline]
    #[must_use]
    pub const fn plus_secs(self, seconds: u64) -> Self {
        self.plus_ms(seconds.saturating_mul(1_000))
    }

    /// Milliseconds that have passed since `earlier`; zero if that lies ahead.
    #[inline]
    pub const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
