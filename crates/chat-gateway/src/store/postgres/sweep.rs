//! Forgetting what is too old. Several gateways may do it at once: each takes what no other has locked.

use std::time::Duration;

use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::sweep::TOKENS_KEPT_DAYS;
use crate::store::{REQUESTS_KEPT, RESTORABLE, SWEPT_AT_ONCE, TEMPORARY_KEPT, day, millis, now_ms};

impl PostgresStore {
    pub(in crate::store) async fn sweep_deleted(&self) -> Result<(), ServerError> {
        loop {
            let mut writing = self.write().await?;
            let deleted = sqlx::query(
                "DELETE FROM conversations WHERE id IN (SELECT id FROM conversations \
                 WHERE deleted_ms <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(now_ms() - millis(RESTORABLE))
            .bind(i64::from(SWEPT_AT_ONCE))
            .execute(writing.on())
            .await?;
            writing.commit().await?;
            if deleted.rows_affected() < u64::from(SWEPT_AT_ONCE) {
                return Ok(());
            }
        }
    }

    pub(in crate::store) async fn sweep(
        &self,
        retention: Option<Duration>,
    ) -> Result<u64, ServerError> {
        self.sweep_deleted().await?;
        let now = now_ms();
        let mut writing = self.write().await?;
        sqlx::query("DELETE FROM requests WHERE created_ms <= $1")
            .bind(now - millis(REQUESTS_KEPT))
            .execute(writing.on())
            .await?;
        sqlx::query("DELETE FROM tokens_spent WHERE day < $1")
            .bind(day(now) - TOKENS_KEPT_DAYS)
            .execute(writing.on())
            .await?;
        sqlx::query("DELETE FROM gateways WHERE seen_at < clock_timestamp() - interval '1 hour'")
            .execute(writing.on())
            .await?;
        writing.commit().await?;
        let kept = retention.map(|retention| now.saturating_sub(millis(retention)));
        let mut swept = 0;
        loop {
            let mut writing = self.write().await?;
            let deleted = sqlx::query(
                "DELETE FROM conversations WHERE id IN (SELECT c.id FROM conversations c \
                 WHERE ((c.temporary AND c.updated_ms <= $1) OR c.updated_ms <= $2) \
                 AND NOT EXISTS (SELECT 1 FROM messages m \
                 WHERE m.conversation = c.id AND m.status IN ('waiting', 'running')) \
                 LIMIT $3 FOR UPDATE SKIP LOCKED)",
            )
            .bind(now - millis(TEMPORARY_KEPT))
            .bind(kept)
            .bind(i64::from(SWEPT_AT_ONCE))
            .execute(writing.on())
            .await?;
            writing.commit().await?;
            let deleted = deleted.rows_affected();
            swept += deleted;
            if deleted < u64::from(SWEPT_AT_ONCE) {
                return Ok(swept);
            }
        }
    }
}
