//! `GET /status` on the admin listener: JSON for programs, text for people (`?format=text`, or `Accept: text/plain`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use admission::LaneStatus;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::time::Instant;

use crate::auth::{Caller, UsageReport};
use crate::observe::status::{FirstToken, Key, LastMinute, LimitStatus, ProxyStatus, thousandths};
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
        drained: app.fleet.drained_names(),
        upstreams,
        keys: keys(app),
        last_minute: LastMinute {
            requests_per_second: thousandths(rates.requests),
            refused_per_second: thousandths(rates.refused),
            tokens_per_second: thousandths(rates.tokens),
        },
        first_token: FirstToken::of(&app.reporter.recent.first_tokens(now)),
    }
}

/// The keys that have something waiting or running, or have used something today, by name. A key that was taken out
/// while its last answer runs has no limits any more.
fn keys(app: &App) -> Vec<Key> {
    let lanes = app.admission.lanes();
    let lanes: BTreeMap<&str, &LaneStatus> =
        lanes.iter().map(|lane| (&*lane.caller, lane)).collect();
    let callers = app.keys.by_name();
    let names: BTreeSet<&str> = lanes
        .keys()
        .copied()
        .chain(callers.keys().map(|name| &**name))
        .collect();
    let all = names.into_iter().filter_map(|name| {
        let caller = callers.get(name);
        let report = caller.map(|caller| caller.report());
        key(name, lanes.get(name).copied(), caller, report)
    });
    all.collect()
}

/// What there is to say of a key, or `None` for one that is idle and has used nothing.
fn key(
    name: &str,
    lane: Option<&LaneStatus>,
    caller: Option<&Arc<Caller>>,
    report: Option<UsageReport>,
) -> Option<Key> {
    let running = lane.map_or(0, |lane| lane.running);
    let at_once = caller.and_then(|caller| caller.limits.requests_at_once);
    let at_once = at_once.map(|allowed| LimitStatus {
        limit: "requests_at_once".to_owned(),
        allowed: count(allowed.get()),
        used: count(running),
        reset_seconds: None,
    });
    let report = report.unwrap_or_default();
    let over_time = report
        .limits
        .into_iter()
        .map(|(limit, standing)| LimitStatus {
            limit: limit.field().to_owned(),
            allowed: standing.allowed,
            used: standing.allowed - standing.remaining.min(standing.allowed),
            reset_seconds: Some(thousandths(standing.reset.as_secs_f64())),
        });
    let limits: Vec<LimitStatus> = at_once.into_iter().chain(over_time).collect();
    let is_idle = lane.is_none()
        && report.requests_today == 0
        && report.tokens_today == 0
        && limits.iter().all(|limit| limit.used == 0);
    if is_idle {
        return None;
    }
    Some(Key {
        key: name.to_owned(),
        waiting: lane.map_or(0, |lane| lane.waiting),
        running,
        wait_seconds: lane.map(|lane| thousandths(lane.wait.as_secs_f64())),
        requests_today: report.requests_today,
        tokens_today: report.tokens_today,
        limits,
    })
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
