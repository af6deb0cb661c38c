//! A completion out of its chunks, for chats and for `/v1/completions`.

use llama_client::events::Text;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::Error;

/// One chunk of llama-server's. Fields that only a stream needs are left out.
#[derive(Deserialize)]
pub(super) struct CompletionChunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
    system_fingerprint: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    timings: Option<&'a RawValue>,
    /// Each upstream is asked for one.
    #[serde(default)]
    choices: Vec<CompletionChoice>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    /// The words of `/v1/completions`, which knows no messages.
    text: Option<String>,
    delta: Option<CompletionDelta>,
    logprobs: Option<Map<String, Value>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct CompletionDelta {
    role: Option<String>,
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: u64,
    id: Option<String>,
    r#type: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

/// What has come so far of a completion.
#[derive(Debug, Default)]
pub(super) struct WholeCompletion {
    head: CompletionHead,
    role: Option<String>,
    content: Option<String>,
    /// The words of `/v1/completions`.
    text: Option<String>,
    reasoning: Option<String>,
    tool_calls: Vec<ToolCall>,
    logprobs: Map<String, Value>,
    finish_reason: Option<String>,
}

/// What is not of one choice: the last of each.
#[derive(Debug, Default)]
struct CompletionHead {
    id: Option<Box<RawValue>>,
    created: Option<Box<RawValue>>,
    model: Option<Box<RawValue>>,
    system_fingerprint: Option<Box<RawValue>>,
    usage: Option<Box<RawValue>>,
    timings: Option<Box<RawValue>>,
}

#[derive(Debug, Default)]
struct ToolCall {
    index: u64,
    id: Option<String>,
    r#type: Option<String>,
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

    pub(super) fn add(&mut self, chunk: CompletionChunk<'_>) {
        let head = &mut self.head;
        keep(&mut head.id, chunk.id);
        keep(&mut head.created, chunk.created);
        keep(&mut head.model, chunk.model);
        keep(&mut head.system_fingerprint, chunk.system_fingerprint);
        keep(&mut head.usage, chunk.usage);
        keep(&mut head.timings, chunk.timings);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return;
        };
        append(&mut self.text, choice.text);
        if let Some(delta) = choice.delta {
            self.role = delta.role.or(self.role.take());
            append(&mut self.content, delta.content);
            append(&mut self.reasoning, delta.reasoning_content);
            for call in delta.tool_calls.unwrap_or_default() {
                self.tool_call(call);
            }
        }
        for (name, value) in choice.logprobs.unwrap_or_default() {
            match (self.logprobs.get_mut(&name), value) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
                (_, value) => drop(self.logprobs.insert(name, value)),
            }
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
    }

    fn tool_call(&mut self, call: CallDelta) {
        let known = self
            .tool_calls
            .iter()
            .position(|known| known.index == call.index);
        let at = known.unwrap_or_else(|| {
            self.tool_calls.push(ToolCall {
                index: call.index,
                ..ToolCall::default()
            });
            self.tool_calls.len() - 1
        });
        let known = &mut self.tool_calls[at];
        known.id = call.id.or(known.id.take());
        known.r#type = call.r#type.or(known.r#type.take());
        if let Some(function) = call.function {
            known.name.push_str(&function.name);
            known.arguments.push_str(&function.arguments);
        }
    }

    pub(super) fn end(self) -> Result<Value, Error> {
        // Texts are moved into their places: `json!` would copy them.
        let finish_reason = self.finish_reason.ok_or(Error::UpstreamTruncated)?;
        let logprobs = if self.logprobs.is_empty() {
            Value::Null
        } else {
            self.logprobs.into()
        };
        if let Some(text) = self.text {
            let mut choice = json!({"index": 0, "finish_reason": finish_reason});
            choice["text"] = text.into();
            choice["logprobs"] = logprobs;
            return self.head.complete("text_completion", choice);
        }
        let mut message = json!({"role": self.role.as_deref().unwrap_or("assistant")});
        let no_words = self.content.is_none() && self.tool_calls.is_empty();
        message["content"] = self.content.or_else(|| no_words.then(String::new)).into();
        if let Some(reasoning) = self.reasoning {
            message["reasoning_content"] = reasoning.into();
        }
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = self.tool_calls.into_iter().map(ToolCall::end).collect();
        }
        let mut choice = json!({"index": 0, "finish_reason": finish_reason});
        choice["message"] = message;
        choice["logprobs"] = logprobs;
        self.head.complete("chat.completion", choice)
    }
}

impl CompletionHead {
    fn complete(self, object: &str, choice: Value) -> Result<Value, Error> {
        let mut whole = json!({"object": object});
        whole["choices"] = Value::Array(vec![choice]);
        for (name, value) in [
            ("id", self.id),
            ("created", self.created),
            ("model", self.model),
            ("system_fingerprint", self.system_fingerprint),
            ("usage", self.usage),
            ("timings", self.timings),
        ] {
            if let Some(value) = value {
                whole[name] =
                    serde_json::from_str(value.get()).map_err(|_| Error::UpstreamInvalid)?;
            }
        }
        Ok(whole)
    }
}

impl ToolCall {
    fn end(self) -> Value {
        let mut call = json!({"function": {"name": self.name, "arguments": self.arguments}});
        if let Some(id) = self.id {
            call["id"] = id.into();
        }
        if let Some(kind) = self.r#type {
            call["type"] = kind.into();
        }
        call
    }
}

/// Most chunks repeat what those before them said.
fn keep(kept: &mut Option<Box<RawValue>>, value: Option<&RawValue>) {
    let Some(value) = value else { return };
    if kept.as_ref().is_none_or(|kept| kept.get() != value.get()) {
        *kept = Some(value.to_owned());
    }
}

fn append(text: &mut Option<String>, more: Option<String>) {
    let Some(more) = more else { return };
    match text {
        Some(text) => text.push_str(&more),
        None => *text = Some(more),
    }
}
