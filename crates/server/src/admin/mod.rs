//! The control plane: one thread beside the shards, for everything that is seen from outside. It asks shards and tells them, and none of them waits for it.

mod process;
mod shards;
mod status;
mod sys;

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{runtime, sync::watch};

pub(crate) use self::shards::Question;
use self::shards::Shards;
use crate::core::Shared;

/// What the thread is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tasks {
    /// How often `$SYS` is published, if it is.
    pub(crate) sys: Option<Duration>,
    /// How long the last recovery took.
    pub(crate) recovery: Duration,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Plane {
    thread: thread::JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl Plane {
    pub(crate) fn start(shared: Arc<Shared>, tasks: Tasks) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (ending, mut ends) = watch::channel(false);
        let work = async move {
            let shards = Shards::new(shared);
            let sys = async {
                match tasks.sys {
                    Some(interval) => sys::publish(&shards, interval, tasks.recovery).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Whoever dropped the sender wants the same.
                _ = ends.changed() => {}
                () = sys => {}
            }
        };
        let thread = thread::Builder::new().name("plane".into()).spawn(move || runtime.block_on(work))?;
        Ok(Self { thread, ending })
    }

    /// Ends the thread with whatever it is doing.
    pub(crate) fn stop(self) {
        self.ending.send(true).unwrap_or_default();
        if self.thread.join().is_err() {
            tracing::error!("the control plane has ended by itself");
        }
    }
}
