//! The data plane: shards with their sockets, and the threads that drive them.

mod accept;
mod commits;
mod doorkeeper;
mod linger;
mod mail;
mod mesh;
mod progress;
mod shell;
mod sockets;
mod stream;
#[cfg(test)]
mod tests;
mod traffic;
mod wire;
mod worker;

use std::{
    io,
    sync::{Arc, Mutex, Weak, atomic::AtomicUsize, mpsc::Sender},
};

use mio::{Poll, Waker};

pub(crate) use self::{
    accept::Listening,
    commits::Ledger,
    doorkeeper::{Bounds, Door, DoorBounds, Doorkeeper, Refused},
    mail::Mail,
    mesh::Mesh,
    progress::Progress,
    shell::Shell,
    worker::Worker,
};
use crate::{
    certificates::Certificates,
    checkpoint::Checkpoints,
    clock::ProcessClock,
    commons::Common,
    loader::Loader,
    reload::Askers,
    room::Space,
    server::Word,
    users::{Attempts, Court},
};

/// What all shards of one broker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: ProcessClock,
    pub(crate) commons: Common,
    pub(crate) mesh: Mesh<Mail>,
    pub(crate) doorkeeper: Doorkeeper,
    /// The addresses of all listeners that there have been, by their numbers.
    pub(crate) listeners: Mutex<Vec<String>>,
    /// The certificates of those that have some, by their addresses.
    pub(crate) certificates: Mutex<Vec<(String, Weak<Certificates>)>>,
    pub(crate) loader: Loader,
    pub(crate) progress: Progress,
    pub(crate) space: Space,
    /// Bytes of retained messages that stay in memory where they are on disk, too.
    pub(crate) retained_cache: AtomicUsize,
    pub(crate) checkpoints: Checkpoints,
    /// Who looks at passwords.
    pub(crate) judges: Court,
    pub(crate) attempts: Arc<Attempts>,
    /// Who waits for another configuration.
    pub(crate) reload: Askers,
    /// To whoever waits for the end.
    pub(crate) words: Sender<Word>,
}

/// The polls of all shards, and how to wake them.
pub(crate) fn polls(shards: u16) -> io::Result<(Vec<Poll>, Vec<Waker>)> {
    let one = |_| {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), sockets::WAKER)?;
        Ok((poll, waker))
    };
    let pairs: io::Result<Vec<_>> = (0..shards).map(one).collect();
    Ok(pairs?.into_iter().unzip())
}
