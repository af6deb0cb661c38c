//! The only HTTP client: builds what goes to llama-server, and says what came back in our own errors.
//!
//! No header of a caller passes but `traceparent`. A request that may have been sent is never sent again. Dropping
//! what [`Client::open`] returned closes the connection.

use std::error::Error as _;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use common::secret::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use crate::config::{Config, Upstream};
use crate::error::{Error, Refusal};

/// llama-server closes an idle connection after 5 s; a connection that old is not used for a POST.
const POOL_IDLE: Duration = Duration::from_secs(3);
/// What is kept of the bytes of one answer while its caller does not read.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// The largest body that is read where no stream is expected.
const MAX_PLAIN_BODY_BYTES: usize = 1024 * 1024;
/// How long such a body may take.
const PLAIN_BODY_DEADLINE: Duration = Duration::from_secs(5);
/// The longest part of an upstream's own words that is passed on, in characters.
const MAX_REFUSAL_CHARS: usize = 500;

/// The connections to all upstreams.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    authorization: HeaderValue,
}

/// What is asked, apart from the body.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) request_id: &'a str,
    /// The caller's trace, when it sent a well-formed one.
    pub(crate) traceparent: Option<HeaderValue>,
}

impl Client {
    /// # Errors
    ///
    /// When the upstream's key cannot stand in a header.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.deadlines.connect));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http1_max_buf_size(MAX_BUFFER_BYTES)
            .build(connector);
        Ok(Self { pool, authorization: authorization(&config.upstream_api_key)? })
    }

    /// Asks for a stream and waits for its header. Cancel-safe in that a dropped call closes the connection.
    pub(crate) async fn open(
        &self,
        to: &Upstream,
        body: Bytes,
        who: Identity<'_>,
    ) -> Result<Incoming, Error> {
        let mut request = self.request(Method::POST, to, "/v1/chat/completions", Full::new(body));
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Ok(id) = HeaderValue::from_str(who.request_id) {
            headers.insert("x-request-id", id);
        }
        if let Some(traceparent) = who.traceparent {
            headers.insert("traceparent", traceparent);
        }
        let response = self.pool.request(request).await.map_err(|error| {
            let failure = failure(&error);
            tracing::warn!(
                request_id = who.request_id,
                upstream = to.authority(),
                error = chain(&error),
                "no answer"
            );
            failure
        })?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"text/event-stream") {
            Ok(response.into_body())
        } else {
            Err(Error::UpstreamInvalid)
        }
    }

    /// Reads a small document.
    pub(crate) async fn get(
        &self,
        from: &Upstream,
        path: &'static str,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = self.request(Method::GET, from, path, Full::default());
        let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
        let status = response.status();
        let body = plain_body(response).await.ok_or("the body is too large or broke off")?;
        Ok((status, body))
    }

    fn request(
        &self,
        method: Method,
        to: &Upstream,
        path: &'static str,
        body: Full<Bytes>,
    ) -> Request<Full<Bytes>> {
        let uri = Uri::builder().scheme("http").authority(to.authority()).path_and_query(path);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().expect("a parsed authority and a static path make a URI");
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request
    }
}

/// The caller's `traceparent` in the form of W3C Trace Context, and no other.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get("traceparent")?;
    let parts: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    (lengths == [2, 32, 16, 2] && parts.concat().iter().all(hex)).then(|| value.clone())
}

fn authorization(key: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .map_err(|_| "PROXY_UPSTREAM_API_KEY holds characters that cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What it means that no answer's header came.
fn failure(error: &PoolError) -> Error {
    let sources = || std::iter::successors(error.source(), |error| (*error).source());
    let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
    if error.is_connect() {
        let slow = sources().any(|source| source.downcast_ref().is_some_and(timed_out));
        return if slow { Error::ConnectTimeout } else { Error::UpstreamUnavailable };
    }
    let unreadable = |error: &hyper::Error| error.is_parse();
    let invalid = sources().any(|source| source.downcast_ref().is_some_and(unreadable));
    if invalid { Error::UpstreamInvalid } else { Error::UpstreamDisconnected }
}

/// The error and all its sources, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| (*error).source())
        .fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// llama-server's error envelope; its `code` is a number.
#[derive(Deserialize)]
struct Envelope {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    message: String,
    n_prompt_tokens: Option<u64>,
    n_ctx: Option<u64>,
}

async fn refusal(response: Response<Incoming>) -> Error {
    let status = response.status();
    let body = plain_body(response).await.unwrap_or_default();
    let inner = serde_json::from_slice(&body).ok().map(|envelope: Envelope| envelope.error);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => return Error::ModelLoading,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Error::UpstreamKey,
        _ if status.is_server_error() => return Error::UpstreamFailed,
        _ if !status.is_client_error() => return Error::UpstreamInvalid,
        _ => {}
    }
    let does_not_fit = inner.as_ref().and_then(|inner| Some((inner.n_prompt_tokens?, inner.n_ctx?)));
    // What llama-server says about a request helps its sender; what it says about itself does not.
    let message = inner.filter(|_| status == StatusCode::BAD_REQUEST).map_or_else(
        || "the model server refused the request".to_owned(),
        |inner| inner.message.chars().take(MAX_REFUSAL_CHARS).collect(),
    );
    Error::UpstreamRefused(Refusal { status, message, does_not_fit })
}

async fn plain_body(response: Response<Incoming>) -> Option<Bytes> {
    let body = Limited::new(response.into_body(), MAX_PLAIN_BODY_BYTES).collect();
    Some(tokio::time::timeout(PLAIN_BODY_DEADLINE, body).await.ok()?.ok()?.to_bytes())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::traceparent;

    #[test]
    fn only_a_well_formed_trace_passes() {
        let passes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(value));
            traceparent(&headers).is_some()
        };
        assert!(passes("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!passes("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"));
        assert!(!passes("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"));
        assert!(!passes("x"));
    }
}
