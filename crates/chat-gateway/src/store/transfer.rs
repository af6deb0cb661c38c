//! Moving what a SQLite file holds to a PostgreSQL database, while no gateway runs on either.
//!
//! Rows go over in transactions of a thousand. Until the last one has, a table in the target says that the copy has not
//! ended: no gateway opens such a database, and the next try begins anew. The file stays as it is.

use std::path::{Path, PathBuf};

use futures_util::{Stream, TryStreamExt as _};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, FromRow};
use uuid::Uuid;

use crate::identity::{CookieError, kept_key};
use crate::instance::InstanceId;
use crate::store::postgres::{ServerAddress, ServerError, ServerOpenError, keepable, prepare};
use crate::store::postgres::{is_in_use, is_unfinished};
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::store::texts::folded;
use crate::store::{FILE, StoreError};

/// Rows of one transaction.
const ROWS_AT_ONCE: u64 = 1_000;

/// Why nothing was moved, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// There is no file.
    #[error("there is no {}; name the folder that GATEWAY_DATA named", .0.display())]
    Missing(PathBuf),
    /// The key of anonymous users cannot be read.
    #[error(transparent)]
    Key(#[from] CookieError),
    /// The file cannot be opened.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The file cannot be read.
    #[error(transparent)]
    Read(StoreError),
    /// The database cannot be opened.
    #[error(transparent)]
    Target(#[from] ServerOpenError),
    /// The database has conversations of its own.
    #[error("the database {0} is not empty; name an empty one")]
    NotEmpty(String),
    /// The database cannot be written.
    #[error("{0}. Nothing of the file has changed; run this command again to begin anew")]
    Write(ServerError),
    /// The two do not hold the same afterwards.
    #[error(
        "the file has {from} rows of {table}, and {to} arrived; run this command again to begin anew"
    )]
    Incomplete {
        /// Which.
        table: &'static str,
        /// In the file.
        from: u64,
        /// In the database.
        to: u64,
    },
}

/// How much was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Conversations.
    pub conversations: u64,
    /// Questions and answers.
    pub messages: u64,
    /// Requests that are still remembered.
    pub requests: u64,
    /// Days of users whose tokens are counted.
    pub days: u64,
    /// Texts that search reads.
    pub texts: u64,
}

/// Copies the SQLite database in the folder `from` to the PostgreSQL database at `to`, which must be empty. Answers that
/// were open become interrupted.
///
/// # Errors
///
/// When either cannot be used, is in use, or the target is not empty.
pub async fn transfer(from: &Path, to: &ServerAddress) -> Result<Transferred, TransferError> {
    let file = from.join(FILE);
    if !file.exists() {
        return Err(TransferError::Missing(file));
    }
    // As a gateway opens it: alone, brought up to date, and with nothing open.
    let source = SqliteStore::open(from).await?;
    let mut target = prepare(to).await?;
    clear(&mut target, to).await?;
    keep_key(from, &mut target).await?;
    let moved = copy_all(&source, &mut target).await?;
    source.close().await;
    target.close().await.map_err(written)?;
    Ok(moved)
}

/// Marks the target as unfinished, and empties it of an earlier try.
async fn clear(target: &mut PgConnection, to: &ServerAddress) -> Result<(), TransferError> {
    let nobody = InstanceId::generate();
    let is_in_use = is_in_use(target, nobody, false).await;
    if is_in_use.map_err(TransferError::Write)? {
        return Err(ServerOpenError::InUse(to.to_string()).into());
    }
    let is_unfinished = is_unfinished(target).await.map_err(TransferError::Write)?;
    let is_used: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM conversations) OR EXISTS (SELECT 1 FROM requests) \
         OR EXISTS (SELECT 1 FROM tokens_spent)",
    )
    .fetch_one(&mut *target)
    .await
    .map_err(written)?;
    if is_used && !is_unfinished {
        return Err(TransferError::NotEmpty(to.to_string()));
    }
    let mut together = target.begin().await.map_err(written)?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS transfer_unfinished (); \
         TRUNCATE conversations, messages, requests, tokens_spent, texts",
    )
    .execute(&mut *together)
    .await
    .map_err(written)?;
    together.commit().await.map_err(written)
}

/// Anonymous users stay who they are.
async fn keep_key(from: &Path, target: &mut PgConnection) -> Result<(), TransferError> {
    let Some(key) = kept_key(from)? else {
        return Ok(());
    };
    let kept = sqlx::query(
        "INSERT INTO keys (name, value) VALUES ('cookie', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    );
    let kept = kept.bind(key.as_slice()).execute(target).await;
    kept.map(drop).map_err(written)
}

async fn copy_all(
    source: &SqliteStore,
    target: &mut PgConnection,
) -> Result<Transferred, TransferError> {
    let from = source.readers();
    let rows = sqlx::query_as("SELECT * FROM conversations ORDER BY updated_ms").fetch(from);
    let conversations = copy(rows, target, keep_conversation).await?;
    // In their order, so that each comes after its parent.
    let rows = sqlx::query_as("SELECT * FROM messages ORDER BY n").fetch(from);
    let messages = copy(rows, target, keep_message).await?;
    let rows = sqlx::query_as("SELECT * FROM requests").fetch(from);
    let requests = copy(rows, target, keep_request).await?;
    let rows = sqlx::query_as("SELECT * FROM tokens_spent").fetch(from);
    let days = copy(rows, target, keep_day).await?;
    let rows = sqlx::query_as("SELECT * FROM texts ORDER BY n").fetch(from);
    let texts = copy(rows, target, keep_text).await?;
    let moved = Transferred {
        conversations,
        messages,
        requests,
        days,
        texts,
    };
    for (table, count, from) in [
        (
            "conversations",
            "SELECT count(*) FROM conversations",
            conversations,
        ),
        ("messages", "SELECT count(*) FROM messages", messages),
        ("requests", "SELECT count(*) FROM requests", requests),
        ("tokens_spent", "SELECT count(*) FROM tokens_spent", days),
        ("texts", "SELECT count(*) FROM texts", texts),
    ] {
        let to: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *target)
            .await
            .map_err(written)?;
        let to = super::unsigned(to);
        if to != from {
            return Err(TransferError::Incomplete { table, from, to });
        }
    }
    let mut together = target.begin().await.map_err(written)?;
    sqlx::raw_sql(
        "SELECT setval(pg_get_serial_sequence('messages', 'n'), greatest(max(n), 1)) FROM messages; \
         SELECT setval(pg_get_serial_sequence('texts', 'n'), greatest(max(n), 1)) FROM texts; \
         DROP TABLE transfer_unfinished",
    )
    .execute(&mut *together)
    .await
    .map_err(written)?;
    together.commit().await.map_err(written)?;
    sqlx::raw_sql("ANALYZE conversations, messages, requests, texts")
        .execute(&mut *target)
        .await
        .map_err(written)?;
    Ok(moved)
}

/// Copies all rows of a table, so many in one transaction. Returns how many there were.
async fn copy<R>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
    target: &mut PgConnection,
    keep: impl AsyncFn(&mut PgConnection, R) -> Result<(), sqlx::Error>,
) -> Result<u64, TransferError> {
    let mut rows = std::pin::pin!(rows);
    let mut copied = 0;
    loop {
        let mut together = target.begin().await.map_err(written)?;
        let mut taken = 0;
        while taken < ROWS_AT_ONCE {
            let row = rows.try_next().await;
            let Some(row) = row.map_err(|error| TransferError::Read(error.into()))? else {
                together.commit().await.map_err(written)?;
                return Ok(copied + taken);
            };
            keep(&mut *together, row).await.map_err(written)?;
            taken += 1;
        }
        together.commit().await.map_err(written)?;
        copied += taken;
    }
}

fn written(error: sqlx::Error) -> TransferError {
    TransferError::Write(error.into())
}

/// A row of `conversations`, with the columns that only the store reads.
#[derive(FromRow)]
struct MovedConversation {
    id: Uuid,
    owner: String,
    owner_tag: String,
    title: String,
    created_ms: i64,
    updated_ms: i64,
    revision: i64,
    temporary: bool,
    pinned: bool,
    folder: Option<String>,
    system: Option<String>,
    leaf: Option<Uuid>,
    deleted_owner: Option<String>,
    deleted_ms: Option<i64>,
}

async fn keep_conversation(
    on: &mut PgConnection,
    row: MovedConversation,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO conversations (id, owner, owner_tag, title, created_ms, updated_ms, revision, temporary, pinned, \
         folder, system, leaf, deleted_owner, deleted_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(row.id)
    .bind(row.owner)
    .bind(row.owner_tag)
    .bind(keepable(&row.title))
    .bind(row.created_ms)
    .bind(row.updated_ms)
    .bind(row.revision)
    .bind(row.temporary)
    .bind(row.pinned)
    .bind(row.folder.as_deref().map(keepable))
    .bind(row.system.as_deref().map(keepable))
    .bind(row.leaf)
    .bind(row.deleted_owner)
    .bind(row.deleted_ms)
    .execute(on)
    .await?;
    Ok(())
}

/// A row of `messages`, with its number.
#[derive(FromRow)]
struct MovedMessage {
    n: i64,
    id: Uuid,
    conversation: Uuid,
    parent: Option<Uuid>,
    created_ms: i64,
    content: String,
    status: Option<String>,
    written: Vec<u8>,
    runs: String,
    finish_reason: Option<String>,
    error: Option<String>,
    usage: Option<String>,
    timings: Option<String>,
    context: Option<String>,
    options: String,
}

async fn keep_message(on: &mut PgConnection, row: MovedMessage) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO messages (n, id, conversation, parent, created_ms, content, status, written, runs, finish_reason, \
         error, usage, timings, context, options, run) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
         $14, $15, CASE WHEN $7 IS NULL THEN 0 ELSE 1 END)",
    )
    .bind(row.n)
    .bind(row.id)
    .bind(row.conversation)
    .bind(row.parent)
    .bind(row.created_ms)
    .bind(row.content)
    .bind(row.status)
    .bind(row.written)
    .bind(row.runs)
    .bind(row.finish_reason)
    .bind(row.error)
    .bind(row.usage)
    .bind(row.timings)
    .bind(row.context)
    .bind(row.options)
    .execute(on)
    .await?;
    Ok(())
}

/// A row of `requests`.
#[derive(FromRow)]
struct MovedRequest {
    owner: String,
    id: String,
    digest: Vec<u8>,
    created_ms: i64,
    conversation: Uuid,
    revision: i64,
    message: Uuid,
    answer: Uuid,
    options: String,
}

async fn keep_request(on: &mut PgConnection, row: MovedRequest) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO requests (owner, id, digest, created_ms, conversation, revision, message, answer, options) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(row.owner)
    .bind(row.id.into_bytes())
    .bind(row.digest)
    .bind(row.created_ms)
    .bind(row.conversation)
    .bind(row.revision)
    .bind(row.message)
    .bind(row.answer)
    .bind(row.options)
    .execute(on)
    .await?;
    Ok(())
}

async fn keep_day(
    on: &mut PgConnection,
    (owner, day, tokens): (String, i64, i64),
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO tokens_spent (owner, day, tokens) VALUES ($1, $2, $3)")
        .bind(owner)
        .bind(day)
        .bind(tokens)
        .execute(on)
        .await?;
    Ok(())
}

/// A row of `texts`.
#[derive(FromRow)]
struct MovedText {
    n: i64,
    conversation: Uuid,
    owner_tag: String,
    message: Option<Uuid>,
    text: String,
}

async fn keep_text(on: &mut PgConnection, row: MovedText) -> Result<(), sqlx::Error> {
    let text = keepable(&row.text);
    sqlx::query(
        "INSERT INTO texts (n, conversation, owner_tag, message, text, folded) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(row.n)
    .bind(row.conversation)
    .bind(row.owner_tag)
    .bind(row.message)
    .bind(&*text)
    .bind(folded(&text))
    .execute(on)
    .await?;
    Ok(())
}
