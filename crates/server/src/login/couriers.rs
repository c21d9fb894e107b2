//! The thread that carries questions to a service and brings back what it says: many at once, and none of them holds up another, or a judge.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::{runtime, sync::Semaphore, task::JoinSet};

use super::{Asked, Moment, Verdict, wire::Line};
use crate::{
    clock::ProcessClock,
    users::{Ask, Waiting},
};

/// Where questions wait until there is a line for them.
#[derive(Debug)]
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    /// As many permits as questions wait.
    bell: Semaphore,
    /// Never any: whoever waits for one waits for the end.
    end: Semaphore,
}

/// The running thread.
pub(crate) struct Couriers {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), bell: Semaphore::new(0), end: Semaphore::new(0) }
    }

    /// Takes a question; false where there is no room for one more.
    pub(crate) fn ask(&self, ask: Ask) -> bool {
        let taken = self.lock().push(ask);
        if taken {
            self.bell.add_permits(1);
        }
        taken
    }

    /// Takes no more; whoever waits hears that nobody can be reached.
    fn close(&self) {
        self.lock().close();
        self.bell.close();
        self.end.close();
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Couriers {
    /// Starts the thread; each answer goes to `done`, and `name` says how a listener is called.
    pub(crate) fn start(
        desk: Arc<Desk>,
        asked: Arc<Asked>,
        clock: ProcessClock,
        name: impl Fn(u16) -> String + Clone + Send + 'static,
        done: impl Fn(Ask, Verdict) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let at = Arc::clone(&desk);
        let work = async move {
            let mut lines = JoinSet::new();
            for _ in 0..asked.lines() {
                lines.spawn(carry(Arc::clone(&at), Arc::clone(&asked), clock, name.clone(), done.clone()));
            }
            lines.join_all().await;
        };
        let thread = thread::Builder::new().name("couriers".into()).spawn(move || runtime.block_on(work))?;
        Ok(Self { desk, thread: Some(thread) })
    }
}

/// One line: a question, its answer, the next.
async fn carry(
    desk: Arc<Desk>,
    asked: Arc<Asked>,
    clock: ProcessClock,
    name: impl Fn(u16) -> String,
    done: impl Fn(Ask, Verdict),
) {
    let mut line = Line::default();
    while let Ok(permit) = desk.bell.acquire().await {
        permit.forget();
        let Some(ask) = desk.lock().pop() else { continue };
        let listener = name(ask.question.listener);
        let verdict = tokio::select! {
            verdict = asked.judge(&mut line, &ask.question, &listener, Moment::now(&clock)) => verdict,
            // There is none to be had.
            _ = desk.end.acquire() => Verdict::Unreachable,
        };
        done(ask, verdict);
    }
    while let Some(ask) = { desk.lock().pop() } {
        done(ask, Verdict::Unreachable);
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.desk.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that asks who clients are has ended by itself");
        }
    }
}

impl fmt::Debug for Couriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Couriers").finish_non_exhaustive()
    }
}
