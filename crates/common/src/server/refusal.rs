//! What a caller is told where no handler is reached: the head was not acceptable, or there is no room.
//!
//! hyper answers such requests without a body; here they get the envelope that every other error has.

use axum::http::StatusCode;

use super::framing::Fault;
use crate::openai_error::OpenAiError;

/// An answer that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
}

impl Refusal {
    pub(super) const HEADER_TIMEOUT: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "header_timeout",
        message: "the request's header did not arrive in time",
    };
    pub(super) const NO_ROOM: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "too_many_connections",
        message: "too many connections are open: close some, or try again in a moment",
    };
    const MALFORMED: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "malformed_request",
        message: "this is not a well-formed HTTP/1.1 request",
    };
    const TWO_LENGTHS: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "malformed_request",
        message: "the body's length is said more than once: send one Content-Length or one Transfer-Encoding",
    };
    const BARE_LINE_FEED: Self = Self {
        status: StatusCode::BAD_REQUEST,
        code: "malformed_request",
        message: "every line of the header must end with a carriage return and a line feed",
    };
    const HEADER_TOO_LARGE: Self = Self {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        code: "header_too_large",
        message: "the request's header is larger than 16 KiB or has more than 64 fields",
    };
    const TARGET_TOO_LONG: Self = Self {
        status: StatusCode::URI_TOO_LONG,
        code: "target_too_long",
        message: "the request line is longer than 8 KiB",
    };

    /// For the head of an answer that hyper wrote on its own.
    pub(super) fn instead_of(head: &[u8]) -> Self {
        match head.get(b"HTTP/1.1 ".len()..b"HTTP/1.1 400".len()) {
            Some(b"414") => Self::TARGET_TOO_LONG,
            Some(b"431") => Self::HEADER_TOO_LARGE,
            _ => Self::MALFORMED,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The whole answer as it goes over the wire.
    pub(super) fn to_bytes(self, service: &'static str) -> Vec<u8> {
        let envelope = OpenAiError::new(service, self.status, self.code, self.message);
        let body = serde_json::to_string(&envelope).expect("the envelope holds strings only");
        let retry = if self == Self::NO_ROOM { "retry-after: 1\r\n" } else { "" };
        let (status, n) = (self.status, body.len());
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n{retry}\
             connection: close\r\ncontent-length: {n}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TwoLengths => Self::TWO_LENGTHS,
            Fault::BareLineFeed => Self::BARE_LINE_FEED,
            Fault::HeadTooLarge => Self::HEADER_TOO_LARGE,
            Fault::TargetTooLong => Self::TARGET_TOO_LONG,
        }
    }
}
