//! What a record tells its span, under the names of the OpenTelemetry conventions where those have one.

use super::{Record, milliseconds};
use crate::observe::metrics::PROVIDER;

impl Record {
    /// Ends the span: it has its name and its attributes now, because nothing but its place was known before.
    pub(super) fn end_span(&mut self, outcome: &'static str) {
        if !self.span.is_recording() {
            return;
        }
        let operation = super::count::operation(self.route);
        let output = self.answers.n_completion_tokens();
        let usage = self.answers.usage();
        let span = &mut self.span;
        span.rename(format!("{operation} {}", self.model));
        span.set("gen_ai.operation.name", operation);
        span.set("gen_ai.provider.name", PROVIDER);
        span.set("gen_ai.request.model", self.model.to_string());
        span.set("http.route", self.route);
        span.set("llm_proxy.request_id", self.request_id.as_str().to_owned());
        span.set("llm_proxy.key", self.key.to_string());
        span.set("llm_proxy.outcome", outcome);
        span.set("llm_proxy.phase", self.phase.name());
        span.set("gen_ai.usage.output_tokens", output as i64);
        if let Some(usage) = usage {
            span.set("gen_ai.usage.input_tokens", usage.n_prompt_tokens as i64);
            span.set(
                "gen_ai.usage.cache_read.input_tokens",
                usage.n_cached_tokens.unwrap_or_default() as i64,
            );
        }
        if let Some(queue) = self.queue {
            span.set("llm_proxy.queue_ms", milliseconds(queue));
        }
        if let Some(upstream) = &self.upstream {
            span.set("server.address", upstream.to_string());
        }
        if let Some(status) = self.status {
            span.set("http.response.status_code", i64::from(status.as_u16()));
        }
        if outcome != "ok" {
            span.fail(outcome);
        }
        span.event("end");
    }
}
