//! Which gateways run, and what becomes of the answers of one that has died.
//!
//! Each gateway keeps a row fresh by the server's clock, on a connection of its own, so that no busy pool makes it look
//! dead. A gateway whose row is older than 6 s counts as dead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::instance::InstanceId;
use crate::store::postgres::texts::index_answer;
use crate::store::postgres::turns::touch;
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::written;
use crate::store::{AnswerRun, InterruptedAnswer, OwnOpen};

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

/// When this gateway was heard last, and from when on it may judge others.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<PulseState>>);

#[derive(Debug)]
struct PulseState {
    heard: Instant,
    /// None while the server does not hear it.
    judges_from: Option<Instant>,
}

impl Pulse {
    /// Of a gateway that has just said that it lives. `may_judge` unless the server may have been away a moment ago.
    pub(super) fn begun(may_judge: bool) -> Self {
        let now = Instant::now();
        let judges_from = if may_judge { now } else { now + JUDGING_AFTER };
        Self(Arc::new(Mutex::new(PulseState {
            heard: now,
            judges_from: Some(judges_from),
        })))
    }

    fn state(&self) -> MutexGuard<'_, PulseState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judges_from(&self) -> Option<Instant> {
        self.state().judges_from
    }

    fn is_heard(&self) {
        let now = Instant::now();
        let mut state = self.state();
        // What held this process up may have held up the others, too.
        let was_held_up = now - state.heard >= JUDGING_AFTER;
        state.heard = now;
        if was_held_up || state.judges_from.is_none() {
            state.judges_from = Some(now + JUDGING_AFTER);
        }
    }

    fn is_lost(&self) {
        self.state().judges_from = None;
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
        let state = self.shared.pulse.state();
        // The clock may have stood still for all gateways: the next sign of life says so.
        let is_fresh = state.heard.elapsed() < JUDGING_AFTER;
        is_fresh && state.judges_from.is_some_and(|from| from <= Instant::now())
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

    /// The conversations in which gateways that have died left something open.
    pub(in crate::store) async fn orphaned(&self) -> Result<Vec<Uuid>, ServerError> {
        let orphaned = sqlx::query_scalar(concat!(
            "SELECT DISTINCT m.conversation FROM messages m WHERE ",
            is_orphan!()
        ))
        .fetch_all(&self.shared.readers)
        .await?;
        Ok(orphaned)
    }

    /// What is open and this gateway's, by the store's word.
    pub(in crate::store) async fn own_open(&self) -> Result<Vec<OwnOpen>, ServerError> {
        let rows: Vec<(Uuid, i32, Uuid, String, bool)> = sqlx::query_as(
            "SELECT m.id, m.run, m.conversation, coalesce(c.deleted_owner, c.owner), \
             NOT c.temporary AND c.deleted_owner IS NULL \
             FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.status IN ('waiting', 'running') AND m.home = $1",
        )
        .bind(self.shared.instance.id())
        .fetch_all(&self.shared.readers)
        .await?;
        let open = rows.into_iter();
        let open = open.map(|(answer, run, conversation, owner, listed)| OwnOpen {
            run: AnswerRun {
                answer,
                run: run.unsigned_abs(),
            },
            conversation,
            owner,
            listed,
        });
        Ok(open.collect())
    }

    /// Interrupts what dead gateways left open in a conversation, unless somebody else has locked its row.
    pub(in crate::store) async fn interrupt_in(
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
