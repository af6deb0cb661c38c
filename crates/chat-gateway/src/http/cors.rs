//! Lets pages of the origins in `GATEWAY_ALLOWED_ORIGINS` read the API's answers: an app may embed the chat in its own
//! page. Pages of all other origins are told nothing, and their browsers keep the answers from them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::state::Gateway;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE");
/// What a request may bring: the app's token, and JSON.
const REQUEST_FIELDS: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// What a page may read beside the body.
const RESPONSE_FIELDS: HeaderValue =
    HeaderValue::from_static("retry-after, x-request-id, content-disposition");
/// How long a browser may remember a preflight, in seconds. Browsers allow no more than two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Answers preflights of listed origins, and marks all other answers for them.
pub(crate) async fn share(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = gateway.config.allowed_origins.listed(request.headers());
    let origin = origin.cloned();
    let mut response = if origin.is_some() && is_preflight(&request) {
        preflight()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        allow(headers, origin);
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let head = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, head).into_response()
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS);
}
