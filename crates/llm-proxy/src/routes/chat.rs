//! `POST /v1/chat/completions`, and the other routes that take a slot: key, body, slot, upstream, answer, in that order.
//!
//! The caller's going drops the future at whatever step it is, and with it the place in the queue, the connection and
//! the permit.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use common::server::Connection;
use futures_util::stream::{Stream, StreamExt as _};
use tokio::time::Instant;

use crate::answer::deadlines::Clock;
use crate::answer::queue_events;
use crate::answer::relay::{self, Answer};
use crate::answer::whole::whole;
use crate::api::Api;
use crate::auth::Caller;
use crate::error::Error;
use crate::fleet::{RequestDigest, SentRequest};
use crate::observe::record::{Phase, Record};
use crate::request::Checked;
use crate::request_id::RequestId;
use crate::routes::{MAX_TRIES, check, tokens};
use crate::state::App;
use admission::placement::Prefix;
use admission::{Asking, Entered, Permit, Refused};
use llama_client as upstream;
use llama_client::events::counted;

/// What an answer is that is neither streamed nor written token by token.
const PLAIN: &str = "application/json";
/// The largest of them: a few thousand numbers for each of the texts that a request may have.
const MAX_PLAIN_BYTES: usize = 32 * 1024 * 1024;

pub(crate) async fn completions(
    api: Api,
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut record = Record::of(&app, &request_id, api, request.headers());
    let (asked, entered) = match app
        .until_closing(enter(api, &app, request, &mut record))
        .await
    {
        Ok(entered) => entered,
        Err(error) => return record.refuse(&error),
    };
    let extras = relay::Extras {
        usage: asked.request.include_usage,
        progress: asked.queue_events,
    };
    if let (Entered::Waiting(waiting), true) = (&entered, asked.queue_events) {
        let (watch, keep_alive) = (waiting.watch(), app.config.keep_alive);
        let head = record.begin(StatusCode::OK);
        let opening = async move {
            match app
                .until_closing(connect(&app, &asked, entered, &mut record))
                .await
            {
                Ok(opened) => Ok(relay::events(answer(&app, opened, record), extras).boxed()),
                Err(error) => {
                    let last = record.broke(&error);
                    record.sent(last.len());
                    Err(last)
                }
            }
        };
        return event_stream(head, queue_events::stream(watch, keep_alive, opening));
    }
    let opened = match app
        .until_closing(connect(&app, &asked, entered, &mut record))
        .await
    {
        Ok(opened) => opened,
        Err(error) => return record.refuse(&error),
    };
    if api.answers() == PLAIN {
        return plain(&app, opened, record).await;
    }
    let mut answer = answer(&app, opened, record);
    if asked.request.stream {
        let head = answer.record.begin(StatusCode::OK);
        return event_stream(head, relay::events(answer, extras));
    }
    match whole(api.dialect(), &mut answer).await {
        Ok(whole) => answer.record.answer(Json(whole).into_response()),
        Err(error) => answer.record.refuse(&error),
    }
}

/// Passes on an answer that comes as a whole. Dropping it closes the upstream's connection, and frees the slot.
async fn plain(app: &App, opened: Opened, mut record: Record) -> Response {
    let (body, mut permit, mut running) = opened.upstream;
    let total_at = opened.clock.total_at();
    permit.begin();
    let whole = async {
        let whole = tokio::time::timeout_at(total_at, body.whole(MAX_PLAIN_BYTES)).await;
        whole.map_or(Err(Error::TotalTimeout), |whole| whole.map_err(Error::from))
    };
    match app.until_closing(whole).await {
        Ok(bytes) => {
            running.complete();
            app.fleet.served(&running);
            if let Some(usage) = counted(&bytes) {
                record.usage(usage);
                permit.counted(relay::count(usage));
            }
            record.answer(tokens::json(bytes))
        }
        Err(error) => {
            app.fleet.failed(&mut running, &error).await;
            record.refuse(&error)
        }
    }
}

fn event_stream(
    mut head: HeaderMap,
    events: impl Stream<Item = Bytes> + Send + 'static,
) -> Response {
    head.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    (head, Body::from_stream(events.map(Ok::<_, Infallible>))).into_response()
}

/// A request that was checked, and who sent it.
struct Asked {
    api: Api,
    caller: Arc<Caller>,
    request: Checked,
    prefix: Prefix,
    digest: RequestDigest,
    queue_events: bool,
    connection: Option<Connection>,
}

/// Checks a request and puts it in line. Cancel-safe in that dropping it leaves nothing behind.
async fn enter(
    api: Api,
    app: &App,
    request: Request,
    record: &mut Record,
) -> Result<(Asked, Entered), Error> {
    let (caller, request, parts) = check(api, app, request, record).await?;
    record.asks_for(&app.config.model, request.stream);
    if request.has_images && app.fleet.is_blind() {
        let field = if api == Api::Responses {
            "input"
        } else {
            "messages"
        };
        return Err(Error::field(
            field,
            "hold an image, but the model reads text only: leave the images out",
        ));
    }
    let digest = app.fleet.digest(api.ask().path, &request.body);
    app.fleet.check(digest)?;
    let n_prompt_tokens = u64::from(request.n_prompt_tokens());
    record.reserved(
        caller.reserve(n_prompt_tokens + request.max_tokens)?,
        n_prompt_tokens,
    );
    record.enter(Phase::Queued);
    let prefix = if app.fleet.is_several() {
        Prefix::of(&request.body)
    } else {
        Prefix::default()
    };
    let entered = app
        .admission
        .enter(&asking(&caller, &request), prefix.clone());
    let entered = entered.map_err(|refused| refusal(app, refused))?;
    let queue_events = request.stream && queue_events::wanted(&parts.headers);
    let connection = parts.extensions.get().cloned();
    Ok((
        Asked {
            api,
            caller,
            request,
            prefix,
            digest,
            queue_events,
            connection,
        },
        entered,
    ))
}

/// An answer that has begun.
struct Opened {
    upstream: (upstream::Body, Permit, SentRequest),
    clock: Clock,
}

fn answer(app: &App, opened: Opened, record: Record) -> Answer {
    let fleet = Arc::clone(&app.fleet);
    Answer::new(
        opened.upstream,
        fleet,
        opened.clock,
        app.config.keep_alive,
        app.shutdown.clone(),
        record,
    )
}

/// Waits for a slot and asks its upstream; and another one, as long as no byte of the request was sent. Cancel-safe in
/// that dropping it leaves nothing behind: no place in the queue, no slot, no connection.
async fn connect(
    app: &App,
    asked: &Asked,
    entered: Entered,
    record: &mut Record,
) -> Result<Opened, Error> {
    let began = Instant::now();
    let give_up_at = began + app.config.deadlines.queue;
    let permit = entered.permit(app.config.deadlines.queue).await;
    let mut permit = permit.map_err(|refused| refusal(app, refused))?;
    record.admitted(began.elapsed());
    let clock = Clock::start(&app.config.deadlines, asked.request.n_prompt_tokens());
    let mut n_tries = 1;
    loop {
        let mut running = app.fleet.start(permit.upstream(), asked.digest, true)?;
        let body = tokio::time::timeout_at(clock.at(), ask(app, asked, &permit, record));
        let error = match body.await {
            Ok(Ok(body)) => {
                record.enter(Phase::Prefilling);
                if let Some(connection) = &asked.connection {
                    // While the caller takes nothing nobody asks the answer for more, and its own clock stands still.
                    connection.cut_at(clock.total_at());
                }
                return Ok(Opened {
                    upstream: (body, permit, running),
                    clock,
                });
            }
            Ok(Err(error)) => app.fleet.judge(&mut running, error).await,
            Err(_) => {
                let error = clock.error();
                app.fleet.failed(&mut running, &error).await;
                error
            }
        };
        drop(running);
        if !error.is_unsent() || n_tries == MAX_TRIES {
            return Err(error);
        }
        n_tries += 1;
        let patience = give_up_at.saturating_duration_since(Instant::now());
        let asking = asking(&asked.caller, &asked.request);
        let again = app
            .admission
            .admit_again(permit, &asking, asked.prefix.clone(), patience)
            .await;
        // What was tried says more than that there is nothing else to try.
        permit = again.map_err(|_| error)?;
    }
}

fn refusal(app: &App, refused: Refused) -> Error {
    match refused {
        Refused::NoUpstream => app.fleet.error(),
        Refused::Full {
            retry_after_seconds,
        } => Error::QueueFull {
            retry_after_seconds,
        },
        Refused::Timeout {
            retry_after_seconds,
        } => Error::QueueTimeout {
            retry_after_seconds,
        },
    }
}

fn asking<'a>(caller: &'a Caller, request: &Checked) -> Asking<'a> {
    Asking {
        caller: &caller.name,
        weight: caller.weight,
        max_in_flight: caller
            .limits
            .requests_at_once
            .map_or(usize::MAX, NonZeroUsize::get),
        n_prompt_tokens: request.n_prompt_tokens().into(),
        max_completion_tokens: request.max_tokens,
        n_bytes: request.body.len(),
    }
}

async fn ask(
    app: &App,
    asked: &Asked,
    permit: &Permit,
    record: &mut Record,
) -> Result<upstream::Body, upstream::Error> {
    let upstream = app
        .fleet
        .upstream(permit.upstream())
        .ok_or(upstream::Error::Unreachable)?;
    record.ask(upstream.authority());
    app.client
        .open(
            &upstream,
            asked.api.ask(),
            asked.request.body.clone(),
            record.identity(),
        )
        .await
}
