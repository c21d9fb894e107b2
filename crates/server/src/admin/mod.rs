//! The control plane: one thread beside the shards, for everything that is seen from outside. It asks shards and tells them, and none of them waits for it.

mod http;
mod outside;
mod process;
mod shards;
mod status;
mod sys;
mod watchdog;

use std::{io, net::TcpListener, sync::Arc, thread, time::Duration};

use tokio::{runtime, sync::watch};

use self::outside::Outside;
pub(crate) use self::{
    outside::{Cold, Live},
    process::Memory,
    shards::{Question, Shards},
};
use crate::{config::Config, login::Fetched};

/// The running thread; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Plane {
    thread: Option<thread::JoinHandle<()>>,
    ending: watch::Sender<bool>,
    outside: Arc<Outside>,
}

impl Plane {
    /// Begins before there are shards: who asks for health meanwhile has an answer.
    pub(crate) fn start(config: &Config, sockets: Vec<TcpListener>, key_set: Option<Arc<Fetched>>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let outside = Arc::new(Outside::new(config));
        let (ending, mut ends) = watch::channel(false);
        let (seen, interval) = (Arc::clone(&outside), config.sys_interval);
        let work = async move {
            tokio::select! {
                // Whoever dropped the sender wants the same.
                _ = ends.changed() => {}
                () = publish_sys(&seen, interval) => {}
                () = watchdog::feed(&seen) => {}
                () = keep(key_set) => {}
                () = http::api::tick(&seen) => {}
                () = http::serve(sockets, Arc::clone(&seen)) => {}
            }
        };
        let thread = thread::Builder::new().name("plane".into()).spawn(move || {
            runtime.block_on(work);
            // Whatever still reads or waits on a thread of its own is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { thread: Some(thread), ending, outside })
    }

    /// Everything is brought back, and there are shards to be asked.
    pub(crate) fn goes_live(&self, live: Live) {
        self.outside.set_live(live);
    }

    /// The broker shuts down.
    pub(crate) fn drains(&self) {
        self.outside.drains();
    }
}

async fn publish_sys(outside: &Outside, interval: Option<Duration>) {
    match interval {
        Some(interval) => sys::publish(outside, interval).await,
        None => std::future::pending().await,
    }
}

async fn keep(key_set: Option<Arc<Fetched>>) {
    match key_set {
        Some(key_set) => key_set.keep().await,
        None => std::future::pending().await,
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.ending.send(true).unwrap_or_default();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control plane has ended by itself");
        }
    }
}
