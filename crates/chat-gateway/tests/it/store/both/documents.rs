//! Export and import.

use chat_gateway::answer::written::RunKind;
use chat_gateway::protocol::record::{
    AnswerOptions, AnswerStatus, Answered, Author, ContentPart, Conversation, Message,
};
use chat_gateway::store::{
    AnswerRun, ConversationChange, Exported, ImportError, MAX_IMPORT_MESSAGES, NewOrOld, NewTurn,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::store::{Kept, OWNER, STRANGER, key, words, written};

/// A conversation with a branch, thoughts, and an answer that runs.
async fn document(kept: &Kept) -> Exported {
    let first = kept.ask("hello\nworld").await;
    let mut end = crate::store::whole("");
    end.written = written(&[(RunKind::Reasoning, "hm"), (RunKind::Text, "Hi!")]);
    kept.store
        .finish(AnswerRun::first(first.answer), &end)
        .await
        .unwrap();
    let other = Uuid::now_v7();
    let options = AnswerOptions::default();
    let begun = kept.store.begin(NewTurn {
        owner: OWNER,
        request: key("again"),
        conversation: NewOrOld::Old(first.conversation),
        parent: Some(first.question),
        question: None,
        answer: other,
        status: AnswerStatus::Running,
        options: &options,
    });
    begun.await.unwrap();
    kept.finish(other, "Hey.").await;
    kept.go_on(
        first.conversation,
        Some(other),
        "and now?",
        AnswerStatus::Running,
    )
    .await;
    let change = ConversationChange {
        folder: Some(Some("work".to_owned())),
        pinned: Some(true),
        ..ConversationChange::default()
    };
    let id = first.conversation;
    kept.store.change(OWNER, id, &change).await.unwrap();
    kept.store.export(OWNER, id).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_exported_comes_back_with_the_same_tree_under_new_ids() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let document = document(&kept).await;
    let text = serde_json::to_string(&document).unwrap();
    let read: Exported = serde_json::from_str(&text).unwrap();
    assert_eq!(read, document);
    let id = kept.store.import(STRANGER, &read).await.unwrap().id;
    let back = kept.store.export(STRANGER, id).await.unwrap().unwrap();
    // As it was, but for the ids, and for the answer that nobody writes any more.
    let mut expected = document.clone();
    expected.conversation.id = id;
    expected.conversation.revision = 1;
    expected.conversation.updated_ms = back.conversation.updated_ms;
    assert!(expected.messages.len() == back.messages.len());
    for n in 0..expected.messages.len() {
        let old = expected.messages[n].id;
        let new = back.messages[n].id;
        assert_ne!(old, new);
        for message in &mut expected.messages {
            message.parent = message.parent.map(|id| if id == old { new } else { id });
        }
        expected.messages[n].id = new;
        let leaf = &mut expected.conversation.leaf;
        *leaf = leaf.map(|id| if id == old { new } else { id });
    }
    let running = expected
        .messages
        .last_mut()
        .unwrap()
        .answer
        .as_mut()
        .unwrap();
    assert_eq!(running.status, AnswerStatus::Running);
    running.status = AnswerStatus::Interrupted;
    assert_eq!(back, expected);
    let found = kept.store.search(STRANGER, "Hey", 9).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn markdown_shows_the_path_to_the_newest_message() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let page = document(&kept).await.to_markdown();
    let expected = "# hello world\n\n## You\n\nhello\nworld\n\n## Assistant\n\nHey.\n\n## You\n\nand now?\n\n\
                    ## Assistant\n\n*(this answer is not whole)*\n";
    assert_eq!(page, expected);
}

fn question(parent: Option<Uuid>) -> Message {
    Message {
        id: Uuid::now_v7(),
        parent,
        role: Author::User,
        created_ms: 1,
        content: words("q"),
        answer: None,
    }
}

fn answer(parent: Option<Uuid>) -> Message {
    Message {
        role: Author::Assistant,
        content: vec![],
        answer: Some(Answered {
            status: AnswerStatus::Done,
            text: "a".to_owned(),
            reasoning: String::new(),
            position: 1,
            finish_reason: None,
            error: None,
            usage: None,
            timings: None,
            context: None,
            joints: Vec::new(),
            options: AnswerOptions::default(),
        }),
        ..question(parent)
    }
}

fn exported(messages: Vec<Message>) -> Exported {
    Exported {
        corral_export: 1,
        conversation: Conversation {
            id: Uuid::now_v7(),
            title: "t".to_owned(),
            created_ms: 1,
            updated_ms: 1,
            revision: 1,
            temporary: false,
            pinned: false,
            folder: None,
            system: None,
            leaf: messages.last().map(|message| message.id),
        },
        messages,
    }
}

#[tokio::test]
async fn a_document_that_is_wrong_is_refused_with_its_place_and_nothing_is_kept() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let ok = || {
        let question = question(None);
        let answer = answer(Some(question.id));
        exported(vec![question, answer])
    };
    let mut wrong = Vec::new();
    let mut case = |place: &'static str, change: &dyn Fn(&mut Exported)| {
        let mut document = ok();
        change(&mut document);
        wrong.push((place, document));
    };
    case("corral_export", &|it| it.corral_export = 2);
    case("conversation.title", &|it| {
        it.conversation.title = "t".repeat(201);
    });
    case("conversation.folder", &|it| {
        it.conversation.folder = Some("f".repeat(201));
    });
    case("conversation.leaf", &|it| {
        it.conversation.leaf = Some(Uuid::now_v7());
    });
    case("messages[0].parent", &|it| {
        it.messages[0].parent = Some(it.messages[0].id);
    });
    case("messages[0].parent", &|it| it.messages.swap(0, 1));
    case("messages[1].parent", &|it| {
        it.messages[1].parent = Some(Uuid::now_v7());
    });
    case("messages[1].parent", &|it| it.messages[1].parent = None);
    case("messages[2].parent", &|it| {
        let parent = it.messages[0].id;
        it.messages.push(question(Some(parent)));
    });
    case("messages[2].id", &|it| {
        let mut again = it.messages[1].clone();
        again.answer = Some(again.answer.unwrap());
        it.messages.push(again);
    });
    case("messages[0] must have content", &|it| {
        it.messages[0].content.clear();
    });
    case("messages[0] must have content", &|it| {
        it.messages[0].answer = it.messages[1].answer.clone();
    });
    case("messages[1] must have an answer", &|it| {
        it.messages[1].answer = None;
    });
    case("messages[1] must have an answer", &|it| {
        it.messages[1].content = words("both");
    });
    case("messages[0].content", &|it| {
        it.messages[0].content = vec![ContentPart::Image {
            data_url: "https://elsewhere/track.png".to_owned(),
        }];
    });
    case("messages must be at most", &|it| {
        it.messages = (0..=MAX_IMPORT_MESSAGES).map(|_| question(None)).collect();
    });
    case("the messages must have at most", &|it| {
        it.messages = (0..9).map(|_| question(None)).collect();
        for message in &mut it.messages {
            message.content = words(&"x".repeat(8 << 20));
        }
    });
    for (place, document) in wrong {
        let refused = kept.store.import(OWNER, &document).await;
        let Err(ImportError::Refused(reason)) = refused else {
            panic!("{place}: {refused:?}");
        };
        assert!(reason.contains(place), "{place}: {reason}");
    }
    assert_eq!(
        kept.store
            .conversations(OWNER, None, None, 9)
            .await
            .unwrap(),
        []
    );
    kept.store.import(OWNER, &ok()).await.unwrap();
}

/// Messages whose parents, roles, ids and contents are anybody's guess.
fn hostile() -> impl Strategy<Value = Exported> {
    let message = (
        proptest::option::of(0..8_usize),
        0..12_usize,
        any::<bool>(),
        any::<u64>(),
        "\\PC{0,9}|\u{0}",
        0..6_u8,
    );
    let leaf = proptest::option::of(0..8_usize);
    (proptest::collection::vec(message, 0..8), leaf, any::<u64>()).prop_map(|(made, leaf, time)| {
        let ids: Vec<Uuid> = made.iter().map(|_| Uuid::now_v7()).collect();
        let pick = |n: usize| ids.get(n).copied().unwrap_or_else(Uuid::nil);
        let messages = made
            .iter()
            .map(|(parent, id, is_user, created_ms, text, odd)| {
                let parent = parent.map(pick);
                let mut message = if *is_user {
                    question(parent)
                } else {
                    answer(parent)
                };
                message.id = pick(*id);
                message.created_ms = *created_ms;
                match (&mut message.answer, odd) {
                    (Some(answer), 1) => answer.status = AnswerStatus::Running,
                    (Some(answer), _) => answer.text.clone_from(text),
                    (None, 1) => message.content.clear(),
                    (None, _) => message.content = words(text),
                }
                message
            });
        let mut document = exported(messages.collect());
        document.conversation.leaf = leaf.map(pick);
        document.conversation.created_ms = time;
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn any_document_is_refused_or_comes_back_as_a_tree(documents in proptest::collection::vec(hostile(), 20)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let Some(kept) = super::kept().await else {
        return;
    };
            for document in documents {
                let id = match kept.store.import(OWNER, &document).await {
                    Ok(imported) => imported.id,
                    Err(ImportError::Refused(_)) => continue,
                    Err(error) => panic!("{error}"),
                };
                let back = kept.store.export(OWNER, id).await.unwrap().unwrap();
                assert_eq!(back.messages.len(), document.messages.len());
                for (n, message) in back.messages.iter().enumerate() {
                    let parent = message.parent.map(|parent| {
                        back.messages.iter().position(|other| other.id == parent).unwrap()
                    });
                    assert!(parent.is_none_or(|parent| parent < n));
                    let theirs = document.messages[n].parent.map(|parent| {
                        document.messages.iter().position(|other| other.id == parent).unwrap()
                    });
                    assert_eq!(parent, theirs);
                    assert!(message.answer.as_ref().is_none_or(|answer| answer.status.is_final()));
                }
                // What is kept can be exported and brought in again.
                kept.store.import(OWNER, &back).await.unwrap();
            }
        });
    }
}
