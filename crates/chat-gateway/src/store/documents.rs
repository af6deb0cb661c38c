//! A conversation as a document that can be kept elsewhere and brought back. Such a document is a stranger's: everything in
//! it is checked.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::protocol::record::{
    AnswerStatus, Answered, Author, ContentPart, Conversation, MAX_TITLE_CHARS, Message,
};
use crate::store::StoreError;

/// The version of the document.
pub(super) const VERSION: u32 = 1;

/// A whole conversation, as export writes it and import reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The version of this document: 1.
    pub corral_export: u32,
    /// The conversation.
    pub conversation: Conversation,
    /// All its messages in the order in which they came; each after its parent.
    pub messages: Vec<Message>,
}

/// The most messages of one document.
pub const MAX_IMPORT_MESSAGES: usize = 20_000;
/// The most text and pictures of one document, in bytes.
pub const MAX_IMPORT_BYTES: usize = 64 << 20;
/// The longest name of a folder, in characters.
const MAX_FOLDER_CHARS: usize = MAX_TITLE_CHARS;

/// Why a document cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is wrong; this says where.
    #[error("{0}")]
    Refused(String),
    /// It cannot be kept now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Nobody writes an imported answer.
pub(super) const fn settled(status: AnswerStatus) -> AnswerStatus {
    match status {
        AnswerStatus::Waiting | AnswerStatus::Running => AnswerStatus::Interrupted,
        status => status,
    }
}

/// A time that is not in the future.
pub(super) fn past(ms: u64, now: i64) -> i64 {
    i64::try_from(ms).unwrap_or(now).min(now)
}

/// Checks the whole document. Returns the new id of each message.
pub(super) fn check(document: &Exported) -> Result<HashMap<Uuid, Uuid>, ImportError> {
    let Exported {
        corral_export,
        conversation,
        messages,
    } = document;
    if *corral_export != VERSION {
        return refuse(format!("corral_export must be {VERSION}"));
    }
    if messages.len() > MAX_IMPORT_MESSAGES {
        return refuse(format!("messages must be at most {MAX_IMPORT_MESSAGES}"));
    }
    check_conversation(conversation)?;
    let mut bytes = conversation.system.as_ref().map_or(0, String::len);
    let mut ids = HashMap::with_capacity(messages.len());
    let mut roles = HashMap::with_capacity(messages.len());
    for (n, message) in messages.iter().enumerate() {
        let parent = match message.parent {
            None => None,
            Some(parent) => match roles.get(&parent) {
                Some(role) => Some(*role),
                None => return refuse(format!("messages[{n}].parent must be an earlier message")),
            },
        };
        match (message.role, parent) {
            (Author::User, None | Some(Author::Assistant))
            | (Author::Assistant, Some(Author::User)) => {}
            (Author::User, Some(Author::User)) => {
                return refuse(format!("messages[{n}].parent must be an answer"));
            }
            (Author::Assistant, _) => {
                return refuse(format!("messages[{n}].parent must be a question"));
            }
        }
        bytes += check_message(n, message)?;
        if bytes > MAX_IMPORT_BYTES {
            return refuse(format!(
                "the messages must have at most {MAX_IMPORT_BYTES} bytes"
            ));
        }
        if roles.insert(message.id, message.role).is_some() {
            return refuse(format!("messages[{n}].id must be unique"));
        }
        ids.insert(message.id, Uuid::now_v7());
    }
    if conversation
        .leaf
        .is_some_and(|leaf| !ids.contains_key(&leaf))
    {
        return refuse("conversation.leaf must be one of the messages".to_owned());
    }
    Ok(ids)
}

fn check_conversation(conversation: &Conversation) -> Result<(), ImportError> {
    if conversation.title.chars().count() > MAX_TITLE_CHARS {
        return refuse(format!(
            "conversation.title must have at most {MAX_TITLE_CHARS} characters"
        ));
    }
    let folder = conversation.folder.as_deref().unwrap_or_default();
    if folder.chars().count() > MAX_FOLDER_CHARS {
        return refuse(format!(
            "conversation.folder must have at most {MAX_FOLDER_CHARS} characters"
        ));
    }
    Ok(())
}

/// Checks one message. Returns its size in bytes.
fn check_message(n: usize, message: &Message) -> Result<usize, ImportError> {
    match (message.role, &message.answer) {
        (Author::User, None) if !message.content.is_empty() => {
            let parts = message.content.iter().map(|part| match part {
                ContentPart::Text { text } => Ok(text.len()),
                ContentPart::Image { data_url } if data_url.starts_with("data:image/") => {
                    Ok(data_url.len())
                }
                ContentPart::Image { .. } => refuse(format!(
                    "messages[{n}].content: data_url must begin with data:image/"
                )),
            });
            parts.sum()
        }
        (Author::User, _) => refuse(format!("messages[{n}] must have content and no answer")),
        (Author::Assistant, Some(answer)) if message.content.is_empty() => Ok(answer_bytes(answer)),
        (Author::Assistant, _) => {
            refuse(format!("messages[{n}] must have an answer and no content"))
        }
    }
}

fn answer_bytes(answer: &Answered) -> usize {
    let options = &answer.options;
    let stop = options
        .stop
        .iter()
        .flatten()
        .map(String::len)
        .sum::<usize>();
    let error = answer.error.as_ref().map_or(0, |error| error.message.len());
    let system = options.system.as_ref().map_or(0, String::len);
    answer.text.len() + answer.reasoning.len() + stop + error + system
}

fn refuse<T>(reason: String) -> Result<T, ImportError> {
    Err(ImportError::Refused(reason))
}
