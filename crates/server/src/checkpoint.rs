//! The journal's follower: moves what lives longer into the cold store, beside the traffic, and frees the journal behind it.
//!
//! It reads what is durable, folds it, and writes the changes with the journal position in one batch. A crash at any moment leaves the store at a
//! position from which the journal goes on.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use columba_broker::{
    durable::{ColdError, Fold, RecordError},
    id::MessageId,
    retained::RetainedStore,
    seam::Commons as _,
};
use columba_store::{
    Cold, ColdRead, Commit, FjallCold, LogError, Position, Reader, RealDisk, Shrinker, Watch, cold::Upkeep, log::LogHandle,
};
use thiserror::Error;

use crate::{
    cold::{ColdKeys, batch},
    core::{Mail, Shared},
    replay::records,
    tidy::{Tidy, give_up_spare},
};

/// Changes that are gathered before they are written: a bound on memory.
const CHANGES_BYTES_MAX: usize = 3 << 20;

/// Changes that are worth a checkpoint while queues gather more than memory should hold.
const HEAVY_BYTES_MIN: usize = 1 << 20;

/// Journal that is read before the position is written, also when nothing else is: a bound on the journal and on the next start.
const JOURNAL_BYTES_MAX: usize = 16 << 20;

/// Retained messages that go from memory while the shards wait.
const LEFT_AT_ONCE_MAX: usize = 64;

/// The oldest change that is not yet written.
const AGE_MAX: Duration = Duration::from_secs(30);

/// How soon the follower looks again: while queues gather more than memory should hold, while there is traffic, while there is none, and after a failure.
const HEAVY_WAIT: Duration = Duration::from_millis(2);
const BUSY_WAIT: Duration = Duration::from_millis(50);
const IDLE_WAIT: Duration = Duration::from_secs(1);
const FAILED_WAIT: Duration = Duration::from_secs(5);

/// What the cold store's upkeep may need for a moment; a small store needs no more than it takes. With less it goes on without upkeep.
const UPKEEP_BYTES: u64 = 512 << 20;

/// How long it goes without, where the disk has its reserve again, but not that much.
const FRUGAL_MAX: Duration = Duration::from_mins(1);

/// How soon the follower looks again after a failure while the disk is full: publishers wait for what the next attempt gives back.
const SCARCE_WAIT: Duration = Duration::from_millis(500);

/// The running thread.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// How the follower is called; it ends when this is closed.
#[derive(Debug)]
pub(crate) struct Checkpoints(Mutex<Option<Sender<Order>>>);

/// What is asked of the follower.
#[derive(Debug)]
pub(crate) enum Order {
    /// Write what there is.
    Hurry,
    /// Write all that is durable now, and show the store as it is then. Without an answer it has failed.
    Snapshot(Asked),
}

/// Where the answer goes.
type Asked = Sender<Box<dyn ColdRead>>;

/// The way to the follower, and what its thread listens to.
pub(crate) fn channel() -> (Checkpoints, Receiver<Order>) {
    let (sender, orders) = mpsc::channel();
    (Checkpoints(Mutex::new(Some(sender))), orders)
}

impl Checkpoints {
    /// Queues have gathered much: what there is should be written now.
    pub(crate) fn hurry(&self) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without a cold store nobody listens, and nothing is gathered for it.
            sender.send(Order::Hurry).unwrap_or_default();
        }
    }

    /// A view of the cold store that holds everything durable before this call; `None`: there is none to be had now.
    pub(crate) fn snapshot(&self) -> Option<Box<dyn ColdRead>> {
        let (answer, snapshot) = mpsc::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.send(Order::Snapshot(answer)).ok()?;
        snapshot.recv().ok()
    }

    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
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
    pub(crate) fn start(
        log: LogHandle<RealDisk>,
        cold: FjallCold,
        from: Position,
        shrinker: Shrinker,
        marks: Marks,
        orders: Receiver<Order>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(&marks.shared);
        let tidy = Tidy::new(shrinker);
        let body = move || {
            Following {
                log,
                cold,
                from,
                read: 0,
                since: None,
                is_failing: false,
                frugal_since: None,
                tidy,
                folded: Commit::NONE,
                marks,
            }
            .run(&orders);
        };
        let thread = thread::Builder::new().name("checkpoint".into()).spawn(body)?;
        Ok(Self { shared, thread })
    }

    /// Writes a last checkpoint and ends.
    pub(crate) fn stop(self) {
        self.shared.checkpoints.close();
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
    /// Since when the cold store is without upkeep.
    frugal_since: Option<Instant>,
    tidy: Tidy,
    /// The last commit that is folded.
    folded: Commit,
    marks: Marks,
}

impl Following {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match self.follow(orders) {
                Ok(()) => return,
                Err(error) => self.tell(&error),
            }
            loop {
                // Nothing new becomes durable; what is, the next start reads from the journal. Who asks for a snapshot now gets none.
                let wait = if self.marks.shared.space.is_scarce() { SCARCE_WAIT } else { FAILED_WAIT };
                if self.log.has_failed() || matches!(orders.recv_timeout(wait), Err(RecvTimeoutError::Disconnected)) {
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
    ///
    /// On a full disk the engine's upkeep fails, and takes the engine with it: it goes on without, in the room of a spare segment, until what lives can be
    /// written anew.
    fn open_again(&mut self) -> Result<(), columba_store::ColdError> {
        let mut upkeep = Upkeep::Full;
        if self.marks.shared.space.is_scarce() && self.is_tight()? {
            give_up_spare(&self.log);
            upkeep = Upkeep::None;
        }
        self.cold.reopen(upkeep)?;
        self.opened(upkeep);
        self.from = self.cold.position().unwrap_or(self.from);
        Ok(())
    }

    /// It is open with this upkeep now.
    fn opened(&mut self, upkeep: Upkeep) {
        match upkeep {
            Upkeep::None => self.frugal_since = Some(self.frugal_since.unwrap_or_else(Instant::now)),
            Upkeep::Full => {
                self.frugal_since = None;
                self.log.take_back_spare();
            }
        }
        tracing::debug!(?upkeep, "opened the cold store again");
    }

    /// Whether the disk has too little for the cold store's upkeep.
    fn is_tight(&self) -> Result<bool, columba_store::ColdError> {
        Ok(self.cold.free_bytes()? < UPKEEP_BYTES.min(self.cold.disk_bytes()?))
    }

    /// Ends the upkeep before a full disk does, and begins it again when there is room.
    fn suit_upkeep(&mut self) -> Result<(), columba_store::ColdError> {
        let space = &self.marks.shared.space;
        let upkeep = match self.cold.upkeep() {
            Upkeep::Full if space.is_scarce() && self.is_tight()? => Upkeep::None,
            Upkeep::None if !space.lacks_free() => {
                let is_long = self.frugal_since.is_none_or(|since| since.elapsed() >= FRUGAL_MAX);
                if !is_long && self.is_tight()? {
                    return Ok(());
                }
                Upkeep::Full
            }
            Upkeep::Full | Upkeep::None => return Ok(()),
        };
        if self.cold.set_upkeep(upkeep)? {
            self.opened(upkeep);
        }
        Ok(())
    }

    fn follow(&mut self, orders: &Receiver<Order>) -> Result<(), CheckpointError> {
        let mut reader = self.log.reader(self.from);
        let mut fold = Fold::new(&ColdKeys(&self.cold))?;
        (self.read, self.since, self.folded) = (0, None, Commit::NONE);
        let mut is_last = false;
        let mut asked: Option<Asked> = None;
        loop {
            let before = self.read;
            // What is durable when somebody asks; what comes meanwhile must not keep them waiting.
            let enough = asked.is_some().then(|| self.log.durable());
            while enough.is_none_or(|enough| self.folded < enough) && self.take_in(&mut reader, &mut fold)? {
                if self.is_due(&fold) || (fold.bytes() >= HEAVY_BYTES_MIN && self.marks.is_heavy()) {
                    self.write(&reader, &mut fold)?;
                }
            }
            if is_last {
                return self.write(&reader, &mut fold);
            }
            if self.is_due(&fold) || self.marks.is_heavy() || asked.is_some() {
                self.write(&reader, &mut fold)?;
            }
            if let Some(asked) = asked.take() {
                // Who has not waited needs no answer.
                drop(asked.send(self.cold.snapshot()?));
            }
            if self.tidy.is_quiet(self.marks.shared.space.is_scarce()) {
                asked = self.tidy_up(&reader, &mut fold, orders)?;
            }
            let wait = match () {
                () if asked.is_some() => Duration::ZERO,
                () if self.marks.is_heavy() => HEAVY_WAIT,
                () if self.read == before => IDLE_WAIT,
                () => BUSY_WAIT,
            };
            match orders.recv_timeout(wait) {
                Ok(Order::Snapshot(answer)) => asked = Some(answer),
                Ok(Order::Hurry) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => is_last = true,
            }
        }
    }

    /// Folds one commit, if there is one.
    fn take_in(&mut self, reader: &mut Reader<RealDisk>, fold: &mut Fold) -> Result<bool, CheckpointError> {
        self.marks.take();
        let Some(frame) = reader.next_frame()? else {
            return Ok(false);
        };
        let cold = ColdKeys(&self.cold);
        records(&frame, |record| fold.record(record, &cold).map_err(CheckpointError::from))?;
        fold.end_of_commit();
        let bytes = frame.parts().map(|(_, bytes)| bytes.len()).sum();
        self.read += bytes;
        self.tidy.read(bytes);
        self.folded = frame.commit;
        self.since.get_or_insert_with(Instant::now);
        Ok(true)
    }

    fn is_due(&self, fold: &Fold) -> bool {
        fold.bytes() >= CHANGES_BYTES_MAX
            || self.read >= JOURNAL_BYTES_MAX
            || self.since.is_some_and(|since| since.elapsed() >= AGE_MAX)
            // What was removed does not take room any longer than it must.
            || (self.since.is_some() && self.folded >= self.log.durable() && self.marks.shared.space.is_scarce())
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
        self.marks.tell(self.folded);
        (self.read, self.since) = (0, None);
        self.log.recycle(position)?;
        Ok(())
    }

    /// It is quiet: the journal and the cold store become as small as what they hold. Who asks meanwhile comes first.
    fn tidy_up(
        &mut self,
        reader: &Reader<RealDisk>,
        fold: &mut Fold,
        orders: &Receiver<Order>,
    ) -> Result<Option<Asked>, CheckpointError> {
        if self.log.is_grown() {
            self.write(reader, fold)?;
            self.tidy.shrink(&self.log)?;
        }
        self.suit_upkeep()?;
        let mut asked = None;
        let mut is_stopping = || match orders.try_recv() {
            Ok(Order::Snapshot(answer)) => {
                asked = Some(answer);
                true
            }
            Ok(Order::Hurry) => false,
            Err(error) => asked.is_some() || error == TryRecvError::Disconnected,
        };
        let is_scarce = self.marks.shared.space.is_scarce();
        self.tidy.cold(&mut self.cold, &self.log, is_scarce, &mut is_stopping)?;
        if self.cold.upkeep() == Upkeep::Full {
            // Also where it was written anew.
            self.frugal_since = None;
        }
        Ok(asked)
    }
}

/// How far the shards had come at which commit; they are told when that is in the cold store (docs/adr/0017).
pub(crate) struct Marks {
    watch: Watch,
    shared: Arc<Shared>,
    /// Not told yet, by commit.
    open: VecDeque<(Commit, MessageId)>,
}

impl Marks {
    pub(crate) fn new(watch: Watch, shared: Arc<Shared>) -> Self {
        Self { watch, shared, open: VecDeque::new() }
    }

    fn take(&mut self) {
        // First how far they are, then the commit that has all of it.
        let up_to = self.shared.progress.reached(self.shared.commons.clock());
        let commit = self.watch.appended();
        match self.open.back_mut() {
            Some(last) if last.0 == commit => last.1 = up_to,
            Some(_) | None => self.open.push_back((commit, up_to)),
        }
    }

    fn tell(&mut self, folded: Commit) {
        let mut reached = None;
        while let Some(&(commit, up_to)) = self.open.front()
            && commit <= folded
        {
            reached = Some(up_to);
            self.open.pop_front();
        }
        if let Some(up_to) = reached {
            let stays = self.shared.retained_cache.load(Relaxed);
            let mut more = true;
            while more {
                let leave = |retained: &mut RetainedStore| retained.stored(up_to, stays, LEFT_AT_ONCE_MAX);
                self.shared.commons.write_retained(&mut |retained| more = leave(retained));
                // Shards that waited come first.
                thread::yield_now();
            }
            (0..self.shared.mesh.len()).for_each(|shard| self.shared.mesh.post_one(shard, Mail::Stored(up_to)));
        }
    }

    fn is_heavy(&self) -> bool {
        self.shared.progress.is_heavy(true)
    }
}
