//! One upstream of the fleet: what was last seen of it, what is doubted, how long it is left alone.
//!
//! It holds no decision about others; `fleet` asks it and tells it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::Breaker;
use admission::placement::UpstreamId;
use llama_client::Upstream;

/// What is known of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Up {
        slots: usize,
        /// The context of one slot, in tokens.
        n_ctx: u64,
        sees_images: bool,
        /// Whether the model's alias there is our name for it.
        is_named_so: bool,
    },
    /// It listens, its model loads.
    Loading,
    /// It does not take our key.
    WrongKey,
    /// Nobody listens, or nobody answers.
    Unreachable,
    /// It answers, its engine does not.
    Stuck,
    /// It answers something that is not llama-server's `/props`.
    NotLlama,
}

/// Why `/props` is not enough to believe that an upstream works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A token did not come in time.
    Silent,
    /// One answer after another failed.
    Failing,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: UpstreamId,
    pub(super) upstream: Upstream,
    /// Wakes its watch.
    pub(super) look_again: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) doubt: Option<Doubt>,
    pub(super) breaker: Breaker,
    /// Slots that somebody else took, when it was last looked.
    pub(super) n_others: usize,
    /// Answers in a row that failed.
    pub(super) n_failed: u32,
}

impl Member {
    pub(super) fn new(id: UpstreamId, upstream: Upstream) -> Self {
        let state = State {
            status: Status::Unknown,
            doubt: None,
            breaker: Breaker::default(),
            n_others: 0,
            n_failed: 0,
        };
        Self {
            id,
            upstream,
            look_again: Notify::new(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> Status {
        self.state().status
    }

    pub(super) fn is_up(&self) -> bool {
        self.status().is_up()
    }

    /// How long it is still left alone.
    pub(super) fn rest(&self) -> Duration {
        self.state().breaker.rest(Instant::now())
    }
}

impl Status {
    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// How many requests may run there.
    pub(super) fn slots(self) -> usize {
        if let Self::Up { slots, .. } = self {
            slots
        } else {
            0
        }
    }

    /// For an operator.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "not asked yet",
            Self::Up { .. } => "it answers",
            Self::Loading => "it is loading its model",
            Self::WrongKey => "it refuses PROXY_UPSTREAM_API_KEY",
            Self::Unreachable => "it cannot be reached or does not answer",
            Self::Stuck => "it answers, but its engine computes nothing",
            Self::NotLlama => "what answers there is not a llama-server with a model",
        }
    }
}
