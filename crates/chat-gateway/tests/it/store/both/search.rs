//! Search.

use std::time::{Duration, Instant};

use chat_gateway::protocol::record::{AnswerOptions, AnswerStatus, ContentPart};
use chat_gateway::protocol::rest::NewConversation;
use chat_gateway::store::{ConversationChange, NewOrOld, NewTurn, SearchHit};
use uuid::Uuid;

use crate::store::{Asked, OWNER, STRANGER, key, words};

#[tokio::test]
async fn a_chinese_word_of_two_characters_is_found() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let weather = kept.ask("今天上海的天气怎么样？").await;
    kept.finish(weather.answer, "上海今天晴，气温二十度。")
        .await;
    let other = kept.ask("写一首诗").await;
    kept.finish(other.answer, "春眠不觉晓").await;
    let title = None;
    assert_eq!(
        kept.found("上海").await,
        [Some(weather.answer), Some(weather.question), title]
    );
    assert_eq!(kept.found("气温").await, [Some(weather.answer)]);
    assert_eq!(kept.found("诗").await, [Some(other.question), title]);
    assert_eq!(kept.found("不觉晓").await, [Some(other.answer)]);
    assert_eq!(kept.found("上海 气温").await, [Some(weather.answer)]);
    assert_eq!(kept.found("上海今天 晴").await, [Some(weather.answer)]);
    assert_eq!(kept.found("北京").await, []);
}

#[tokio::test]
async fn signs_of_the_query_language_are_only_signs() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept
        .ask("Is 100% of a_b \"quoted\" OR c:\\d (x) NEAR* -y ^z?")
        .await;
    kept.finish(asked.answer, "1000 aXb").await;
    let question = [Some(asked.question), None];
    for query in [
        "0%",
        "_b",
        "\"",
        "\"quoted\"",
        "OR",
        "c:\\",
        ":\\d",
        "(x)",
        "NEAR*",
        "-y",
        "^z",
        "^z?",
        "100% a_b",
    ] {
        assert_eq!(kept.found(query).await, question, "{query}");
    }
    for query in ["%", "_", "\\"] {
        assert_eq!(kept.found(query).await, question, "{query}");
    }
    for query in ["", "  ", "\0", "100_", "quoted NOT c", "text:quoted", "a*b"] {
        assert_eq!(kept.found(query).await, [], "{query}");
    }
}

#[tokio::test]
async fn case_does_not_matter_and_pictures_and_thoughts_are_not_searched() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = Asked::new(Uuid::now_v7());
    let first = kept.ask("ÄPFEL and Birnen").await;
    kept.finish(first.answer, "ok").await;
    assert_eq!(kept.found("äpfel").await, [Some(first.question), None]);
    assert_eq!(kept.found("BI").await, [Some(first.question), None]);
    let picture = [
        ContentPart::Image {
            data_url: "data:image/png;base64,QUJD".to_owned(),
        },
        ContentPart::Text {
            text: "what is this".to_owned(),
        },
    ];
    let waiting = kept
        .go_on(
            first.conversation,
            Some(first.answer),
            "x",
            AnswerStatus::Waiting,
        )
        .await;
    kept.store
        .edit_waiting(OWNER, waiting.question, &picture)
        .await
        .unwrap();
    assert_eq!(kept.found("QUJD").await, []);
    assert_eq!(kept.found("image").await, []);
    assert_eq!(kept.found("what is this").await, [Some(waiting.question)]);
    let new = NewOrOld::New {
        id: asked.conversation,
        title: "hidden",
        temporary: true,
        system: None,
    };
    kept.begin(&asked, new, None, "hidden words", AnswerStatus::Running)
        .await;
    kept.finish(asked.answer, "hidden answer").await;
    assert_eq!(kept.found("hidden").await, []);
    assert_eq!(kept.found("dd").await, []);
}

#[tokio::test]
async fn what_is_renamed_or_deleted_is_found_as_it_is_now() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("unicorns").await;
    kept.finish(asked.answer, "They are rare.").await;
    let change = ConversationChange {
        title: Some("Rare animals".to_owned()),
        ..ConversationChange::default()
    };
    kept.store
        .change(OWNER, asked.conversation, &change)
        .await
        .unwrap();
    assert_eq!(kept.found("unicorns").await, [Some(asked.question)]);
    let found = kept.store.search(OWNER, "animals", 50).await.unwrap();
    let expected = SearchHit {
        conversation: asked.conversation,
        title: "Rare animals".to_owned(),
        message: None,
        excerpt: "Rare animals".to_owned(),
    };
    assert_eq!(found, [expected]);
    kept.store.delete(OWNER, asked.conversation).await.unwrap();
    for query in ["unicorns", "rare", "ra"] {
        assert_eq!(kept.found(query).await, []);
    }
}

#[tokio::test]
async fn an_excerpt_shows_the_word_with_what_is_around_it() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let asked = kept.ask("q").await;
    let text = format!("{}the needle{}", "很".repeat(100), "长".repeat(300));
    kept.finish(asked.answer, &text).await;
    let found = kept.store.search(OWNER, "NEEDLE", 50).await.unwrap();
    let expected = format!("…{}the needle{}…", "很".repeat(36), "长".repeat(114));
    assert_eq!(found[0].excerpt, expected);
}

#[tokio::test]
async fn a_search_looks_only_at_what_its_owner_wrote() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let own = kept.ask("common words").await;
    let options = AnswerOptions::default();
    let content = words("common words of a stranger");
    let theirs = Asked::new(Uuid::now_v7());
    let begun = kept.store.begin(NewTurn {
        owner: STRANGER,
        request: key("r"),
        conversation: NewOrOld::New {
            id: theirs.conversation,
            title: "theirs",
            temporary: false,
            system: None,
        },
        parent: None,
        question: Some((theirs.question, &content)),
        answer: theirs.answer,
        status: AnswerStatus::Running,
        options: &options,
    });
    begun.await.unwrap();
    let id = kept.place.literal(theirs.conversation);
    // SQLite makes the small letters itself.
    let (column, folded) = match kept.place.database {
        None => ("", ""),
        Some(_) => (", folded", ", 'common words ' || n"),
    };
    let many = format!(
        "DROP INDEX texts_titles; \
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         INSERT INTO texts (conversation, owner_tag, text{column}) \
         SELECT c.id, c.owner_tag, 'common words ' || n{folded} FROM n, conversations c WHERE c.id = {id}"
    );
    kept.place.execute(many).await;
    let mut took = Duration::MAX;
    let mut found = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        found = kept.found("common words").await;
        took = took.min(began.elapsed());
    }
    assert_eq!(found, [Some(own.question), None]);
    assert!(took < Duration::from_millis(20), "{took:?}");
    assert_eq!(
        kept.store
            .search(STRANGER, "common", 50)
            .await
            .unwrap()
            .len(),
        50
    );
}

#[tokio::test]
async fn the_title_of_a_conversation_without_messages_is_found() {
    let Some(kept) = super::kept().await else {
        return;
    };
    let new = NewConversation {
        title: Some("Holiday plans".to_owned()),
        ..NewConversation::default()
    };
    let made = kept.store.create(OWNER, &new).await.unwrap();
    for query in ["holiday", "pl"] {
        let found = kept.store.search(OWNER, query, 9).await.unwrap();
        let ids: Vec<_> = found.iter().map(|hit| hit.conversation).collect();
        assert_eq!(ids, [made.id], "{query}");
    }
}
