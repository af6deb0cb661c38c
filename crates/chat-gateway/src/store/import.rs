//! Bringing an exported conversation back, under new ids. The document is a stranger's: everything in it is checked.

use std::collections::HashMap;

use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::{
    AnswerStatus, Answered, Author, ContentPart, Conversation, MAX_TITLE_CHARS, Message,
};
use crate::store::export::VERSION;
use crate::store::rows::{
    ConversationRow, finish_reason_word, status_word, to_json, to_json_if_any,
};
use crate::store::texts::{index, index_answer, owner_tag, words};
use crate::store::{Exported, Store, StoreError, now_ms};

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

impl Store {
    /// Keeps a document as a new conversation of `owner`, with new ids and the same tree. Returns it.
    ///
    /// # Errors
    ///
    /// When the document is wrong, or nothing can be kept now.
    pub async fn import(
        &self,
        owner: &str,
        document: &Exported,
    ) -> Result<Conversation, ImportError> {
        let ids = check(document)?;
        let now = now_ms();
        let Conversation {
            title,
            pinned,
            folder,
            system,
            leaf,
            created_ms,
            ..
        } = &document.conversation;
        let id = Uuid::now_v7();
        let newest = document.messages.last().map(|message| message.id);
        let leaf = leaf.or(newest).and_then(|leaf| ids.get(&leaf));
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: ConversationRow = sqlx::query_as(
            "INSERT INTO conversations \
             (id, owner, owner_tag, title, created_ms, updated_ms, revision, temporary, pinned, folder, system, leaf) \
             VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, ?, ?, ?) RETURNING *",
        )
        .bind(id)
        .bind(owner)
        .bind(owner_tag(owner))
        .bind(title)
        .bind(past(*created_ms, now))
        .bind(now)
        .bind(pinned)
        .bind(folder)
        .bind(system)
        .bind(leaf)
        .fetch_one(&mut *on)
        .await
        .map_err(StoreError::from)?;
        index(on, id, None, title).await?;
        for message in &document.messages {
            let own = ids[&message.id];
            let parent = message.parent.map(|parent| ids[&parent]);
            keep(&mut *on, id, own, parent, message, now).await?;
        }
        writing.commit().await?;
        Ok(row.into())
    }
}

async fn keep(
    on: &mut sqlx::SqliteConnection,
    conversation: Uuid,
    id: Uuid,
    parent: Option<Uuid>,
    message: &Message,
    now: i64,
) -> Result<(), StoreError> {
    let answer = message.answer.as_ref();
    let written = answer.map_or_else(Written::new, |answer| {
        Written::of(&answer.reasoning, &answer.text)
    });
    sqlx::query(
        "INSERT INTO messages (id, conversation, parent, created_ms, content, status, written, runs, \
         finish_reason, error, usage, timings, context, options) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(conversation)
    .bind(parent)
    .bind(past(message.created_ms, now))
    .bind(to_json(&message.content)?)
    .bind(answer.map(|answer| status_word(settled(answer.status))))
    .bind(written.as_str())
    .bind(to_json(written.runs())?)
    .bind(answer.and_then(|answer| answer.finish_reason).map(finish_reason_word))
    .bind(to_json_if_any(answer.and_then(|answer| answer.error.as_ref()))?)
    .bind(to_json_if_any(answer.and_then(|answer| answer.usage.as_ref()))?)
    .bind(to_json_if_any(answer.and_then(|answer| answer.timings.as_ref()))?)
    .bind(to_json_if_any(
        answer.and_then(|answer| answer.context.as_ref()),
    )?)
    .bind(match answer {
        Some(answer) => to_json(&answer.options)?,
        None => "{}".to_owned(),
    })
    .execute(&mut *on)
    .await?;
    match answer {
        Some(answer) => index_answer(on, id, &answer.text).await,
        None => index(on, conversation, Some(id), &words(&message.content)).await,
    }
}

/// Nobody writes an imported answer.
const fn settled(status: AnswerStatus) -> AnswerStatus {
    match status {
        AnswerStatus::Waiting | AnswerStatus::Running => AnswerStatus::Interrupted,
        status => status,
    }
}

/// A time that is not in the future.
fn past(ms: u64, now: i64) -> i64 {
    i64::try_from(ms).unwrap_or(now).min(now)
}

/// Checks the whole document. Returns the new id of each message.
fn check(document: &Exported) -> Result<HashMap<Uuid, Uuid>, ImportError> {
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
