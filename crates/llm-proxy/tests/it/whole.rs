//! Answers to callers that did not ask for a stream.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{MODEL, Proxy, question};

async fn whole(script: Script) -> Value {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(script.sliced(11));
    let response = proxy.ask(&question(false)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.json().await.unwrap()
}

fn completion(n_tokens: u64, choice: &Value) -> Value {
    json!({
        "object": "chat.completion", "id": "chatcmpl-fake", "created": 1_795_359_974_u64, "model": MODEL,
        "system_fingerprint": "b0-unknown", "choices": [choice],
        "usage": {"completion_tokens": n_tokens, "prompt_tokens": 7, "total_tokens": n_tokens + 7,
            "prompt_tokens_details": {"cached_tokens": 0}},
        "timings": {"cache_n": 0, "prompt_n": 7, "predicted_n": n_tokens},
    })
}

#[tokio::test]
async fn a_whole_answer_is_the_streams_words_in_one_completion() {
    let message = json!({"role": "assistant", "content": "Ein Käse 🧀"});
    let choice =
        json!({"index": 0, "message": message, "finish_reason": "length", "logprobs": null});
    assert_eq!(
        whole(Script::tokens(["Ein ", "Käse", " 🧀"]).finish("length")).await,
        completion(3, &choice)
    );
}

#[tokio::test]
async fn reasoning_and_tool_calls_are_merged_by_index() {
    let call = |call: Value| json!({"tool_calls": [call]});
    let answer = whole(
        Script::deltas([
            json!({"reasoning_content": "hm"}),
            json!({"reasoning_content": "m"}),
            call(json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
            call(json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}})),
            call(json!({"index": 0, "function": {"arguments": "{\"x\":"}})),
            call(json!({"index": 1, "function": {"arguments": "}"}})),
            call(json!({"index": 0, "function": {"arguments": "1}"}})),
        ])
        .finish("tool_calls"),
    )
    .await;
    let message = json!({
        "role": "assistant", "content": null, "reasoning_content": "hmm", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    });
    let choice =
        json!({"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": null});
    assert_eq!(answer, completion(7, &choice));
}

#[tokio::test]
async fn an_answer_without_a_word_is_an_empty_string() {
    let answer = whole(Script::tokens([""; 0])).await;
    assert_eq!(
        answer["choices"][0]["message"],
        json!({"role": "assistant", "content": ""})
    );
}
