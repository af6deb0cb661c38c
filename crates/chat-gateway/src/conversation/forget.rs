//! Beginning, changing, deleting and bringing back conversations while people watch them.

use std::sync::Arc;

use uuid::Uuid;

use crate::bus::{News, NewsKind};
use crate::conversation::refusal::{Refusal, STORE_HANGS};
use crate::identity::User;
use crate::protocol::record::Conversation;
use crate::protocol::rest::NewConversation;
use crate::protocol::v2::Change;
use crate::state::Gateway;
use crate::store::{ConversationChange, Exported, ImportError};

impl Gateway {
    /// Begins a conversation of this user without messages.
    pub(crate) async fn create(
        &self,
        user: &User,
        new: &NewConversation,
    ) -> Result<Conversation, Refusal> {
        let created = self.store.create(&user.id, new).await?;
        if !created.temporary {
            self.tell(user, created.id, created.revision, true, NewsKind::Created);
        }
        Ok(created)
    }

    /// Brings a document in as a new conversation of this user. Returns it.
    pub(crate) async fn import(
        &self,
        user: &User,
        document: &Exported,
    ) -> Result<Conversation, ImportError> {
        let imported = self.store.import(&user.id, document).await?;
        self.tell(
            user,
            imported.id,
            imported.revision,
            true,
            NewsKind::Created,
        );
        Ok(imported)
    }

    /// Changes a conversation of this user and tells its watchers.
    pub(crate) async fn change(
        &self,
        user: &User,
        id: Uuid,
        change: &ConversationChange,
    ) -> Result<Conversation, Refusal> {
        let changed = self.store.change(&user.id, id, change).await?;
        let changed = changed.ok_or(Refusal::NOT_FOUND)?;
        let revision = changed.revision;
        let settings =
            change.pinned.is_some() || change.folder.is_some() || change.system.is_some();
        let title = change.title.is_some().then_some(Change::Title);
        let settings = settings.then_some(Change::Settings);
        let kinds: Vec<Change> = title.into_iter().chain(settings).collect();
        if let Some(room) = self.rooms.find(id) {
            room.set_listed(!changed.temporary);
            room.change(|state| {
                for kind in kinds {
                    state.note(kind, revision);
                }
            });
        } else {
            let listed = !changed.temporary;
            self.tell(user, id, revision, listed, NewsKind::Changed(kinds));
        }
        Ok(changed)
    }

    /// Stops what runs in a conversation of this user and deletes it.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        user: &User,
        conversation: Uuid,
    ) -> Result<(), Refusal> {
        let (room, _) = self.enter(user, conversation).await?;
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let deleted = self.store.delete(&user.id, conversation).await?;
        let deleted = deleted.ok_or(Refusal::NOT_FOUND)?;
        room.change(|state| state.delete(deleted.revision));
        Ok(())
    }

    /// Brings a conversation of this user back that was deleted a moment ago. Harmless to repeat.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        user: &User,
        conversation: Uuid,
    ) -> Result<Conversation, Refusal> {
        let restored = self.store.restore(&user.id, conversation).await?;
        let restored = restored.ok_or(Refusal::NOT_FOUND)?;
        // Only now: nobody may enter the room of somebody else's conversation.
        let (room, _) = self.enter(user, conversation).await?;
        // Whoever deleted it has told so once this is ours. It may have been deleted again meanwhile.
        let _turn = room.turn().await.ok_or(STORE_HANGS)?;
        let (_, kept) = self.enter(user, conversation).await?;
        if restored.was_deleted || room.state().is_deleted() {
            room.change(|state| {
                state.revive();
                state.note(Change::Messages, kept.revision);
            });
            room.tell_restored();
            if !kept.temporary {
                room.show_created();
            }
        }
        Ok(kept)
    }

    /// Stops what runs in all conversations of this user and deletes them for good. Returns how many there were.
    pub(crate) async fn delete_all(&self, user: &User) -> Result<u64, Refusal> {
        let deleted = self.store.delete_all(&user.id).await?;
        for gone in &deleted {
            if let Some(room) = self.rooms.find(gone.id) {
                room.set_listed(gone.listed);
                room.change(|state| state.delete(gone.revision));
            } else {
                self.tell(user, gone.id, gone.revision, gone.listed, NewsKind::Deleted);
            }
        }
        Ok(deleted.len() as u64)
    }

    /// Tells of a conversation that has no open room here: whoever watches this user's list, and the other gateways, where
    /// it may have a room.
    fn tell(&self, user: &User, conversation: Uuid, revision: u64, listed: bool, what: NewsKind) {
        let news = News {
            owner: user.id.as_ref().to_owned(),
            conversation,
            revision,
            listed,
            logged: false,
            what,
        };
        if let Some(news) = news.of_list() {
            self.rooms.lists.tell(&user.id, news);
        }
        self.rooms.lists.tell_others(news);
    }
}
