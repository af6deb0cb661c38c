//! `POST /v1/chat/completions/input_tokens` and `POST /tokenize`: counting, for callers whose key opens it.
//!
//! llama-server counts beside its slots, so neither waits for one; how many count at once is bounded here.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;

use crate::api::Api;
use crate::error::Error;
use crate::observe::record::Record;
use crate::request_id::RequestId;
use crate::routes::check;
use crate::state::App;

/// Upstreams that one request is offered to, when they do not take the connection.
const MAX_TRIES: u32 = 3;
/// The largest answer: a token and its piece take about fifty bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

pub(crate) async fn count(
    api: Api,
    State(app): State<App>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut record = Record::of(&app.reporter, &request_id, api, request.headers());
    match app
        .until_closing(ask(api, &app, request, &mut record))
        .await
    {
        Ok(bytes) => record.answer(json(bytes)),
        Err(error) => record.refuse(&error),
    }
}

/// Cancel-safe in that dropping it closes the upstream's connection.
async fn ask(api: Api, app: &App, request: Request, record: &mut Record) -> Result<Bytes, Error> {
    let (_, request, _) = check(api, app, request, record).await?;
    let digest = app.fleet.digest(api.path(), &request.body(0));
    let _one_of_few = app.counting.try_acquire().map_err(|_| Error::Overloaded)?;
    let answered = async {
        let mut n_tries = 0;
        loop {
            n_tries += 1;
            let (id, upstream) = app.fleet.any().ok_or_else(|| app.fleet.error())?;
            let mut running = app.fleet.start(id, digest, false)?;
            record.ask(upstream.authority());
            let opened = app
                .client
                .open(
                    &upstream,
                    api.ask(),
                    request.body(0),
                    record.identity().borrow(),
                )
                .await;
            let answer = match opened {
                Ok(body) => body.whole(MAX_ANSWER_BYTES).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(bytes) => {
                    running.complete();
                    return Ok(bytes);
                }
                Err(error) => {
                    let error = app.fleet.judge(&mut running, error).await;
                    if !error.is_unsent() || n_tries == MAX_TRIES {
                        return Err(error);
                    }
                }
            }
        }
    };
    tokio::time::timeout(app.config.counting_deadline, answered)
        .await
        .map_err(|_| Error::TotalTimeout)?
}

/// The upstream's bytes as they are.
pub(crate) fn json(bytes: Bytes) -> Response {
    let mut response = Response::new(bytes.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
