//! The control plane: one thread beside the shards, for everything that is seen from outside. It asks shards and tells them, and none of them waits for it.

mod http;
mod outside;
mod process;
mod shards;
mod standing;
mod status;
mod sys;
mod watchdog;

use std::{io, net::TcpListener, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    sync::{mpsc, watch},
};

use self::outside::Outside;
pub(crate) use self::{
    outside::{Cold, Live},
    process::Memory,
    shards::{Kept, Promise, Question, Shards},
};
use crate::{config::Config, login::Fetched};

/// The running thread; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Plane {
    thread: Option<thread::JoinHandle<()>>,
    ending: watch::Sender<bool>,
    outside: Arc<Outside>,
    interval: watch::Sender<Option<Duration>>,
    ports: mpsc::UnboundedSender<Vec<TcpListener>>,
}

impl Plane {
    /// Begins before there are shards: who asks for health meanwhile has an answer.
    pub(crate) fn start(config: &Config, sockets: Vec<TcpListener>, key_set: Option<Arc<Fetched>>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let outside = Arc::new(Outside::new(config, key_set));
        let (ending, mut ends) = watch::channel(false);
        let (interval, intervals) = watch::channel(config.sys_interval);
        let (ports, open) = mpsc::unbounded_channel();
        let seen = Arc::clone(&outside);
        let work = async move {
            tokio::select! {
                // Whoever dropped the sender wants the same.
                _ = ends.changed() => {}
                () = sys::publish(&seen, intervals) => {}
                () = watchdog::feed(&seen) => {}
                () = standing::keep(&seen) => {}
                () = keep(seen.key_set.subscribe()) => {}
                () = http::api::tick(&seen) => {}
                () = tell_status(&seen) => {}
                () = http::serve(open, Arc::clone(&seen)) => {}
            }
        };
        let thread = thread::Builder::new().name("plane".into()).spawn(move || {
            runtime.block_on(work);
            // Whatever still reads or waits on a thread of its own is not waited for.
            runtime.shutdown_background();
        })?;
        let plane = Self { thread: Some(thread), ending, outside, interval, ports };
        plane.opens(sockets);
        Ok(plane)
    }

    /// Everything is brought back, and there are shards to be asked.
    pub(crate) fn goes_live(&self, live: Live) {
        self.outside.set_live(live);
    }

    /// Another configuration is in force, but for these keys, which wait for the next start.
    pub(crate) fn has_other_config(&self, config: &Config, waiting: &[&'static str], key_set: Option<Arc<Fetched>>) {
        self.outside.set_config(config, waiting, key_set);
        self.interval.send_if_modified(|now| std::mem::replace(now, config.sys_interval) != config.sys_interval);
    }

    /// The HTTP port is at these sockets from now on. Whoever asked at others has an answer first.
    pub(crate) fn opens(&self, sockets: Vec<TcpListener>) {
        // Nobody serves any more where the thread has ended by itself: the log has that.
        self.ports.send(sockets).unwrap_or_default();
    }

    /// Lets the log say how it is going.
    pub(crate) fn tell_status(&self) {
        self.outside.is_asked.notify_one();
    }

    /// The broker shuts down.
    pub(crate) fn drains(&self) {
        self.outside.drains();
    }
}

/// Says in the log how it is going, each time somebody asks for it.
async fn tell_status(outside: &Outside) {
    loop {
        outside.is_asked.notified().await;
        let Some(shards) = outside.live() else {
            tracing::info!("what was stored is being brought back");
            continue;
        };
        match shards.status().await {
            Ok(status) => tracing::info!(
                connections = status.connections,
                sessions = status.census.attached + status.census.detached,
                subscriptions = status.subscriptions,
                retained = status.retained_messages,
                queued = status.census.queued_messages,
                in_flight = status.census.in_flight_out,
                received = status.publishes_received(),
                sent = status.publishes_sent(),
                dropped = status.dropped(),
                uptime_s = outside.started.elapsed().as_secs(),
                "how it is going"
            ),
            Err(error) => tracing::error!(%error, "the shards do not say how it is going"),
        }
    }
}

/// Keeps the set of keys up to date that is in force.
async fn keep(mut in_force: watch::Receiver<Option<Arc<Fetched>>>) {
    loop {
        let key_set = in_force.borrow_and_update().clone();
        let keeping = async {
            match key_set {
                Some(key_set) => key_set.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = keeping => {}
            changed = in_force.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
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
