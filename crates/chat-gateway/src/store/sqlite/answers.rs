//! Single answers with all that was written of them, and requests that came before.

use uuid::Uuid;

use crate::store::rows::{MessageRow, written};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::requests::before;
use crate::store::{Begun, RequestKey, StoreError, StoredAnswer};

impl SqliteStore {
    pub(in crate::store) async fn answer(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<StoredAnswer>, StoreError> {
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

    pub(in crate::store) async fn taken_before(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
    ) -> Result<Option<Begun>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        before(&mut connection, owner, request).await
    }
}
