//! Letting search find a text.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::store::StoreError;

/// Lets search find `text`: a message's, or the conversation's title.
pub(super) async fn index(
    on: &mut SqliteConnection,
    conversation: Uuid,
    message: Option<Uuid>,
    text: &str,
) -> Result<(), StoreError> {
    let changed =
        sqlx::query("UPDATE texts SET text = ?3 WHERE conversation = ?1 AND message IS ?2")
            .bind(conversation)
            .bind(message)
            .bind(text)
            .execute(&mut *on)
            .await?;
    if changed.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO texts (conversation, owner_tag, message, text) \
             SELECT id, owner_tag, ?2, ?3 FROM conversations WHERE id = ?1",
        )
        .bind(conversation)
        .bind(message)
        .bind(text)
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}

/// Lets search find an answer, unless its conversation is temporary.
pub(super) async fn index_answer(
    on: &mut SqliteConnection,
    answer: Uuid,
    text: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO texts (conversation, owner_tag, message, text) SELECT c.id, c.owner_tag, m.id, ?2 FROM messages m \
         JOIN conversations c ON c.id = m.conversation WHERE m.id = ?1 AND c.temporary = 0 AND ?2 <> '' \
         ON CONFLICT (message) DO UPDATE SET text = excluded.text",
    )
    .bind(answer)
    .bind(text)
    .execute(&mut *on)
    .await?;
    Ok(())
}
