//! The accept loop of every listener. `axum::serve` has no header timeout, no connection cap and a graceful shutdown
//! that a single open stream blocks for ever; this one has the first two and leaves the deadline to [`Shutdown`].
//!
//! HTTP/1.1 only, with upgrades for WebSocket. A handler's future is dropped as soon as its client is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::shutdown::Shutdown;
use crate::write_stall::WriteStall;

/// Bytes of a connection's read buffer, and with it the cap on a request's header block.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Header fields in one request.
const MAX_HEADERS: usize = 64;
/// How long the accept loop rests after `accept` failed (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a connection, or the end of the last answer, to a whole request header.
    pub header_timeout: Duration,
    /// Connections open at once; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// How long a peer may take nothing of what is written to it.
    pub write_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            write_stall: Duration::from_secs(60),
        }
    }
}

/// Binds `address`.
///
/// # Errors
///
/// With a sentence that names the variable and what to do: the port is taken, or the address is not this machine's.
pub async fn bind(variable: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "{variable}: {address} is taken by another process; stop it or set {variable} to a free port"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{variable}: this user may not listen on {address}; choose a port above 1023")
        }
        _ => format!("{variable}: cannot listen on {address}: {error}"),
    })
}

/// Serves `router` on `listener` until the drain begins; connections then finish their current answer.
/// Handlers find the peer as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let connections = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        let accepted = tokio::select! {
            () = shutdown.draining() => return,
            accepted = accept(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let _nodelay_is_a_hint = stream.set_nodelay(true);
                let connection = serve_connection(stream, peer, router.clone(), limits, shutdown.clone());
                shutdown.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(
            TokioIo::new(WriteStall::new(stream, limits.write_stall)),
            TowerToHyperService::new(service),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut draining = std::pin::pin!(shutdown.draining());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.as_mut() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}
