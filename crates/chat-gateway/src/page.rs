//! The built page, as files of one folder. A folder that is missing takes nothing from the WebSocket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use crate::state::Gateway;

/// What the page may load and where it may connect: its own origin, and nobody may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
     object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";
/// Where the build puts files whose names change with their content.
const HASHED: &str = "/assets/";

/// Said at `/` while there is no page.
const HOW_TO_BUILD: &str = "There is no page here yet.\n\n\
    Build it with `npm ci && npm run build` in the folder web/, and point GATEWAY_WEB_DIR at web/dist.\n\
    The chat itself works: its WebSocket is at /api/v1/ws/chat.\n";

/// Serves a file of the page.
pub(crate) async fn page(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Ok(served) = ServeDir::new(&gateway.config.web_dir)
        .oneshot(request)
        .await;
    let mut response = served.map(Body::new);
    let found = response.status() != StatusCode::NOT_FOUND;
    if !found && path == "/" {
        response = (StatusCode::NOT_FOUND, HOW_TO_BUILD).into_response();
    }
    let cached = match (found, path.starts_with(HASHED)) {
        (true, true) => "public, max-age=31536000, immutable",
        (true, false) => "no-cache",
        (false, _) => "no-store",
    };
    set(&mut response, header::CACHE_CONTROL, cached);
    set(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        CONTENT_SECURITY_POLICY,
    );
    set(&mut response, header::REFERRER_POLICY, "no-referrer");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
