//! The store in a PostgreSQL database, which several gateways may share.
//!
//! Owns the connections to the server of `GATEWAY_STORE` and every statement to it. Each verb that changes a conversation
//! locks its row first. So the verbs of one conversation run one after the other, at whichever gateway, and never deadlock.
//! A gateway writes answers only in conversations whose home it is.

mod address;
mod answers;
mod conversations;
mod documents;
mod error;
mod gateways;
mod open;
mod read;
mod requests;
mod rows;
mod search;
mod sweep;
mod texts;
mod turns;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::AbortHandle;

use crate::instance::InstanceId;
use crate::store::postgres::gateways::Pulse;
use crate::store::{StoreError, TURN_TIMEOUT};

pub use address::ServerAddress;
pub use error::ServerError;
pub(super) use gateways::is_in_use;
pub use open::ServerOpenError;
pub(super) use open::{is_unfinished, prepare};
pub(super) use texts::keepable;

/// Transactions that write at once.
const WRITERS: u32 = 4;

/// A [`Store`](super::Store) in a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct PostgresStore {
    shared: Arc<OpenServer>,
}

#[derive(Debug)]
struct OpenServer {
    /// Apart from the readers, so that long searches never hold up an answer.
    writers: PgPool,
    readers: PgPool,
    instance: InstanceId,
    /// Keeps this gateway's row fresh.
    heartbeat: AbortHandle,
    pulse: Pulse,
}

impl Drop for OpenServer {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// A transaction that writes. Dropped before [`PostgresWriting::commit`] it leaves nothing behind.
struct PostgresWriting {
    transaction: Transaction<'static, Postgres>,
}

impl PostgresStore {
    /// Waits for the turn to write. What is committed is on the server's disk.
    async fn write(&self) -> Result<PostgresWriting, ServerError> {
        let turn = self.shared.writers.begin();
        let transaction = tokio::time::timeout(TURN_TIMEOUT, turn)
            .await
            .map_err(|_| ServerError::Busy)??;
        Ok(PostgresWriting { transaction })
    }
}

impl PostgresWriting {
    fn on(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Returns once what was written is on disk.
    async fn commit(self) -> Result<(), ServerError> {
        Ok(self.transaction.commit().await?)
    }

    /// Rolls back, and returns `outcome`.
    async fn leave<T>(self, outcome: T) -> Result<T, ServerError> {
        self.transaction.rollback().await?;
        Ok(outcome)
    }
}

/// Waits for a verb no longer than `limit`, because a broken network may report no error.
pub(super) async fn in_time<T>(
    limit: Duration,
    verb: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, verb).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ServerError::Silent(limit).into()),
    }
}
