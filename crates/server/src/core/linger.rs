//! Sockets on their way out: everything is said, the other end has yet to read it.
//!
//! Closing a socket with unread input makes the kernel reset the connection, and the reset may overtake the last packet. So our side is shut
//! down first, and what still comes is read and thrown away until the other end closes or the time is over.

use std::{
    collections::VecDeque,
    io::{self, Read},
    time::{Duration, Instant},
};

use mio::{Interest, Registry};
use slab::Slab;

use super::{sockets::Source, stream::Stream};

/// How long the other end has to read its last packet.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// So many at once; the others are closed at once.
const LINGERING_MAX: usize = 1024;

/// Bytes that are thrown away at most.
const DISCARDED_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Lingering {
    sockets: Slab<(Stream, usize)>,
    /// In the order of their deadlines; an index may have been closed and used again, which only shortens the time of its successor.
    deadlines: VecDeque<(Instant, u32)>,
}

impl Lingering {
    /// Shuts our side down and waits for the other.
    pub(super) fn start(&mut self, registry: &Registry, mut stream: Stream, now: Instant, scratch: &mut [u8]) {
        if self.sockets.len() >= LINGERING_MAX || stream.shut_down_writing().is_err() {
            return;
        }
        let entry = self.sockets.vacant_entry();
        let Ok(index) = u32::try_from(entry.key()) else {
            return;
        };
        if registry.reregister(&mut stream, Source::Closing(index).token(), Interest::READABLE).is_err() {
            return;
        }
        entry.insert((stream, 0));
        self.deadlines.push_back((now + LINGER_MAX, index));
        self.readable(index, scratch);
    }

    /// Throws away what came, and closes where that was the end.
    pub(super) fn readable(&mut self, index: u32, scratch: &mut [u8]) {
        let index = index as usize;
        let Some((stream, discarded)) = self.sockets.get_mut(index) else {
            return;
        };
        loop {
            match stream.read(scratch) {
                Ok(read) if read > 0 && *discarded < DISCARDED_MAX => *discarded += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.sockets.remove(index);
                    return;
                }
            }
        }
    }

    /// Closes those whose time is over.
    pub(super) fn sweep(&mut self, now: Instant) {
        while let Some(&(deadline, index)) = self.deadlines.front()
            && (deadline <= now || !self.sockets.contains(index as usize))
        {
            self.deadlines.pop_front();
            self.sockets.try_remove(index as usize);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(deadline, _)| deadline)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}
