//! Keep Alive (§3.1.2.10): deadlines only, never a clock.

use crate::time::Time;

/// The server's half: by when the client must have said something [MQTT-3.1.2-22].
///
/// One and a half times the Keep Alive after the last packet; zero turns it off. While the server itself does not read
/// the connection the clock stands still.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeepAlive {
    /// Zero: none.
    patience_ms: u64,
    state: Listening,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Listening {
    Until(Time),
    /// We do not read; this much patience is left.
    Paused {
        left_ms: u64,
    },
}

impl KeepAlive {
    /// `seconds` is what CONNECT asked for, or the Server Keep Alive that CONNACK gave in its place [MQTT-3.2.2-21].
    pub const fn new(seconds: u16, now: Time) -> Self {
        let patience_ms = seconds as u64 * 1_500;
        Self { patience_ms, state: Listening::Until(now.plus_ms(patience_ms)) }
    }

    /// A packet has come.
    #[inline]
    pub const fn heard(&mut self, now: Time) {
        self.state = match self.state {
            Listening::Until(_) => Listening::Until(now.plus_ms(self.patience_ms)),
            Listening::Paused { .. } => Listening::Paused { left_ms: self.patience_ms },
        };
    }

    /// We stop reading: what the client says now we cannot hear.
    pub const fn pause(&mut self, now: Time) {
        if let Listening::Until(deadline) = self.state {
            self.state = Listening::Paused { left_ms: deadline.saturating_since(now) };
        }
    }

    /// We read again.
    pub const fn resume(&mut self, now: Time) {
        if let Listening::Paused { left_ms } = self.state {
            self.state = Listening::Until(now.plus_ms(left_ms));
        }
    }

    /// When to look again; `None` while there is nothing to wait for.
    #[inline]
    pub const fn deadline(&self) -> Option<Time> {
        match self.state {
            Listening::Until(deadline) if self.patience_ms > 0 => Some(deadline),
            Listening::Until(_) | Listening::Paused { .. } => None,
        }
    }

    /// Has the client been silent for too long? Then close with 0x8D.
    #[inline]
    pub fn is_over(&self, now: Time) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

/// The client's half: when to send PINGREQ [MQTT-3.1.2-20], and until when to wait for its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PingTimer {
    /// Zero: none.
    interval_ms: u64,
    last_sent: Time,
    asked_at: Option<Time>,
}

impl PingTimer {
    /// `seconds` as in CONNECT, or the Server Keep Alive of CONNACK [MQTT-3.1.2-21].
    pub const fn new(seconds: u16, now: Time) -> Self {
        Self { interval_ms: seconds as u64 * 1_000, last_sent: now, asked_at: None }
    }

    /// Any packet has been sent.
    pub const fn sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// PINGREQ has been sent.
    pub const fn pinged(&mut self, now: Time) {
        self.last_sent = now;
        if self.asked_at.is_none() {
            self.asked_at = Some(now);
        }
    }

    /// Any packet has come: the server is alive.
    pub const fn heard(&mut self) {
        self.asked_at = None;
    }

    /// When the next PINGREQ is due; `None` if keep-alive is off.
    pub fn next_ping(&self) -> Option<Time> {
        (self.interval_ms > 0).then(|| self.last_sent.plus_ms(self.interval_ms))
    }

    /// When to give the connection up: a PINGREQ has gone unanswered for one interval (§3.1.2.10).
    pub fn gives_up_at(&self) -> Option<Time> {
        self.asked_at.map(|asked_at| asked_at.plus_ms(self.interval_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_cut_off_after_one_and_a_half_intervals_of_silence() {
        let mut keep_alive = KeepAlive::new(10, Time(0));
        keep_alive.heard(Time(5_000));

        assert!(!keep_alive.is_over(Time(19_999)));
        assert!(keep_alive.is_over(Time(20_000)));
    }

    #[test]
    fn zero_means_that_silence_is_never_too_long() {
        let keep_alive = KeepAlive::new(0, Time(0));

        assert_eq!(keep_alive.deadline(), None);
        assert!(!keep_alive.is_over(Time(u64::MAX)));
    }

    #[test]
    fn the_clock_stands_still_while_we_do_not_read() {
        let mut keep_alive = KeepAlive::new(10, Time(0));

        keep_alive.pause(Time(14_000));
        assert_eq!(keep_alive.deadline(), None);
        keep_alive.resume(Time(60_000));

        assert_eq!(keep_alive.deadline(), Some(Time(61_000)));
    }

    #[test]
    fn a_client_pings_one_interval_after_its_last_packet_and_gives_up_one_later() {
        let mut timer = PingTimer::new(10, Time(0));
        timer.sent(Time(3_000));
        assert_eq!(timer.next_ping(), Some(Time(13_000)));
        assert_eq!(timer.gives_up_at(), None);

        timer.pinged(Time(13_000));
        assert_eq!(timer.gives_up_at(), Some(Time(23_000)));

        timer.heard();
        assert_eq!(timer.gives_up_at(), None);
    }
}
