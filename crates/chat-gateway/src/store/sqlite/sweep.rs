//! Forgetting what is too old.

use std::time::Duration;

use crate::store::sqlite::SqliteStore;
use crate::store::sweep::TOKENS_KEPT_DAYS;
use crate::store::{REQUESTS_KEPT, SWEPT_AT_ONCE, StoreError, TEMPORARY_KEPT, day, millis, now_ms};

impl SqliteStore {
    pub(in crate::store) async fn sweep(
        &self,
        retention: Option<Duration>,
    ) -> Result<u64, StoreError> {
        self.purge().await?;
        let now = now_ms();
        let mut writing = self.write().await?;
        sqlx::query("DELETE FROM requests WHERE created_ms <= ?")
            .bind(now - millis(REQUESTS_KEPT))
            .execute(writing.on())
            .await?;
        sqlx::query("DELETE FROM tokens_spent WHERE day < ?")
            .bind(day(now) - TOKENS_KEPT_DAYS)
            .execute(writing.on())
            .await?;
        writing.commit().await?;
        let kept = retention.map(|retention| now.saturating_sub(millis(retention)));
        let mut swept = 0;
        loop {
            let mut writing = self.write().await?;
            let deleted = sqlx::query(
                "DELETE FROM conversations WHERE id IN (SELECT c.id FROM conversations c \
                 WHERE ((c.temporary = 1 AND c.updated_ms <= ?1) OR c.updated_ms <= ?2) \
                 AND NOT EXISTS (SELECT 1 FROM messages m \
                 WHERE m.conversation = c.id AND m.status IN ('waiting', 'running')) LIMIT ?3)",
            )
            .bind(now - millis(TEMPORARY_KEPT))
            .bind(kept)
            .bind(SWEPT_AT_ONCE)
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
