//! Reads a request once and builds what goes upstream anew, from types whose fields are the allow-list.
//!
//! `json` reads the bytes strictly. `typed` is the deserializer that fills the types, and names the field of an error. One
//! file per API holds its types; `generation` and `values` hold those that the APIs share. Unknown fields are dropped and
//! counted. Unknown fields that would change the answer's meaning are refused, and so are those that reach around the
//! limits of llama-server. The order of a schema's properties is kept, because the answer has the same order.

use bytes::Bytes;
pub(crate) use llama_client::TemplateFacts as Template;
use serde::{Deserialize, Serialize};

use crate::api::Api;

mod anthropic;
mod body;
mod chat;
mod conversation;
mod demands;
mod format;
mod generation;
mod invalid;
mod json;
mod others;
mod responses;
mod schema;
mod tools;
mod typed;
mod values;

pub(crate) use body::{Bodies, BodyError, check_headers};
use generation::{Generation, Sampling};
pub(crate) use invalid::InvalidRequest;
#[cfg(fuzzing)]
pub use schema::fuzz;
use typed::Fields;
use values::SamplingSeed;

/// Bytes of JSON per token of a prompt, at least; for estimates that must not be too small.
const MIN_BYTES_PER_TOKEN: usize = 3;

/// Bytes of the keywords that a notice names. Servers before us and clients bound the size of a header.
const MAX_NAMED_BYTES: usize = 512;

/// Fields of llama-server, or of other gateways, that reach around the limits: into its grammar engine, its slots, its
/// template, its token budget, or to another server.
const DANGEROUS: [&str; 24] = [
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
    "input_prefix",
    "input_suffix",
    "t_max_predict_ms",
    "sse_ping_interval",
    "api_base",
    "base_url",
];

/// What a request is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// The only model that is served.
    pub(crate) model: &'a str,
    /// The most tokens of one answer.
    pub(crate) max_tokens: u64,
    /// The most answers to one request (`n`).
    pub(crate) max_answers: usize,
    /// What the model's template takes.
    pub(crate) template: Template,
}

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The upstream's body without the seed.
    body: Bytes,
    seed: Option<SamplingSeed>,
    /// The limit of one answer, in tokens.
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
    /// Whether there were tools that the model's template cannot show.
    pub(crate) tools_left_out: bool,
    /// Keywords of schemas that no grammar holds, with their places.
    unheld: Vec<String>,
}

/// The body of a request that is answered with text. The prompt comes first.
#[derive(Serialize)]
struct GeneratedBody<'a, P> {
    model: &'a str,
    #[serde(flatten)]
    prompt: &'a P,
    stream: bool,
    stream_options: SentStreamOptions,
    /// Between two progress events llama-server sees that its client has gone; without them a prefill runs on.
    return_progress: bool,
    max_tokens: u64,
    #[serde(flatten)]
    sampling: &'a Sampling,
}

#[derive(Serialize)]
struct SentStreamOptions {
    include_usage: bool,
}

/// The body of any other request.
#[derive(Serialize)]
struct PlainBody<'a, P> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(flatten)]
    rest: &'a P,
}

#[derive(Deserialize)]
struct NamedModel {
    model: String,
}

impl Checked {
    /// Checks the body `bytes` of a request on the route of `api`.
    ///
    /// # Errors
    ///
    /// When it cannot be sent on; the first thing that is wrong.
    pub(crate) fn parse(api: Api, bytes: &[u8], rules: &Rules<'_>) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::new(json::object(bytes)?);
        let makes_text = match api {
            Api::Chat | Api::CountTokens | Api::Responses | Api::Messages | Api::CountMessages => {
                fields.refuse(&["prompt"], "is not accepted here")?;
                true
            }
            Api::Completions => true,
            Api::Embeddings | Api::Rerank | Api::Tokenize => false,
        };
        if makes_text {
            demands::drop_defaults(&mut fields);
            fields.refuse(&DANGEROUS, "is not accepted here")?;
            demands::refuse(api, &mut fields)?;
        }
        if api != Api::Tokenize {
            let named: NamedModel = fields.take()?;
            if named.model != rules.model {
                return Err(InvalidRequest::UnknownModel);
            }
        }
        match api {
            Api::Chat | Api::CountTokens => Self::chat(fields, rules),
            Api::Completions => Self::completion(fields, rules),
            Api::Embeddings => Self::embeddings(fields, rules),
            Api::Rerank => Self::rerank(fields, rules),
            Api::Responses => Self::responses(fields, rules),
            Api::Messages | Api::CountMessages => Self::messages(fields, rules),
            Api::Tokenize => Self::tokenize(fields),
        }
    }

    /// What goes upstream for one of the answers. With a seed each has its own, as llama-server counts them itself.
    pub(crate) fn body(&self, answer: usize) -> Bytes {
        let Some(seed) = self.seed else {
            return self.body.clone();
        };
        let open = self.body.strip_suffix(b"}").unwrap_or_default();
        let seed = format!(",\"seed\":{}}}", seed.of_answer(answer));
        [open, seed.as_bytes()].concat().into()
    }

    /// What all answers have in common.
    pub(crate) fn unseeded(&self) -> &[u8] {
        &self.body
    }

    /// What of the request was left out, in words for the caller.
    pub(crate) fn notice(&self) -> Option<String> {
        let mut notices = Vec::new();
        if self.tools_left_out {
            notices.push("tools were left out: this model cannot call them".to_owned());
        }
        if !self.unheld.is_empty() {
            let mut n_bytes = 0;
            let named: Vec<&str> = self
                .unheld
                .iter()
                .map(String::as_str)
                .filter(|place| place.bytes().all(|byte| matches!(byte, b' '..=b'~')))
                .take_while(|place| {
                    n_bytes += place.len();
                    n_bytes <= MAX_NAMED_BYTES
                })
                .collect();
            let more = self.unheld.len() - named.len();
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            notices.push(format!(
                "keywords of the schema are not enforced: {}{more}",
                named.join(", ")
            ));
        }
        (!notices.is_empty()).then(|| notices.join("; "))
    }

    /// An upper estimate of the prompt's length, in tokens.
    pub(crate) fn n_prompt_tokens(&self) -> u32 {
        u32::try_from(self.body.len() / MIN_BYTES_PER_TOKEN).unwrap_or(u32::MAX)
    }

    /// A request that is answered with text, of which `prompt` is one API's part. All fields that nobody took are dropped.
    fn generated(
        rules: &Rules<'_>,
        prompt: &impl Serialize,
        generation: &Generation,
        fields: Fields,
    ) -> Result<Self, InvalidRequest> {
        let body = GeneratedBody {
            model: rules.model,
            prompt,
            stream: true,
            stream_options: SentStreamOptions {
                include_usage: true,
            },
            return_progress: true,
            max_tokens: generation.max_tokens,
            sampling: &generation.sampling,
        };
        Ok(Self {
            body: serialised(&body)?,
            seed: generation.seed,
            max_tokens: generation.max_tokens,
            stream: generation.stream,
            include_usage: generation.include_usage,
            has_images: false,
            n_dropped: fields.n_dropped(),
            n_answers: generation.n_answers,
            tools_left_out: false,
            unheld: Vec::new(),
        })
    }

    /// A request that is answered with anything else.
    fn plain(
        model: Option<&str>,
        rest: &impl Serialize,
        fields: Fields,
    ) -> Result<Self, InvalidRequest> {
        Ok(Self {
            body: serialised(&PlainBody { model, rest })?,
            seed: None,
            max_tokens: 0,
            stream: false,
            include_usage: false,
            has_images: false,
            n_dropped: fields.n_dropped(),
            n_answers: 1,
            tools_left_out: false,
            unheld: Vec::new(),
        })
    }
}

fn serialised(body: &impl Serialize) -> Result<Bytes, InvalidRequest> {
    // Its keys are strings and its numbers were read from JSON, so that this cannot fail.
    let bytes = serde_json::to_vec(body);
    bytes
        .map(Bytes::from)
        .map_err(|_| InvalidRequest::field("body", "cannot be sent on"))
}

#[cfg(test)]
mod tests;
