//! A shard's share of the listening sockets.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, UnixListener},
};

use super::{doorkeeper::Door, stream::Stream};

/// Connections taken at most in one turn from one socket; a storm of them must not starve those who are there.
const ACCEPTED_MAX: usize = 64;

/// How long no connection is accepted after the system refused one (it has no descriptor or no memory left).
const BACK_OFF: Duration = Duration::from_millis(200);

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listening {
    /// Of a port.
    Tcp(TcpListener),
    /// Of a path.
    Unix(UnixListener),
}

impl Listening {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Self::Unix(socket) => socket.register(registry, token, Interest::READABLE),
        }
    }
}

/// One listening socket of one shard.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// Of all that the shard ever had; its poll names it so.
    pub(super) index: u32,
    pub(super) socket: Listening,
    pub(super) door: Arc<Door>,
    /// There may be more to accept.
    ready: bool,
    /// Not before this time, after the system refused.
    pause: Option<Instant>,
    /// The refusal is in the log.
    told: bool,
}

/// What came of an attempt to accept.
pub(super) enum Accepted {
    /// A connection.
    One(Stream),
    /// Nothing now.
    Nothing,
}

impl Acceptor {
    pub(super) fn new(index: u32, socket: Listening, door: Arc<Door>) -> Self {
        Self { index, socket, door, ready: true, pause: None, told: false }
    }

    pub(super) fn is_readable(&mut self) {
        self.ready = true;
    }

    /// Whether an attempt makes sense before anything else happens.
    pub(super) fn has_work(&self) -> bool {
        self.ready && self.pause.is_none()
    }

    /// When an attempt makes sense again.
    pub(super) fn pause_ends(&self) -> Option<Instant> {
        self.pause
    }

    /// Waits with the next one: they come faster than they may.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.pause = Some(at);
    }

    /// How many to accept in this turn.
    pub(super) fn share(&mut self, now: Instant) -> usize {
        if self.pause.is_some_and(|until| until <= now) {
            self.pause = None;
        }
        if self.has_work() { ACCEPTED_MAX } else { 0 }
    }

    pub(super) fn accept(&mut self, now: Instant) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok(stream) => {
                    self.told = false;
                    return Accepted::One(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Accepted::Nothing;
                }
                // The other end is gone already: the next one.
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::error!(%error, "cannot accept connections; trying on");
                    }
                    self.pause = Some(now + BACK_OFF);
                    return Accepted::Nothing;
                }
            }
        }
    }
}
