//! A copy of the database, made while the service runs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::open::private_file;
use crate::store::{BUSY_TIMEOUT, FILE, StoreError};

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is there already.
    #[error("{} exists; name a new file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A server keeps everything.
    #[error("GATEWAY_STORE names a PostgreSQL server: back it up with its own pg_dump")]
    Server,
    /// There is no database.
    #[error("GATEWAY_DATA: there is no {}", .0.display())]
    Missing(PathBuf),
    /// The database cannot be read, or the copy not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the database in `dir` to `file`, beside a service that may be running.
///
/// # Errors
///
/// When the file exists or cannot be written, or the database cannot be read.
pub async fn backup(dir: &Path, file: &Path) -> Result<(), BackupError> {
    let database = dir.join(FILE);
    if !database.exists() {
        return Err(BackupError::Missing(database));
    }
    copy(&database, file).await
}

impl SqliteStore {
    pub(in crate::store) async fn backup(&self, file: &Path) -> Result<(), BackupError> {
        copy(&self.shared.file, file).await
    }
}

async fn copy(database: &Path, file: &Path) -> Result<(), BackupError> {
    // The name is taken at once and empty, so that two backups cannot both write it; SQLite fills an empty file.
    match private_file(file) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists(file.to_owned()));
        }
        Err(error) => return Err(unwritable(file, error)),
    }
    let copied = vacuum(database, file).await;
    if copied.is_err() {
        // What is half written is no backup. That it could not be deleted either is told by the error before.
        fs::remove_file(file).ok();
    }
    copied
}

async fn vacuum(database: &Path, file: &Path) -> Result<(), BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut connection: SqliteConnection = options.connect().await.map_err(StoreError::from)?;
    let name = file.to_string_lossy();
    sqlx::query("VACUUM INTO ?")
        .bind(name.as_ref())
        .execute(&mut connection)
        .await
        .map_err(StoreError::from)?;
    connection.close().await.map_err(StoreError::from)?;
    let synced = File::open(file).and_then(|file| file.sync_all());
    synced.map_err(|error| unwritable(file, error))
}

fn unwritable(path: &Path, error: io::Error) -> BackupError {
    BackupError::Unwritable {
        path: path.to_owned(),
        error,
    }
}
