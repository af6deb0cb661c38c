//! Lists, changes, and what is forgotten in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::protocol::rest::NewConversation;
use chat_gateway::store::{
    AnswerRun, Begun, ConversationChange, ListPlace, NewOrOld, NewTurn, RESTORABLE, StoreError,
};
use testkit::fake_llama::FakeLlama;
use testkit::postgres::PostgresDatabase;
use testkit::ws_client::PATIENCE;
use uuid::Uuid;

use crate::gateway::Gateway;
use crate::store::{Asked, Kept, OWNER, STRANGER, key, words};

/// A day and an hour.
const A_DAY_AND_MORE: Duration = Duration::from_hours(25);

#[tokio::test]
async fn the_list_is_paged_from_the_last_changed_and_without_temporary_ones() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let mut newest_first = Vec::new();
    for n in 0..5 {
        newest_first.insert(0, kept.ask(&format!("conversation {n}")).await.conversation);
    }
    temporary(&kept).await;
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = kept
            .store
            .conversations(OWNER, None, before, 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(ListPlace::of(last));
        paged.extend(page.into_iter().map(|conversation| conversation.id));
    }
    assert_eq!(paged, newest_first);
}

#[tokio::test]
async fn what_is_not_named_in_a_change_stays() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("hello").await;
    let id = asked.conversation;
    let before = kept.store.conversation(OWNER, id).await.unwrap().unwrap();
    let set = ConversationChange {
        title: Some("Hi".to_owned()),
        pinned: Some(true),
        folder: Some(Some("work".to_owned())),
        system: Some(Some("Be brief.".to_owned())),
    };
    let set = kept.store.change(OWNER, id, &set).await.unwrap().unwrap();
    let mut expected = before.clone();
    expected.title = "Hi".to_owned();
    expected.pinned = true;
    expected.folder = Some("work".to_owned());
    expected.system = Some("Be brief.".to_owned());
    expected.revision += 1;
    assert_eq!(set, expected);
    let nothing = ConversationChange::default();
    let same = kept
        .store
        .change(OWNER, id, &nothing)
        .await
        .unwrap()
        .unwrap();
    expected.revision += 1;
    assert_eq!(same, expected);
    let unset = ConversationChange {
        folder: Some(None),
        system: Some(None),
        ..ConversationChange::default()
    };
    let unset = kept.store.change(OWNER, id, &unset).await.unwrap().unwrap();
    expected.folder = None;
    expected.system = None;
    expected.revision += 1;
    assert_eq!(unset, expected);
    assert_eq!(
        kept.store.conversation(OWNER, id).await.unwrap(),
        Some(unset)
    );
}

#[tokio::test]
async fn a_deleted_conversation_takes_everything_with_it_but_the_count_of_tokens() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("first").await;
    kept.finish(first.answer, "answer").await;
    let second = kept
        .go_on(
            first.conversation,
            Some(first.answer),
            "second",
            AnswerStatus::Running,
        )
        .await;
    let deleted = kept.store.delete(OWNER, first.conversation).await.unwrap();
    assert!(deleted.is_some());
    let again = kept.store.delete(OWNER, first.conversation).await.unwrap();
    assert_eq!(again, None);
    let kept = kept.aged(RESTORABLE).await;
    assert_eq!(rows(&kept).await, [0, 0, 0]);
    for id in [first.question, first.answer, second.question, second.answer] {
        assert_eq!(kept.store.message(OWNER, id).await.unwrap(), None);
    }
    assert_eq!(kept.store.tokens_today(OWNER).await.unwrap(), 15);
    // The answer that ran is told, and the same request again does not bring the conversation back.
    let gone = kept
        .store
        .checkpoint(AnswerRun::first(second.answer), &crate::store::written(&[]))
        .await;
    assert!(matches!(gone, Err(StoreError::Gone)));
    let content = words("second");
    let options = AnswerOptions::default();
    let request = second.answer.to_string();
    let again = kept.store.begin(NewTurn {
        owner: OWNER,
        request: key(&request),
        conversation: NewOrOld::Old(first.conversation),
        parent: Some(first.answer),
        question: Some((Uuid::now_v7(), &content)),
        answer: Uuid::now_v7(),
        status: AnswerStatus::Running,
        options: &options,
    });
    let again = again.await.unwrap();
    assert!(matches!(again, Begun::Before(_)), "{again:?}");
}

#[tokio::test]
async fn what_is_deleted_is_out_of_sight_and_comes_back_as_it_was() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("unicorns").await;
    let id = first.conversation;
    let parent = Some(first.answer);
    let second = kept
        .go_on(id, parent, "horses", AnswerStatus::Waiting)
        .await;
    let before = kept.store.export(OWNER, id).await.unwrap().unwrap();
    let deleted = kept.store.delete(OWNER, id).await.unwrap().unwrap();
    assert_eq!(deleted.revision, before.conversation.revision + 1);
    assert!(deleted.listed);
    assert_eq!(
        kept.store
            .conversations(OWNER, None, None, 9)
            .await
            .unwrap(),
        []
    );
    assert_eq!(kept.store.export(OWNER, id).await.unwrap(), None);
    assert_eq!(kept.found("unicorns").await, []);
    assert_eq!(kept.found("un").await, []);
    // What ran ends in its row, and what waited never begins.
    kept.finish(first.answer, "white ones").await;
    let started = kept.store.start(AnswerRun::first(second.answer)).await;
    assert!(matches!(started, Err(StoreError::Gone)), "{started:?}");
    assert_eq!(kept.store.tokens_today(OWNER).await.unwrap(), 15);

    assert_eq!(kept.store.restore(STRANGER, id).await.unwrap(), None);
    let restored = kept.store.restore(OWNER, id).await.unwrap().unwrap();
    assert!(restored.was_deleted);
    let after = kept.store.export(OWNER, id).await.unwrap().unwrap();
    assert_eq!(restored.conversation, after.conversation);
    let mut expected = before.conversation.clone();
    expected.revision = deleted.revision + 2;
    expected.updated_ms = after.conversation.updated_ms;
    assert_eq!(after.conversation, expected);
    let ends = after.messages.iter().filter_map(|message| {
        let answer = message.answer.as_ref()?;
        Some((answer.status, answer.text.as_str()))
    });
    let expected = [
        (AnswerStatus::Done, "white ones"),
        (AnswerStatus::Stopped, ""),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    // The question, and the title that was made of it.
    assert_eq!(kept.found("unicorns").await, [Some(first.question), None]);
    let again = kept.store.restore(OWNER, id).await.unwrap().unwrap();
    assert_eq!(again.conversation, after.conversation);
    assert!(!again.was_deleted);
}

#[tokio::test]
async fn after_a_minute_what_was_deleted_does_not_come_back_and_is_swept() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("unicorns").await;
    kept.store.delete(OWNER, asked.conversation).await.unwrap();
    let other = kept.ask("horses").await;
    kept.store.delete(OWNER, other.conversation).await.unwrap();
    kept.store.sweep_deleted().await.unwrap();
    assert_eq!(rows(&kept).await, [2, 4, 4]);
    expire(&kept, asked.conversation).await;
    let late = kept.store.restore(OWNER, asked.conversation).await.unwrap();
    assert_eq!(late, None);
    kept.store.sweep_deleted().await.unwrap();
    assert_eq!(rows(&kept).await, [1, 2, 2]);
    // All together are deleted for good, and with them what could have come back.
    kept.ask("goats").await;
    assert_eq!(kept.store.delete_all(OWNER).await.unwrap().len(), 1);
    assert_eq!(rows(&kept).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_temporary_conversation_is_gone_after_a_day_and_others_are_kept() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let lasting = kept.ask("lasting").await;
    kept.finish(lasting.answer, "x").await;
    let brief = temporary(&kept).await;
    kept.finish(brief.answer, "x").await;
    assert_eq!(kept.store.sweep(None).await.unwrap(), 0);
    let kept = kept.aged(A_DAY_AND_MORE).await;
    assert_eq!(
        kept.store
            .conversation(OWNER, brief.conversation)
            .await
            .unwrap(),
        None
    );
    assert!(
        kept.store
            .conversation(OWNER, lasting.conversation)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn retention_deletes_what_nobody_went_on_with_and_nothing_that_runs() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let mut old = Vec::new();
    for _ in 0..120 {
        let asked = kept.ask("old").await;
        kept.finish(asked.answer, "x").await;
        old.push(asked.conversation);
    }
    let kept = kept.aged(A_DAY_AND_MORE).await;
    let went_on = kept
        .go_on(old[0], None, "new words", AnswerStatus::Running)
        .await;
    let running = kept.ask("running").await;
    let week = Duration::from_hours(7 * 24);
    assert_eq!(kept.store.sweep(Some(week)).await.unwrap(), 0);
    assert_eq!(
        kept.store
            .sweep(Some(Duration::from_hours(24)))
            .await
            .unwrap(),
        119
    );
    // Whatever the clock says, what still runs stays.
    assert_eq!(kept.store.sweep(Some(Duration::ZERO)).await.unwrap(), 0);
    kept.finish(went_on.answer, "x").await;
    kept.finish(running.answer, "x").await;
    assert_eq!(
        kept.store
            .conversations(OWNER, None, None, 50)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_running_gateway_forgets_by_its_setting() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let old = kept.ask("old").await;
    kept.finish(old.answer, "x").await;
    let kept = kept.aged(A_DAY_AND_MORE).await;
    let new = kept.ask("new").await;
    kept.finish(new.answer, "x").await;
    kept.store.close().await;
    let Kept { store, place } = kept;
    drop(store);
    let url = place.database.as_ref().map(PostgresDatabase::url);
    let mut settings = vec![("GATEWAY_RETENTION_DAYS", "1")];
    settings.extend(url.as_deref().map(|url| ("GATEWAY_STORE", url)));
    let llama = FakeLlama::start().await;
    let gateway = Gateway::keeping(Arc::clone(&place.dir), llama, &settings).await;
    let swept = async {
        while place.number("SELECT count(*) FROM conversations").await > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, swept).await.unwrap();
    let id = place.literal(new.conversation);
    let left = format!("SELECT count(*) FROM conversations WHERE id = {id}");
    assert_eq!(place.number(left).await, 1);
    drop(gateway);
}

#[tokio::test]
async fn an_id_of_a_request_is_free_again_after_a_day() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("hello").await;
    kept.finish(asked.answer, "x").await;
    let request = asked.answer.to_string();
    let content = words("hello");
    let options = AnswerOptions::default();
    let turn = NewTurn {
        owner: OWNER,
        request: key(&request),
        conversation: NewOrOld::Old(asked.conversation),
        parent: Some(asked.answer),
        question: Some((Uuid::now_v7(), &content)),
        answer: Uuid::now_v7(),
        status: AnswerStatus::Running,
        options: &options,
    };
    let before = kept.store.begin(turn.clone()).await.unwrap();
    assert!(matches!(before, Begun::Before(_)), "{before:?}");
    let kept = kept.aged(A_DAY_AND_MORE).await;
    let begun = kept.store.begin(turn).await.unwrap();
    assert!(matches!(begun, Begun::Begun { .. }), "{begun:?}");
}

#[tokio::test]
async fn ten_thousand_messages_open_within_the_time_of_one_page() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("question 0").await;
    kept.finish(first.answer, "answer 0").await;
    kept.fill(first, 4999).await;
    let began = Instant::now();
    let page = kept
        .store
        .messages(OWNER, first.conversation, None, 200)
        .await;
    let took = began.elapsed();
    let page = page.unwrap().unwrap();
    assert_eq!(page.len(), 200);
    assert!(took < Duration::from_millis(300), "{took:?}");
    // Page by page, everything comes once and in order.
    let mut read: Vec<Uuid> = page.iter().map(|message| message.id).collect();
    while let Some(oldest) = read.first().copied() {
        let page = kept
            .store
            .messages(OWNER, first.conversation, Some(oldest), 200)
            .await;
        let page = page.unwrap().unwrap();
        if page.is_empty() {
            break;
        }
        read.splice(0..0, page.iter().map(|message| message.id));
    }
    let began = Instant::now();
    let path = kept.path_ids(*read.last().unwrap()).await;
    let took = began.elapsed();
    assert_eq!(read.len(), 10_000);
    assert_eq!(path, read);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let deleted = kept.store.delete(OWNER, first.conversation).await.unwrap();
    assert!(deleted.is_some());
    expire(&kept, first.conversation).await;
    let began = Instant::now();
    kept.store.sweep_deleted().await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(rows(&kept).await, [0, 0, 0]);
}

/// Lets the time pass in which this deleted conversation could be brought back.
async fn expire(kept: &Kept, conversation: Uuid) {
    let by = RESTORABLE.as_millis();
    let id = kept.place.literal(conversation);
    let aged = format!("UPDATE conversations SET deleted_ms = deleted_ms - {by} WHERE id = {id}");
    kept.place.execute(aged).await;
}

/// How many conversations, messages and searched texts the file holds.
async fn rows(kept: &Kept) -> [i64; 3] {
    let mut counts = [0; 3];
    for (count, statement) in counts.iter_mut().zip([
        "SELECT count(*) FROM conversations",
        "SELECT count(*) FROM messages",
        "SELECT count(*) FROM texts",
    ]) {
        *count = kept.place.number(statement).await;
    }
    counts
}

async fn temporary(kept: &Kept) -> Asked {
    let asked = Asked::new(Uuid::now_v7());
    let new = NewOrOld::New {
        id: asked.conversation,
        title: "temporary",
        temporary: true,
        system: None,
    };
    kept.begin(&asked, new, None, "temporary", AnswerStatus::Running)
        .await;
    asked
}

#[tokio::test]
async fn folders_are_listed_by_their_bytes() {
    let Some(kept) = super::kept().await else {
        return;
    };
    for folder in ["b", "Ä", "B", "a", "_", "上", "a b", "ab"] {
        let new = NewConversation {
            folder: Some(folder.to_owned()),
            ..NewConversation::default()
        };
        kept.store.create(OWNER, &new).await.unwrap();
    }
    let folders = kept.store.folders(OWNER).await.unwrap();
    let names: Vec<_> = folders.iter().map(|folder| folder.name.as_str()).collect();
    assert_eq!(names, ["B", "_", "a", "a b", "ab", "b", "Ä", "上"]);
}
