//! The life of an answer in the store: begun, started, checkpointed, finished, and begun again where it was cut.
//!
//! One gateway at a time has the file, so nobody else can write an answer, and its run is always the first.

use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::AnswerOptions;
use crate::protocol::v2::Accepted;
use crate::store::rows::{finish_reason_word, status_word, to_json, to_json_if_any};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::requests::{before, remember};
use crate::store::sqlite::texts::{index, index_answer};
use crate::store::texts::{owner_tag, words};
use crate::store::{
    AnswerEnd, AnswerRun, Begun, NewOrOld, NewTurn, RequestKey, StoreError, TurnPlace, day, now_ms,
    unsigned,
};

impl SqliteStore {
    pub(in crate::store) async fn begin(&self, turn: NewTurn<'_>) -> Result<Begun, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        if let Some(before) = before(on, turn.owner, &turn.request).await? {
            return writing.leave(before).await;
        }
        let now = now_ms();
        let Some(place) = place(on, &turn, now).await? else {
            return writing.leave(Begun::NotFound).await;
        };
        let mut asked = turn.parent;
        if let Some((question, content)) = turn.question {
            sqlx::query(
                "INSERT INTO messages (id, conversation, parent, created_ms, content) VALUES (?, ?, ?, ?, ?)",
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
            "INSERT INTO messages (id, conversation, parent, created_ms, content, status, options) \
             VALUES (?, ?, ?, ?, '[]', ?, ?)",
        )
        .bind(turn.answer)
        .bind(place.conversation)
        .bind(asked)
        .bind(now)
        .bind(status_word(turn.status))
        .bind(to_json(turn.options)?)
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
        Ok(Begun::Begun {
            revision,
            run: AnswerRun::first(turn.answer),
        })
    }

    pub(in crate::store) async fn resume(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
        answer: Uuid,
        options: &AnswerOptions,
    ) -> Result<Begun, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        if let Some(before) = before(on, owner, request).await? {
            return writing.leave(before).await;
        }
        let row: Option<(Uuid, Uuid, bool)> = sqlx::query_as(
            "SELECT m.conversation, m.parent, \
             m.status NOT IN ('waiting', 'running') AND (m.status <> 'done' OR m.finish_reason IS 'length') \
             FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE m.id = ? AND c.owner = ? AND m.status IS NOT NULL",
        )
        .bind(answer)
        .bind(owner)
        .fetch_optional(&mut *on)
        .await?;
        let Some((conversation, message, was_cut)) = row else {
            return writing.leave(Begun::NotFound).await;
        };
        if !was_cut {
            return writing.leave(Begun::Taken).await;
        }
        sqlx::query(
            "UPDATE messages SET status = 'running', finish_reason = NULL, error = NULL, usage = NULL, \
             timings = NULL, context = NULL, options = ? WHERE id = ?",
        )
        .bind(to_json(options)?)
        .bind(answer)
        .execute(&mut *on)
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
        Ok(Begun::Begun {
            revision,
            run: AnswerRun::first(answer),
        })
    }

    pub(in crate::store) async fn start(&self, run: AnswerRun) -> Result<u64, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let conversation: Option<Uuid> = sqlx::query_scalar(
            "UPDATE messages SET status = 'running' WHERE id = ? AND status = 'waiting' RETURNING conversation",
        )
        .bind(run.answer)
        .fetch_optional(&mut *on)
        .await?;
        let Some(conversation) = conversation else {
            return writing.leave(Err(StoreError::Gone)).await?;
        };
        let revision = touch(on, conversation, None).await?;
        writing.commit().await?;
        Ok(revision)
    }

    pub(in crate::store) async fn checkpoint(
        &self,
        run: AnswerRun,
        written: &Written,
    ) -> Result<(), StoreError> {
        let mut writing = self.write_lightly().await?;
        let kept = sqlx::query(
            "UPDATE messages SET written = ?, runs = ? WHERE id = ? AND status = 'running'",
        )
        .bind(written.as_str())
        .bind(to_json(written.runs())?)
        .bind(run.answer)
        .execute(writing.on())
        .await?;
        if kept.rows_affected() == 0 {
            return writing.leave(Err(StoreError::Gone)).await?;
        }
        writing.commit().await
    }

    pub(in crate::store) async fn finish(
        &self,
        run: AnswerRun,
        end: &AnswerEnd,
    ) -> Result<u64, StoreError> {
        let mut writing = self.write().await?;
        let on = writing.on();
        let conversation: Option<Uuid> = sqlx::query_scalar(
            "UPDATE messages SET status = ?, finish_reason = ?, error = ?, usage = ?, timings = ?, context = ?, \
             written = ?, runs = ? WHERE id = ? AND status IN ('waiting', 'running') RETURNING conversation",
        )
        .bind(status_word(end.status))
        .bind(end.finish_reason.map(finish_reason_word))
        .bind(to_json_if_any(end.error.as_ref())?)
        .bind(to_json_if_any(end.usage.as_ref())?)
        .bind(to_json_if_any(end.timings.as_ref())?)
        .bind(to_json_if_any(end.context.as_ref())?)
        .bind(end.written.as_str())
        .bind(to_json(end.written.runs())?)
        .bind(run.answer)
        .fetch_optional(&mut *on)
        .await?;
        let Some(conversation) = conversation else {
            return writing.leave(Err(StoreError::Gone)).await?;
        };
        let (_, text) = end.written.split();
        index_answer(on, run.answer, &text).await?;
        let spent = end.spent();
        if spent > 0 {
            spend(on, conversation, spent).await?;
        }
        let revision = touch(on, conversation, None).await?;
        writing.commit().await?;
        Ok(revision)
    }
}

/// Finds, or makes, the conversation; `None` unless the parent can be followed.
async fn place(
    on: &mut SqliteConnection,
    turn: &NewTurn<'_>,
    now: i64,
) -> Result<Option<TurnPlace>, StoreError> {
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
            sqlx::query("DELETE FROM conversations WHERE id = ? AND deleted_owner = ?")
                .bind(id)
                .bind(turn.owner)
                .execute(&mut *on)
                .await?;
            sqlx::query(
                "INSERT INTO conversations (id, owner, title, created_ms, updated_ms, revision, temporary, system, owner_tag) \
                 VALUES (?1, ?2, ?3, ?4, ?4, 0, ?5, ?6, ?7)",
            )
            .bind(id)
            .bind(turn.owner)
            .bind(title)
            .bind(now)
            .bind(temporary)
            .bind(system)
            .bind(owner_tag(turn.owner))
            .execute(&mut *on)
            .await?;
            if !temporary {
                index(on, id, None, title).await?;
            }
            Ok(Some(TurnPlace {
                conversation: id,
                temporary,
            }))
        }
        NewOrOld::Old(id) => {
            // A question follows an answer or nothing; an answer follows a question.
            let found: Option<bool> = sqlx::query_scalar(
                "SELECT c.temporary FROM conversations c WHERE c.id = ?1 AND c.owner = ?2 \
                 AND (?3 IS NULL OR EXISTS (SELECT 1 FROM messages m \
                 WHERE m.id = ?3 AND m.conversation = c.id AND (m.status IS NULL) = ?4))",
            )
            .bind(id)
            .bind(turn.owner)
            .bind(turn.parent)
            .bind(turn.question.is_none())
            .fetch_optional(&mut *on)
            .await?;
            Ok(found.map(|temporary| TurnPlace {
                conversation: id,
                temporary,
            }))
        }
    }
}

/// The conversation changed now, and may have a new leaf. Returns its revision.
pub(super) async fn touch(
    on: &mut SqliteConnection,
    conversation: Uuid,
    leaf: Option<Uuid>,
) -> Result<u64, StoreError> {
    let revision: i64 = sqlx::query_scalar(
        "UPDATE conversations SET revision = revision + 1, updated_ms = max(updated_ms, ?), \
         leaf = coalesce(?, leaf) WHERE id = ? RETURNING revision",
    )
    .bind(now_ms())
    .bind(leaf)
    .bind(conversation)
    .fetch_one(&mut *on)
    .await?;
    Ok(unsigned(revision))
}

impl SqliteStore {
    pub(in crate::store) async fn spend(
        &self,
        owner: &str,
        end: &AnswerEnd,
    ) -> Result<(), StoreError> {
        let mut writing = self.write().await?;
        sqlx::query(
            "INSERT INTO tokens_spent (owner, day, tokens) VALUES (?1, ?2, ?3) \
             ON CONFLICT (owner, day) DO UPDATE SET tokens = tokens + excluded.tokens",
        )
        .bind(owner)
        .bind(day(now_ms()))
        .bind(i64::try_from(end.spent()).unwrap_or(i64::MAX))
        .execute(writing.on())
        .await?;
        writing.commit().await
    }
}

/// Counts what an answer took for its owner's day.
async fn spend(
    on: &mut SqliteConnection,
    conversation: Uuid,
    tokens: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens_spent (owner, day, tokens) SELECT coalesce(deleted_owner, owner), ?2, ?3 \
         FROM conversations WHERE id = ?1 \
         ON CONFLICT (owner, day) DO UPDATE SET tokens = tokens + excluded.tokens",
    )
    .bind(conversation)
    .bind(day(now_ms()))
    .bind(i64::try_from(tokens).unwrap_or(i64::MAX))
    .execute(&mut *on)
    .await?;
    Ok(())
}
