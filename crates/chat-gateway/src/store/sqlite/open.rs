//! Opening the database: what is damaged or foreign is refused and left as it is, what is missing is created.
//!
//! A new database is built beside its place and moved there whole, so a file in that place is always complete or damaged.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::store::rows::written;
use crate::store::sqlite::texts::index_answer;
use crate::store::sqlite::{OpenStore, SqliteStore};
use crate::store::{BUSY_TIMEOUT, FILE, READERS, StoreError, TURN_TIMEOUT, now_ms};

/// The mark of our files in SQLite's header: "Corr".
const APPLICATION_ID: u32 = 0x436f_7272;
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// SQLite's header, in bytes.
const HEADER_BYTES: usize = 100;
/// How long a new gateway waits for the one it replaces, which may be draining.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long the search for damage may take at start. A large file is searched as far as this goes.
const SEARCH_TIME: Duration = Duration::from_secs(1);
/// SQLite asks after so many of its instructions whether to go on.
const SEARCH_STEPS: i32 = 10_000;
/// The journal is cut to this size when it can be, in bytes.
const JOURNAL_BYTES: &str = "67108864";

/// The schema's steps, oldest first.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "conversations",
        include_str!("../../../migrations/sqlite/0001_conversations.sql"),
    ),
    (
        2,
        "pinned first",
        include_str!("../../../migrations/sqlite/0002_pinned_first.sql"),
    ),
    (
        3,
        "deleted",
        include_str!("../../../migrations/sqlite/0003_deleted.sql"),
    ),
];

/// Why the database cannot be opened, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be used.
    #[error(
        "GATEWAY_DATA: cannot use {}: {error}. It must name a folder that chat-gateway may write to",
        path.display()
    )]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another gateway has it.
    #[error("GATEWAY_DATA: another chat-gateway uses {}; stop it, or set another folder", .0.display())]
    InUse(PathBuf),
    /// The file is no database of ours.
    #[error(
        "GATEWAY_DATA: {} is not a database of chat-gateway. It is left as it is; move it away, or set another folder",
        .0.display()
    )]
    Foreign(PathBuf),
    /// The file is damaged.
    #[error(
        "GATEWAY_DATA: {} is damaged ({reason}). It is left as it is; restore a backup in its place, or move it away to \
         begin anew",
        path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// A newer gateway made it.
    #[error(
        "GATEWAY_DATA: a newer chat-gateway, or a build between two releases, made {}; start that one, or set another folder",
        .0.display()
    )]
    Newer(PathBuf),
    /// It is whole, but does not work now.
    #[error("GATEWAY_DATA: {} cannot be opened: {error}", path.display())]
    Failed {
        /// Which.
        path: PathBuf,
        /// Why.
        error: StoreError,
    },
}

impl SqliteStore {
    pub(in crate::store) async fn open(dir: &Path) -> Result<Self, OpenError> {
        let file = dir.join(FILE);
        fs::create_dir_all(dir).map_err(|error| unusable(dir, error))?;
        let lock = lock(dir).await?;
        match fs::metadata(&file) {
            Ok(_) => inspect(&file).await?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &file).await?,
            Err(error) => return Err(unusable(&file, error)),
        }
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("journal_size_limit", JOURNAL_BYTES)
            // Deleted words leave the file where that costs no further writing.
            .pragma("secure_delete", "fast")
            .disable_statement_logging();
        let writer = PoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false);
        let readers = PoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false);
        let store = Self {
            shared: Arc::new(OpenStore {
                writer: writer.connect_lazy_with(options.clone()),
                readers: readers.connect_lazy_with(options.pragma("query_only", "on")),
                file: file.clone(),
                _lock: lock,
            }),
        };
        store.migrate(&file).await?;
        let recovered = async {
            store.interrupt().await?;
            store.sweep(None).await
        };
        recovered.await.map_err(|error| failed(&file, error))?;
        Ok(store)
    }

    async fn migrate(&self, file: &Path) -> Result<(), OpenError> {
        let acquired = self.shared.writer.acquire().await;
        let mut connection = acquired.map_err(|error| failed(file, error.into()))?;
        migrate(&mut connection, file).await
    }

    /// Nobody writes what a gateway before us left unfinished.
    async fn interrupt(&self) -> Result<(), StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let left: Vec<(Uuid, Uuid, Vec<u8>, String)> = sqlx::query_as(
            "UPDATE messages SET status = 'interrupted' WHERE status IN ('waiting', 'running') \
             RETURNING id, conversation, written, runs",
        )
        .fetch_all(&mut *on)
        .await?;
        for (answer, conversation, text, runs) in left {
            let (_, text) = written(text, &runs)?.split();
            index_answer(on, answer, &text).await?;
            sqlx::query(
                "UPDATE conversations SET revision = revision + 1, updated_ms = max(updated_ms, ?) WHERE id = ?",
            )
            .bind(now_ms())
            .bind(conversation)
            .execute(&mut *on)
            .await?;
        }
        writing.commit().await
    }
}

/// Takes the folder for this process alone, until the file is closed.
pub(super) async fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("chat.lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(|error| unusable(&path, error))?;
    let deadline = tokio::time::Instant::now() + LOCK_TIMEOUT;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(unusable(&path, error)),
            Err(TryLockError::WouldBlock) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(OpenError::InUse(dir.to_owned()));
        }
        if !is_told {
            tracing::info!("waiting for the chat-gateway that uses GATEWAY_DATA to end");
            is_told = true;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// Builds a new database beside its place and moves it there.
async fn create(dir: &Path, file: &Path) -> Result<(), OpenError> {
    let fresh = dir.join("chat.db.new");
    for leftover in ["", "-journal", "-wal", "-shm"] {
        let leftover = dir.join(format!("chat.db.new{leftover}"));
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unusable(&leftover, error));
            }
            _ => {}
        }
    }
    private_file(&fresh).map_err(|error| unusable(&fresh, error))?;
    let options = SqliteConnectOptions::new()
        .filename(&fresh)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .pragma("application_id", APPLICATION_ID.to_string())
        .disable_statement_logging();
    let connected = options.connect().await;
    let mut connection = connected.map_err(|error| failed(file, error.into()))?;
    migrate(&mut connection, file).await?;
    let closed = connection.close().await;
    closed.map_err(|error| failed(file, error.into()))?;
    fs::rename(&fresh, file).map_err(|error| unusable(file, error))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| unusable(dir, error))
}

/// An empty file that nobody else may read. It must not exist.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// The schema's steps as sqlx knows them, with their checksums.
fn steps() -> Vec<Migration> {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    migrations.collect()
}

/// Looks whether every step that `file` has taken is one of ours, without changing a byte of it.
pub(super) async fn is_known(file: &Path) -> Result<(), OpenError> {
    let taken = async {
        let mut connection = looking_at(file).connect().await?;
        let taken: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations")
                .fetch_all(&mut connection)
                .await?;
        connection.close().await?;
        Ok(taken)
    };
    let taken = taken
        .await
        .map_err(|error: sqlx::Error| failed(file, error.into()))?;
    let steps = steps();
    let are_ours = taken.iter().all(|(version, checksum)| {
        steps
            .iter()
            .any(|step| step.version == *version && *step.checksum == **checksum)
    });
    if are_ours {
        Ok(())
    } else {
        Err(OpenError::Newer(file.to_owned()))
    }
}

async fn migrate(connection: &mut SqliteConnection, file: &Path) -> Result<(), OpenError> {
    let migrator = Migrator::with_migrations(steps());
    // `run` does the same, but `spawn` would not take its future.
    let migrated = migrator.run_direct(None, connection, false).await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(_)
        | MigrateError::VersionTooNew(..)
        | MigrateError::VersionMismatch(_) => OpenError::Newer(file.to_owned()),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            failed(file, error.into())
        }
        error => failed(file, StoreError::Failed(sqlx::Error::Migrate(error.into()))),
    })
}

/// Looks at a database without changing a byte of it.
pub(super) async fn inspect(file: &Path) -> Result<(), OpenError> {
    let header = header(file).map_err(|error| unusable(file, error))?;
    let Some(header) = header else {
        return Err(damaged(file, "its header is missing"));
    };
    if &header[..MAGIC.len()] != MAGIC || header[68..72] != APPLICATION_ID.to_be_bytes() {
        return Err(OpenError::Foreign(file.to_owned()));
    }
    let searched = search_for_damage(&looking_at(file)).await;
    match searched.map_err(StoreError::from) {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(damaged(file, &reason)),
        Err(StoreError::Damaged) => Err(damaged(file, "SQLite cannot read it")),
        Err(error) => Err(failed(file, error)),
    }
}

/// How to read a file that nobody writes: we hold the folder's lock, or it is a backup.
fn looking_at(file: &Path) -> SqliteConnectOptions {
    let journal = PathBuf::from(format!("{}-wal", file.display()));
    let has_journal = fs::metadata(&journal).is_ok_and(|journal| journal.len() > 0);
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    // Without a journal SQLite need not make one beside the file.
    if has_journal {
        options
    } else {
        options.immutable(true)
    }
}

/// The first sign of damage that SQLite finds in [`SEARCH_TIME`].
async fn search_for_damage(options: &SqliteConnectOptions) -> Result<Option<String>, sqlx::Error> {
    let mut connection = options.connect().await?;
    // The schema is always read whole.
    sqlx::query("SELECT count(*) FROM sqlite_schema")
        .execute(&mut connection)
        .await?;
    let deadline = Instant::now() + SEARCH_TIME;
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(SEARCH_STEPS, move || Instant::now() < deadline);
    drop(handle);
    let found: Result<Option<String>, _> = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_optional(&mut connection)
        .await;
    connection.close().await?;
    match found {
        Ok(found) => Ok(found.filter(|found| found != "ok")),
        Err(error) if was_interrupted(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn was_interrupted(error: &sqlx::Error) -> bool {
    const INTERRUPT: &str = "9";
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == INTERRUPT)
}

/// The first bytes of the file; `None` when it is too short to be a database.
fn header(file: &Path) -> io::Result<Option<[u8; HEADER_BYTES]>> {
    let mut header = [0; HEADER_BYTES];
    match File::open(file)?.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn unusable(path: &Path, error: io::Error) -> OpenError {
    OpenError::Unusable {
        path: path.to_owned(),
        error,
    }
}

fn damaged(path: &Path, reason: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn failed(path: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Damaged => damaged(path, "SQLite cannot read it"),
        error => OpenError::Failed {
            path: path.to_owned(),
            error,
        },
    }
}
