//! When a connection has been silent for too long (§3.1.2.10).

use std::time::Duration;

use columba_proto::packet::Packet;
use tokio::time::Instant;

use crate::limits::PING_WAIT_MAX;
use crate::options::Options;
use crate::session::Welcome;

/// The clocks of one connection.
pub(crate) struct Clocks {
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
    pub(crate) ping_sent: Option<Instant>,
    pub(crate) progress: Instant,
    pub(crate) packets_seen: u64,
    pub(crate) began: Instant,
}

impl Clocks {
    pub(crate) fn new(options: &Options, welcome: &Welcome) -> Self {
        let now = Instant::now();
        // [MQTT-3.2.2-21]
        let seconds = welcome.server_keep_alive.unwrap_or(options.keep_alive);
        Self {
            keep_alive: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
            sent: now,
            received: now,
            ping_sent: None,
            progress: now,
            packets_seen: 0,
            began: now,
        }
    }

    pub(crate) fn note_sent(&mut self, packets: u64) {
        if packets != self.packets_seen {
            self.packets_seen = packets;
            self.sent = Instant::now();
        }
    }

    pub(crate) fn note_received(&mut self, packet: &Packet<'_>) {
        self.received = Instant::now();
        self.ping_sent = None;
        if matches!(packet, Packet::Ack(_) | Packet::Publish(_)) {
            self.progress = self.received;
        }
    }

    /// A PINGREQ is due after a keep-alive time without a packet in one of the directions: the server wants to hear
    /// from us, and we from it.
    pub(crate) fn ping_due(&self) -> Option<Instant> {
        self.keep_alive.filter(|_| self.ping_sent.is_none()).map(|silence| self.sent.min(self.received) + silence)
    }

    pub(crate) fn ping_wait(&self) -> Duration {
        self.keep_alive.map_or(PING_WAIT_MAX, |silence| silence.min(PING_WAIT_MAX))
    }
}
