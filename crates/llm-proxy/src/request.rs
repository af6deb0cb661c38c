//! Reads a request once and builds what goes upstream anew, from an allow-list of fields with a range each.
//!
//! What leaves was checked; what is unknown is dropped and counted; what llama-server understands but no caller may
//! use is refused by name. The order of fields in schemas is kept, because it is the order of the answer's.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::api::{Api, Dialect};
use crate::error::Error;

mod anthropic;
mod body;
mod fields;
mod json;
mod messages;
mod others;
mod responses;
mod schema;
mod tools;

pub(crate) use body::Bodies;
use fields::Fields;

/// Bytes of JSON per token of a prompt, at least; for estimates that must not be too small.
const MIN_BYTES_PER_TOKEN: usize = 3;

/// Fields of llama-server, or of other gateways, that reach around the limits: into its grammar engine, its slots, its
/// template, its token budget, or to another server.
const DANGEROUS: [&str; 26] = [
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "json_schema",
    "chat_parser",
    "chat_template",
    "n_predict",
    "n_keep",
    "n_discard",
    "n_indent",
    "n_probs",
    "n_cache_reuse",
    "id_slot",
    "slot_id",
    "ignore_eos",
    "cache_prompt",
    "samplers",
    "lora",
    "logit_bias",
    "prompt",
    "input_prefix",
    "input_suffix",
    "t_max_predict_ms",
    "sse_ping_interval",
    "api_base",
    "base_url",
];

/// Numbers that pass, with their range.
const NUMBERS: [(&str, f64, f64); 5] = [
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
];

/// What the APIs call the limit of tokens. What leaves is the last.
const TOKEN_LIMITS: [&str; 3] = ["max_completion_tokens", "max_output_tokens", "max_tokens"];

/// Switches that pass in a chat.
const SWITCHES: [&str; 2] = ["logprobs", "parallel_tool_calls"];

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What goes upstream.
    pub(crate) body: Bytes,
    /// The limit of the completion, in tokens.
    pub(crate) max_tokens: u64,
    /// Whether the caller wants a stream.
    pub(crate) stream: bool,
    /// Whether the caller wants the usage event of a stream.
    pub(crate) include_usage: bool,
    /// Whether a message holds an image.
    pub(crate) has_images: bool,
    /// Unknown fields that were dropped.
    pub(crate) n_dropped: u64,
    /// How many answers the caller wants.
    pub(crate) n_answers: usize,
}

impl Checked {
    pub(crate) fn body(&self, _answer: usize) -> Bytes {
        self.body.clone()
    }

    pub(crate) fn notice(&self) -> Option<String> {
        None
    }

    /// An upper estimate of the prompt's length, in tokens.
    pub(crate) fn n_prompt_tokens(&self) -> u32 {
        u32::try_from(self.body.len() / MIN_BYTES_PER_TOKEN).unwrap_or(u32::MAX)
    }

    /// Checks `bytes`, for the one `model` there is and at most `max_tokens` of completion.
    pub(crate) fn parse(
        api: Api,
        bytes: &[u8],
        model: &str,
        max_tokens: u64,
    ) -> Result<Self, Error> {
        let fields = Fields::new(json::object(bytes)?);
        match api {
            Api::Chat | Api::CountTokens => Self::chat(fields, model, max_tokens),
            Api::Completions => Self::completion(fields, model, max_tokens),
            Api::Embeddings => Self::embeddings(fields, model),
            Api::Rerank => Self::rerank(fields, model),
            Api::Responses => Self::responses(fields, model, max_tokens),
            Api::Messages | Api::CountMessages => Self::messages(fields, model, max_tokens),
            Api::Tokenize => Self::tokenize(fields),
        }
    }

    fn chat(mut fields: Fields, model: &str, max_tokens: u64) -> Result<Self, Error> {
        refuse_dangerous(&mut fields)?;
        let mut out = Map::new();
        take_model(&mut fields, &mut out, model)?;
        let messages = messages::check(&mut fields)?;
        let has_images = messages::n_images(&messages) > 0;
        // What the prompt is made of comes first: two bodies begin alike as far as their prompts do.
        insert(
            &mut out,
            "chat_template_kwargs",
            fields.template_switches()?,
        );
        let (tools, choice) = fields.tools(Dialect::Chat)?;
        insert(&mut out, "tools", tools);
        out.insert("messages".to_owned(), messages);
        for name in SWITCHES {
            insert(&mut out, name, fields.switch(name)?);
        }
        insert(
            &mut out,
            "top_logprobs",
            fields.integer("top_logprobs", 0, 20)?,
        );
        insert(
            &mut out,
            "reasoning_effort",
            fields.effort("reasoning_effort")?,
        );
        insert(&mut out, "tool_choice", choice);
        insert(
            &mut out,
            "response_format",
            fields.format("response_format", Dialect::Chat)?,
        );
        Self::generation(fields, out, max_tokens, has_images)
    }

    /// What chats and completions have in common: how long, how random, and how it is sent.
    fn generation(
        mut fields: Fields,
        mut out: Map<String, Value>,
        max_tokens: u64,
        has_images: bool,
    ) -> Result<Self, Error> {
        let stream = fields.switch("stream")?.unwrap_or(false);
        let include_usage = match fields.object("stream_options")? {
            Some(mut options) => {
                let include_usage = options.switch("include_usage")?.unwrap_or(false);
                fields.n_dropped += options.drop_rest();
                include_usage
            }
            None => false,
        };
        out.insert("stream".to_owned(), true.into());
        out.insert("stream_options".to_owned(), json!({"include_usage": true}));
        // Between two progress events llama-server sees that its client has gone; without them a prefill runs on.
        out.insert("return_progress".to_owned(), true.into());

        let mut limit = max_tokens;
        for name in TOKEN_LIMITS {
            limit = limit.min(fields.token_limit(name)?.unwrap_or(limit));
        }
        out.insert("max_tokens".to_owned(), limit.into());
        let n_answers = fields.integer("n", 1, 8)?.unwrap_or(1) as usize;
        for (name, min, max) in NUMBERS {
            insert(&mut out, name, fields.number(name, min, max)?);
        }
        // 0 and -1 switch it off.
        insert(&mut out, "top_k", fields.integer("top_k", -1, 1_000)?);
        insert(&mut out, "seed", fields.seed()?);
        insert(&mut out, "stop", fields.stops("stop")?);
        let n_dropped = fields.drop_rest();
        let body = serde_json::to_vec(&out)
            .map_err(|_| Error::Internal)?
            .into();
        Ok(Self {
            body,
            max_tokens: limit,
            stream,
            include_usage,
            has_images,
            n_dropped,
            n_answers,
        })
    }
}

fn refuse_dangerous(fields: &mut Fields) -> Result<(), Error> {
    refuse(fields, &DANGEROUS, "is not accepted here")
}

fn refuse(fields: &mut Fields, names: &[&str], problem: &str) -> Result<(), Error> {
    match names.iter().find(|name| fields.take(name).is_some()) {
        Some(name) => Err(Error::field(*name, problem)),
        None => Ok(()),
    }
}

/// The model comes first in every body.
fn take_model(fields: &mut Fields, out: &mut Map<String, Value>, model: &str) -> Result<(), Error> {
    if fields.required_text("model")? != model {
        return Err(Error::ModelNotFound);
    }
    out.insert("model".to_owned(), model.into());
    Ok(())
}

fn insert(out: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out.insert(name.to_owned(), value.into());
    }
}

/// Checks what the header says of the body: JSON in UTF-8, not compressed, at most `max_bytes`.
pub(crate) fn check_headers(headers: &HeaderMap, max_bytes: usize) -> Result<(), Error> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > max_bytes) {
        return Err(Error::BodyTooLarge { max_bytes });
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Error::ContentEncoding);
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds
        .next()
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next() == Some("application/json");
    let utf8 = parts.all(|part| {
        !part.starts_with("charset") || ["charset=utf-8", "charset=\"utf-8\""].contains(&part)
    });
    if json && utf8 && kinds.next().is_none() {
        Ok(())
    } else {
        Err(Error::UnsupportedMediaType)
    }
}

#[cfg(test)]
mod tests;
