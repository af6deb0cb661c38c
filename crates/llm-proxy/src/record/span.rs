//! What a record tells its span, under the names of the OpenTelemetry conventions where those have one.

use super::{Record, milliseconds};
use crate::metrics::PROVIDER;

/// The attributes, in one place, because the conventions still change.
mod names {
    pub(super) const OPERATION: &str = "gen_ai.operation.name";
    pub(super) const PROVIDER: &str = "gen_ai.provider.name";
    pub(super) const MODEL: &str = "gen_ai.request.model";
    pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub(super) const CACHED_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub(super) const ROUTE: &str = "http.route";
    pub(super) const STATUS: &str = "http.response.status_code";
    pub(super) const UPSTREAM: &str = "server.address";
    pub(super) const REQUEST_ID: &str = "llm_proxy.request_id";
    pub(super) const KEY: &str = "llm_proxy.key";
    pub(super) const OUTCOME: &str = "llm_proxy.outcome";
    pub(super) const PHASE: &str = "llm_proxy.phase";
    pub(super) const QUEUE_MS: &str = "llm_proxy.queue_ms";
}

impl Record {
    /// Ends the span: it has its name and its attributes now, because nothing but its place was known before.
    pub(super) fn end_span(&mut self, outcome: &'static str) {
        if !self.span.is_recording() {
            return;
        }
        let operation = super::count::operation(self.route);
        let (_, _, output) = self.counts();
        let span = &mut self.span;
        span.rename(format!("{operation} {}", self.model));
        span.set(names::OPERATION, operation);
        span.set(names::PROVIDER, PROVIDER);
        span.set(names::MODEL, self.model.to_string());
        span.set(names::ROUTE, self.route);
        span.set(names::REQUEST_ID, self.request_id.as_str().to_owned());
        span.set(names::KEY, self.key.to_string());
        span.set(names::OUTCOME, outcome);
        span.set(names::PHASE, self.phase.name());
        span.set(names::OUTPUT_TOKENS, output as i64);
        if let Some(usage) = self.usage {
            span.set(names::INPUT_TOKENS, usage.n_prompt_tokens as i64);
            span.set(names::CACHED_TOKENS, usage.n_cached_tokens.unwrap_or_default() as i64);
        }
        if let Some(queue) = self.queue {
            span.set(names::QUEUE_MS, milliseconds(queue));
        }
        if let Some(upstream) = &self.upstream {
            span.set(names::UPSTREAM, upstream.to_string());
        }
        if let Some(status) = self.status {
            span.set(names::STATUS, i64::from(status.as_u16()));
        }
        if outcome != "ok" {
            span.fail(outcome);
        }
        span.event("end");
    }
}
