//! `/stream`: the overview once a second, as server-sent events. It is made once, however many look at it, and not at all when nobody does.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, header},
};
use hyper::body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{MissedTickBehavior, interval},
};

use super::{access::Viewer, live, overview};
use crate::admin::{http::problem::Problem, outside::Outside};

/// How many look at once.
const VIEWERS_MAX: usize = 32;

const EVERY: Duration = Duration::from_secs(1);

/// The latest event, and places for those who look at it.
#[derive(Debug)]
pub(in crate::admin) struct Ticks {
    latest: watch::Sender<Bytes>,
    places: Arc<Semaphore>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { latest: watch::Sender::default(), places: Arc::new(Semaphore::new(VIEWERS_MAX)) }
    }
}

/// Makes events for as long as it is polled.
pub(in crate::admin) async fn tick(outside: &Outside) {
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let ticks = &outside.ticks;
        if ticks.latest.receiver_count() == 0 {
            continue;
        }
        let Some(live) = outside.alive() else { continue };
        // A shard that does not answer is told by /healthz; here a second is missing.
        if let Ok(status) = live.shards.status().await {
            let data = overview::shown(outside, live, &status);
            ticks.latest.send_replace(format!("event: overview\ndata: {data}\n\n").into());
        }
    }
}

/// A connection lasts for some minutes; who looks comes again by itself, as `EventSource` does.
pub(super) async fn show(
    _: Viewer,
    State(outside): State<Arc<Outside>>,
) -> Result<([(HeaderName, &'static str); 1], Body), Problem> {
    live(&outside)?;
    let place = Arc::clone(&outside.ticks.places).try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("as many look at this as may"))?;
    let mut events = outside.ticks.latest.subscribe();
    // What was made before somebody came may be of long ago.
    events.mark_unchanged();
    let body = Events { next: Box::pin(next(events)), _place: place };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(body)))
}

type Next = Pin<Box<dyn Future<Output = Option<(watch::Receiver<Bytes>, Bytes)>> + Send>>;

async fn next(mut events: watch::Receiver<Bytes>) -> Option<(watch::Receiver<Bytes>, Bytes)> {
    events.changed().await.ok()?;
    let event = events.borrow_and_update().clone();
    Some((events, event))
}

/// Events as they come; who reads slowly misses some.
struct Events {
    next: Next,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Poll::Ready(event) = self.next.as_mut().poll(cx) else { return Poll::Pending };
        Poll::Ready(event.map(|(events, event)| {
            self.next = Box::pin(next(events));
            Ok(Frame::data(event))
        }))
    }
}
