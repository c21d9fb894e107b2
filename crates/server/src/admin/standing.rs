//! The line that the service manager shows beside the broker's name: how many clients there are, and what passes.

use std::{future::pending, time::Duration};

use tokio::time::{self, Instant, MissedTickBehavior};

use super::{outside::Outside, status::Status};
use crate::notify;

/// How often it is looked at. Figures are the average of as long.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps it up to date, if there is somebody to show it. At the start it is the banner's first line.
pub(super) async fn keep(outside: &Outside) {
    if !notify::is_heard() {
        return pending().await;
    }
    let live = outside.wait_live().await;
    let mut ticks = time::interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut since, mut said) = (Passed::default(), Instant::now(), String::new());
    loop {
        ticks.tick().await;
        // Who does not answer starves the watchdog, which says so.
        let Ok(status) = live.shards.status().await else { continue };
        let (now, passed) = (Instant::now(), Passed::until_now(&status));
        let figures = line(status.census.attached, before, passed, now - since);
        (before, since) = (passed, now);
        // At the end the manager is told about that.
        if figures != said && !outside.is_draining() {
            notify::status(&figures);
            said = figures;
        }
    }
}

/// Messages from clients and to clients, since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    received: u64,
    sent: u64,
}

impl Passed {
    fn until_now(status: &Status) -> Self {
        Self { received: status.publishes_received(), sent: status.publishes_sent() }
    }
}

fn line(clients: u64, before: Passed, now: Passed, time: Duration) -> String {
    let what = if clients == 1 { "client" } else { "clients" };
    let per_second = |before: u64, now: u64| short(rate(now.saturating_sub(before), time));
    let (received, sent) = (per_second(before.received, now.received), per_second(before.sent, now.sent));
    format!("{} {what}, {received} msg/s in, {sent} msg/s out", short(clients))
}

/// What is less than one in a second is rounded up: something passes.
fn rate(count: u64, time: Duration) -> u64 {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000).div_ceil(ms)
}

/// No more than three digits: `214`, `3.1k`, `61k`, `1.2M`.
fn short(number: u64) -> String {
    let in_units = |unit: u64, name: &str| {
        let (whole, tenth) = (number / unit, number % unit * 10 / unit);
        if whole < 10 { format!("{whole}.{tenth}{name}") } else { format!("{whole}{name}") }
    };
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => in_units(1_000, "k"),
        _ => in_units(1_000_000, "M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_clients_and_what_passed_since_the_last_one() {
        let (before, now) = (Passed { received: 500, sent: 70 }, Passed { received: 31_500, sent: 71 });

        assert_eq!(line(214, before, now, Duration::from_secs(10)), "214 clients, 3.1k msg/s in, 1 msg/s out");
        assert_eq!(line(1, now, now, Duration::from_secs(10)), "1 client, 0 msg/s in, 0 msg/s out");
    }

    #[test]
    fn large_numbers_are_short() {
        let shown = [0, 999, 1_000, 9_990, 10_000, 999_999, 1_250_000, 61_000_000].map(short);

        assert_eq!(shown, ["0", "999", "1.0k", "9.9k", "10k", "999k", "1.2M", "61M"]);
    }
}
