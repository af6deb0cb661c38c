//! The store in one SQLite file.
//!
//! Owns the file in `GATEWAY_DATA` and every statement to it. It has one writer, and one gateway at a time.

mod answers;
mod backup;
mod change;
mod create;
mod delete;
mod documents;
mod open;
mod read;
mod requests;
mod restore;
mod search;
mod sweep;
mod texts;
mod turns;
mod waiting;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, SqlitePool};

use crate::store::{StoreError, TURN_TIMEOUT};

pub use backup::{BackupError, backup};
pub use open::OpenError;
pub use restore::{RestoreError, check, restore};

/// A [`Store`](super::Store) in a file. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct SqliteStore {
    shared: Arc<OpenStore>,
}

#[derive(Debug)]
struct OpenStore {
    /// One connection: SQLite has one writer at a time anyway, and waiting here is fair.
    writer: SqlitePool,
    readers: SqlitePool,
    file: PathBuf,
    /// Held so that no second gateway takes our running answers for interrupted ones.
    _lock: File,
}

/// A transaction that writes. Dropped before [`SqliteWriting::commit`] it leaves nothing behind.
struct SqliteWriting {
    connection: PoolConnection<Sqlite>,
    ended: bool,
}

impl SqliteStore {
    /// Connections that only read.
    pub(in crate::store) fn readers(&self) -> &SqlitePool {
        &self.shared.readers
    }

    /// Closes the file once what runs has ended; the journal is then written into it. Afterwards nothing works any more.
    pub(in crate::store) async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }

    /// Waits for the turn to write. What is committed is on disk.
    async fn write(&self) -> Result<SqliteWriting, StoreError> {
        self.write_after("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            .await
    }

    /// Waits for the turn to write something that may be lost when the machine loses its power, though not when the
    /// process is killed. It waits for no disk.
    async fn write_lightly(&self) -> Result<SqliteWriting, StoreError> {
        self.write_after("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
            .await
    }

    async fn write_after(&self, statements: &'static str) -> Result<SqliteWriting, StoreError> {
        let turn = async {
            let connection = self.shared.writer.acquire().await?;
            let mut writing = SqliteWriting {
                connection,
                ended: false,
            };
            sqlx::raw_sql(statements).execute(writing.on()).await?;
            Ok::<_, StoreError>(writing)
        };
        tokio::time::timeout(TURN_TIMEOUT, turn)
            .await
            .map_err(|_| StoreError::Busy)?
    }
}

impl SqliteWriting {
    fn on(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Returns once what was written is on disk.
    async fn commit(mut self) -> Result<(), StoreError> {
        sqlx::query("COMMIT").execute(self.on()).await?;
        self.ended = true;
        Ok(())
    }

    /// Leaves everything as it was, because of `outcome`.
    async fn leave<T>(mut self, outcome: T) -> Result<T, StoreError> {
        sqlx::query("ROLLBACK").execute(self.on()).await?;
        self.ended = true;
        Ok(outcome)
    }
}

impl Drop for SqliteWriting {
    fn drop(&mut self) {
        // Closing rolls back. After a failure nobody knows whether SQLite has already done so, and sqlx would count wrongly.
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
