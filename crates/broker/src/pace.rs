//! How fast one client may send. Who is faster is read from later, and nothing of what it says is lost.

use columba_proto::Time;

use crate::limits::Rate;

/// What one client has spent of the bytes and the messages that it may send in a second.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
    messages: Option<Bucket>,
    /// A timer will look at it again.
    pub(crate) is_timed: bool,
}

/// A second's worth that fills up again with time. It may be overdrawn, for what has come is taken: then it says when it is even.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Thousandths of what may still be sent at once.
    left: i64,
    at: Time,
}

impl Pace {
    /// `None` where there is no bound.
    pub(crate) fn new(bytes: Option<Rate>, messages: Option<Rate>, now: Time) -> Option<Self> {
        let bucket = |rate: Rate| Bucket { rate, left: i64::from(rate.get()) * 1000, at: now };
        (bytes.is_some() || messages.is_some()).then(|| Self {
            bytes: bytes.map(bucket),
            messages: messages.map(bucket),
            is_timed: false,
        })
    }

    /// Bytes have come.
    pub(crate) fn came(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.bytes {
            bucket.spend(bytes);
        }
    }

    /// A PUBLISH has come.
    pub(crate) fn published(&mut self) {
        if let Some(bucket) = &mut self.messages {
            bucket.spend(1);
        }
    }

    /// When it has paid for all that came, if it has not.
    pub(crate) fn even_at(&mut self, now: Time) -> Option<Time> {
        let Self { bytes, messages, .. } = self;
        [bytes, messages].into_iter().flatten().filter_map(|bucket| bucket.even_at(now)).max()
    }
}

impl Bucket {
    fn spend(&mut self, count: usize) {
        self.left = self.left.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1000));
    }

    fn even_at(&mut self, now: Time) -> Option<Time> {
        let rate = i64::from(self.rate.get());
        let passed = i64::try_from(now.saturating_since(self.at)).unwrap_or(i64::MAX);
        // So many a second are so many thousandths a millisecond.
        self.left = self.left.saturating_add(passed.saturating_mul(rate)).min(rate * 1000);
        self.at = now;
        let owed = self.left.checked_neg().filter(|owed| *owed > 0)?;
        Some(now.plus_ms(owed.unsigned_abs().div_ceil(rate.unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(number: u32) -> Option<Rate> {
        Rate::new(number)
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_what_is_more_is_paid_with_time() {
        let mut pace = Pace::new(None, rate(10), Time(0)).unwrap();
        for _ in 0..10 {
            pace.published();
        }
        assert_eq!(pace.even_at(Time(0)), None);
        for _ in 0..5 {
            pace.published();
        }
        assert_eq!(pace.even_at(Time(0)), Some(Time(500)));
        assert_eq!(pace.even_at(Time(499)), Some(Time(500)));
        assert_eq!(pace.even_at(Time(500)), None);
    }

    #[test]
    fn of_two_bounds_the_stricter_one_counts_and_without_any_there_is_none() {
        assert!(Pace::new(None, None, Time(0)).is_none());
        let mut pace = Pace::new(rate(1000), rate(1), Time(0)).unwrap();
        pace.came(1500);
        pace.published();
        pace.published();
        assert_eq!(pace.even_at(Time(0)), Some(Time(1000)), "the message, not the 500 ms of the bytes");
    }

    #[test]
    fn a_long_rest_is_worth_no_more_than_a_second() {
        let mut pace = Pace::new(rate(100), None, Time(0)).unwrap();
        assert_eq!(pace.even_at(Time(u64::MAX)), None);
        pace.came(150);
        assert!(pace.even_at(Time(u64::MAX)).is_some());
    }
}
