//! Forgetting what is too old.

use std::time::Duration;

use common::shutdown::Shutdown;
use tokio::time::{Interval, MissedTickBehavior};

use crate::store::Store;

/// How often a running gateway looks for what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// How often it looks for what was deleted and can no longer be brought back.
const DELETED_SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How long the count of a day's tokens is kept, in days.
pub(super) const TOKENS_KEPT_DAYS: i64 = 31;

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
}

/// Ticks at once, and then from time to time.
fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
