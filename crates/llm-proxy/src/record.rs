//! One request's story: where it is, when it got there, how it ended.
//!
//! It is told once, to the log and the metrics, when the record is dropped; a record dropped before its end was named
//! is a caller that left. It holds counts, times and ids, never words.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use crate::error::Error;
use crate::keys::Caller;
use crate::metrics::{
    Ending, GenAi, GenAiEnding, GenAiTokens, KeyName, Left, Metrics, NONE, OTHER, PROVIDER, Tokens,
};
use crate::sse::Usage;

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
    /// The name of the caller's key.
    key: Arc<str>,
    /// The alias that is asked for.
    model: Arc<str>,
    /// Who answers, as `HOST:PORT`.
    upstream: Option<Arc<str>>,
    started: Instant,
    phase: Phase,
    /// What of the time before the upstream was asked went into waiting for the body.
    body: Duration,
    queue: Option<Duration>,
    asked: bool,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    n_tokens_seen: u64,
    /// Its own series of this histogram, so that a token costs no look-up.
    between_tokens: Option<Histogram>,
    /// As the upstream counts them.
    usage: Option<Usage>,
    status: Option<StatusCode>,
    outcome: Option<&'static str>,
    /// When it was noticed that the caller has gone, while it had a slot.
    left: Option<Instant>,
}

impl Record {
    pub(crate) fn new(metrics: &Arc<Metrics>, request_id: &str, route: &'static str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            request_id: request_id.to_owned(),
            route,
            key: NONE.into(),
            model: NONE.into(),
            upstream: None,
            started: Instant::now(),
            phase: Phase::Reading,
            body: Duration::ZERO,
            queue: None,
            asked: false,
            first_token: None,
            last_token: None,
            n_tokens_seen: 0,
            between_tokens: None,
            usage: None,
            status: None,
            outcome: None,
            left: None,
        }
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The key was good.
    pub(crate) fn called_by(&mut self, caller: &Caller) {
        self.key = Arc::clone(&caller.name);
    }

    /// The body is here, after waiting this long for it.
    pub(crate) fn body_read(&mut self, waited: Duration) {
        self.body = waited;
    }

    /// Which model is asked for: an alias that is served, never what a caller wrote.
    pub(crate) fn model(&mut self, alias: &Arc<str>) {
        self.model = Arc::clone(alias);
    }

    /// The request has its slot, after waiting this long.
    pub(crate) fn admitted(&mut self, waited: Duration) {
        self.queue = Some(waited);
        self.phase = Phase::Connecting;
        let label = KeyName { key: Arc::clone(&self.key) };
        self.metrics.queue_wait.get_or_create(&label).observe(waited.as_secs_f64());
        self.between_tokens = Some(self.metrics.between_tokens.get_or_create_owned(&self.gen_ai()));
    }

    /// The upstream is asked, now. Asking another one is no overhead of ours.
    pub(crate) fn ask(&mut self, upstream: &str) {
        self.upstream = Some(upstream.into());
        if !std::mem::replace(&mut self.asked, true) {
            let waited = self.body + self.queue.unwrap_or_default();
            self.metrics.overhead.observe(self.started.elapsed().saturating_sub(waited).as_secs_f64());
        }
    }

    /// A token came.
    pub(crate) fn token(&mut self, now: Instant) {
        self.n_tokens_seen += 1;
        if let (Some(last), Some(between)) = (self.last_token.replace(now), &self.between_tokens) {
            between.observe((now - last).as_secs_f64());
            return;
        }
        self.first_token = Some(now);
        self.phase = Phase::Streaming;
        let after = now - self.started;
        self.metrics.first_token.get_or_create(&self.gen_ai()).observe(after.as_secs_f64());
    }

    /// What the upstream counted.
    pub(crate) fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
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

    /// The answer is let go of, now; when nothing has ended it, its caller left.
    pub(crate) fn released(&mut self, now: Instant) {
        self.left = Some(now);
    }

    /// Ends a request of which nothing was sent back yet.
    pub(crate) fn refuse(&mut self, error: &Error) -> Response {
        if *error == Error::ModelNotFound {
            self.model = OTHER.into();
        }
        self.outcome = Some(error.code());
        self.status = Some(error.status());
        error.envelope().into_response()
    }

    /// Ends a request that was answered at once.
    pub(crate) fn answer(&mut self, response: Response) -> Response {
        self.status = Some(response.status());
        self.complete();
        response
    }

    fn gen_ai(&self) -> GenAi {
        GenAi {
            gen_ai_operation_name: operation(self.route),
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: Arc::clone(&self.model),
        }
    }

    /// Counts what the upstream counted, or what was seen of an answer that ended before.
    fn count_tokens(&self) {
        let (input, cached, output) = self.counts();
        for (kind, n) in [("prompt", input), ("cached", cached), ("completion", output)] {
            let (key, model) = (Arc::clone(&self.key), Arc::clone(&self.model));
            self.metrics.tokens.get_or_create(&Tokens { key, model, kind }).inc_by(n);
        }
        if self.usage.is_none() {
            return;
        }
        for (gen_ai_token_type, n) in [("input", input), ("output", output)] {
            let GenAi { gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model } = self.gen_ai();
            let label = GenAiTokens {
                gen_ai_operation_name,
                gen_ai_provider_name,
                gen_ai_request_model,
                gen_ai_token_type,
            };
            self.metrics.usage.get_or_create(&label).observe(n as f64);
        }
    }

    /// Tokens of the prompt, those of them that were cached, and tokens of the completion.
    fn counts(&self) -> (u64, u64, u64) {
        self.usage.map_or((0, 0, self.n_tokens_seen), |usage| {
            (usage.n_prompt_tokens, usage.n_cached_tokens.unwrap_or(0), usage.n_completion_tokens)
        })
    }

    /// Tells the metrics about a request that had a slot.
    fn count_admitted(&self, duration: Duration, outcome: &'static str) {
        self.count_tokens();
        let gen_ai = self.gen_ai();
        if let (Some(first), Some(last), "ok") = (self.first_token, self.last_token, outcome)
            && self.n_tokens_seen > 1
        {
            let mean = (last - first).as_secs_f64() / (self.n_tokens_seen - 1) as f64;
            self.metrics.per_token.get_or_create(&gen_ai).observe(mean);
        }
        let GenAi { gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model } = gen_ai;
        let error_type = if outcome == "ok" { "" } else { outcome };
        let label =
            GenAiEnding { gen_ai_operation_name, gen_ai_provider_name, gen_ai_request_model, error_type };
        self.metrics.duration.get_or_create(&label).observe(duration.as_secs_f64());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| {
            if std::thread::panicking() {
                return Error::Internal.code();
            }
            self.metrics.cancellations.get_or_create(&Left { phase: self.phase.name() }).inc();
            if let Some(left) = self.left {
                self.metrics.cancel_to_free.observe(left.elapsed().as_secs_f64());
            }
            "client_left"
        });
        let status = match self.status.map(|status| status.as_u16() / 100) {
            Some(2) => "2xx",
            Some(4) => "4xx",
            Some(_) => "5xx",
            None => "",
        };
        let duration = self.started.elapsed();
        let (key, model) = (Arc::clone(&self.key), Arc::clone(&self.model));
        let ending = Ending { route: self.route, key, model, outcome, status };
        self.metrics.requests.get_or_create(&ending).inc();
        if self.queue.is_some() {
            self.count_admitted(duration, outcome);
        }
        let (_, _, n_completion_tokens) = self.counts();
        tracing::info!(
            request_id = self.request_id,
            route = self.route,
            caller = &*self.key,
            outcome,
            phase = self.phase.name(),
            status = self.status.map(|status| status.as_u16()),
            queue_ms = self.queue.map(milliseconds),
            ttft_ms = self.first_token.map(|at| milliseconds(at - self.started)),
            duration_ms = milliseconds(duration),
            n_prompt_tokens = self.usage.map(|usage| usage.n_prompt_tokens),
            n_completion_tokens,
            "request"
        );
    }
}

/// `gen_ai.operation.name` of a route.
fn operation(route: &str) -> &'static str {
    match route {
        "/v1/completions" => "text_completion",
        "/v1/embeddings" => "embeddings",
        _ => "chat",
    }
}

/// Milliseconds with three decimals, for people and for `Server-Timing`.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
