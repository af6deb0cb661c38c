//! Why something that a user asks for is not done.
//!
//! One type for the socket and the HTTP API. Its words are ours: no user's text and no source error gets into them.

use std::borrow::Cow;

use crate::bus::BusError;
use crate::instance::InstanceId;
use crate::protocol::record::ErrorCode;
use crate::protocol::v2::RefusedFrame;
use crate::store::StoreError;

/// Only one answer of a conversation runs.
pub(super) const BUSY: Refusal = Refusal::new(
    ErrorCode::Busy,
    "an answer of this conversation runs; wait for its end or stop it",
);
/// The store cannot be used now.
pub(super) const STORE_HANGS: Refusal = Refusal::new(
    ErrorCode::StorageUnavailable,
    "conversations cannot be kept at the moment; try again",
);
/// Another gateway has begun an answer of this conversation meanwhile.
pub(super) const ELSEWHERE: Refusal = Refusal {
    code: ErrorCode::StorageUnavailable,
    message: Cow::Borrowed("another gateway writes this conversation now; try again"),
    retry_after_seconds: Some(1),
};
/// An id names one request.
pub(super) const OTHER_REQUEST: Refusal = Refusal::new(
    ErrorCode::Conflict,
    "this `id` was used for another request",
);
/// The user's bound is reached.
pub(super) const TOO_MANY_ANSWERS: Refusal = Refusal::new(
    ErrorCode::RateLimited,
    "too many of your answers run at once; wait for one to end",
);
/// What waited has begun.
pub(super) const TOO_LATE: Refusal = Refusal::new(
    ErrorCode::Conflict,
    "this message no longer waits: its answer has begun",
);

/// Why an answer is not begun here.
#[derive(Debug)]
pub(crate) enum Unbegun {
    Refused(Refusal),
    /// This gateway writes what is open in the conversation, and must be asked instead. Nothing was kept.
    Elsewhere(InstanceId),
}

impl From<Refusal> for Unbegun {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Unbegun {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Unbegun> for Refusal {
    fn from(unbegun: Unbegun) -> Self {
        match unbegun {
            Unbegun::Refused(refusal) => refusal,
            Unbegun::Elsewhere(_) => ELSEWHERE,
        }
    }
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Refusal {
    pub(crate) const fn new(code: ErrorCode, message: &'static str) -> Self {
        Self {
            code,
            message: Cow::Borrowed(message),
            retry_after_seconds: None,
        }
    }

    pub(crate) const NOT_FOUND: Self = Self::new(
        ErrorCode::NotFound,
        "there is no such conversation or message",
    );

    /// The frame that says so to whoever sent the frame `re`.
    pub(crate) fn frame(&self, re: Option<String>) -> RefusedFrame {
        RefusedFrame {
            re,
            code: self.code,
            message: self.message.clone().into_owned(),
            retry_after_seconds: self.retry_after_seconds,
        }
    }
}

impl From<RefusedFrame> for Refusal {
    fn from(refused: RefusedFrame) -> Self {
        Self {
            code: refused.code,
            message: refused.message.into(),
            retry_after_seconds: refused.retry_after_seconds,
        }
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "another gateway could not be asked");
        // Only where the other one is dead is it certain that nothing was begun.
        let refusal = match error {
            BusError::Dead => Self::new(
                ErrorCode::StorageUnavailable,
                "the gateway that wrote this conversation is gone; try again in a moment",
            ),
            BusError::Address
            | BusError::Failed(_)
            | BusError::Foreign
            | BusError::NoReply
            | BusError::Alone => Self::new(
                ErrorCode::Internal,
                "the gateway that writes this conversation cannot be reached; try again",
            ),
        };
        Self {
            retry_after_seconds: Some(2),
            ..refusal
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        STORE_HANGS
    }
}

/// A field is wrong.
pub(super) const fn bad(message: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}
