//! Beginning a conversation before its first message.

use uuid::Uuid;

use crate::protocol::record::Conversation;
use crate::protocol::rest::NewConversation;
use crate::store::rows::ConversationRow;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::texts::index;
use crate::store::texts::owner_tag;
use crate::store::{StoreError, now_ms};

impl SqliteStore {
    pub(in crate::store) async fn create(
        &self,
        owner: &str,
        new: &NewConversation,
    ) -> Result<Conversation, StoreError> {
        let now = now_ms();
        let id = Uuid::now_v7();
        let title = new.title.as_deref().unwrap_or_default();
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: ConversationRow = sqlx::query_as(
            "INSERT INTO conversations \
             (id, owner, title, created_ms, updated_ms, revision, temporary, pinned, folder, system, owner_tag) \
             VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5, ?6, ?7, ?8, ?9) RETURNING *",
        )
        .bind(id)
        .bind(owner)
        .bind(title)
        .bind(now)
        .bind(new.temporary)
        .bind(new.pinned)
        .bind(new.folder.as_deref())
        .bind(new.system.as_deref())
        .bind(owner_tag(owner))
        .fetch_one(&mut *on)
        .await?;
        if !new.temporary {
            index(on, id, None, title).await?;
        }
        writing.commit().await?;
        Ok(row.into())
    }
}
