//! What ends a command early: a signal, or a time limit.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Somebody wants the command to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Interrupt;

/// Waits for Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn interrupted() -> Interrupt {
    tokio::select! {
        () = heard(SignalKind::interrupt()) => {}
        () = heard(SignalKind::terminate()) => {}
        () = heard(SignalKind::hangup()) => {}
    }
    Interrupt
}

async fn heard(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until the time is over; for ever without a limit.
pub(crate) async fn time_limit(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
