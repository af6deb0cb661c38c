//! A conversation as a document that can be kept elsewhere and brought back.

use serde::{Deserialize, Serialize};
use sqlx::Connection as _;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::protocol::record::{Conversation, Message};
use crate::store::read::conversation;
use crate::store::rows::{MessageRow, messages};
use crate::store::{Store, StoreError};

/// The version of the document.
pub(super) const VERSION: u32 = 1;

/// A whole conversation, as export writes it and import reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The version of this document: 1.
    pub corral_export: u32,
    /// The conversation.
    pub conversation: Conversation,
    /// All its messages in the order in which they came; each after its parent.
    pub messages: Vec<Message>,
}

impl Store {
    /// A whole conversation. `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn export(&self, owner: &str, id: Uuid) -> Result<Option<Exported>, StoreError> {
        let mut connection = self.shared.readers.acquire().await?;
        // One snapshot, so that the conversation and its messages fit each other.
        let mut snapshot = connection.begin().await?;
        let Some(conversation) = conversation(&mut snapshot, owner, id).await? else {
            return Ok(None);
        };
        let rows: Vec<MessageRow> = sqlx::query_as(
            "SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation \
             WHERE c.id = ? AND c.owner = ? ORDER BY m.n",
        )
        .bind(id)
        .bind(owner)
        .fetch_all(&mut *snapshot)
        .await?;
        Ok(Some(Exported {
            corral_export: VERSION,
            conversation,
            messages: messages(rows)?,
        }))
    }
}
