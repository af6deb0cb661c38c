//! What a store can do. Each verb is the same in SQLite and in PostgreSQL; this file alone decides which of them does it.

use std::time::Duration;

use uuid::Uuid;

use crate::answer::written::Written;
use crate::instance::InstanceId;
use crate::protocol::record::{AnswerOptions, ContentPart, Conversation, Message};
use crate::protocol::rest::{Folder, NewConversation};
use crate::store::documents::check;
use crate::store::postgres::in_time;
use crate::store::{
    AnswerEnd, AnswerRun, Backend, Begun, ConversationChange, DeletedConversation, Exported,
    ImportError, InterruptedAnswer, ListPlace, NewTurn, OwnOpen, RequestKey, RestoredConversation,
    SearchHit, Store, StoreError, StoredAnswer,
};

/// How long PostgreSQL may take for one verb of a conversation.
const SHORT: Duration = Duration::from_secs(10);
/// How long it may take for a verb that may meet thousands of rows.
const LONG: Duration = Duration::from_secs(60);

/// Does the verb in the database that this store has. SQLite bounds its waits itself; a server may be cut off without a word.
macro_rules! in_either {
    ($self:ident, $limit:ident, $store:ident => $verb:expr) => {
        match &$self.backend {
            Backend::Sqlite($store) => $verb.await,
            Backend::Postgres($store) => in_time($limit, $verb).await,
        }
    };
}

impl Store {
    /// Keeps a conversation without messages. Without a title, its first message gives it one.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn create(
        &self,
        owner: &str,
        new: &NewConversation,
    ) -> Result<Conversation, StoreError> {
        in_either!(self, SHORT, store => store.create(owner, new))
    }

    /// Changes a conversation. Its place in the list stays. `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn change(
        &self,
        owner: &str,
        id: Uuid,
        change: &ConversationChange,
    ) -> Result<Option<Conversation>, StoreError> {
        in_either!(self, SHORT, store => store.change(owner, id, change))
    }

    /// Deletes a conversation and everything in it; for `RESTORABLE` it can be brought back. What waited in it is
    /// stopped. `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn delete(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<DeletedConversation>, StoreError> {
        in_either!(self, SHORT, store => store.delete(owner, id))
    }

    /// Brings a conversation back that was deleted a moment ago. One that is there is left as it is. `None` when it is
    /// unknown, or it is too late.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn restore(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<RestoredConversation>, StoreError> {
        in_either!(self, SHORT, store => store.restore(owner, id))
    }

    /// Deletes all conversations of an owner for good, also those that could be brought back. Returns those that were
    /// there.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn delete_all(&self, owner: &str) -> Result<Vec<DeletedConversation>, StoreError> {
        in_either!(self, LONG, store => store.delete_all(owner))
    }

    /// Deletes for good what can no longer be brought back.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn sweep_deleted(&self) -> Result<(), StoreError> {
        in_either!(self, LONG, store => store.sweep_deleted())
    }

    /// A conversation without its messages.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn conversation(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<Conversation>, StoreError> {
        in_either!(self, SHORT, store => store.conversation(owner, id))
    }

    /// A message, and the conversation it is in.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn message(
        &self,
        owner: &str,
        id: Uuid,
    ) -> Result<Option<(Uuid, Message)>, StoreError> {
        in_either!(self, SHORT, store => store.message(owner, id))
    }

    /// The messages from the root to `leaf`, root first; of a longer path than `MAX_PATH` the newest. Empty when the
    /// leaf is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn path(&self, owner: &str, leaf: Uuid) -> Result<Vec<Message>, StoreError> {
        in_either!(self, SHORT, store => store.path(owner, leaf))
    }

    /// A page of a conversation's messages in the order in which they came: the newest, or those before `before`. `None`
    /// when the conversation is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn messages(
        &self,
        owner: &str,
        conversation: Uuid,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Message>>, StoreError> {
        in_either!(self, SHORT, store => store.messages(owner, conversation, before, limit))
    }

    /// A page of an owner's conversations, pinned ones first and the last changed first among each: from the top, or after
    /// the one at this place. Temporary ones are not among them. With a `folder`, only those in it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn conversations(
        &self,
        owner: &str,
        folder: Option<&str>,
        before: Option<ListPlace>,
        limit: u32,
    ) -> Result<Vec<Conversation>, StoreError> {
        in_either!(self, SHORT, store => store.conversations(owner, folder, before, limit))
    }

    /// The folders of an owner's list by name, at most `MAX_FOLDERS`, each with how many conversations are in it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn folders(&self, owner: &str) -> Result<Vec<Folder>, StoreError> {
        in_either!(self, SHORT, store => store.folders(owner))
    }

    /// The tokens that an owner spent since midnight, UTC.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn tokens_today(&self, owner: &str) -> Result<u64, StoreError> {
        in_either!(self, SHORT, store => store.tokens_today(owner))
    }

    /// The owner's titles and messages that contain every word of `query`, the newest first. Case does not matter.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn search(
        &self,
        owner: &str,
        query: &str,
        limit: u32,
    ) -> Result<Vec<SearchHit>, StoreError> {
        in_either!(self, LONG, store => store.search(owner, query, limit))
    }

    /// An answer and what was written of it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn answer(&self, owner: &str, id: Uuid) -> Result<Option<StoredAnswer>, StoreError> {
        in_either!(self, SHORT, store => store.answer(owner, id))
    }

    /// What this request was told when it came before: [`Begun::Before`] or [`Begun::Conflict`].
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn taken_before(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
    ) -> Result<Option<Begun>, StoreError> {
        in_either!(self, SHORT, store => store.taken_before(owner, request))
    }

    /// A whole conversation. `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn export(&self, owner: &str, id: Uuid) -> Result<Option<Exported>, StoreError> {
        in_either!(self, LONG, store => store.export(owner, id))
    }

    /// Keeps a document as a new conversation of `owner`, with new ids and the same tree. Returns it.
    ///
    /// # Errors
    ///
    /// When the document is wrong, or nothing can be kept now.
    pub async fn import(
        &self,
        owner: &str,
        document: &Exported,
    ) -> Result<Conversation, ImportError> {
        let ids = check(document)?;
        let imported = in_either!(self, LONG, store => store.import(owner, document, &ids));
        Ok(imported?)
    }

    /// Keeps a question, its answer's row and the request, all or nothing. What it returns is on disk.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn begin(&self, turn: NewTurn<'_>) -> Result<Begun, StoreError> {
        in_either!(self, SHORT, store => store.begin(turn))
    }

    /// Lets an answer that was cut run again, in its own row, from the text it has.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn resume(
        &self,
        owner: &str,
        request: &RequestKey<'_>,
        answer: Uuid,
        options: &AnswerOptions,
    ) -> Result<Begun, StoreError> {
        in_either!(self, SHORT, store => store.resume(owner, request, answer, options))
    }

    /// A waiting answer runs now. Returns the conversation's revision.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now, and [`StoreError::Gone`] when it does not wait.
    pub async fn start(&self, run: AnswerRun) -> Result<u64, StoreError> {
        in_either!(self, SHORT, store => store.start(run))
    }

    /// Keeps what is written so far of a running answer. It outlives the process, but perhaps not a power cut.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now, and [`StoreError::Gone`] when it does not run.
    pub async fn checkpoint(&self, run: AnswerRun, written: &Written) -> Result<(), StoreError> {
        in_either!(self, SHORT, store => store.checkpoint(run, written))
    }

    /// Ends a running or waiting answer for good, and counts its tokens. Returns the conversation's revision.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now, and [`StoreError::Gone`] when it has ended already or was deleted.
    pub async fn finish(&self, run: AnswerRun, end: &AnswerEnd) -> Result<u64, StoreError> {
        in_either!(self, SHORT, store => store.finish(run, end))
    }

    /// Counts what an answer took whose conversation was deleted meanwhile.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn spend(&self, owner: &str, end: &AnswerEnd) -> Result<(), StoreError> {
        in_either!(self, SHORT, store => store.spend(owner, end))
    }

    /// Gives a question other words while its answer waits. Returns the conversation and its revision; `None` when the
    /// question is unknown or it is too late.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn edit_waiting(
        &self,
        owner: &str,
        question: Uuid,
        content: &[ContentPart],
    ) -> Result<Option<(Uuid, u64)>, StoreError> {
        in_either!(self, SHORT, store => store.edit_waiting(owner, question, content))
    }

    /// Takes a question back while its answer waits: both are deleted, and what followed the answer follows what the
    /// question followed. Returns the conversation and its revision; `None` when the question is unknown or it is too late.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn drop_waiting(
        &self,
        owner: &str,
        question: Uuid,
    ) -> Result<Option<(Uuid, u64)>, StoreError> {
        in_either!(self, SHORT, store => store.drop_waiting(owner, question))
    }

    /// Forgets what is too old: conversations that did not change for `retention`, temporary ones after
    /// `TEMPORARY_KEPT`, requests after `REQUESTS_KEPT`, deleted conversations once they cannot be brought back. Others
    /// with an unfinished answer stay. Returns how many conversations were too old.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn sweep(&self, retention: Option<Duration>) -> Result<u64, StoreError> {
        in_either!(self, LONG, store => store.sweep(retention))
    }

    /// Interrupts the answers of gateways that have died, with the text of their checkpoints. Returns those that this call
    /// interrupted: of several gateways that look at once, one is told of each answer. SQLite has one gateway, so there
    /// none are found.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn interrupt_dead(&self) -> Result<Vec<InterruptedAnswer>, StoreError> {
        let mut interrupted = Vec::new();
        for conversation in self.orphaned().await? {
            interrupted.extend(self.interrupt_in(conversation).await?);
        }
        Ok(interrupted)
    }

    /// The conversations in which gateways that have died left something open.
    ///
    /// # Errors
    ///
    /// When nothing can be read now.
    pub async fn orphaned(&self) -> Result<Vec<Uuid>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(Vec::new()),
            Backend::Postgres(store) => in_time(SHORT, store.orphaned()).await,
        }
    }

    /// As [`Store::interrupt_dead`], in one conversation.
    ///
    /// # Errors
    ///
    /// When nothing can be changed now.
    pub async fn interrupt_in(
        &self,
        conversation: Uuid,
    ) -> Result<Vec<InterruptedAnswer>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(Vec::new()),
            Backend::Postgres(store) => in_time(SHORT, store.interrupt_in(conversation)).await,
        }
    }

    /// What is open and this gateway's, by the store's word. A file's gateway is alone and knows.
    ///
    /// # Errors
    ///
    /// When nothing can be read now.
    pub async fn own_open(&self) -> Result<Vec<OwnOpen>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(Vec::new()),
            Backend::Postgres(store) => in_time(SHORT, store.own_open()).await,
        }
    }

    /// The other gateway whose tasks write what is open in a conversation. SQLite has one gateway.
    ///
    /// # Errors
    ///
    /// When nothing can be read now.
    pub async fn home(&self, conversation: Uuid) -> Result<Option<InstanceId>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(store) => in_time(SHORT, store.home(conversation)).await,
        }
    }

    /// The key by which every gateway knows the anonymous users of the others; `offered` is it from now on when there is
    /// none. A file has no such key, and gets back what was offered.
    ///
    /// # Errors
    ///
    /// When nothing can be kept now.
    pub async fn cookie_key(&self, offered: [u8; 32]) -> Result<[u8; 32], StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(offered),
            Backend::Postgres(store) => in_time(SHORT, store.cookie_key(offered)).await,
        }
    }

    /// Whether several gateways may share it.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// Whether the database took what it was last told. A file is always there.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(_) => true,
            Backend::Postgres(store) => store.is_reached(),
        }
    }

    /// Whether [`Store::interrupt_dead`] may be trusted now: not at once after the database was away, when every gateway
    /// looks dead.
    #[must_use]
    pub fn may_judge(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(_) => false,
            Backend::Postgres(store) => store.may_judge(),
        }
    }
}
