//! A stranger's conversation is exactly like one that does not exist, for every verb.

use std::fmt::Debug;

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus};
use chat_gateway::store::{Begun, ConversationChange, NewOrOld, NewTurn};
use uuid::Uuid;

use crate::store::{Asked, Kept, OWNER, STRANGER, key, words};

/// What a verb said, whatever its type.
fn said(verb: &'static str, outcome: impl Debug) -> (&'static str, String) {
    (verb, format!("{outcome:?}"))
}

/// Every verb that names something, as `who`: the outcomes in order.
async fn every_verb(
    kept: &Kept,
    who: &str,
    cut: Asked,
    waiting: Asked,
    own: Option<Uuid>,
) -> Vec<(&'static str, String)> {
    let store = &kept.store;
    let options = AnswerOptions::default();
    let content = words("x");
    let answer = Uuid::now_v7();
    let turn = NewTurn {
        owner: who,
        request: key("foreign"),
        conversation: NewOrOld::Old(cut.conversation),
        parent: None,
        question: Some((Uuid::now_v7(), &content)),
        answer,
        status: AnswerStatus::Running,
        options: &options,
    };
    let mut outcomes = vec![
        said("send", store.begin(turn.clone()).await),
        said(
            "send after",
            store
                .begin(NewTurn {
                    parent: Some(cut.answer),
                    ..turn.clone()
                })
                .await,
        ),
        said(
            "regenerate",
            store
                .begin(NewTurn {
                    parent: Some(cut.question),
                    question: None,
                    ..turn.clone()
                })
                .await,
        ),
    ];
    if let Some(own) = own {
        // In a conversation of their own, after a message that is not in it.
        let turn = NewTurn {
            conversation: NewOrOld::Old(own),
            parent: Some(cut.answer),
            ..turn
        };
        outcomes.push(said("send in their own", store.begin(turn).await));
    }
    let change = ConversationChange {
        title: Some("mine now".to_owned()),
        ..ConversationChange::default()
    };
    outcomes.extend([
        said(
            "continue",
            store.resume(who, &key("c"), cut.answer, &options).await,
        ),
        said(
            "edit",
            store.edit_waiting(who, waiting.question, &content).await,
        ),
        said("drop", store.drop_waiting(who, waiting.question).await),
        said(
            "conversation",
            store.conversation(who, cut.conversation).await,
        ),
        said("question", store.message(who, cut.question).await),
        said("answer", store.message(who, cut.answer).await),
        said("stored answer", store.answer(who, cut.answer).await),
        said("path", store.path(who, cut.answer).await),
        said(
            "messages",
            store.messages(who, cut.conversation, None, 9).await,
        ),
        said("change", store.change(who, cut.conversation, &change).await),
        said("export", store.export(who, cut.conversation).await),
        said("restore", store.restore(who, cut.conversation).await),
        said("delete", store.delete(who, cut.conversation).await),
    ]);
    outcomes
}

#[tokio::test]
async fn a_stranger_gets_exactly_what_an_unknown_id_gets() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let cut = kept.ask("a secret question").await;
    let waiting = kept
        .go_on(
            cut.conversation,
            Some(cut.answer),
            "a secret wish",
            AnswerStatus::Waiting,
        )
        .await;
    let kept = kept.again().await;
    let waiting_too = kept
        .go_on(
            cut.conversation,
            Some(waiting.answer),
            "a secret hope",
            AnswerStatus::Waiting,
        )
        .await;
    let before = kept.store.export(OWNER, cut.conversation).await.unwrap();
    let own = Asked::new(Uuid::now_v7());
    let content = words("mine");
    let options = AnswerOptions::default();
    let begun = kept.store.begin(NewTurn {
        owner: STRANGER,
        request: key("own"),
        conversation: NewOrOld::New {
            id: own.conversation,
            title: "mine",
            temporary: false,
            system: None,
        },
        parent: None,
        question: Some((own.question, &content)),
        answer: own.answer,
        status: AnswerStatus::Running,
        options: &options,
    });
    begun.await.unwrap();

    let conversation = Uuid::now_v7();
    let unknown = Asked::new(conversation);
    let theirs = Some(own.conversation);
    let foreign = every_verb(&kept, STRANGER, cut, waiting_too, theirs).await;
    let unknown_to_stranger = every_verb(&kept, STRANGER, unknown, unknown, theirs).await;
    assert_eq!(foreign, unknown_to_stranger);
    let unknown_to_owner = every_verb(&kept, OWNER, unknown, unknown, None).await;
    let foreign: Vec<_> = foreign
        .into_iter()
        .filter(|(verb, _)| *verb != "send in their own")
        .collect();
    assert_eq!(foreign, unknown_to_owner);

    // What names nothing shows nothing of others.
    let listed = kept
        .store
        .conversations(STRANGER, None, None, 50)
        .await
        .unwrap();
    let ids: Vec<_> = listed.iter().map(|conversation| conversation.id).collect();
    assert_eq!(ids, [own.conversation]);
    for query in ["secret", "se", "秘密"] {
        assert_eq!(kept.store.search(STRANGER, query, 50).await.unwrap(), []);
    }
    assert_eq!(kept.store.tokens_today(STRANGER).await.unwrap(), 0);
    assert_eq!(kept.store.delete_all(STRANGER).await.unwrap().len(), 1);
    assert_eq!(
        kept.store.export(OWNER, cut.conversation).await.unwrap(),
        before
    );
}

#[tokio::test]
async fn two_owners_may_use_the_same_id_for_their_requests() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let options = AnswerOptions::default();
    let content = words("hello");
    for owner in [OWNER, STRANGER] {
        let begun = kept.store.begin(NewTurn {
            owner,
            request: key("r1"),
            conversation: NewOrOld::New {
                id: Uuid::now_v7(),
                title: "hello",
                temporary: false,
                system: None,
            },
            parent: None,
            question: Some((Uuid::now_v7(), &content)),
            answer: Uuid::now_v7(),
            status: AnswerStatus::Running,
            options: &options,
        });
        let begun = begun.await.unwrap();
        assert!(
            matches!(begun, Begun::Begun { revision: 1, .. }),
            "{begun:?}"
        );
    }
}
