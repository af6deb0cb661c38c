//! One file per noun of the public surface, and what all that take a body begin with.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use tokio::time::Instant;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::Error;
use crate::observe::record::Record;
use crate::request::{self, Checked, Rules};
use crate::state::App;

pub(crate) mod chat;
pub(crate) mod drained;
pub(crate) mod health;
pub(crate) mod models;
pub(crate) mod status;
pub(crate) mod tokens;

/// The most answers to one request (`n`).
const MAX_ANSWERS: usize = 8;

/// Whose request this is, and what is asked, both checked. Not cancel-safe: a part of the body is lost.
async fn check(
    api: Api,
    app: &App,
    request: Request,
    record: &mut Record,
) -> Result<(Arc<Caller>, Checked, Parts), Error> {
    let caller = app.keys.caller(request.headers(), api.dialect())?;
    record.called_by(&caller);
    record.adopt_id(request.headers());
    caller.allow(api.scope())?;
    caller.count_request()?;
    request::check_headers(request.headers(), app.config.max_body_bytes)?;
    let (parts, body) = request.into_parts();
    let began = Instant::now();
    let body = app.bodies.read(body).await?;
    record.body_read(began.elapsed(), body.bytes.len());
    let rules = Rules {
        model: &app.config.model,
        max_tokens: app.config.max_tokens,
        max_answers: MAX_ANSWERS,
        template: app.fleet.template(),
    };
    let request = Checked::parse(api, &body.bytes, &rules)?;
    app.reporter
        .metrics
        .dropped_fields
        .inc_by(request.n_dropped);
    if !caller.may_use(&app.config.model) {
        return Err(Error::ModelNotFound);
    }
    Ok((caller, request, parts))
}
