//! A completion out of its chunks, for chats and for `/v1/completions`.

use llama_client::events::Text;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// What has come so far of a completion.
#[derive(Debug, Default)]
pub(super) struct WholeCompletion {
    /// `id`, `created`, `model`, `system_fingerprint`, `usage`, `timings`: the last of each.
    head: Map<String, Value>,
    message: Map<String, Value>,
    content: Option<String>,
    /// The words of `/v1/completions`, which knows no messages.
    text: Option<String>,
    reasoning: Option<String>,
    tool_calls: Vec<ToolCall>,
    logprobs: Map<String, Value>,
    finish_reason: Option<Value>,
}

#[derive(Debug, Default)]
struct ToolCall {
    index: u64,
    head: Map<String, Value>,
    name: String,
    arguments: String,
}

impl WholeCompletion {
    /// Adds an event that holds nothing but `text`.
    pub(super) fn text(&mut self, event: &[u8], text: &Text) -> Result<(), Error> {
        let to = if text.is_reasoning {
            &mut self.reasoning
        } else {
            &mut self.content
        }
        .get_or_insert_default();
        if text.is_escaped {
            let quoted = &event[text.at.start - 1..=text.at.end];
            to.push_str(
                &serde_json::from_slice::<String>(quoted).map_err(|_| Error::UpstreamInvalid)?,
            );
        } else {
            to.push_str(
                std::str::from_utf8(&event[text.at.clone()]).map_err(|_| Error::UpstreamInvalid)?,
            );
        }
        Ok(())
    }

    pub(super) fn add(&mut self, mut chunk: Map<String, Value>) {
        for name in [
            "id",
            "created",
            "model",
            "system_fingerprint",
            "usage",
            "timings",
        ] {
            if let Some(value) = chunk.remove(name).filter(|value| !value.is_null()) {
                self.head.insert(name.to_owned(), value);
            }
        }
        // Each upstream is asked for one choice.
        let Some(Value::Array(choices)) = chunk.remove("choices") else {
            return;
        };
        let Some(Value::Object(mut choice)) = choices.into_iter().next() else {
            return;
        };
        if let Some(Value::String(text)) = choice.remove("text") {
            self.text.get_or_insert_default().push_str(&text);
        }
        if let Some(Value::Object(delta)) = choice.remove("delta") {
            self.delta(delta);
        }
        if let Some(Value::Object(logprobs)) = choice.remove("logprobs") {
            for (name, value) in logprobs {
                match (self.logprobs.get_mut(&name), value) {
                    (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
                    (_, value) => drop(self.logprobs.insert(name, value)),
                }
            }
        }
        if let Some(reason) = choice
            .remove("finish_reason")
            .filter(|reason| !reason.is_null())
        {
            self.finish_reason = Some(reason);
        }
    }

    fn delta(&mut self, delta: Map<String, Value>) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("content", Value::String(text)) => {
                    self.content.get_or_insert_default().push_str(&text);
                }
                ("reasoning_content", Value::String(text)) => {
                    self.reasoning.get_or_insert_default().push_str(&text);
                }
                ("tool_calls", Value::Array(calls)) => {
                    calls.into_iter().for_each(|call| self.tool_call(call));
                }
                (_, value) => drop(self.message.insert(name, value)),
            }
        }
    }

    fn tool_call(&mut self, call: Value) {
        let Value::Object(call) = call else { return };
        let index = call
            .get("index")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let at = self
            .tool_calls
            .iter()
            .position(|known| known.index == index)
            .unwrap_or_else(|| {
                self.tool_calls.push(ToolCall {
                    index,
                    ..ToolCall::default()
                });
                self.tool_calls.len() - 1
            });
        let known = &mut self.tool_calls[at];
        for (name, value) in call {
            match (name.as_str(), value) {
                ("index", _) => {}
                ("function", Value::Object(function)) => {
                    known.name.push_str(text(&function, "name"));
                    known.arguments.push_str(text(&function, "arguments"));
                }
                (_, value) => drop(known.head.insert(name, value)),
            }
        }
    }

    pub(super) fn end(self) -> Result<Value, Error> {
        let finish_reason = self.finish_reason.ok_or(Error::UpstreamTruncated)?;
        let logprobs = if self.logprobs.is_empty() {
            Value::Null
        } else {
            self.logprobs.into()
        };
        if let Some(text) = self.text {
            let choice = json!({"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish_reason});
            let mut whole = json!({"object": "text_completion", "choices": [choice]});
            if let Value::Object(whole) = &mut whole {
                whole.extend(self.head);
            }
            return Ok(whole);
        }
        let mut message = self.message;
        message.entry("role").or_insert_with(|| json!("assistant"));
        let no_words = self.content.is_none() && self.tool_calls.is_empty();
        message.insert(
            "content".to_owned(),
            self.content.or_else(|| no_words.then(String::new)).into(),
        );
        if let Some(reasoning) = self.reasoning {
            message.insert("reasoning_content".to_owned(), reasoning.into());
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.into_iter().map(|mut call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                call.head.insert("function".to_owned(), function);
                Value::Object(call.head)
            });
            message.insert("tool_calls".to_owned(), calls.collect());
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish_reason});
        choice["logprobs"] = logprobs;
        let mut whole = json!({"object": "chat.completion", "choices": [choice]});
        if let Value::Object(whole) = &mut whole {
            whole.extend(self.head);
        }
        Ok(whole)
    }
}

/// The text `name` in `object`; empty where there is none.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
