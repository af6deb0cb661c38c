//! Everything that can go wrong between us and a llama-server.

use std::borrow::Cow;

use http::StatusCode;

/// What llama-server said no to because of the request alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRefusal {
    /// A 4xx.
    pub status: StatusCode,
    /// One sentence for the caller.
    pub message: Cow<'static, str>,
    /// The field of the request that is to blame, where that is known.
    pub field: Option<&'static str>,
    /// The prompt's size and the slot's, in tokens, when the first does not fit into the second.
    pub does_not_fit: Option<(u64, u64)>,
}

impl EngineRefusal {
    /// A failure that names no reason, of an engine that went on to work.
    #[must_use]
    pub fn unexplained() -> Self {
        Self::of(None, "the model server cannot process this request")
    }

    pub(crate) fn of(field: Option<&'static str>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            field,
            does_not_fit: None,
        }
    }
}

/// Why there is no answer, or why it ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The connection was refused: nobody listens there. No byte of the request was sent.
    #[error("it refused the connection")]
    ConnectionRefused,
    /// No connection for another reason: its name has no address, no route leads there, we have no descriptor left. It
    /// may be well. No byte of the request was sent.
    #[error("it cannot be reached")]
    Unreachable,
    /// The connection was not accepted in time. No byte of the request was sent.
    #[error("it did not accept a connection in time")]
    ConnectTimeout,
    /// Its model loads.
    #[error("its model is loading")]
    Loading,
    /// It does not take our key.
    #[error("it refused our key")]
    WrongKey,
    /// The connection broke before the answer was complete.
    #[error("it broke the connection before the answer was complete")]
    Disconnected,
    /// The answer ended in order, but before it was complete.
    #[error("it ended the answer before it was complete")]
    Truncated,
    /// The answer is not what llama-server sends.
    #[error("its answer could not be understood")]
    Invalid,
    /// It answered with a 5xx that is its own fault, or with an error inside the answer.
    #[error("it failed while answering")]
    Failed,
    /// It answered with a 5xx that may be the request's fault. Whether the engine still works decides.
    #[error("it failed for a reason that is not known")]
    Unexplained,
    /// It refused the request, and nothing else is to blame.
    #[error("it refused the request: {}", .0.message)]
    Refused(EngineRefusal),
}

impl Error {
    /// Whether no byte of the request was sent, so that another upstream may be asked.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused | Self::Unreachable | Self::ConnectTimeout
        )
    }
}
