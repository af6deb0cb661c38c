//! `POST /v1/chat/completions`: key, body, slot, upstream, answer, in that order.
//!
//! The caller's going drops the future at whatever step it is, and with it the place in the queue, the connection and
//! the permit.

use std::num::NonZeroUsize;

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
use crate::fleet::Status;
use crate::keys::{Caller, Scope};
use crate::placement::Prefix;
use crate::record::{Phase, Record, milliseconds};
use crate::relay::{self, Answer};
use crate::request::{self, ChatRequest};
use crate::router::RequestId;
use crate::state::App;
use crate::upstream::{Identity, traceparent};
use crate::whole::whole;

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
    let Opened { request, upstream, clock } = match opened {
        Ok(opened) => opened,
        Err(error) => return record.refuse(&error),
    };
    let timing = format!("queue;dur={}", milliseconds(record.queue()));
    let mut answer = Answer::new(upstream, clock, app.config.keep_alive, app.shutdown.clone(), record);
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
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert("server-timing", timing);
    }
    response
}

/// A request whose answer has begun.
struct Opened {
    request: ChatRequest,
    upstream: (Incoming, Permit),
    clock: Clock,
}

/// Cancel-safe in that dropping it leaves nothing behind: no place in the queue, no slot, no connection.
async fn open(app: &App, request: Request, record: &mut Record) -> Result<Opened, Error> {
    let caller = app.keys.caller(request.headers())?;
    record.called_by(&caller);
    caller.allow(Scope::Chat)?;
    request::check_headers(request.headers())?;
    let (parts, body) = request.into_parts();
    let began = Instant::now();
    let bytes = request::read(body, app.config.max_body_bytes, app.config.body_deadline).await?;
    record.body_read(began.elapsed(), bytes.len());
    let request = ChatRequest::parse(&bytes, &app.config.model, app.config.max_tokens)?;
    drop(bytes);
    if !caller.may_use(&app.config.model) {
        return Err(Error::ModelNotFound);
    }
    record.asks_for(&app.config.model, request.stream);
    app.metrics.dropped_fields.inc_by(request.n_dropped);

    record.enter(Phase::Queued);
    let began = Instant::now();
    let prefix = Prefix::of(&request.body);
    let asking = asking(&caller, &request);
    let admitted = app.admission.admit(&asking, prefix, app.config.deadlines.queue).await;
    let permit = admitted.map_err(|refused| match refused {
        Refused::NoUpstream => app.fleet.error(),
        Refused::Full { retry_after_seconds } => Error::QueueFull { retry_after_seconds },
        Refused::Timeout { retry_after_seconds } => Error::QueueTimeout { retry_after_seconds },
    })?;
    record.admitted(began.elapsed());

    let clock = Clock::start(&app.config.deadlines, request.n_prompt_tokens());
    let body = ask(app, &request, &parts.headers, &permit, record);
    let body = tokio::time::timeout_at(clock.at(), body).await.map_err(|_| clock.error())??;
    record.enter(Phase::Prefilling);
    Ok(Opened { request, upstream: (body, permit), clock })
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
    app.client.open(&upstream, request.body.clone(), who).await.inspect_err(|error| {
        let found = match error {
            Error::UpstreamUnavailable | Error::ConnectTimeout => Status::Unreachable,
            Error::ModelLoading => Status::Loading,
            Error::UpstreamKey => Status::WrongKey,
            _ => return,
        };
        app.fleet.found(permit.upstream(), found);
    })
}
