//! `POST /v1/chat/completions`, and the other routes that take a slot: key, body, queue, answer, in that order.
//!
//! When the caller leaves, the future is dropped at whatever step it is.

use admission::Ticket;
use admission::placement::Prefix;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;

use crate::answer::asked::Asked;
use crate::answer::line;
use crate::answer::reply::Reply;
use crate::api::Api;
use crate::auth;
use crate::error::Error;
use crate::observe::record::{Record, RequestPhase};
use crate::request_id::RequestId;
use crate::routes::check;
use crate::state::App;

/// What an answer is that llama-server does not write token by token.
const PLAIN: &str = "application/json";

pub(crate) async fn ask(
    api: Api,
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut record = Record::of(&app.reporter, &request_id, api, request.headers());
    let entered = app.until_closing(enter(api, &app, request, &mut record));
    let Entered {
        asked,
        tickets,
        stream,
    } = match entered.await {
        Ok(entered) => entered,
        Err(error) => return record.refuse(&error),
    };
    let mut reply = Reply::new(app, asked, tickets, record);
    if !reply.shows_the_queue()
        && let Err(error) = reply.opened().await
    {
        return reply.refuse(&error);
    }
    if api.answers() == PLAIN {
        reply.plain().await
    } else if stream {
        reply.into_stream()
    } else {
        reply.whole().await
    }
}

/// A request in the queue.
struct Entered {
    asked: Asked,
    /// One for each answer.
    tickets: Vec<Ticket>,
    /// Whether the caller wants a stream.
    stream: bool,
}

/// Checks a request and puts each of its answers in the queue. Dropping it leaves nothing behind.
async fn enter(
    api: Api,
    app: &App,
    request: Request,
    record: &mut Record,
) -> Result<Entered, Error> {
    let (caller, request, parts) = check(api, app, request, record).await?;
    let user = auth::user(&parts.headers, &caller)?;
    record.asks_for(&app.config.model, request.stream);
    if request.has_images && app.fleet.is_blind() {
        let field = if api == Api::Responses {
            "input"
        } else {
            "messages"
        };
        let problem = "hold an image, but the model reads text only: leave the images out";
        return Err(Error::field(field, problem));
    }
    let n_answers = request.n_answers;
    let limits = &caller.limits;
    let of_user = limits
        .requests_at_once_per_user
        .filter(|_| !user.is_empty());
    if let Some(at_once) = limits.requests_at_once.into_iter().chain(of_user).min()
        && n_answers > at_once.get()
    {
        let problem = format!("must be at most {at_once}, the requests at once of this key");
        return Err(Error::field("n", problem));
    }
    let digest = app.fleet.digest(api.path(), request.unseeded());
    app.fleet.check(digest)?;
    let n_prompt_tokens = u64::from(request.n_prompt_tokens());
    let n_tokens = (n_prompt_tokens + request.max_tokens) * n_answers as u64;
    record.reserved(caller.reserve(n_tokens)?, n_prompt_tokens);
    record.enter(RequestPhase::Queued);
    let notice = request.notice();
    let asked = Asked {
        api,
        bodies: (0..n_answers).map(|answer| request.body(answer)).collect(),
        caller,
        user,
        n_prompt_tokens: request.n_prompt_tokens(),
        max_tokens: request.max_tokens,
        include_usage: request.include_usage,
        prefix: prefix(app, &request.body(0)),
        digest,
        queue_events: request.stream && line::wanted(&parts.headers),
        connection: parts.extensions.get().cloned(),
        notice: notice.and_then(|notice| HeaderValue::try_from(notice).ok()),
    };
    let tickets = app.admission.enter_all(&asked.asking(), n_answers);
    let tickets = tickets.map_err(|refused| app.refusal(refused))?;
    Ok(Entered {
        asked,
        tickets,
        stream: request.stream,
    })
}

/// The prompt's beginning; there is no need of it where there is no choice.
fn prefix(app: &App, body: &[u8]) -> Prefix {
    if app.fleet.is_several() {
        Prefix::of(body)
    } else {
        Prefix::default()
    }
}
