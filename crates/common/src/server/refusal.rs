//! The answers to requests that reach no handler: the head is not acceptable, or there is no room.
//!
//! hyper answers them without a body. Here they get the envelope and the id of every other error, and are counted.

use std::net::SocketAddr;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use uuid::Uuid;

use super::framing::HeadFault;
use crate::openai_error::OpenAiError;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalReason {
    reason: &'static str,
}

/// Refuses in a service's name, and counts how often. Clones count together.
#[derive(Clone, Debug)]
pub struct Refusals {
    service: &'static str,
    counts: Family<RefusalReason, Counter>,
}

impl Refusals {
    /// Starts at zero. `service` is the `src` of the answers.
    #[must_use]
    pub fn of(service: &'static str) -> Self {
        let counts = Family::<RefusalReason, Counter>::default();
        // Every series starts at 0, because Prometheus does not notice one that starts at 1.
        for HeadRefusal { code: reason, .. } in HeadRefusal::ALL {
            drop(counts.get_or_create(&RefusalReason { reason }));
        }
        Self { service, counts }
    }

    /// Shows the counter in `to`, which has the service's prefix.
    pub fn register(&self, to: &mut Registry) {
        let help = "Connections that were closed before a request was read, by reason";
        to.register("connections_refused", help, self.counts.clone());
    }

    pub(super) fn count(&self, refusal: HeadRefusal) {
        self.counts
            .get_or_create(&RefusalReason {
                reason: refusal.code,
            })
            .inc();
    }

    /// The whole answer as it goes over the wire. The log has the same id.
    pub(super) fn answer(&self, refusal: HeadRefusal, peer: SocketAddr) -> Vec<u8> {
        let request_id = Uuid::now_v7();
        tracing::info!(%request_id, code = refusal.code, %peer, "a connection was refused");
        let HeadRefusal {
            status,
            code,
            message,
        } = refusal;
        let envelope = OpenAiError::new(self.service, status, code, message);
        let body = serde_json::to_string(&envelope).expect("the envelope holds strings only");
        let retry = if refusal == HeadRefusal::NO_ROOM {
            "retry-after: 1\r\n"
        } else {
            ""
        };
        let n = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
             x-accel-buffering: no\r\nx-request-id: {request_id}\r\n{retry}connection: close\r\n\
             content-length: {n}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// An answer that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadRefusal {
    status: StatusCode,
    code: &'static str,
    message: &'static str,
}

impl HeadRefusal {
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
        message: "the body's length is given more than once: send one Content-Length or one Transfer-Encoding",
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

    const ALL: [Self; 7] = [
        Self::HEADER_TIMEOUT,
        Self::NO_ROOM,
        Self::MALFORMED,
        Self::TWO_LENGTHS,
        Self::BARE_LINE_FEED,
        Self::HEADER_TOO_LARGE,
        Self::TARGET_TOO_LONG,
    ];

    /// The refusal in place of an answer that hyper wrote by itself; `head` is how that begins.
    pub(super) fn instead_of(head: &[u8]) -> Self {
        match head.get(b"HTTP/1.1 ".len()..b"HTTP/1.1 400".len()) {
            Some(b"414") => Self::TARGET_TOO_LONG,
            Some(b"431") => Self::HEADER_TOO_LARGE,
            _ => Self::MALFORMED,
        }
    }
}

impl From<HeadFault> for HeadRefusal {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::TwoLengths => Self::TWO_LENGTHS,
            HeadFault::BareLineFeed => Self::BARE_LINE_FEED,
            HeadFault::HeadTooLarge => Self::HEADER_TOO_LARGE,
            HeadFault::TargetTooLong => Self::TARGET_TOO_LONG,
        }
    }
}
