//! What an upstream counted of one answer.

use std::time::Duration;

/// What the upstream counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the prompt.
    pub n_prompt_tokens: u64,
    /// How many of those the upstream still had from an earlier prompt, when it says so.
    pub n_cached_tokens: Option<u64>,
    /// Tokens of the completion.
    pub n_completion_tokens: u64,
    /// How long the uncached part of the prompt took; zero when it does not say so.
    pub prefill: Duration,
    /// How long the answer took after its first token; zero when it does not say so.
    pub decode: Duration,
}

impl Usage {
    /// Both: an answer may count its prompt at its begin and its completion at its end.
    pub fn and(self, more: Self) -> Self {
        Self {
            n_prompt_tokens: self.n_prompt_tokens.max(more.n_prompt_tokens),
            n_cached_tokens: more.n_cached_tokens.or(self.n_cached_tokens),
            n_completion_tokens: self.n_completion_tokens.max(more.n_completion_tokens),
            prefill: self.prefill.max(more.prefill),
            decode: self.decode.max(more.decode),
        }
    }
}

impl Usage {
    /// The tokens of two answers. The times of one say nothing of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let n_cached_tokens = match (self.n_cached_tokens, other.n_cached_tokens) {
            (Some(one), Some(two)) => Some(one + two),
            (one, two) => one.or(two),
        };
        Self {
            n_prompt_tokens: self.n_prompt_tokens + other.n_prompt_tokens,
            n_cached_tokens,
            n_completion_tokens: self.n_completion_tokens + other.n_completion_tokens,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
        }
    }
}
