//! The queue of a conversation: messages that wait on the server, the same in every tab.

use futures_util::future::join_all;
use serde_json::json;
use testkit::fake_llama::Script;
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;
use crate::v2_tools::{ask, end_of, open, plain, say, say_in, text, until_changed};

/// A gateway whose first answer stalls after one token, and the conversation of that answer.
async fn busy() -> (Gateway, V2Client, String, String) {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = say(&mut chat, "zero", &plain()).await;
    chat.until_position(&answer, 1).await.unwrap();
    gateway.llama.script(Script::tokens(["c"]));
    (gateway, chat, conversation, answer)
}

#[tokio::test]
async fn eight_messages_wait_and_the_ninth_is_refused() {
    let (gateway, mut chat, conversation, first) = busy().await;
    let mut waiting = Vec::new();
    for n in 1..=8 {
        let (_, answer) = say_in(&mut chat, &conversation, &n.to_string()).await;
        waiting.push(answer);
    }
    let ninth = json!({"type": "send", "content": "9", "conversation": conversation});
    assert_eq!(
        chat.request(ninth.clone()).await.unwrap()["code"],
        "queue_full"
    );
    gateway.llama.release();
    assert_eq!(end_of(&mut chat, &first).await, "done");
    assert_eq!(end_of(&mut chat, &waiting[0]).await, "done");
    for answer in &waiting {
        assert_eq!(end_of(&mut chat, answer).await, "done");
    }
    assert_eq!(gateway.llama.most_running(), 1);
    let last = gateway.asked(8).await;
    let users: Vec<_> = last.iter().step_by(2).collect();
    let expected: Vec<String> = ["zero".to_owned()]
        .into_iter()
        .chain((1..=8).map(|n| n.to_string()))
        .map(|words| format!("user: {words}"))
        .collect();
    assert_eq!(users, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn edits_and_drops_are_told_to_the_other_tab_and_the_rest_closes_up() {
    let (gateway, mut chat, conversation, first) = busy().await;
    let mut tab = chat.again(&gateway.chat_url()).await.unwrap();
    tab.watch(&conversation).await.unwrap();
    let (one, first_waiting) = say_in(&mut chat, &conversation, "one").await;
    until_changed(&mut tab, "queue").await;
    let (two, _) = say_in(&mut chat, &conversation, "two").await;
    until_changed(&mut tab, "queue").await;
    let (_, third) = say_in(&mut chat, &conversation, "three").await;
    let before = until_changed(&mut tab, "queue").await;
    let edit = json!({"type": "edit_queued", "message": one, "content": "ONE"});
    assert_eq!(chat.request(edit).await.unwrap()["type"], "ok");
    let edited = until_changed(&mut tab, "queue").await;
    assert!(edited["revision"].as_u64() > before["revision"].as_u64());
    // From the middle, and from the other tab.
    assert_eq!(ask(&mut tab, "drop_queued", &two).await["type"], "ok");
    until_changed(&mut chat, "queue").await;
    gateway.llama.release();
    for answer in [&first, &first_waiting, &third] {
        assert_eq!(end_of(&mut chat, answer).await, "done");
        assert_eq!(end_of(&mut tab, answer).await, "done");
    }
    let expected = [
        "user: zero",
        "assistant: ab",
        "user: ONE",
        "assistant: c",
        "user: three",
    ];
    assert_eq!(gateway.asked(2).await, expected);
    assert_eq!(gateway.llama.requests().len(), 3);
    // It is too late now, for both.
    for frame in [
        json!({"type": "edit_queued", "message": one, "content": "x"}),
        json!({"type": "drop_queued", "message": one}),
    ] {
        assert_eq!(chat.request(frame).await.unwrap()["code"], "conflict");
    }
}

#[tokio::test]
async fn two_tabs_that_send_at_once_see_one_order() {
    const ROUNDS: usize = 25;
    let settings = [
        ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
        ("GATEWAY_ANSWERS_PER_USER", "0"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    let mut left = open(&gateway).await;
    let [conversation, _, answer] = say(&mut left, "begin", &plain()).await;
    left.until_done(&answer).await.unwrap();
    let mut right = left.again(&gateway.chat_url()).await.unwrap();
    right.watch(&conversation).await.unwrap();
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let mine = format!("l{round}");
        let yours = format!("r{round}");
        let (a, b) = tokio::join!(
            say_in(&mut left, &conversation, &mine),
            say_in(&mut right, &conversation, &yours),
        );
        for answer in [&a.1, &b.1] {
            assert_eq!(end_of(&mut left, answer).await, "done");
            assert_eq!(end_of(&mut right, answer).await, "done");
        }
        sent.extend([(mine, a.1), (yours, b.1)]);
    }
    // The model's last prompt is the one order: each message once, each behind the answer of the one before.
    let asked = gateway.asked(2 * ROUNDS).await;
    let mut users: Vec<&String> = asked.iter().step_by(2).collect();
    assert_eq!(users.len(), 2 * ROUNDS + 1);
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 2 * ROUNDS + 1);
    let order = |tab: &V2Client| -> Vec<String> {
        let begun = tab
            .others
            .iter()
            .filter(|frame| frame["type"] == "progress" && frame["phase"] == "writing");
        let mut order: Vec<String> = begun.map(|frame| text(frame, "answer")).collect();
        order.dedup();
        order.retain(|answer| sent.iter().any(|(_, id)| id == answer));
        order
    };
    let seen = order(&left);
    assert_eq!(seen, order(&right));
    let words: Vec<String> = seen
        .iter()
        .map(|answer| &sent.iter().find(|(_, id)| id == answer).unwrap().0)
        .map(|words| format!("user: {words}"))
        .collect();
    let users: Vec<String> = asked.iter().step_by(2).skip(1).cloned().collect();
    assert_eq!(words, users);
}

#[tokio::test]
async fn the_same_request_three_times_at_once_begins_one_answer() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut first = open(&gateway).await;
    let mut tabs = Vec::new();
    for _ in 0..3 {
        tabs.push(first.again(&gateway.chat_url()).await.unwrap());
    }
    let new = json!({"type": "send", "id": "new", "content": "hi"});
    let replies = join_all(tabs.iter_mut().map(|tab| tab.request(new.clone()))).await;
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    let answer = text(&replies[0], "answer");
    let fresh = |replies: &[serde_json::Value]| {
        let fresh = replies.iter().filter(|reply| reply["duplicate"].is_null());
        fresh.count()
    };
    assert_eq!(fresh(&replies), 1);
    for reply in &replies {
        assert_eq!(reply["answer"], answer.as_str(), "{reply}");
    }
    gateway.llama.request_started(0).await;
    gateway.llama.release();
    for tab in &mut tabs {
        assert_eq!(tab.until_done(&answer).await.unwrap().text, "ab");
    }
    assert_eq!(gateway.llama.requests().len(), 1);
    // In a conversation that exists, with a reader who would not wait, and to go on.
    let conversation = text(&replies[0], "conversation");
    let reject = json!({
        "type": "send", "id": "old", "content": "ho", "conversation": conversation, "when_busy": "reject",
    });
    let replies = join_all(tabs.iter_mut().map(|tab| tab.request(reject.clone()))).await;
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    assert_eq!(fresh(&replies), 1, "{replies:?}");
    let answer = text(&replies[0], "answer");
    first.watch(&conversation).await.unwrap();
    assert_eq!(ask(&mut first, "stop", &answer).await["type"], "ok");
    for tab in &mut tabs {
        assert_eq!(end_of(tab, &answer).await, "stopped");
    }
    let again = json!({"type": "continue", "id": "on", "message": answer});
    let replies = join_all(tabs.iter_mut().map(|tab| tab.request(again.clone()))).await;
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    assert_eq!(fresh(&replies), 1, "{replies:?}");
}

#[tokio::test]
async fn a_request_repeated_after_its_answer_ended_is_shown_the_answer() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["yes"]));
    let mut chat = open(&gateway).await;
    let frame = json!({"type": "send", "id": "once", "content": "hi"});
    let accepted = chat.request(frame.clone()).await.unwrap();
    let answer = text(&accepted, "answer");
    chat.until_done(&answer).await.unwrap();
    // The socket broke before the reply came, as the client sees it.
    let mut again = chat.again(&gateway.chat_url()).await.unwrap();
    chat.socket.abort();
    assert_eq!(again.request(frame).await.unwrap()["duplicate"], true);
    assert_eq!(again.until_done(&answer).await.unwrap().text, "yes");
}
