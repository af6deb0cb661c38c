//! Going on with an answer that was cut: what chat-gateway needs of llm-proxy and the engine for it.

use serde_json::{Value, json};

use crate::stack::Stack;

const N_TOKENS: usize = 40;

/// One streamed answer, taken apart.
struct Streamed {
    pieces: Vec<String>,
    finish_reason: String,
    prompt_tokens: u64,
    cached_tokens: u64,
    cache_n: u64,
}

impl Streamed {
    fn text(&self) -> String {
        self.pieces.concat()
    }
}

fn poem(stack: &Stack, partial: Option<&str>, max_tokens: usize) -> Value {
    let mut messages = vec![
        json!({"role": "system", "content": "You are a helpful assistant."}),
        json!({"role": "user", "content": "Write a short poem, with line breaks, about the sea."}),
    ];
    messages.extend(partial.map(|text| json!({"role": "assistant", "content": text})));
    json!({
        "model": stack.model, "messages": messages, "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": max_tokens, "temperature": 0, "seed": 7,
    })
}

async fn streamed(stack: &Stack, body: &Value) -> Streamed {
    let response = stack.completion(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut streamed = Streamed {
        pieces: Vec::new(),
        finish_reason: String::new(),
        prompt_tokens: 0,
        cached_tokens: 0,
        cache_n: 0,
    };
    for line in response.text().await.unwrap().lines() {
        let Some(event) = line.strip_prefix("data: {") else {
            continue;
        };
        let event: Value = serde_json::from_str(&format!("{{{event}")).unwrap();
        let choice = &event["choices"][0];
        if let Some(piece) = choice["delta"]["content"].as_str() {
            streamed.pieces.push(piece.to_owned());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut streamed.finish_reason);
        }
        let usage = &event["usage"];
        if let Some(prompt_tokens) = usage["prompt_tokens"].as_u64() {
            streamed.prompt_tokens = prompt_tokens;
            streamed.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
                .as_u64()
                .unwrap();
            streamed.cache_n = event["timings"]["cache_n"].as_u64().unwrap();
        }
    }
    streamed
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_cut_answer_goes_on_at_its_last_byte_from_the_cache() {
    let stack = Stack::running();
    let whole = streamed(&stack, &poem(&stack, None, N_TOKENS)).await;
    assert_eq!(whole.finish_reason, "length");
    for kept in (1..N_TOKENS).step_by(3) {
        let partial = whole.pieces[..kept].concat();
        let rest = poem(&stack, Some(&partial), N_TOKENS - kept);
        let rest = streamed(&stack, &rest).await;
        assert_eq!(partial + &rest.text(), whole.text(), "cut after {kept}");
        // One token is always computed anew.
        assert_eq!(rest.cached_tokens, rest.prompt_tokens - 1);
        assert_eq!(rest.cache_n, rest.cached_tokens);
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn spaces_and_line_ends_of_a_cut_answer_stay_in_the_prompt() {
    let stack = Stack::running();
    for partial in ["The sea \n ", "芝士 🧀", "  Waves\r\n\r\n", "```\n  let x"] {
        let body = poem(&stack, Some(partial), 1);
        let url = format!("{}/apply-template", stack.engine);
        let request = stack.http.post(url).bearer_auth(&stack.key).json(&body);
        let applied: Value = request.send().await.unwrap().json().await.unwrap();
        let prompt = applied["prompt"].as_str().unwrap();
        assert!(prompt.ends_with(partial), "{partial:?}: {prompt:?}");
        // What leaves llm-proxy is the same prompt, token for token.
        let told = streamed(&stack, &body).await;
        let url = format!("{}/v1/chat/completions/input_tokens", stack.engine);
        let request = stack.http.post(url).bearer_auth(&stack.key).json(&body);
        let counted: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(counted["input_tokens"], told.prompt_tokens, "{partial:?}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_count_is_the_prompt_of_the_answer_and_leaves_the_cache_alone() {
    let stack = Stack::running();
    let body = poem(&stack, Some("The waves"), 4);
    streamed(&stack, &body).await;
    let url = format!("{}/v1/chat/completions/input_tokens", stack.proxy);
    let mut counts = Vec::new();
    for text in ["The waves", "Something else entirely"] {
        let other = poem(&stack, Some(text), 4);
        let request = stack.http.post(&url).bearer_auth(&stack.key).json(&other);
        let counted: Value = request.send().await.unwrap().json().await.unwrap();
        counts.push(counted["input_tokens"].as_u64().unwrap());
    }
    let again = streamed(&stack, &body).await;
    assert_eq!(again.prompt_tokens, counts[0]);
    assert_eq!(again.cached_tokens, again.prompt_tokens - 1);
}
