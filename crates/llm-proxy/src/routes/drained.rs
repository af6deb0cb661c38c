//! `PUT` and `DELETE /drained` on the admin listener: an operator takes an upstream out of use and puts it back.
//!
//! It is the one thing there that changes anything, so only llm-proxy's own machine or container may ask for it, and no
//! browser.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::put;
use llama_client::Upstream;
use serde::Deserialize;

use crate::state::App;

#[derive(Deserialize)]
struct DrainedQuery {
    /// `http://HOST:PORT`.
    upstream: Option<String>,
}

pub(crate) fn router(app: &App) -> Router {
    Router::new()
        .route("/drained", put(drain).delete(resume))
        .with_state(app.clone())
}

async fn drain(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(named): Query<DrainedQuery>,
) -> Response {
    let upstream = match checked(peer, &headers, named) {
        Ok(Some(upstream)) => upstream,
        Ok(None) => return told(StatusCode::BAD_REQUEST, "`upstream` is missing"),
        Err(refused) => return refused,
    };
    match app.fleet.drain(&upstream) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => told(StatusCode::CONFLICT, error),
    }
}

async fn resume(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(named): Query<DrainedQuery>,
) -> Response {
    match checked(peer, &headers, named) {
        Ok(upstream) => {
            app.fleet.resume(upstream.as_ref());
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused,
    }
}

/// The upstream that is meant, if whoever asks may.
fn checked(
    peer: SocketAddr,
    headers: &HeaderMap,
    named: DrainedQuery,
) -> Result<Option<Upstream>, Response> {
    if !peer.ip().to_canonical().is_loopback() || headers.contains_key(header::ORIGIN) {
        return Err(told(
            StatusCode::FORBIDDEN,
            "only llm-proxy's own machine or container may ask for this: use `llm-proxy drain` there",
        ));
    }
    match named.upstream.map(|upstream| upstream.parse::<Upstream>()) {
        None => Ok(None),
        Some(Ok(upstream)) if !upstream.is_name() => Ok(Some(upstream)),
        Some(_) => Err(told(
            StatusCode::BAD_REQUEST,
            "`upstream` must look like http://HOST:PORT; behind a dns+http:// name every address is an upstream",
        )),
    }
}

fn told(status: StatusCode, sentence: impl std::fmt::Display) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::{DrainedQuery, checked};

    #[test]
    fn only_the_same_machine_may_drain() {
        let may = |peer: &str| {
            let named = DrainedQuery {
                upstream: Some("http://a:1".to_owned()),
            };
            checked(peer.parse().unwrap(), &HeaderMap::new(), named).is_ok()
        };
        assert!(["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(may) == [true; 3]);
        assert!(["10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"].map(may) == [false; 3]);
    }
}
