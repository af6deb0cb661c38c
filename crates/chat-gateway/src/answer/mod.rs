//! One running answer: the completion behind it, its numbers, its one line in the log, and its span.

pub(crate) mod task;
pub mod written;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::traces::Span;
use tokio::time::Instant;
use uuid::Uuid;

use crate::completion::{AnswerRequest, Completion, UpstreamRefusal};
use crate::connection::Outcome;
use crate::event::Event;
use crate::state::Gateway;

/// The outcome of an answer whose socket closed first.
const CLOSED: &str = "closed";

/// A running answer. However it is dropped, upstream stops, and it is counted and logged once.
pub(crate) struct Answer {
    gateway: Arc<Gateway>,
    completion: Completion,
    /// How often the completion had been asked for when that was last told.
    n_asks: u32,
    request_id: String,
    started: Instant,
    first_token: Option<Duration>,
    deltas: u64,
    /// Whether a piece of it has come. What llm-proxy tells of the wait may be read after that.
    has_begun: bool,
    /// While it waits for the model.
    queued: Option<WaitsForModel>,
    /// `None` until it was ended by something else than its socket's closing.
    outcome: Option<Outcome>,
    span: Span,
}

impl Answer {
    /// Asks. The request's id and the span are the answer's own.
    pub(crate) fn begin(gateway: Arc<Gateway>, ask: AnswerRequest<'_>) -> Self {
        let request_id = Uuid::now_v7().to_string();
        let span = gateway.traces.client("chat", None);
        let completion = completion(&gateway, ask, &request_id, &span);
        let started = Instant::now();
        Self {
            gateway,
            completion,
            n_asks: 1,
            request_id,
            started,
            first_token: None,
            deltas: 0,
            has_begun: false,
            queued: None,
            outcome: None,
            span,
        }
    }

    /// Asks again with another prompt, as part of the same answer.
    pub(crate) fn again(&mut self, ask: AnswerRequest<'_>) {
        tracing::debug!(
            request_id = self.request_id,
            "the context was full; asking with a shorter history"
        );
        self.span.event("asked again");
        self.replace(ask);
    }

    /// Asks for the rest of it after its engine was lost, as part of the same answer.
    pub(crate) fn go_on(&mut self, ask: AnswerRequest<'_>) {
        let refusal = self.completion.refusal();
        tracing::info!(
            request_id = self.request_id,
            upstream_code = refusal.and_then(UpstreamRefusal::code),
            "the engine was lost before the answer was complete; asking another for the rest"
        );
        self.gateway.metrics.continued.inc();
        self.span.event("continued");
        self.has_begun = false;
        self.replace(ask);
    }

    fn replace(&mut self, ask: AnswerRequest<'_>) {
        self.completion = completion(&self.gateway, ask, &self.request_id, &self.span);
        self.n_asks = 1;
    }

    /// What comes next from upstream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        let event = self.completion.next().await;
        for _ in self.n_asks..self.completion.n_asks() {
            self.span.event("asked again");
            self.n_asks += 1;
        }
        match event {
            Event::Queued { .. } if self.queued.is_none() && !self.has_begun => {
                self.queued = Some(WaitsForModel::count(&self.gateway));
            }
            Event::Queued { .. } | Event::Loading => {}
            Event::Text(_) | Event::Reasoning(_) => {
                self.has_begun = true;
                self.queued = None;
            }
            _ => self.queued = None,
        }
        if let Event::Text(_) = event {
            self.deltas += 1;
            self.gateway.metrics.deltas.inc();
            if self.first_token.is_none() {
                let first_token = self.started.elapsed();
                self.gateway
                    .metrics
                    .first_token
                    .observe(first_token.as_secs_f64());
                self.first_token = Some(first_token);
                self.span.event("first token");
            }
        }
        event
    }

    /// Whether answers beside this one wait for the model.
    pub(crate) fn others_wait(&self) -> bool {
        let itself = usize::from(self.queued.is_some());
        self.gateway.waiting_for_model.load(Ordering::Relaxed) > itself
    }

    /// Ends it.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Gives the span what was not known at its beginning; it ends with the answer. Names, counts and ids, never words.
    fn end_span(&mut self, outcome: &'static str) {
        let span = &mut self.span;
        if !span.is_recording() {
            return;
        }
        let model = &self.gateway.config.model;
        span.rename(format!("chat {model}"));
        span.set("gen_ai.operation.name", "chat");
        span.set("gen_ai.request.model", model.clone());
        span.set("chat_gateway.request_id", self.request_id.clone());
        span.set("chat_gateway.outcome", outcome);
        span.set(
            "chat_gateway.deltas",
            i64::try_from(self.deltas).unwrap_or(i64::MAX),
        );
        let refusal = self.completion.refusal();
        if let Some(status) = refusal.and_then(|refusal| refusal.status) {
            span.set("http.response.status_code", i64::from(status));
        }
        if let Some(code) = refusal.and_then(UpstreamRefusal::code) {
            span.set("chat_gateway.upstream_code", code.to_owned());
        }
        // That somebody has read enough is no failure.
        if let Some(Outcome::Failed(failure)) = self.outcome {
            span.fail(failure.label());
        }
        span.event("end");
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let outcome = self.outcome.map_or(CLOSED, Outcome::label);
        self.gateway.metrics.answered(outcome);
        self.end_span(outcome);
        let refusal = self.completion.refusal();
        tracing::info!(
            request_id = self.request_id,
            outcome,
            ttft_ms = self.first_token.map(millis),
            duration_ms = millis(self.started.elapsed()),
            deltas = self.deltas,
            upstream_status = refusal.and_then(|refusal| refusal.status),
            upstream_code = refusal.and_then(UpstreamRefusal::code),
            "answer"
        );
    }
}

/// Counts an answer among those that wait for the model.
struct WaitsForModel(Arc<Gateway>);

impl WaitsForModel {
    fn count(gateway: &Arc<Gateway>) -> Self {
        gateway.waiting_for_model.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gateway))
    }
}

impl Drop for WaitsForModel {
    fn drop(&mut self) {
        self.0.waiting_for_model.fetch_sub(1, Ordering::Relaxed);
    }
}

fn completion(
    gateway: &Gateway,
    ask: AnswerRequest<'_>,
    request_id: &str,
    span: &Span,
) -> Completion {
    gateway.completions.ask(&AnswerRequest {
        request_id,
        traceparent: span.traceparent(),
        ..ask
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
