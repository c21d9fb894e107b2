//! What survives: opened and replayed at start, followed while the broker runs, closed at the end.

use std::{
    path::Path,
    sync::{Arc, mpsc::Receiver},
    thread::JoinHandle,
};

use columba_broker::{
    durable::{State, recover_within},
    limits,
};
use columba_store::{
    Appender, Cold, ColdRead, DirError, FjallCold, Journal, JournalOptions, Log, LogError, Position, RealDisk, Recovered,
    Release, StoreDir,
};

use crate::{
    checkpoint::{Follower, Marks, Order},
    cold::ColdKeys,
    config::{Config, DiskLimits, OnDamage},
    control::Control,
    core::Shared,
    damage,
    durability::{Plan, Waits},
    error::{RecoverError, StartError},
    honesty,
    replay::records,
    room::Watch,
};

/// Lanes of a broker that keeps nothing.
const EPHEMERAL_LANES: u16 = 64;

/// What a broker begins with.
pub(crate) struct Opened {
    /// The key of the hash that places clients.
    pub(crate) placement_key: [u8; 16],
    pub(crate) lanes: u16,
    pub(crate) state: State,
    /// `None`: nothing is kept.
    pub(crate) store: Option<Idle>,
}

/// A store that is recovered and not yet written to.
pub(crate) struct Idle {
    dir: StoreDir,
    cold: FjallCold,
    log: Log<RealDisk>,
    from: Position,
}

/// A store in use.
pub(crate) struct Store {
    journal: Journal,
    follower: Follower,
    watch: Watch,
    probe: Option<JoinHandle<()>>,
    /// `None`: there is no socket, and so no backup while the broker runs.
    control: Option<Control>,
    cold: Arc<dyn ColdRead>,
    /// Locked for as long as this lives.
    _dir: StoreDir,
}

impl Opened {
    /// A broker without a memory.
    pub(crate) fn ephemeral(placement_key: [u8; 16]) -> Self {
        Self { placement_key, lanes: EPHEMERAL_LANES, state: State::default(), store: None }
    }

    /// Locks the directory, loads the cold store and replays the journal behind it.
    pub(crate) fn directory(path: &Path, on_damage: OnDamage, limits: &limits::Config) -> Result<Self, StartError> {
        let dir = lock(path, on_damage)?;
        let (placement_key, lanes) = (dir.identity().hash_key, dir.identity().lanes);
        let retained_bytes = limits.retained_bytes;
        let (cold, log, recovered, mut state) = match open(&dir, on_damage, retained_bytes) {
            Err(StartError::Recover(cause)) if cause.is_damaged_cold() && on_damage == OnDamage::SetAside => {
                damage::rescue(&dir, &cause)?;
                open(&dir, on_damage, retained_bytes)?
            }
            opened => opened?,
        };
        if let Some(torn) = &recovered.torn {
            tracing::info!(
                file = torn.file,
                offset = torn.offset,
                "the end of the journal was cut off by a crash; nothing acknowledged was in it"
            );
        }
        if limits.limits_queues() {
            state.measure_queues(&ColdKeys(&cold)).map_err(RecoverError::from)?;
        }
        let store = Some(Idle { dir, cold, log, from: recovered.from });
        Ok(Self { placement_key, lanes, state, store })
    }
}

fn lock(path: &Path, on_damage: OnDamage) -> Result<StoreDir, StartError> {
    match StoreDir::open(path) {
        Err(damage @ DirError::Damaged { .. }) if on_damage == OnDamage::SetAside => {
            let aside = StoreDir::rebuild_format(path, &damage)?;
            tracing::error!(%damage, kept_in = %aside.path().display(), "made it anew from the journal; nothing is lost");
            Ok(StoreDir::open(path)?)
        }
        opened => Ok(opened?),
    }
}

/// What a directory holds, and the state that it stands for.
type Content = (FjallCold, Log<RealDisk>, Recovered, State);

fn open(dir: &StoreDir, on_damage: OnDamage, retained_bytes: usize) -> Result<Content, StartError> {
    let mut cold = dir.open_cold().map_err(RecoverError::from)?;
    let (log, recovered) = open_journal(dir, &mut cold, on_damage)?;
    let state = replay(&cold, &log, recovered.from, retained_bytes)?;
    Ok((cold, log, recovered, state))
}

fn open_journal(dir: &StoreDir, cold: &mut FjallCold, on_damage: OnDamage) -> Result<(Log<RealDisk>, Recovered), StartError> {
    let cause = match dir.open_journal(cold.position()) {
        Ok(opened) => return Ok(opened),
        Err(error @ (LogError::Corrupt { .. } | LogError::Missing { .. })) => error.to_string(),
        Err(error) => return Err(RecoverError::from(error).into()),
    };
    let damage = damage::diagnose(dir, cold, cause)?;
    match on_damage {
        OnDamage::Refuse => return Err(StartError::Damaged(Box::new(damage))),
        OnDamage::SetAside => damage::set_aside(dir, cold, &damage)?,
    }
    Ok(dir.open_journal(cold.position()).map_err(RecoverError::from)?)
}

fn replay(cold: &FjallCold, log: &Log<RealDisk>, from: Position, retained_bytes: usize) -> Result<State, RecoverError> {
    let mut state = recover_within(&ColdKeys(cold), retained_bytes)?;
    let mut reader = log.handle().reader(from);
    while let Some(frame) = reader.next_frame()? {
        records(&frame, |record| state.apply(record).map_err(RecoverError::from))?;
        state.end_of_commit();
    }
    state.finish(&ColdKeys(cold))?;
    Ok(state)
}

impl Idle {
    /// Starts the commit thread and the follower.
    pub(crate) fn start(
        self,
        shared: &Arc<Shared>,
        config: &Config,
        plan: &Plan,
        orders: Receiver<Order>,
    ) -> Result<Store, StartError> {
        let release = config.durability.release;
        let Self { dir, cold, log, from } = self;
        let system = |error| StartError::System { what: "the journal", error };
        if release != Release::AfterSync {
            tracing::warn!("acknowledgements leave before they are true: this broker loses messages in a crash");
        }
        let options = JournalOptions {
            sync: plan.schedule,
            wake_when_written: plan.waits == Waits::Both,
            release,
            ..JournalOptions::default()
        };
        let wake = |shard| -> Box<dyn Fn() + Send> {
            let shared = Arc::clone(shared);
            Box::new(move || shared.mesh.wake(shard))
        };
        let wakes = (0..shared.mesh.len()).map(wake).collect();
        let handle = log.handle();
        let journal = Journal::start(log, &options, wakes).map_err(system)?;
        let watch = Watch::start(dir.path(), config.disk, handle.clone(), shared).map_err(system)?;
        let reader = cold.reader();
        let marks = Marks::new(journal.watch(), Arc::clone(shared));
        let follower = Follower::start(handle, cold, from, journal.shrinker(), marks, orders).map_err(system)?;
        let probe = honesty::probe(dir.path().to_owned());
        let control = Control::start(dir.path(), dir.identity().id, Arc::clone(shared));
        let control = control.inspect_err(|error| tracing::warn!(%error, "no control socket: no backup while the broker runs"));
        Ok(Store { journal, follower, watch, probe, control: control.ok(), cold: reader, _dir: dir })
    }
}

impl Store {
    pub(crate) fn appender(&self, shard: u16) -> Appender {
        self.journal.appender(shard)
    }

    /// From now on these limits hold for what the disk may take.
    pub(crate) fn has_limits(&self, limits: DiskLimits) {
        self.watch.has_limits(limits);
    }

    /// The journal, for those who look at it.
    pub(crate) fn watch(&self) -> columba_store::Watch {
        self.journal.watch()
    }

    /// The cold store, for readers.
    pub(crate) fn cold(&self) -> Arc<dyn ColdRead> {
        Arc::clone(&self.cold)
    }

    /// Writes what is to be written, takes a last checkpoint, and gives the directory free.
    pub(crate) fn stop(self) {
        self.watch.stop();
        // Its file is not there any more when somebody copies the directory.
        if self.probe.is_some_and(|probe| probe.join().is_err()) {
            tracing::error!("the thread that measures the disk has ended by itself");
        }
        if let Some(control) = self.control {
            control.stop();
        }
        if let Err(error) = self.journal.stop() {
            tracing::error!(%error, "the journal had failed; the next start recovers from it");
        }
        self.follower.stop();
    }
}
