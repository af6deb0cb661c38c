//! Why upstream refused or failed, as far as operators may know: a status and a code, never its words.

use serde_json::Value;

use crate::error::{Failure, Overflow};

/// The longest upstream error code that is logged, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// llm-proxy's code for a key that may not do what was asked.
const SCOPE_MISSING: &str = "scope_missing";

/// llm-proxy's codes for an engine that was lost: its connection broke, or ended before the answer did.
const ENGINE_LOST: [&str; 2] = ["upstream_disconnected", "upstream_truncated"];

/// What an upstream said when it refused or failed: never its words, which may hold anything.
#[derive(Clone, Debug, thiserror::Error)]
#[error("upstream failed: {} (status {status:?}, code {code:?})", failure.label())]
pub(crate) struct UpstreamRefusal {
    pub(super) failure: Failure,
    pub(crate) status: Option<u16>,
    code: Option<String>,
}

impl UpstreamRefusal {
    /// Whether the key may not do what was asked.
    pub(super) fn is_for_its_scope(&self) -> bool {
        self.code() == Some(SCOPE_MISSING)
    }

    /// Upstream's own name for the error.
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(super) const fn plain(failure: Failure) -> Self {
        Self {
            failure,
            status: None,
            code: None,
        }
    }

    /// Reads the `error` of a body or of an event; `status` is `None` in the middle of an answer.
    pub(super) fn read(status: Option<u16>, error: &Value) -> Self {
        let kind = word(error, "type");
        let code = word(error, "code");
        let words = format!("{kind} {code}");
        let failure = match status {
            _ if words.contains("exceed_context_size")
                || words.contains("context_length_exceeded") =>
            {
                Failure::ContextFull(overflow(error))
            }
            _ if ENGINE_LOST.contains(&code.as_str()) => Failure::EngineLost,
            Some(413) => Failure::ContextFull(None),
            Some(401 | 403) => Failure::Key,
            Some(404) => Failure::UnknownModel,
            _ if words.contains("loading") || error["message"] == "Loading model" => {
                Failure::Loading
            }
            Some(429) => Failure::Busy,
            _ if words.contains("queue") => Failure::Busy,
            Some(408 | 504) => Failure::TimedOut,
            _ if words.contains("timeout") => Failure::TimedOut,
            Some(400..=499) => Failure::Rejected,
            Some(_) => Failure::Unavailable,
            None => Failure::Interrupted,
        };
        let code = if code.is_empty() || code == "null" {
            kind
        } else {
            code
        };
        Self {
            failure,
            status,
            code: Some(code).filter(|code| is_plain(code)),
        }
    }
}

/// A field that is a name for some and a number for others.
fn word(error: &Value, field: &str) -> String {
    match &error[field] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn overflow(error: &Value) -> Option<Overflow> {
    Some(Overflow {
        n_prompt_tokens: error["n_prompt_tokens"].as_u64()?,
        n_ctx: error["n_ctx"].as_u64()?,
    })
}

/// Whether a code may be logged: a name or a number, not a sentence.
fn is_plain(code: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::UpstreamRefusal;
    use crate::error::{Failure, Overflow};

    #[test]
    fn an_error_in_the_middle_of_an_answer_says_what_failed() {
        for (error, failure) in [
            (
                json!({"code": 500, "message": "Compute error.", "type": "server_error"}),
                Failure::Interrupted,
            ),
            (
                json!({"code": "upstream_failed", "type": "server_error"}),
                Failure::Interrupted,
            ),
            (
                json!({"code": "upstream_disconnected", "type": "server_error"}),
                Failure::EngineLost,
            ),
            (
                json!({"code": "upstream_truncated", "type": "server_error"}),
                Failure::EngineLost,
            ),
            (
                json!({"code": "token_timeout", "type": "server_error"}),
                Failure::TimedOut,
            ),
            (
                json!({"code": "queue_timeout", "type": "server_error"}),
                Failure::Busy,
            ),
            (json!("raw words"), Failure::Interrupted),
            (
                json!({"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}),
                Failure::ContextFull(Some(Overflow {
                    n_prompt_tokens: 5000,
                    n_ctx: 4096,
                })),
            ),
        ] {
            assert_eq!(
                UpstreamRefusal::read(None, &error).failure,
                failure,
                "{error}"
            );
        }
    }

    #[test]
    fn a_code_is_kept_for_the_log_only_when_it_is_no_sentence() {
        for (code, kept) in [
            ("queue_full", Some("queue_full")),
            ("no slot: \"hello\"", None),
            ("", None),
        ] {
            let refusal = UpstreamRefusal::read(None, &json!({"code": code}));
            assert_eq!(refusal.code(), kept);
        }
    }
}
