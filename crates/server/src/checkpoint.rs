//! The journal's follower: moves what lives longer into the cold store, beside the traffic, and frees the journal behind it.
//!
//! It reads what is durable, folds it, and writes the changes with the journal position in one batch. A crash at any moment leaves the store at a
//! position from which the journal goes on.

use std::{
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use columba_broker::durable::{ColdError, Fold, RecordError};
use columba_store::{Cold, FjallCold, LogError, Position, Reader, RealDisk, Shrinker, log::LogHandle};
use thiserror::Error;

use crate::{
    cold::{ColdKeys, batch},
    replay::records,
    tidy::Tidy,
};

/// Changes that are gathered before they are written: a bound on memory.
const CHANGES_BYTES_MAX: usize = 8 << 20;

/// Journal that is read before the position is written, also when nothing else is: a bound on the journal and on the next start.
const JOURNAL_BYTES_MAX: usize = 16 << 20;

/// The oldest change that is not yet written.
const AGE_MAX: Duration = Duration::from_secs(30);

/// How soon the follower looks again: while there is traffic, while there is none, and after a failure.
const BUSY_WAIT: Duration = Duration::from_millis(50);
const IDLE_WAIT: Duration = Duration::from_secs(1);
const FAILED_WAIT: Duration = Duration::from_secs(5);

/// The running thread.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Dropped to stop it.
    running: Sender<()>,
    thread: JoinHandle<()>,
}

/// Why a checkpoint fails.
#[derive(Debug, Error)]
enum CheckpointError {
    #[error(transparent)]
    Journal(#[from] LogError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Fold(#[from] ColdError),
    #[error(transparent)]
    Cold(#[from] columba_store::ColdError),
}

impl Follower {
    /// Follows the journal from where the cold store stands, `from`.
    pub(crate) fn start(log: LogHandle<RealDisk>, cold: FjallCold, from: Position, shrinker: Shrinker) -> io::Result<Self> {
        let (running, orders) = mpsc::channel();
        let body = move || {
            Following { log, cold, from, read: 0, since: None, is_failing: false, tidy: Tidy::new(shrinker) }.run(&orders);
        };
        let thread = thread::Builder::new().name("checkpoint".into()).spawn(body)?;
        Ok(Self { running, thread })
    }

    /// Writes a last checkpoint and ends.
    pub(crate) fn stop(self) {
        drop(self.running);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread has ended by itself");
        }
    }
}

struct Following {
    log: LogHandle<RealDisk>,
    cold: FjallCold,
    /// Up to here everything is in the cold store.
    from: Position,
    /// Bytes of journal read since then.
    read: usize,
    /// When the first of them was read.
    since: Option<Instant>,
    /// The last attempt has failed, and the log says so.
    is_failing: bool,
    tidy: Tidy,
}

impl Following {
    fn run(mut self, orders: &Receiver<()>) {
        loop {
            match self.follow(orders) {
                Ok(()) => return,
                Err(error) => self.tell(&error),
            }
            loop {
                // Nothing new becomes durable; what is, the next start reads from the journal.
                if self.log.has_failed() || orders.recv_timeout(FAILED_WAIT) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                match self.open_again() {
                    Ok(()) => break,
                    Err(error) => tracing::debug!(%error, "the cold store cannot be opened again; trying on"),
                }
            }
        }
    }

    /// Once, not every few seconds for as long as it lasts.
    fn tell(&mut self, error: &CheckpointError) {
        if self.log.has_failed() {
            tracing::debug!(%error, "no further checkpoint: the journal has failed");
        } else if std::mem::replace(&mut self.is_failing, true) {
            tracing::debug!(%error, "checkpoint failed again");
        } else {
            tracing::error!(%error, "checkpoint failed: the journal grows until one succeeds");
        }
    }

    /// After a failed write the store takes no other, and only it knows whether that one took place. Everything behind its position is read again.
    fn open_again(&mut self) -> Result<(), columba_store::ColdError> {
        self.cold.reopen()?;
        self.from = self.cold.position().unwrap_or(self.from);
        Ok(())
    }

    fn follow(&mut self, orders: &Receiver<()>) -> Result<(), CheckpointError> {
        let mut reader = self.log.reader(self.from);
        let mut fold = Fold::new(&ColdKeys(&self.cold))?;
        (self.read, self.since) = (0, None);
        let mut is_last = false;
        loop {
            let before = self.read;
            while self.take_in(&mut reader, &mut fold)? {
                if self.is_due(&fold) {
                    self.write(&reader, &mut fold)?;
                }
            }
            if is_last {
                return self.write(&reader, &mut fold);
            }
            if self.is_due(&fold) {
                self.write(&reader, &mut fold)?;
            }
            if self.tidy.is_quiet() {
                self.tidy_up(&reader, &mut fold, orders)?;
            }
            let wait = if self.read == before { IDLE_WAIT } else { BUSY_WAIT };
            is_last = orders.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected);
        }
    }

    /// Folds one commit, if there is one.
    fn take_in(&mut self, reader: &mut Reader<RealDisk>, fold: &mut Fold) -> Result<bool, CheckpointError> {
        let Some(frame) = reader.next_frame()? else {
            return Ok(false);
        };
        let cold = ColdKeys(&self.cold);
        records(&frame, |record| fold.record(record, &cold).map_err(CheckpointError::from))?;
        fold.end_of_commit();
        let bytes = frame.parts().map(|(_, bytes)| bytes.len()).sum();
        self.read += bytes;
        self.tidy.read(bytes);
        self.since.get_or_insert_with(Instant::now);
        Ok(true)
    }

    fn is_due(&self, fold: &Fold) -> bool {
        fold.bytes() >= CHANGES_BYTES_MAX
            || self.read >= JOURNAL_BYTES_MAX
            || self.since.is_some_and(|since| since.elapsed() >= AGE_MAX)
    }

    fn write(&mut self, reader: &Reader<RealDisk>, fold: &mut Fold) -> Result<(), CheckpointError> {
        let position = reader.position();
        if self.since.is_none() && position.segment == self.from.segment {
            return Ok(());
        }
        let changes = batch(fold.take_changes());
        tracing::debug!(changes = changes.len(), bytes = changes.bytes(), journal_bytes = self.read, "checkpoint");
        let removals = changes.removals();
        self.cold.write(changes, position)?;
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("checkpoints succeed again");
        }
        self.tidy.removed(removals);
        self.from = position;
        (self.read, self.since) = (0, None);
        self.log.recycle(position)?;
        Ok(())
    }

    /// It is quiet: the journal and the cold store become as small as what they hold.
    fn tidy_up(&mut self, reader: &Reader<RealDisk>, fold: &mut Fold, orders: &Receiver<()>) -> Result<(), CheckpointError> {
        if self.log.is_grown() {
            self.write(reader, fold)?;
            self.tidy.shrink(&self.log)?;
        }
        let mut is_stopping = || orders.try_recv() == Err(TryRecvError::Disconnected);
        self.tidy.cold(&mut self.cold, &self.log, &mut is_stopping)?;
        Ok(())
    }
}
