//! What only a server can do: gateways that share a database, databases of others, connections that break.

use std::time::{Duration, Instant};

use chat_gateway::instance::InstanceId;
use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::protocol::rest::NewConversation;
use chat_gateway::store::{
    AnswerRun, Begun, InterruptedAnswer, NewOrOld, NewTurn, ServerAddress, ServerError,
    ServerOpenError, Store, StoreError,
};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use testkit::postgres::{PostgresDatabase, server};
use uuid::Uuid;

use crate::store::{Asked, Kept, OWNER, bury, connect, key, prepare, whole, words, written};

/// A gateway with a bus.
struct Sharing {
    store: Store,
    instance: InstanceId,
}

impl Sharing {
    async fn open(database: &PostgresDatabase) -> Result<Self, ServerOpenError> {
        let instance = InstanceId::generate();
        let address = ServerAddress::parse(&database.url()).unwrap();
        let store = Store::connect(&address, instance, true).await?;
        Ok(Self { store, instance })
    }

    async fn begin(&self, asked: &Asked, conversation: NewOrOld<'_>, request: &str) -> Begun {
        let content = words("hello");
        let options = AnswerOptions::default();
        let begun = self.store.begin(NewTurn {
            owner: OWNER,
            request: key(request),
            conversation,
            parent: None,
            question: Some((asked.question, &content)),
            answer: asked.answer,
            status: AnswerStatus::Running,
            options: &options,
        });
        begun.await.unwrap()
    }
}

fn new(asked: &Asked) -> NewOrOld<'static> {
    NewOrOld::New {
        id: asked.conversation,
        title: "hello",
        temporary: false,
        system: None,
    }
}

async fn copied() -> Option<PostgresDatabase> {
    Some(server()?.copy_of("corral_template", prepare).await)
}

async fn raw(database: &PostgresDatabase) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}

fn is_gone<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Gone))
}

#[tokio::test]
async fn a_conversation_with_an_open_answer_is_begun_on_only_at_its_home() {
    let Some(database) = copied().await else {
        return;
    };
    let here = Sharing::open(&database).await.unwrap();
    let there = Sharing::open(&database).await.unwrap();
    let first = Asked::new(Uuid::now_v7());
    let run = AnswerRun::first(first.answer);
    let begun = here.begin(&first, new(&first), "r1").await;
    assert_eq!(begun, Begun::Begun { revision: 1, run });
    let second = Asked::new(first.conversation);
    let old = NewOrOld::Old(first.conversation);
    let begun = there.begin(&second, old, "r2").await;
    assert_eq!(begun, Begun::Elsewhere(here.instance));
    let options = AnswerOptions::default();
    let resumed = there
        .store
        .resume(OWNER, &key("r3"), first.answer, &options)
        .await;
    assert_eq!(resumed.unwrap(), Begun::Elsewhere(here.instance));
    // Nothing of it was kept, and nobody else can write the answer.
    let end = whole("not mine");
    assert!(is_gone(&there.store.finish(run, &end).await));
    assert!(is_gone(&there.store.checkpoint(run, &end.written).await));
    here.store.finish(run, &whole("mine")).await.unwrap();
    // Nothing is open: the other one may be its home now, under the same id of a request.
    let run = AnswerRun::first(second.answer);
    let begun = there.begin(&second, old, "r2").await;
    assert_eq!(begun, Begun::Begun { revision: 3, run });
}

#[tokio::test]
async fn what_a_dead_gateway_wrote_is_interrupted_once_and_it_writes_no_more() {
    let Some(database) = copied().await else {
        return;
    };
    let dead = Sharing::open(&database).await.unwrap();
    let here = Sharing::open(&database).await.unwrap();
    let third = Sharing::open(&database).await.unwrap();
    let asked = Asked::new(Uuid::now_v7());
    dead.begin(&asked, new(&asked), "r1").await;
    let first = AnswerRun::first(asked.answer);
    let end = whole("so far");
    dead.store.checkpoint(first, &end.written).await.unwrap();
    assert_eq!(here.store.interrupt_dead().await.unwrap(), []);
    dead.store.finish(first, &end).await.unwrap();
    let options = AnswerOptions::default();
    // Again, so that a run of before is tried, too.
    let mut cut = whole("so far");
    cut.status = AnswerStatus::Stopped;
    let other = Asked::new(Uuid::now_v7());
    dead.begin(&other, new(&other), "r2").await;
    let run = AnswerRun::first(other.answer);
    dead.store.checkpoint(run, &cut.written).await.unwrap();
    bury(&database.url()).await;
    // Both look at the same time; one is told.
    let (some, others) = tokio::join!(here.store.interrupt_dead(), third.store.interrupt_dead());
    let mut told = some.unwrap();
    told.extend(others.unwrap());
    let expected = InterruptedAnswer {
        answer: other.answer,
        conversation: other.conversation,
        owner: OWNER.to_owned(),
        revision: 2,
        listed: true,
    };
    assert_eq!(told, [expected]);
    let (_, message) = here
        .store
        .message(OWNER, other.answer)
        .await
        .unwrap()
        .unwrap();
    let answer = message.answer.unwrap();
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (AnswerStatus::Interrupted, "so far")
    );
    assert!(is_gone(&dead.store.finish(run, &cut).await));
    let begun = dead
        .store
        .resume(OWNER, &key("r3"), other.answer, &options)
        .await;
    let next = AnswerRun { run: 2, ..run };
    let expected = Begun::Begun {
        revision: 3,
        run: next,
    };
    assert_eq!(begun.unwrap(), expected);
    // Its own task of before is not its task of now.
    assert!(is_gone(&dead.store.checkpoint(run, &cut.written).await));
    assert!(is_gone(&dead.store.finish(run, &cut).await));
    dead.store.finish(next, &cut).await.unwrap();
}

#[tokio::test]
async fn the_same_request_at_two_gateways_begins_one_answer() {
    let Some(database) = copied().await else {
        return;
    };
    let here = Sharing::open(&database).await.unwrap();
    let there = Sharing::open(&database).await.unwrap();
    for n in 0..20 {
        let request = n.to_string();
        let one = Asked::new(Uuid::now_v7());
        let other = Asked::new(Uuid::now_v7());
        let (first, second) = tokio::join!(
            here.begin(&one, new(&one), &request),
            there.begin(&other, new(&other), &request),
        );
        let begun = [&first, &second].map(|begun| matches!(begun, Begun::Begun { .. }));
        let before = [&first, &second].map(|begun| matches!(begun, Begun::Before(_)));
        assert_eq!(begun, [!before[0], !before[1]], "{first:?} {second:?}");
        assert_ne!(begun[0], begun[1], "{first:?} {second:?}");
    }
    let listed = here.store.conversations(OWNER, None, None, 50).await;
    assert_eq!(listed.unwrap().len(), 20);
}

#[tokio::test]
async fn gateways_that_start_together_make_the_tables_once() {
    let Some(server) = server() else { return };
    let database = server.database("TEMPLATE template0 LOCALE 'C'");
    let (one, two, three) = tokio::join!(
        Sharing::open(&database),
        Sharing::open(&database),
        Sharing::open(&database),
    );
    let stores = [one.unwrap(), two.unwrap(), three.unwrap()];
    let new = NewConversation {
        title: Some("ÄPFEL 今天上海".to_owned()),
        ..NewConversation::default()
    };
    let made = stores[0].store.create(OWNER, &new).await.unwrap();
    // Whatever the locale of the database.
    for query in ["äpfel", "上海", "今天上"] {
        let found = stores[1].store.search(OWNER, query, 9).await.unwrap();
        let ids: Vec<_> = found.iter().map(|hit| hit.conversation).collect();
        assert_eq!(ids, [made.id], "{query}");
    }
}

#[tokio::test]
async fn a_gateway_without_a_bus_waits_until_the_other_one_has_left() {
    let Some(database) = copied().await else {
        return;
    };
    let first = connect(&database.url()).await;
    let address = ServerAddress::parse(&database.url()).unwrap();
    let second = Store::connect(&address, InstanceId::generate(), true);
    let mut second = std::pin::pin!(second);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut second).await;
    assert!(early.is_err(), "{early:?}");
    first.close().await;
    second.await.unwrap();
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_as_it_is() {
    let Some(server) = server() else { return };
    let database = server.database("");
    let mut theirs = raw(&database).await;
    let made = sqlx::query("CREATE TABLE theirs (x integer)").execute(&mut theirs);
    made.await.unwrap();
    let refused = Sharing::open(&database).await.err().unwrap();
    assert!(matches!(refused, ServerOpenError::Foreign(_)), "{refused}");
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&mut theirs)
            .await
            .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_gateway_is_refused() {
    let Some(database) = copied().await else {
        return;
    };
    let mut newer = raw(&database).await;
    let made = sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, '\\x00', 1)",
    );
    made.execute(&mut newer).await.unwrap();
    let refused = Sharing::open(&database).await.err().unwrap();
    assert!(matches!(refused, ServerOpenError::Newer(_)), "{refused}");
}

#[tokio::test]
async fn a_database_that_is_not_in_utf_8_is_refused() {
    let Some(server) = server() else { return };
    let database = server.database("TEMPLATE template0 LOCALE 'C' ENCODING 'LATIN1'");
    let refused = Sharing::open(&database).await.err().unwrap();
    assert!(
        matches!(refused, ServerOpenError::Unfit { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn after_its_connections_were_cut_the_store_works_again() {
    let Some(kept) = Kept::in_postgres().await else {
        return;
    };
    let asked = kept.ask("hello").await;
    kept.place.database.as_ref().unwrap().cut();
    let run = AnswerRun::first(asked.answer);
    let mut tries = 0;
    loop {
        tries += 1;
        match kept.store.finish(run, &whole("whole")).await {
            Ok(_) => break,
            Err(error) => {
                assert!(error.to_string().contains("GATEWAY_STORE"), "{error}");
                assert!(tries < 20, "{error}");
            }
        }
    }
    assert_eq!(kept.found("whole").await, [Some(asked.answer)]);
}

#[tokio::test]
async fn a_verb_that_meets_a_lock_gives_up_in_time_and_leaves_nothing() {
    let Some(kept) = Kept::in_postgres().await else {
        return;
    };
    let asked = kept.ask("hello").await;
    let mut other = raw(kept.place.database.as_ref().unwrap()).await;
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM conversations FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let began = Instant::now();
    let run = AnswerRun::first(asked.answer);
    let busy = kept.store.finish(run, &whole("whole")).await;
    assert!(
        matches!(busy, Err(StoreError::Server(ServerError::Busy))),
        "{busy:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(7));
    // A checkpoint needs no lock, and readers see what was committed.
    let so_far = written(&[]);
    kept.store.checkpoint(run, &so_far).await.unwrap();
    holding.rollback().await.unwrap();
    assert_eq!(kept.store.finish(run, &whole("whole")).await.unwrap(), 2);
}

#[tokio::test]
async fn a_nul_character_in_a_title_is_shown_as_one_that_is_unknown() {
    let Some(kept) = Kept::in_postgres().await else {
        return;
    };
    let new = NewConversation {
        title: Some("a\0b".to_owned()),
        folder: Some("c\0d".to_owned()),
        system: Some("e\0f".to_owned()),
        ..NewConversation::default()
    };
    let made = kept.store.create(OWNER, &new).await.unwrap();
    let kept_as = (
        made.title.as_str(),
        made.folder.as_deref(),
        made.system.as_deref(),
    );
    assert_eq!(
        kept_as,
        ("a\u{fffd}b", Some("c\u{fffd}d"), Some("e\u{fffd}f"))
    );
}
