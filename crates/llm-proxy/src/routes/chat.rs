//! `POST /v1/chat/completions`: key, body, slot, upstream, answer, in that order.
//!
//! The caller's going drops the future at whatever step it is, and with it the place in the queue, the connection and
//! the permit.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::admission::{Asking, Permit, Refused};
use crate::deadlines::Clock;
use crate::error::Error;
use crate::keys::{Caller, Scope};
use crate::placement::Prefix;
use crate::record::{Phase, Record, milliseconds};
use crate::relay::{self, Answer};
use crate::request::{self, ChatRequest};
use crate::router::RequestId;
use crate::state::App;
use crate::upstream::{Identity, traceparent};
use crate::whole::whole;

/// Upstreams that one request is offered to, when they do not take the connection.
const MAX_TRIES: u32 = 3;

pub(crate) async fn completions(
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut record = Record::new(&app, request_id.as_str(), "/v1/chat/completions");
    let opened = tokio::select! {
        opened = open(&app, request, &mut record) => opened,
        () = app.shutdown.closing() => Err(Error::ShuttingDown),
    };
    let Opened { caller, request, upstream, clock } = match opened {
        Ok(opened) => opened,
        Err(error) => return record.refuse(&error),
    };
    let timing = format!("queue;dur={}", milliseconds(record.queue()));
    let mut answer = Answer::new(
        upstream,
        Arc::clone(&app.fleet),
        clock,
        app.config.keep_alive,
        app.shutdown.clone(),
        record,
    );
    let mut response = if request.stream {
        answer.record.answered(StatusCode::OK);
        let mut response = Response::new(relay::stream(answer, request.include_usage));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
    } else {
        match whole(&mut answer).await {
            Ok(whole) => answer.record.answer(Json(whole).into_response()),
            Err(error) => return answer.record.refuse(&error),
        }
    };
    let headers = response.headers_mut();
    caller.write_limits(headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", timing);
    }
    response
}

/// A request whose answer has begun.
struct Opened {
    caller: Arc<Caller>,
    request: ChatRequest,
    upstream: (Incoming, Permit),
    clock: Clock,
}

/// Cancel-safe in that dropping it leaves nothing behind: no place in the queue, no slot, no connection.
async fn open(app: &App, request: Request, record: &mut Record) -> Result<Opened, Error> {
    let caller = app.keys.caller(request.headers())?;
    record.called_by(&caller);
    caller.allow(Scope::Chat)?;
    caller.count_request()?;
    request::check_headers(request.headers(), app.config.max_body_bytes)?;
    let (parts, body) = request.into_parts();
    let began = Instant::now();
    let body = app.bodies.read(body, app.config.max_body_bytes, app.config.body_deadline).await?;
    record.body_read(began.elapsed(), body.bytes.len());
    let request = ChatRequest::parse(&body.bytes, &app.config.model, app.config.max_tokens)?;
    drop(body);
    if !caller.may_use(&app.config.model) {
        return Err(Error::ModelNotFound);
    }
    record.asks_for(&app.config.model, request.stream);
    app.metrics.dropped_fields.inc_by(request.n_dropped);
    if request.has_images && app.fleet.is_blind() {
        let problem = "hold an image, but the model reads text only: leave the image_url parts out";
        return Err(Error::field("messages", problem));
    }
    let n_prompt_tokens = u64::from(request.n_prompt_tokens());
    record.reserved(caller.reserve(n_prompt_tokens + request.max_tokens)?, n_prompt_tokens);
    connect(app, &caller, request, &parts.headers, record).await
}

/// Waits for a slot and asks its upstream; and another one, as long as no byte of the request was sent.
async fn connect(
    app: &App,
    caller: &Arc<Caller>,
    request: ChatRequest,
    headers: &HeaderMap,
    record: &mut Record,
) -> Result<Opened, Error> {
    record.enter(Phase::Queued);
    let prefix = if app.fleet.is_several() { Prefix::of(&request.body) } else { Prefix::default() };
    let began = Instant::now();
    let give_up_at = began + app.config.deadlines.queue;
    let (mut first_clock, mut failed) = (None, Error::UpstreamUnavailable);
    for n_tries in 1..=MAX_TRIES {
        let patience = give_up_at.saturating_duration_since(Instant::now());
        let admitted = app.admission.admit(&asking(caller, &request), prefix.clone(), patience).await;
        let permit = match admitted {
            Ok(permit) => permit,
            // What was tried says more than that there is nothing else to try.
            Err(_) if n_tries > 1 => return Err(failed),
            Err(refused) => return Err(refusal(app, refused)),
        };
        if first_clock.is_none() {
            record.admitted(began.elapsed());
        }
        let clock = first_clock
            .take()
            .unwrap_or_else(|| Clock::start(&app.config.deadlines, request.n_prompt_tokens()));
        let asked = tokio::time::timeout_at(clock.at(), ask(app, &request, headers, &permit, record));
        match asked.await.unwrap_or_else(|_| Err(clock.error())) {
            Ok(body) => {
                record.enter(Phase::Prefilling);
                return Ok(Opened { caller: Arc::clone(caller), request, upstream: (body, permit), clock });
            }
            Err(error) => {
                app.fleet.failed(permit.upstream(), &error);
                if !error.is_unsent() {
                    return Err(error);
                }
                failed = error;
            }
        }
        first_clock = Some(clock);
    }
    Err(failed)
}

fn refusal(app: &App, refused: Refused) -> Error {
    match refused {
        Refused::NoUpstream => app.fleet.error(),
        Refused::Full { retry_after_seconds } => Error::QueueFull { retry_after_seconds },
        Refused::Timeout { retry_after_seconds } => Error::QueueTimeout { retry_after_seconds },
    }
}

fn asking<'a>(caller: &'a Caller, request: &ChatRequest) -> Asking<'a> {
    Asking {
        caller: &caller.name,
        weight: caller.weight,
        max_in_flight: caller.limits.requests_at_once.map_or(usize::MAX, NonZeroUsize::get),
        n_prompt_tokens: request.n_prompt_tokens().into(),
        max_completion_tokens: request.max_tokens,
        n_bytes: request.body.len(),
    }
}

async fn ask(
    app: &App,
    request: &ChatRequest,
    headers: &HeaderMap,
    permit: &Permit,
    record: &mut Record,
) -> Result<Incoming, Error> {
    let upstream = app.fleet.upstream(permit.upstream()).ok_or(Error::UpstreamUnavailable)?;
    record.ask(upstream.authority());
    let who = Identity { request_id: record.request_id(), traceparent: traceparent(headers) };
    app.client.open(&upstream, request.body.clone(), who).await
}
