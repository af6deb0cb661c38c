//! The admin listener: `/livez`, `/readyz`, `/metrics`, and the client side of a container's health check.
//!
//! It is never published: metrics and readiness are for operators, not for callers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;

/// How long a health check waits for its answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The routes. `ready` says why a request sent now would not be served, in words for an operator.
pub fn router<R>(registry: Arc<Registry>, ready: R) -> Router
where
    R: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness(ready())))
        .route("/metrics", get(async move || metrics(&registry)))
}

fn readiness(ready: Result<(), String>) -> Response {
    match ready {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Asks the service that listens on `admin` whether it is ready; for the `healthcheck` subcommand, because our images
/// hold no shell and no curl.
///
/// # Errors
///
/// A sentence for the container's health log.
pub async fn healthcheck(admin: SocketAddr) -> Result<(), String> {
    let address = reachable(admin);
    tokio::time::timeout(HEALTHCHECK_TIMEOUT, ask(address))
        .await
        .map_err(|_| format!("{address} did not answer within {} s", HEALTHCHECK_TIMEOUT.as_secs()))?
        .map_err(|error| format!("{address} cannot be asked: {error}"))
        .and_then(|status| if status.is_success() { Ok(()) } else { Err(format!("{address} is not ready")) })
}

/// An unspecified listen address (`0.0.0.0`, `[::]`) is reached over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> Result<StatusCode, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz").header(header::HOST, "localhost").body(Body::empty())?;
    tokio::select! {
        response = sender.send_request(request) => Ok(response?.status()),
        ended = connection => Err(ended.err().map_or_else(|| "closed".into(), Into::into)),
    }
}
