//! What the gateway keeps: conversations, their messages, and the requests that made them, in one SQLite file or in a
//! PostgreSQL database.
//!
//! Owns the file in `GATEWAY_DATA` or the database of `GATEWAY_STORE`, and every statement. Knows nothing of sockets, models
//! or people: an owner is an opaque string. What a verb acknowledges is on disk. A conversation of another owner looks
//! exactly like one that does not exist. Start reading at [`Store`]; `verbs.rs` lists what it can do, `sqlite/turns.rs` and
//! `postgres/turns.rs` hold the life of an answer.

mod documents;
mod markdown;
mod postgres;
mod records;
mod rows;
mod search;
mod sqlite;
mod sweep;
mod texts;
mod transfer;
mod verbs;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::answer::written::Written;
use crate::instance::InstanceId;
use crate::protocol::record::{
    AnswerOptions, AnswerProblem, AnswerStatus, AnswerTimings, ContentPart, ContextUse,
    FinishReason, TokenUsage,
};
use crate::protocol::v2::Accepted;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;

pub use documents::{Exported, ImportError, MAX_IMPORT_BYTES, MAX_IMPORT_MESSAGES};
pub use postgres::{ServerAddress, ServerError, ServerOpenError};
pub use records::{
    ConversationChange, DeletedConversation, InterruptedAnswer, ListPlace, OwnOpen,
    RestoredConversation, StoredAnswer,
};
use records::{QueuedQuestion, TurnPlace};
pub use search::{MAX_QUERY_CHARS, SearchHit};
pub use sqlite::{BackupError, OpenError, RestoreError, backup, check, restore};
pub use transfer::{TransferError, Transferred, transfer};

/// The database's file in `GATEWAY_DATA`.
pub const FILE: &str = "chat.db";
/// How long a request, and so its id, is remembered.
pub const REQUESTS_KEPT: Duration = Duration::from_hours(24);
/// How long a temporary conversation is kept after its last change.
pub const TEMPORARY_KEPT: Duration = Duration::from_hours(24);
/// How long a deleted conversation can be brought back.
pub const RESTORABLE: Duration = Duration::from_secs(60);
/// Conversations deleted in one transaction of a sweep, so that others get their turn between.
const SWEPT_AT_ONCE: u32 = 50;
/// How long a statement waits for a lock that somebody else holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a verb waits for its turn and for that lock together.
const TURN_TIMEOUT: Duration = Duration::from_millis(5500);
/// Statements that read at once.
const READERS: u32 = 4;
/// The longest path from a root to a leaf that is read, in messages.
pub const MAX_PATH: u32 = 10_000;
/// The most messages or conversations in one page.
pub const MAX_PAGE: u32 = 200;
/// The most folders that are listed.
pub const MAX_FOLDERS: u32 = 1_000;

/// The conversations of everybody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Backend,
}

#[derive(Clone, Debug)]
enum Backend {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

/// Something to keep before it is acknowledged: a question, its answer's row, and the request.
#[derive(Clone, Debug)]
pub struct NewTurn<'a> {
    /// Whose conversation it is.
    pub owner: &'a str,
    /// The client's request.
    pub request: RequestKey<'a>,
    /// Where it goes on.
    pub conversation: NewOrOld<'a>,
    /// The answer that the question follows, or the question that is answered again. None: at the root.
    pub parent: Option<Uuid>,
    /// The question. None: another answer to `parent`.
    pub question: Option<(Uuid, &'a [ContentPart])>,
    /// The answer's id.
    pub answer: Uuid,
    /// Running or waiting.
    pub status: AnswerStatus,
    /// What it is asked with.
    pub options: &'a AnswerOptions,
}

/// What tells a request from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey<'a> {
    /// The client's own id.
    pub id: &'a str,
    /// The digest of its body.
    pub digest: [u8; 32],
}

/// A conversation to begin, or one to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewOrOld<'a> {
    /// Begin one.
    New {
        /// Its id.
        id: Uuid,
        /// From its first words.
        title: &'a str,
        /// Keep it for a day, out of list and search.
        temporary: bool,
        /// Its system prompt.
        system: Option<&'a str>,
    },
    /// Go on with this one.
    Old(Uuid),
}

/// How beginning went.
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// It is kept.
    Begun {
        /// The conversation's revision now.
        revision: u64,
        /// What the answer's owner writes it as.
        run: AnswerRun,
    },
    /// Another gateway writes an answer of this conversation, and must be asked. Nothing is kept.
    Elsewhere(InstanceId),
    /// The same request was taken before; this is what it was told.
    Before(Accepted),
    /// Another request has this id.
    Conflict,
    /// The conversation or the parent is unknown or somebody else's, or the parent cannot be followed like this.
    NotFound,
    /// The answer that should go on has not ended, or is whole.
    Taken,
}

/// An answer, and how often it was begun. Whoever writes it names both, so that one who was taken for dead writes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AnswerRun {
    /// The answer.
    pub answer: Uuid,
    /// 1 for the first time.
    pub run: u32,
}

impl AnswerRun {
    /// An answer that was begun once.
    #[must_use]
    pub const fn first(answer: Uuid) -> Self {
        Self { answer, run: 1 }
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerEnd {
    /// A final one.
    pub status: AnswerStatus,
    /// Of a whole one.
    pub finish_reason: Option<FinishReason>,
    /// Of a failed one.
    pub error: Option<AnswerProblem>,
    /// If the model counted.
    pub usage: Option<TokenUsage>,
    /// Once it began.
    pub timings: Option<AnswerTimings>,
    /// Once it was asked for.
    pub context: Option<ContextUse>,
    /// All of it.
    pub written: Written,
}

impl AnswerEnd {
    /// The end of an answer of which nothing else is known.
    #[must_use]
    pub const fn plain(status: AnswerStatus, written: Written) -> Self {
        Self {
            status,
            finish_reason: None,
            error: None,
            usage: None,
            timings: None,
            context: None,
            written,
        }
    }
}

/// Bytes of an answer that are taken for one token when nobody counted.
const BYTES_PER_TOKEN: u64 = 3;

impl AnswerEnd {
    /// The tokens that it took. Those of an answer that was cut are estimated, so that stopping is not free.
    fn spent(&self) -> u64 {
        if let Some(usage) = &self.usage {
            return u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens);
        }
        // Somebody who stops it before its first character may have had the whole prompt read.
        if self.timings.is_none() && self.status != AnswerStatus::Stopped {
            return 0;
        }
        let prompt = self.context.map_or(0, |context| u64::from(context.used));
        prompt + self.written.position() / BYTES_PER_TOKEN
    }
}

/// Why something could not be kept or read. A client is told `storage_unavailable`, whichever it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room. It works again once there is.
    #[error("the disk of GATEWAY_DATA is full")]
    Full,
    /// Another process holds the database, or too many wait for it.
    #[error("the database in GATEWAY_DATA was locked for {} s", BUSY_TIMEOUT.as_secs())]
    Busy,
    /// The file is damaged.
    #[error("the database in GATEWAY_DATA is damaged; restore a backup")]
    Damaged,
    /// The answer does not exist any more, or another gateway has ended the run that was to be written.
    #[error("the answer was deleted")]
    Gone,
    /// Anything else.
    #[error("the database in GATEWAY_DATA failed: {0}")]
    Failed(sqlx::Error),
    /// The server of `GATEWAY_STORE`.
    #[error(transparent)]
    Server(ServerError),
}

impl From<ServerError> for StoreError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Gone => Self::Gone,
            error => Self::Server(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's result codes; the low byte is the primary one.
        const BUSY: i32 = 5;
        const LOCKED: i32 = 6;
        const CORRUPT: i32 = 11;
        const FULL: i32 = 13;
        const NOT_A_DATABASE: i32 = 26;
        // The shared memory beside the file could not grow.
        const IO_SHM_SIZE: i32 = 10 | (19 << 8);
        let code = match &error {
            sqlx::Error::PoolTimedOut => return Self::Busy,
            sqlx::Error::RowNotFound => return Self::Gone,
            sqlx::Error::Database(database) => {
                database.code().and_then(|code| code.parse::<i32>().ok())
            }
            _ => None,
        };
        match code {
            Some(IO_SHM_SIZE) => Self::Full,
            Some(code) => match code & 0xff {
                FULL => Self::Full,
                BUSY | LOCKED => Self::Busy,
                CORRUPT | NOT_A_DATABASE => Self::Damaged,
                _ => Self::Failed(error),
            },
            None => Self::Failed(error),
        }
    }
}

impl Store {
    /// Opens the SQLite database in `dir`, or creates it. What was running or waiting becomes interrupted with the text it
    /// has; what is too old is deleted.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used, or the file is damaged, foreign, newer or in use. It is then as it was.
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        let backend = Backend::Sqlite(SqliteStore::open(dir).await?);
        Ok(Self { backend })
    }

    /// Opens the PostgreSQL database at `address` for the gateway `instance`, and makes its tables when it is empty. Without
    /// a bus it waits until no other gateway uses the database.
    ///
    /// # Errors
    ///
    /// When the server cannot be used, or the database is foreign, newer, or in use by a gateway without a bus.
    pub async fn connect(
        address: &ServerAddress,
        instance: InstanceId,
        has_bus: bool,
    ) -> Result<Self, ServerOpenError> {
        let backend = Backend::Postgres(PostgresStore::open(address, instance, has_bus).await?);
        Ok(Self { backend })
    }

    /// Closes the database once what runs has ended; SQLite's journal is then written into its file. Other gateways learn
    /// that this one has left. Afterwards nothing works any more.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(store) => store.close().await,
            Backend::Postgres(store) => store.close().await,
        }
    }

    /// Copies the database to `file`, which must not exist. Others read and write meanwhile.
    ///
    /// # Errors
    ///
    /// When the file exists or cannot be written, or the database cannot be read. PostgreSQL is copied with `pg_dump`.
    pub async fn backup(&self, file: &Path) -> Result<(), BackupError> {
        match &self.backend {
            Backend::Sqlite(store) => store.backup(file).await,
            Backend::Postgres(_) => Err(BackupError::Server),
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Days since 1970 in UTC.
fn day(now_ms: i64) -> i64 {
    now_ms.div_euclid(24 * 60 * 60 * 1000)
}

/// Times and revisions are never negative in the file.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
