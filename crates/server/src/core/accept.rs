//! A shard's share of the listening sockets.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, UnixListener},
};

use super::stream::Stream;

/// Connections taken at most in one turn from one socket; a storm of them must not starve those who are there.
const ACCEPTED_MAX: usize = 64;

/// How long no connection is accepted after the system refused one (it has no descriptor or no memory left).
const BACK_OFF: Duration = Duration::from_millis(200);

/// Connections beyond the bounds that are let in far enough to hear so in their CONNACK; who comes while these are there finds the door shut.
const SURPLUS_MAX: u32 = 64;

/// Counts connections against the bounds of the configuration.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    all: Count,
    listeners: Vec<Count>,
    surplus: Count,
}

/// What a connection occupies for as long as it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Index of the listener in the configuration.
    pub(super) listener: u16,
    /// It is one too many, here only to be told.
    pub(super) is_surplus: bool,
}

#[derive(Debug)]
struct Count {
    now: AtomicU32,
    max: AtomicU32,
}

impl Count {
    fn up_to(max: Option<u32>) -> Self {
        Self { now: AtomicU32::new(0), max: AtomicU32::new(max.unwrap_or(u32::MAX)) }
    }

    fn enter(&self) -> bool {
        let entered = self.now.fetch_add(1, Ordering::Relaxed) < self.max.load(Ordering::Relaxed);
        if !entered {
            self.leave();
        }
        entered
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Doorkeeper {
    pub(crate) fn new(max: Option<u32>, listeners: impl Iterator<Item = Option<u32>>) -> Self {
        Self {
            all: Count::up_to(max),
            listeners: listeners.map(Count::up_to).collect(),
            surplus: Count::up_to(Some(SURPLUS_MAX)),
        }
    }

    /// Other bounds for those who come from now on; who is inside stays.
    pub(crate) fn allow(&self, max: Option<u32>, listeners: impl Iterator<Item = Option<u32>>) {
        self.all.max.store(max.unwrap_or(u32::MAX), Ordering::Relaxed);
        for (count, max) in self.listeners.iter().zip(listeners) {
            count.max.store(max.unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// A place for one more, if only to be told that there is none.
    pub(super) fn enter(&self, listener: u16) -> Option<Place> {
        let is_surplus = !self.fits(listener);
        (!is_surplus || self.surplus.enter()).then_some(Place { listener, is_surplus })
    }

    fn fits(&self, listener: u16) -> bool {
        let listener = &self.listeners[usize::from(listener)];
        if !self.all.enter() {
            return false;
        }
        let entered = listener.enter();
        if !entered {
            self.all.leave();
        }
        entered
    }

    pub(super) fn leave(&self, place: Place) {
        if place.is_surplus {
            self.surplus.leave();
        } else {
            self.listeners[usize::from(place.listener)].leave();
            self.all.leave();
        }
    }
}

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
    pub(super) socket: Listening,
    /// Index of the listener in the configuration.
    pub(super) listener: u16,
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
    pub(super) fn new(socket: Listening, listener: u16) -> Self {
        Self { socket, listener, ready: true, pause: None, told: false }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_those_who_are_too_many_are_told_and_take_no_place_of_others() {
        let doorkeeper = Doorkeeper::new(Some(2), [Some(1), None].into_iter());
        let first = doorkeeper.enter(0).unwrap();
        assert!(!first.is_surplus);

        let told: Vec<_> = (0..SURPLUS_MAX).map(|_| doorkeeper.enter(0).unwrap()).collect();
        assert!(told.iter().all(|place| place.is_surplus));
        assert_eq!(doorkeeper.enter(0), None, "the listener is full, and enough are being told");
        assert_eq!(doorkeeper.enter(1).map(|place| place.is_surplus), Some(false), "another listener has room");
        assert_eq!(doorkeeper.enter(1), None, "the whole is full");

        doorkeeper.leave(told[0]);
        assert_eq!(doorkeeper.enter(0).map(|place| place.is_surplus), Some(true));
        doorkeeper.leave(first);
        assert_eq!(doorkeeper.enter(0).map(|place| place.is_surplus), Some(false));
    }
}
