//! What the gateway keeps of conversations, in the one form in which the socket, the HTTP API and exports show it.
//!
//! Times are milliseconds since 1970 in UTC. Ids are UUIDs of version 7, given by the server.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 200;

/// One piece of a message's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text, byte for byte.
        text: String,
    },
    /// A picture.
    Image {
        /// `data:image/png;base64,...`
        data_url: String,
    },
}

/// A message's content as a client writes it: text, or parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, TS)]
#[serde(untagged)]
pub enum MessageContent {
    /// The same as one text part.
    Text(String),
    /// In this order.
    Parts(Vec<ContentPart>),
}

impl MessageContent {
    /// The content as parts.
    #[must_use]
    pub fn into_parts(self) -> Vec<ContentPart> {
        match self {
            Self::Text(text) => vec![ContentPart::Text { text }],
            Self::Parts(parts) => parts,
        }
    }
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    /// It waits behind another answer of its conversation.
    Waiting,
    /// It was begun and has not ended.
    Running,
    /// It is whole: `finish_reason` says in which sense.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// The gateway stopped before it ended.
    Interrupted,
    /// It failed; `error` says why.
    Failed,
}

impl AnswerStatus {
    /// Whether nothing more will come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// Why a whole answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// The limit of tokens cut it; `continue` goes on.
    Length,
    /// The model asks for tools.
    ToolCalls,
}

/// Tokens of one answer, as the model counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, tokens that the model still had in its cache.
    pub cached_tokens: u32,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: u32,
}

/// How long one answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct AnswerTimings {
    /// From the answer's turn to its first character, waiting for the model included, in milliseconds.
    pub first_token_ms: u32,
    /// From the first character to the last, in milliseconds.
    pub writing_ms: u32,
    /// The model's own speed, if it told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub tokens_per_second: Option<f64>,
}

/// How much of the model's context the prompt of one answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct ContextUse {
    /// How many of the oldest messages the model was not shown.
    pub left_out: u32,
    /// Tokens of the prompt.
    pub used: u32,
    /// Tokens of the model's context.
    pub size: u32,
}

/// What an answer is asked with. What is missing is as the operator set it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerOptions {
    /// The system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub system: Option<String>,
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub top_p: Option<f64>,
    /// At least 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub top_k: Option<u32>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub min_p: Option<f64>,
    /// At least 1, at most what the operator allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub max_tokens: Option<u32>,
    /// For the same answer to the same prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub seed: Option<u32>,
    /// At most 4 strings that end the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub stop: Option<Vec<String>>,
    /// Whether a model that can think does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub thinking: Option<bool>,
}

impl AnswerOptions {
    /// Nothing but the operator's.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            system: None,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            max_tokens: None,
            seed: None,
            stop: None,
            thinking: None,
        }
    }
}

/// Why something was refused or failed. The page translates the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A field is missing or wrong; `message` names it.
    BadRequest,
    /// A frame of an unknown type.
    UnknownType,
    /// A version that the gateway does not speak.
    UnsupportedVersion,
    /// More than a limit of `welcome` allows.
    TooLarge,
    /// Nobody is signed in.
    Unauthenticated,
    /// It does not exist, or is somebody else's.
    NotFound,
    /// The same id was used with another body, or it is too late.
    Conflict,
    /// An answer of this conversation runs.
    Busy,
    /// Too many frames or messages.
    RateLimited,
    /// The user's tokens of the day are spent.
    QuotaExceeded,
    /// Too many messages wait already.
    QueueFull,
    /// It waited too long for the model.
    QueueTimeout,
    /// The model is not in memory yet.
    ModelLoading,
    /// The model service cannot be reached or refuses the gateway.
    UpstreamUnavailable,
    /// The model took too long.
    UpstreamTimeout,
    /// The model failed.
    UpstreamError,
    /// The message does not fit the model's context.
    ContextTooLong,
    /// The model cannot read this kind of content.
    UnsupportedContent,
    /// The gateway cannot keep anything now.
    StorageUnavailable,
    /// The gateway stops.
    ShuttingDown,
    /// A mistake of the gateway's.
    Internal,
}

impl ErrorCode {
    /// The code as it is on the wire, for metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::UnsupportedVersion => "unsupported_version",
            Self::TooLarge => "too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::ModelLoading => "model_loading",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamError => "upstream_error",
            Self::ContextTooLong => "context_too_long",
            Self::UnsupportedContent => "unsupported_content",
            Self::StorageUnavailable => "storage_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
        }
    }
}

/// Why an answer failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct AnswerProblem {
    /// For programs.
    pub code: ErrorCode,
    /// For people, in English.
    pub message: String,
}

/// A conversation without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Conversation {
    /// Its id.
    pub id: Uuid,
    /// From its first words, unless somebody renamed it.
    pub title: String,
    /// When it began.
    #[ts(type = "number")]
    pub created_ms: u64,
    /// When it last changed.
    #[ts(type = "number")]
    pub updated_ms: u64,
    /// Grows with every change that is kept.
    #[ts(type = "number")]
    pub revision: u64,
    /// Not in the list, not found by search, and deleted after a day.
    pub temporary: bool,
    /// Kept at the top of the list.
    pub pinned: bool,
    /// The folder it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub folder: Option<String>,
    /// The system prompt of its answers, if not the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub system: Option<String>,
    /// The newest message: where a `send` without `parent` goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub leaf: Option<Uuid>,
}

/// One message of a conversation's tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// The message it follows; none at the root.
    pub parent: Option<Uuid>,
    /// Who wrote it.
    pub role: Author,
    /// When it was sent, or its answer was asked for.
    #[ts(type = "number")]
    pub created_ms: u64,
    /// What the person wrote; empty for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[ts(as = "Option<Vec<ContentPart>>", optional)]
    pub content: Vec<ContentPart>,
    /// The answer, for a message of the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub answer: Option<Answered>,
}

/// What is kept of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Answered {
    /// How far it is.
    pub status: AnswerStatus,
    /// Its text; of a running one, as much as there was a moment ago.
    pub text: String,
    /// The model's thoughts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[ts(as = "Option<String>", optional)]
    pub reasoning: String,
    /// How much of it this is: to be handed to `watch`.
    #[ts(type = "number")]
    pub position: u64,
    /// Of a whole one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub finish_reason: Option<FinishReason>,
    /// Of a failed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub error: Option<AnswerProblem>,
    /// If the model counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub usage: Option<TokenUsage>,
    /// Once it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub timings: Option<AnswerTimings>,
    /// Once it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub context: Option<ContextUse>,
    /// The positions at which another engine went on, because the one before was lost. An import does not keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[ts(as = "Option<Vec<u32>>", optional)]
    pub joints: Vec<u64>,
    /// What it was asked with.
    pub options: AnswerOptions,
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn a_code_in_the_metrics_is_the_one_on_the_wire() {
        for code in [
            ErrorCode::BadRequest,
            ErrorCode::UnknownType,
            ErrorCode::UnsupportedVersion,
            ErrorCode::TooLarge,
            ErrorCode::Unauthenticated,
            ErrorCode::NotFound,
            ErrorCode::Conflict,
            ErrorCode::Busy,
            ErrorCode::RateLimited,
            ErrorCode::QuotaExceeded,
            ErrorCode::QueueFull,
            ErrorCode::QueueTimeout,
            ErrorCode::ModelLoading,
            ErrorCode::UpstreamUnavailable,
            ErrorCode::UpstreamTimeout,
            ErrorCode::UpstreamError,
            ErrorCode::ContextTooLong,
            ErrorCode::UnsupportedContent,
            ErrorCode::StorageUnavailable,
            ErrorCode::ShuttingDown,
            ErrorCode::Internal,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
        }
    }
}
