//! Requests that were taken, so that the same one again starts nothing.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::protocol::v2::Accepted;
use crate::store::postgres::ServerError;
use crate::store::rows::{from_json, to_json};
use crate::store::{Begun, REQUESTS_KEPT, RequestKey, millis, now_ms, unsigned};

/// Lets the same request come only once at a time, until the transaction ends: its first try may be at another gateway.
pub(super) async fn lock(
    on: &mut PgConnection,
    owner: &str,
    request: &RequestKey<'_>,
) -> Result<(), ServerError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, hashtext($2)))")
        .bind(request.id.replace('\0', " "))
        .bind(owner)
        .execute(&mut *on)
        .await?;
    Ok(())
}

/// What a request of this id was told, if there was one.
pub(super) async fn before(
    on: &mut PgConnection,
    owner: &str,
    request: &RequestKey<'_>,
) -> Result<Option<Begun>, ServerError> {
    let row: Option<(Vec<u8>, Uuid, i64, Uuid, Uuid, String)> = sqlx::query_as(
        "SELECT digest, conversation, revision, message, answer, options FROM requests \
         WHERE owner = $1 AND id = $2 AND created_ms > $3",
    )
    .bind(owner)
    .bind(request.id.as_bytes())
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
    on: &mut PgConnection,
    owner: &str,
    request: &RequestKey<'_>,
    accepted: &Accepted,
) -> Result<(), ServerError> {
    sqlx::query(
        "INSERT INTO requests \
         (owner, id, digest, created_ms, conversation, revision, message, answer, options) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (owner, id) DO UPDATE SET digest = excluded.digest, created_ms = excluded.created_ms, \
         conversation = excluded.conversation, revision = excluded.revision, message = excluded.message, \
         answer = excluded.answer, options = excluded.options",
    )
    .bind(owner)
    .bind(request.id.as_bytes())
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
