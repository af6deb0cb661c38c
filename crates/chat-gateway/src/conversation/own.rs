//! What is a user's: each look-up names the owner in the same step of the store, so that what is unknown and what is
//! somebody else's look the same.

use std::sync::Arc;

use uuid::Uuid;

use crate::conversation::refusal::{Refusal, bad};
use crate::conversation::room::Room;
use crate::identity::User;
use crate::protocol::record::{Author, Conversation, Message};
use crate::state::Gateway;

impl Gateway {
    /// The room of a conversation of this user, and what is kept of it. It shows what runs at other gateways, too.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        user: &User,
        conversation: Uuid,
    ) -> Result<(Arc<Room>, Conversation), Refusal> {
        let kept = self.store.conversation(&user.id, conversation).await?;
        let kept = kept.ok_or(Refusal::NOT_FOUND)?;
        let room = self.rooms.enter(conversation, &user.id, kept.revision);
        room.set_listed(!kept.temporary);
        self.follow(&room).await;
        Ok((room, kept))
    }

    /// The room of the conversation that a person's message is in.
    pub(super) async fn room_of(
        self: &Arc<Self>,
        user: &User,
        message: Uuid,
    ) -> Result<(Arc<Room>, Conversation), Refusal> {
        let found = self.store.message(&user.id, message).await?;
        let (conversation, message) = found.ok_or(Refusal::NOT_FOUND)?;
        if message.role != Author::User {
            return Err(bad("`message` must be a person's message, not an answer"));
        }
        self.enter(user, conversation).await
    }

    /// The answer with this id, if it is one and the user's.
    pub(super) async fn answer_of(
        &self,
        user: &User,
        id: Uuid,
    ) -> Result<(Uuid, Message), Refusal> {
        let found = self.store.message(&user.id, id).await?;
        let (conversation, message) = found.ok_or(Refusal::NOT_FOUND)?;
        if message.role != Author::Assistant {
            return Err(bad("`message` must be an answer"));
        }
        Ok((conversation, message))
    }

    /// The answer that a message is to follow.
    pub(super) async fn parent(
        &self,
        user: &User,
        conversation: Uuid,
        id: Uuid,
    ) -> Result<Uuid, Refusal> {
        let found = self.store.message(&user.id, id).await?;
        match found {
            Some((of, message)) if of == conversation && message.role == Author::Assistant => {
                Ok(id)
            }
            Some((of, _)) if of == conversation => Err(bad("`parent` must be an answer or null")),
            _ => Err(Refusal::NOT_FOUND),
        }
    }
}
