//! Reading conversations and messages, each with its owner in the same statement.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::protocol::record::{Conversation, Message};
use crate::protocol::rest::Folder;
use crate::store::rows::{ConversationRow, MessageRow, messages};
use crate::store::sqlite::SqliteStore;
use crate::store::{ListPlace, MAX_FOLDERS, MAX_PAGE, MAX_PATH, StoreError, day, now_ms, unsigned};

impl SqliteStore {
    pub(in crate::store) async fn conversation(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<Conversation>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        conversation(&mut connection, owner, id).await
    }

    pub(in crate::store) async fn message(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<(Uuid, Message)>, StoreError> {
        let row: Option<MessageRow> = sqlx::query_as(
            "SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = ? AND c.owner = ?",
        )
        .bind(id)
        .bind(owner)
        .fetch_optional(&self.shared.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let conversation = row.conversation;
        Ok(Some((conversation, row.into_message()?)))
    }

    pub(in crate::store) async fn path(
        &self,
        owner: &str,
        leaf: Uuid,
    ) -> Result<Vec<Message>, StoreError> {
        let rows: Vec<MessageRow> = sqlx::query_as(
            "WITH RECURSIVE up (id, parent, depth) AS ( \
             SELECT m.id, m.parent, 1 FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = ?1 AND c.owner = ?2 \
             UNION ALL SELECT m.id, m.parent, up.depth + 1 FROM up JOIN messages m ON m.id = up.parent \
             WHERE up.depth < ?3) \
             SELECT m.* FROM up JOIN messages m ON m.id = up.id ORDER BY up.depth DESC",
        )
        .bind(leaf)
        .bind(owner)
        .bind(MAX_PATH)
        .fetch_all(&self.shared.readers)
        .await?;
        Ok(messages(rows)?)
    }

    pub(in crate::store) async fn messages(
        &self,
        owner: &str,
        conversation: Uuid,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Message>>, StoreError> {
        let rows: Vec<MessageRow> = sqlx::query_as(
            "SELECT m.* FROM conversations c JOIN messages m ON m.conversation = c.id \
             WHERE c.id = ?1 AND c.owner = ?2 AND (?3 IS NULL OR m.n < \
             (SELECT b.n FROM messages b WHERE b.id = ?3 AND b.conversation = ?1)) \
             ORDER BY m.n DESC LIMIT ?4",
        )
        .bind(conversation)
        .bind(owner)
        .bind(before)
        .bind(limit.min(MAX_PAGE))
        .fetch_all(&self.shared.readers)
        .await?;
        if rows.is_empty() {
            // An empty page of a known conversation.
            let known = self.conversation(owner, conversation).await?;
            return Ok(known.map(|_| Vec::new()));
        }
        let mut page = messages(rows)?;
        page.reverse();
        Ok(Some(page))
    }

    pub(in crate::store) async fn conversations(
        &self,
        owner: &str,
        folder: Option<&str>,
        before: Option<ListPlace>,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        let before = before.unwrap_or(ListPlace::TOP);
        let rows: Vec<ConversationRow> = sqlx::query_as(
            "SELECT * FROM conversations WHERE owner = ?1 AND temporary = 0 \
             AND (pinned, updated_ms, id) < (?2, ?3, ?4) AND (?6 IS NULL OR folder = ?6) \
             ORDER BY pinned DESC, updated_ms DESC, id DESC LIMIT ?5",
        )
        .bind(owner)
        .bind(before.pinned)
        .bind(i64::try_from(before.updated_ms).unwrap_or(i64::MAX))
        .bind(before.id)
        .bind(limit.min(MAX_PAGE))
        .bind(folder)
        .fetch_all(&self.shared.readers)
        .await?;
        Ok(rows.into_iter().map(Conversation::from).collect())
    }

    pub(in crate::store) async fn folders(&self, owner: &str) -> Result<Vec<Folder>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT folder, count(*) FROM conversations \
             WHERE owner = ? AND temporary = 0 AND folder IS NOT NULL \
             GROUP BY folder ORDER BY folder LIMIT ?",
        )
        .bind(owner)
        .bind(MAX_FOLDERS)
        .fetch_all(&self.shared.readers)
        .await?;
        let folders = rows.into_iter().map(|(name, conversations)| Folder {
            name,
            conversations: unsigned(conversations),
        });
        Ok(folders.collect())
    }

    pub(in crate::store) async fn tokens_today(&self, owner: &str) -> Result<u64, StoreError> {
        let tokens: Option<i64> =
            sqlx::query_scalar("SELECT tokens FROM tokens_spent WHERE owner = ? AND day = ?")
                .bind(owner)
                .bind(day(now_ms()))
                .fetch_optional(&self.shared.readers)
                .await?;
        Ok(unsigned(tokens.unwrap_or(0)))
    }
}

pub(super) async fn conversation(
    on: &mut SqliteConnection,
    owner: &str,
    id: Uuid,
) -> Result<Option<Conversation>, StoreError> {
    let row: Option<ConversationRow> =
        sqlx::query_as("SELECT * FROM conversations WHERE id = ? AND owner = ?")
            .bind(id)
            .bind(owner)
            .fetch_optional(on)
            .await?;
    Ok(row.map(Conversation::from))
}
