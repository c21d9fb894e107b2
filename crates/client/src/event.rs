//! What an application can hear about its connection.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{ConnectError, Lost};

/// What happens to a client's connection and session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server has accepted us.
    Connected {
        /// Whether it still had our session.
        session_present: bool,
    },
    /// The connection has ended.
    Disconnected(Lost),
    /// The next attempt to connect begins after this time.
    Reconnecting {
        /// Until then.
        wait: Duration,
        /// Why the last attempt failed, if this is not the first.
        failed: Option<Arc<ConnectError>>,
    },
    /// The server no longer had our session: what it kept for us is gone, and the subscriptions are made anew.
    SessionLost,
    /// QoS 0 messages came faster than the application took them, and one was dropped.
    Dropped,
}
