//! The routes beside chat: there when switched on, each with its own fields, and with the queue, the deadlines and the
//! cancelling of a chat. Counting tokens takes no slot.

use std::time::Duration;

use futures_util::future::join_all;
use llm_proxy::Api;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::keys::{KeysFile, lines};
use crate::{KEY, MODEL, Proxy, envelope, question};

pub(crate) const ALL: [Api; 6] = [
    Api::Chat,
    Api::Completions,
    Api::Embeddings,
    Api::Rerank,
    Api::Responses,
    Api::Messages,
];

pub(crate) async fn with_all_routes(llama: &FakeLlama) -> Proxy {
    Proxy::with(llama, |config| config.routes = ALL.to_vec()).await
}

pub(crate) fn post(proxy: &Proxy, path: &str, body: &Value) -> reqwest::RequestBuilder {
    proxy
        .http
        .post(format!("http://{}{path}", proxy.address))
        .bearer_auth(KEY)
        .json(body)
}

pub(crate) async fn asked(proxy: &Proxy, path: &str, body: &Value) -> (u16, Value) {
    let response = post(proxy, path, body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn embedding() -> Value {
    json!({"model": MODEL, "input": "hi"})
}

/// A streamed completion as llama-server words it.
fn completion(words: &[&str]) -> Script {
    let event = |choice: Value| {
        let mut event = json!({"choices": [choice], "created": 1, "model": MODEL, "object": "text_completion", "id": "c"});
        if event["choices"][0]["finish_reason"] == "stop" {
            event["usage"] =
                json!({"completion_tokens": words.len(), "prompt_tokens": 7, "total_tokens": 9});
        }
        format!("data: {event}\n\n")
    };
    let word = |text: &&str| {
        event(json!({"text": text, "index": 0, "logprobs": null, "finish_reason": null}))
    };
    let words: String = words.iter().map(word).collect();
    let end = event(json!({"text": "", "index": 0, "logprobs": null, "finish_reason": "stop"}));
    Script::raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{words}{end}data: [DONE]\n\n"
    ))
}

#[tokio::test]
async fn a_route_that_is_not_switched_on_is_not_there() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for path in [
        "/v1/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/responses",
        "/v1/messages",
    ] {
        let (status, error) = asked(&proxy, path, &json!({})).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (404, &json!("not_found")),
            "{path}"
        );
    }
    let proxy = Proxy::with(&llama, |config| config.routes = vec![Api::Embeddings]).await;
    assert_eq!(
        asked(&proxy, "/v1/chat/completions", &question(false))
            .await
            .0,
        404
    );
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_completion_is_built_from_checked_fields_and_comes_as_a_stream_or_whole() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    llama.script(completion(&["Hel", "lo"]));
    let mut body = json!({"model": MODEL, "prompt": ["Say"], "max_tokens": 2.0, "logprobs": 3, "echo": false, "suffix": "",
        "best_of": 1, "stop": "x", "user": "u", "seed": 7});
    let whole = json!({"object": "text_completion", "id": "c", "created": 1, "model": MODEL,
        "usage": {"completion_tokens": 2, "prompt_tokens": 7, "total_tokens": 9},
        "choices": [{"index": 0, "text": "Hello", "logprobs": null, "finish_reason": "stop"}]});
    assert_eq!(asked(&proxy, "/v1/completions", &body).await, (200, whole));
    let sent = llama.request_started(0).await;
    assert_eq!(sent.line, "POST /v1/completions");
    assert_eq!(
        sent.body,
        json!({"model": MODEL, "prompt": "Say", "logprobs": 3, "stream": true, "stream_options": {"include_usage": true},
            "return_progress": true, "max_tokens": 2, "seed": 7, "stop": ["x"]})
    );
    body["stream"] = json!(true);
    let text = post(&proxy, "/v1/completions", &body)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(
        (crate::events(&text).len(), text.contains(r#""text":"Hel""#)),
        (4, true),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n"));
    for (more, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": [1, 2, 3]}), "prompt"),
        (json!({"prompt": {"x": 1}}), "prompt"),
        (json!({"echo": true}), "echo"),
        (json!({"suffix": "x"}), "suffix"),
        (json!({"best_of": 2}), "best_of"),
        (json!({"n": 0}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"grammar": "x"}), "grammar"),
        (json!({"n_predict": -1}), "n_predict"),
        (json!({"max_tokens": 0}), "max_tokens"),
    ] {
        let mut body = json!({"model": MODEL, "prompt": "x"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (status, error) = asked(&proxy, "/v1/completions", &body).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{more}"
        );
    }
    assert_eq!(llama.requests().len(), 2);
}

#[tokio::test]
async fn a_completion_that_breaks_never_looks_complete() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    llama.script(Script::tokens(["a", "b"]).end_after(1));
    let body = json!({"model": MODEL, "prompt": "x"});
    assert_eq!(
        asked(&proxy, "/v1/completions", &body).await.1["error"]["code"],
        "upstream_truncated"
    );
    let streamed = json!({"model": MODEL, "prompt": "x", "stream": true});
    let text = post(&proxy, "/v1/completions", &streamed)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(
        crate::last_error(&text)["error"]["code"],
        "upstream_truncated"
    );
}

#[tokio::test]
async fn embeddings_and_ranks_pass_byte_for_byte_and_their_fields_are_checked() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let answer = r#"{"object":"list", "usage":{"prompt_tokens":5,"total_tokens":5},"data":[{"embedding":[-0.10]}]}"#;
    llama.script(Script::status(200, answer));
    let body = json!({"model": MODEL, "input": ["a", "b"], "encoding_format": "float", "dimensions": 9, "user": "u"});
    let response = post(&proxy, "/v1/embeddings", &body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.text().await.unwrap(), answer);
    let sent = llama.request_started(0).await;
    let expected = json!({"model": MODEL, "input": ["a", "b"], "encoding_format": "float"});
    assert_eq!(
        (sent.line.as_str(), sent.body),
        ("POST /v1/embeddings", expected)
    );
    let body = json!({"model": MODEL, "query": "q", "documents": ["a"], "top_n": 1, "return_documents": true});
    assert_eq!(
        post(&proxy, "/v1/rerank", &body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        answer
    );
    let sent = llama.request_started(1).await;
    let expected = json!({"model": MODEL, "query": "q", "documents": ["a"], "top_n": 1});
    assert_eq!(
        (sent.line.as_str(), sent.body),
        ("POST /v1/rerank", expected)
    );
    let sample =
        format!(r#"llm_proxy_tokens_total{{key="default",model="{MODEL}",kind="prompt"}} 10"#);
    proxy.until_metric(&sample).await;
    for (path, body, param) in [
        ("/v1/embeddings", json!({"model": MODEL}), "input"),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": ""}),
            "input",
        ),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": [1, 2]}),
            "input[0]",
        ),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": vec!["x"; 65]}),
            "input",
        ),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": "x", "encoding_format": "hex"}),
            "encoding_format",
        ),
        ("/v1/embeddings", json!({"input": "x"}), "model"),
        (
            "/v1/rerank",
            json!({"model": MODEL, "documents": ["a"]}),
            "query",
        ),
        (
            "/v1/rerank",
            json!({"model": MODEL, "query": "q", "documents": []}),
            "documents",
        ),
        (
            "/v1/rerank",
            json!({"model": MODEL, "query": "q", "documents": vec!["x"; 65]}),
            "documents",
        ),
        (
            "/v1/rerank",
            json!({"model": MODEL, "query": "q", "documents": ["a"], "top_n": 0}),
            "top_n",
        ),
    ] {
        let (status, error) = asked(&proxy, path, &body).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{body:.200}"
        );
    }
    llama.script(Script::refusal(
        501,
        "not_supported_error",
        "This server does not support embeddings.",
    ));
    assert_eq!(
        asked(&proxy, "/v1/embeddings", &embedding()).await.1["src"],
        "upstream"
    );
    assert_eq!(llama.requests().len(), 3);
}

#[tokio::test]
async fn leaving_an_embedding_closes_the_upstreams_connection_and_frees_its_slot() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = with_all_routes(&llama).await;
    llama.script_once(Script::status(200, "{}").stall_before_headers());
    let (running, waiting) = (
        post(&proxy, "/v1/embeddings", &embedding()),
        post(&proxy, "/v1/embeddings", &embedding()),
    );
    tokio::select! {
        answer = running.send() => panic!("answered: {answer:?}"),
        answer = waiting.send() => panic!("answered out of turn: {answer:?}"),
        () = proxy.until_metric("llm_proxy_queue_depth 1") => {}
    }
    llama.client_left(0).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    proxy.until_metric("llm_proxy_queue_depth 0").await;
    llama.script(Script::status(200, "{}"));
    assert_eq!(
        asked(&proxy, "/v1/embeddings", &embedding()).await,
        (200, json!({}))
    );
    assert_eq!((llama.requests().len(), llama.most_running()), (2, 1));
}

#[tokio::test]
async fn what_an_embedding_took_counts_for_its_keys_place_in_the_queue() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let scopes = "scopes = [\"chat\", \"embeddings\"]";
    let file =
        KeysFile::of(&(lines("much", "much-key", scopes) + &lines("little", "little-key", scopes)));
    let proxy = Proxy::with(&llama, |config| {
        config.routes = ALL.to_vec();
        config.keys_file = Some(file.path());
    })
    .await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let _holds_the_slot = post(&proxy, "/v1/chat/completions", &question(true))
        .send()
        .await
        .unwrap();
    let took = |n: u64| {
        Script::status(
            200,
            json!({"usage": {"prompt_tokens": n, "total_tokens": n}}).to_string(),
        )
    };
    llama.script_once(took(5_000));
    llama.script(took(5));
    let waiting = [
        ("much-key", "much 1"),
        ("little-key", "little 1"),
        ("much-key", "much 2"),
        ("little-key", "little 2"),
    ];
    let asks = waiting.iter().enumerate().map(|(n, (key, input))| {
        let (proxy, url) = (&proxy, format!("http://{}/v1/embeddings", proxy.address));
        let request = proxy
            .http
            .post(url)
            .bearer_auth(key)
            .json(&json!({"model": MODEL, "input": input}));
        async move {
            proxy
                .until_metric(&format!("llm_proxy_queue_depth {n}"))
                .await;
            request.send().await.unwrap().status().as_u16()
        }
    });
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 4").await;
        llama.release();
    };
    let (answers, ()) = tokio::join!(join_all(asks), release);
    assert_eq!(answers, [200; 4]);
    let order: Vec<_> = llama
        .requests()
        .iter()
        .skip(1)
        .map(|request| request.body["input"].clone())
        .collect();
    assert_eq!(order, ["much 1", "little 1", "little 2", "much 2"]);
}

#[tokio::test]
async fn an_embedding_that_does_not_come_ends_at_a_deadline() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.routes = ALL.to_vec();
        config.deadlines.total = Duration::from_millis(200);
    })
    .await;
    let body = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    for script in [
        Script::status(200, "{}").stall_before_headers(),
        Script::raw(body),
    ] {
        llama.script(script);
        let (status, error) = asked(&proxy, "/v1/embeddings", &embedding()).await;
        assert!(
            [(504, "total_timeout"), (502, "upstream_disconnected")]
                .contains(&(status, error["error"]["code"].as_str().unwrap())),
            "{error}"
        );
    }
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn tokens_are_counted_without_a_slot_by_a_few_at_once() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| {
        config.counting_deadline = Duration::from_secs(3);
    })
    .await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    // The only slot is busy.
    let answer = json!({"input_tokens": 31, "object": "response.input_tokens"});
    llama.script(Script::status(200, answer.to_string()));
    let path = "/v1/chat/completions/input_tokens";
    assert_eq!(
        asked(&proxy, path, &question(false)).await,
        (200, answer.clone())
    );
    let sent = llama.request_started(1).await;
    assert_eq!(
        (sent.line, sent.body["messages"][0]["content"].as_str()),
        (format!("POST {path}"), Some("hi"))
    );
    let text = json!({"content": "hi", "with_pieces": true, "x": 1});
    assert_eq!(asked(&proxy, "/tokenize", &text).await, (200, answer));
    assert_eq!(
        llama.request_started(2).await.body,
        json!({"content": "hi", "with_pieces": true})
    );
    for (path, body, param) in [
        (path, json!({"model": MODEL}), "messages"),
        (
            path,
            json!({"model": MODEL, "messages": [], "grammar": "x"}),
            "grammar",
        ),
        ("/tokenize", json!({}), "content"),
        ("/tokenize", json!({"content": ["a"]}), "content"),
        (
            "/tokenize",
            json!({"content": "a", "add_special": 1}),
            "add_special",
        ),
    ] {
        let (status, error) = asked(&proxy, path, &body).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{body}"
        );
    }
    // Four that the upstream leaves waiting, and a fifth.
    llama.script(Script::status(200, "{}").stall_before_headers());
    let one = async || asked(&proxy, "/tokenize", &json!({"content": "hi"})).await;
    let fifth = async {
        llama.request_started(6).await;
        let message = "too much is asked at once: try again after the time in Retry-After";
        assert_eq!(
            one().await,
            (
                503,
                envelope("llm-proxy", "server_error", "overloaded", message)
            )
        );
    };
    let (a, b, c, d, ()) = tokio::join!(one(), one(), one(), one(), fifth);
    for (status, error) in [a, b, c, d] {
        assert_eq!(
            (status, &error["error"]["code"]),
            (504, &json!("total_timeout"))
        );
    }
    llama.client_left(6).await;
    llama.release();
    drop(running);
}
