//! Which gateways run, and what becomes of the answers of one that has died.
//!
//! Each gateway keeps a row fresh by the server's clock, on a connection of its own, so that no busy pool makes it look
//! dead. A gateway whose row is older than 6 s counts as dead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::instance::InstanceId;
use crate::store::InterruptedAnswer;
use crate::store::postgres::texts::index_answer;
use crate::store::postgres::turns::touch;
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::written;

/// How often a gateway says that it lives.
const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// How long saying so may take. Two tries fit in the time after which a gateway is dead.
const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// After the server was away, no gateway is declared dead for this long: all rows are old until the gateways write again.
const JUDGING_AFTER: Duration = Duration::from_secs(6);
/// How long leaving may take.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the row `g` of `gateways` is of one that lives.
macro_rules! is_alive {
    () => {
        "g.seen_at > clock_timestamp() - interval '6 s'"
    };
}

pub(super) use is_alive;

/// An open answer `m` whose gateway has died, or which has none.
macro_rules! is_orphan {
    () => {
        concat!(
            "m.status IN ('waiting', 'running') AND NOT EXISTS (SELECT 1 FROM gateways g WHERE g.id = m.home AND ",
            is_alive!(),
            ")"
        )
    };
}

/// The time from which this gateway may declare others dead. None while it cannot reach the server.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// The pulse of a gateway that has just written its row.
    pub(super) fn begun() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    fn judges_from(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_heard(&self) {
        let mut judges_from = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        judges_from.get_or_insert_with(|| Instant::now() + JUDGING_AFTER);
    }

    fn is_lost(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Keeps the gateway's row fresh until aborted.
pub(super) async fn keep_seen(
    options: PgConnectOptions,
    instance: InstanceId,
    has_bus: bool,
    pulse: Pulse,
) {
    let mut interval = tokio::time::interval(BEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    let mut is_told = false;
    loop {
        interval.tick().await;
        let said = beat(&options, &mut connection, instance, has_bus);
        let said = match tokio::time::timeout(BEAT_TIMEOUT, said).await {
            Ok(said) => said,
            Err(_) => Err(ServerError::Silent(BEAT_TIMEOUT)),
        };
        match said {
            Ok(()) => {
                pulse.is_heard();
                is_told = false;
            }
            Err(error) => {
                pulse.is_lost();
                connection = None;
                if !is_told {
                    tracing::warn!(%error, "cannot tell other gateways that this one lives, retrying");
                    is_told = true;
                }
            }
        }
    }
}

async fn beat(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
    instance: InstanceId,
    has_bus: bool,
) -> Result<(), ServerError> {
    let on = match connection {
        Some(on) => on,
        None => connection.insert(options.connect().await?),
    };
    say(on, instance, has_bus).await
}

/// Writes the gateway's row once.
pub(super) async fn say(
    on: &mut PgConnection,
    instance: InstanceId,
    has_bus: bool,
) -> Result<(), ServerError> {
    sqlx::query(
        "INSERT INTO gateways (id, seen_at, has_bus) VALUES ($1, clock_timestamp(), $2) \
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
    )
    .bind(instance.id())
    .bind(has_bus)
    .execute(on)
    .await?;
    Ok(())
}

/// Whether another gateway lives that this one must not run beside: either of the two has no bus.
pub(in crate::store) async fn is_in_use(
    on: &mut PgConnection,
    instance: InstanceId,
    has_bus: bool,
) -> Result<bool, ServerError> {
    let is_in_use = sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT 1 FROM gateways g WHERE g.id <> $1 AND NOT (g.has_bus AND $2) AND ",
        is_alive!(),
        ")"
    ))
    .bind(instance.id())
    .bind(has_bus)
    .fetch_one(on)
    .await?;
    Ok(is_in_use)
}

impl PostgresStore {
    /// Whether the server took this gateway's last sign of life.
    pub(in crate::store) fn is_reached(&self) -> bool {
        self.shared.pulse.judges_from().is_some()
    }

    /// Whether this gateway may say that another one is dead.
    pub(in crate::store) fn may_judge(&self) -> bool {
        let from = self.shared.pulse.judges_from();
        from.is_some_and(|from| from <= Instant::now())
    }

    pub(in crate::store) async fn cookie_key(
        &self,
        offered: [u8; 32],
    ) -> Result<[u8; 32], ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        sqlx::query("INSERT INTO keys (name, value) VALUES ('cookie', $1) ON CONFLICT DO NOTHING")
            .bind(offered.as_slice())
            .execute(&mut *on)
            .await?;
        let key: Vec<u8> = sqlx::query_scalar("SELECT value FROM keys WHERE name = 'cookie'")
            .fetch_one(&mut *on)
            .await?;
        writing.commit().await?;
        key.try_into()
            .map_err(|_| sqlx::Error::Decode("a key of another length".into()).into())
    }

    /// The other gateway whose tasks write what is open in a conversation.
    pub(in crate::store) async fn home(
        &self,
        conversation: Uuid,
    ) -> Result<Option<InstanceId>, ServerError> {
        let home: Option<Uuid> = sqlx::query_scalar(
            "SELECT home FROM messages WHERE conversation = $1 AND status IN ('waiting', 'running') AND home <> $2 LIMIT 1",
        )
        .bind(conversation)
        .bind(self.shared.instance.id())
        .fetch_optional(&self.shared.readers)
        .await?;
        Ok(home.map(InstanceId::known))
    }

    /// Says that this gateway has left, and closes the connections.
    pub(in crate::store) async fn close(&self) {
        self.shared.heartbeat.abort();
        let left = sqlx::query("DELETE FROM gateways WHERE id = $1")
            .bind(self.shared.instance.id())
            .execute(&self.shared.writers);
        // Others find out after 6 s if they are not told.
        tokio::time::timeout(LEAVING_TIMEOUT, left).await.ok();
        self.shared.readers.close().await;
        self.shared.writers.close().await;
    }

    pub(in crate::store) async fn interrupt_dead(
        &self,
    ) -> Result<Vec<InterruptedAnswer>, ServerError> {
        let orphaned: Vec<Uuid> = sqlx::query_scalar(concat!(
            "SELECT DISTINCT m.conversation FROM messages m WHERE ",
            is_orphan!()
        ))
        .fetch_all(&self.shared.readers)
        .await?;
        let mut interrupted = Vec::new();
        for conversation in orphaned {
            interrupted.extend(self.interrupt_in(conversation).await?);
        }
        Ok(interrupted)
    }

    /// Interrupts what dead gateways left open in a conversation, unless somebody else has locked its row.
    async fn interrupt_in(
        &self,
        conversation: Uuid,
    ) -> Result<Vec<InterruptedAnswer>, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let owner: Option<(String, bool)> = sqlx::query_as(
            "SELECT coalesce(deleted_owner, owner), NOT temporary AND deleted_owner IS NULL \
             FROM conversations WHERE id = $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(conversation)
        .fetch_optional(&mut *on)
        .await?;
        let Some((owner, listed)) = owner else {
            return writing.leave(Vec::new()).await;
        };
        let left: Vec<(Uuid, Vec<u8>, String)> = sqlx::query_as(concat!(
            "UPDATE messages m SET status = 'interrupted' WHERE m.conversation = $1 AND ",
            is_orphan!(),
            " RETURNING m.id, m.written, m.runs"
        ))
        .bind(conversation)
        .fetch_all(&mut *on)
        .await?;
        if left.is_empty() {
            return writing.leave(Vec::new()).await;
        }
        let mut answers = Vec::new();
        for (answer, text, runs) in left {
            let (_, text) = written(text, &runs)?.split();
            index_answer(on, answer, &text).await?;
            answers.push(answer);
        }
        let revision = touch(on, conversation, None).await?;
        writing.commit().await?;
        let answers = answers.into_iter().map(|answer| InterruptedAnswer {
            answer,
            conversation,
            owner: owner.clone(),
            revision,
            listed,
        });
        Ok(answers.collect())
    }
}
