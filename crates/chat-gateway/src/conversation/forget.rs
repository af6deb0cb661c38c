//! Changing and deleting conversations while people watch them.

use uuid::Uuid;

use crate::conversation::refusal::{Refusal, STORE_HANGS};
use crate::conversation::room::Room;
use crate::identity::User;
use crate::protocol::record::{AnswerStatus, Conversation};
use crate::protocol::v2::Change;
use crate::state::Gateway;
use crate::store::ConversationChange;

impl Gateway {
    /// Changes a conversation of this user and tells its watchers.
    pub(crate) async fn change(
        &self,
        user: &User,
        id: Uuid,
        change: &ConversationChange,
    ) -> Result<Conversation, Refusal> {
        let changed = self.store.change(&user.id, id, change).await?;
        let changed = changed.ok_or(Refusal::NOT_FOUND)?;
        if let Some(room) = self.rooms.find(id) {
            let settings =
                change.pinned.is_some() || change.folder.is_some() || change.system.is_some();
            room.change(|state| {
                if change.title.is_some() {
                    state.note(Change::Title, changed.revision);
                }
                if settings {
                    state.note(Change::Settings, changed.revision);
                }
            });
        }
        Ok(changed)
    }

    /// Stops what runs in a conversation of this user and deletes it.
    pub(crate) async fn delete(&self, user: &User, conversation: Uuid) -> Result<(), Refusal> {
        let (room, kept) = self.enter(user, conversation).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        if !self.store.delete(&user.id, conversation).await? {
            return Err(Refusal::NOT_FOUND);
        }
        tell_deleted(&room, kept.revision);
        Ok(())
    }

    /// Stops what runs in all conversations of this user and deletes them. Returns how many there were.
    pub(crate) async fn delete_all(&self, user: &User) -> Result<u64, Refusal> {
        let deleted = self.store.delete_all(&user.id).await?;
        for room in self.rooms.of(&user.id) {
            tell_deleted(&room, 0);
        }
        Ok(deleted)
    }
}

/// Stops what runs in a room whose conversation is deleted. `kept` is the last revision that the store had.
fn tell_deleted(room: &Room, kept: u64) {
    room.change(|state| {
        for answer in &mut state.answers {
            answer.stop.cancel();
        }
        state
            .answers
            .retain(|answer| answer.status != AnswerStatus::Waiting);
        let revision = state.revision.max(kept) + 1;
        state.note(Change::Deleted, revision);
    });
}
