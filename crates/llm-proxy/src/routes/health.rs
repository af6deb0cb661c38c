//! `GET /health`, public, in llama-server's own words: whether a request sent now would be served.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::error::Error;
use crate::state::App;

pub(crate) async fn health(State(app): State<App>) -> Response {
    if app.shutdown.is_draining() {
        Error::ShuttingDown.envelope().into_response()
    } else if app.fleet.ready().is_err() {
        app.fleet.error().envelope().into_response()
    } else {
        Json(json!({"status": "ok"})).into_response()
    }
}
