//! What a service manager wants to hear (`sd_notify(3)`): that the broker is ready, what it is doing, that it stops. One datagram each; without `NOTIFY_SOCKET`
//! nobody asks, and nothing is sent.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

/// The environment variable with the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Whether there is somebody who listens.
pub(crate) fn is_heard() -> bool {
    socket().is_some()
}

/// Everything is recovered, and all listeners are open. `status` is a line for people.
pub(crate) fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={}\n", one_line(status)));
}

/// How it is going, in a line for people.
pub(crate) fn status(line: &str) {
    send(&format!("STATUS={}\n", one_line(line)));
}

/// The broker begins to stop.
pub(crate) fn stopping() {
    send("STOPPING=1\nSTATUS=saying goodbye to the clients\n");
}

/// All is well; to be said once in a while where the manager [waits](watchdog) for it.
pub(crate) fn alive() {
    send("WATCHDOG=1\n");
}

/// How long the manager waits to hear that all is well, if it does.
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros)
}

/// Whoever did not ask is told nothing; whoever asked and cannot be reached is at fault, and learns it from the log.
fn send(message: &str) {
    let Some(name) = socket() else { return };
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn socket() -> Option<OsString> {
    env::var_os(SOCKET).filter(|name| !name.is_empty())
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
