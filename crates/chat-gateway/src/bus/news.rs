//! News of one conversation, for the gateways where somebody may watch it or its owner's list. They carry no text.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::protocol::v2::{Change, ListChange, ListNews};

/// Something that one gateway changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Whose conversation it is.
    pub owner: String,
    /// The conversation.
    pub conversation: Uuid,
    /// Its revision after the change.
    pub revision: u64,
    /// Whether its owner's list shows it.
    pub listed: bool,
    /// Whether the log of its room says the same, together with the answer that changed.
    pub logged: bool,
    /// What happened.
    pub what: NewsKind,
}

/// What happened to a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    /// It was begun or imported.
    Created,
    /// These parts of it changed.
    Changed(Vec<Change>),
    /// It was deleted.
    Deleted,
    /// It was brought back.
    Restored,
}

impl News {
    /// The news for those who watch the owner's list. `None` when the list does not show the conversation.
    #[must_use]
    pub fn of_list(&self) -> Option<ListNews> {
        let what = match &self.what {
            NewsKind::Created | NewsKind::Restored => ListChange::Created,
            NewsKind::Changed(_) => ListChange::Changed,
            NewsKind::Deleted => ListChange::Deleted,
        };
        self.listed.then_some(ListNews {
            conversation: self.conversation,
            revision: self.revision,
            what,
        })
    }
}
