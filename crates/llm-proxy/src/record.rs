//! One request's story: where it is, when it got there, how it ended.
//!
//! It is told once, to the log and the metrics, when the record is dropped; a record dropped before its end was named
//! is a caller that left. It holds counts, times and ids, never words.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;

use crate::error::Error;
use crate::keys::Caller;
use crate::metrics::{Ending, Left, Metrics, Tokens};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its key and body are read and checked.
    Reading,
    /// It waits for a slot.
    Queued,
    /// It has a slot and waits for the upstream's header.
    Connecting,
    /// The upstream computes its prompt.
    Prefilling,
    /// Tokens come.
    Streaming,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Queued => "queued",
            Self::Connecting => "connecting",
            Self::Prefilling => "prefilling",
            Self::Streaming => "streaming",
        }
    }
}

/// The record of one request.
#[derive(Debug)]
pub(crate) struct Record {
    metrics: Arc<Metrics>,
    request_id: String,
    route: &'static str,
    /// Whose request it is, once the key is known.
    caller: Option<Arc<Caller>>,
    started: Instant,
    phase: Phase,
    queue: Option<Duration>,
    first_token: Option<Duration>,
    n_tokens_seen: u64,
    /// Tokens of the prompt and of the completion, as the upstream counts them.
    usage: Option<(u64, u64)>,
    status: Option<StatusCode>,
    outcome: Option<&'static str>,
}

impl Record {
    pub(crate) fn new(metrics: &Arc<Metrics>, request_id: &str, route: &'static str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            request_id: request_id.to_owned(),
            route,
            caller: None,
            started: Instant::now(),
            phase: Phase::Reading,
            queue: None,
            first_token: None,
            n_tokens_seen: 0,
            usage: None,
            status: None,
            outcome: None,
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The key was good.
    pub(crate) fn called_by(&mut self, caller: Arc<Caller>) {
        self.caller = Some(caller);
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The request has its slot, after waiting this long.
    pub(crate) fn admitted(&mut self, waited: Duration) {
        self.queue = Some(waited);
        self.phase = Phase::Connecting;
        self.metrics.queue_wait.observe(waited.as_secs_f64());
    }

    /// A token came.
    pub(crate) fn token(&mut self, now: Instant) {
        self.n_tokens_seen += 1;
        if self.first_token.is_none() {
            let after = now - self.started;
            self.first_token = Some(after);
            self.phase = Phase::Streaming;
            self.metrics.first_token.observe(after.as_secs_f64());
        }
    }

    /// What the upstream counted.
    pub(crate) fn usage(&mut self, n_prompt_tokens: u64, n_completion_tokens: u64) {
        self.usage = Some((n_prompt_tokens, n_completion_tokens));
        for (kind, n) in [("prompt", n_prompt_tokens), ("completion", n_completion_tokens)] {
            self.metrics.tokens.get_or_create(&Tokens { kind }).inc_by(n);
        }
    }

    /// The wait for a slot, once it is over.
    pub(crate) fn queue(&self) -> Duration {
        self.queue.unwrap_or_default()
    }

    /// The answer's header goes out.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The last byte was handed over.
    pub(crate) fn complete(&mut self) {
        self.outcome = Some("ok");
    }

    /// The answer ended badly after its header was sent.
    pub(crate) fn broke(&mut self, error: &Error) {
        self.outcome = Some(error.code());
    }

    /// Ends a request of which nothing was sent back yet.
    pub(crate) fn refuse(mut self, error: &Error) -> Response {
        self.outcome = Some(error.code());
        self.status = Some(error.status());
        error.envelope().into_response()
    }

    /// Ends a request that was answered at once.
    pub(crate) fn answer(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        self.complete();
        response
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| {
            if std::thread::panicking() {
                return Error::Internal.code();
            }
            self.metrics.cancellations.get_or_create(&Left { phase: self.phase.name() }).inc();
            "client_left"
        });
        let status = match self.status.map(|status| status.as_u16() / 100) {
            Some(2) => "2xx",
            Some(4) => "4xx",
            Some(_) => "5xx",
            None => "",
        };
        let duration = self.started.elapsed();
        self.metrics.requests.get_or_create(&Ending { route: self.route, outcome, status }).inc();
        if self.queue.is_some() {
            self.metrics.request.observe(duration.as_secs_f64());
        }
        tracing::info!(
            request_id = self.request_id,
            route = self.route,
            caller = self.caller.as_ref().map(|caller| caller.name.as_str()),
            outcome,
            phase = self.phase.name(),
            status = self.status.map(|status| status.as_u16()),
            queue_ms = self.queue.map(milliseconds),
            ttft_ms = self.first_token.map(milliseconds),
            duration_ms = milliseconds(duration),
            n_prompt_tokens = self.usage.map(|(prompt, _)| prompt),
            n_completion_tokens = self.usage.map_or(self.n_tokens_seen, |(_, completion)| completion),
            "request"
        );
    }
}

/// Milliseconds with three decimals, for people and for `Server-Timing`.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
