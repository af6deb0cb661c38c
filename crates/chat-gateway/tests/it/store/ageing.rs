//! Lists, changes, and what is forgotten in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::store::{Begun, ConversationChange, ListPlace, NewOrOld, NewTurn};
use testkit::fake_llama::FakeLlama;
use testkit::ws_client::PATIENCE;
use uuid::Uuid;

use crate::gateway::Gateway;
use crate::store::{Asked, Kept, OWNER, key, raw, words};

/// A day and an hour.
const A_DAY_AND_MORE: Duration = Duration::from_hours(25);

#[tokio::test]
async fn the_list_is_paged_from_the_last_changed_and_without_temporary_ones() {
    let kept = Kept::new().await;
    let mut newest_first = Vec::new();
    for n in 0..5 {
        newest_first.insert(0, kept.ask(&format!("conversation {n}")).await.conversation);
    }
    temporary(&kept).await;
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = kept.store.conversations(OWNER, before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(ListPlace::of(last));
        paged.extend(page.into_iter().map(|conversation| conversation.id));
    }
    assert_eq!(paged, newest_first);
}

#[tokio::test]
async fn what_is_not_named_in_a_change_stays() {
    let kept = Kept::new().await;
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
    let kept = Kept::new().await;
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
    assert!(kept.store.delete(OWNER, first.conversation).await.unwrap());
    assert!(!kept.store.delete(OWNER, first.conversation).await.unwrap());
    for id in [first.question, first.answer, second.question, second.answer] {
        assert_eq!(kept.store.message(OWNER, id).await.unwrap(), None);
    }
    assert_eq!(kept.store.tokens_today(OWNER).await.unwrap(), 15);
    // The answer that ran is told, and the same request again does not bring the conversation back.
    let gone = kept
        .store
        .checkpoint(second.answer, &crate::store::written(&[]))
        .await;
    assert!(matches!(gone, Err(chat_gateway::store::StoreError::Gone)));
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
async fn a_temporary_conversation_is_gone_after_a_day_and_others_are_kept() {
    let kept = Kept::new().await;
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
    let kept = Kept::new().await;
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
            .conversations(OWNER, None, 50)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_running_gateway_forgets_by_its_setting() {
    let kept = Kept::new().await;
    let old = kept.ask("old").await;
    kept.finish(old.answer, "x").await;
    let kept = kept.aged(A_DAY_AND_MORE).await;
    let new = kept.ask("new").await;
    kept.finish(new.answer, "x").await;
    kept.store.close().await;
    let Kept { store, dir } = kept;
    drop(store);
    let data = Arc::new(dir);
    let settings = [("GATEWAY_RETENTION_DAYS", "1")];
    let gateway = Gateway::keeping(Arc::clone(&data), FakeLlama::start().await, &settings).await;
    let mut file = raw(data.path()).await;
    let left = async {
        loop {
            let left: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM conversations")
                .fetch_all(&mut file)
                .await
                .unwrap();
            if left.len() < 2 {
                return left;
            }
            tokio::task::yield_now().await;
        }
    };
    let left = tokio::time::timeout(PATIENCE, left).await.unwrap();
    assert_eq!(left, [new.conversation]);
    drop(gateway);
}

#[tokio::test]
async fn an_id_of_a_request_is_free_again_after_a_day() {
    let kept = Kept::new().await;
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
    let kept = Kept::new().await;
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
    let began = Instant::now();
    assert!(kept.store.delete(OWNER, first.conversation).await.unwrap());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
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
