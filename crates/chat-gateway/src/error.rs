//! Why an answer failed: what the browser may read, and what operators count.
//!
//! Upstream's own words stay upstream: they may hold addresses, paths or what somebody wrote.

use crate::protocol::record::ErrorCode;

/// Tokens, as an upstream counted them when a prompt did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Tokens in the prompt.
    pub n_prompt_tokens: u64,
    /// Tokens in the context of one slot.
    pub n_ctx: u64,
}

/// Why an answer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection to upstream.
    Unreachable,
    /// Upstream does not accept our key.
    Key,
    /// Upstream does not have the model that the gateway asks for.
    UnknownModel,
    /// Upstream has nothing at the address that it is asked at.
    WrongAddress,
    /// Upstream has no room for another answer.
    Busy,
    /// The model is not in memory yet.
    Loading,
    /// One of upstream's deadlines passed, or it fell silent.
    TimedOut,
    /// Upstream failed before the answer began.
    Unavailable,
    /// Upstream does not accept the request for a reason that no retry mends.
    Rejected,
    /// The prompt does not fit the context.
    ContextFull(Option<Overflow>),
    /// The answer began and did not end properly.
    Interrupted,
    /// The engine died, or the way to it broke, before the answer was complete.
    EngineLost,
    /// The connection to upstream broke, or ended before the answer did.
    Disconnected,
    /// The answer is larger than the gateway keeps.
    Oversized,
    /// The gateway cannot read or keep conversations now.
    Storage,
    /// The gateway stops.
    ShuttingDown,
}

impl Failure {
    /// What the browser may read.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "the model service cannot be reached; try again in a moment",
            Self::Key => "the model service does not accept this gateway's key; tell the operator",
            Self::UnknownModel => {
                "the model service does not know the configured model; tell the operator"
            }
            Self::WrongAddress => {
                "the gateway's address of the model service lacks /v1; tell the operator"
            }
            Self::Busy => "the model is busy; try again in a moment",
            Self::Loading => "the model is still loading; try again in a moment",
            Self::TimedOut => "the model took too long to answer; try again",
            Self::Unavailable => "the model service failed; try again in a moment",
            Self::Rejected => "the model service does not accept this message",
            Self::ContextFull(_) => "the message is too long for the model; shorten it",
            Self::Interrupted | Self::Disconnected => {
                "the answer was interrupted; send the message again"
            }
            Self::EngineLost => {
                "the model's server was lost before the answer was complete; try again"
            }
            Self::Oversized => "the answer grew too long and was stopped",
            Self::Storage => "conversations cannot be read at the moment; try again",
            Self::ShuttingDown => "the server is restarting; send the message again in a moment",
        }
    }

    /// Whether whoever wrote the answer was lost, so that another engine may go on with it.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::EngineLost | Self::Disconnected)
    }

    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Key => "key_refused",
            Self::UnknownModel => "unknown_model",
            Self::WrongAddress => "wrong_address",
            Self::Busy => "busy",
            Self::Loading => "loading",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::ContextFull(_) => "context_full",
            Self::Interrupted => "interrupted",
            Self::EngineLost => "engine_lost",
            Self::Disconnected => "disconnected",
            Self::Oversized => "oversized",
            Self::Storage => "storage",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// What programs may read.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Unreachable | Self::Key | Self::UnknownModel | Self::WrongAddress => {
                ErrorCode::UpstreamUnavailable
            }
            Self::Busy => ErrorCode::QueueTimeout,
            Self::Loading => ErrorCode::ModelLoading,
            Self::TimedOut => ErrorCode::UpstreamTimeout,
            Self::Unavailable | Self::Interrupted | Self::EngineLost | Self::Disconnected => {
                ErrorCode::UpstreamError
            }
            Self::Rejected => ErrorCode::BadRequest,
            Self::ContextFull(_) => ErrorCode::ContextTooLong,
            Self::Oversized => ErrorCode::TooLarge,
            Self::Storage => ErrorCode::StorageUnavailable,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
        }
    }
}
