//! Export and import.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::{Conversation, Message};
use crate::store::documents::{VERSION, past, settled};
use crate::store::postgres::read::conversation;
use crate::store::postgres::rows::{conversation_columns, message_columns};
use crate::store::postgres::texts::{index, index_answer, keepable};
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::{
    ConversationRow, MessageRow, finish_reason_word, messages, status_word, to_json, to_json_if_any,
};
use crate::store::texts::{owner_tag, words};
use crate::store::{Exported, now_ms};

impl PostgresStore {
    pub(in crate::store) async fn export(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<Exported>, ServerError> {
        // One snapshot, so that the conversation and its messages fit each other.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut snapshot = self.shared.readers.begin_with(begin).await?;
        let Some(conversation) = conversation(&mut snapshot, owner, id).await? else {
            return Ok(None);
        };
        let rows: Vec<MessageRow> = sqlx::query_as(concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.conversation = $1 ORDER BY m.n"
        ))
        .bind(id)
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.rollback().await?;
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
    ) -> Result<Conversation, ServerError> {
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
        let row: ConversationRow = sqlx::query_as(concat!(
            "INSERT INTO conversations \
             (id, owner, owner_tag, title, created_ms, updated_ms, revision, temporary, pinned, folder, system, leaf) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, false, $7, $8, $9, $10) RETURNING ",
            conversation_columns!()
        ))
        .bind(id)
        .bind(owner)
        .bind(owner_tag(owner))
        .bind(keepable(title))
        .bind(past(*created_ms, now))
        .bind(now)
        .bind(pinned)
        .bind(folder.as_deref().map(keepable))
        .bind(system.as_deref().map(keepable))
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
    on: &mut PgConnection,
    conversation: Uuid,
    id: Uuid,
    parent: Option<Uuid>,
    message: &Message,
    now: i64,
) -> Result<(), ServerError> {
    let answer = message.answer.as_ref();
    let written = answer.map_or_else(Written::new, |answer| {
        Written::of(&answer.reasoning, &answer.text)
    });
    sqlx::query(
        "INSERT INTO messages (id, conversation, parent, created_ms, content, status, written, runs, \
         finish_reason, error, usage, timings, context, options) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(id)
    .bind(conversation)
    .bind(parent)
    .bind(past(message.created_ms, now))
    .bind(to_json(&message.content)?)
    .bind(answer.map(|answer| status_word(settled(answer.status))))
    .bind(written.as_str().as_bytes())
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
