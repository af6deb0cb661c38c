//! `GET /health`, public, in llama-server's own words: whether a request sent now would be served.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::error::Error;
use crate::state::App;

pub(crate) async fn health(State(app): State<App>) -> Response {
    let error = if app.shutdown.is_draining() {
        Error::ShuttingDown
    } else if app.fleet.ready().is_err() {
        app.fleet.error()
    } else {
        return Json(json!({"status": "ok"})).into_response();
    };
    let mut envelope = error.envelope();
    // Whatever a request would be told, to a look at the health there are two answers.
    envelope.status = StatusCode::SERVICE_UNAVAILABLE;
    envelope.into_response()
}
