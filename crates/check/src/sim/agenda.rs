//! What is due next.

use std::{cmp::Reverse, collections::BinaryHeap};

use columba_broker::{
    id::{MessageId, SessionNo},
    seam::Gone,
};

use crate::model::{ClientNo, LinkNo, Micros};

/// Something that will happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// A client does its next operation.
    Operation(ClientNo),
    /// A slow client gives some of the answers that it owes.
    Answer(ClientNo, LinkNo),
    /// Bytes arrive at the broker.
    Up(LinkNo),
    /// Bytes arrive at the client.
    Down(LinkNo),
    /// The client learns that its connection is gone.
    ClientHears(LinkNo),
    /// The broker learns it.
    BrokerHears(LinkNo, Gone),
    /// A shard ends its turn.
    TurnEnd(usize),
    /// A shard takes a letter from its mailbox.
    Mail(usize),
    /// A window of a queue was read.
    Loaded { shard: usize, session: SessionNo, after: MessageId, count: u16 },
    /// Retained messages were read for a shard.
    LoadedRetained(usize),
    /// A shard's timers.
    Tick(usize),
    /// The commit thread takes what all shards have.
    Commit,
    /// The sync of what it wrote has ended.
    SyncEnd,
    /// A shard is told what is on disk.
    TellSynced(usize),
    /// A checkpoint.
    Checkpoint,
    /// The process ends at once.
    Crash,
    /// The process is asked to end.
    Stop,
    /// From now on the disk fails.
    DiskFault,
    /// The disk is full ...
    DiskFull,
    /// ... and has room again.
    DiskRoom,
    /// A client connects again over its old connection, or sends again what has no answer.
    Haste(ClientNo),
    /// A hostile client sends the next of what it has to send.
    Hostile(LinkNo),
    /// It starts again.
    Start,
    /// Clients look whether they are done.
    Drain,
}

impl Due {
    /// Whether the world cannot be called quiet while this is due.
    pub(crate) fn is_work(self) -> bool {
        match self {
            Self::Operation(_) | Self::Tick(_) | Self::Checkpoint | Self::Drain | Self::Hostile(_) | Self::Haste(_) => false,
            Self::Answer(..)
            | Self::Up(_)
            | Self::Down(_)
            | Self::ClientHears(_)
            | Self::BrokerHears(..)
            | Self::TurnEnd(_)
            | Self::Mail(_)
            | Self::Loaded { .. }
            | Self::LoadedRetained(_)
            | Self::Commit
            | Self::SyncEnd
            | Self::TellSynced(_)
            | Self::Crash
            | Self::Stop
            | Self::DiskFault
            | Self::DiskFull
            | Self::DiskRoom
            | Self::Start => true,
        }
    }

    /// Whether it happens inside the server process, and with it ends.
    fn is_in_process(self) -> bool {
        match self {
            Self::TurnEnd(_)
            | Self::Mail(_)
            | Self::Loaded { .. }
            | Self::LoadedRetained(_)
            | Self::Tick(_)
            | Self::Commit
            | Self::SyncEnd
            | Self::TellSynced(_)
            | Self::Checkpoint
            | Self::BrokerHears(..) => true,
            Self::Operation(_)
            | Self::Answer(..)
            | Self::Up(_)
            | Self::Down(_)
            | Self::ClientHears(_)
            | Self::Crash
            | Self::Stop
            | Self::DiskFault
            | Self::DiskFull
            | Self::DiskRoom
            | Self::Hostile(_)
            | Self::Haste(_)
            | Self::Start
            | Self::Drain => false,
        }
    }
}

/// All that is due, soonest first; what is due at the same time in the order of its entry.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    entered: u64,
    life: u32,
    work: usize,
}

#[derive(Debug)]
struct Entry {
    at: Micros,
    number: u64,
    life: u32,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Micros, due: Due) {
        self.entered += 1;
        self.work += usize::from(due.is_work());
        self.heap.push(Reverse(Entry { at, number: self.entered, life: self.life, due }));
    }

    /// The next thing that still has to happen.
    pub(crate) fn pop(&mut self) -> Option<(Micros, Due)> {
        while let Some(Reverse(entry)) = self.heap.pop() {
            self.work -= usize::from(entry.due.is_work());
            if entry.life == self.life || !entry.due.is_in_process() {
                return Some((entry.at, entry.due));
            }
        }
        None
    }

    /// The process has ended: what was due in it never happens.
    pub(crate) fn end_process(&mut self) {
        self.life += 1;
    }

    /// Whether something is due that is more than a timer.
    pub(crate) fn has_work(&self) -> bool {
        self.work > 0
    }
}
