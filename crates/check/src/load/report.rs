//! What a measurement found.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What a measurement found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages sent, from first to last.
    pub sent: u64,
    /// Messages delivered, repetitions not counted.
    pub received: u64,
    /// Deliveries that should have come and did not.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicates: u64,
    /// Deliveries that came after a later one of the same publisher.
    pub out_of_order: u64,
    /// Payloads that were not what was sent.
    pub corrupt: u64,
    /// Deliveries in the measured time.
    pub measured_deliveries: u64,
    /// The measured time.
    pub measured: Duration,
    /// Processor time that the broker's process used in the measured time, where it was looked at.
    pub cpu: Option<Duration>,
    /// Nanoseconds from the moment a message was due to its delivery, in the measured time.
    pub latency: Histogram<u64>,
    /// Nanoseconds from the moment a QoS 1 or 2 message was due to the end of the publisher's exchange, in the measured time.
    pub answers: Histogram<u64>,
}

impl Report {
    /// Deliveries per second of the measured time.
    #[expect(clippy::cast_precision_loss, reason = "a rate is not exact to 2^-53")]
    pub fn per_second(&self) -> f64 {
        self.measured_deliveries as f64 / self.measured.as_secs_f64().max(1e-9)
    }

    /// Microseconds of the broker's processor time for each delivery.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is not exact to 2^-53")]
    pub fn cpu_us_per_delivery(&self) -> Option<f64> {
        let cpu = self.cpu?;
        (self.measured_deliveries > 0).then(|| cpu.as_secs_f64() * 1e6 / self.measured_deliveries as f64)
    }

    /// Nothing lost, nothing twice, nothing out of order, nothing changed.
    pub fn is_flawless(&self) -> bool {
        self.lost + self.duplicates + self.out_of_order + self.corrupt == 0
    }
}
