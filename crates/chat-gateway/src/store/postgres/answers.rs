//! Single answers with all that was written of them, and requests that came before.

use uuid::Uuid;

use crate::store::postgres::requests::before;
use crate::store::postgres::rows::message_columns;
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::{MessageRow, written};
use crate::store::{Begun, RequestKey, StoredAnswer};

impl PostgresStore {
    pub(in crate::store) async fn answer(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<StoredAnswer>, ServerError> {
        let row: Option<MessageRow> = sqlx::query_as(concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = $1 AND c.owner = $2 AND m.status IS NOT NULL"
        ))
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
    ) -> Result<Option<Begun>, ServerError> {
        let mut connection = self.shared.readers.acquire().await?;
        before(&mut connection, owner, request).await
    }
}
