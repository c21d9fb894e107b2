//! The HTTP port: axum on connections that have bounds in number, in time and in size.

pub(super) mod api;
mod guard;
mod health;
mod metrics;
mod problem;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    middleware,
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time,
};
use tower_service::Service as _;

use self::problem::Problem;
use super::outside::Outside;

/// Connections at once; more wait in the backlog of the system.
const CONNECTIONS_MAX: usize = 256;

/// How long the head of a request may take to come, from the end of the one before: also how long an idle connection stays.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a connection lasts at most, whatever happens on it: nobody needs one for longer, and one that trickles takes a place.
const CONNECTION_MAX: Duration = Duration::from_mins(5);

/// Bytes of a request's head, and of a body.
const HEAD_BYTES_MAX: usize = 32 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;

/// How long no connection is accepted after the system refused one.
const BACK_OFF: Duration = Duration::from_millis(200);

/// The port closes as soon as the other end is gone.
type Closes = watch::Receiver<()>;

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

/// Serves until it is dropped: at the sockets that came last. Who is at former ones gets the answer that is being made, and no other.
pub(super) async fn serve(mut ports: mpsc::UnboundedReceiver<Vec<std::net::TcpListener>>, outside: Arc<Outside>) {
    let router = router(&outside);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = JoinSet::new();
    let mut open = None;
    while let Some(sockets) = ports.recv().await {
        let (stays, closes) = watch::channel(());
        for socket in sockets {
            match TcpListener::from_std(socket) {
                Ok(listener) => {
                    accepting.spawn(accept(listener, router.clone(), Arc::clone(&places), closes.clone()));
                }
                Err(error) => tracing::error!(%error, "the HTTP port is not served"),
            }
        }
        drop(open.replace(stays));
        while accepting.try_join_next().is_some() {}
    }
    // There is no other port to come: the one that is open stays.
    while accepting.join_next().await.is_some() {}
    // Without a port there is nothing to end for.
    std::future::pending::<()>().await;
}

fn router(outside: &Arc<Outside>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .merge(api::router())
        .fallback(async || Problem::not_found("nothing is here; there are /healthz, /readyz, /metrics and /api/v1"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(outside), guard::watch))
        .with_state(Arc::clone(outside))
}

/// Accepts until the port closes, and stays until those who came have gone.
async fn accept(listener: TcpListener, router: Router, places: Arc<Semaphore>, mut closes: Closes) {
    let mut told = false;
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let arrival = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            // Whoever dropped the sender wants the same.
            _ = closes.changed() => break,
            arrival = arrival => arrival,
        };
        let Ok(place) = place else { break };
        match accepted {
            Ok((stream, peer)) => {
                told = false;
                let (router, closes) = (router.clone(), closes.clone());
                connections.spawn(async move {
                    // Whoever hangs up early, or talks no HTTP, is not worth a line.
                    drop(time::timeout(CONNECTION_MAX, converse(stream, peer, router, closes)).await);
                    drop(place);
                });
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "cannot accept HTTP connections; trying on");
                }
                time::sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, mut closes: Closes) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = closes.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    // A stream of events has no end of its own.
    time::timeout(guard::ANSWER_MAX, connection).await.unwrap_or(Ok(()))
}
