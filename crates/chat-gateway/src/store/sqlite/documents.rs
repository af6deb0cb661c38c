//! Export and import.

use std::collections::HashMap;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::{Conversation, Message};
use crate::store::documents::{VERSION, past, settled};
use crate::store::rows::{
    ConversationRow, MessageRow, finish_reason_word, messages, status_word, to_json, to_json_if_any,
};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::read::conversation;
use crate::store::sqlite::texts::{index, index_answer};
use crate::store::texts::{owner_tag, words};
use crate::store::{Exported, StoreError, now_ms};

impl SqliteStore {
    pub(in crate::store) async fn export(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<Exported>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        // One snapshot, so that the conversation and its messages fit each other.
        let mut snapshot = connection.begin().await?;
        let Some(conversation) = conversation(&mut snapshot, owner, id).await? else {
            return Ok(None);
        };
        let rows: Vec<MessageRow> = sqlx::query_as(
            "SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE c.id = ? AND c.owner = ? ORDER BY m.n",
        )
        .bind(id)
        .bind(owner)
        .fetch_all(&mut *snapshot)
        .await?;
        Ok(Some(Exported {
            corral_export: VERSION,
            conversation,
            messages: messages(rows)?,
        }))
    }

    pub(in crate::store) async fn import(
        &self,
        owner: &str,
        document: &Exported,
        ids: &HashMap<Uuid, Uuid>,
    ) -> Result<Conversation, StoreError> {
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
        .await?;
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
    on: &mut SqliteConnection,
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
