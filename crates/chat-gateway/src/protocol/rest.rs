//! Bodies of the HTTP API that are no records: pages, and what a client may create and change.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::protocol::record::{Conversation, Message, MessageContent};
use crate::protocol::v2::Model;
use crate::store::SearchHit;

/// Where a page of the list begins, and how long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The `next` of the page before.
    #[param(required = false)]
    pub before: Option<String>,
    /// 1 to 100; 50 unless told.
    #[param(required = false, minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
    /// Only the conversations in this folder.
    #[param(required = false, min_length = 1, max_length = 200)]
    pub folder: Option<String>,
}

/// Where a page of messages ends, and how long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessagesQuery {
    /// The `next` of the page before.
    #[param(required = false)]
    pub before: Option<Uuid>,
    /// 1 to 100; 50 unless told.
    #[param(required = false, minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// Words that must all be in a title or a message, in any case.
    #[param(min_length = 1)]
    pub q: String,
    /// 1 to 100; 50 unless told.
    #[serde(default)]
    #[param(required = false, minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// How a conversation is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Everything, to be imported again.
    #[default]
    Json,
    /// The newest branch, to be read.
    Markdown,
}

/// How to export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `json` unless told.
    #[param(required = false, inline)]
    pub format: ExportFormat,
}

/// A safeguard against a missing id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteAllQuery {
    /// Must be `true`.
    pub all: bool,
}

/// An empty conversation to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConversation {
    /// Unless told, the first words of the first message.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// The system prompt of its answers.
    #[serde(default)]
    pub system: Option<String>,
    /// The folder it is in.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub folder: Option<String>,
    /// Kept at the top of the list.
    #[serde(default)]
    pub pinned: bool,
    /// Not in the list, not found by search, and deleted after a day.
    #[serde(default)]
    pub temporary: bool,
}

/// What to change of a conversation. What is missing stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationPatch {
    /// Its title.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    pub title: Option<String>,
    /// Kept at the top of the list.
    #[serde(default)]
    #[schema(nullable = false)]
    pub pinned: Option<bool>,
    /// Its folder; `null` takes it out.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    pub folder: Option<Option<String>>,
    /// Its system prompt; `null` is the operator's again.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub system: Option<Option<String>>,
}

/// A page of the list: pinned conversations first, and the last changed first among each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConversationPage {
    /// Without their messages.
    pub conversations: Vec<Conversation>,
    /// The next page's `before`; missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A folder of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Folder {
    /// Its name.
    pub name: String,
    /// How many conversations are in it.
    pub conversations: u64,
}

/// The folders of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FolderList {
    /// By name; a folder without conversations does not exist.
    pub folders: Vec<Folder>,
}

/// A page of messages, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MessagePage {
    /// Each after its parent.
    pub messages: Vec<Message>,
    /// The `before` of the page of older messages; missing when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Uuid>,
}

/// What a search found, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FoundPage {
    /// Titles and messages.
    pub found: Vec<SearchHit>,
}

/// Something whose tokens are counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensQuestion {
    /// As in a message that is sent.
    pub content: MessageContent,
}

/// The tokens of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CountedTokens {
    /// As the model counts them.
    pub tokens: u32,
}

/// How many conversations were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeletedAll {
    /// Temporary ones included.
    pub deleted: u64,
}

/// The models that answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelPage {
    /// One.
    pub models: Vec<Model>,
}

/// Tells `null` from a missing field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
