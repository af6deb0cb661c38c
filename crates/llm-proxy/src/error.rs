//! Everything that can end a request badly: its status, its code, what a caller reads.
//!
//! The public message is static text or the caller's own field names; addresses, paths and source errors stay in the
//! log. A new variant does not compile until it has a status and a code.

use axum::http::StatusCode;
use common::openai_error::OpenAiError;
use llama_client::EngineRefusal;

use crate::auth::{AuthError, Denied, Limit};
use crate::request::{BodyError, InvalidRequest};

mod told;

/// Why a request was refused or an answer ended early. `Display` is the public message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the request target or its Host header is not acceptable: send a path and exactly one Host"
    )]
    BadTarget,
    #[error(
        "the Connection header names fields of the message: name only close, keep-alive, te or upgrade"
    )]
    ConnectionOption,
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    #[error("there is no such route{}", .0.text())]
    NotFound(RouteHint),
    #[error("this route does not take this method")]
    MethodNotAllowed,
    #[error("the API key is missing or wrong: send `Authorization: Bearer KEY`")]
    Unauthorized(Denied),
    #[error("this API key does not open this route: its scopes lack `{scope}`")]
    ScopeMissing { scope: &'static str },
    #[error(
        "the header X-Corral-User must be given once, as 1 to 64 letters, digits, `.`, `_`, `:` and `-`"
    )]
    UserName,
    #[error(
        "this API key may not name users: leave the header X-Corral-User out, or give the key the scope `delegate`"
    )]
    MayNotNameUsers,
    #[error(
        "this API key's limit of {allowed} {limit} is reached: try again after the time in Retry-After"
    )]
    RateLimited {
        limit: Limit,
        allowed: u64,
        retry_after_seconds: u64,
    },
    #[error(
        "the request carries more than one credential: send one Authorization header and no x-api-key"
    )]
    AmbiguousCredentials,
    #[error("the body must be sent as Content-Type: application/json, in UTF-8")]
    UnsupportedMediaType,
    #[error("the body must not be compressed")]
    ContentEncoding,
    #[error("the body is larger than {max_bytes} bytes")]
    BodyTooLarge { max_bytes: usize },
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body ended early or could not be read")]
    BodyUnreadable,
    #[error("the body is not one JSON object in UTF-8 (line {line}, column {column})")]
    InvalidJson { line: usize, column: usize },
    #[error("`{param}` {problem}")]
    InvalidField { param: String, problem: String },
    #[error("there is no such model; GET /v1/models names the one that is served")]
    ModelNotFound,
    #[error("too many requests are waiting: try again after the time in Retry-After")]
    QueueFull { retry_after_seconds: u64 },
    #[error("too much is asked at once: try again after the time in Retry-After")]
    Overloaded,
    #[error("no slot became free in time: try again after the time in Retry-After")]
    QueueTimeout { retry_after_seconds: u64 },
    #[error("the model is still loading: try again after the time in Retry-After")]
    ModelLoading,
    #[error("the model server cannot be reached: try again after the time in Retry-After")]
    UpstreamUnavailable,
    #[error("the model server did not accept a connection in time")]
    ConnectTimeout { has_others: bool },
    #[error("the model server refused llm-proxy's key; its operator must set the same key on both")]
    UpstreamKey,
    #[error("the model server broke the connection before the answer was complete")]
    UpstreamDisconnected,
    #[error("the model server ended the answer before it was complete")]
    UpstreamTruncated,
    #[error("the model server's answer could not be understood")]
    UpstreamInvalid,
    #[error("the model server failed while answering")]
    UpstreamFailed,
    #[error("{}", .0.message)]
    UpstreamRefused(EngineRefusal),
    #[error(
        "a model server died twice while it worked on this request: it is refused for ten minutes"
    )]
    RequestQuarantined,
    #[error("the first token did not come in time")]
    FirstTokenTimeout,
    #[error("the next token did not come in time")]
    TokenTimeout,
    #[error("the answer took longer than a request may")]
    TotalTimeout,
    #[error("llm-proxy is shutting down: try again")]
    ShuttingDown,
    #[error("llm-proxy failed; its log says where")]
    Internal,
}

/// What a caller of a route that is not there has probably meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteHint {
    /// Nothing that is known.
    Unknown,
    /// The path of a route, without its `/v1`.
    LacksVersion,
    /// The path of a route, with `/v1` before it.
    RepeatsVersion,
    /// The path of a route, with slashes too many; the route.
    OtherSlashes(&'static str),
    /// A route that is switched off; what switches it on.
    SwitchedOff(&'static str),
}

impl RouteHint {
    fn text(self) -> String {
        match self {
            Self::Unknown => String::new(),
            Self::LacksVersion => {
                ": the path begins with /v1, so let the base URL end in /v1".to_owned()
            }
            Self::RepeatsVersion => {
                ": the path has /v1 twice, so let the base URL end before one of them".to_owned()
            }
            Self::OtherSlashes(route) => {
                format!(": the path has slashes too many, so ask {route}")
            }
            Self::SwitchedOff(option) => {
                format!(": its operator has not switched it on (PROXY_ROUTES lacks `{option}`)")
            }
        }
    }
}

impl From<InvalidRequest> for Error {
    fn from(invalid: InvalidRequest) -> Self {
        match invalid {
            InvalidRequest::NotJson { line, column } => Self::InvalidJson { line, column },
            InvalidRequest::Field { field, problem } => Self::InvalidField {
                param: field,
                problem,
            },
            InvalidRequest::UnknownModel => Self::ModelNotFound,
        }
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::MediaType => Self::UnsupportedMediaType,
            BodyError::Compressed => Self::ContentEncoding,
            BodyError::TooLarge { max_bytes } => Self::BodyTooLarge { max_bytes },
            BodyError::Timeout => Self::BodyTimeout,
            BodyError::Unreadable => Self::BodyUnreadable,
            BodyError::NoRoom => Self::Overloaded,
        }
    }
}

impl From<llama_client::Error> for Error {
    fn from(error: llama_client::Error) -> Self {
        match error {
            llama_client::Error::ConnectionRefused | llama_client::Error::Unreachable => {
                Self::UpstreamUnavailable
            }
            llama_client::Error::ConnectTimeout => Self::ConnectTimeout { has_others: false },
            llama_client::Error::Loading => Self::ModelLoading,
            llama_client::Error::WrongKey => Self::UpstreamKey,
            llama_client::Error::Disconnected => Self::UpstreamDisconnected,
            llama_client::Error::Truncated => Self::UpstreamTruncated,
            llama_client::Error::Invalid => Self::UpstreamInvalid,
            llama_client::Error::Failed | llama_client::Error::Unexplained => Self::UpstreamFailed,
            llama_client::Error::Refused(refusal) => Self::UpstreamRefused(refusal),
        }
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::AmbiguousCredentials => Self::AmbiguousCredentials,
            AuthError::Unauthorized(denied) => Self::Unauthorized(denied),
            AuthError::ScopeMissing(scope) => Self::ScopeMissing {
                scope: scope.name(),
            },
            AuthError::MayNotName => Self::MayNotNameUsers,
            AuthError::UserName => Self::UserName,
            AuthError::RateLimited(reached) => Self::RateLimited {
                limit: reached.limit,
                allowed: reached.allowed,
                retry_after_seconds: reached.retry_after.as_secs_f64().ceil() as u64,
            },
        }
    }
}

impl Error {
    /// A field that is wrong; `problem` continues the sentence that begins with its name.
    pub(crate) fn field(param: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidField {
            param: param.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.row().0
    }

    /// The error's stable name: `code` in the envelope, `outcome` in logs and metrics.
    pub(crate) fn code(&self) -> &'static str {
        self.row().1
    }

    fn row(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadTarget => (StatusCode::BAD_REQUEST, "bad_target"),
            Self::ConnectionOption => (StatusCode::BAD_REQUEST, "bad_connection_option"),
            Self::Expectation => (StatusCode::EXPECTATION_FAILED, "expectation_failed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "invalid_api_key"),
            Self::ScopeMissing { .. } | Self::MayNotNameUsers => {
                (StatusCode::FORBIDDEN, "scope_missing")
            }
            Self::UserName => (StatusCode::BAD_REQUEST, "invalid_user"),
            // OpenAI's own code, which its clients know.
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            Self::AmbiguousCredentials => (StatusCode::BAD_REQUEST, "ambiguous_credentials"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::ContentEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_content_encoding",
            ),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::BodyUnreadable => (StatusCode::BAD_REQUEST, "body_unreadable"),
            Self::InvalidJson { .. } => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::InvalidField { .. } => (StatusCode::BAD_REQUEST, "invalid_field"),
            Self::ModelNotFound => (StatusCode::NOT_FOUND, "model_not_found"),
            Self::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::QueueTimeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, "queue_timeout"),
            Self::ModelLoading => (StatusCode::SERVICE_UNAVAILABLE, "model_loading"),
            Self::UpstreamUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable"),
            Self::ConnectTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"),
            Self::UpstreamKey => (StatusCode::BAD_GATEWAY, "upstream_key"),
            Self::UpstreamDisconnected => (StatusCode::BAD_GATEWAY, "upstream_disconnected"),
            Self::UpstreamTruncated => (StatusCode::BAD_GATEWAY, "upstream_truncated"),
            Self::UpstreamInvalid => (StatusCode::BAD_GATEWAY, "upstream_invalid"),
            Self::UpstreamFailed => (StatusCode::BAD_GATEWAY, "upstream_failed"),
            Self::UpstreamRefused(EngineRefusal {
                status,
                does_not_fit: Some(_),
                ..
            }) => (*status, "context_length_exceeded"),
            Self::UpstreamRefused(EngineRefusal { status, .. }) => (*status, "upstream_refused"),
            Self::RequestQuarantined => (StatusCode::BAD_REQUEST, "request_quarantined"),
            Self::FirstTokenTimeout => (StatusCode::GATEWAY_TIMEOUT, "first_token_timeout"),
            Self::TokenTimeout => (StatusCode::GATEWAY_TIMEOUT, "token_timeout"),
            Self::TotalTimeout => (StatusCode::GATEWAY_TIMEOUT, "total_timeout"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Seconds for `Retry-After`, where trying again helps.
    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::QueueFull {
                retry_after_seconds,
            }
            | Self::QueueTimeout {
                retry_after_seconds,
            }
            | Self::RateLimited {
                retry_after_seconds,
                ..
            } => Some(*retry_after_seconds),
            Self::ModelLoading => Some(5),
            Self::UpstreamUnavailable | Self::ShuttingDown => Some(2),
            Self::Overloaded => Some(1),
            _ => None,
        }
    }

    /// Whether no byte of the request left for the upstream, so that another one may be asked.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::UpstreamUnavailable | Self::ConnectTimeout { has_others: true }
        )
    }

    /// The answer to a request of which nothing was sent back yet.
    pub(crate) fn envelope(&self) -> OpenAiError {
        let src = match self {
            Self::UpstreamRefused(_) | Self::UpstreamFailed | Self::ModelLoading => "upstream",
            _ => "llm-proxy",
        };
        let mut envelope = OpenAiError::new(src, self.status(), self.code(), self.to_string());
        envelope.retry_after_seconds = self.retry_after_seconds();
        match self {
            Self::InvalidField { param, .. } => envelope.error.param = Some(param.clone()),
            Self::ModelNotFound => envelope.error.param = Some("model".to_owned()),
            Self::UpstreamRefused(EngineRefusal {
                field: Some(field), ..
            }) => envelope.error.param = Some((*field).to_owned()),
            Self::UpstreamRefused(EngineRefusal {
                does_not_fit: Some((n_prompt_tokens, n_ctx)),
                ..
            }) => {
                // llama-server's own name for it, which its callers know.
                envelope.error.kind = "exceed_context_size_error";
                envelope.error.n_prompt_tokens = Some(*n_prompt_tokens);
                envelope.error.n_ctx = Some(*n_ctx);
            }
            _ => {}
        }
        envelope
    }
}
