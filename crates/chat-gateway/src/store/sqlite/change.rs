//! Changing conversations.

use uuid::Uuid;

use crate::protocol::record::Conversation;
use crate::store::rows::ConversationRow;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::texts::index;
use crate::store::{ConversationChange, StoreError};

impl SqliteStore {
    pub(in crate::store) async fn change(
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
}
