//! The life of an answer in the store: begun, started, checkpointed, finished, and begun again where it was cut.
//!
//! The gateway that begins an answer becomes the conversation's home, unless a living one is. Each write of an answer names
//! its home and its run, so whoever was taken for dead writes nothing.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::instance::InstanceId;
use crate::protocol::record::AnswerOptions;
use crate::protocol::v2::Accepted;
use crate::store::postgres::requests::{before, lock, remember};
use crate::store::postgres::texts::{index, index_answer, keepable};
use crate::store::postgres::{PostgresStore, ServerError};
use crate::store::rows::{finish_reason_word, status_word, to_json, to_json_if_any};
use crate::store::texts::{owner_tag, words};
use crate::store::{
    AnswerEnd, AnswerRun, Begun, NewOrOld, NewTurn, RequestKey, TurnPlace, day, now_ms, unsigned,
};

impl PostgresStore {
    pub(in crate::store) async fn begin(&self, turn: NewTurn<'_>) -> Result<Begun, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        lock(on, turn.owner, &turn.request).await?;
        if let Some(before) = before(on, turn.owner, &turn.request).await? {
            return writing.leave(before).await;
        }
        let now = now_ms();
        let Some((place, home)) = place(on, &turn, now).await? else {
            return writing.leave(Begun::NotFound).await;
        };
        if let Some(elsewhere) = self.claim(on, place.conversation, home).await? {
            return writing.leave(Begun::Elsewhere(elsewhere)).await;
        }
        let mut asked = turn.parent;
        if let Some((question, content)) = turn.question {
            sqlx::query(
                "INSERT INTO messages (id, conversation, parent, created_ms, content) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(question)
            .bind(place.conversation)
            .bind(turn.parent)
            .bind(now)
            .bind(to_json(content)?)
            .execute(&mut *on)
            .await?;
            if !place.temporary {
                index(on, place.conversation, Some(question), &words(content)).await?;
            }
            asked = Some(question);
        }
        let Some(asked) = asked else {
            return writing.leave(Begun::NotFound).await;
        };
        sqlx::query(
            "INSERT INTO messages (id, conversation, parent, created_ms, content, status, options, home, run) \
             VALUES ($1, $2, $3, $4, '[]', $5, $6, $7, 1)",
        )
        .bind(turn.answer)
        .bind(place.conversation)
        .bind(asked)
        .bind(now)
        .bind(status_word(turn.status))
        .bind(to_json(turn.options)?)
        .bind(self.shared.instance.id())
        .execute(&mut *on)
        .await?;
        let revision = touch(on, place.conversation, Some(turn.answer)).await?;
        let accepted = Accepted {
            re: turn.request.id.to_owned(),
            conversation: place.conversation,
            revision,
            message: asked,
            answer: turn.answer,
            options: turn.options.clone(),
            duplicate: false,
        };
        remember(on, turn.owner, &turn.request, &accepted).await?;
        writing.commit().await?;
        let run = AnswerRun::first(turn.answer);
        Ok(Begun::Begun { revision, run })
    }

    pub(in crate::store) async fn resume(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
        answer: Uuid,
        options: &AnswerOptions,
    ) -> Result<Begun, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        lock(on, owner, request).await?;
        if let Some(before) = before(on, owner, request).await? {
            return writing.leave(before).await;
        }
        let home: Option<Option<Uuid>> = sqlx::query_scalar(
            "SELECT c.home FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = $1 AND c.owner = $2 AND m.status IS NOT NULL FOR UPDATE OF c",
        )
        .bind(answer)
        .bind(owner)
        .fetch_optional(&mut *on)
        .await?;
        let Some(home) = home else {
            return writing.leave(Begun::NotFound).await;
        };
        // Only now: the answer may have changed while its conversation was locked.
        let row: Option<(Uuid, Uuid, bool)> = sqlx::query_as(
            "SELECT conversation, parent, status NOT IN ('waiting', 'running') \
             AND (status <> 'done' OR finish_reason IS NOT DISTINCT FROM 'length') FROM messages WHERE id = $1",
        )
        .bind(answer)
        .fetch_optional(&mut *on)
        .await?;
        let Some((conversation, message, was_cut)) = row else {
            return writing.leave(Begun::NotFound).await;
        };
        if let Some(elsewhere) = self.claim(on, conversation, home).await? {
            return writing.leave(Begun::Elsewhere(elsewhere)).await;
        }
        if !was_cut {
            return writing.leave(Begun::Taken).await;
        }
        let run: i32 = sqlx::query_scalar(
            "UPDATE messages SET status = 'running', finish_reason = NULL, error = NULL, usage = NULL, \
             timings = NULL, context = NULL, options = $2, home = $3, run = run + 1 WHERE id = $1 RETURNING run",
        )
        .bind(answer)
        .bind(to_json(options)?)
        .bind(self.shared.instance.id())
        .fetch_one(&mut *on)
        .await?;
        let revision = touch(on, conversation, None).await?;
        let accepted = Accepted {
            re: request.id.to_owned(),
            conversation,
            revision,
            message,
            answer,
            options: options.clone(),
            duplicate: false,
        };
        remember(on, owner, request, &accepted).await?;
        writing.commit().await?;
        let run = u32::try_from(run).unwrap_or(0);
        let run = AnswerRun { answer, run };
        Ok(Begun::Begun { revision, run })
    }

    pub(in crate::store) async fn start(&self, run: AnswerRun) -> Result<u64, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let Some(conversation) = lock_conversation_of(on, run.answer).await? else {
            return writing.leave(Err(ServerError::Gone)).await?;
        };
        let started = sqlx::query(
            "UPDATE messages SET status = 'running' \
             WHERE id = $1 AND home = $2 AND run = $3 AND status IN ('waiting', 'running')",
        )
        .bind(run.answer)
        .bind(self.shared.instance.id())
        .bind(number(run))
        .execute(&mut *on)
        .await?;
        if started.rows_affected() == 0 {
            return writing.leave(Err(ServerError::Gone)).await?;
        }
        let revision = touch(on, conversation, None).await?;
        writing.commit().await?;
        Ok(revision)
    }

    pub(in crate::store) async fn checkpoint(
        &self,
        run: AnswerRun,
        written: &Written,
    ) -> Result<(), ServerError> {
        // It changes one row and waits for no other, so it need not lock the conversation. It may be lost when the server
        // fails, though not when this process is killed, so it waits for no disk. All in one statement: a server may be far.
        let kept = sqlx::query(
            "UPDATE messages SET written = $4, runs = $5 \
             FROM (SELECT set_config('synchronous_commit', 'off', true)) AS without_waiting \
             WHERE id = $1 AND home = $2 AND run = $3 AND status = 'running'",
        )
        .bind(run.answer)
        .bind(self.shared.instance.id())
        .bind(number(run))
        .bind(written.as_str().as_bytes())
        .bind(to_json(written.runs())?)
        .execute(&self.shared.writers)
        .await?;
        if kept.rows_affected() == 0 {
            return Err(ServerError::Gone);
        }
        Ok(())
    }

    pub(in crate::store) async fn finish(
        &self,
        run: AnswerRun,
        end: &AnswerEnd,
    ) -> Result<u64, ServerError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let Some(conversation) = lock_conversation_of(on, run.answer).await? else {
            return writing.leave(Err(ServerError::Gone)).await?;
        };
        let finished = sqlx::query(
            "UPDATE messages SET status = $4, finish_reason = $5, error = $6, usage = $7, timings = $8, context = $9, \
             written = $10, runs = $11 \
             WHERE id = $1 AND home = $2 AND run = $3 AND status IN ('waiting', 'running')",
        )
        .bind(run.answer)
        .bind(self.shared.instance.id())
        .bind(number(run))
        .bind(status_word(end.status))
        .bind(end.finish_reason.map(finish_reason_word))
        .bind(to_json_if_any(end.error.as_ref())?)
        .bind(to_json_if_any(end.usage.as_ref())?)
        .bind(to_json_if_any(end.timings.as_ref())?)
        .bind(to_json_if_any(end.context.as_ref())?)
        .bind(end.written.as_str().as_bytes())
        .bind(to_json(end.written.runs())?)
        .execute(&mut *on)
        .await?;
        if finished.rows_affected() == 0 {
            // It may have been kept by a try whose reply was lost.
            let kept: Option<i64> = sqlx::query_scalar(
                "SELECT c.revision FROM messages m JOIN conversations c ON c.id = m.conversation \
                 WHERE m.id = $1 AND m.home = $2 AND m.run = $3 AND m.status = $4 AND m.written = $5",
            )
            .bind(run.answer)
            .bind(self.shared.instance.id())
            .bind(number(run))
            .bind(status_word(end.status))
            .bind(end.written.as_str().as_bytes())
            .fetch_optional(&mut *on)
            .await?;
            let outcome = kept.map(unsigned).ok_or(ServerError::Gone);
            return writing.leave(outcome).await?;
        }
        let (_, text) = end.written.split();
        index_answer(on, run.answer, &text).await?;
        let spent = end.spent();
        if spent > 0 {
            let owner: String = sqlx::query_scalar(
                "SELECT coalesce(deleted_owner, owner) FROM conversations WHERE id = $1",
            )
            .bind(conversation)
            .fetch_one(&mut *on)
            .await?;
            count(on, &owner, spent).await?;
        }
        let revision = touch(on, conversation, None).await?;
        writing.commit().await?;
        Ok(revision)
    }

    pub(in crate::store) async fn spend(
        &self,
        owner: &str,
        end: &AnswerEnd,
    ) -> Result<(), ServerError> {
        let mut writing = self.write().await?;
        count(writing.on(), owner, end.spent()).await?;
        writing.commit().await
    }

    /// Makes this gateway the home of a conversation, whose row is locked and whose home was `home`. Returns the gateway
    /// that writes something open in it instead.
    async fn claim(
        &self,
        on: &mut PgConnection,
        conversation: Uuid,
        home: Option<Uuid>,
    ) -> Result<Option<InstanceId>, ServerError> {
        let own = self.shared.instance.id();
        // Also of one that looks dead: whoever says so ends its answers first.
        let writes: Option<Uuid> = sqlx::query_scalar(
            "SELECT home FROM messages WHERE conversation = $1 AND status IN ('waiting', 'running') AND home <> $2 LIMIT 1",
        )
        .bind(conversation)
        .bind(own)
        .fetch_optional(&mut *on)
        .await?;
        if let Some(home) = writes {
            return Ok(Some(InstanceId::known(home)));
        }
        if home != Some(own) {
            sqlx::query("UPDATE conversations SET home = $2 WHERE id = $1")
                .bind(conversation)
                .bind(own)
                .execute(&mut *on)
                .await?;
        }
        Ok(None)
    }
}

/// Finds and locks, or makes, the conversation, and says which gateway is its home; `None` unless the parent can be
/// followed.
async fn place(
    on: &mut PgConnection,
    turn: &NewTurn<'_>,
    now: i64,
) -> Result<Option<(TurnPlace, Option<Uuid>)>, ServerError> {
    match turn.conversation {
        NewOrOld::New {
            id,
            title,
            temporary,
            system,
        } => {
            if turn.parent.is_some() {
                return Ok(None);
            }
            // A chat over HTTP may begin anew under the id of the one that was deleted a moment ago.
            sqlx::query("DELETE FROM conversations WHERE id = $1 AND deleted_owner = $2")
                .bind(id)
                .bind(turn.owner)
                .execute(&mut *on)
                .await?;
            sqlx::query(
                "INSERT INTO conversations (id, owner, title, created_ms, updated_ms, revision, temporary, system, owner_tag) \
                 VALUES ($1, $2, $3, $4, $4, 0, $5, $6, $7)",
            )
            .bind(id)
            .bind(turn.owner)
            .bind(keepable(title))
            .bind(now)
            .bind(temporary)
            .bind(system.map(keepable))
            .bind(owner_tag(turn.owner))
            .execute(&mut *on)
            .await?;
            if !temporary {
                index(on, id, None, title).await?;
            }
            let place = TurnPlace {
                conversation: id,
                temporary,
            };
            Ok(Some((place, None)))
        }
        NewOrOld::Old(id) => {
            let found: Option<(bool, Option<Uuid>)> = sqlx::query_as(
                "SELECT temporary, home FROM conversations WHERE id = $1 AND owner = $2 FOR UPDATE",
            )
            .bind(id)
            .bind(turn.owner)
            .fetch_optional(&mut *on)
            .await?;
            let Some((temporary, home)) = found else {
                return Ok(None);
            };
            if let Some(parent) = turn.parent {
                // A question follows an answer or nothing; an answer follows a question.
                let can_follow: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM messages \
                     WHERE id = $1 AND conversation = $2 AND (status IS NULL) = $3)",
                )
                .bind(parent)
                .bind(id)
                .bind(turn.question.is_none())
                .fetch_one(&mut *on)
                .await?;
                if !can_follow {
                    return Ok(None);
                }
            }
            let place = TurnPlace {
                conversation: id,
                temporary,
            };
            Ok(Some((place, home)))
        }
    }
}

/// Locks the conversation that an answer is in. `None` when there is none any more.
async fn lock_conversation_of(
    on: &mut PgConnection,
    answer: Uuid,
) -> Result<Option<Uuid>, ServerError> {
    let conversation = sqlx::query_scalar(
        "SELECT c.id FROM messages m JOIN conversations c ON c.id = m.conversation \
         WHERE m.id = $1 FOR UPDATE OF c",
    )
    .bind(answer)
    .fetch_optional(&mut *on)
    .await?;
    Ok(conversation)
}

/// The conversation changed now, and may have a new leaf. It has no home once nothing is open in it. Returns its revision.
pub(super) async fn touch(
    on: &mut PgConnection,
    conversation: Uuid,
    leaf: Option<Uuid>,
) -> Result<u64, ServerError> {
    let revision: i64 = sqlx::query_scalar(
        "UPDATE conversations SET revision = revision + 1, updated_ms = greatest(updated_ms, $2), \
         leaf = coalesce($3, leaf), home = CASE WHEN EXISTS (SELECT 1 FROM messages m \
         WHERE m.conversation = $1 AND m.status IN ('waiting', 'running')) THEN home END \
         WHERE id = $1 RETURNING revision",
    )
    .bind(conversation)
    .bind(now_ms())
    .bind(leaf)
    .fetch_one(&mut *on)
    .await?;
    Ok(unsigned(revision))
}

/// Counts what an answer took for its owner's day.
async fn count(on: &mut PgConnection, owner: &str, tokens: u64) -> Result<(), ServerError> {
    sqlx::query(
        "INSERT INTO tokens_spent (owner, day, tokens) VALUES ($1, $2, $3) \
         ON CONFLICT (owner, day) DO UPDATE SET tokens = tokens_spent.tokens + excluded.tokens",
    )
    .bind(owner)
    .bind(day(now_ms()))
    .bind(i64::try_from(tokens).unwrap_or(i64::MAX))
    .execute(&mut *on)
    .await?;
    Ok(())
}

/// A run as its column has it. One that does not fit is of no answer.
fn number(run: AnswerRun) -> i32 {
    i32::try_from(run.run).unwrap_or(-1)
}
