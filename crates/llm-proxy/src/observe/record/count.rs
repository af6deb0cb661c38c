//! What a record tells the metrics.

use std::sync::Arc;
use std::time::Duration;

use super::Record;
use crate::observe::metrics::{Ending, GenAi, GenAiEnding, GenAiTokens, PROVIDER, Tokens};

impl Record {
    /// Counts a request that has ended.
    pub(super) fn count(&self, outcome: &'static str, duration: Duration) {
        let status = match self.status.map(|status| status.as_u16() / 100) {
            Some(2) => "2xx",
            Some(4) => "4xx",
            Some(_) => "5xx",
            None => "",
        };
        let ending = Ending {
            route: self.route,
            key: Arc::clone(&self.key),
            model: Arc::clone(&self.model),
            outcome,
            status,
        };
        self.reporter.metrics.requests.get_or_create(&ending).inc();
        if self.queue.is_some() {
            self.count_admitted(duration, outcome);
        }
    }

    pub(super) fn gen_ai(&self) -> GenAi {
        GenAi {
            gen_ai_operation_name: operation(self.route),
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: Arc::clone(&self.model),
        }
    }

    /// Counts what the upstream counted, or what was seen of an answer that ended before.
    fn count_tokens(&self) {
        let usage = self.answers.usage();
        let counted = usage.unwrap_or_default();
        let input = counted.n_prompt_tokens;
        let cached = counted.n_cached_tokens.unwrap_or(0);
        let output = self.answers.n_completion_tokens();
        for (kind, n) in [
            ("prompt", input),
            ("cached", cached),
            ("completion", output),
        ] {
            let label = Tokens {
                key: Arc::clone(&self.key),
                model: Arc::clone(&self.model),
                kind,
            };
            self.reporter.metrics.tokens.get_or_create(&label).inc_by(n);
        }
        if usage.is_none() {
            return;
        }
        for (gen_ai_token_type, n) in [("input", input), ("output", output)] {
            let label = GenAiTokens {
                gen_ai: self.gen_ai(),
                gen_ai_token_type,
            };
            self.reporter
                .metrics
                .usage
                .get_or_create(&label)
                .observe(n as f64);
        }
    }

    /// Tells the metrics about a request that had a slot.
    fn count_admitted(&self, duration: Duration, outcome: &'static str) {
        self.count_tokens();
        let gen_ai = self.gen_ai();
        if outcome == "ok" {
            let per_token = self.reporter.metrics.per_token.get_or_create(&gen_ai);
            for mean in self.answers.means() {
                per_token.observe(mean.as_secs_f64());
            }
        }
        let error_type = if outcome == "ok" { "" } else { outcome };
        let label = GenAiEnding { gen_ai, error_type };
        self.reporter
            .metrics
            .duration
            .get_or_create(&label)
            .observe(duration.as_secs_f64());
    }
}

/// `gen_ai.operation.name` of a route.
pub(super) fn operation(route: &str) -> &'static str {
    match route {
        "/v1/completions" => "text_completion",
        "/v1/embeddings" => "embeddings",
        _ => "chat",
    }
}
