//! The life of an answer.

use chat_gateway::answer::written::RunKind;
use chat_gateway::protocol::record::{
    Answered, Author, ContextUse, Conversation, FinishReason, Message, Options, Part, Status,
    Timings, Usage,
};
use chat_gateway::protocol::v2::Accepted;
use chat_gateway::store::{Begun, End, NewOrOld, NewTurn, StoreError};
use uuid::Uuid;

use crate::store::{Asked, Kept, OWNER, key, whole, words, written};

#[tokio::test]
async fn a_turn_is_read_back_as_it_was_kept() {
    let kept = Kept::new().await;
    let asked = Asked::new(Uuid::now_v7());
    let content = vec![
        Part::Text {
            text: "你好 \u{0} 👩‍👩‍👧".to_owned(),
        },
        Part::Image {
            data_url: "data:image/png;base64,AA==".to_owned(),
        },
    ];
    let options = Options {
        temperature: Some(0.3),
        stop: Some(vec!["\n".to_owned()]),
        ..Options::default()
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
        status: Status::Waiting,
        options: &options,
    };
    let begun = kept.store.begin(turn).await.unwrap();
    assert_eq!(begun, Begun::Begun { revision: 1 });
    assert_eq!(kept.store.start(asked.answer).await.unwrap(), 2);
    let pieces = [
        (RunKind::Reasoning, "嗯 e\u{301}"),
        (RunKind::Text, "Hello \u{0} 👋"),
        (RunKind::Reasoning, "more"),
        (RunKind::Text, "!"),
    ];
    let end = End {
        status: Status::Done,
        finish_reason: Some(FinishReason::Length),
        error: None,
        usage: Some(Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
        }),
        timings: Some(Timings {
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
        .checkpoint(asked.answer, &written(&pieces[..2]))
        .await
        .unwrap();
    assert_eq!(kept.store.finish(asked.answer, &end).await.unwrap(), 3);

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
                status: Status::Done,
                text: "Hello \u{0} 👋!".to_owned(),
                reasoning: "嗯 e\u{301}more".to_owned(),
                position: end.written.position(),
                finish_reason: end.finish_reason,
                error: None,
                usage: end.usage,
                timings: end.timings,
                context: end.context,
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
    let listed = kept.store.conversations(OWNER, None, 50).await.unwrap();
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
    let kept = Kept::new().await;
    let asked = Asked::new(Uuid::now_v7());
    let content = words("hello");
    let options = Options::default();
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
        status: Status::Running,
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
    let listed = kept.store.conversations(OWNER, None, 50).await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn what_ran_or_waited_is_interrupted_at_start_with_its_text() {
    let kept = Kept::new().await;
    let first = kept.ask("first question").await;
    let second = kept
        .go_on(
            first.conversation,
            Some(first.answer),
            "second",
            Status::Waiting,
        )
        .await;
    let so_far = written(&[(RunKind::Reasoning, "hm"), (RunKind::Text, "partial words")]);
    kept.store.checkpoint(first.answer, &so_far).await.unwrap();
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
            (Status::Interrupted, text, reasoning)
        );
    }
    let found = kept.store.search(OWNER, "partial", 10).await.unwrap();
    assert_eq!(found[0].message, Some(first.answer));
    // It has ended: nothing ends it again.
    let again = kept.store.finish(first.answer, &whole("x")).await;
    assert!(matches!(again, Err(StoreError::Gone)));
}
