//! One request's story: where it is, when it got there, how it ended.
//!
//! It is told once, to the log, the metrics, the audit and the trace, when the record is dropped. When it is dropped before
//! its end was named, the caller left. It holds counts, times and ids, never words.

use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use common::traces::{Span, Traces};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use crate::api::{Api, Dialect};
use crate::auth::{Caller, Denied, Reservation};
use crate::error::Error;
use crate::observe::audit::{Audit, AuditLine, SCHEMA};
use crate::observe::metrics::{KeyName, Left, NONE, OTHER, ProxyMetrics};
use crate::observe::recent::Recent;
use crate::request_id::RequestId;
use llama_client::events::Usage;
use llama_client::{Identity, traceparent};

mod answers;
mod count;
mod span;

use answers::Answers;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestPhase {
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

impl RequestPhase {
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

/// Where a record goes when its request has ended.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) metrics: Arc<ProxyMetrics>,
    pub(crate) audit: Audit,
    pub(crate) traces: Traces,
    pub(crate) recent: Recent,
}

/// As whose request an upstream is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    request_id: RequestId,
    traceparent: Option<HeaderValue>,
}

impl Asker {
    pub(crate) fn borrow(&self) -> Identity<'_> {
        Identity {
            request_id: self.request_id.as_str(),
            traceparent: self.traceparent.as_ref(),
        }
    }
}

/// The record of one request.
pub(crate) struct Record {
    reporter: Arc<Reporter>,
    request_id: RequestId,
    route: &'static str,
    /// How its caller is told of an error.
    dialect: Dialect,
    /// The name of the caller's key.
    key: Arc<str>,
    caller: Option<Arc<Caller>>,
    /// Why there is no caller.
    denied: Option<Denied>,
    /// The tokens that were charged in advance, and the estimate of the prompt's length.
    reservation: Option<(Reservation, u64)>,
    /// The alias that is asked for.
    model: Arc<str>,
    /// Who answers, as `HOST:PORT`.
    upstream: Option<Arc<str>>,
    started: Instant,
    phase: RequestPhase,
    /// What of the time before the upstream was asked went into waiting for the body.
    body: Duration,
    queue: Option<Duration>,
    stream: Option<bool>,
    first_token: Option<Instant>,
    answers: Answers,
    /// Its own series of this histogram, so that a token costs no look-up.
    between_tokens: Option<Histogram>,
    status: Option<StatusCode>,
    outcome: Option<&'static str>,
    /// When it was noticed that the caller has gone, while it had a slot.
    left: Option<Instant>,
    is_poll: bool,
    bytes_in: u64,
    bytes_out: u64,
    span: Span,
    /// What the upstream is told: our own span, or the caller's where spans go nowhere.
    traceparent: Option<HeaderValue>,
}

impl Record {
    pub(crate) fn new(
        reporter: &Arc<Reporter>,
        request_id: &RequestId,
        route: &'static str,
    ) -> Self {
        Self {
            reporter: Arc::clone(reporter),
            request_id: request_id.clone(),
            route,
            dialect: Dialect::default(),
            key: NONE.into(),
            caller: None,
            denied: None,
            reservation: None,
            model: NONE.into(),
            upstream: None,
            started: Instant::now(),
            phase: RequestPhase::Reading,
            body: Duration::ZERO,
            queue: None,
            stream: None,
            first_token: None,
            answers: Answers::default(),
            between_tokens: None,
            status: None,
            outcome: None,
            left: None,
            is_poll: false,
            bytes_in: 0,
            bytes_out: 0,
            span: Span::default(),
            traceparent: None,
        }
    }

    /// The record of a request for `api`, with a span below its caller's when that named one.
    pub(crate) fn of(
        reporter: &Arc<Reporter>,
        request_id: &RequestId,
        api: Api,
        headers: &HeaderMap,
    ) -> Self {
        let mut record = Self::new(reporter, request_id, api.path());
        record.dialect = api.dialect();
        let parent = traceparent(headers);
        let named = parent.as_ref().and_then(|parent| parent.to_str().ok());
        record.span = reporter
            .traces
            .server(count::operation(record.route), named);
        let own = record
            .span
            .traceparent()
            .and_then(|own| HeaderValue::try_from(own).ok());
        record.traceparent = own.or(parent);
        record
    }

    /// As whose request the upstream is asked.
    pub(crate) fn identity(&self) -> Asker {
        Asker {
            request_id: self.request_id.clone(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// Whether it waits for its first slot.
    pub(crate) fn is_queued(&self) -> bool {
        self.phase == RequestPhase::Queued
    }

    /// The caller is known, and may have named the request.
    pub(crate) fn adopt_id(&self, headers: &HeaderMap) {
        self.request_id.adopt(headers);
    }

    pub(crate) fn enter(&mut self, phase: RequestPhase) {
        self.phase = phase;
    }

    /// The key was good.
    pub(crate) fn called_by(&mut self, caller: &Arc<Caller>) {
        self.key = Arc::clone(&caller.name);
        self.caller = Some(Arc::clone(caller));
    }

    /// Tokens were charged by estimate; when the record ends, what was used is charged instead.
    pub(crate) fn reserved(&mut self, reservation: Reservation, n_prompt_tokens: u64) {
        self.reservation = Some((reservation, n_prompt_tokens));
    }

    /// The body is here, after waiting this long for it.
    pub(crate) fn body_read(&mut self, waited: Duration, n_bytes: usize) {
        self.body = waited;
        self.bytes_in = n_bytes as u64;
    }

    /// Which model is asked for, by an alias that is served and never by what a caller wrote, and whether for a stream.
    pub(crate) fn asks_for(&mut self, model: &Arc<str>, stream: bool) {
        self.model = Arc::clone(model);
        self.stream = Some(stream);
    }

    /// The request has its slot, after waiting this long.
    pub(crate) fn admitted(&mut self, waited: Duration) {
        self.queue = Some(waited);
        self.phase = RequestPhase::Connecting;
        self.span.event("admitted");
        let label = KeyName {
            key: Arc::clone(&self.key),
        };
        self.reporter
            .metrics
            .queue_wait
            .get_or_create(&label)
            .observe(waited.as_secs_f64());
        self.between_tokens = Some(
            self.reporter
                .metrics
                .between_tokens
                .get_or_create_owned(&self.gen_ai()),
        );
    }

    /// The upstream is asked, now. Asking another one is no overhead of ours.
    pub(crate) fn ask(&mut self, upstream: &str) {
        if self.upstream.replace(upstream.into()).is_none() {
            let waited = self.body + self.queue.unwrap_or_default();
            self.reporter
                .metrics
                .overhead
                .observe(self.started.elapsed().saturating_sub(waited).as_secs_f64());
        }
    }

    /// An upstream computes the answer `at`.
    pub(crate) fn began(&mut self, at: usize) {
        self.answers.begin(at);
        if self.phase == RequestPhase::Connecting {
            self.phase = RequestPhase::Prefilling;
        }
    }

    /// A token of the answer `at` came.
    pub(crate) fn token(&mut self, at: usize, now: Instant) {
        self.reporter.recent.token();
        let last = self.answers.token(at, now);
        if let (Some(last), Some(between)) = (last, &self.between_tokens) {
            between.observe((now - last).as_secs_f64());
        }
        if self.first_token.is_some() {
            return;
        }
        self.first_token = Some(now);
        self.phase = RequestPhase::Streaming;
        self.span.event("first token");
        let after = now - self.started;
        self.reporter.recent.first_token(now, after);
        self.reporter
            .metrics
            .first_token
            .get_or_create(&self.gen_ai())
            .observe(after.as_secs_f64());
    }

    /// What the upstream counted of the answer `at`.
    pub(crate) fn usage(&mut self, at: usize, usage: Usage) {
        self.answers.counted(at, usage);
    }

    /// The answer's header goes out, before its body is there.
    pub(crate) fn begin(&mut self, status: StatusCode) -> HeaderMap {
        self.status = Some(status);
        let mut head = HeaderMap::new();
        self.write(&mut head);
        head
    }

    /// What every answer to a known caller says: where its limits stand, and how long it took so far.
    fn write(&self, head: &mut HeaderMap) {
        if let Some(caller) = &self.caller {
            caller.write_limits(head);
        }
        let Some(queue) = self.queue else { return };
        let ttft = self
            .first_token
            .map(|at| format!(", ttft;dur={}", milliseconds(at - self.started)));
        let timing = format!(
            "queue;dur={}{}",
            milliseconds(queue),
            ttft.unwrap_or_default()
        );
        if let Ok(timing) = HeaderValue::try_from(timing) {
            head.insert("server-timing", timing);
        }
    }

    /// So much of the answer's body was handed over.
    pub(crate) fn sent(&mut self, n_bytes: usize) {
        self.bytes_out += n_bytes as u64;
    }

    /// The last byte was handed over.
    pub(crate) fn complete(&mut self) {
        self.outcome = Some("ok");
    }

    /// The answer ended badly after its header was sent. Returns its last event.
    pub(crate) fn broke(&mut self, error: &Error) -> Bytes {
        self.outcome = Some(error.code());
        error.event(self.dialect)
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
        if let Error::Unauthorized(denied) = error {
            self.denied = Some(denied.clone());
        }
        self.outcome = Some(error.code());
        self.whole(error.response(self.dialect))
    }

    /// Ends a request that was answered at once.
    pub(crate) fn answer(&mut self, response: Response) -> Response {
        self.complete();
        self.whole(response)
    }

    /// Ends a question that is asked again and again and tells nothing: it is counted, and neither logged nor audited.
    pub(crate) fn answer_poll(&mut self, response: Response) -> Response {
        self.is_poll = true;
        self.answer(response)
    }

    fn whole(&mut self, mut response: Response) -> Response {
        self.status = Some(response.status());
        self.bytes_out = response.body().size_hint().exact().unwrap_or_default();
        self.write(response.headers_mut());
        response
    }

    /// Nothing has ended the request: its caller left, or the proxy has a defect.
    fn left(&self) -> &'static str {
        if std::thread::panicking() {
            return Error::Internal.code();
        }
        let metrics = &self.reporter.metrics;
        let phase = self.phase.name();
        metrics.cancellations.get_or_create(&Left { phase }).inc();
        if let Some(left) = self.left {
            metrics.cancel_to_free.observe(left.elapsed().as_secs_f64());
        }
        "client_left"
    }

    fn line(&self, outcome: &'static str, duration: Duration) -> AuditLine<'_> {
        let usage = self.answers.usage();
        AuditLine {
            schema: SCHEMA,
            time: common::telemetry::timestamp(),
            request_id: self.request_id.as_str(),
            key: Some(&*self.key).filter(|name| *name != NONE),
            model: Some(&*self.model).filter(|name| *name != NONE),
            upstream: self.upstream.as_deref(),
            route: self.route,
            stream: self.stream,
            queue_ms: self.queue.map(milliseconds),
            first_token_ms: self.first_token.map(|at| milliseconds(at - self.started)),
            total_ms: milliseconds(duration),
            tokens_in: usage.map(|usage| usage.n_prompt_tokens),
            tokens_cached: usage.and_then(|usage| usage.n_cached_tokens),
            tokens_out: self.answers.n_completion_tokens(),
            outcome,
            status: self.status.map(|status| status.as_u16()),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }

    /// Charges what was used: as the upstream counts it, or the prompt's estimate and the tokens that were seen.
    fn settle(&mut self) {
        if let Some((reservation, n_prompt_tokens)) = &mut self.reservation
            && let Some(n_tokens) = self.answers.n_tokens(*n_prompt_tokens)
        {
            reservation.used(n_tokens);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or_else(|| self.left());
        self.settle();
        let duration = self.started.elapsed();
        self.count(outcome, duration);
        let refused = self.status.is_some_and(|status| !status.is_success());
        self.reporter.recent.request(refused);
        self.end_span(outcome);
        if self.is_poll {
            let request_id = self.request_id.as_str();
            tracing::debug!(request_id, route = self.route, caller = &*self.key, "poll");
            return;
        }
        self.reporter.audit.tell(|| self.line(outcome, duration));
        let usage = self.answers.usage();
        let denied = self.denied.as_ref();
        tracing::info!(
            request_id = self.request_id.as_str(),
            route = self.route,
            caller = &*self.key,
            denied = denied.map(|denied| denied.reason),
            denied_key = denied.and_then(|denied| denied.key.as_deref()),
            outcome,
            phase = self.phase.name(),
            status = self.status.map(|status| status.as_u16()),
            queue_ms = self.queue.map(milliseconds),
            ttft_ms = self.first_token.map(|at| milliseconds(at - self.started)),
            duration_ms = milliseconds(duration),
            n_prompt_tokens = usage.map(|usage| usage.n_prompt_tokens),
            n_completion_tokens = self.answers.n_completion_tokens(),
            "request"
        );
    }
}

/// Milliseconds with three decimals, for people and for `Server-Timing`.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
