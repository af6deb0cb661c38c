//! Opens the database. One of another program or of a newer gateway is refused and left as it is. Missing tables are made,
//! by one gateway at a time.

use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};

use crate::instance::InstanceId;
use crate::store::postgres::gateways::{Pulse, is_in_use, keep_seen, say};
use crate::store::postgres::{OpenServer, PostgresStore, ServerAddress, ServerError, WRITERS};
use crate::store::{BUSY_TIMEOUT, READERS, TURN_TIMEOUT};

/// The oldest server that is supported, as `server_version_num` has it.
const OLDEST_VERSION: i32 = 150_000;
/// A server that took longer to be reached may have been away.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a new gateway waits for the server to come up.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it waits for the gateway it replaces, which may be draining.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);
/// How long one try to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The advisory lock of whoever makes tables: "Corral" and "pg".
const MIGRATION_LOCK: i64 = 0x436f_7272_616c_7067;

/// The schema's steps, oldest first.
const MIGRATIONS: &[(i64, &str, &str)] = &[(
    1,
    "conversations",
    include_str!("../../../migrations/postgres/0001_conversations.sql"),
)];

/// Why the database cannot be opened, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ServerOpenError {
    /// No connection, or the connection does not work.
    #[error("GATEWAY_STORE: cannot use the database {place}: {error}")]
    Unusable {
        /// Which.
        place: String,
        /// Why.
        error: ServerError,
    },
    /// The server lacks something.
    #[error("GATEWAY_STORE: the database {place} {lack}")]
    Unfit {
        /// Which.
        place: String,
        /// What it lacks, and what to do.
        lack: &'static str,
    },
    /// It has tables of something else.
    #[error(
        "GATEWAY_STORE: the database {0} holds something else. It is left as it is; name an empty database"
    )]
    Foreign(String),
    /// A newer gateway made it.
    #[error(
        "GATEWAY_STORE: a newer chat-gateway, or a build between two releases, made the tables of {0}; start that one, or \
         name another database"
    )]
    Newer(String),
    /// `chat-gateway migrate` did not come to its end.
    #[error(
        "GATEWAY_STORE: the copy of conversations to {0} did not end; run `chat-gateway migrate` again"
    )]
    Unfinished(String),
    /// Another gateway has it.
    #[error(
        "GATEWAY_STORE: another chat-gateway uses the database {0}, and several need a bus; set GATEWAY_BUS for all of \
         them, or stop the other one"
    )]
    InUse(String),
}

impl PostgresStore {
    pub(in crate::store) async fn open(
        address: &ServerAddress,
        instance: InstanceId,
        has_bus: bool,
    ) -> Result<Self, ServerOpenError> {
        let asked = tokio::time::Instant::now();
        let mut connection = prepare(address).await?;
        let unfinished = is_unfinished(&mut connection).await;
        if unfinished.map_err(|error| unusable(address, error))? {
            return Err(ServerOpenError::Unfinished(address.to_string()));
        }
        // Others may look dead because the server was away, and not have spoken again yet.
        let was_up = has_been_up(&mut connection).await && asked.elapsed() < SETTLED;
        wait_for_others(&mut connection, address, instance, has_bus).await?;
        // Closing gives the lock back.
        connection.close().await.ok();
        let options = address.options();
        let pulse = Pulse::begun(was_up);
        #[expect(
            clippy::disallowed_methods,
            reason = "it goes on through the drain, and is aborted with the store"
        )]
        let heartbeat = tokio::spawn(keep_seen(options.clone(), instance, has_bus, pulse.clone()))
            .abort_handle();
        let pool = PoolOptions::<Postgres>::new()
            // What is acknowledged is on disk, whatever the server's own setting.
            .after_connect(|connection, _| Box::pin(made_ready(connection)))
            .test_before_acquire(true);
        let writers = pool
            .clone()
            .max_connections(WRITERS)
            .acquire_timeout(TURN_TIMEOUT);
        let readers = pool.max_connections(READERS).acquire_timeout(BUSY_TIMEOUT);
        let store = Self {
            shared: Arc::new(OpenServer {
                writers: writers.connect_lazy_with(options.clone()),
                readers: readers.connect_lazy_with(options),
                instance,
                heartbeat,
                pulse,
            }),
        };
        match store.sweep(None).await {
            Ok(_) => Ok(store),
            Err(error) => Err(unusable(address, error)),
        }
    }
}

/// Connects once the server is up, checks the database, and makes the tables that are missing. The connection that is
/// returned holds the migration lock.
pub(in crate::store) async fn prepare(
    address: &ServerAddress,
) -> Result<PgConnection, ServerOpenError> {
    let mut connection = connect(address).await?;
    let prepared = async {
        let on = &mut connection;
        if let Some(lack) = lack(on).await? {
            let place = address.to_string();
            return Ok(Err(ServerOpenError::Unfit { place, lack }));
        }
        sqlx::query("SET lock_timeout = '30s'")
            .execute(&mut *on)
            .await?;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *on)
            .await?;
        match judge(on).await? {
            TablesFound::Foreign => return Ok(Err(ServerOpenError::Foreign(address.to_string()))),
            TablesFound::Newer => return Ok(Err(ServerOpenError::Newer(address.to_string()))),
            TablesFound::Ours => {}
        }
        migrate(on, address).await
    };
    let prepared: Result<_, ServerError> = prepared.await;
    match prepared {
        Ok(Ok(())) => Ok(connection),
        Ok(Err(refused)) => Err(refused),
        Err(error) => Err(unusable(address, error)),
    }
}

/// Connects, and waits for a server that is starting or not there yet.
async fn connect(address: &ServerAddress) -> Result<PgConnection, ServerOpenError> {
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    let mut is_told = false;
    loop {
        let options = address.patient();
        let error = match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => ServerError::from(error),
            Err(_) => ServerError::Silent(CONNECT_TIMEOUT),
        };
        let may_come = matches!(
            error,
            ServerError::Lost(_) | ServerError::Silent(_) | ServerError::TooManyConnections
        );
        if !may_come || tokio::time::Instant::now() >= deadline {
            return Err(unusable(address, error));
        }
        if !is_told {
            tracing::info!(%error, "waiting for the database");
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the server or the database lacks, and what to do.
async fn lack(on: &mut PgConnection) -> Result<Option<&'static str>, ServerError> {
    let (version, encoding, is_standby, has_trigrams, has_schema): (i32, String, bool, bool, bool) =
        sqlx::query_as(
            "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'), \
             pg_is_in_recovery(), \
             EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'), \
             current_schema() IS NOT NULL",
        )
        .fetch_one(on)
        .await?;
    let lack = if version < OLDEST_VERSION {
        "is of a server older than PostgreSQL 15; name a newer one"
    } else if encoding != "UTF8" {
        "is not encoded in UTF-8; create it with ENCODING 'UTF8'"
    } else if is_standby {
        "is of a standby, which takes no changes; name the primary server"
    } else if !has_trigrams {
        "is of a server without the extension pg_trgm; install PostgreSQL's contrib package"
    } else if !has_schema {
        "has no schema in which this user may have tables; grant it one, or set its search_path"
    } else {
        return Ok(None);
    };
    Ok(Some(lack))
}

/// Whose tables there are.
enum TablesFound {
    /// Ours, or none.
    Ours,
    Newer,
    Foreign,
}

/// Finds out whose tables there are, without changing anything.
async fn judge(on: &mut PgConnection) -> Result<TablesFound, ServerError> {
    let has_journal: bool = sqlx::query_scalar(
        "SELECT to_regclass(quote_ident(current_schema()) || '._sqlx_migrations') IS NOT NULL",
    )
    .fetch_one(&mut *on)
    .await?;
    if !has_journal {
        // What belongs to an extension is nobody's.
        let has_others: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
             AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'))",
        )
        .fetch_one(&mut *on)
        .await?;
        return Ok(if has_others {
            TablesFound::Foreign
        } else {
            TablesFound::Ours
        });
    }
    let taken: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *on)
            .await?;
    let steps = steps();
    for (n, (version, checksum)) in taken.iter().enumerate() {
        let is_ours = steps
            .iter()
            .any(|step| step.version == *version && *step.checksum == **checksum);
        if !is_ours {
            // Another program with the same journal has another first step.
            return Ok(if n == 0 {
                TablesFound::Foreign
            } else {
                TablesFound::Newer
            });
        }
    }
    Ok(TablesFound::Ours)
}

/// Whether a copy from SQLite has begun and not ended.
pub(in crate::store) async fn is_unfinished(on: &mut PgConnection) -> Result<bool, ServerError> {
    let is_unfinished = sqlx::query_scalar("SELECT to_regclass('transfer_unfinished') IS NOT NULL")
        .fetch_one(on)
        .await?;
    Ok(is_unfinished)
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

async fn migrate(
    on: &mut PgConnection,
    address: &ServerAddress,
) -> Result<Result<(), ServerOpenError>, ServerError> {
    let mut migrator = Migrator::with_migrations(steps());
    // We hold a lock already, and one whose name is not that of every program with sqlx.
    migrator.set_locking(false);
    match migrator.run_direct(None, on, false).await {
        Ok(()) => Ok(Ok(())),
        Err(
            MigrateError::VersionMissing(_)
            | MigrateError::VersionTooNew(..)
            | MigrateError::VersionMismatch(_),
        ) => Ok(Err(ServerOpenError::Newer(address.to_string()))),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(error.into())
        }
        Err(error) => Err(ServerError::Failed(sqlx::Error::Migrate(error.into()))),
    }
}

/// Waits until no other gateway uses the database, unless all have a bus; then this one uses it.
async fn wait_for_others(
    on: &mut PgConnection,
    address: &ServerAddress,
    instance: InstanceId,
    has_bus: bool,
) -> Result<(), ServerOpenError> {
    let deadline = tokio::time::Instant::now() + REPLACE_TIMEOUT;
    let mut is_told = false;
    loop {
        let is_in_use = is_in_use(on, instance, has_bus).await;
        if !is_in_use.map_err(|error| unusable(address, error))? {
            let said = say(on, instance, has_bus).await;
            return said.map_err(|error| unusable(address, error));
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ServerOpenError::InUse(address.to_string()));
        }
        if !is_told {
            tracing::info!("waiting for the chat-gateway that uses GATEWAY_STORE to end");
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the server has run for longer than gateways need to speak again.
async fn has_been_up(on: &mut PgConnection) -> bool {
    sqlx::query_scalar("SELECT pg_postmaster_start_time() < clock_timestamp() - interval '10 s'")
        .fetch_one(on)
        .await
        .unwrap_or(false)
}

/// Makes a new connection ready. One to a standby is of no use: after a switchover the name may still lead to the old
/// primary.
async fn made_ready(on: &mut PgConnection) -> Result<(), sqlx::Error> {
    durably(&mut *on).await?;
    let is_standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(on)
        .await?;
    if is_standby {
        return Err(sqlx::Error::Protocol("the server is a standby".to_owned()));
    }
    Ok(())
}

/// Makes a commit wait for the server's disk where its own setting would not.
async fn durably(on: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') = 'off'",
    )
    .execute(on)
    .await?;
    Ok(())
}

pub(super) fn unusable(address: &ServerAddress, error: impl Into<ServerError>) -> ServerOpenError {
    ServerOpenError::Unusable {
        place: address.to_string(),
        error: error.into(),
    }
}
