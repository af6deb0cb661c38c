//! `/v1/responses` and `/v1/messages` on the real llama-server: the same answers as straight from it, the same shield and
//! the same leaving as for a chat.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stack::Stack;

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
/// Tokens of all answers, and of all prompts, so far.
const PREDICTED: &str = "llamacpp:tokens_predicted_total";
const PROMPTS: &str = "llamacpp:prompt_tokens_total";
/// What is computed at most of an answer of 900 tokens that is left at once.
const CUT_ANSWER_TOKENS: u64 = 300;
/// What is computed at most of a prompt of 3,000 tokens that is left during prefill.
const CUT_PROMPT_TOKENS: u64 = 2_000;
const LONG_QUESTION: &str = "Write a very long story about a horse.";

impl Stack {
    /// A question with a short, nearly deterministic answer, in the words of `path`.
    fn ask(&self, path: &str, text: &str, stream: bool, max_tokens: u32) -> Value {
        let mut body = json!({"model": self.model, "stream": stream, "temperature": 0});
        let (said, limit) = if path == RESPONSES {
            ("input", "max_output_tokens")
        } else {
            ("messages", "max_tokens")
        };
        body[said] = json!([{"role": "user", "content": text}]);
        body[limit] = json!(max_tokens);
        body
    }

    fn post(&self, base: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{base}{path}"))
            .bearer_auth(&self.key)
            .json(body)
    }

    async fn answer(&self, base: &str, path: &str, body: &Value) -> Value {
        self.post(base, path, body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Sends a question with `more` in it, and expects a 400 for the field `param`.
    async fn refuses(&self, path: &str, more: &Value, param: &str) {
        let mut body = self.ask(path, "Hello", true, 4);
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let error = self.answer(&self.proxy, path, &body).await;
        assert_eq!(
            (&error["src"], &error["error"]["param"]),
            (&json!("llm-proxy"), &json!(param)),
            "{more:.200}"
        );
    }
}

/// What differs between two answers to the same question.
fn without_ids(mut answer: Value) -> Value {
    let object = answer.as_object_mut().unwrap();
    for name in ["id", "created_at", "completed_at", "usage"] {
        object.remove(name);
    }
    for item in answer["output"].as_array_mut().into_iter().flatten() {
        item.as_object_mut().unwrap().remove("id");
    }
    answer
}

/// The words of a stream, as far as it has come.
fn words(text: &str) -> String {
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let word = |event: Value| {
        let delta = &event["delta"];
        delta
            .as_str()
            .or_else(|| delta["text"].as_str())
            .map(str::to_owned)
    };
    events.filter_map(word).collect()
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn answers_are_those_of_the_engine_whole_and_streamed() {
    let stack = Stack::running();
    for (path, end) in [
        (RESPONSES, "response.completed"),
        (MESSAGES, "message_stop"),
    ] {
        let body = stack.ask(path, "Name three colours.", false, 24);
        let through = stack.answer(&stack.proxy, path, &body).await;
        let straight = stack.answer(&stack.engine, path, &body).await;
        assert_eq!(
            without_ids(through.clone()),
            without_ids(straight),
            "{path}"
        );
        let body = stack.ask(path, "Name three colours.", true, 24);
        let response = stack.post(&stack.proxy, path, &body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = response.text().await.unwrap();
        let whole = through
            .pointer("/output/0/content/0/text")
            .or_else(|| through.pointer("/content/0/text"));
        assert_eq!(json!(words(&text)), *whole.unwrap(), "{path}");
        assert!(
            text.contains(&format!("event: {end}\n")) && !text.contains("prompt_progress"),
            "{text}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_an_answer_of_either_frees_the_slot() {
    let stack = Stack::running();
    for path in [RESPONSES, MESSAGES] {
        for stream in [true, false] {
            stack.wait_for_busy_slots(0).await;
            let before = stack.engine_counter(PREDICTED).await;
            let body = stack.ask(path, LONG_QUESTION, stream, 900);
            let answered = async {
                stack
                    .post(&stack.proxy, path, &body)
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap()
            };
            tokio::select! {
                text = answered => panic!("answered before the client left: {text}"),
                () = stack.wait_for_busy_slots(1) => {}
            }
            stack.wait_for_busy_slots(0).await;
            stack
                .wait_for_metric("llm_proxy_requests_in_flight", "0")
                .await;
            let computed = stack.engine_counter(PREDICTED).await - before;
            assert!(computed < CUT_ANSWER_TOKENS, "{path}: {computed} tokens");
        }
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn leaving_a_prefill_of_either_frees_the_slot() {
    let stack = Stack::running();
    for path in [RESPONSES, MESSAGES] {
        stack.wait_for_busy_slots(0).await;
        let before = stack.engine_counter(PROMPTS).await;
        // Not in the cache of prompts, however often this runs.
        let salt = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let text = format!(
            "{salt} {}",
            "The quick brown fox jumps over the lazy dog. ".repeat(300)
        );
        let body = stack.ask(path, &text, true, 8);
        let answered = async {
            stack
                .post(&stack.proxy, path, &body)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
        };
        tokio::select! {
            text = answered => panic!("answered before the client left: {text}"),
            () = stack.wait_for_busy_slots(1) => {}
        }
        let left = Instant::now();
        stack.wait_for_busy_slots(0).await;
        let took = left.elapsed();
        let computed = stack.engine_counter(PROMPTS).await - before;
        println!("{path}: {took:?}, {computed} tokens");
        assert!(
            computed < CUT_PROMPT_TOKENS,
            "{path}: {computed} tokens in {took:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_prompt_that_does_not_fit_is_refused_with_its_size_in_the_words_of_its_api() {
    let stack = Stack::running();
    for path in [RESPONSES, MESSAGES] {
        let body = stack.ask(path, &"word ".repeat(6_000), true, 8);
        let response = stack.post(&stack.proxy, path, &body).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        let error = &answer["error"];
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(
            error["n_prompt_tokens"].as_u64() > error["n_ctx"].as_u64(),
            "{answer}"
        );
        let anthropics = (path == MESSAGES).then_some("error");
        assert_eq!(answer.get("type").and_then(Value::as_str), anthropics);
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn what_stops_or_crashes_the_engine_is_refused_on_both() {
    // Bare: each grammar is SIGSEGV, each pattern stops the engine for more than 20 s, each URL is fetched.
    let stack = Stack::running();
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.png", trap.local_addr().unwrap());
    let stops = json!({"type": "string", "pattern": "^(a?){500}$"});
    let grammar = format!("root ::= {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000));
    for path in [RESPONSES, MESSAGES] {
        stack
            .refuses(path, &json!({"grammar": grammar}), "grammar")
            .await;
        stack
            .refuses(path, &json!({"json_schema": stops}), "json_schema")
            .await;
        stack
            .refuses(path, &json!({"n_predict": -1}), "n_predict")
            .await;
        stack
            .refuses(path, &json!({"ignore_eos": true}), "ignore_eos")
            .await;
        stack.refuses(path, &json!({"id_slot": 0}), "id_slot").await;
    }
    let tool = json!({"type": "function", "name": "f", "parameters": stops});
    stack
        .refuses(
            RESPONSES,
            &json!({"tools": [tool], "tool_choice": "required"}),
            "tools[0].parameters",
        )
        .await;
    let format = json!({"type": "json_schema", "name": "s", "schema": stops});
    stack
        .refuses(
            RESPONSES,
            &json!({"text": {"format": format}}),
            "text.format.schema",
        )
        .await;
    let tool = json!({"name": "f", "input_schema": stops});
    let choice = json!({"type": "any"});
    stack
        .refuses(
            MESSAGES,
            &json!({"tools": [tool], "tool_choice": choice}),
            "tools[0].input_schema",
        )
        .await;
    let image = json!({"type": "input_image", "image_url": url});
    let said = json!({"input": [{"role": "user", "content": [image]}]});
    stack
        .refuses(RESPONSES, &said, "input[0].content[0].image_url")
        .await;
    let image = json!({"type": "image", "source": {"type": "url", "url": url}});
    let said = json!({"messages": [{"role": "user", "content": [image]}]});
    stack
        .refuses(MESSAGES, &said, "messages[0].content[0].source.type")
        .await;
    let connected = tokio::time::timeout(Duration::from_millis(200), trap.accept()).await;
    assert!(connected.is_err(), "somebody fetched it");
    for path in [RESPONSES, MESSAGES] {
        let answer = stack
            .answer(&stack.proxy, path, &stack.ask(path, "Hello", false, 2))
            .await;
        assert!(answer["id"].is_string(), "{answer}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn no_name_of_the_token_limit_gives_more_than_the_smallest_on_either() {
    let stack = Stack::running();
    for path in [RESPONSES, MESSAGES] {
        let mut body = stack.ask(path, LONG_QUESTION, false, 1_000_000);
        body["max_completion_tokens"] = json!(5);
        let answer = stack.answer(&stack.proxy, path, &body).await;
        assert_eq!(answer["usage"]["output_tokens"], 5, "{answer}");
    }
}

#[tokio::test]
#[ignore = "needs the running chain: cargo xtask test"]
async fn a_stream_of_either_is_cut_within_a_tenth_of_a_second_of_its_callers_leaving() {
    let stack = Stack::running();
    for path in [RESPONSES, MESSAGES] {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            stack.wait_for_busy_slots(0).await;
            let body = stack.ask(path, LONG_QUESTION, true, 900);
            let mut stream = stack
                .post(&stack.proxy, path, &body)
                .send()
                .await
                .unwrap()
                .bytes_stream();
            let mut text = Vec::new();
            while words(&String::from_utf8_lossy(&text)).is_empty() {
                text.extend_from_slice(&stream.next().await.unwrap().unwrap());
            }
            assert_eq!(stack.busy_slots().await, 1);
            drop(stream);
            fastest = fastest.min(stack.time_until_idle().await);
            if fastest <= Duration::from_millis(100) {
                break;
            }
        }
        println!("{path}: {fastest:?}");
        assert!(fastest <= Duration::from_millis(100), "{path}: {fastest:?}");
    }
}
