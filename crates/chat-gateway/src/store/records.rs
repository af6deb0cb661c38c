//! What the verbs of a store take and return, whichever database keeps it.

use uuid::Uuid;

use crate::answer::written::Written;
use crate::protocol::record::{Conversation, Message};
use crate::store::AnswerRun;

/// An answer with all that was written of it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAnswer {
    /// Its conversation.
    pub conversation: Uuid,
    /// Its record.
    pub message: Message,
    /// All bytes of it: positions count in these.
    pub written: Written,
}

/// What to change of a conversation; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationChange {
    /// Its title.
    pub title: Option<String>,
    /// Whether it is pinned.
    pub pinned: Option<bool>,
    /// Its folder; `Some(None)` takes it out.
    pub folder: Option<Option<String>>,
    /// Its system prompt; `Some(None)` is the operator's again.
    pub system: Option<Option<String>>,
}

/// What a deletion still has to tell those who watched the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedConversation {
    /// Its id.
    pub id: Uuid,
    /// Its revision: the deletion is its last change.
    pub revision: u64,
    /// Whether the list showed it.
    pub listed: bool,
}

/// A conversation that is there again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredConversation {
    /// As it is now.
    pub conversation: Conversation,
    /// Whether it was deleted before.
    pub was_deleted: bool,
}

/// Where a conversation is in its owner's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// Pinned ones come first.
    pub pinned: bool,
    /// Then the last changed.
    pub updated_ms: u64,
    /// Tells those apart that changed at the same time.
    pub id: Uuid,
}

impl ListPlace {
    /// Before every conversation.
    pub(super) const TOP: Self = Self {
        pinned: true,
        updated_ms: u64::MAX,
        id: Uuid::max(),
    };

    /// Where this conversation is.
    #[must_use]
    pub const fn of(conversation: &Conversation) -> Self {
        Self {
            pinned: conversation.pinned,
            updated_ms: conversation.updated_ms,
            id: conversation.id,
        }
    }
}

/// An answer whose gateway has died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedAnswer {
    /// It.
    pub answer: Uuid,
    /// Its conversation.
    pub conversation: Uuid,
    /// Whose that is.
    pub owner: String,
    /// The conversation's revision now.
    pub revision: u64,
    /// Whether its owner's list shows it.
    pub listed: bool,
}

/// An answer that is open and belongs to this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnOpen {
    /// What its owner writes it as.
    pub run: AnswerRun,
    /// Its conversation.
    pub conversation: Uuid,
    /// Whose that is.
    pub owner: String,
    /// Whether its owner's list shows it.
    pub listed: bool,
}

/// Where a new turn goes.
pub(super) struct TurnPlace {
    pub(super) conversation: Uuid,
    pub(super) temporary: bool,
}

/// A question whose answer waits.
pub(super) struct QueuedQuestion {
    pub(super) conversation: Uuid,
    pub(super) parent: Option<Uuid>,
    pub(super) temporary: bool,
}
