//! Reading conversations and messages, each with its owner in the same statement.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::protocol::record::{Conversation, Message};
use crate::protocol::rest::Folder;
use crate::store::rows::{ConversationRow, MessageRow, messages};
use crate::store::{MAX_FOLDERS, MAX_PAGE, MAX_PATH, Store, StoreError, day, now_ms, unsigned};

/// Where a conversation is in its owner's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// Pinned ones come first.
    pub pinned: bool,
    /// Then the last changed.
    pub updated_ms: u64,
    /// Tells those apart that changed at the same time.
    pub id: Uuid,
}

impl ListPlace {
    /// Before every conversation.
    const TOP: Self = Self {
        pinned: true,
        updated_ms: u64::MAX,
        id: Uuid::max(),
    };

    /// Where this conversation is.
    #[must_use]
    pub const fn of(conversation: &Conversation) -> Self {
        Self {
            pinned: conversation.pinned,
            updated_ms: conversation.updated_ms,
            id: conversation.id,
        }
    }
}

impl Store {
    /// A conversation without its messages.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn conversation(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<Conversation>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        conversation(&mut connection, owner, id).await
    }

    /// A message, and the conversation it is in.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn message(
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

    /// The messages from the root to `leaf`, root first; of a longer path than [`MAX_PATH`] the newest. Empty when the
    /// leaf is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn path(&self, owner: &str, leaf: Uuid) -> Result<Vec<Message>, StoreError> {
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

    /// A page of a conversation's messages in the order in which they came: the newest, or those before `before`. `None`
    /// when the conversation is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn messages(
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

    /// A page of an owner's conversations, pinned ones first and the last changed first among each: from the top, or after
    /// the one at this place. Temporary ones are not among them. With a `folder`, only those in it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn conversations(
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

    /// The folders of an owner's list by name, at most [`MAX_FOLDERS`], each with how many conversations are in it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn folders(&self, owner: &str) -> Result<Vec<Folder>, StoreError> {
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

    /// The tokens that an owner spent since midnight, UTC.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn tokens_today(&self, owner: &str) -> Result<u64, StoreError> {
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
