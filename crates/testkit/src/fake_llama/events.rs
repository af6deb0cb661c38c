//! The events of one answer, in the words that llama-server has for each route.
//!
//! A script's deltas are those of a chat; the other two routes tell their text, reasoning and tool calls in their own way.

use serde_json::{Value, json};

use super::script::Script;

const RESPONSE: &str = "resp_fake";
const ITEM: &str = "msg_fake";

/// One answer under way.
pub(super) struct Events<'a> {
    route: Route,
    alias: &'a str,
    script: &'a Script,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Chat,
    Responses,
    Messages,
}

impl<'a> Events<'a> {
    pub(super) fn new(line: &str, alias: &'a str, script: &'a Script) -> Self {
        let route = match line {
            "POST /v1/responses" => Route::Responses,
            "POST /v1/messages" => Route::Messages,
            _ => Route::Chat,
        };
        Self {
            route,
            alias,
            script,
        }
    }

    /// How far the prefill is; messages do not tell it.
    pub(super) fn progress(&self, processed: u32) -> String {
        let progress = json!({"total": 7, "cache": 0, "processed": processed, "time_ms": 1});
        match self.route {
            Route::Chat => {
                let mut event =
                    self.chunk(&json!({"role": "assistant", "content": null}), &Value::Null);
                event["prompt_progress"] = progress;
                format!("data: {event}\n\n")
            }
            Route::Responses => {
                let response =
                    json!({"id": RESPONSE, "object": "response", "status": "in_progress"});
                named(
                    &json!({"type": "response.in_progress", "response": response, "prompt_progress": progress}),
                )
            }
            Route::Messages => String::new(),
        }
    }

    /// What comes before the first token.
    pub(super) fn opening(&self) -> Vec<String> {
        match self.route {
            Route::Chat => {
                let role = self.chunk(&json!({"role": "assistant", "content": null}), &Value::Null);
                vec![format!("data: {role}\n\n")]
            }
            Route::Responses => {
                let response =
                    json!({"id": RESPONSE, "object": "response", "status": "in_progress"});
                let item = json!({"content": [], "id": ITEM, "role": "assistant", "status": "in_progress", "type": "message"});
                let part = json!({"type": "output_text", "text": ""});
                [
                    json!({"type": "response.created", "response": response}),
                    json!({"type": "response.output_item.added", "item": item}),
                    json!({"type": "response.content_part.added", "item_id": ITEM, "part": part}),
                ]
                .iter()
                .map(named)
                .collect()
            }
            Route::Messages => {
                let usage = json!({"cache_read_input_tokens": self.script.cached,
                    "input_tokens": 7 - self.script.cached, "output_tokens": 0});
                let message = json!({"id": "chatcmpl-fake", "type": "message", "role": "assistant", "content": [],
                    "model": self.alias, "stop_reason": null, "stop_sequence": null, "usage": usage});
                vec![named(&json!({"type": "message_start", "message": message}))]
            }
        }
    }

    /// The token `n`.
    pub(super) fn delta(&self, n: usize) -> String {
        let delta = &self.script.deltas[n];
        match self.route {
            Route::Chat => format!("data: {}\n\n", self.chunk(delta, &Value::Null)),
            Route::Responses => named(
                &json!({"type": "response.output_text.delta", "item_id": ITEM, "delta": delta["content"]}),
            ),
            Route::Messages => {
                let (index, kind, name, text) = match &delta["reasoning_content"] {
                    Value::Null => (self.text_index(), "text", "text_delta", &delta["content"]),
                    thought => (0, "thinking", "thinking_delta", thought),
                };
                let begins =
                    n == 0 || (kind == "text" && !self.script.deltas[n - 1]["content"].is_string());
                let start = json!({"type": "content_block_start", "index": index, "content_block": {"type": kind, kind: ""}});
                let delta = json!({"type": "content_block_delta", "index": index, "delta": {"type": name, kind: text}});
                if begins {
                    named(&start) + &named(&delta)
                } else {
                    named(&delta)
                }
            }
        }
    }

    /// What comes after the last token.
    pub(super) fn ending(&self, wants_usage: bool) -> Vec<String> {
        let n_tokens = self.script.deltas.len();
        let cached = self.script.cached;
        match self.route {
            Route::Chat => {
                let mut events = vec![self.chunk(&json!({}), &json!(self.script.finish_reason))];
                if wants_usage {
                    let mut last = self.chunk(&json!({}), &Value::Null);
                    last["choices"] = json!([]);
                    last["usage"] = usage(self.script);
                    last["timings"] =
                        json!({"cache_n": cached, "prompt_n": 7 - cached, "predicted_n": n_tokens});
                    if let Some(speed) = self.script.tokens_per_second {
                        last["timings"]["predicted_per_second"] = json!(speed);
                    }
                    events.push(last);
                }
                let events = events.iter().map(|event| format!("data: {event}\n\n"));
                events.chain(["data: [DONE]\n\n".to_owned()]).collect()
            }
            Route::Responses => {
                let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": self.text("content")});
                let item = json!({"type": "message", "status": "completed", "id": ITEM, "content": [part], "role": "assistant"});
                let usage = json!({"input_tokens": 7, "output_tokens": n_tokens, "total_tokens": 7 + n_tokens,
                    "input_tokens_details": {"cached_tokens": cached}});
                let response = json!({"id": RESPONSE, "object": "response", "created_at": 1_795_359_974_u64,
                    "status": "completed", "model": self.alias, "output": [item], "usage": usage});
                let timings =
                    json!({"cache_n": cached, "prompt_n": 7 - cached, "predicted_n": n_tokens});
                [
                    json!({"type": "response.output_text.done", "item_id": ITEM, "text": self.text("content")}),
                    json!({"type": "response.content_part.done", "item_id": ITEM, "part": part}),
                    json!({"type": "response.output_item.done", "item": item}),
                    json!({"type": "response.completed", "response": response, "timings": timings}),
                ]
                .iter()
                .map(named)
                .collect()
            }
            Route::Messages => {
                let reason = if self.script.finish_reason == "length" {
                    "max_tokens"
                } else {
                    "end_turn"
                };
                let stop = json!({"type": "content_block_stop", "index": self.text_index()});
                let end = json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
                    "usage": {"output_tokens": n_tokens}});
                [stop, end, json!({"type": "message_stop"})]
                    .iter()
                    .map(named)
                    .collect()
            }
        }
    }

    /// An error in the middle of the answer.
    pub(super) fn error(&self, message: &str) -> String {
        let error = json!({"code": 500, "message": message, "type": "server_error"});
        if self.route == Route::Messages {
            format!("event: error\ndata: {error}\n\n")
        } else {
            format!("data: {}\n\n", json!({"error": error}))
        }
    }

    /// All that the deltas hold under `name`.
    pub(super) fn text(&self, name: &str) -> String {
        self.script
            .deltas
            .iter()
            .filter_map(|delta| delta[name].as_str())
            .collect()
    }

    fn text_index(&self) -> u32 {
        u32::from(!self.text("reasoning_content").is_empty())
    }

    fn chunk(&self, delta: &Value, finish_reason: &Value) -> Value {
        json!({
            "choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}],
            "created": 1_795_359_974_u64, "id": "chatcmpl-fake", "model": self.alias,
            "system_fingerprint": "b0-unknown", "object": "chat.completion.chunk",
        })
    }
}

/// What a chat says it took.
pub(super) fn usage(script: &Script) -> Value {
    let tokens = script.deltas.len();
    let prompt = script.prompt_tokens;
    json!({"completion_tokens": tokens, "prompt_tokens": prompt, "total_tokens": tokens + prompt,
        "prompt_tokens_details": {"cached_tokens": script.cached}})
}

fn named(event: &Value) -> String {
    format!(
        "event: {}\ndata: {event}\n\n",
        event["type"].as_str().unwrap_or_default()
    )
}
