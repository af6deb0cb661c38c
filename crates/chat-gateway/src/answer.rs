//! One running answer: the completion behind it, its numbers, and its one line in the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::completion::{Completion, Refusal};
use crate::connection::{Event, Outcome};
use crate::context::Prompt;
use crate::state::Gateway;

/// The outcome of an answer whose socket closed first.
const CLOSED: &str = "closed";

/// A running answer. However it is dropped, upstream stops, and it is counted and logged once.
pub(crate) struct Answer {
    gateway: Arc<Gateway>,
    completion: Completion,
    request_id: String,
    started: Instant,
    first_token: Option<Duration>,
    deltas: u64,
    outcome: &'static str,
}

impl Answer {
    pub(crate) fn begin(gateway: Arc<Gateway>, prompt: &Prompt) -> Self {
        let request_id = Uuid::now_v7().to_string();
        let completion = gateway.completions.ask(prompt, &request_id);
        let started = Instant::now();
        Self { gateway, completion, request_id, started, first_token: None, deltas: 0, outcome: CLOSED }
    }

    /// Asks again with another prompt, as part of the same answer.
    pub(crate) fn again(&mut self, prompt: &Prompt) {
        tracing::debug!(request_id = self.request_id, "the context was full; asking with a shorter history");
        self.completion = self.gateway.completions.ask(prompt, &self.request_id);
    }

    /// What comes next from upstream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        let event = self.completion.next().await;
        if let Event::Delta(_) = event {
            self.deltas += 1;
            self.gateway.metrics.deltas.inc();
            if self.first_token.is_none() {
                let first_token = self.started.elapsed();
                self.gateway.metrics.first_token.observe(first_token.as_secs_f64());
                self.first_token = Some(first_token);
            }
        }
        event
    }

    /// Ends it.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome.label();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.gateway.metrics.answered(self.outcome);
        let refusal = self.completion.refusal();
        tracing::info!(
            request_id = self.request_id,
            outcome = self.outcome,
            ttft_ms = self.first_token.map(millis),
            duration_ms = millis(self.started.elapsed()),
            deltas = self.deltas,
            upstream_status = refusal.and_then(|refusal| refusal.status),
            upstream_code = refusal.and_then(Refusal::code),
            "answer"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
