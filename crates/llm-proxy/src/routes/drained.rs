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
use serde::Deserialize;

use crate::fleet::DrainTarget;
use crate::state::App;

#[derive(Deserialize)]
struct DrainedQuery {
    /// `new` or `http://HOST:PORT`.
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
    let target = match checked(peer, &headers, named) {
        Ok(Some(target)) => target,
        Ok(None) => return told(StatusCode::BAD_REQUEST, "`upstream` is missing"),
        Err((status, sentence)) => return told(status, sentence),
    };
    match app.fleet.drain(&target) {
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
        Ok(target) => {
            app.fleet.resume(target.as_ref());
            StatusCode::NO_CONTENT.into_response()
        }
        Err((status, sentence)) => told(status, sentence),
    }
}

/// What is meant, if whoever asks may.
fn checked(
    peer: SocketAddr,
    headers: &HeaderMap,
    named: DrainedQuery,
) -> Result<Option<DrainTarget>, (StatusCode, &'static str)> {
    if !peer.ip().to_canonical().is_loopback() || headers.contains_key(header::ORIGIN) {
        return Err((
            StatusCode::FORBIDDEN,
            "only llm-proxy's own machine or container may ask for this: use `llm-proxy drain` there",
        ));
    }
    let target = named.upstream.map(|text| text.parse()).transpose();
    target.map_err(|()| {
        (
            StatusCode::BAD_REQUEST,
            "`upstream` must be `new` or look like http://HOST:PORT; behind a dns+http:// name every address is an upstream",
        )
    })
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
