//! Many connections on one event loop, each with a voice that says what it sends next.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::voices::{self, Next, Part};
use super::{Attacker, Seen};
use crate::load::{LoadError, raise_descriptor_limit};

/// Connections begun in one turn.
const OPENED_PER_TURN: usize = 256;
/// After so long a connection that was closed is begun again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Writes of one connection before the next one has its turn.
const WRITES_PER_TURN: usize = 8;
const READ_BYTES: usize = 64 * 1024;
const TURN_MAX: Duration = Duration::from_millis(20);

/// One connection, or the place of one that is begun again later.
enum Member {
    Away(Instant),
    Here(Box<Line>),
}

struct Line {
    stream: TcpStream,
    part: Part,
    out: Vec<u8>,
    written: usize,
    /// What it says next comes not before this; `None`: nothing does.
    speaks_at: Option<Instant>,
    can_write: bool,
    /// The first bytes that came, as far as they tell whether it was let in.
    answer: Vec<u8>,
}

struct Horde<'t> {
    attacker: Attacker<'t>,
    poll: Poll,
    members: Vec<Member>,
    /// How often each was begun.
    lives: Vec<u32>,
    seen: Seen,
    buffer: Vec<u8>,
}

pub(super) fn attack(attacker: Attacker<'_>, begun: impl FnOnce()) -> Result<Seen, LoadError> {
    let connections = attacker.connections;
    raise_descriptor_limit();
    let now = Instant::now();
    let mut horde = Horde {
        attacker,
        poll: Poll::new().map_err(LoadError::io("making a poll"))?,
        members: (0..connections).map(|_| Member::Away(now)).collect(),
        lives: vec![0; connections],
        seen: Seen::default(),
        buffer: vec![0; READ_BYTES],
    };
    let mut events = Events::with_capacity(4096);
    let mut begun = Some(begun);
    while !attacker.over.load(Ordering::Relaxed) {
        horde.turn(&mut events)?;
        if horde.seen.opened >= connections as u64
            && let Some(begun) = begun.take()
        {
            begun();
        }
    }
    Ok(horde.seen)
}

impl Horde<'_> {
    fn turn(&mut self, events: &mut Events) -> Result<(), LoadError> {
        let busy = self.members.iter().any(Member::is_talking);
        let wait = if busy { Duration::ZERO } else { TURN_MAX };
        match self.poll.poll(events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::io("waiting for events")(error)),
        }
        for event in events.iter() {
            let number = event.token().0;
            if event.is_writable()
                && let Member::Here(line) = &mut self.members[number]
            {
                line.can_write = true;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(number);
            }
        }
        let now = Instant::now();
        let mut opened = 0;
        for number in 0..self.members.len() {
            match &self.members[number] {
                Member::Away(until) if *until <= now && opened < OPENED_PER_TURN => {
                    opened += 1;
                    self.open(number)?;
                }
                Member::Away(_) => {}
                Member::Here(_) => self.speak(number, now),
            }
        }
        Ok(())
    }

    fn open(&mut self, number: usize) -> Result<(), LoadError> {
        let part = voices::part(self.attacker, number, self.lives[number])?;
        self.lives[number] += 1;
        // A port that is not free again yet, or a queue that is full: later.
        let Ok(stream) = connect(part.address) else {
            self.members[number] = Member::Away(Instant::now() + AGAIN_AFTER);
            return Ok(());
        };
        self.seen.opened += 1;
        let mut line = Line {
            stream,
            part,
            out: Vec::new(),
            written: 0,
            speaks_at: Some(Instant::now()),
            can_write: false,
            answer: Vec::new(),
        };
        self.poll
            .registry()
            .register(&mut line.stream, Token(number), Interest::READABLE | Interest::WRITABLE)
            .map_err(LoadError::io("registering a socket"))?;
        self.members[number] = Member::Here(Box::new(line));
        Ok(())
    }

    fn read(&mut self, number: usize) {
        let Member::Here(line) = &mut self.members[number] else { return };
        if !line.part.reads {
            return;
        }
        loop {
            match line.stream.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let was_in = line.is_let_in();
                    if line.answer.len() < voices::ANSWER_BYTES_MAX {
                        line.answer.extend_from_slice(&self.buffer[..count]);
                    }
                    if !was_in && line.is_let_in() {
                        self.seen.let_in += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.seen.closed += 1;
        self.members[number] = Member::Away(Instant::now() + AGAIN_AFTER);
    }

    fn speak(&mut self, number: usize, now: Instant) {
        for _ in 0..WRITES_PER_TURN {
            let Member::Here(line) = &mut self.members[number] else { return };
            if !line.can_write {
                return;
            }
            if line.written == line.out.len() {
                if line.speaks_at.is_none_or(|at| at > now) {
                    return;
                }
                line.out.clear();
                line.written = 0;
                match (line.part.voice)(&mut line.out) {
                    Next::AtOnce => {}
                    Next::After(pause) => line.speaks_at = Some(now + pause),
                    Next::Never => line.speaks_at = None,
                    Next::Leave => {
                        self.members[number] = Member::Away(now);
                        return;
                    }
                }
                continue;
            }
            match line.stream.write(&line.out[line.written..]) {
                Ok(count) => line.written += count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    line.can_write = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.seen.closed += 1;
                    self.members[number] = Member::Away(now + AGAIN_AFTER);
                    return;
                }
            }
        }
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Member {
    /// It has something to say at once.
    fn is_talking(&self) -> bool {
        match self {
            Self::Away(_) => false,
            Self::Here(line) => {
                line.can_write && (line.written < line.out.len() || line.speaks_at.is_some_and(|at| at <= Instant::now()))
            }
        }
    }
}

impl Line {
    fn is_let_in(&self) -> bool {
        voices::says_yes(&self.answer)
    }
}
