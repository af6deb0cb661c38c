//! The admin listener (`/livez`, `/readyz`, `/metrics`) and the client of a container's health check.
//!
//! It is never published: metrics and readiness are for operators, not for callers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;

/// How long a health check waits for its answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest document that is read.
const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

/// The routes. `ready` returns why a request sent now would not be served, in words for an operator.
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
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => {
            let kind = HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            );
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Asks the service whose admin listener is `admin` whether it is ready. The `healthcheck` subcommands use it, because our
/// images hold no shell and no curl.
///
/// # Errors
///
/// A sentence for the container's health log.
pub async fn healthcheck(admin: SocketAddr) -> Result<(), String> {
    let address = reachable(admin).to_string();
    let (status, _) = document(&address, "/readyz").await?;
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("{address} is not ready"))
    }
}

/// Gets a document from the admin listener at `address`, `HOST:PORT`.
///
/// # Errors
///
/// A sentence, when it does not answer in time.
pub async fn document(address: &str, path: &str) -> Result<(StatusCode, Bytes), String> {
    send(Method::GET, address, path).await
}

/// Asks the admin listener at `address`, `HOST:PORT`, for `path`, without a body.
///
/// # Errors
///
/// A sentence, when it does not answer in time.
pub async fn send(
    method: Method,
    address: &str,
    path: &str,
) -> Result<(StatusCode, Bytes), String> {
    tokio::time::timeout(HEALTHCHECK_TIMEOUT, ask(method, address, path))
        .await
        .map_err(|_| {
            format!(
                "{address} did not answer within {} s",
                HEALTHCHECK_TIMEOUT.as_secs()
            )
        })?
        .map_err(|error| format!("{address} cannot be asked: {error}"))
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

async fn ask(
    method: Method,
    address: &str,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Body::empty())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = exchange.as_mut() => answer,
        // The end of the connection may have brought the end of the answer.
        _ = connection.as_mut() => exchange.await,
    }
}
