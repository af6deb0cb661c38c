//! Rows of the database as records of the protocol, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::FromRow;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::{
    AnswerStatus, Answered, Author, Conversation, FinishReason, Message,
};
use crate::store::unsigned;

/// A row of `conversations`.
#[derive(FromRow)]
pub(super) struct ConversationRow {
    id: Uuid,
    title: String,
    created_ms: i64,
    updated_ms: i64,
    revision: i64,
    temporary: bool,
    pinned: bool,
    folder: Option<String>,
    system: Option<String>,
    leaf: Option<Uuid>,
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id,
            title: row.title,
            created_ms: unsigned(row.created_ms),
            updated_ms: unsigned(row.updated_ms),
            revision: unsigned(row.revision),
            temporary: row.temporary,
            pinned: row.pinned,
            folder: row.folder,
            system: row.system,
            leaf: row.leaf,
        }
    }
}

/// A row of `messages`.
#[derive(FromRow)]
pub(super) struct MessageRow {
    pub(super) conversation: Uuid,
    id: Uuid,
    parent: Option<Uuid>,
    created_ms: i64,
    content: String,
    status: Option<String>,
    pub(super) written: Vec<u8>,
    pub(super) runs: String,
    finish_reason: Option<String>,
    error: Option<String>,
    usage: Option<String>,
    timings: Option<String>,
    context: Option<String>,
    options: String,
}

impl MessageRow {
    pub(super) fn into_message(self) -> Result<Message, sqlx::Error> {
        let answer = match &self.status {
            Some(status) => Some(self.answered(status)?),
            None => None,
        };
        Ok(Message {
            id: self.id,
            parent: self.parent,
            role: if answer.is_some() {
                Author::Assistant
            } else {
                Author::User
            },
            created_ms: unsigned(self.created_ms),
            content: from_json(&self.content)?,
            answer,
        })
    }

    fn answered(&self, status: &str) -> Result<Answered, sqlx::Error> {
        let written = written(self.written.clone(), &self.runs)?;
        let position = written.position();
        let joints = written.joints();
        let (reasoning, text) = written.split();
        Ok(Answered {
            status: from_word(status)?,
            text,
            reasoning,
            position,
            finish_reason: from_word_if_any::<FinishReason>(self.finish_reason.as_deref())?,
            error: from_json_if_any(self.error.as_deref())?,
            usage: from_json_if_any(self.usage.as_deref())?,
            timings: from_json_if_any(self.timings.as_deref())?,
            context: from_json_if_any(self.context.as_deref())?,
            joints,
            options: from_json(&self.options)?,
        })
    }
}

pub(super) fn messages(rows: Vec<MessageRow>) -> Result<Vec<Message>, sqlx::Error> {
    rows.into_iter().map(MessageRow::into_message).collect()
}

/// What was written of an answer, as two columns keep it.
pub(super) fn written(text: Vec<u8>, runs: &str) -> Result<Written, sqlx::Error> {
    let text = String::from_utf8(text).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Written::from_parts(text, from_json(runs)?)
        .ok_or_else(|| sqlx::Error::Decode("the runs of an answer do not fit its text".into()))
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

pub(super) fn to_json_if_any<T: Serialize>(
    value: Option<&T>,
) -> Result<Option<String>, sqlx::Error> {
    value.map(to_json).transpose()
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn from_json_if_any<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, sqlx::Error> {
    text.map(from_json).transpose()
}

/// The word by which the protocol calls a status.
pub(super) const fn status_word(status: AnswerStatus) -> &'static str {
    match status {
        AnswerStatus::Waiting => "waiting",
        AnswerStatus::Running => "running",
        AnswerStatus::Done => "done",
        AnswerStatus::Stopped => "stopped",
        AnswerStatus::Interrupted => "interrupted",
        AnswerStatus::Failed => "failed",
    }
}

/// The word by which the protocol calls a reason.
pub(super) const fn finish_reason_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

fn from_word<T: DeserializeOwned>(word: &str) -> Result<T, sqlx::Error> {
    serde_json::from_value(serde_json::Value::from(word))
        .map_err(|error| sqlx::Error::Decode(error.into()))
}

fn from_word_if_any<T: DeserializeOwned>(word: Option<&str>) -> Result<Option<T>, sqlx::Error> {
    word.map(from_word).transpose()
}
