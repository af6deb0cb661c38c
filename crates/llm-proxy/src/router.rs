//! The public surface: the routes that are switched on, and the layers around them in their order. Nothing else is ever forwarded.

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, EXPECT, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::Api;
use crate::error::{Error, RouteHint};
use crate::observe::record::Record;
use crate::request_id::RequestId;
use crate::routes::{chat, health, models, tokens};
use crate::state::App;

#[cfg(test)]
mod tests;
mod unread;

pub(crate) fn router(app: &App) -> Router {
    in_layers(routes(app), app)
}

fn routes(app: &App) -> Router<App> {
    let mut router = Router::new();
    for api in app.config.routes.iter().copied() {
        router = router.route(
            api.path(),
            post(move |app, id, request| chat::ask(api, app, id, request)),
        );
    }
    let messages = app.config.routes.contains(&Api::Messages);
    for api in [Api::CountTokens, Api::Tokenize]
        .into_iter()
        .chain(messages.then_some(Api::CountMessages))
    {
        router = router.route(
            api.path(),
            post(move |app, id, request| tokens::count(api, app, id, request)),
        );
    }
    router
        .route("/v1/models", get(models::list))
        .route("/v1/models/", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/health", get(health::health))
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_route)
}

fn in_layers(routes: Router<App>, app: &App) -> Router {
    routes
        .with_state(app.clone())
        // The layers, innermost first. A head that is meant for someone else, or that asks for what is not done here.
        .layer(from_fn_with_state(app.clone(), check_head))
        // A panic ends its own request only, in the envelope.
        .layer(CatchPanicLayer::custom(|_| {
            Error::Internal.envelope().into_response()
        }))
        // An answer that leaves the body unread says that it ends the connection.
        .layer(from_fn(unread::say_so))
        // Outermost: what every answer carries, also the one to a panic.
        .layer(from_fn(every_answer))
}

/// Names the request, and tells those on its way to hold nothing of the answer back, nor to keep it for another caller.
async fn every_answer(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    request.extensions_mut().insert(id.clone());
    let anthropics = request.uri().path().starts_with(Api::Messages.path());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        if anthropics {
            // Where its packages look for it.
            headers.insert("request-id", id.clone());
        }
        headers.insert("x-request-id", id);
    }
    response
}

async fn check_head(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let wishes = headers.get_all(EXPECT);
    let for_us = is_one_host(headers) && request.uri().authority().is_none();
    let error = if !for_us || request.method() == Method::CONNECT {
        Error::BadTarget
    } else if headers
        .get_all(CONNECTION)
        .iter()
        .any(|options| !are_harmless(options))
    {
        Error::ConnectionOption
    } else if wishes
        .iter()
        .any(|wish| !wish.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        Error::Expectation
    } else {
        return next.run(request).await;
    };
    Record::new(&app.reporter, &id, "other").refuse(&error)
}

/// Any one host and port will do: whoever reaches this listener shows a key, which no web page of another site has.
fn is_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let one = hosts.next().filter(|_| hosts.next().is_none());
    let host = one.and_then(|host| host.as_bytes().try_into().ok());
    host.is_some_and(|host: Authority| !host.as_str().contains('@'))
}

/// Whether `Connection` names only what concerns the connection. An intermediary drops the fields it names, and so
/// could be made to drop a key.
fn are_harmless(options: &HeaderValue) -> bool {
    options
        .to_str()
        .is_ok_and(|options| options.split(',').all(is_harmless))
}

fn is_harmless(option: &str) -> bool {
    const OPTIONS: [&str; 5] = ["close", "keep-alive", "te", "upgrade", "http2-settings"];
    OPTIONS
        .iter()
        .any(|harmless| option.trim().eq_ignore_ascii_case(harmless))
}

async fn no_such_route(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    uri: Uri,
) -> Response {
    let error = Error::NotFound(hint(uri.path()));
    Record::new(&app.reporter, &id, "other").refuse(&error)
}

/// What the caller of a path that is no route has probably meant.
fn hint(path: &str) -> RouteHint {
    if let Some(option) = Api::ALL
        .iter()
        .find(|api| api.path() == path)
        .and_then(|api| api.option())
    {
        RouteHint::SwitchedOff(option)
    } else if is_a_route(&format!("/v1{path}")) {
        RouteHint::LacksVersion
    } else if path.strip_prefix("/v1").is_some_and(is_a_route) {
        RouteHint::RepeatsVersion
    } else {
        // A slash at the end, or two in a row.
        let mut routes = Api::ALL.iter().map(|api| api.path()).chain(["/v1/models"]);
        routes
            .find(|route| segments(path).eq(segments(route)))
            .map_or(RouteHint::Unknown, RouteHint::OtherSlashes)
    }
}

/// Whether some route of ours has this path, switched on or not.
fn is_a_route(path: &str) -> bool {
    path.starts_with("/v1/models") || Api::ALL.iter().any(|api| api.path() == path)
}

/// What is between the slashes of a path.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

async fn wrong_method(State(app): State<App>, Extension(id): Extension<RequestId>) -> Response {
    Record::new(&app.reporter, &id, "other").refuse(&Error::MethodNotAllowed)
}
