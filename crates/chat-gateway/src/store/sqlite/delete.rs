//! Deleting conversations, and bringing one back.
//!
//! A deleted conversation is out of everybody's sight at once: it belongs to nobody until it is brought back or swept. All
//! conversations of an owner together are deleted for good.

use uuid::Uuid;

use crate::store::rows::ConversationRow;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::read::conversation;
use crate::store::{
    DeletedConversation, RESTORABLE, RestoredConversation, SWEPT_AT_ONCE, StoreError, millis,
    now_ms, unsigned,
};

impl SqliteStore {
    pub(in crate::store) async fn delete(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<DeletedConversation>, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let deleted: Option<(i64, bool)> = sqlx::query_as(
            "UPDATE conversations SET owner = '', deleted_owner = owner, deleted_ms = ?3, revision = revision + 1 \
             WHERE id = ?1 AND owner = ?2 RETURNING revision, temporary",
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
            "UPDATE messages SET status = 'stopped' WHERE conversation = ? AND status = 'waiting'",
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
    ) -> Result<Option<RestoredConversation>, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let row: Option<ConversationRow> = sqlx::query_as(
            "UPDATE conversations SET owner = deleted_owner, deleted_owner = NULL, deleted_ms = NULL, \
             revision = revision + 1 WHERE id = ?1 AND deleted_owner = ?2 AND deleted_ms > ?3 RETURNING *",
        )
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
    ) -> Result<Vec<DeletedConversation>, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        sqlx::query("DELETE FROM conversations WHERE deleted_owner = ?")
            .bind(owner)
            .execute(&mut *on)
            .await?;
        let deleted: Vec<(Uuid, i64, bool)> = sqlx::query_as(
            "DELETE FROM conversations WHERE owner = ? RETURNING id, revision + 1, temporary",
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

    pub(in crate::store) async fn sweep_deleted(&self) -> Result<(), StoreError> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM conversations WHERE deleted_ms <= ? LIMIT 1")
                .bind(now_ms() - millis(RESTORABLE))
                .fetch_optional(&self.shared.readers)
                .await?;
        // Most of the time there is nothing, and nobody must wait for that.
        match due {
            Some(_) => self.purge().await,
            None => Ok(()),
        }
    }

    /// As `Store::sweep_deleted`, without a look first.
    pub(super) async fn purge(&self) -> Result<(), StoreError> {
        loop {
            let mut writing = self.write().await?;
            let deleted = sqlx::query(
                "DELETE FROM conversations WHERE id IN \
                 (SELECT id FROM conversations WHERE deleted_ms <= ? LIMIT ?)",
            )
            .bind(now_ms() - millis(RESTORABLE))
            .bind(SWEPT_AT_ONCE)
            .execute(writing.on())
            .await?;
            writing.commit().await?;
            if deleted.rows_affected() < u64::from(SWEPT_AT_ONCE) {
                return Ok(());
            }
        }
    }
}
