//! A reader that takes nothing: it holds up nobody, is closed, and reads on exactly where it was.

use std::time::Duration;

use testkit::fake_llama::Script;
use testkit::v2_client::V2Client;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::v2_tools::{open, plain, say};

/// A character that takes six bytes in JSON, so that what is written does not fit the kernel's buffers.
const CHARACTER: &str = "\u{1}";
const TOKEN_BYTES: usize = 1_000;
const TOKENS: usize = 1_000;

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_and_loses_nothing() {
    let gateway = Gateway::start().await;
    let token = CHARACTER.repeat(TOKEN_BYTES);
    gateway
        .llama
        .script(Script::tokens(vec![token.clone(); TOKENS]));
    let mut fast = open(&gateway).await;
    let mut slow = fast.again(&gateway.chat_url()).await.unwrap();
    let mut begun = Vec::new();
    for question in ["one", "two"] {
        let [conversation, _, answer] = say(&mut fast, question, &plain()).await;
        slow.watch(&conversation).await.unwrap();
        begun.push((conversation, answer));
    }
    let since = Instant::now();
    for (_, answer) in &begun {
        let joined = fast.until_done(answer).await.unwrap();
        assert_eq!(joined.text.len(), TOKENS * TOKEN_BYTES);
    }
    assert!(since.elapsed() < Duration::from_secs(15), "others waited");
    gateway.metric("chat_gateway_sockets_open 1").await;
    let took = since.elapsed();
    assert!(
        (Duration::from_secs(18)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
    // What the kernel still holds, and then the rest on another socket.
    while slow.next().await.is_ok() {}
    let mut back = slow.again(&gateway.chat_url()).await.unwrap();
    back.answers = std::mem::take(&mut slow.answers);
    for (conversation, answer) in &begun {
        back.answers.entry(answer.clone()).or_default();
        back.watch(conversation).await.unwrap();
        let joined = back.until_done(answer).await.unwrap();
        assert_eq!(joined.text, token.repeat(TOKENS));
    }
}

#[tokio::test]
async fn a_large_answer_is_read_from_its_beginning_and_as_a_snapshot() {
    let gateway = Gateway::start().await;
    let token = CHARACTER.repeat(TOKEN_BYTES);
    gateway
        .llama
        .script(Script::tokens(vec![token.clone(); TOKENS]));
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = say(&mut chat, "one", &plain()).await;
    chat.until_done(&answer).await.unwrap();
    for position in [0, u64::MAX >> 12] {
        let mut tab: V2Client = chat.again(&gateway.chat_url()).await.unwrap();
        tab.answers.entry(answer.clone()).or_default().position = position;
        tab.watch(&conversation).await.unwrap();
        let joined = tab.until_done(&answer).await.unwrap();
        assert_eq!(joined.text, token.repeat(TOKENS));
        // Deltas, or one snapshot.
        assert_eq!(joined.n_deltas > 0, position == 0);
    }
}
