//! llm-proxy as callers see it: streamed and whole answers, the key, and nothing else of llama-server.

use serde_json::{Value, json};

use crate::stack::Stack;

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_whole_answer_and_a_streamed_one_hold_the_same_words() {
    let stack = Stack::running();
    let question = |stream| stack.question("Name three colours.", stream, 24);
    let whole: Value = stack
        .completion(&question(false))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let choice = &whole["choices"][0];
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["model"], json!(stack.model));
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(["stop", "length"].contains(&choice["finish_reason"].as_str().unwrap()));

    let response = stack.completion(&question(true)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let events = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]");
    let deltas: Vec<Value> = events
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(
        deltas.len() > 3,
        "an answer comes in more than one piece: {text}"
    );
    assert!(
        deltas.iter().all(|delta| delta.get("usage").is_none()),
        "nobody asked for usage: {text}"
    );
    let words: String = deltas
        .iter()
        .filter_map(|delta| delta["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(words, choice["message"]["content"].as_str().unwrap());
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn without_the_key_every_route_of_the_api_is_401_with_one_body() {
    let stack = Stack::running();
    let url = format!("{}/v1/chat/completions", stack.proxy);
    let body = stack.question("Hello", false, 1);
    let missing = stack.http.post(&url).json(&body).send().await.unwrap();
    let wrong = stack
        .http
        .post(&url)
        .bearer_auth("not-the-key")
        .json(&body)
        .send()
        .await
        .unwrap();
    let models = stack
        .http
        .get(format!("{}/v1/models", stack.proxy))
        .send()
        .await
        .unwrap();
    assert_eq!(
        [missing.status(), wrong.status(), models.status()].map(|status| status.as_u16()),
        [401; 3]
    );
    let missing: Value = missing.json().await.unwrap();
    assert_eq!(missing, wrong.json::<Value>().await.unwrap());
    assert_eq!(missing, models.json::<Value>().await.unwrap());
    assert_eq!(missing["error"]["type"], "authentication_error");
    assert!(missing["error"]["code"].is_string());
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_engines_own_routes_cannot_be_reached() {
    let stack = Stack::running();
    for path in [
        "/slots",
        "/props",
        "/metrics",
        "/lora-adapters",
        "/completion",
        "/v1/embeddings",
        "/detokenize",
        "/",
    ] {
        let url = format!("{}{path}", stack.proxy);
        for request in [
            stack.http.get(&url),
            stack.http.post(&url).json(&json!({"prompt": "Hello"})),
        ] {
            let response = request.bearer_auth(&stack.key).send().await.unwrap();
            assert_eq!(response.status(), 404, "{path}");
            assert_eq!(
                response.json::<Value>().await.unwrap()["error"]["type"],
                "not_found_error",
                "{path}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn the_model_list_names_the_alias_and_the_context_of_one_slot() {
    let stack = Stack::running();
    let request = stack
        .http
        .get(format!("{}/v1/models", stack.proxy))
        .bearer_auth(&stack.key);
    let mut list: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(list["data"][0]["created"].take().is_u64());
    let n_ctx = stack.engine_json("/slots").await[0]["n_ctx"].take();
    assert!(n_ctx.as_u64() >= Some(1024), "{n_ctx}");
    let model = json!({"id": stack.model, "object": "model", "created": null, "owned_by": "llm-proxy",
        "meta": {"n_ctx": n_ctx, "images": false, "tools": false}});
    assert_eq!(list, json!({"object": "list", "data": [model]}));
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_prompt_that_does_not_fit_is_refused_with_its_size() {
    let stack = Stack::running();
    let body = stack.question(&"word ".repeat(6_000), true, 8);
    let response = stack.completion(&body).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let error = &response.json::<Value>().await.unwrap()["error"];
    assert_eq!(error["type"], "exceed_context_size_error");
    assert!(
        error["n_prompt_tokens"].as_u64() > error["n_ctx"].as_u64(),
        "{error}"
    );
    assert!(error["code"].is_string());
}
