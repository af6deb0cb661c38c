//! What is sent upstream: one ask as the body of a chat request, and what a person's options become.
//!
//! llm-proxy refuses values out of range, so they are brought into its ranges here.

use serde::Serialize;

use crate::config::Config;
use crate::context::Role;
use crate::protocol::limits::{
    MAX_STOP_BYTES, MAX_STOPS, MAX_SYSTEM_BYTES, OptionLimits, RealRange, WholeRange,
};
use crate::protocol::record::{AnswerOptions, ContentPart};

/// llm-proxy takes no higher `top_k`.
const MAX_TOP_K: u32 = 1_000;
/// Bytes of text that are taken for one token when nobody counts.
const BYTES_PER_TOKEN: usize = 3;
/// Tokens a chat template adds around each message.
const TOKENS_PER_MESSAGE: usize = 8;
/// Tokens that an image is taken for when nobody counts.
const TOKENS_PER_IMAGE: usize = 1_024;

/// What the model is asked for one answer.
#[derive(Clone, Debug)]
pub(crate) struct AnswerRequest<'a> {
    /// In order.
    pub(crate) messages: Vec<AskMessage<'a>>,
    /// `system` is not read: it is a message.
    pub(crate) options: &'a AnswerOptions,
    /// The last message is the model's, and it goes on exactly where that ends.
    pub(crate) continues: bool,
    /// For whom: an opaque id, whose requests take turns with those of others.
    pub(crate) lane: &'a str,
    /// For the logs of both services.
    pub(crate) request_id: &'a str,
    /// The span that upstream's is to be below.
    pub(crate) traceparent: Option<String>,
    /// Tokens and speed are asked for.
    pub(crate) wants_usage: bool,
    /// A model that loads is waited for, instead of failing.
    pub(crate) waits_for_model: bool,
}

/// One message of an [`AnswerRequest`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskMessage<'a> {
    /// Who says it.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) content: AskContent<'a>,
    /// The model's thoughts before it. Only to go on with an answer: they must be in the prompt again.
    pub(crate) reasoning: Option<&'a str>,
}

/// What is said in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AskContent<'a> {
    /// Text.
    Text(&'a str),
    /// Text and images.
    Parts(&'a [ContentPart]),
}

impl<'a> AskMessage<'a> {
    /// A message of text.
    pub(crate) const fn text(role: Role, text: &'a str) -> Self {
        Self {
            role,
            content: AskContent::Text(text),
            reasoning: None,
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self.content, AskContent::Text("")) && self.reasoning.is_none_or(str::is_empty)
    }

    fn estimate(&self) -> usize {
        let content = match self.content {
            AskContent::Text(text) => text.len() / BYTES_PER_TOKEN,
            AskContent::Parts(parts) => parts.iter().map(estimate_part).sum(),
        };
        let reasoning = self.reasoning.map_or(0, str::len) / BYTES_PER_TOKEN;
        content + reasoning + TOKENS_PER_MESSAGE
    }
}

impl AnswerRequest<'_> {
    /// Tokens of the prompt, as a guess for when nobody counts: rather too many than too few.
    pub(crate) fn estimate(&self) -> u32 {
        let tokens: usize = self.messages.iter().map(AskMessage::estimate).sum();
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }
}

fn estimate_part(part: &ContentPart) -> usize {
    match part {
        ContentPart::Text { text } => text.len() / BYTES_PER_TOKEN,
        ContentPart::Image { .. } => TOKENS_PER_IMAGE,
    }
}

/// What options may be, in llm-proxy's ranges and the operator's limits.
pub(crate) const fn option_limits(config: &Config) -> OptionLimits {
    const SHARE: RealRange = RealRange {
        min: 0.0,
        max: 1.0,
        default: None,
    };
    OptionLimits {
        temperature: RealRange {
            min: 0.0,
            max: 2.0,
            default: Some(config.temperature),
        },
        top_p: SHARE,
        top_k: WholeRange {
            min: 0,
            max: MAX_TOP_K,
            default: None,
        },
        min_p: SHARE,
        max_tokens: WholeRange {
            min: 1,
            max: config.max_tokens,
            default: Some(config.max_tokens),
        },
        system_bytes: MAX_SYSTEM_BYTES as u32,
        stops: MAX_STOPS as u32,
        stop_bytes: MAX_STOP_BYTES as u32,
        thinking: true,
    }
}

/// `options` in llm-proxy's ranges and the operator's limits, with the operator's values where they say nothing.
pub(crate) fn effective(options: &AnswerOptions, config: &Config) -> AnswerOptions {
    let stop = options.stop.as_ref().map(|stops| {
        let usable = stops
            .iter()
            .filter(|stop| (1..=MAX_STOP_BYTES).contains(&stop.len()));
        usable.take(MAX_STOPS).cloned().collect()
    });
    let limits = option_limits(config);
    AnswerOptions {
        system: options.system.clone(),
        temperature: limits.temperature.bring(options.temperature),
        top_p: limits.top_p.bring(options.top_p),
        top_k: limits.top_k.bring(options.top_k),
        min_p: limits.min_p.bring(options.min_p),
        max_tokens: limits.max_tokens.bring(options.max_tokens),
        seed: options.seed,
        stop: stop.filter(|stops: &Vec<String>| !stops.is_empty()),
        thinking: options.thinking,
    }
}

/// The body of a chat request.
#[derive(Serialize)]
pub(super) struct SentChat<'a> {
    model: &'a str,
    messages: Vec<SentMessage<'a>>,
    stream: bool,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<TemplateOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamUsage>,
}

#[derive(Serialize)]
struct TemplateOptions {
    enable_thinking: bool,
}

#[derive(Serialize)]
struct StreamUsage {
    include_usage: bool,
}

#[derive(Serialize)]
struct SentMessage<'a> {
    role: &'static str,
    content: SentContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SentContent<'a> {
    Text(&'a str),
    Parts(Vec<SentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: SentImage<'a> },
}

#[derive(Serialize)]
struct SentImage<'a> {
    url: &'a str,
}

impl<'a> SentChat<'a> {
    pub(super) fn new(ask: &AnswerRequest<'a>, config: &'a Config) -> Self {
        let options = effective(ask.options, config);
        let mut messages = ask.messages.as_slice();
        // Going on with nothing is answering.
        if ask.continues
            && let [before @ .., last] = messages
            && last.is_nothing()
        {
            messages = before;
        }
        Self {
            model: &config.model,
            messages: messages.iter().map(SentMessage::new).collect(),
            stream: true,
            temperature: options.temperature,
            max_tokens: options.max_tokens,
            top_p: options.top_p,
            top_k: options.top_k,
            min_p: options.min_p,
            seed: options.seed,
            stop: options.stop,
            chat_template_kwargs: options
                .thinking
                .map(|enable_thinking| TemplateOptions { enable_thinking }),
            stream_options: ask.wants_usage.then_some(StreamUsage {
                include_usage: true,
            }),
        }
    }
}

impl<'a> SentMessage<'a> {
    fn new(message: &AskMessage<'a>) -> Self {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = match message.content {
            AskContent::Text(text) => SentContent::Text(text),
            AskContent::Parts([ContentPart::Text { text }]) => SentContent::Text(text),
            AskContent::Parts(parts) => {
                SentContent::Parts(parts.iter().map(SentPart::new).collect())
            }
        };
        Self {
            role,
            content,
            reasoning_content: message.reasoning.filter(|thoughts| !thoughts.is_empty()),
        }
    }
}

impl<'a> SentPart<'a> {
    fn new(part: &'a ContentPart) -> Self {
        match part {
            ContentPart::Text { text } => Self::Text { text },
            ContentPart::Image { data_url } => Self::ImageUrl {
                image_url: SentImage { url: data_url },
            },
        }
    }
}
