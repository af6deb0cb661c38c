//! Requests that were taken, so that the same one again starts nothing.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::protocol::v2::Accepted;
use crate::store::rows::{from_json, to_json};
use crate::store::{Begun, REQUESTS_KEPT, RequestKey, StoreError, millis, now_ms, unsigned};

/// What a request of this id was told, if there was one.
pub(super) async fn before(
    on: &mut SqliteConnection,
    owner: &str,
    request: &RequestKey<'_>,
) -> Result<Option<Begun>, StoreError> {
    let row: Option<(Vec<u8>, Uuid, i64, Uuid, Uuid, String)> = sqlx::query_as(
        "SELECT digest, conversation, revision, message, answer, options FROM requests \
         WHERE owner = ? AND id = ? AND created_ms > ?",
    )
    .bind(owner)
    .bind(request.id)
    .bind(now_ms() - millis(REQUESTS_KEPT))
    .fetch_optional(&mut *on)
    .await?;
    let Some((digest, conversation, revision, message, answer, options)) = row else {
        return Ok(None);
    };
    if digest != request.digest {
        return Ok(Some(Begun::Conflict));
    }
    Ok(Some(Begun::Before(Accepted {
        re: request.id.to_owned(),
        conversation,
        revision: unsigned(revision),
        message,
        answer,
        options: from_json(&options)?,
        duplicate: true,
    })))
}

/// Keeps what a request was told.
pub(super) async fn remember(
    on: &mut SqliteConnection,
    owner: &str,
    request: &RequestKey<'_>,
    accepted: &Accepted,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO requests \
         (owner, id, digest, created_ms, conversation, revision, message, answer, options) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner)
    .bind(request.id)
    .bind(request.digest.as_slice())
    .bind(now_ms())
    .bind(accepted.conversation)
    .bind(i64::try_from(accepted.revision).unwrap_or(i64::MAX))
    .bind(accepted.message)
    .bind(accepted.answer)
    .bind(to_json(&accepted.options)?)
    .execute(&mut *on)
    .await?;
    Ok(())
}
