//! `GET /v1/models`: the aliases the caller may use, never a file path, and only while a request for it would be served.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde_json::json;

use crate::api::Dialect;
use crate::observe::record::Record;
use crate::request_id::RequestId;
use crate::state::App;

pub(crate) async fn models(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let mut record = Record::new(&app, &request_id, "/v1/models");
    let caller = match app.keys.caller(&headers, Dialect::Chat) {
        Ok(caller) => caller,
        Err(error) => return record.refuse(&error.into()),
    };
    record.called_by(&caller);
    record.adopt_id(&headers);
    // The context of one slot: what a prompt and its answer must fit into together.
    let Some(n_ctx) = app.fleet.n_ctx() else {
        return record.refuse(&app.fleet.error());
    };
    let models = [&*app.config.model]
        .into_iter()
        .filter(|model| caller.may_use(model));
    let models = models.map(|model| {
        json!({
            "id": model,
            "object": "model",
            "created": app.since,
            "owned_by": "llm-proxy",
            "meta": {"n_ctx": n_ctx},
        })
    });
    let list = json!({"object": "list", "data": models.collect::<Vec<_>>()});
    record.answer(Json(list).into_response())
}
