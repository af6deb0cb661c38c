//! `GET /v1/models` and `GET /v1/models/NAME`: the models that the caller may use, never a file's path, and only while a
//! request for them would be served.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;

use crate::api::Dialect;
use crate::auth::Caller;
use crate::error::Error;
use crate::observe::record::Record;
use crate::request_id::RequestId;
use crate::state::App;

/// OpenAI's object for a model.
#[derive(Serialize)]
struct ModelObject {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    meta: ModelMeta,
}

#[derive(Serialize)]
struct ModelMeta {
    /// The context of one slot, in tokens: a prompt and its answer must fit into it together.
    n_ctx: u64,
    /// Whether it reads images.
    images: bool,
    /// Whether its template shows it tools.
    tools: bool,
}

#[derive(Serialize)]
struct ModelList {
    object: &'static str,
    data: Vec<ModelObject>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let mut record = Record::new(&app.reporter, &request_id, "/v1/models");
    match models(&app, &headers, &mut record) {
        Ok(data) => {
            let object = "list";
            record.answer_poll(Json(ModelList { object, data }).into_response())
        }
        Err(error) => record.refuse(&error),
    }
}

pub(crate) async fn one(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let mut record = Record::new(&app.reporter, &request_id, "/v1/models/{name}");
    // A name that is no text is no model's.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let found = models(&app, &headers, &mut record).and_then(|models| {
        let named = models.into_iter().find(|model| model.id == name);
        named.ok_or(Error::ModelNotFound)
    });
    match found {
        Ok(model) => record.answer_poll(Json(model).into_response()),
        Err(error) => record.refuse(&error),
    }
}

/// The models that the caller may use.
fn models(app: &App, headers: &HeaderMap, record: &mut Record) -> Result<Vec<ModelObject>, Error> {
    let caller: Arc<Caller> = app.keys.caller(headers, Dialect::Chat)?;
    record.called_by(&caller);
    record.adopt_id(headers);
    let n_ctx = app.fleet.n_ctx().ok_or_else(|| app.fleet.error())?;
    let model = ModelObject {
        id: app.config.model.to_string(),
        object: "model",
        created: app.since,
        owned_by: "llm-proxy",
        meta: ModelMeta {
            n_ctx,
            images: !app.fleet.is_blind(),
            tools: app.fleet.template().tools,
        },
    };
    let may_use = caller.may_use(&app.config.model);
    Ok(may_use.then_some(model).into_iter().collect())
}
