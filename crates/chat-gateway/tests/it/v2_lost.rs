//! Version 2 when the engine of an answer is lost: the answer ends with its text or, where the operator allows it, goes on.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::v2_client::{JoinedAnswer, V2Client};

use crate::gateway::{Gateway, KEY};
use crate::http::Somebody;

/// Lets an answer go on twice.
const TWICE: (&str, &str) = ("GATEWAY_CONTINUE_LOST_ANSWERS", "2");

/// More than a gateway without answers needs to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A conversation of one question.
struct Asked {
    chat: V2Client,
    conversation: String,
    answer: String,
}

async fn asked(gateway: &Gateway, options: &Value) -> Asked {
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let accepted = chat.say("count", &json!({"options": options})).await;
    let accepted = accepted.unwrap();
    let id = |name: &str| accepted[name].as_str().unwrap().to_owned();
    Asked {
        conversation: id("conversation"),
        answer: id("answer"),
        chat,
    }
}

impl Asked {
    async fn ended(&mut self) -> (JoinedAnswer, Value) {
        let joined = self.chat.until_done(&self.answer).await.unwrap();
        let done = joined.done.clone().unwrap();
        (joined, done)
    }
}

/// How an answer ends that asks with these scripts, one after the other; and how often the model was asked.
async fn ended(settings: &[(&str, &str)], scripts: Vec<Script>) -> (JoinedAnswer, Value, usize) {
    let gateway = Gateway::start_with(settings).await;
    for script in scripts {
        gateway.llama.script_once(script);
    }
    let (joined, done) = asked(&gateway, &json!({})).await.ended().await;
    (joined, done, gateway.llama.requests().len())
}

/// The last message of upstream request `number`, and its limit of tokens.
async fn last_sent(gateway: &Gateway, number: usize) -> (Value, Value) {
    let body = gateway.llama.request_started(number).await.body;
    let messages = body["messages"].as_array().unwrap();
    (messages.last().unwrap().clone(), body["max_tokens"].clone())
}

#[tokio::test]
async fn an_answer_goes_on_exactly_where_its_lost_engine_left_off() {
    let gateway = Gateway::start_with(&[TWICE]).await;
    let words = ["eins ", "芝 ", "drei"];
    gateway
        .llama
        .script_once(Script::tokens(words).reset_after(2));
    gateway
        .llama
        .script_once(Script::tokens(["drei ", "vier"]).end_after(1));
    gateway.llama.script(Script::tokens(["vier"]));
    let mut told = asked(&gateway, &json!({"max_tokens": 9})).await;
    let (joined, done) = told.ended().await;
    assert_eq!(joined.text, "eins 芝 drei vier");
    assert_eq!(
        (&done["status"], &done["finish_reason"], &done["error"]),
        (&json!("done"), &json!("stop"), &Value::Null)
    );
    assert_eq!(done["joints"], json!([9, 14]));
    // Who watched saw one answer go on: no second beginning and no replacement.
    let others = told.chat.others.iter();
    let mut types: Vec<&str> = others
        .map(|frame| frame["type"].as_str().unwrap())
        .collect();
    types.retain(|kind| !["progress", "context", "changed", "model"].contains(kind));
    assert_eq!(types, ["accepted"]);
    let partial = |text: &str| json!({"role": "assistant", "content": text});
    let question = json!({"role": "user", "content": "count"});
    assert_eq!(last_sent(&gateway, 0).await, (question, json!(9)));
    assert_eq!(
        last_sent(&gateway, 1).await,
        (partial("eins 芝 "), json!(7))
    );
    assert_eq!(
        last_sent(&gateway, 2).await,
        (partial("eins 芝 drei "), json!(6))
    );
    gateway
        .metric("chat_gateway_answers_continued_total 2")
        .await;

    // What is kept has the joints, too.
    let data = gateway.data.clone();
    gateway.shutdown.finish(DRAIN).await;
    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    let next = Gateway::keeping(data, llama, &[]).await;
    let mut tab = told.chat.again(&next.chat_url()).await.unwrap();
    tab.answers.entry(told.answer.clone()).or_default();
    tab.watch(&told.conversation).await.unwrap();
    let again = tab.until_done(&told.answer).await.unwrap();
    assert_eq!(again.text, joined.text);
    assert_eq!(again.done.unwrap()["joints"], json!([9, 14]));
    let path = format!("/conversations/{}/messages", told.conversation);
    let (_, page) = Somebody::of(&next, &tab).get(&path).await;
    assert_eq!(page["messages"][1]["answer"]["joints"], json!([9, 14]));
}

#[tokio::test]
async fn unless_the_operator_allows_it_a_lost_answer_is_interrupted_with_its_text() {
    let lost = Script::tokens(["one ", "two"]).reset_after(1);
    let (joined, done, n_asked) = ended(&[], vec![lost]).await;
    assert_eq!((joined.text.as_str(), n_asked), ("one ", 1));
    assert_eq!(
        (&done["status"], &done["error"]["code"], &done["joints"]),
        (
            &json!("interrupted"),
            &json!("upstream_error"),
            &Value::Null
        )
    );
}

#[tokio::test]
async fn an_answer_goes_on_no_more_often_than_the_operator_allows() {
    let lost = || Script::tokens(["a", "b"]).reset_after(1);
    let (joined, done, n_asked) = ended(&[TWICE], vec![lost(), lost(), lost()]).await;
    assert_eq!((joined.text.as_str(), n_asked), ("aaa", 3));
    assert_eq!(
        (&done["status"], &done["joints"]),
        (&json!("interrupted"), &json!([1, 2]))
    );
}

#[tokio::test]
async fn an_answer_without_a_word_is_begun_anew_and_one_that_only_thought_is_not() {
    let thought = || json!({"reasoning_content": "hm"});
    let said = || json!({"content": "ja"});
    let anew = Script::deltas([thought(), said()]);
    // A reset may overtake the header; an end does not.
    let (joined, done, n_asked) =
        ended(&[TWICE], vec![Script::tokens(["x"]).end_after(0), anew]).await;
    assert_eq!(
        (joined.reasoning.as_str(), joined.text.as_str()),
        ("hm", "ja")
    );
    assert_eq!(
        (&done["status"], &done["joints"], n_asked),
        (&json!("done"), &Value::Null, 2)
    );

    let thinks = Script::deltas([thought(), said()]).end_after(1);
    let (joined, done, n_asked) = ended(&[TWICE], vec![thinks]).await;
    assert_eq!(
        (joined.reasoning.as_str(), joined.text.as_str()),
        ("hm", "")
    );
    assert_eq!(
        (&done["status"], &done["error"]["code"], n_asked),
        (&json!("interrupted"), &json!("upstream_error"), 1)
    );

    // Thoughts before the text are in the prompt of the rest.
    let gateway = Gateway::start_with(&[TWICE]).await;
    let writes = Script::deltas([thought(), said(), said()]).end_after(2);
    gateway.llama.script_once(writes);
    gateway.llama.script(Script::tokens([" nein"]));
    let (joined, done) = asked(&gateway, &json!({})).await.ended().await;
    assert_eq!(
        (joined.text.as_str(), &done["joints"]),
        ("ja nein", &json!([4]))
    );
    let partial = json!({"role": "assistant", "content": "ja", "reasoning_content": "hm"});
    assert_eq!(last_sent(&gateway, 1).await.0, partial);
}

#[tokio::test]
async fn only_a_lost_engine_makes_an_answer_go_on() {
    let words = || Script::tokens(["a", "b"]);
    for (script, status, code) in [
        (
            words().error_after(1, "Compute error."),
            "interrupted",
            json!("upstream_error"),
        ),
        (words().finish("length"), "done", Value::Null),
        (
            Script::refusal(500, "server_error", "Compute error."),
            "failed",
            json!("upstream_error"),
        ),
        (
            Script::refusal(400, "invalid_request_error", "no"),
            "failed",
            json!("bad_request"),
        ),
    ] {
        let (_, done, n_asked) = ended(&[TWICE], vec![script]).await;
        assert_eq!(
            (&done["status"], &done["error"]["code"], n_asked),
            (&json!(status), &code, 1)
        );
    }

    let gateway = Gateway::start_with(&[TWICE]).await;
    gateway.llama.script(words().stall_after(1));
    let mut told = asked(&gateway, &json!({})).await;
    told.chat.until_position(&told.answer, 1).await.unwrap();
    let stop = json!({"type": "stop", "message": told.answer});
    told.chat.request(stop).await.unwrap();
    let (_, done) = told.ended().await;
    assert_eq!(done["status"], "stopped");
    assert_eq!(gateway.llama.requests().len(), 1);
}

#[tokio::test]
async fn when_no_engine_can_go_on_the_answer_ends_as_lost() {
    let lost = Script::tokens(["a", "b"]).reset_after(1);
    let none = Script::refusal(503, "unavailable_error", "no model server works");
    let (joined, done, n_asked) = ended(&[TWICE], vec![lost, none]).await;
    assert_eq!((joined.text.as_str(), n_asked), ("a", 2));
    assert_eq!(
        (&done["status"], &done["error"]["code"], &done["joints"]),
        (
            &json!("interrupted"),
            &json!("upstream_error"),
            &Value::Null
        )
    );
}
