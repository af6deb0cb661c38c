//! The store's promises, through its public interface and against real files.

mod ageing;
mod documents;
mod files;
mod foreign;
mod killed;
mod restore;
mod search;
mod turns;

use std::path::Path;
use std::time::Duration;

use chat_gateway::answer::written::{RunKind, Written};
use chat_gateway::protocol::record::{
    AnswerOptions, AnswerStatus, ContentPart, FinishReason, TokenUsage,
};
use chat_gateway::store::{AnswerEnd, Begun, FILE, NewOrOld, NewTurn, RequestKey, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use uuid::Uuid;

/// Whose conversations these are.
const OWNER: &str = "ada";
/// Somebody else.
const STRANGER: &str = "eve";

/// A store in a folder of its own.
struct Kept {
    store: Store,
    dir: TempDir,
}

impl Kept {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        Self { store, dir }
    }

    /// The same folder, after the process has ended and begun again.
    async fn again(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        let store = Store::open(dir.path()).await.unwrap();
        Self { store, dir }
    }

    /// The same folder, when everything in it is so much older.
    async fn aged(self, by: Duration) -> Self {
        self.store.close().await;
        let mut file = raw(self.dir.path()).await;
        for statement in [
            "UPDATE conversations SET updated_ms = updated_ms - ?",
            "UPDATE requests SET created_ms = created_ms - ?",
            "UPDATE conversations SET deleted_ms = deleted_ms - ?",
        ] {
            let by = i64::try_from(by.as_millis()).unwrap();
            let aged = sqlx::query(statement).bind(by).execute(&mut file).await;
            aged.unwrap();
        }
        file.close().await.unwrap();
        self.again().await
    }

    /// Goes on after `first` for so many more whole turns, in one transaction.
    async fn fill(&self, first: Asked, turns: u32) {
        let mut file = raw(self.dir.path()).await;
        let mut together = file.begin().await.unwrap();
        let mut parent = first.answer;
        for n in 0..turns {
            for (status, content) in [
                (
                    None,
                    format!(r#"[{{"type":"text","text":"question {n}"}}]"#),
                ),
                (Some("done"), "[]".to_owned()),
            ] {
                let id = Uuid::now_v7();
                let kept = sqlx::query(
                    "INSERT INTO messages (id, conversation, parent, created_ms, content, status) \
                     VALUES (?, ?, ?, 1, ?, ?)",
                )
                .bind(id)
                .bind(first.conversation)
                .bind(parent)
                .bind(content)
                .bind(status)
                .execute(&mut *together);
                kept.await.unwrap();
                parent = id;
            }
        }
        together.commit().await.unwrap();
    }

    /// A new conversation with one question, whose answer runs.
    async fn ask(&self, text: &str) -> Asked {
        let asked = Asked::new(Uuid::now_v7());
        let new = NewOrOld::New {
            id: asked.conversation,
            title: text,
            temporary: false,
            system: None,
        };
        self.begin(&asked, new, None, text, AnswerStatus::Running)
            .await;
        asked
    }

    /// A question after `parent`.
    async fn go_on(
        &self,
        conversation: Uuid,
        parent: Option<Uuid>,
        text: &str,
        status: AnswerStatus,
    ) -> Asked {
        let asked = Asked::new(conversation);
        let old = NewOrOld::Old(conversation);
        self.begin(&asked, old, parent, text, status).await;
        asked
    }

    async fn begin(
        &self,
        asked: &Asked,
        conversation: NewOrOld<'_>,
        parent: Option<Uuid>,
        text: &str,
        status: AnswerStatus,
    ) {
        let content = words(text);
        let request = asked.answer.to_string();
        let options = AnswerOptions::default();
        let begun = self.store.begin(NewTurn {
            owner: OWNER,
            request: key(&request),
            conversation,
            parent,
            question: Some((asked.question, &content)),
            answer: asked.answer,
            status,
            options: &options,
        });
        let begun = begun.await.unwrap();
        assert!(matches!(begun, Begun::Begun { .. }), "{begun:?}");
    }

    async fn finish(&self, answer: Uuid, text: &str) {
        self.store.finish(answer, &whole(text)).await.unwrap();
    }

    /// The messages in which search finds `query`; none for a title.
    async fn found(&self, query: &str) -> Vec<Option<Uuid>> {
        let found = self.store.search(OWNER, query, 50).await.unwrap();
        found.into_iter().map(|found| found.message).collect()
    }

    async fn path_ids(&self, leaf: Uuid) -> Vec<Uuid> {
        let path = self.store.path(OWNER, leaf).await.unwrap();
        path.into_iter().map(|message| message.id).collect()
    }

    async fn leaf(&self, conversation: Uuid) -> Option<Uuid> {
        let kept = self.store.conversation(OWNER, conversation).await;
        kept.unwrap().unwrap().leaf
    }
}

/// The database's file, past the store.
async fn raw(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join(FILE));
    options.connect().await.unwrap()
}

/// The ids of one turn.
#[derive(Clone, Copy, Debug)]
struct Asked {
    conversation: Uuid,
    question: Uuid,
    answer: Uuid,
}

impl Asked {
    fn new(conversation: Uuid) -> Self {
        Self {
            conversation,
            question: Uuid::now_v7(),
            answer: Uuid::now_v7(),
        }
    }
}

fn key(id: &str) -> RequestKey<'_> {
    RequestKey {
        id,
        digest: [7; 32],
    }
}

fn words(text: &str) -> Vec<ContentPart> {
    vec![ContentPart::Text {
        text: text.to_owned(),
    }]
}

fn written(pieces: &[(RunKind, &str)]) -> Written {
    let mut written = Written::new();
    for (kind, text) in pieces {
        written.push(*kind, text);
    }
    written
}

/// The end of a whole answer.
fn whole(text: &str) -> AnswerEnd {
    AnswerEnd {
        status: AnswerStatus::Done,
        finish_reason: Some(FinishReason::Stop),
        error: None,
        usage: Some(TokenUsage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
        }),
        timings: None,
        context: None,
        written: written(&[(RunKind::Text, text)]),
    }
}
