//! The life of an answer.

use chat_gateway::answer::written::RunKind;
use chat_gateway::protocol::record::{
    AnswerOptions, AnswerStatus, AnswerTimings, Answered, Author, ContentPart, ContextUse,
    Conversation, FinishReason, Message, TokenUsage,
};
use chat_gateway::protocol::v2::Accepted;
use chat_gateway::store::{AnswerEnd, AnswerRun, Begun, NewOrOld, NewTurn, StoreError};
use uuid::Uuid;

use crate::store::{Asked, OWNER, key, whole, words, written};

#[tokio::test]
async fn a_turn_is_read_back_as_it_was_kept() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = Asked::new(Uuid::now_v7());
    let content = vec![
        ContentPart::Text {
            text: "你好 \u{0} 👩‍👩‍👧".to_owned(),
        },
        ContentPart::Image {
            data_url: "data:image/png;base64,AA==".to_owned(),
        },
    ];
    let options = AnswerOptions {
        temperature: Some(0.3),
        stop: Some(vec!["\n".to_owned()]),
        ..AnswerOptions::default()
    };
    let turn = NewTurn {
        owner: OWNER,
        request: key("r1"),
        conversation: NewOrOld::New {
            id: asked.conversation,
            title: "你好",
            temporary: false,
            system: Some("Be brief."),
        },
        parent: None,
        question: Some((asked.question, &content)),
        answer: asked.answer,
        status: AnswerStatus::Waiting,
        options: &options,
    };
    let begun = kept.store.begin(turn).await.unwrap();
    let run = AnswerRun::first(asked.answer);
    assert_eq!(begun, Begun::Begun { revision: 1, run });
    assert_eq!(kept.store.start(run).await.unwrap(), 2);
    let pieces = [
        (RunKind::Reasoning, "嗯 e\u{301}"),
        (RunKind::Text, "Hello \u{0} 👋"),
        (RunKind::Reasoning, "more"),
        (RunKind::Text, "!"),
    ];
    let end = AnswerEnd {
        status: AnswerStatus::Done,
        finish_reason: Some(FinishReason::Length),
        error: None,
        usage: Some(TokenUsage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
        }),
        timings: Some(AnswerTimings {
            first_token_ms: 1,
            writing_ms: 2,
            tokens_per_second: Some(3.5),
        }),
        context: Some(ContextUse {
            left_out: 2,
            used: 10,
            size: 4096,
        }),
        written: written(&pieces),
    };
    kept.store
        .checkpoint(run, &written(&pieces[..2]))
        .await
        .unwrap();
    assert_eq!(kept.store.finish(run, &end).await.unwrap(), 3);

    let path = kept.store.path(OWNER, asked.answer).await.unwrap();
    let created_ms = path[0].created_ms;
    let expected = [
        Message {
            id: asked.question,
            parent: None,
            role: Author::User,
            created_ms,
            content,
            answer: None,
        },
        Message {
            id: asked.answer,
            parent: Some(asked.question),
            role: Author::Assistant,
            created_ms,
            content: vec![],
            answer: Some(Answered {
                status: AnswerStatus::Done,
                text: "Hello \u{0} 👋!".to_owned(),
                reasoning: "嗯 e\u{301}more".to_owned(),
                position: end.written.position(),
                finish_reason: end.finish_reason,
                error: None,
                usage: end.usage,
                timings: end.timings,
                context: end.context,
                joints: Vec::new(),
                options,
            }),
        },
    ];
    assert_eq!(path, expected);
    let messages = kept
        .store
        .messages(OWNER, asked.conversation, None, 50)
        .await;
    assert_eq!(messages.unwrap().unwrap(), expected);
    let found = kept.store.message(OWNER, asked.answer).await.unwrap();
    assert_eq!(found, Some((asked.conversation, expected[1].clone())));
    let listed = kept
        .store
        .conversations(OWNER, None, None, 50)
        .await
        .unwrap();
    let expected = Conversation {
        id: asked.conversation,
        title: "你好".to_owned(),
        created_ms,
        updated_ms: listed[0].updated_ms,
        revision: 3,
        temporary: false,
        pinned: false,
        folder: None,
        system: Some("Be brief.".to_owned()),
        leaf: Some(asked.answer),
    };
    assert_eq!(listed, [expected]);
    assert_eq!(kept.store.tokens_today(OWNER).await.unwrap(), 15);
}

#[tokio::test]
async fn the_same_request_again_is_told_the_same_and_starts_nothing() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = Asked::new(Uuid::now_v7());
    let content = words("hello");
    let options = AnswerOptions::default();
    let turn = NewTurn {
        owner: OWNER,
        request: key("r1"),
        conversation: NewOrOld::New {
            id: asked.conversation,
            title: "hello",
            temporary: false,
            system: None,
        },
        parent: None,
        question: Some((asked.question, &content)),
        answer: asked.answer,
        status: AnswerStatus::Running,
        options: &options,
    };
    kept.store.begin(turn.clone()).await.unwrap();
    let again = NewTurn {
        conversation: NewOrOld::New {
            id: Uuid::now_v7(),
            title: "hello",
            temporary: false,
            system: None,
        },
        question: Some((Uuid::now_v7(), &content)),
        answer: Uuid::now_v7(),
        ..turn
    };
    let kept = kept.again().await;
    let accepted = Accepted {
        re: "r1".to_owned(),
        conversation: asked.conversation,
        revision: 1,
        message: asked.question,
        answer: asked.answer,
        options: options.clone(),
        duplicate: true,
    };
    let before = kept.store.begin(again.clone()).await.unwrap();
    assert_eq!(before, Begun::Before(accepted));
    let mut other = key("r1");
    other.digest[0] = 0;
    let other = NewTurn {
        request: other,
        ..again
    };
    assert_eq!(kept.store.begin(other).await.unwrap(), Begun::Conflict);
    let listed = kept
        .store
        .conversations(OWNER, None, None, 50)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn what_ran_or_waited_is_interrupted_at_start_with_its_text() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("first question").await;
    let second = kept
        .go_on(
            first.conversation,
            Some(first.answer),
            "second",
            AnswerStatus::Waiting,
        )
        .await;
    let so_far = written(&[(RunKind::Reasoning, "hm"), (RunKind::Text, "partial words")]);
    kept.store
        .checkpoint(AnswerRun::first(first.answer), &so_far)
        .await
        .unwrap();
    let kept = kept.again().await;
    for (answer, text, reasoning) in [
        (first.answer, "partial words", "hm"),
        (second.answer, "", ""),
    ] {
        let (_, message) = kept.store.message(OWNER, answer).await.unwrap().unwrap();
        let answer = message.answer.unwrap();
        assert_eq!(
            (
                answer.status,
                answer.text.as_str(),
                answer.reasoning.as_str()
            ),
            (AnswerStatus::Interrupted, text, reasoning)
        );
    }
    let found = kept.store.search(OWNER, "partial", 10).await.unwrap();
    assert_eq!(found[0].message, Some(first.answer));
    // It has ended: nothing ends it again.
    let again = kept
        .store
        .finish(AnswerRun::first(first.answer), &whole("x"))
        .await;
    assert!(matches!(again, Err(StoreError::Gone)));
}

#[tokio::test]
async fn a_question_that_waits_can_be_given_other_words() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("first").await;
    let waiting = kept
        .go_on(
            first.conversation,
            Some(first.answer),
            "apples",
            AnswerStatus::Waiting,
        )
        .await;
    let edited = kept
        .store
        .edit_waiting(OWNER, waiting.question, &words("pears"))
        .await;
    assert_eq!(edited.unwrap(), Some((first.conversation, 3)));
    let (_, question) = kept
        .store
        .message(OWNER, waiting.question)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(question.content, words("pears"));
    assert_eq!(kept.found("apples").await, []);
    assert_eq!(kept.found("pears").await, [Some(waiting.question)]);
    // An answer that runs was asked with the words as they were.
    kept.store
        .start(AnswerRun::first(waiting.answer))
        .await
        .unwrap();
    let late = kept
        .store
        .edit_waiting(OWNER, waiting.question, &words("plums"))
        .await;
    assert_eq!(late.unwrap(), None);
    let late = kept.store.drop_waiting(OWNER, waiting.question).await;
    assert_eq!(late.unwrap(), None);
    assert_eq!(kept.found("pears").await, [Some(waiting.question)]);
}

#[tokio::test]
async fn a_question_that_waits_is_taken_back_and_those_behind_it_move_up() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("first").await;
    let conversation = first.conversation;
    let second = kept
        .go_on(
            conversation,
            Some(first.answer),
            "second",
            AnswerStatus::Waiting,
        )
        .await;
    let third = kept
        .go_on(
            conversation,
            Some(second.answer),
            "third",
            AnswerStatus::Waiting,
        )
        .await;
    let dropped = kept.store.drop_waiting(OWNER, second.question).await;
    assert_eq!(dropped.unwrap(), Some((conversation, 4)));
    let ids = [first.question, first.answer, third.question, third.answer];
    assert_eq!(kept.path_ids(third.answer).await, ids);
    assert_eq!(kept.leaf(conversation).await, Some(third.answer));
    assert_eq!(kept.found("second").await, []);
    let dropped = kept.store.drop_waiting(OWNER, third.question).await;
    assert_eq!(dropped.unwrap(), Some((conversation, 5)));
    assert_eq!(kept.leaf(conversation).await, Some(first.answer));
    assert!(kept.path_ids(third.answer).await.is_empty());
}

#[tokio::test]
async fn taking_back_a_question_at_the_root_leaves_the_newest_message_as_leaf() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("first").await;
    let conversation = first.conversation;
    let root = kept
        .go_on(conversation, None, "second root", AnswerStatus::Waiting)
        .await;
    assert_eq!(kept.leaf(conversation).await, Some(root.answer));
    kept.store.drop_waiting(OWNER, root.question).await.unwrap();
    assert_eq!(kept.leaf(conversation).await, Some(first.answer));
    // The very first question can be taken back, too.
    let alone = Asked::new(Uuid::now_v7());
    let new = NewOrOld::New {
        id: alone.conversation,
        title: "alone",
        temporary: false,
        system: None,
    };
    kept.begin(&alone, new, None, "alone", AnswerStatus::Waiting)
        .await;
    kept.store
        .drop_waiting(OWNER, alone.question)
        .await
        .unwrap();
    assert_eq!(kept.leaf(alone.conversation).await, None);
    let empty = kept
        .store
        .messages(OWNER, alone.conversation, None, 50)
        .await;
    assert_eq!(empty.unwrap(), Some(vec![]));
}

#[tokio::test]
async fn another_answer_stands_beside_the_first() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("question").await;
    kept.finish(first.answer, "one").await;
    let other = Uuid::now_v7();
    let options = AnswerOptions::default();
    let turn = NewTurn {
        owner: OWNER,
        request: key("again"),
        conversation: NewOrOld::Old(first.conversation),
        parent: Some(first.question),
        question: None,
        answer: other,
        status: AnswerStatus::Running,
        options: &options,
    };
    let begun = kept.store.begin(turn).await.unwrap();
    let run = AnswerRun::first(other);
    assert_eq!(begun, Begun::Begun { revision: 3, run });
    kept.finish(other, "two").await;
    assert_eq!(
        kept.path_ids(first.answer).await,
        [first.question, first.answer]
    );
    assert_eq!(kept.path_ids(other).await, [first.question, other]);
    assert_eq!(kept.leaf(first.conversation).await, Some(other));
}

#[tokio::test]
async fn a_question_follows_an_answer_and_an_answer_follows_a_question() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let first = kept.ask("question").await;
    let options = AnswerOptions::default();
    let content = words("x");
    let turn = NewTurn {
        owner: OWNER,
        request: key("r"),
        conversation: NewOrOld::Old(first.conversation),
        parent: None,
        question: None,
        answer: Uuid::now_v7(),
        status: AnswerStatus::Running,
        options: &options,
    };
    let question = Some((Uuid::now_v7(), content.as_slice()));
    for (parent, question) in [
        (Some(first.question), question),
        (Some(first.answer), None),
        (None, None),
    ] {
        let turn = NewTurn {
            parent,
            question,
            ..turn.clone()
        };
        assert_eq!(kept.store.begin(turn).await.unwrap(), Begun::NotFound);
    }
    assert_eq!(kept.path_ids(first.answer).await.len(), 2);
}

#[tokio::test]
async fn only_an_answer_that_was_cut_goes_on_and_from_its_text() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("question").await;
    let options = AnswerOptions {
        max_tokens: Some(9),
        ..AnswerOptions::default()
    };
    let mut run = AnswerRun::first(asked.answer);
    let mut requests = (0..).map(|n: u32| n.to_string());
    let so_far = written(&[(RunKind::Reasoning, "hm"), (RunKind::Text, "so far")]);
    for (status, finish_reason, expected) in [
        (AnswerStatus::Done, Some(FinishReason::Length), true),
        (AnswerStatus::Stopped, None, true),
        (AnswerStatus::Failed, None, true),
        (AnswerStatus::Interrupted, None, true),
        (AnswerStatus::Done, Some(FinishReason::ToolCalls), false),
    ] {
        let request = requests.next().unwrap();
        let running = kept
            .store
            .resume(OWNER, &key(&request), asked.answer, &options)
            .await;
        assert_eq!(running.unwrap(), Begun::Taken);
        let end = AnswerEnd {
            finish_reason,
            ..AnswerEnd::plain(status, so_far.clone())
        };
        kept.store.finish(run, &end).await.unwrap();
        let request = requests.next().unwrap();
        let begun = kept
            .store
            .resume(OWNER, &key(&request), asked.answer, &options)
            .await
            .unwrap();
        assert_eq!(matches!(begun, Begun::Begun { .. }), expected, "{status:?}");
        if let Begun::Begun { run: next, .. } = begun {
            run = next;
        }
        if expected {
            let again = kept
                .store
                .resume(OWNER, &key(&request), asked.answer, &options)
                .await;
            assert!(matches!(again.unwrap(), Begun::Before(accepted)
                if accepted.answer == asked.answer && accepted.options == options));
            let (_, message) = kept
                .store
                .message(OWNER, asked.answer)
                .await
                .unwrap()
                .unwrap();
            let answer = message.answer.unwrap();
            assert_eq!((answer.status, answer.position), (AnswerStatus::Running, 8));
            assert_eq!(
                (answer.text.as_str(), answer.reasoning.as_str()),
                ("so far", "hm")
            );
        }
    }
}
