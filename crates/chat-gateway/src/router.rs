//! Which path leads where, and what every answer passes on its way out.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use common::openai_error::OpenAiError;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::SERVICE;
use crate::http::{self, cors, me};
use crate::page::page;
use crate::state::Gateway;
use crate::upgrade::chat;

/// The public routes. Layers run from the last one added to the first.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let share = from_fn_with_state(Arc::clone(&gateway), cors::share);
    let api = Router::new()
        .route("/api/v1/ws/ticket", post(me::ticket))
        .route("/api/v1/me", get(me::me))
        .merge(http::routes(&gateway))
        // Before anybody is asked who they are: a preflight brings no credentials.
        .layer(share);
    Router::new()
        .route("/api/v1/ws/chat", any(chat))
        .merge(api)
        .route("/api", any(unknown))
        .route("/api/", any(unknown))
        .route("/api/{*path}", any(unknown))
        .fallback(page)
        // No browser may guess another type than the one we name.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        // Outermost: a defect costs one answer, not the connection.
        .layer(CatchPanicLayer::custom(|_: Box<dyn Any + Send>| failed()))
        .with_state(gateway)
}

async fn unknown() -> OpenAiError {
    OpenAiError::new(
        SERVICE,
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this address",
    )
}

fn failed() -> Response {
    let message = "the gateway failed; try again";
    OpenAiError::new(
        SERVICE,
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        message,
    )
    .into_response()
}
