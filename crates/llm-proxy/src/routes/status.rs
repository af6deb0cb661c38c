//! `GET /status` on the admin listener: JSON for programs, text for people (`?format=text`, or `Accept: text/plain`).

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::time::Instant;

use crate::observe::status::{FirstToken, Key, LastMinute, ProxyStatus, thousandths};
use crate::state::App;

#[derive(Deserialize)]
struct Format {
    format: Option<String>,
}

pub(crate) fn router(app: &App) -> Router {
    Router::new()
        .route("/status", get(answer))
        .with_state(app.clone())
}

async fn answer(
    State(app): State<App>,
    Query(asked): Query<Format>,
    headers: HeaderMap,
) -> Response {
    let accepted = headers
        .get(header::ACCEPT)
        .map(header::HeaderValue::as_bytes)
        .unwrap_or_default();
    let text = asked
        .format
        .map_or(accepted.starts_with(b"text/plain"), |format| {
            format == "text"
        });
    let status = status(&app);
    if text {
        status.text(false).into_response()
    } else {
        Json(status).into_response()
    }
}

fn status(app: &App) -> ProxyStatus {
    let now = Instant::now();
    let upstreams = app.fleet.status();
    let rates = app.reporter.recent.rates(now);
    ProxyStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: (now - app.started).as_secs(),
        not_ready: app.ready().err(),
        keys_file_refused: app.keys.file_refused(),
        model: app.config.model.to_string(),
        slots: upstreams.iter().map(|upstream| upstream.slots).sum(),
        busy: upstreams.iter().map(|upstream| upstream.busy).sum(),
        quarantined: app.fleet.n_quarantined(),
        drained: app.fleet.drained_addresses(),
        upstreams,
        keys: app.admission.lanes().into_iter().map(Key::of).collect(),
        last_minute: LastMinute {
            requests_per_second: thousandths(rates.requests),
            refused_per_second: thousandths(rates.refused),
            tokens_per_second: thousandths(rates.tokens),
        },
        first_token: FirstToken::of(&app.reporter.recent.first_tokens(now)),
    }
}
