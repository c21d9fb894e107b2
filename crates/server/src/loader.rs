//! The thread that reads windows of queues from the cold store, because a shard never touches the disk.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_broker::{
    durable::{load_retained, load_window},
    id::{MessageId, SessionNo},
    seam::{Loaded, LoadedRetained, StoredRetained},
};
use columba_store::ColdRead;

use crate::{
    cold::ColdKeys,
    core::{Mail, Shared},
    error::RecoverError,
};

/// How long a window that cannot be read waits for the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// A window of a session's queue that a shard wants to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) shard: usize,
    pub(crate) session: SessionNo,
    pub(crate) after: MessageId,
    pub(crate) count: u16,
}

/// Retained messages that a shard wants to have.
#[derive(Debug)]
pub(crate) struct LoadRetained {
    pub(crate) shard: usize,
    pub(crate) session: SessionNo,
    pub(crate) topics: Vec<Arc<str>>,
}

/// Where shards ask.
#[derive(Debug)]
pub(crate) struct Loader(Sender<Order>);

#[derive(Debug)]
pub(crate) enum Order {
    Load(Load),
    LoadRetained(LoadRetained),
    Stop,
}

/// A loader, and what its thread listens to.
pub(crate) fn channel() -> (Loader, Receiver<Order>) {
    let (sender, orders) = mpsc::channel();
    (Loader(sender), orders)
}

impl Loader {
    pub(crate) fn ask(&self, load: Load) {
        // Without a cold store nobody listens, and no brain has a queue there to ask for.
        self.0.send(Order::Load(load)).unwrap_or_default();
    }

    pub(crate) fn ask_retained(&self, load: LoadRetained) {
        self.0.send(Order::LoadRetained(load)).unwrap_or_default();
    }
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    pub(crate) fn start(orders: Receiver<Order>, cold: Arc<dyn ColdRead>, shared: Arc<Shared>) -> io::Result<Self> {
        let read = move || {
            loop {
                match orders.recv() {
                    Ok(Order::Load(load)) => answer(load, &*cold, &shared),
                    Ok(Order::LoadRetained(load)) => answer_retained(load, &*cold, &shared),
                    Ok(Order::Stop) | Err(_) => return,
                }
            }
        };
        Ok(Self(thread::Builder::new().name("loader".into()).spawn(read)?))
    }

    pub(crate) fn stop(self, loader: &Loader) {
        loader.0.send(Order::Stop).unwrap_or_default();
        if self.0.join().is_err() {
            tracing::error!("the thread that reads the cold store has ended by itself");
        }
    }
}

fn answer(load: Load, cold: &dyn ColdRead, shared: &Shared) {
    match read(load, cold) {
        Ok(loaded) => shared.mesh.post_one(load.shard, Mail::Loaded(loaded)),
        Err(error) => {
            tracing::error!(%error, "cannot read queued messages; trying on");
            thread::sleep(RETRY);
            shared.loader.ask(load);
        }
    }
}

fn answer_retained(load: LoadRetained, cold: &dyn ColdRead, shared: &Shared) {
    match read_retained(&load, cold) {
        Ok(messages) => {
            let loaded = LoadedRetained { session: load.session, messages };
            shared.mesh.post_one(load.shard, Mail::LoadedRetained(loaded));
        }
        Err(error) => {
            tracing::error!(%error, "cannot read retained messages; trying on");
            thread::sleep(RETRY);
            shared.loader.ask_retained(load);
        }
    }
}

fn read_retained(load: &LoadRetained, cold: &dyn ColdRead) -> Result<Vec<(Arc<str>, StoredRetained)>, RecoverError> {
    let cold = cold.snapshot().map_err(RecoverError::from)?;
    let read = |topic: &Arc<str>| {
        let found = load_retained(&ColdKeys(&*cold), topic)?;
        if found.is_none() {
            // It may have been cleared a moment ago.
            tracing::debug!(%topic, "a retained message is not in the cold store");
        }
        Ok((Arc::clone(topic), found))
    };
    load.topics.iter().map(read).collect()
}

/// Reads at one point in time: a checkpoint beside us moves entries and the messages that they name together.
fn read(load: Load, cold: &dyn ColdRead) -> Result<Loaded, RecoverError> {
    let cold = cold.snapshot().map_err(RecoverError::from)?;
    Ok(load_window(&ColdKeys(&*cold), load.session, load.after, usize::from(load.count))?)
}
