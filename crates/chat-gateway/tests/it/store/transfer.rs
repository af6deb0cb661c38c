//! `chat-gateway migrate`: from a file to a server.

use chat_gateway::answer::written::RunKind;
use chat_gateway::protocol::record::AnswerStatus;
use chat_gateway::store::{
    RESTORABLE, ServerAddress, ServerOpenError, Store, TransferError, Transferred, transfer,
};
use testkit::postgres::{PostgresDatabase, server};

use crate::store::{Kept, OWNER, Place, connect, written};

/// An empty database; none where PostgreSQL is missing.
fn empty() -> Option<PostgresDatabase> {
    Some(server()?.database(""))
}

fn address(database: &PostgresDatabase) -> ServerAddress {
    ServerAddress::parse(&database.url()).unwrap()
}

#[tokio::test]
async fn everything_of_a_file_is_there_afterwards_and_goes_on() {
    let Some(database) = empty() else { return };
    let kept = Kept::new().await;
    let first = kept.ask("ÄPFEL \u{0} first").await;
    let mut end = crate::store::whole("");
    end.written = written(&[
        (RunKind::Reasoning, "hm \u{0}"),
        (RunKind::Text, "Ja.\u{0}"),
    ]);
    let run = chat_gateway::store::AnswerRun::first(first.answer);
    kept.store.finish(run, &end).await.unwrap();
    kept.fill(first, 1200).await;
    let deleted = kept.ask("deleted").await;
    kept.store
        .delete(OWNER, deleted.conversation)
        .await
        .unwrap();
    let open = kept.ask("open").await;
    let Kept { store, place } = kept;
    let mut before = Vec::new();
    for id in [first.conversation, open.conversation] {
        before.push(store.export(OWNER, id).await.unwrap().unwrap());
    }
    store.close().await;
    drop(store);
    let moved = transfer(place.dir.path(), &address(&database))
        .await
        .unwrap();
    let expected = Transferred {
        conversations: 3,
        messages: 2406,
        requests: 3,
        days: 1,
        texts: 7,
    };
    assert_eq!(moved, expected);

    let place = Place {
        dir: place.dir,
        database: Some(database),
    };
    let kept = Kept::at(place).await;
    let after = kept.store.export(OWNER, first.conversation).await.unwrap();
    let mut same = before[0].clone();
    // PostgreSQL has no NUL character in a title.
    same.conversation.title = same.conversation.title.replace('\0', "\u{fffd}");
    assert_eq!(after, Some(same));
    let after = kept.store.export(OWNER, open.conversation).await.unwrap();
    let answer = after.unwrap().messages[1].answer.clone().unwrap();
    assert_eq!(answer.status, AnswerStatus::Interrupted);
    assert_eq!(kept.store.tokens_today(OWNER).await.unwrap(), 15);
    assert_eq!(kept.found("äpfel").await, [Some(first.question), None]);
    let restored = kept.store.restore(OWNER, deleted.conversation).await;
    assert!(restored.unwrap().unwrap().was_deleted, "{RESTORABLE:?}");
    // Later messages come after those that were moved.
    let later = kept
        .go_on(first.conversation, None, "later", AnswerStatus::Running)
        .await;
    let page = kept
        .store
        .messages(OWNER, first.conversation, None, 1)
        .await;
    assert_eq!(page.unwrap().unwrap()[0].id, later.answer);
}

#[tokio::test]
async fn a_database_with_conversations_is_refused_and_one_of_a_cut_copy_begins_anew() {
    let Some(database) = empty() else { return };
    let kept = Kept::new().await;
    kept.ask("hello").await;
    let Kept { store, place } = kept;
    drop(store);
    let to = address(&database);
    transfer(place.dir.path(), &to).await.unwrap();
    let again = transfer(place.dir.path(), &to).await;
    assert!(
        matches!(again, Err(TransferError::NotEmpty(_))),
        "{again:?}"
    );
    // As a copy leaves it that was killed.
    let target = Place {
        dir: place.dir.clone(),
        database: Some(database),
    };
    let cut = "CREATE TABLE transfer_unfinished ()".to_owned();
    target.execute(cut).await;
    let opened = Store::connect(&to, chat_gateway::instance::InstanceId::generate(), true).await;
    let refused = opened.err().unwrap();
    assert!(
        matches!(refused, ServerOpenError::Unfinished(_)),
        "{refused}"
    );
    let moved = transfer(place.dir.path(), &to).await.unwrap();
    assert_eq!((moved.conversations, moved.messages), (1, 2));
    connect(&target.database.as_ref().unwrap().url()).await;
}

#[tokio::test]
async fn without_a_file_nothing_is_made() {
    let Some(database) = empty() else { return };
    let folder = tempfile::tempdir().unwrap();
    let refused = transfer(folder.path(), &address(&database)).await;
    assert!(
        matches!(refused, Err(TransferError::Missing(_))),
        "{refused:?}"
    );
}
