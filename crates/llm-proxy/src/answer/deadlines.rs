//! The five deadlines: queue, connect, first token, between tokens, total.
//!
//! They count tokens, not bytes: neither llama-server's comments nor its progress events move them. The first two are
//! kept by `admission` and `upstream`; the other three by a [`Clock`] that runs from the slot to the last byte.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Waiting for a slot.
    pub queue: Duration,
    /// The TCP connection to the upstream.
    pub connect: Duration,
    /// From the slot to the first token, for an empty prompt.
    pub first_token: Duration,
    /// What each token of the prompt adds to `first_token`; a CPU prefills 10 to 300 tokens a second.
    pub first_token_per_prompt_token: Duration,
    /// From one token to the next.
    pub between_tokens: Duration,
    /// From the slot to the last byte.
    pub total: Duration,
}

/// The deadlines of one running request.
#[derive(Debug)]
pub(crate) struct Clock {
    token_at: Instant,
    total_at: Instant,
    between_tokens: Duration,
    has_token: bool,
}

impl Clock {
    /// Starts when the request has its slot.
    pub(crate) fn start(deadlines: &Deadlines, n_prompt_tokens: u32) -> Self {
        let now = Instant::now();
        let first_token =
            deadlines.first_token + deadlines.first_token_per_prompt_token * n_prompt_tokens;
        Self {
            token_at: now + first_token,
            total_at: now + deadlines.total,
            between_tokens: deadlines.between_tokens,
            has_token: false,
        }
    }

    /// A token came.
    pub(crate) fn token(&mut self, now: Instant) {
        self.token_at = now + self.between_tokens;
        self.has_token = true;
    }

    /// For this long nothing was read, because the caller did not ask for it.
    pub(crate) fn was_not_asked(&mut self, pause: Duration) {
        self.token_at += pause;
    }

    /// Whether a token came yet.
    pub(crate) fn has_token(&self) -> bool {
        self.has_token
    }

    /// When the last deadline passes, whatever comes until then.
    pub(crate) fn total_at(&self) -> Instant {
        self.total_at
    }

    /// When the next deadline passes.
    pub(crate) fn at(&self) -> Instant {
        self.token_at.min(self.total_at)
    }

    /// What has passed at [`Clock::at`].
    pub(crate) fn error(&self) -> Error {
        match (self.total_at <= self.token_at, self.has_token) {
            (true, _) => Error::TotalTimeout,
            (false, false) => Error::FirstTokenTimeout,
            (false, true) => Error::TokenTimeout,
        }
    }
}
