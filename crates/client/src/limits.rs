//! Every queue of a client has a bound; these are the defaults.

use std::time::Duration;

/// Bytes of publications that wait or are in flight; a publisher waits beyond.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// What a message counts for in outbox and inbox beside its topic and payload.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// Bytes of QoS 0 messages that the inboxes hold for an application that does not take them.
pub const INBOX_BYTES_MAX: usize = 64 << 20;

/// Messages of QoS 1 and 2 that we have in flight at once, where the server does not say less.
pub const INFLIGHT_MAX: u16 = 100;

/// Messages of QoS 1 and 2 that the server may have in flight to us (§3.1.2.11.3).
pub const RECEIVE_MAXIMUM: u16 = 1_024;

/// Events that wait for a slow listener; it then misses the oldest.
pub(crate) const EVENTS_MAX: usize = 64;

/// Bytes read from the socket at once.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Bytes encoded before they are written to the socket; more waits in the outbox.
pub(crate) const WRITE_BYTES_MAX: usize = 256 << 10;

/// From the first byte of DNS to CONNACK.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a closing client tries to get its last bytes out.
pub(crate) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a PINGRESP may take.
pub(crate) const PING_WAIT_MAX: Duration = Duration::from_secs(20);

/// After this time without an acknowledgement, 3.1 and 3.1.1 send again what is in flight.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);
