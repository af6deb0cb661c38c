//! Why the server did not do what it was asked. No message holds the URL, because its password is secret.

use std::time::Duration;

use crate::store::BUSY_TIMEOUT;

/// Why the server of `GATEWAY_STORE` could not keep or read something.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no room. It works again once there is.
    #[error("the disk of the PostgreSQL server in GATEWAY_STORE is full")]
    Full,
    /// Somebody holds a lock, or too many wait.
    #[error(
        "the PostgreSQL server in GATEWAY_STORE was too busy, or out of reach, for {} s",
        BUSY_TIMEOUT.as_secs()
    )]
    Busy,
    /// It accepts no more connections.
    #[error(
        "the PostgreSQL server in GATEWAY_STORE has no connection left for this gateway; raise its max_connections"
    )]
    TooManyConnections,
    /// The connection broke, or could not be made.
    #[error("the PostgreSQL server in GATEWAY_STORE cannot be reached: {0}")]
    Lost(String),
    /// It did not answer in time.
    #[error("the PostgreSQL server in GATEWAY_STORE did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It takes no changes.
    #[error(
        "the PostgreSQL server in GATEWAY_STORE is read-only; name the primary server in GATEWAY_STORE"
    )]
    ReadOnly,
    /// Its files are damaged.
    #[error("the database in GATEWAY_STORE is damaged ({0}); restore a backup")]
    Damaged(String),
    /// The answer does not exist any more, or another gateway writes it now.
    #[error("the answer was deleted, or another gateway has it")]
    Gone,
    /// Anything else.
    #[error("the PostgreSQL server in GATEWAY_STORE failed: {0}")]
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for ServerError {
    fn from(error: sqlx::Error) -> Self {
        let database = match &error {
            sqlx::Error::PoolTimedOut => return Self::Busy,
            sqlx::Error::RowNotFound => return Self::Gone,
            sqlx::Error::Io(reason) => return Self::Lost(reason.to_string()),
            sqlx::Error::Tls(reason) => return Self::Lost(format!("TLS failed: {reason}")),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                return Self::Lost("the connections are closed".to_owned());
            }
            sqlx::Error::Database(database) => database,
            _ => return Self::Failed(error),
        };
        let message = database.message().to_owned();
        let code = database.code().unwrap_or_default().into_owned();
        // PostgreSQL's appendix A: the first two characters are the class.
        match code.as_str() {
            "53100" => Self::Full,
            "53300" => Self::TooManyConnections,
            // Out of memory; a lock, a statement's time, a deadlock, a serialisation.
            "53200" | "55P03" | "57014" | "40P01" | "40001" => Self::Busy,
            "25006" => Self::ReadOnly,
            // Shut down by its operator, crashed, starting; this session idled in a transaction.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Lost(message),
            "XX001" | "XX002" => Self::Damaged(message),
            code if code.starts_with("08") => Self::Lost(message),
            _ => Self::Failed(error),
        }
    }
}
