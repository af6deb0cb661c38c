//! Reads what a request holds: JSON bodies up to a cap, a deadline and a budget, ids in paths, and queries.
//!
//! Whatever is wrong is one sentence that names the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::http::problem::ApiProblem;
use crate::protocol::complaint::sentence;
use crate::protocol::mend_surrogates;
use crate::protocol::record::ErrorCode;
use crate::state::Gateway;

/// The largest body of most requests, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 128 * 1024;
/// The largest body of a chat request, in bytes: it holds the whole history, pictures included.
pub(crate) const MAX_CHAT_BYTES: usize = 16 * 1024 * 1024;
/// The largest document that is imported, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// The most of all bodies that are being read, in bytes.
const MAX_ALL_BYTES: usize = 128 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// What a client that found no room should wait, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;
/// The most of an error that names a field, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// The bytes that may yet be held in bodies.
#[derive(Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ALL_BYTES)))
    }
}

/// A JSON body of at most `MAX` bytes.
#[derive(Debug)]
pub(crate) struct ApiJson<T, const MAX: usize = MAX_BODY_BYTES>(pub(crate) T);

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Arc<Gateway>> for ApiJson<T, MAX> {
    type Rejection = ApiProblem;

    async fn from_request(request: Request, gateway: &Arc<Gateway>) -> Result<Self, ApiProblem> {
        if !is_json(request.headers()) {
            let message = "the body must be JSON: send `content-type: application/json`";
            return Err(ApiProblem::bad(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let reading = read(request.into_body(), MAX, &gateway.bodies);
        let read = tokio::time::timeout(BODY_TIMEOUT, reading).await;
        let (bytes, share) = read.map_err(|_| {
            let message = "the body did not arrive in time";
            ApiProblem::bad(message).with_status(StatusCode::REQUEST_TIMEOUT)
        })??;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| ApiProblem::bad("the body must be UTF-8"))?;
        let parsed = parse(text).map(Self);
        drop(share);
        parsed
    }
}

/// Whether the body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Reads a body whole. Its share of the budget is held until it is parsed.
async fn read(
    body: Body,
    max_bytes: usize,
    budget: &BodyBudget,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), ApiProblem> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut share = None::<OwnedSemaphorePermit>;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiProblem::bad("the body ended early"))?;
        if chunk.len() > max_bytes - bytes.len() {
            let message = format!("the body is larger than {max_bytes} bytes");
            return Err(ApiProblem::new(ErrorCode::TooLarge, message));
        }
        let n_bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let more = Arc::clone(&budget.0).try_acquire_many_owned(n_bytes);
        let more = more.map_err(|_| {
            let message = "too many bodies arrive at once; try again in a moment";
            ApiProblem::new(ErrorCode::RateLimited, message).with_retry_after(RETRY_AFTER_SECONDS)
        })?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, share))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ApiProblem> {
    // A struct can also be read from an array.
    let is_object = text
        .trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with('{');
    if !is_object {
        return Err(ApiProblem::bad("the body must be a JSON object"));
    }
    let text = mend_surrogates(text);
    let mut json = serde_json::Deserializer::from_str(&text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        ApiProblem::bad(sentence(&path, error.inner()))
    })?;
    json.end()
        .map_err(|_| ApiProblem::bad("the body must be one JSON object"))?;
    Ok(value)
}

fn short(message: &str) -> String {
    message.chars().take(MAX_ERROR_CHARS).collect()
}

/// The id in a path. What is no id is nobody's, as any unknown one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathId(pub(crate) Uuid);

impl FromRequestParts<Arc<Gateway>> for PathId {
    type Rejection = ApiProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, ApiProblem> {
        let id = Path::<Uuid>::from_request_parts(parts, gateway).await;
        let Path(id) = id.map_err(|_| ApiProblem::not_found())?;
        Ok(Self(id))
    }
}

/// The query of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiQuery<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Gateway>> for ApiQuery<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, ApiProblem> {
        let query = Query::<T>::from_request_parts(parts, gateway).await;
        let Query(query) =
            query.map_err(|rejection| ApiProblem::bad(short(&rejection.body_text())))?;
        Ok(Self(query))
    }
}
