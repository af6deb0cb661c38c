//! Puts a streamed answer together again for a caller that did not ask for a stream.
//!
//! The upstream is always asked for a stream, because llama-server notices only there that its client has gone. What
//! comes out is one object in the words of the API that was asked; without the event that ends an answer and a reason for
//! its end there is none.

use serde_json::{Map, Value, json};

use crate::answer::relay::{Answer, Step};
use crate::api::Dialect;
use crate::error::Error;
use llama_client::events::{Kind, Text, data};

mod message;

use message::Message;

/// The most bytes of events that are put together: 8,192 tokens with 20 alternatives each.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Reads the answer to its end. Cancel-safe in that a dropped call drops nothing but what it read.
pub(crate) async fn whole(dialect: Dialect, answer: &mut Answer) -> Result<Value, Error> {
    match dialect {
        Dialect::Chat => {
            let mut completion = Completion::default();
            read(answer, |_, event, text| match text {
                Some(text) => completion.text(event, text),
                None => object(event)
                    .map(|chunk| chunk.into_iter().for_each(|chunk| completion.add(chunk))),
            })
            .await?;
            completion.end()
        }
        Dialect::Responses => {
            // The last event holds all of it.
            let mut response = None;
            read(answer, |kind, event, _| {
                if kind == Kind::Done {
                    response = object(event)?.and_then(|mut event| event.remove("response"));
                }
                Ok(())
            })
            .await?;
            response.ok_or(Error::UpstreamTruncated)
        }
        Dialect::Messages => {
            let mut message = Message::default();
            read(answer, |_, event, _| {
                object(event)?
                    .into_iter()
                    .for_each(|event| message.add(event));
                Ok(())
            })
            .await?;
            message.end()
        }
    }
}

/// Hands every event to `take`, up to the one that ends the answer.
async fn read(
    answer: &mut Answer,
    mut take: impl FnMut(Kind, &[u8], Option<&Text>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut n_bytes = 0;
    loop {
        let Step::Event(kind, event) = answer.next().await? else {
            continue;
        };
        n_bytes += event.len();
        if n_bytes > MAX_ANSWER_BYTES {
            return Err(Error::UpstreamInvalid);
        }
        take(kind, &event, answer.text())?;
        if kind == Kind::Done {
            answer.finish().await;
            return Ok(());
        }
    }
}

/// What an event holds, if it holds anything but comments and `[DONE]`.
fn object(event: &[u8]) -> Result<Option<Map<String, Value>>, Error> {
    match data(event).as_ref() {
        b"" | b"[DONE]" => Ok(None),
        data => serde_json::from_slice(data)
            .map(Some)
            .map_err(|_| Error::UpstreamInvalid),
    }
}

/// What has come so far.
#[derive(Debug, Default)]
struct Completion {
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

impl Completion {
    /// Adds an event that holds nothing but `text`.
    fn text(&mut self, event: &[u8], text: &Text) -> Result<(), Error> {
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

    fn add(&mut self, mut chunk: Map<String, Value>) {
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
        // The proxy asks for one choice.
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
                    self.content.get_or_insert_default().push_str(&text)
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
                    let text = |name| {
                        function
                            .get(name)
                            .and_then(Value::as_str)
                            .unwrap_or_default()
                    };
                    known.name.push_str(text("name"));
                    known.arguments.push_str(text("arguments"));
                }
                (_, value) => drop(known.head.insert(name, value)),
            }
        }
    }

    fn end(self) -> Result<Value, Error> {
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
