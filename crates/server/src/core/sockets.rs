//! The sockets of a shard, found by the brain's names for them.

use std::io;

use columba_broker::{id::ConnectionId, seam::Origin};
use mio::Token;

use super::{doorkeeper::Place, stream::Stream, wire::Wire};
use crate::entrance::{Address, NoEntrance};

/// What a poll token stands for, in its two highest bits.
const KIND_SHIFT: u32 = 62;
const GENERATION_BITS: u32 = 30;

/// What a poll event is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// A connection; the generation is cut to what fits a token.
    Connection { slot: u32, generation: u32 },
    /// A connection that is only waited for to close.
    Closing(u32),
    /// A listening socket, by its index.
    Listener(u32),
    /// Somebody woke the shard.
    Waker,
}

pub(super) const WAKER: Token = Token(3 << KIND_SHIFT);

impl Source {
    pub(super) fn token(self) -> Token {
        Token(match self {
            Self::Connection { slot, generation } => (cut(generation) as usize) << 32 | slot as usize,
            Self::Closing(index) => 1 << KIND_SHIFT | index as usize,
            Self::Listener(index) => 2 << KIND_SHIFT | index as usize,
            Self::Waker => WAKER.0,
        })
    }

    pub(super) fn of(token: Token) -> Self {
        let (low, high) = (word(token.0), word(token.0 >> 32));
        match token.0 >> KIND_SHIFT {
            0 => Self::Connection { slot: low, generation: high },
            1 => Self::Closing(low),
            2 => Self::Listener(low),
            _ => Self::Waker,
        }
    }
}

/// The low half.
fn word(bits: usize) -> u32 {
    u32::try_from(bits & 0xFFFF_FFFF).expect("32 bits are left")
}

fn cut(generation: u32) -> u32 {
    generation & ((1 << GENERATION_BITS) - 1)
}

/// One connection's socket. Small: an idle connection owns nothing else here.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Stream,
    /// What stands between it and the brain, where that is anything.
    pub(super) wire: Option<Box<Wire>>,
    pub(super) place: Place,
    pub(super) peer: Peer,
    /// It stands in the list of those to read.
    pub(super) queued: bool,
    /// The kernel took less than it was given; it says when there is room.
    pub(super) blocked: bool,
    /// The brain is done with it; it closes once the out-buffer is written.
    pub(super) closing: bool,
}

/// What is known about the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// It reads and writes.
    Open,
    /// It writes no more: a short read is not the last, the end follows.
    Finished,
    /// Writing to it failed; what was received before is still read.
    Gone,
}

impl Socket {
    pub(super) fn new(stream: Stream, wire: Option<Box<Wire>>, place: Place) -> Self {
        Self { stream, wire, place, peer: Peer::Open, queued: false, blocked: false, closing: false }
    }
}

impl Socket {
    /// Whether the handshakes of its layers go on.
    pub(super) fn is_shaking(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.is_shaking())
    }

    /// Whether bytes do not pass as they are.
    pub(super) fn has_layers(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| !wire.is_transparent())
    }

    /// The other end: whom a proxy speaks for, else as the system knows it.
    pub(super) fn address(&self) -> io::Result<Address> {
        match self.wire.as_ref().and_then(|wire| wire.stack().source()) {
            Some(source) => Ok(Address::Net(source)),
            None => self.stream.address(),
        }
    }

    /// What is known of the connection: from where it comes, and as whom.
    pub(super) fn origin(&self) -> Result<Origin, NoEntrance> {
        let peer = self.address().map(|address| address.to_string()).unwrap_or_default();
        let mut origin = Origin::new(peer, self.place.door.number);
        origin.is_surplus = self.place.is_surplus();
        if let Some(wire) = &self.wire {
            origin.identity = self.place.door.entrance.identity(wire.stack())?;
        }
        Ok(origin)
    }
}

/// All sockets of a shard.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    /// Sockets whose slot the brain gave away again before we heard that they are done.
    displaced: Vec<(ConnectionId, Socket)>,
    count: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

impl Sockets {
    pub(super) fn insert(&mut self, id: ConnectionId, socket: Socket) {
        let index = id.slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        if let Some(old) = slot.socket.replace(socket) {
            self.displaced.push((ConnectionId { slot: id.slot, generation: slot.generation }, old));
        }
        slot.generation = id.generation;
        self.count += 1;
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation { slot.socket.as_mut() } else { None }
    }

    /// The connection that a token means, where it still exists.
    pub(super) fn find(&self, slot: u32, generation: u32) -> Option<ConnectionId> {
        let found = self.slots.get(slot as usize)?;
        (found.socket.is_some() && cut(found.generation) == generation)
            .then_some(ConnectionId { slot, generation: found.generation })
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Socket> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let socket = if slot.generation == id.generation {
            slot.socket.take()
        } else {
            let place = self.displaced.iter().position(|(displaced, _)| *displaced == id)?;
            Some(self.displaced.swap_remove(place).1)
        };
        self.count -= usize::from(socket.is_some());
        socket
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mio::net::TcpStream;

    use super::{
        super::doorkeeper::{Door, DoorBounds},
        *,
    };
    use crate::{config::Listener, entrance::Entrance};

    fn socket(listener: u16) -> Socket {
        let door = Arc::new(Door::new(listener, Entrance::new(&Listener::local()).unwrap(), DoorBounds::default()));
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        Socket::new(Stream::Tcp(stream), None, Place::uncounted(door))
    }

    #[test]
    fn a_token_names_its_source() {
        for source in [
            Source::Connection { slot: 7, generation: (1 << GENERATION_BITS) - 1 },
            Source::Closing(9),
            Source::Listener(u32::MAX),
            Source::Waker,
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }

    #[test]
    fn a_late_word_about_an_old_connection_reaches_nobody() {
        let mut sockets = Sockets::default();
        let (old, new) = (ConnectionId { slot: 3, generation: 1 }, ConnectionId { slot: 3, generation: 2 });

        sockets.insert(old, socket(1));
        sockets.insert(new, socket(2));

        assert!(sockets.get_mut(old).is_none());
        assert_eq!(sockets.find(3, 1), None);
        assert_eq!(sockets.remove(old).map(|socket| socket.place.door.number), Some(1));
        assert_eq!(sockets.remove(new).map(|socket| socket.place.door.number), Some(2));
        assert!(sockets.is_empty());
    }

    #[test]
    fn a_slot_stays_small() {
        // A socket of a debug build also knows its poll.
        assert!(size_of::<Slot>() <= size_of::<TcpStream>() + 48, "{}", size_of::<Slot>());
    }
}
