//! A shard's share of the listening sockets.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, UnixListener},
};

use super::stream::Stream;
use crate::entrance::Entrance;

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
    surplus: Count,
}

/// A listener, for as long as somebody comes through it or is here who did.
#[derive(Debug)]
pub(crate) struct Door {
    /// At the start its index in the configuration; one that is added later has a number that none had before.
    pub(crate) number: u16,
    pub(crate) entrance: Entrance,
    count: Count,
    /// It is no more: who is on the way from shard to shard is not let in, either.
    is_closed: AtomicBool,
}

/// What a connection occupies for as long as it is there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(super) door: Arc<Door>,
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

    fn allow(&self, max: Option<u32>) {
        self.max.store(max.unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Door {
    pub(crate) fn new(number: u16, entrance: Entrance, max: Option<u32>) -> Self {
        Self { number, entrance, count: Count::up_to(max), is_closed: AtomicBool::new(false) }
    }

    /// Another bound for those who come from now on; who is inside stays.
    pub(crate) fn allow(&self, max: Option<u32>) {
        self.count.allow(max);
    }

    /// Nobody comes through it any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

impl Doorkeeper {
    pub(crate) fn new(max: Option<u32>) -> Self {
        Self { all: Count::up_to(max), surplus: Count::up_to(Some(SURPLUS_MAX)) }
    }

    /// Another bound for those who come from now on; who is inside stays.
    pub(crate) fn allow(&self, max: Option<u32>) {
        self.all.allow(max);
    }

    /// A place for one more, if only to be told that there is none.
    pub(super) fn enter(&self, door: &Arc<Door>) -> Option<Place> {
        let is_surplus = !self.fits(door);
        (!is_surplus || self.surplus.enter()).then(|| Place { door: Arc::clone(door), is_surplus })
    }

    fn fits(&self, door: &Door) -> bool {
        if !self.all.enter() {
            return false;
        }
        let entered = door.count.enter();
        if !entered {
            self.all.leave();
        }
        entered
    }

    pub(super) fn leave(&self, place: &Place) {
        if place.is_surplus {
            self.surplus.leave();
        } else {
            place.door.count.leave();
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
    use crate::config::Listener;

    #[test]
    fn some_of_those_who_are_too_many_are_told_and_take_no_place_of_others() {
        let doorkeeper = Doorkeeper::new(Some(2));
        let door = |number, max| Arc::new(Door::new(number, Entrance::new(&Listener::local()).unwrap(), max));
        let (narrow, wide) = (door(0, Some(1)), door(1, None));
        let first = doorkeeper.enter(&narrow).unwrap();
        assert!(!first.is_surplus);

        let told: Vec<_> = (0..SURPLUS_MAX).map(|_| doorkeeper.enter(&narrow).unwrap()).collect();
        assert!(told.iter().all(|place| place.is_surplus));
        assert!(doorkeeper.enter(&narrow).is_none(), "the listener is full, and enough are being told");
        assert_eq!(doorkeeper.enter(&wide).map(|place| place.is_surplus), Some(false), "another listener has room");
        assert!(doorkeeper.enter(&wide).is_none(), "the whole is full");

        doorkeeper.leave(&told[0]);
        assert_eq!(doorkeeper.enter(&narrow).map(|place| place.is_surplus), Some(true));
        doorkeeper.leave(&first);
        assert_eq!(doorkeeper.enter(&narrow).map(|place| place.is_surplus), Some(false));
    }
}
