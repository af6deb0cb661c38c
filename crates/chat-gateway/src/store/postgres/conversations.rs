//! Conversations: made, changed, deleted, and brought back.

use uuid::Uuid;

use crate::protocol::record::Conversation;
use crate::protocol::rest::NewConversation;
use crate::store::postgres::read::conversation;
use crate::store::postgres::rows::conversation_columns;
use crate::store::postgres::texts::{index, keepable};
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::ConversationRow;
use crate::store::texts::owner_tag;
use crate::store::{
    ConversationChange, DeletedConversation, RESTORABLE, RestoredConversation, millis, now_ms,
    unsigned,
};

impl PostgresStore {
    pub(in crate::store) async fn create(
        &self,
        owner: &str,
        new: &NewConversation,
    ) -> Result<Conversation, ServerError> {
        let id = Uuid::now_v7();
        let title = new.title.as_deref().unwrap_or_default();
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: ConversationRow = sqlx::query_as(concat!(
            "INSERT INTO conversations \
             (id, owner, title, created_ms, updated_ms, revision, temporary, pinned, folder, system, owner_tag) \
             VALUES ($1, $2, $3, $4, $4, 1, $5, $6, $7, $8, $9) RETURNING ",
            conversation_columns!()
        ))
        .bind(id)
        .bind(owner)
        .bind(keepable(title))
        .bind(now_ms())
        .bind(new.temporary)
        .bind(new.pinned)
        .bind(new.folder.as_deref().map(keepable))
        .bind(new.system.as_deref().map(keepable))
        .bind(owner_tag(owner))
        .fetch_one(&mut *on)
        .await?;
        if !new.temporary {
            index(on, id, None, title).await?;
        }
        writing.commit().await?;
        Ok(row.into())
    }

    pub(in crate::store) async fn change(
        &self,
        owner: &str,
        id: Uuid,
        change: &ConversationChange,
    ) -> Result<Option<Conversation>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: Option<ConversationRow> = sqlx::query_as(concat!(
            "UPDATE conversations SET revision = revision + 1, title = coalesce($3, title), \
             pinned = coalesce($4, pinned), folder = CASE WHEN $5 THEN $6 ELSE folder END, \
             system = CASE WHEN $7 THEN $8 ELSE system END \
             WHERE id = $1 AND owner = $2 RETURNING ",
            conversation_columns!()
        ))
        .bind(id)
        .bind(owner)
        .bind(change.title.as_deref().map(keepable))
        .bind(change.pinned)
        .bind(change.folder.is_some())
        .bind(
            change
                .folder
                .as_ref()
                .and_then(Option::as_deref)
                .map(keepable),
        )
        .bind(change.system.is_some())
        .bind(
            change
                .system
                .as_ref()
                .and_then(Option::as_deref)
                .map(keepable),
        )
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

    pub(in crate::store) async fn delete(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<DeletedConversation>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let deleted: Option<(i64, bool)> = sqlx::query_as(
            "UPDATE conversations SET owner = '', deleted_owner = owner, deleted_ms = $3, revision = revision + 1 \
             WHERE id = $1 AND owner = $2 RETURNING revision, temporary",
        )
        .bind(id)
        .bind(owner)
        .bind(now_ms())
        .fetch_optional(&mut *on)
        .await?;
        let Some((revision, temporary)) = deleted else {
            return writing.leave(None).await;
        };
        sqlx::query(
            "UPDATE messages SET status = 'stopped' WHERE conversation = $1 AND status = 'waiting'",
        )
        .bind(id)
        .execute(&mut *on)
        .await?;
        writing.commit().await?;
        Ok(Some(DeletedConversation {
            id,
            revision: unsigned(revision),
            listed: !temporary,
        }))
    }

    pub(in crate::store) async fn restore(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<RestoredConversation>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: Option<ConversationRow> = sqlx::query_as(concat!(
            "UPDATE conversations SET owner = deleted_owner, deleted_owner = NULL, deleted_ms = NULL, \
             revision = revision + 1 WHERE id = $1 AND deleted_owner = $2 AND deleted_ms > $3 RETURNING ",
            conversation_columns!()
        ))
        .bind(id)
        .bind(owner)
        .bind(now_ms() - millis(RESTORABLE))
        .fetch_optional(&mut *on)
        .await?;
        let Some(row) = row else {
            let there = conversation(on, owner, id).await?;
            let there = there.map(|conversation| RestoredConversation {
                conversation,
                was_deleted: false,
            });
            return writing.leave(there).await;
        };
        writing.commit().await?;
        Ok(Some(RestoredConversation {
            conversation: row.into(),
            was_deleted: true,
        }))
    }

    pub(in crate::store) async fn delete_all(
        &self,
        owner: &str,
    ) -> Result<Vec<DeletedConversation>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        // In one order, so that two who delete the same never wait for each other.
        sqlx::query(
            "SELECT id FROM conversations WHERE owner = $1 OR deleted_owner = $1 ORDER BY id FOR UPDATE",
        )
        .bind(owner)
        .execute(&mut *on)
        .await?;
        sqlx::query("DELETE FROM conversations WHERE deleted_owner = $1")
            .bind(owner)
            .execute(&mut *on)
            .await?;
        let deleted: Vec<(Uuid, i64, bool)> = sqlx::query_as(
            "DELETE FROM conversations WHERE owner = $1 RETURNING id, revision + 1, temporary",
        )
        .bind(owner)
        .fetch_all(&mut *on)
        .await?;
        writing.commit().await?;
        let deleted = deleted.into_iter();
        let deleted = deleted.map(|(id, revision, temporary)| DeletedConversation {
            id,
            revision: unsigned(revision),
            listed: !temporary,
        });
        Ok(deleted.collect())
    }
}
