//! The same group commit without a thread: whoever holds it says when a commit happens.

use super::{JournalOptions, Release};
use crate::disk::Disk;
use crate::log::{Commit, Log, LogError, LogHandle, Position, Reader};

/// A journal for deterministic simulations. It promises what [`Journal`](super::Journal) promises, one call at a time.
pub struct ManualJournal<D: Disk> {
    log: Log<D>,
    /// What is appended and not yet cut, by shard.
    open: Vec<Vec<u8>>,
    /// What is cut and not yet written: only where a write found no room.
    cut: Option<Vec<Vec<u8>>>,
    /// The commit that will carry what is appended now.
    next: Commit,
    announced: Commit,
    release: Release,
}

impl<D: Disk> ManualJournal<D> {
    /// A journal for `shards` shards.
    pub fn new(log: Log<D>, options: &JournalOptions, shards: u16) -> Self {
        let durable = log.durable();
        Self {
            log,
            open: vec![Vec::new(); usize::from(shards)],
            cut: None,
            next: durable.next(),
            announced: durable,
            release: options.release,
        }
    }

    /// Adds `bytes` to the open commit and says which one that is.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn append(&mut self, shard: u16, bytes: &[u8]) -> Commit {
        self.open[usize::from(shard)].extend_from_slice(bytes);
        self.next
    }

    /// Cuts what all shards have appended, writes it and syncs it. False if there was nothing.
    ///
    /// After [`LogError::NoSpace`] the same commit is tried again by the next call; any other error is final.
    pub fn commit(&mut self) -> Result<bool, LogError> {
        let cut = match self.cut.take() {
            Some(cut) => cut,
            None if self.open.iter().all(Vec::is_empty) => return Ok(false),
            None => {
                self.next = self.next.next();
                self.open.iter_mut().map(std::mem::take).collect()
            }
        };
        let commit = Commit(self.next.0 - 1);
        if self.release == Release::BeforeWrite {
            self.announced = commit;
        }
        let parts: Vec<_> =
            (0_u16..).zip(&cut).filter(|(_, bytes)| !bytes.is_empty()).map(|(shard, bytes)| (shard, bytes.as_slice())).collect();
        let written = self.log.write(&parts).and_then(|_| match self.release {
            Release::AfterSync | Release::BeforeWrite => self.log.sync(),
            Release::BeforeSync => self.log.skip_sync(),
        });
        match written {
            Ok(()) => {
                self.announced = commit;
                Ok(true)
            }
            Err(error) => {
                if matches!(error, LogError::NoSpace { .. }) {
                    self.cut = Some(cut);
                }
                Err(error)
            }
        }
    }

    /// The last commit that acknowledgements may count on.
    pub fn durable(&self) -> Commit {
        self.announced
    }

    /// Whether [`ManualJournal::commit`] has something to do.
    pub fn is_pending(&self) -> bool {
        self.cut.is_some() || self.open.iter().any(|bytes| !bytes.is_empty())
    }

    /// Reads durable frames from `from` on.
    pub fn reader(&self, from: Position) -> Reader<D> {
        self.log.reader(from)
    }

    /// What a checkpoint needs.
    pub fn handle(&self) -> LogHandle<D> {
        self.log.handle()
    }
}
