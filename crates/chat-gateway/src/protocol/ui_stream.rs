//! The AI SDK's UI message stream, version 1: what `useChat` sends, and the parts that it reads.
//!
//! Older versions of the SDK refuse a part with a field too many, and every version one with `null` for a string. So no
//! part has more than the SDK knows, and what is ours is in `data-*` parts and in metadata.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::protocol::record::{
    AnswerOptions, AnswerProblem, AnswerStatus, AnswerTimings, TokenUsage,
};
use crate::protocol::v2::Phase;

/// The body of `POST /api/v1/chat`. What else an app sends is passed over.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UiRequest {
    /// The chat: the app's own id, or a conversation's.
    #[schema(min_length = 1, max_length = 200)]
    pub id: String,
    /// What the person asks for.
    #[serde(default)]
    pub trigger: UiTrigger,
    /// The edited message, or the answer to replace.
    #[serde(default)]
    pub message_id: Option<String>,
    /// The chat as the client has it. Only its last messages are looked at: the history is the server's.
    #[serde(default)]
    pub messages: Vec<UiAsked>,
    /// The last message alone, as the SDK's guide sends it.
    #[serde(default)]
    pub message: Option<UiAsked>,
    /// The system prompt, instead of the conversation's.
    #[serde(default)]
    pub system: Option<String>,
    /// How to answer.
    #[serde(default)]
    pub options: AnswerOptions,
}

/// What the person asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UiTrigger {
    /// A message was written or edited.
    #[default]
    SubmitMessage,
    /// Another answer is wanted.
    RegenerateMessage,
}

/// A message as a client sends it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct UiAsked {
    /// The client's id of its own messages, the server's of answers.
    #[serde(default)]
    pub id: Option<String>,
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// What it says.
    #[serde(default)]
    pub parts: Vec<UiAskedPart>,
}

/// A part of a message as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum UiAskedPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    #[serde(rename_all = "camelCase")]
    File {
        /// `image/png` and its like.
        media_type: String,
        /// `data:image/png;base64,...`
        url: String,
    },
    /// What the model is not shown.
    #[serde(other)]
    Other,
}

/// A message as a client reads it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UiMessage {
    /// The server's id.
    pub id: Uuid,
    /// `user` or `assistant`.
    pub role: UiRole,
    /// What it says.
    pub parts: Vec<UiPart>,
    /// Of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<UiMetadata>,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UiRole {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// A part of a message as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum UiPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// The model's thoughts.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A picture.
    #[serde(rename_all = "camelCase")]
    File {
        /// `image/png` and its like.
        media_type: String,
        /// `data:image/png;base64,...`
        url: String,
    },
}

/// What is told of an answer beside its words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct UiMetadata {
    /// If the model counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<TokenUsage>,
    /// Once it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<AnswerTimings>,
    /// Somebody stopped it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How it ended, when it is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AnswerStatus>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AnswerProblem>,
}

/// A chat as `useChat` begins with it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UiChat {
    /// The conversation's id.
    pub conversation: Uuid,
    /// The newest branch. While an answer runs, it ends with the person's message.
    pub messages: Vec<UiMessage>,
}

/// One part of the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum UiStreamPart<'a> {
    /// An answer begins.
    Start {
        /// Its id, in the history, too.
        message_id: Uuid,
    },
    /// Thoughts begin.
    ReasoningStart {
        /// Of this part.
        id: &'a str,
    },
    /// More of them.
    ReasoningDelta {
        /// Of this part.
        id: &'a str,
        /// The next piece.
        delta: &'a str,
    },
    /// They end.
    ReasoningEnd {
        /// Of this part.
        id: &'a str,
    },
    /// Text begins.
    TextStart {
        /// Of this part.
        id: &'a str,
    },
    /// More of it.
    TextDelta {
        /// Of this part.
        id: &'a str,
        /// The next piece.
        delta: &'a str,
    },
    /// It ends.
    TextEnd {
        /// Of this part.
        id: &'a str,
    },
    /// The answer waits for the model.
    DataQueue {
        /// Where.
        data: UiQueue,
        /// It becomes no part of the message.
        transient: bool,
    },
    /// What the model does for it.
    DataProgress {
        /// What.
        data: UiProgress,
        /// It becomes no part of the message.
        transient: bool,
    },
    /// The answer is whole, or was stopped.
    Finish {
        /// In which sense.
        finish_reason: UiFinishReason,
        /// What is told beside it.
        message_metadata: UiMetadata,
    },
    /// The answer is not whole.
    Error {
        /// `code: message`.
        error_text: String,
    },
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UiQueue {
    /// 1 is the next.
    pub place: u32,
    /// An estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// What the model does for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UiProgress {
    /// What.
    pub phase: Phase,
    /// Tokens of the prompt that are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<u32>,
    /// Of so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// Of these, from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<u32>,
}

/// Why an answer ended. Every version of the SDK knows these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UiFinishReason {
    /// The model ended it, or somebody stopped it.
    Stop,
    /// The limit of tokens cut it.
    Length,
    /// The model asks for tools.
    ToolCalls,
}
