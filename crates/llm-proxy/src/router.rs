//! The public surface: three routes, and the layers around them in their order. Nothing else is ever forwarded.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::Limited;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::error::Error;
use crate::record::Record;
use crate::routes::{chat, health, models};
use crate::state::App;

/// The request's id: in the answer's header, in the log and upstream. A caller's own is not taken over.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn router(app: &App) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/models", get(models::models))
        .route("/health", get(health::health))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_route)
        .with_state(app.clone())
        // The layers, innermost first. A body is read no further than its cap.
        .layer(from_fn_with_state(app.clone(), cap_body))
        // A target that names another host, or no host, is a request meant for someone else.
        .layer(from_fn(check_target))
        // A panic ends its own request only, in the envelope.
        .layer(CatchPanicLayer::custom(|_| Error::Internal.envelope().into_response()))
        // Outermost: every answer carries an id, also the one to a panic.
        .layer(from_fn(request_id))
}

async fn request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId(Uuid::now_v7().to_string());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

async fn check_target(request: Request, next: Next) -> Response {
    let one_host = request.headers().get_all(HOST).iter().count() == 1;
    if !one_host || request.uri().authority().is_some() || request.method() == Method::CONNECT {
        return Error::BadTarget.envelope().into_response();
    }
    next.run(request).await
}

async fn cap_body(State(app): State<App>, request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(Limited::new(body, app.config.max_body_bytes)))).await
}

async fn no_such_route(State(app): State<App>, Extension(id): Extension<RequestId>) -> Response {
    Record::new(&app, id.as_str(), "other").refuse(&Error::NotFound)
}

async fn wrong_method(State(app): State<App>, Extension(id): Extension<RequestId>) -> Response {
    Record::new(&app, id.as_str(), "other").refuse(&Error::MethodNotAllowed)
}
