//! Single answers with all that was written of them, and requests that came before.

use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::Message;
use crate::store::requests::before;
use crate::store::rows::{MessageRow, written};
use crate::store::{Begun, RequestKey, Store, StoreError};

/// An answer with all that was written of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnswer {
    /// Its conversation.
    pub conversation: Uuid,
    /// Its record.
    pub message: Message,
    /// All bytes of it: positions count in these.
    pub written: Written,
}

impl Store {
    /// An answer and what was written of it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn answer(&self, owner: &str, id: Uuid) -> Result<Option<StoredAnswer>, StoreError> {
        let row: Option<MessageRow> = sqlx::query_as(
            "SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = ? AND c.owner = ? AND m.status IS NOT NULL",
        )
        .bind(id)
        .bind(owner)
        .fetch_optional(&self.shared.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let written = written(row.written.clone(), &row.runs)?;
        Ok(Some(StoredAnswer {
            conversation: row.conversation,
            message: row.into_message()?,
            written,
        }))
    }

    /// What this request was told when it came before: [`Begun::Before`] or [`Begun::Conflict`].
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn taken_before(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
    ) -> Result<Option<Begun>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        before(&mut connection, owner, request).await
    }
}
