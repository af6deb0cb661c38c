//! Going on, answering again and asking otherwise: the tree of a conversation and the prompts of its branches.

use serde_json::{Value, json};
use testkit::fake_llama::Script;

use crate::gateway::Gateway;
use crate::v2_tools::{ask, converse, end_of, open, plain, say};

/// The messages of upstream request `number` after the system prompt.
async fn messages(gateway: &Gateway, number: usize) -> Vec<Value> {
    let body = gateway.llama.request_started(number).await.body;
    body["messages"].as_array().unwrap()[1..].to_vec()
}

#[tokio::test]
async fn what_the_limit_cut_goes_on_and_joins_exactly_in_every_tab() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["Es war ", "einmal 芝"]).finish("length"));
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = converse(&mut chat, None, "tell").await;
    let mut tab = chat.again(&gateway.chat_url()).await.unwrap();
    tab.answers.entry(answer.clone()).or_default();
    tab.watch(&conversation).await.unwrap();
    assert_eq!(
        tab.until_done(&answer).await.unwrap().text,
        "Es war einmal 芝"
    );

    // A third tab is there, but holds nothing of the answer.
    let mut late = chat.again(&gateway.chat_url()).await.unwrap();
    late.watch(&conversation).await.unwrap();

    gateway.llama.script(Script::tokens(["🧀 im", " Wald."]));
    let accepted = ask(&mut chat, "continue", &answer).await;
    assert_eq!(accepted["type"], "accepted");
    assert_eq!(accepted["answer"], answer.as_str());
    for tab in [&mut chat, &mut tab, &mut late] {
        // What ended before ends again.
        while tab.next().await.unwrap()["type"] != "done" {}
        let joined = tab.until_done(&answer).await.unwrap();
        assert_eq!(joined.text, "Es war einmal 芝🧀 im Wald.");
        let done = joined.done.unwrap();
        assert_eq!(done["status"], "done");
        assert_eq!(done["finish_reason"], "stop");
        assert_eq!(done["position"], joined.text.len());
    }
    let sent = messages(&gateway, 1).await;
    let expected = json!([
        {"role": "user", "content": "tell"},
        {"role": "assistant", "content": "Es war einmal 芝"},
    ]);
    assert_eq!(Value::from(sent), expected);
    let whole = ask(&mut chat, "continue", &answer).await;
    assert_eq!(whole["code"], "conflict");
}

#[tokio::test]
async fn stopped_interrupted_and_failed_answers_go_on() {
    let gateway = Gateway::start().await;
    let cut = |script: Script| gateway.llama.script(script);
    let mut number = 0;
    for status in ["stopped", "interrupted", "failed"] {
        let script = Script::tokens(["one ", "two ", "three"]);
        cut(match status {
            "stopped" => script.stall_after(2),
            "interrupted" => script.reset_after(2),
            _ => script.error_after(2, "out of memory"),
        });
        let mut chat = open(&gateway).await;
        let [_, _, answer] = say(&mut chat, "count", &plain()).await;
        if status == "stopped" {
            chat.until_position(&answer, 8).await.unwrap();
            ask(&mut chat, "stop", &answer).await;
        }
        let joined = chat.until_done(&answer).await.unwrap();
        let done = joined.done.unwrap();
        assert_eq!(joined.text, "one two ", "{done}");
        // An engine that reports an error died as well as one that resets: both can be continued.
        let ended = done["status"].as_str().unwrap();
        assert!(ended == status || status == "failed", "{done}");
        assert_eq!(done["error"].is_null(), status == "stopped", "{done}");
        cut(Script::tokens(["three"]));
        let accepted = ask(&mut chat, "continue", &answer).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        let joined = chat.until_done(&answer).await.unwrap();
        assert_eq!(joined.text, "one two three");
        assert_eq!(joined.done.unwrap()["status"], "done");
        let sent = messages(&gateway, number + 1).await;
        let last = json!({"role": "assistant", "content": "one two "});
        assert_eq!(sent.last(), Some(&last));
        number += 2;
    }
}

#[tokio::test]
async fn thoughts_are_kept_apart_when_an_answer_goes_on() {
    let gateway = Gateway::start().await;
    let thought = |text: &str| json!({"reasoning_content": text});
    let said = |text: &str| json!({"content": text});
    gateway
        .llama
        .script(Script::deltas([thought("hm "), thought("ja"), said("Al")]).finish("length"));
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = converse(&mut chat, None, "think").await;
    gateway
        .llama
        .script(Script::deltas([thought(" wait"), said("so")]));
    ask(&mut chat, "continue", &answer).await;
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, "Also");
    assert_eq!(joined.reasoning, "hm ja wait");
    let sent = messages(&gateway, 1).await;
    let expected = json!({"role": "assistant", "content": "Al", "reasoning_content": "hm ja"});
    assert_eq!(sent.last(), Some(&expected));
    // Thoughts are no part of a later prompt, and a reader from the beginning has the same bytes.
    let mut tab = chat.again(&gateway.chat_url()).await.unwrap();
    tab.answers.entry(answer.clone()).or_default();
    tab.watch(&conversation).await.unwrap();
    let again = tab.until_done(&answer).await.unwrap();
    assert_eq!(
        (again.text.as_str(), again.reasoning.as_str()),
        ("Also", "hm ja wait")
    );
    converse(&mut chat, Some(&conversation), "thanks").await;
    let asked = ["user: think", "assistant: Also", "user: thanks"];
    assert_eq!(gateway.asked(2).await, asked);
}

#[tokio::test]
async fn an_answer_without_a_word_is_asked_for_afresh() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["never"]).stall_after(0));
    let mut chat = open(&gateway).await;
    let [_, _, answer] = say(&mut chat, "hi", &plain()).await;
    gateway.llama.request_started(0).await;
    ask(&mut chat, "stop", &answer).await;
    assert_eq!(end_of(&mut chat, &answer).await, "stopped");
    gateway.llama.script(Script::tokens(["Hello"]));
    ask(&mut chat, "continue", &answer).await;
    assert_eq!(chat.until_done(&answer).await.unwrap().text, "Hello");
    assert_eq!(gateway.asked(1).await, ["user: hi"]);
}

#[tokio::test]
async fn nothing_goes_on_or_is_answered_again_while_another_answer_runs() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["cut"]).finish("length"));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = converse(&mut chat, None, "one").await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let [_, _, second] = say(&mut chat, "two", &json!({"conversation": conversation})).await;
    for (kind, answer) in [
        ("continue", &first),
        ("continue", &second),
        ("regenerate", &first),
    ] {
        assert_eq!(ask(&mut chat, kind, answer).await["code"], "busy", "{kind}");
    }
    gateway.llama.release();
    assert_eq!(end_of(&mut chat, &second).await, "done");
}

#[tokio::test]
async fn another_answer_stands_beside_the_first_and_each_has_its_own_path() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["red"]));
    let mut chat = open(&gateway).await;
    let [conversation, question, red] = converse(&mut chat, None, "a colour").await;
    gateway.llama.script(Script::tokens(["blue"]));
    let accepted = ask(&mut chat, "regenerate", &red).await;
    assert_eq!(accepted["message"], question.as_str());
    let blue = accepted["answer"].as_str().unwrap().to_owned();
    assert_ne!(blue, red);
    assert_eq!(chat.until_done(&blue).await.unwrap().text, "blue");
    assert_eq!(gateway.asked(1).await, ["user: a colour"]);
    // The newest is followed, unless somebody says otherwise.
    converse(&mut chat, Some(&conversation), "why?").await;
    let asked = ["user: a colour", "assistant: blue", "user: why?"];
    assert_eq!(gateway.asked(2).await, asked);
    for (parent, asked) in [
        (
            json!(red),
            vec!["user: a colour", "assistant: red", "user: and now?"],
        ),
        (Value::Null, vec!["user: and now?"]),
    ] {
        let more = json!({"conversation": conversation, "parent": parent});
        let [_, _, answer] = say(&mut chat, "and now?", &more).await;
        chat.until_done(&answer).await.unwrap();
        let number = gateway.llama.requests().len() - 1;
        assert_eq!(gateway.asked(number).await, asked);
    }
}

#[tokio::test]
async fn a_message_follows_an_answer_of_its_own_conversation_only() {
    let gateway = Gateway::start().await;
    let mut chat = open(&gateway).await;
    let [here, question, _] = converse(&mut chat, None, "one").await;
    let [_, _, elsewhere] = converse(&mut chat, None, "two").await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for (parent, code) in [
        (json!(question), "bad_request"),
        (json!(elsewhere), "not_found"),
        (json!(unknown), "not_found"),
        (json!("no id"), "bad_request"),
        (json!(7), "bad_request"),
    ] {
        let frame = json!({"type": "send", "content": "x", "conversation": here, "parent": parent});
        let reply = chat.request(frame).await.unwrap();
        assert_eq!(reply["code"], code, "{parent}: {reply}");
    }
    for kind in ["regenerate", "continue", "stop"] {
        let reply = ask(&mut chat, kind, &question).await;
        assert_eq!(reply["code"], "bad_request", "{kind}");
    }
    assert_eq!(gateway.llama.requests().len(), 2);
}
