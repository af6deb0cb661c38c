//! Several answers to one request as one stream of chunks.
//!
//! Each upstream gives its only choice the index 0 and its answer an id of its own. In the caller's stream the choices
//! have indices that differ and all chunks have one id, so these events are written anew.

use bytes::BytesMut;
use llama_client::events::{Kind, Usage, data};
use serde_json::{Map, Value, json};

/// What all chunks of the stream have in common, from the first one that came.
#[derive(Debug, Default)]
pub(super) struct Merge {
    head: Map<String, Value>,
}

impl Merge {
    /// Writes an event of the answer `at` to `batch`. What only one answer can say is left for [`Merge::end`].
    pub(super) fn add(&mut self, at: usize, kind: Kind, event: &[u8], batch: &mut BytesMut) {
        if matches!(kind, Kind::Done | Kind::Usage) {
            return;
        }
        let Ok(mut chunk) = serde_json::from_slice::<Map<String, Value>>(&data(event)) else {
            // A comment.
            batch.extend_from_slice(event);
            return;
        };
        if self.head.is_empty() {
            for name in ["id", "object", "created", "model", "system_fingerprint"] {
                if let Some(value) = chunk.get(name) {
                    self.head.insert(name.to_owned(), value.clone());
                }
            }
        }
        chunk.remove("usage");
        chunk.remove("timings");
        for choice in chunk
            .get_mut("choices")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            choice["index"] = at.into();
        }
        chunk.extend(self.head.clone());
        write(&chunk.into(), batch);
    }

    /// Writes the end of the stream: the tokens of all answers, if the caller wants them, and `[DONE]`.
    pub(super) fn end(&self, include_usage: bool, usage: Usage, batch: &mut BytesMut) {
        if include_usage {
            let mut chunk = self.head.clone();
            chunk.insert("choices".to_owned(), json!([]));
            let total = usage.n_prompt_tokens + usage.n_completion_tokens;
            let counts = json!({
                "prompt_tokens": usage.n_prompt_tokens,
                "completion_tokens": usage.n_completion_tokens,
                "total_tokens": total,
                "prompt_tokens_details": {"cached_tokens": usage.n_cached_tokens.unwrap_or(0)},
            });
            chunk.insert("usage".to_owned(), counts);
            write(&chunk.into(), batch);
        }
        batch.extend_from_slice(b"data: [DONE]\n\n");
    }
}

fn write(chunk: &Value, batch: &mut BytesMut) {
    batch.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
}
