//! Forgetting what is too old.

use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::time::{Interval, MissedTickBehavior};

use crate::store::{
    REQUESTS_KEPT, SWEPT_AT_ONCE, Store, StoreError, TEMPORARY_KEPT, day, millis, now_ms,
};

/// How often a running gateway looks for what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// How often it looks for what was deleted and can no longer be brought back.
const DELETED_SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How long the count of a day's tokens is kept, in days.
const TOKENS_KEPT_DAYS: i64 = 31;

impl Store {
    /// Forgets what is too old, now and from time to time, until the drain begins. Cancel-safe.
    pub async fn keep_swept(&self, retention: Option<Duration>, shutdown: &Shutdown) {
        let mut ageing = interval(SWEEP_INTERVAL);
        let mut deleted = interval(DELETED_SWEEP_INTERVAL);
        loop {
            let swept = tokio::select! {
                () = shutdown.draining() => return,
                _ = ageing.tick() => self.sweep(retention).await,
                _ = deleted.tick() => self.sweep_deleted().await.map(|()| 0),
            };
            match swept {
                Ok(0) => {}
                Ok(conversations) => {
                    tracing::info!(conversations, "deleted conversations that were too old");
                }
                Err(error) => tracing::warn!(%error, "cannot delete old conversations, retrying"),
            }
        }
    }

    /// Forgets what is too old: conversations that did not change for `retention`, temporary ones after
    /// [`TEMPORARY_KEPT`], requests after [`REQUESTS_KEPT`], deleted conversations once they cannot be brought back. Others
    /// with an unfinished answer stay. Returns how many conversations were too old.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn sweep(&self, retention: Option<Duration>) -> Result<u64, StoreError> {
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

/// Ticks at once, and then from time to time.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
