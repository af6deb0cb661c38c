//! The error envelope of the OpenAI API, in which both servers answer.
//!
//! `code` is always a string: llama-server sends an integer, and clients such as async-openai then lose the status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `{"error":{"message","type","code","param"}, "src"}` and the HTTP status it travels with.
#[derive(Clone, Debug, Serialize)]
pub struct OpenAiError {
    /// The part that a caller reads.
    pub error: ErrorBody,
    /// Where the error comes from: this service, or the upstream behind it.
    pub src: &'static str,
    /// The HTTP status; not part of the body.
    #[serde(skip)]
    pub status: StatusCode,
    /// Seconds for `Retry-After`; not part of the body.
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

/// The inner object of the envelope.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody {
    /// A sentence for people: what is wrong, and what to do.
    pub message: String,
    /// The class of the error, for example `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The error's own stable name.
    pub code: String,
    /// The field that is wrong, when one is.
    pub param: Option<String>,
    /// Tokens in the prompt, when it did not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_prompt_tokens: Option<u64>,
    /// Tokens that fit, when the prompt did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u64>,
}

impl OpenAiError {
    /// An error of the service `src`. `kind` follows from the status.
    #[must_use]
    pub fn new(
        src: &'static str,
        status: StatusCode,
        code: &str,
        message: impl Into<String>,
    ) -> Self {
        let kind = match status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let body = ErrorBody {
            message: message.into(),
            kind,
            code: code.to_owned(),
            param: None,
            n_prompt_tokens: None,
            n_ctx: None,
        };
        Self {
            error: body,
            src,
            status,
            retry_after_seconds: None,
        }
    }

    /// Adds when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
