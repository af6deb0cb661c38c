//! Puts a streamed answer together again for a caller that did not ask for a stream.
//!
//! The result is one object in the words of the API that was asked. Without the event that ends an answer, and a reason
//! for its end, there is none.

use llama_client::events::{Kind, data};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::completion::WholeCompletion;
use crate::answer::message::WholeMessage;
use crate::answer::upstream_answer::AnswerEvent;
use crate::api::{Api, Dialect};
use crate::error::Error;

/// The most bytes of events that are put together: 8,192 tokens with 20 alternatives each.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// One answer as far as it has come.
#[derive(Debug)]
pub(super) struct WholeAnswer {
    n_bytes: usize,
    words: WholeWords,
}

#[derive(Debug)]
enum WholeWords {
    Completion(Box<WholeCompletion>),
    /// The last event holds the whole response.
    Response(Option<Value>),
    Message(Box<WholeMessage>),
}

impl WholeAnswer {
    pub(super) fn new(api: Api) -> Self {
        let words = match api.dialect() {
            Dialect::Chat => WholeWords::Completion(Box::default()),
            Dialect::Responses => WholeWords::Response(None),
            Dialect::Messages => WholeWords::Message(Box::default()),
        };
        Self { n_bytes: 0, words }
    }

    pub(super) fn add(&mut self, event: &AnswerEvent) -> Result<(), Error> {
        self.n_bytes += event.bytes.len();
        if self.n_bytes > MAX_ANSWER_BYTES {
            return Err(Error::UpstreamInvalid);
        }
        match &mut self.words {
            WholeWords::Completion(completion) => match &event.text {
                Some(text) => completion.text(&event.bytes, text)?,
                None => {
                    if let Some(chunk) = parse(&data(&event.bytes))? {
                        completion.add(chunk);
                    }
                }
            },
            WholeWords::Response(response) if event.kind == Kind::Done => {
                let event: Option<Map<String, Value>> = parse(&data(&event.bytes))?;
                *response = event.and_then(|mut event| event.remove("response"));
            }
            WholeWords::Response(_) => {}
            WholeWords::Message(message) => {
                if let Some(event) = parse(&data(&event.bytes))? {
                    message.add(event);
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<Value, Error> {
        match self.words {
            WholeWords::Completion(completion) => completion.end(),
            WholeWords::Response(response) => response.ok_or(Error::UpstreamTruncated),
            WholeWords::Message(message) => message.end(),
        }
    }

    /// Makes one object of all answers to a request: the first, with the choices of the others and all their tokens.
    pub(super) fn join(answers: Vec<Self>) -> Result<Value, Error> {
        let mut answers = answers.into_iter();
        let first = answers.next().ok_or(Error::Internal)?;
        let mut joined = first.end()?;
        for (at, other) in answers.enumerate() {
            let mut other = other.end()?;
            other["choices"][0]["index"] = (at + 1).into();
            if let (Some(choices), choice) =
                (joined["choices"].as_array_mut(), other["choices"][0].take())
            {
                choices.push(choice);
            }
            add_numbers(&mut joined["usage"], &other["usage"]);
            // The times of one answer say nothing of several.
            if let Some(joined) = joined.as_object_mut() {
                joined.remove("timings");
            }
        }
        Ok(joined)
    }
}

/// Adds the numbers of `more` to those of the same names, at every depth.
fn add_numbers(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            for (name, more) in more {
                add_numbers(sum.entry(name.clone()).or_insert_with(|| 0.into()), more);
            }
        }
        (sum, Value::Number(more)) => {
            let added = sum.as_u64().unwrap_or_default() + more.as_u64().unwrap_or_default();
            *sum = added.into();
        }
        _ => {}
    }
}

/// What the data of an event holds, unless it is nothing or `[DONE]`.
fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<Option<T>, Error> {
    match data {
        b"" | b"[DONE]" => Ok(None),
        data => serde_json::from_slice(data)
            .map(Some)
            .map_err(|_| Error::UpstreamInvalid),
    }
}
