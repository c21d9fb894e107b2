//! Log lines to standard error, as text for people or as JSON with stable keys.
//!
//! A line is handed to a thread that writes it: whoever reads our standard error, or does not, stops no shard. Lines that find the
//! queue full are counted and reported once there is room.

mod line;
mod writer;

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    reload,
};

use self::writer::Writer;
use crate::config::{Log, LogFormat};

static WRITER: OnceLock<Writer> = OnceLock::new();

/// In which form lines are written.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Which modules tell how much, where our lines are written.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging for the whole process; only the first call does anything.
pub fn start(log: &Log) {
    if WRITER.set(Writer::start()).is_err() {
        return;
    }
    IS_JSON.store(log.format == LogFormat::Json, Relaxed);
    let (filter, handle) = reload::Layer::new(log.filter.clone());
    FILTER.set(handle).unwrap_or_default();
    let subscriber = tracing_subscriber::registry().with(Lines.with_filter(filter));
    // Fails where somebody else already listens to the events of this process; then they have them.
    tracing::subscriber::set_global_default(subscriber).unwrap_or_default();
}

/// Tells more or less from now on, or in another form.
pub(crate) fn change(log: &Log) {
    IS_JSON.store(log.format == LogFormat::Json, Relaxed);
    if let Some(handle) = FILTER.get() {
        // Fails where nothing listens to us any more.
        handle.reload(log.filter.clone()).unwrap_or_default();
    }
}

/// Waits until all lines so far are written, for a short while at most.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

/// Makes a line of each event.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if let Some(writer) = WRITER.get() {
            let format = if IS_JSON.load(Relaxed) { LogFormat::Json } else { LogFormat::Text };
            writer.write(line::format(format, event));
        }
    }
}
