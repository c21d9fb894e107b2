//! How much one client may send, or be sent, in a second. Who sends more is read from later, and nothing of what it says is lost; who is to be sent more finds it
//! in its queue, as if it read slowly.

use columba_proto::Time;

use crate::{
    limits::Rate,
    timers::{Timer, Timers},
};

/// What has been spent of the bytes and the messages that may pass in a second, in one direction of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: Option<Bucket>,
    messages: Option<Bucket>,
    /// A timer will look at it again.
    is_timed: bool,
}

/// A second's worth that fills up again with time. It may be overdrawn, for what has come is taken, and a message is sent whole: then it says when it is even.
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

    /// Bytes have passed.
    pub(crate) fn spend_bytes(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.bytes {
            bucket.spend(bytes);
        }
    }

    /// A PUBLISH has passed.
    pub(crate) fn spend_message(&mut self) {
        if let Some(bucket) = &mut self.messages {
            bucket.spend(1);
        }
    }

    /// A PUBLISH of so many bytes has passed.
    pub(crate) fn spend_publish(&mut self, bytes: u64) {
        self.spend_message();
        self.spend_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Whether a PUBLISH of so many bytes may pass at once; then it has. It may not pass what waits.
    pub(crate) fn lets_pass(&mut self, now: Time, bytes: u64) -> bool {
        let passes = !self.is_timed && self.even_at(now).is_none();
        if passes {
            self.spend_publish(bytes);
        }
        passes
    }

    /// Whether more has passed than time has paid for. Then `timer` comes when it has, and until it has come the answer is the same.
    pub(crate) fn owes(&mut self, now: Time, timers: &mut Timers, timer: Timer) -> bool {
        if !self.is_timed
            && let Some(at) = self.even_at(now)
        {
            self.is_timed = true;
            timers.set(at, timer);
        }
        self.is_timed
    }

    /// The timer has come.
    pub(crate) fn timer_passed(&mut self) {
        self.is_timed = false;
    }

    /// Whether something may wait for the timer.
    pub(crate) fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// When time has paid for all that passed, if it has not.
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
            pace.spend_message();
        }
        assert_eq!(pace.even_at(Time(0)), None);
        for _ in 0..5 {
            pace.spend_message();
        }
        assert_eq!(pace.even_at(Time(0)), Some(Time(500)));
        assert_eq!(pace.even_at(Time(499)), Some(Time(500)));
        assert_eq!(pace.even_at(Time(500)), None);
    }

    #[test]
    fn of_two_bounds_the_stricter_one_counts_and_without_any_there_is_none() {
        assert!(Pace::new(None, None, Time(0)).is_none());
        let mut pace = Pace::new(rate(1000), rate(1), Time(0)).unwrap();
        pace.spend_bytes(1500);
        pace.spend_message();
        pace.spend_message();
        assert_eq!(pace.even_at(Time(0)), Some(Time(1000)), "the message, not the 500 ms of the bytes");
    }

    #[test]
    fn who_owes_is_looked_at_again_once_and_when_it_is_even() {
        let mut timers = Timers::default();
        let timer = Timer::Pace(crate::id::ConnectionId { slot: 0, generation: 0 });
        let mut pace = Pace::new(None, rate(10), Time(0)).unwrap();
        assert!(!pace.owes(Time(0), &mut timers, timer));
        for _ in 0..11 {
            pace.spend_message();
        }

        assert!(pace.owes(Time(0), &mut timers, timer));
        assert!(pace.owes(Time(50), &mut timers, timer));
        assert_eq!((timers.len(), timers.due(Time(99))), (1, None));
        assert_eq!(timers.due(Time(100)), Some(timer));
        assert!(!pace.lets_pass(Time(100), 1), "whoever waits comes first");
        pace.timer_passed();
        assert!(!pace.owes(Time(100), &mut timers, timer));
        assert!(pace.lets_pass(Time(100), 1));
        assert!(!pace.lets_pass(Time(100), 1));
    }

    #[test]
    fn a_long_rest_is_worth_no_more_than_a_second() {
        let mut pace = Pace::new(rate(100), None, Time(0)).unwrap();
        assert_eq!(pace.even_at(Time(u64::MAX)), None);
        pace.spend_bytes(150);
        assert!(pace.even_at(Time(u64::MAX)).is_some());
    }
}
