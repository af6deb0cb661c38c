//! The HTTP API beside the socket: conversations for every client, and answers as the AI SDK reads them.
//!
//! It owns no conversation and no answer. Every route is signed in, takes bodies up to a cap, and answers errors in one
//! shape. `openapi.rs` describes it all.

mod conversations;
pub(crate) mod cors;
mod documents;
mod entry;
mod input;
pub(crate) mod me;
mod messages;
mod openapi;
mod problem;
mod tokens;
mod ui_stream;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub(crate) use input::BodyBudget;
pub use openapi::document;

use crate::http::problem::ApiProblem;
use crate::state::Gateway;

/// The routes of the API. The layer runs before all of them.
pub(crate) fn routes(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let enter = from_fn_with_state(Arc::clone(gateway), entry::enter);
    let conversations = get(conversations::list)
        .post(conversations::create)
        .delete(conversations::delete_all);
    let conversation = get(conversations::one)
        .patch(conversations::change)
        .delete(conversations::delete);
    Router::new()
        .route("/api/v1/conversations", conversations)
        .route("/api/v1/conversations/import", post(documents::import))
        .route("/api/v1/conversations/{id}", conversation)
        .route(
            "/api/v1/conversations/{id}/restore",
            post(conversations::restore),
        )
        .route("/api/v1/conversations/{id}/messages", get(messages::list))
        .route("/api/v1/conversations/{id}/export", get(documents::export))
        .route("/api/v1/folders", get(conversations::folders))
        .route("/api/v1/search", get(messages::search))
        .route("/api/v1/models", get(conversations::models))
        .route("/api/v1/tokens", post(tokens::count))
        .merge(ui_stream::routes())
        .method_not_allowed_fallback(wrong_method)
        .layer(enter)
        .route("/api/v1/openapi.json", get(openapi::serve))
}

async fn wrong_method() -> ApiProblem {
    let message = "this address does not take this method; /api/v1/openapi.json says which it does";
    ApiProblem::bad(message).with_status(StatusCode::METHOD_NOT_ALLOWED)
}
