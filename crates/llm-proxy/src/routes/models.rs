//! `GET /v1/models`: the one alias there is, never a file path, and only while a request for it would be served.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde_json::json;

use crate::record::Record;
use crate::router::RequestId;
use crate::state::App;

pub(crate) async fn models(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let record = Record::new(&app.metrics, request_id.as_str(), "/v1/models");
    if let Err(error) = app.keys.check(&headers) {
        return record.refuse(&error);
    }
    // The context of one slot: what a prompt and its answer must fit into together.
    let Some(n_ctx) = app.fleet.n_ctx() else { return record.refuse(&app.fleet.error()) };
    let model = json!({
        "id": app.config.model,
        "object": "model",
        "created": app.since,
        "owned_by": "llm-proxy",
        "meta": {"n_ctx": n_ctx},
    });
    record.answer(Json(json!({"object": "list", "data": [model]})).into_response())
}
