//! What the fake answers to one chat request: which tokens, how fast, and what goes wrong where.

use std::time::Duration;

use serde_json::{Value, json};

/// Where a script leaves the straight path, counted in token events already sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deviation {
    /// Sends nothing more until [`FakeLlama::release`](super::FakeLlama::release).
    Stall,
    /// Ends the body properly, without `[DONE]`.
    CleanEnd,
    /// Resets the connection.
    Reset,
    /// Sends one error event and ends the body properly.
    ErrorEvent(String),
}

/// One answer. Starts as a straight path; the verbs bend it.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) refusal: Option<(u16, String)>,
    /// Bytes that stand for the whole answer: what comes once, what comes again and again, and how often.
    pub(super) raw: Option<(Vec<u8>, Vec<u8>, usize)>,
    /// Whether those end with a reset.
    pub(super) raw_reset: bool,
    /// The `delta` objects, one event each.
    pub(super) deltas: Vec<Value>,
    pub(super) finish_reason: &'static str,
    pub(super) before_headers: Duration,
    pub(super) stall_before_headers: bool,
    pub(super) reset_before_headers: bool,
    pub(super) prefill: Duration,
    pub(super) every: Duration,
    pub(super) fault: Option<(usize, Deviation)>,
    pub(super) pings: Option<Duration>,
    pub(super) slice_bytes: usize,
    pub(super) cached: usize,
    pub(super) prompt_tokens: usize,
    pub(super) closes_after: Option<Duration>,
    /// Lines before the first event.
    pub(super) comments: Vec<String>,
    pub(super) tokens_per_second: Option<f64>,
}

impl Script {
    /// One content event per token, then finish, usage and `[DONE]`.
    #[must_use]
    pub fn tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::deltas(
            tokens
                .into_iter()
                .map(|token| json!({"content": token.into()})),
        )
    }

    /// Any `delta` objects: `reasoning_content`, `tool_calls`.
    #[must_use]
    pub fn deltas(deltas: impl IntoIterator<Item = Value>) -> Self {
        Self {
            refusal: None,
            raw: None,
            raw_reset: false,
            deltas: deltas.into_iter().collect(),
            finish_reason: "stop",
            before_headers: Duration::ZERO,
            stall_before_headers: false,
            reset_before_headers: false,
            prefill: Duration::ZERO,
            every: Duration::ZERO,
            fault: None,
            pings: None,
            slice_bytes: usize::MAX,
            cached: 0,
            prompt_tokens: 7,
            closes_after: None,
            comments: Vec::new(),
            tokens_per_second: None,
        }
    }

    /// An answer that is not a stream: any status with any body, typed as JSON.
    #[must_use]
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self {
            refusal: Some((status, body.into())),
            ..Self::tokens([""; 0])
        }
    }

    /// An error as llama-server words it, with its integer `code`.
    #[must_use]
    pub fn refusal(status: u16, kind: &str, message: &str) -> Self {
        Self::status(
            status,
            json!({"error": {"code": status, "message": message, "type": kind}}).to_string(),
        )
    }

    /// Any bytes at all instead of an answer, head included, and then the connection's end.
    #[must_use]
    pub fn raw(head: impl Into<Vec<u8>>) -> Self {
        Self::raw_repeated(head, "", 0)
    }

    /// As [`Script::raw`], with `block` written `times` after it.
    #[must_use]
    pub fn raw_repeated(head: impl Into<Vec<u8>>, block: impl Into<Vec<u8>>, times: usize) -> Self {
        Self {
            raw: Some((head.into(), block.into(), times)),
            ..Self::tokens([""; 0])
        }
    }

    /// Whether the bytes of [`Script::raw`] end with a reset and not with a proper close.
    #[must_use]
    pub fn reset_at_the_end(mut self, reset: bool) -> Self {
        self.raw_reset = reset;
        self
    }

    /// The finish reason; `stop` unless told.
    #[must_use]
    pub fn finish(mut self, reason: &'static str) -> Self {
        self.finish_reason = reason;
        self
    }

    /// The time before each token but the first.
    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// The time before the answer's header, as when no slot is free.
    #[must_use]
    pub fn headers_after(mut self, pause: Duration) -> Self {
        self.before_headers = pause;
        self
    }

    /// Sends no header until [`FakeLlama::release`](super::FakeLlama::release).
    #[must_use]
    pub fn stall_before_headers(mut self) -> Self {
        self.stall_before_headers = true;
        self
    }

    /// Resets the connection instead of answering.
    #[must_use]
    pub fn reset_before_headers(mut self) -> Self {
        self.reset_before_headers = true;
        self
    }

    /// The time between the header and the first token.
    #[must_use]
    pub fn prefill(mut self, pause: Duration) -> Self {
        self.prefill = pause;
        self
    }

    /// Stalls after `tokens` tokens until [`FakeLlama::release`](super::FakeLlama::release); 0 is a prefill that
    /// does not end.
    #[must_use]
    pub fn stall_after(self, tokens: usize) -> Self {
        self.fault(tokens, Deviation::Stall)
    }

    /// Ends the body properly after `tokens` tokens, without finish reason and `[DONE]`.
    #[must_use]
    pub fn end_after(self, tokens: usize) -> Self {
        self.fault(tokens, Deviation::CleanEnd)
    }

    /// Resets the connection after `tokens` tokens.
    #[must_use]
    pub fn reset_after(self, tokens: usize) -> Self {
        self.fault(tokens, Deviation::Reset)
    }

    /// Sends an error event after `tokens` tokens, then ends without `[DONE]`.
    #[must_use]
    pub fn error_after(self, tokens: usize, message: &str) -> Self {
        self.fault(tokens, Deviation::ErrorEvent(message.to_owned()))
    }

    /// While waiting or stalled, writes a comment this often, as llama-server's pings.
    #[must_use]
    pub fn pings(mut self, every: Duration) -> Self {
        self.pings = Some(every);
        self
    }

    /// How many of the prompt's 7 tokens the slot still had.
    #[must_use]
    pub fn cached(mut self, tokens: usize) -> Self {
        self.cached = tokens;
        self
    }

    /// Closes the connection so long after a stream that ended well, without having said so, as llama-server does.
    #[must_use]
    pub fn closes_after(mut self, pause: Duration) -> Self {
        self.closes_after = Some(pause);
        self
    }

    /// Puts at most this many bytes of the body into one HTTP chunk, so that a reader gets them apart.
    #[must_use]
    pub fn sliced(mut self, bytes: usize) -> Self {
        self.slice_bytes = bytes;
        self
    }

    /// The speed that `timings` tells; none unless told.
    #[must_use]
    pub fn speed(mut self, tokens_per_second: f64) -> Self {
        self.tokens_per_second = Some(tokens_per_second);
        self
    }

    /// Writes these lines before the first event, as llm-proxy's comments, and then stalls until
    /// [`FakeLlama::release`](super::FakeLlama::release).
    #[must_use]
    pub fn comments<T: Into<String>>(mut self, lines: impl IntoIterator<Item = T>) -> Self {
        self.comments = lines.into_iter().map(Into::into).collect();
        self
    }

    /// This script for a prompt of so many tokens: what a model with a context of `n_ctx` says on this route.
    pub(super) fn counted(mut self, line: &str, tokens: usize, n_ctx: usize) -> Self {
        if line.ends_with("/input_tokens") {
            return Self::status(200, json!({"input_tokens": tokens}).to_string());
        }
        if tokens > n_ctx {
            let error = json!({
                "code": 400, "type": "exceed_context_size_error", "message": "the request exceeds the context",
                "n_prompt_tokens": tokens, "n_ctx": n_ctx,
            });
            return Self::status(400, json!({"error": error}).to_string());
        }
        self.prompt_tokens = tokens;
        self
    }

    fn fault(mut self, tokens: usize, fault: Deviation) -> Self {
        self.fault = Some((tokens, fault));
        self
    }
}
