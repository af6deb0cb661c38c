//! How an error is told, in the words that the callers of each API read.
//!
//! All have the same fields at the same places. Anthropic's and the later one of OpenAI's have more around them: what
//! their packages need to know an error for one.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::openai_error::{ErrorBody as Inner, OpenAiError};
use serde::Serialize;

use super::Error;
use crate::api::Dialect;

/// An error of Anthropic's API.
#[derive(Serialize)]
struct Anthropics<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    error: AnthropicsInner<'a>,
    src: &'static str,
}

#[derive(Serialize)]
struct AnthropicsInner<'a> {
    #[serde(flatten)]
    inner: &'a Inner,
    details: Details<'a>,
}

/// Where Anthropic's packages look for an error's own name.
#[derive(Serialize)]
struct Details<'a> {
    error_code: &'a str,
}

impl<'a> From<&'a OpenAiError> for Anthropics<'a> {
    fn from(envelope: &'a OpenAiError) -> Self {
        let inner = &envelope.error;
        let details = Details {
            error_code: &inner.code,
        };
        Self {
            name: "error",
            error: AnthropicsInner { inner, details },
            src: envelope.src,
        }
    }
}

/// An error event of `/v1/responses`: flat, as it is documented, and with the `error` that OpenAI's packages look for.
#[derive(Serialize)]
struct ResponsesEvent<'a> {
    #[serde(rename = "type")]
    name: &'static str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    /// llama-server numbers no events.
    sequence_number: u64,
    #[serde(flatten)]
    envelope: &'a OpenAiError,
}

impl Error {
    /// The answer to a request of which nothing was sent back yet.
    pub(crate) fn response(&self, dialect: Dialect) -> Response {
        match dialect {
            Dialect::Chat | Dialect::Responses => self.envelope().into_response(),
            Dialect::Messages => {
                let envelope = self.anthropics();
                let body = json(&Anthropics::from(&envelope));
                envelope.into_response().map(|_| Body::from(body))
            }
        }
    }

    /// The last event of a streamed answer that ends badly. The place of `Retry-After` takes `retry`, in milliseconds.
    pub(crate) fn event(&self, dialect: Dialect) -> Bytes {
        let (name, data) = match dialect {
            Dialect::Chat => ("", json(&self.envelope())),
            Dialect::Responses => {
                let envelope = self.envelope();
                let inner = &envelope.error;
                let event = ResponsesEvent {
                    name: "error",
                    code: &inner.code,
                    message: &inner.message,
                    param: inner.param.as_deref(),
                    sequence_number: 0,
                    envelope: &envelope,
                };
                ("event: error\n", json(&event))
            }
            Dialect::Messages => (
                "event: error\n",
                json(&Anthropics::from(&self.anthropics())),
            ),
        };
        let retry = self
            .retry_after_seconds()
            .map(|seconds| format!("retry: {}\n", seconds * 1000));
        Bytes::from(format!(
            "{}{name}data: {data}\n\n",
            retry.unwrap_or_default()
        ))
    }

    /// The envelope with the class of the error as Anthropic calls it.
    fn anthropics(&self) -> OpenAiError {
        let mut envelope = self.envelope();
        envelope.error.kind = match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        };
        envelope
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it holds strings and numbers only")
}
