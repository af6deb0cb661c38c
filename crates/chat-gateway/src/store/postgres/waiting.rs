//! Questions that wait: given other words, or taken back, while none of their answers has begun.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::protocol::record::ContentPart;
use crate::store::QueuedQuestion;
use crate::store::postgres::texts::index;
use crate::store::postgres::turns::touch;
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::to_json;
use crate::store::texts::words;

impl PostgresStore {
    pub(in crate::store) async fn edit_waiting(
        &self,
        owner: &str,
        question: Uuid,
        content: &[ContentPart],
    ) -> Result<Option<(Uuid, u64)>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let Some(waiting) = waiting(on, owner, question).await? else {
            return writing.leave(None).await;
        };
        sqlx::query("UPDATE messages SET content = $2 WHERE id = $1")
            .bind(question)
            .bind(to_json(content)?)
            .execute(&mut *on)
            .await?;
        if !waiting.temporary {
            index(on, waiting.conversation, Some(question), &words(content)).await?;
        }
        let revision = touch(on, waiting.conversation, None).await?;
        writing.commit().await?;
        Ok(Some((waiting.conversation, revision)))
    }

    pub(in crate::store) async fn drop_waiting(
        &self,
        owner: &str,
        question: Uuid,
    ) -> Result<Option<(Uuid, u64)>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let Some(waiting) = waiting(on, owner, question).await? else {
            return writing.leave(None).await;
        };
        sqlx::query(
            "UPDATE messages SET parent = $1 WHERE parent IN (SELECT id FROM messages WHERE parent = $2)",
        )
        .bind(waiting.parent)
        .bind(question)
        .execute(&mut *on)
        .await?;
        // Where the leaf goes, if it is one of those that are deleted.
        sqlx::query(
            "UPDATE conversations SET leaf = coalesce($1, (SELECT m.id FROM messages m \
             WHERE m.conversation = $2 AND m.id <> $3 AND m.parent IS DISTINCT FROM $3 ORDER BY m.n DESC LIMIT 1)) \
             WHERE id = $2 AND leaf IN (SELECT id FROM messages WHERE id = $3 OR parent = $3)",
        )
        .bind(waiting.parent)
        .bind(waiting.conversation)
        .bind(question)
        .execute(&mut *on)
        .await?;
        sqlx::query("DELETE FROM messages WHERE parent = $1")
            .bind(question)
            .execute(&mut *on)
            .await?;
        sqlx::query("DELETE FROM messages WHERE id = $1")
            .bind(question)
            .execute(&mut *on)
            .await?;
        let revision = touch(on, waiting.conversation, None).await?;
        writing.commit().await?;
        Ok(Some((waiting.conversation, revision)))
    }
}

/// The question, if all its answers wait. Its conversation is locked, so it stays like this.
async fn waiting(
    on: &mut PgConnection,
    owner: &str,
    question: Uuid,
) -> Result<Option<QueuedQuestion>, ServerError> {
    sqlx::query(
        "SELECT 1 FROM messages q JOIN conversations c ON c.id = q.conversation \
         WHERE q.id = $1 AND c.owner = $2 FOR UPDATE OF c",
    )
    .bind(question)
    .bind(owner)
    .execute(&mut *on)
    .await?;
    let row: Option<(Uuid, Option<Uuid>, bool)> = sqlx::query_as(
        "SELECT c.id, q.parent, c.temporary FROM messages q \
         JOIN conversations c ON c.id = q.conversation \
         WHERE q.id = $1 AND c.owner = $2 AND q.status IS NULL \
         AND EXISTS (SELECT 1 FROM messages a WHERE a.parent = q.id AND a.status = 'waiting') \
         AND NOT EXISTS (SELECT 1 FROM messages a WHERE a.parent = q.id AND a.status <> 'waiting')",
    )
    .bind(question)
    .bind(owner)
    .fetch_optional(&mut *on)
    .await?;
    Ok(row.map(|(conversation, parent, temporary)| QueuedQuestion {
        conversation,
        parent,
        temporary,
    }))
}
