//! The deadlines of a running request: first token, between tokens, total.
//!
//! They count tokens, not bytes: neither llama-server's comments nor its progress events move them.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Deadlines;
use crate::error::Error;

/// The deadlines of one running request.
#[derive(Clone, Copy, Debug)]
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
