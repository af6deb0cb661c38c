//! The store's promises, through its public interface, against real files and a real PostgreSQL. Those in `both` hold for
//! either.

mod files;
mod killed;
mod postgres;
mod restore;
mod servers;
mod sqlite;
mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chat_gateway::answer::written::{RunKind, Written};
use chat_gateway::instance::InstanceId;
use chat_gateway::protocol::record::{
    AnswerOptions, AnswerStatus, ContentPart, FinishReason, TokenUsage,
};
use chat_gateway::store::{
    AnswerEnd, AnswerRun, Begun, FILE, NewOrOld, NewTurn, RequestKey, ServerAddress, Store,
};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use testkit::postgres::{self as fixture, PostgresDatabase};
use uuid::Uuid;

/// Whose conversations these are.
const OWNER: &str = "ada";
/// Somebody else.
const STRANGER: &str = "eve";

/// A store in a folder, or in a database, of its own.
struct Kept {
    store: Store,
    place: Place,
}

/// Where a store is.
struct Place {
    /// What the gateway keeps beside its conversations, and these, too, unless there is a database.
    dir: Arc<TempDir>,
    database: Option<PostgresDatabase>,
}

impl Kept {
    /// In a file.
    async fn new() -> Self {
        Self::at(Place::new(None)).await
    }

    /// In PostgreSQL. `None` where that is missing.
    async fn in_postgres() -> Option<Self> {
        let server = fixture::server()?;
        let database = server.copy_of("corral_template", prepare).await;
        Some(Self::at(Place::new(Some(database))).await)
    }

    async fn at(place: Place) -> Self {
        let store = match &place.database {
            None => Store::open(place.dir.path()).await.unwrap(),
            Some(database) => connect(&database.url()).await,
        };
        // As a gateway does at its start.
        store.interrupt_dead().await.unwrap();
        Self { store, place }
    }

    /// The same place, after the process has ended and begun again.
    async fn again(self) -> Self {
        let Self { store, place } = self;
        drop(store);
        if let Some(database) = &place.database {
            bury(&database.url()).await;
        }
        Self::at(place).await
    }

    /// The same place, when everything in it is so much older.
    async fn aged(self, by: Duration) -> Self {
        self.store.close().await;
        let by = by.as_millis();
        for statement in [
            format!("UPDATE conversations SET updated_ms = updated_ms - {by}"),
            format!("UPDATE requests SET created_ms = created_ms - {by}"),
            format!("UPDATE conversations SET deleted_ms = deleted_ms - {by}"),
        ] {
            self.place.execute(statement).await;
        }
        self.again().await
    }

    /// Goes on after `first` for so many more whole turns, in one transaction.
    async fn fill(&self, first: Asked, turns: u32) {
        let mut together = String::from("BEGIN;");
        let mut parent = first.answer;
        let conversation = self.place.literal(first.conversation);
        for n in 0..turns {
            for (status, content) in [
                (
                    "NULL",
                    format!(r#"[{{"type":"text","text":"question {n}"}}]"#),
                ),
                ("'done'", "[]".to_owned()),
            ] {
                let id = Uuid::now_v7();
                let own = self.place.literal(id);
                let before = self.place.literal(parent);
                together += &format!(
                    "INSERT INTO messages (id, conversation, parent, created_ms, content, status) \
                     VALUES ({own}, {conversation}, {before}, 1, '{content}', {status});"
                );
                parent = id;
            }
        }
        self.place.execute(together + "COMMIT").await;
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
        let run = AnswerRun::first(answer);
        self.store.finish(run, &whole(text)).await.unwrap();
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

impl Place {
    fn new(database: Option<PostgresDatabase>) -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            database,
        }
    }

    /// Runs statements past the store.
    async fn execute(&self, statements: String) {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements));
        let done = match &self.database {
            None => {
                let mut file = raw(self.dir.path()).await;
                let done = statements.execute(&mut file).await.map(drop);
                file.close().await.unwrap();
                done
            }
            Some(database) => {
                let mut server = PgConnection::connect(&database.url()).await.unwrap();
                statements.execute(&mut server).await.map(drop)
            }
        };
        done.unwrap();
    }

    /// A number that is asked for past the store.
    async fn number(&self, statement: impl Into<String>) -> i64 {
        let statement = AssertSqlSafe(statement.into());
        match &self.database {
            None => {
                let mut file = raw(self.dir.path()).await;
                sqlx::query_scalar(statement).fetch_one(&mut file).await
            }
            Some(database) => {
                let mut server = PgConnection::connect(&database.url()).await.unwrap();
                sqlx::query_scalar(statement).fetch_one(&mut server).await
            }
        }
        .unwrap()
    }

    /// An id as a statement writes it.
    fn literal(&self, id: Uuid) -> String {
        match &self.database {
            None => format!("x'{}'", id.simple()),
            Some(_) => format!("'{id}'"),
        }
    }
}

/// Makes the tables of the template.
pub(crate) async fn prepare(url: String) {
    connect(&url).await.close().await;
}

/// A gateway without a bus opens the database.
async fn connect(url: &str) -> Store {
    let address = ServerAddress::parse(url).unwrap();
    let opened = Store::connect(&address, InstanceId::generate(), false).await;
    opened.unwrap()
}

/// Lets the time pass after which a gateway that says nothing is dead.
async fn bury(url: &str) {
    let mut server = PgConnection::connect(url).await.unwrap();
    sqlx::query("UPDATE gateways SET seen_at = seen_at - interval '7 s'")
        .execute(&mut server)
        .await
        .unwrap();
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
