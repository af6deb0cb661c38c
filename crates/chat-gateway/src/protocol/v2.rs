//! Version 2 of the chat protocol: every frame either side may send.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::protocol::limits::OptionLimits;
use crate::protocol::objects::{is_default, object, objects, position};
use crate::protocol::record::{
    AnswerOptions, AnswerProblem, AnswerStatus, AnswerTimings, ErrorCode, FinishReason,
    MessageContent, TokenUsage,
};

/// The version's number, in `hello` and `welcome`.
pub const VERSION: u32 = 2;
/// The WebSocket subprotocol that asks for it.
pub const SUBPROTOCOL: &str = "chat.v2";
/// What this gateway can do beyond the first form of version 2, as `welcome` names it.
pub const FEATURES: &[&str] = &["list"];

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame; a socket that negotiated the subprotocol must send it, too.
    Hello(Hello),
    /// A message to answer.
    Send(Send),
    /// Another answer beside this one.
    Regenerate(Regenerate),
    /// Go on where this answer was cut.
    Continue(Aim),
    /// End this answer, running or waiting. Harmless to repeat.
    Stop(Aim),
    /// Other words for a message that still waits.
    EditQueued(EditQueued),
    /// Take a waiting message back.
    DropQueued(Aim),
    /// Tell me of everything that happens in this conversation.
    Watch(Watch),
    /// No longer.
    Unwatch(Unwatch),
    /// Tell me which conversations of the list change.
    WatchList(WatchList),
    /// Are you there?
    Ping {},
}

/// The first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct Hello {
    /// 2.
    pub version: u32,
    /// A one-time ticket from `POST /api/v1/ws/ticket`, for a client that can send no cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub ticket: Option<String>,
    /// The person's language, as in `zh-CN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub locale: Option<String>,
}

/// What a `send` does while an answer of its conversation runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// It waits behind it.
    #[default]
    Queue,
    /// It is refused with `busy`.
    Reject,
}

/// A message to answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema, TS)]
pub struct Send {
    /// The client's own id of this request: the same one again starts nothing.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// None begins a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub conversation: Option<Uuid>,
    /// The message it follows. Missing: the newest. `null`: none, at the root.
    #[serde(
        default,
        with = "missing_or_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Uuid>)]
    #[ts(type = "string | null", optional)]
    pub parent: Option<Option<Uuid>>,
    /// What the person wrote.
    pub content: MessageContent,
    /// How to answer.
    #[serde(
        default,
        deserialize_with = "object",
        skip_serializing_if = "is_default"
    )]
    #[ts(as = "Option<AnswerOptions>", optional)]
    pub options: AnswerOptions,
    /// What to do while an answer runs.
    #[serde(default, skip_serializing_if = "is_default")]
    #[ts(as = "Option<WhenBusy>", optional)]
    pub when_busy: WhenBusy,
    /// For a new conversation: keep it out of the list, and for a day only.
    #[serde(default, skip_serializing_if = "is_default")]
    #[ts(as = "Option<bool>", optional)]
    pub temporary: bool,
}

/// Another answer beside one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema, TS)]
pub struct Regenerate {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// The answer.
    pub message: Uuid,
    /// How to answer.
    #[serde(
        default,
        deserialize_with = "object",
        skip_serializing_if = "is_default"
    )]
    #[ts(as = "Option<AnswerOptions>", optional)]
    pub options: AnswerOptions,
}

/// Something done to one message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct Aim {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// The message.
    pub message: Uuid,
}

/// Other words for a message that still waits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct EditQueued {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// The person's message.
    pub message: Uuid,
    /// The new words.
    pub content: MessageContent,
}

/// Wish to be told of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct Watch {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// Which.
    pub conversation: Uuid,
    /// What the client has of answers that may go on.
    #[serde(
        default,
        deserialize_with = "objects",
        skip_serializing_if = "is_default"
    )]
    #[ts(as = "Option<Vec<HeldAnswer>>", optional)]
    pub answers: Vec<HeldAnswer>,
}

/// How much of an answer a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct HeldAnswer {
    /// The answer.
    pub message: Uuid,
    /// The last position it was given.
    #[serde(deserialize_with = "position")]
    #[ts(type = "number")]
    pub position: u64,
}

/// No longer tell of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct Unwatch {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
    /// Which.
    pub conversation: Uuid,
}

/// Wish to be told of the list of conversations.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema, TS)]
pub struct WatchList {
    /// The client's own id of this request.
    #[schema(min_length = 1, max_length = 64)]
    pub id: String,
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The reply to `hello`.
    Welcome(Welcome),
    /// The reply to `send`, `regenerate` and `continue`; what it names is kept.
    Accepted(Accepted),
    /// The answer waits for the model; on change, at most once a second.
    Queued {
        /// The answer.
        answer: Uuid,
        /// 1 is the next.
        place: u32,
        /// An estimate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        wait_seconds: Option<u32>,
    },
    /// What the model does for the answer.
    Progress(AnswerProgress),
    /// The next piece of the answer.
    Delta {
        /// The answer.
        answer: Uuid,
        /// The position after it.
        #[ts(type = "number")]
        position: u64,
        /// A piece of its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        text: Option<String>,
        /// Or of the model's thoughts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        reasoning: Option<String>,
    },
    /// The model is not shown the oldest messages.
    Context {
        /// The answer.
        answer: Uuid,
        /// How many messages it is not shown.
        left_out: u32,
        /// Tokens of the prompt.
        used: u32,
        /// Tokens of the model's context.
        size: u32,
    },
    /// The answer has ended. Each gets exactly one.
    Done(Done),
    /// Replaces what the client has of this answer.
    Snapshot {
        /// The answer.
        answer: Uuid,
        /// The position after it.
        #[ts(type = "number")]
        position: u64,
        /// Its text.
        text: String,
        /// The model's thoughts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        reasoning: Option<String>,
        /// How far it is.
        status: AnswerStatus,
    },
    /// The conversation changed: fetch what you show of it.
    Changed {
        /// Which.
        conversation: Uuid,
        /// Its revision now.
        #[ts(type = "number")]
        revision: u64,
        /// What changed.
        what: Change,
    },
    /// A conversation of the list changed.
    List(ListNews),
    /// The model is another one now, or would no longer, or again, answer.
    Model(Model),
    /// A frame was refused.
    Error(RefusedFrame),
    /// The frame with this id was done.
    Ok {
        /// The frame's id.
        re: String,
    },
    /// I am here.
    Pong {},
    /// The server closes the socket.
    Goodbye {
        /// The close code that follows.
        code: u16,
        /// Why.
        reason: String,
        /// When to connect again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        after_seconds: Option<u32>,
    },
}

/// The reply to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Welcome {
    /// 2.
    pub version: u32,
    /// Who is signed in.
    pub user: Person,
    /// The server pings after so much silence.
    pub heartbeat_seconds: u32,
    /// What is refused beyond.
    pub limits: Limits,
    /// What the options of an answer may be.
    pub options: OptionLimits,
    /// The model that answers.
    pub model: Model,
    /// What this gateway can do beyond version 2.
    pub features: Vec<String>,
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Person {
    /// Opaque.
    pub id: String,
    /// As the app or the proxy in front names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub name: Option<String>,
}

/// What is refused beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Limits {
    /// The largest frame.
    pub message_bytes: u32,
    /// The largest image inside a frame.
    pub image_bytes: u32,
    /// Messages that may wait in one conversation.
    pub queued: u32,
    /// Messages that one user may send in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub messages_per_minute: Option<u32>,
}

/// The model that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its context in tokens, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub context: Option<u32>,
    /// Whether it reads images.
    pub images: bool,
    /// Whether it calls tools.
    pub tools: bool,
    /// Whether it would answer now.
    pub state: ModelState,
}

/// Whether the model would answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// It would.
    Ready,
    /// Not yet.
    Loading,
    /// Nobody knows when.
    Unavailable,
}

/// A request was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Accepted {
    /// The request's id.
    pub re: String,
    /// The conversation.
    pub conversation: Uuid,
    /// Its revision now.
    #[ts(type = "number")]
    pub revision: u64,
    /// The person's message.
    pub message: Uuid,
    /// Its answer.
    pub answer: Uuid,
    /// What it is asked with, after the server's limits.
    pub options: AnswerOptions,
    /// The request was taken before; nothing was started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[ts(as = "Option<bool>", optional)]
    pub duplicate: bool,
}

/// What the model does for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct AnswerProgress {
    /// The answer.
    pub answer: Uuid,
    /// What is done.
    pub phase: Phase,
    /// Tokens of the prompt that are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub done: Option<u32>,
    /// Of so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub total: Option<u32>,
    /// Of these, from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub cached: Option<u32>,
}

/// What is done for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The model is brought into memory.
    Loading,
    /// The model reads the prompt.
    Prompt,
    /// The model thinks.
    Thinking,
    /// The model writes.
    Writing,
}

/// An answer has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Done {
    /// The answer.
    pub answer: Uuid,
    /// Its end.
    #[ts(type = "number")]
    pub position: u64,
    /// Only `done` means whole.
    pub status: AnswerStatus,
    /// In which sense it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub finish_reason: Option<FinishReason>,
    /// If the model counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub usage: Option<TokenUsage>,
    /// Once it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub timings: Option<AnswerTimings>,
    /// Of a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub error: Option<AnswerProblem>,
    /// Where another engine went on, because the one before was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[ts(as = "Option<Vec<u32>>", optional)]
    pub joints: Vec<u64>,
    /// The conversation's revision now.
    #[ts(type = "number")]
    pub revision: u64,
}

/// A frame was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct RefusedFrame {
    /// The frame's id, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub re: Option<String>,
    /// For programs.
    pub code: ErrorCode,
    /// For people, in English.
    pub message: String,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub retry_after_seconds: Option<u32>,
}

/// What changed in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its title.
    Title,
    /// Its messages.
    Messages,
    /// What waits in it.
    Queue,
    /// It is gone.
    Deleted,
    /// Anything else that `PATCH` changes.
    Settings,
}

/// A conversation of the list changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct ListNews {
    /// Which.
    pub conversation: Uuid,
    /// Its revision now, or its last one.
    #[ts(type = "number")]
    pub revision: u64,
    /// What happened.
    pub what: ListChange,
}

/// What happened to a conversation of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum ListChange {
    /// It is new, or was brought back.
    Created,
    /// Anything of it changed: its title, folder, pin or messages.
    Changed,
    /// It is gone.
    Deleted,
}

/// Tells a missing field from `null`.
mod missing_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Option<Uuid>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.flatten().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<Uuid>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
