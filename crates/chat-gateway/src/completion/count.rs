//! How many tokens a prompt has, as the model itself counts them.
//!
//! llm-proxy counts beside the slots: nothing waits for one, and no cached prompt is touched. The caller has an estimate
//! for when nobody counts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::header;
use serde::Deserialize;

use super::request::{AnswerRequest, SentChat};
use super::{Completions, unanswered};
use crate::error::Failure;
use crate::upstream::read_capped;

/// How long a count may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct InputTokens {
    input_tokens: u32,
}

impl Completions {
    /// The tokens of the prompt of `ask`, as the model counts them. Cancel-safe in that dropping it stops the count.
    ///
    /// # Errors
    ///
    /// When nobody can count within [`COUNT_TIMEOUT`]; [`AnswerRequest::estimate`] is for that.
    ///
    /// # Panics
    ///
    /// Never: strings and numbers always serialise.
    pub(crate) async fn count(&self, ask: &AnswerRequest<'_>) -> Result<u32, Failure> {
        let door = &self.door;
        if !door.counts.load(Ordering::Relaxed) {
            return Err(Failure::Key);
        }
        let body = SentChat::new(ask, &door.config);
        let body = serde_json::to_vec(&body).expect("strings and numbers always serialise");
        let url = format!("{}/chat/completions/input_tokens", door.config.base_url);
        let request = door
            .http
            .post(url)
            .timeout(COUNT_TIMEOUT)
            .bearer_auth(door.config.api_key.expose())
            .header("x-request-id", ask.request_id)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| unanswered(&error))?;
        if !response.status().is_success() {
            let refusal = door.refusal(response).await;
            if refusal.is_for_its_scope() && door.counts.swap(false, Ordering::Relaxed) {
                tracing::warn!(
                    "the key in LLM_API_KEY lacks the scope `tokens`, so the lengths of prompts are estimated: add the \
                     scope to the key in llm-proxy's keys file"
                );
            }
            return Err(refusal.failure);
        }
        let body = read_capped(response)
            .await
            .map_err(|error| unanswered(&error))?;
        let counted: InputTokens =
            serde_json::from_slice(&body).map_err(|_| Failure::Unavailable)?;
        Ok(counted.input_tokens)
    }
}
