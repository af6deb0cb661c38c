//! What a user can do to answers that run or wait: stop them, and edit or drop the messages that still wait.

use std::sync::Arc;

use uuid::Uuid;

use crate::answer::task;
use crate::answer::written::Written;
use crate::conversation::admit::check_id;
use crate::conversation::refusal::{Refusal, STORE_HANGS, TOO_LATE};
use crate::conversation::room::Room;
use crate::identity::User;
use crate::protocol::record::AnswerStatus;
use crate::protocol::v2::{Aim, Change, Done, EditQueued};
use crate::state::Gateway;
use crate::store::{AnswerEnd, StoreError};

impl Gateway {
    /// Ends an answer that runs or waits. Its `done` comes once the model is free.
    pub(super) async fn stop_here(self: &Arc<Self>, user: &User, aim: &Aim) -> Result<(), Refusal> {
        check_id(&aim.id)?;
        let (conversation, _) = self.answer_of(user, aim.message).await?;
        let (room, _) = self.enter(user, conversation).await?;
        self.stop_in(&room, aim.message).await
    }

    /// Ends this answer of the room, if it has not ended.
    pub(crate) async fn stop_in(
        self: &Arc<Self>,
        room: &Arc<Room>,
        answer: Uuid,
    ) -> Result<(), Refusal> {
        // At once, and whatever the store says: it is stopped when its turn comes, at the latest.
        if let Some(live) = room.state().answer(answer) {
            live.stop.cancel();
        }
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let status = room.state().answer(answer).map(|live| live.status);
        if status == Some(AnswerStatus::Waiting) {
            self.end_waiting(room, answer, AnswerStatus::Stopped)
                .await?;
        }
        Ok(())
    }

    /// Ends everything of the room that runs or waits here.
    pub(super) async fn stop_all_here(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), Refusal> {
        let unfinished: Vec<Uuid> = {
            let state = room.state();
            let unfinished = state.answers.iter();
            let unfinished =
                unfinished.filter(|answer| answer.elsewhere.is_none() && !answer.status.is_final());
            // What waits goes first, or it would begin when the other ends.
            unfinished
                .rev()
                .map(|answer| {
                    // All at once: a store that fails for one of them holds up none of the others.
                    answer.stop.cancel();
                    answer.id
                })
                .collect()
        };
        for answer in unfinished {
            self.stop_in(room, answer).await?;
        }
        Ok(())
    }

    /// Ends an answer that was never begun. The caller holds the room's turn.
    pub(crate) async fn end_waiting(
        &self,
        room: &Room,
        answer: Uuid,
        status: AnswerStatus,
    ) -> Result<(), StoreError> {
        let end = AnswerEnd::plain(status, Written::new());
        let begun = room.state().answer(answer).map(|live| live.begun);
        let begun = begun.ok_or(StoreError::Gone)?;
        let revision = self.store.finish(begun, &end).await?;
        let done = Done {
            answer,
            position: 0,
            status,
            finish_reason: None,
            usage: None,
            timings: None,
            error: None,
            joints: Vec::new(),
            revision,
        };
        task::settle(room, done, Change::Queue);
        Ok(())
    }

    /// Puts other words into a message that still waits.
    pub(super) async fn edit_queued_here(
        self: &Arc<Self>,
        user: &User,
        edit: EditQueued,
    ) -> Result<(), Refusal> {
        check_id(&edit.id)?;
        let parts = edit.content.into_parts();
        self.check_content(&parts)?;
        let (room, _) = self.room_of(user, edit.message).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let edited = self
            .store
            .edit_waiting(&user.id, edit.message, &parts)
            .await?;
        let (_, revision) = edited.ok_or(TOO_LATE)?;
        room.change(|state| state.note(Change::Queue, revision));
        Ok(())
    }

    /// Takes a message back that still waits.
    pub(super) async fn drop_queued_here(
        self: &Arc<Self>,
        user: &User,
        aim: &Aim,
    ) -> Result<(), Refusal> {
        check_id(&aim.id)?;
        let (room, _) = self.room_of(user, aim.message).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let dropped = self.store.drop_waiting(&user.id, aim.message).await?;
        let (_, revision) = dropped.ok_or(TOO_LATE)?;
        room.change(|state| {
            state.answers.retain(|answer| {
                answer.question != aim.message || answer.status != AnswerStatus::Waiting
            });
            state.note(Change::Queue, revision);
        });
        Ok(())
    }
}
