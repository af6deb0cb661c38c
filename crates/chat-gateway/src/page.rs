//! The built page, as files of one folder. A folder that is missing takes nothing from the WebSocket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use crate::state::Gateway;

/// What the page may load and where it may connect: its own origin, and nobody may frame it. Pictures may be in messages,
/// and small fonts in the style sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; \
     style-src 'self'; worker-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; \
     frame-ancestors 'none'";
/// The chat for pages of other origins: a script that loads the files in [`HASHED`].
const EMBED: &str = "/embed.js";
/// Where the build puts files whose names change with their content.
const HASHED: &str = "/assets/";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Said at `/` while there is no page.
const HOW_TO_BUILD: &str = "There is no page here yet.\n\n\
    Build it with `npm ci && npm run build` in the folder web/, and point GATEWAY_WEB_DIR at web/dist.\n\
    The chat itself works: its WebSocket is at /api/v1/ws/chat.\n";

/// Serves a file of the page.
pub(crate) async fn page(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    // The build puts compressed copies beside the files.
    let files = ServeDir::new(&gateway.config.web_dir)
        .precompressed_br()
        .precompressed_gzip();
    let Ok(served) = files.oneshot(request).await;
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
    set(&mut response, header::VARY, "accept-encoding");
    if found && (path == EMBED || path.starts_with(HASHED)) {
        // Browsers fetch modules of another origin with CORS. These files are the same for everybody.
        set(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(&mut response, RESOURCE_POLICY, "cross-origin");
    }
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
