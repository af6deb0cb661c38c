//! Every error of the HTTP API: one shape, with the codes of version 2 of the chat protocol.
//!
//! The messages are ours. What a store or an upstream said stays here.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::openai_error::OpenAiError;

use crate::SERVICE;
use crate::conversation::refusal::Refusal;
use crate::error::Failure;
use crate::identity::Stranger;
use crate::protocol::record::ErrorCode;
use crate::store::StoreError;

/// Why a request is not done.
#[derive(Clone, Debug)]
pub(crate) struct ApiProblem {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    status: StatusCode,
    retry_after_seconds: Option<u32>,
}

impl ApiProblem {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            status: status(code),
            retry_after_seconds: None,
        }
    }

    pub(crate) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    pub(crate) fn not_found() -> Self {
        Refusal::NOT_FOUND.into()
    }

    /// The same with another status.
    pub(crate) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// As one line, for clients that show a body as it is.
    pub(crate) fn line(&self) -> String {
        format!("{}: {}", word(self.code), self.message)
    }
}

impl From<Refusal> for ApiProblem {
    fn from(refusal: Refusal) -> Self {
        Self {
            retry_after_seconds: refusal.retry_after_seconds,
            ..Self::new(refusal.code, refusal.message)
        }
    }
}

impl From<StoreError> for ApiProblem {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<Failure> for ApiProblem {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code(), failure.message())
    }
}

impl From<Stranger> for ApiProblem {
    fn from(stranger: Stranger) -> Self {
        let message = match stranger {
            Stranger::OtherOrigin => {
                "pages of this origin may not change anything here; see GATEWAY_ALLOWED_ORIGINS"
            }
            Stranger::PublicName => {
                "a page under a public name must be named first, as in \
                 GATEWAY_ALLOWED_ORIGINS=https://chat.example.com"
            }
        };
        Self::bad(message).with_status(StatusCode::FORBIDDEN)
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let error = OpenAiError::new(SERVICE, self.status, &word(self.code), self.message);
        let mut response = match self.retry_after_seconds {
            Some(seconds) => error.with_retry_after(seconds.into()).into_response(),
            None => error.into_response(),
        };
        // The layer around the routes counts it.
        response.extensions_mut().insert(self.code);
        response
    }
}

/// A code as it is written.
pub(crate) fn word(code: ErrorCode) -> String {
    let quoted = serde_json::to_string(&code).unwrap_or_default();
    quoted.trim_matches('"').to_owned()
}

const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::UnknownType
        | ErrorCode::UnsupportedVersion
        | ErrorCode::ContextTooLong
        | ErrorCode::UnsupportedContent => StatusCode::BAD_REQUEST,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Conflict | ErrorCode::Busy => StatusCode::CONFLICT,
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded | ErrorCode::QueueFull => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorCode::UpstreamError => StatusCode::BAD_GATEWAY,
        ErrorCode::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::QueueTimeout
        | ErrorCode::ModelLoading
        | ErrorCode::UpstreamUnavailable
        | ErrorCode::StorageUnavailable
        | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
