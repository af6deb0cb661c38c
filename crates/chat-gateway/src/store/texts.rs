//! What search reads: titles, questions, and answers that have ended.

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::protocol::record::ContentPart;
use crate::store::StoreError;

/// The first of the characters that tags are made of: ideographs that hardly anybody writes.
const TAG_FIRST: u32 = 0x2_0000;
/// How many there are.
const TAG_CHARS: u32 = 0xa6d0;

/// The owner's mark in the index. It has three characters, so that it is one trigram, whose list holds the owner's texts
/// alone. Two owners with the same tag would only make their searches longer.
pub(super) fn owner_tag(owner: &str) -> String {
    let digest = Sha256::digest(owner);
    let numbers = digest.as_chunks::<4>().0.iter().take(3);
    numbers
        .filter_map(|bytes| char::from_u32(TAG_FIRST + u32::from_be_bytes(*bytes) % TAG_CHARS))
        .collect()
}

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

/// The text of a question, without its pictures.
pub(super) fn words(content: &[ContentPart]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        ContentPart::Text { text } => Some(text.as_str()),
        ContentPart::Image { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}
