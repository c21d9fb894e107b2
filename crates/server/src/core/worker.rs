//! A thread that drives shards: one on its own poll, several through a poll of their polls.

use std::{
    io,
    sync::mpsc::Sender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use super::{Shell, shell::Turn};
use crate::server::Word;

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker(JoinHandle<()>);

/// Tells that a worker ended by itself, through an error of the poll or a bug: its sessions are not served any more.
struct Alarm(Option<Sender<Word>>);

impl Worker {
    /// Drives `shells` until all have stopped. Where that comes unasked, `alarm` hears of it.
    pub(crate) fn start(index: usize, shells: Vec<Shell>, alarm: Sender<Word>) -> io::Result<Self> {
        let body = move || {
            let mut alarm = Alarm(Some(alarm));
            match drive(shells) {
                Ok(()) => alarm.0 = None,
                Err(error) => tracing::error!(%error, "an event loop failed"),
            }
        };
        Ok(Self(thread::Builder::new().name(format!("worker-{index}")).spawn(body)?))
    }

    /// Waits for the end.
    pub(crate) fn join(self) {
        // A panic has been told through the alarm.
        self.0.join().unwrap_or_default();
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // Nobody listens any more when the server is being dropped.
            sender.send(Word::Broken).unwrap_or_default();
        }
    }
}

fn drive(mut shells: Vec<Shell>) -> io::Result<()> {
    if let [shell] = shells.as_mut_slice() { drive_one(shell) } else { drive_many(shells) }
}

fn drive_one(shell: &mut Shell) -> io::Result<()> {
    loop {
        let wait = shell.rest();
        if shell.turn(wait)? == Turn::Last {
            return Ok(());
        }
    }
}

/// A shard of a worker that has several.
struct Seat {
    shell: Shell,
    /// Its poll has something.
    signalled: bool,
    /// When it wants its turn, whatever happens.
    due: Option<Instant>,
}

fn drive_many(shells: Vec<Shell>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(shells.len());
    let mut seats = Vec::new();
    for (index, shell) in shells.into_iter().enumerate() {
        poll.registry().register(&mut SourceFd(&shell.descriptor()), Token(index), Interest::READABLE)?;
        seats.push(Some(Seat { shell, signalled: true, due: None }));
    }
    loop {
        let now = Instant::now();
        for place in &mut seats {
            let Some(seat) = place else { continue };
            if seat.signalled || seat.due.is_some_and(|due| due <= now) {
                seat.signalled = false;
                if seat.shell.turn(Some(Duration::ZERO))? == Turn::Last {
                    *place = None;
                } else {
                    seat.due = seat.shell.rest().map(|wait| Instant::now() + wait);
                }
            }
        }
        if seats.iter().all(Option::is_none) {
            return Ok(());
        }
        let due = seats.iter().flatten().filter_map(|seat| seat.due).min();
        let wait = due.map(|due| due.saturating_duration_since(Instant::now()));
        if let Err(error) = poll.poll(&mut events, wait)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            if let Some(Some(seat)) = seats.get_mut(event.token().0) {
                seat.signalled = true;
            }
        }
    }
}
