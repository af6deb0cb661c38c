//! Letting search find a text.

use std::borrow::Cow;

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::store::postgres::ServerError;
use crate::store::texts::folded;

/// A text as PostgreSQL can keep it: it has no NUL character, so U+FFFD takes its place. Answers and questions, which must
/// come back byte for byte, are kept in other ways.
pub(in crate::store) fn keepable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Lets search find `text`: a message's, or the conversation's title.
pub(super) async fn index(
    on: &mut PgConnection,
    conversation: Uuid,
    message: Option<Uuid>,
    text: &str,
) -> Result<(), ServerError> {
    let text = keepable(text);
    let changed = sqlx::query(
        "UPDATE texts SET text = $3, folded = $4 WHERE conversation = $1 AND message IS NOT DISTINCT FROM $2",
    )
    .bind(conversation)
    .bind(message)
    .bind(&*text)
    .bind(folded(&text))
    .execute(&mut *on)
    .await?;
    if changed.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO texts (conversation, owner_tag, message, text, folded) \
             SELECT id, owner_tag, $2, $3, $4 FROM conversations WHERE id = $1",
        )
        .bind(conversation)
        .bind(message)
        .bind(&*text)
        .bind(folded(&text))
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}

/// Lets search find an answer, unless its conversation is temporary.
pub(super) async fn index_answer(
    on: &mut PgConnection,
    answer: Uuid,
    text: &str,
) -> Result<(), ServerError> {
    if text.is_empty() {
        return Ok(());
    }
    let text = keepable(text);
    sqlx::query(
        "INSERT INTO texts (conversation, owner_tag, message, text, folded) \
         SELECT c.id, c.owner_tag, m.id, $2, $3 FROM messages m \
         JOIN conversations c ON c.id = m.conversation WHERE m.id = $1 AND NOT c.temporary \
         ON CONFLICT (message) DO UPDATE SET text = excluded.text, folded = excluded.folded",
    )
    .bind(answer)
    .bind(&*text)
    .bind(folded(&text))
    .execute(&mut *on)
    .await?;
    Ok(())
}
