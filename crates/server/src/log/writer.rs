//! The thread that writes log lines.

use std::{
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

/// Lines that wait at most.
const QUEUE_MAX: usize = 8192;

/// How long a process that ends waits for its last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

enum Order {
    Line(String),
    Flush(mpsc::Sender<()>),
}

pub(super) struct Writer {
    queue: SyncSender<Order>,
    dropped: AtomicU64,
}

impl Writer {
    pub(super) fn start() -> Self {
        let (queue, orders) = mpsc::sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("log".into()).spawn(move || write_all(&orders));
        if let Err(error) = thread {
            // No thread, no log: the queue's other end is gone and lines are dropped.
            writeln!(io::stderr(), "cannot start the log: {error}").unwrap_or_default();
        }
        Self { queue, dropped: AtomicU64::new(0) }
    }

    pub(super) fn write(&self, line: String) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let line = if dropped == 0 { line } else { format!("{line}({dropped} lines before this one were dropped)\n") };
        if self.queue.try_send(Order::Line(line)).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if self.queue.try_send(Order::Flush(done)).is_ok() {
            wait.recv_timeout(FLUSH_MAX).unwrap_or_default();
        }
    }
}

fn write_all(orders: &Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        match order {
            // Standard error may be closed; there is nobody left to tell.
            Order::Line(line) => io::stderr().write_all(line.as_bytes()).unwrap_or_default(),
            Order::Flush(done) => done.send(()).unwrap_or_default(),
        }
    }
}
