//! Changing, deleting and forgetting conversations.

use std::time::Duration;

use uuid::Uuid;

use crate::protocol::record::Conversation;
use crate::store::rows::ConversationRow;
use crate::store::turns::index;
use crate::store::{REQUESTS_KEPT, Store, StoreError, TEMPORARY_KEPT, day, millis, now_ms};

/// Conversations deleted in one transaction of a sweep, so that others get their turn between.
const SWEPT_AT_ONCE: u32 = 50;
/// How long the count of a day's tokens is kept, in days.
const TOKENS_KEPT_DAYS: i64 = 31;

/// What to change of a conversation; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationChange {
    /// Its title.
    pub title: Option<String>,
    /// Whether it is pinned.
    pub pinned: Option<bool>,
    /// Its folder; `Some(None)` takes it out.
    pub folder: Option<Option<String>>,
    /// Its system prompt; `Some(None)` is the operator's again.
    pub system: Option<Option<String>>,
}

impl Store {
    /// Changes a conversation. Its place in the list stays. `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn change(
        &self,
        owner: &str,
        id: Uuid,
        change: &ConversationChange,
    ) -> Result<Option<Conversation>, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: Option<ConversationRow> = sqlx::query_as(
            "UPDATE conversations SET revision = revision + 1, title = coalesce(?3, title), \
             pinned = coalesce(?4, pinned), folder = iif(?5, ?6, folder), system = iif(?7, ?8, system) \
             WHERE id = ?1 AND owner = ?2 RETURNING *",
        )
        .bind(id)
        .bind(owner)
        .bind(change.title.as_deref())
        .bind(change.pinned)
        .bind(change.folder.is_some())
        .bind(change.folder.as_ref().and_then(Option::as_deref))
        .bind(change.system.is_some())
        .bind(change.system.as_ref().and_then(Option::as_deref))
        .fetch_optional(&mut *on)
        .await?;
        let Some(conversation) = row.map(Conversation::from) else {
            return writing.leave(None).await;
        };
        if let Some(title) = &change.title
            && !conversation.temporary
        {
            index(on, id, None, title).await?;
        }
        writing.commit().await?;
        Ok(Some(conversation))
    }

    /// Deletes a conversation and everything in it. Whether there was one.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn delete(&self, owner: &str, id: Uuid) -> Result<bool, StoreError> {
        let mut writing = self.write().await?;
        let deleted = sqlx::query("DELETE FROM conversations WHERE id = ? AND owner = ?")
            .bind(id)
            .bind(owner)
            .execute(writing.on())
            .await?;
        writing.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Deletes all conversations of an owner. Returns how many there were.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn delete_all(&self, owner: &str) -> Result<u64, StoreError> {
        let mut writing = self.write().await?;
        let deleted = sqlx::query("DELETE FROM conversations WHERE owner = ?")
            .bind(owner)
            .execute(writing.on())
            .await?;
        writing.commit().await?;
        Ok(deleted.rows_affected())
    }

    /// Forgets what is too old: conversations that did not change for `retention`, temporary ones after
    /// [`TEMPORARY_KEPT`], requests after [`REQUESTS_KEPT`]. Conversations with an unfinished answer stay. Returns how
    /// many conversations are gone.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn sweep(&self, retention: Option<Duration>) -> Result<u64, StoreError> {
        let now = now_ms();
        let mut writing = self.write().await?;
        sqlx::query("DELETE FROM requests WHERE created_ms <= ?")
            .bind(now - millis(REQUESTS_KEPT))
            .execute(writing.on())
            .await?;
        sqlx::query("DELETE FROM tokens_spent WHERE day < ?")
            .bind(day(now) - TOKENS_KEPT_DAYS)
            .execute(writing.on())
            .await?;
        writing.commit().await?;
        let kept = retention.map(|retention| now.saturating_sub(millis(retention)));
        let mut swept = 0;
        loop {
            let mut writing = self.write().await?;
            let deleted = sqlx::query(
                "DELETE FROM conversations WHERE id IN (SELECT c.id FROM conversations c \
                 WHERE ((c.temporary = 1 AND c.updated_ms <= ?1) OR c.updated_ms <= ?2) \
                 AND NOT EXISTS (SELECT 1 FROM messages m \
                 WHERE m.conversation = c.id AND m.status IN ('waiting', 'running')) LIMIT ?3)",
            )
            .bind(now - millis(TEMPORARY_KEPT))
            .bind(kept)
            .bind(SWEPT_AT_ONCE)
            .execute(writing.on())
            .await?;
            writing.commit().await?;
            let deleted = deleted.rows_affected();
            swept += deleted;
            if deleted < u64::from(SWEPT_AT_ONCE) {
                return Ok(swept);
            }
        }
    }
}
