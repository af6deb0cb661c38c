//! What can be reached, by whom, and that nothing else goes upstream.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::FakeLlama;

use crate::{KEY, MODEL, Proxy, UPSTREAM_KEY, envelope, question};

/// Everything else that llama-server, its router, its tools or our own admin listener answer to.
const NOT_HERE: [&str; 38] = [
    "/",
    "*",
    "/livez",
    "/readyz",
    "/metrics",
    "/status",
    "/slots",
    "/slots/0",
    "/slots/0?action=erase",
    "/props",
    "/lora-adapters",
    "/v1/stream",
    "/v1/stream?conv_id=x",
    "/v1/streams/lookup",
    "/v1/chat/completions/control",
    "/infill",
    "/completion",
    "/completions",
    "/v1/completions",
    "/chat/completions",
    "/api/chat",
    "/v1/audio/transcriptions",
    "/apply-template",
    "/detokenize",
    "/models",
    "/models/load",
    "/models/unload",
    "/mcp",
    "/sse",
    "/tools",
    "/cors-proxy",
    "/v1/health",
    "/health/",
    "/index.html",
    "/v1/../slots",
    "/v1/%2e%2e/props",
    "/v1/models%2f..%2f..%2fslots",
    "/\\slots",
];
/// Other ways to write what is there.
const MISSPELT: [&str; 12] = [
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat//completions",
    "/v1/chat/completions/",
    "/v1/chat/completions/.",
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/v1/chat/completions;x",
    "/v1/chat/completions%00",
    "/v1/chat/completions%20",
    "/v1/%63hat/completions",
    "/v1%2fchat%2fcompletions",
];

#[tokio::test]
async fn no_other_path_or_spelling_reaches_llama_server() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let body = question(false).to_string();
    for path in NOT_HERE.into_iter().chain(MISSPELT) {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = proxy.raw(&request).await;
            let (head, error) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with("HTTP/1.1 404 "),
                "{method} {path}: {answer}"
            );
            assert!(head.contains("x-request-id: "), "{method} {path}: {answer}");
            let error: Value = serde_json::from_str(error).unwrap();
            let message = error["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("there is no such route"), "{message}");
            let expected = envelope("llm-proxy", "not_found_error", "not_found", message);
            assert_eq!(error, expected, "{method} {path}");
        }
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_route_that_is_not_there_says_what_its_caller_probably_meant() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let lacks = ": the path begins with /v1, so let the base URL end in /v1";
    let twice = ": the path has /v1 twice, so let the base URL end before one of them";
    let chat = ": the path has slashes too many, so ask /v1/chat/completions";
    for (path, hint) in [
        ("/v1/chat/completions/", chat),
        ("//v1/chat//completions", chat),
        (
            "/v1//models",
            ": the path has slashes too many, so ask /v1/models",
        ),
        ("/chat/completions", lacks),
        ("/models", lacks),
        ("/models/a", lacks),
        ("/responses", lacks),
        ("/v1/v1/chat/completions", twice),
        ("/v1/v1/models", twice),
        (
            "/v1/responses",
            ": its operator has not switched it on (PROXY_ROUTES lacks `responses`)",
        ),
        (
            "/v1/messages/count_tokens",
            ": its operator has not switched it on (PROXY_ROUTES lacks `messages`)",
        ),
        ("/api/chat", ""),
        ("/v1/nothing", ""),
    ] {
        let url = format!("http://{}{path}", proxy.address);
        let answer = proxy.http.post(url).bearer_auth(KEY).send().await.unwrap();
        let status = answer.status().as_u16();
        let mut error: Value = answer.json().await.unwrap();
        let message = error["error"]["message"].take();
        assert_eq!(
            (status, message),
            (404, json!(format!("there is no such route{hint}"))),
            "{path}"
        );
    }
}

#[tokio::test]
async fn one_model_can_be_asked_for_by_its_name_and_no_other() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.model = "a model/of Q4_0.gguf".into();
    })
    .await;
    let get = async |path: &str| {
        let url = format!("http://{}{path}", proxy.address);
        let answer = proxy.http.get(url).bearer_auth(KEY).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let (_, list) = get("/v1/models").await;
    let model = &list["data"][0];
    assert_eq!(model["id"], "a model/of Q4_0.gguf");
    for path in [
        "/v1/models/a%20model/of%20Q4_0.gguf",
        "/v1/models/a%20model%2Fof%20Q4_0.gguf",
    ] {
        assert_eq!(get(path).await, (200, model.clone()), "{path}");
    }
    assert_eq!(get("/v1/models/").await, (200, list.clone()));
    for path in ["/v1/models/other", "/v1/models/%ff", "/v1/models//"] {
        let (status, error) = get(path).await;
        let code = &error["error"]["code"];
        assert_eq!((status, code), (404, &json!("model_not_found")), "{path}");
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_wrong_method_is_405_and_a_target_for_someone_else_400() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for (line, host, status) in [
        ("GET /v1/chat/completions", "Host: x\r\n", 405),
        ("DELETE /v1/models", "Host: x\r\n", 405),
        ("POST /health", "Host: x\r\n", 405),
        ("GET http://elsewhere/health", "Host: x\r\n", 400),
        ("CONNECT elsewhere:80", "Host: x\r\n", 400),
        ("GET /health", "", 400),
        ("GET /health", "Host: x\r\nHost: y\r\n", 400),
        ("GET /health", "Host: x\r\n", 200),
    ] {
        let answer = proxy
            .raw(&format!(
                "{line} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(answer.contains("application/json"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn the_scheme_of_the_key_may_be_written_in_any_case_but_the_key_stands_alone() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let status = async |headers: &[(&str, &str)]| {
        let mut request = proxy
            .http
            .get(format!("http://{}/v1/models", proxy.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let key = &format!("bearer {KEY}");
    assert_eq!(status(&[("authorization", key)]).await, 200);
    assert_eq!(
        status(&[("authorization", key), ("authorization", key)]).await,
        400
    );
    assert_eq!(
        status(&[("authorization", key), ("x-api-key", KEY)]).await,
        400
    );
}

#[tokio::test]
async fn the_model_list_has_the_alias_and_the_context_of_one_slot() {
    let llama = FakeLlama::start().await;
    llama.set_n_ctx(1536);
    let proxy = Proxy::before(&llama).await;
    let request = proxy
        .http
        .get(format!("http://{}/v1/models", proxy.address))
        .bearer_auth(KEY);
    let mut list: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(list["data"][0]["created"].take().is_u64());
    let model = json!({"id": MODEL, "object": "model", "created": null, "owned_by": "llm-proxy", "meta": {"n_ctx": 1536, "images": true, "tools": true}});
    assert_eq!(list, json!({"object": "list", "data": [model]}));
    // Of several, the smallest: what fits into that one fits everywhere.
    let smaller = FakeLlama::start().await;
    smaller.require_key(UPSTREAM_KEY);
    smaller.set_n_ctx(1024);
    let proxy = Proxy::start(&format!("{},{}", llama.url(), smaller.url()), |_| {}).await;
    proxy.until_metric("llm_proxy_slots 4").await;
    assert_eq!(
        proxy.models_as(KEY).await.1["data"][0]["meta"],
        json!({"n_ctx": 1024, "images": true, "tools": true})
    );
}

#[tokio::test]
async fn the_model_list_names_nothing_that_would_not_be_served() {
    let llama = FakeLlama::start().await;
    llama.set_loading(true);
    let proxy = Proxy::start(&llama.url(), |_| {}).await;
    let list = async || {
        let request = proxy
            .http
            .get(format!("http://{}/v1/models", proxy.address))
            .bearer_auth(KEY);
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap()["error"]["code"].take(),
        )
    };
    crate::until("loading to be seen", async || {
        list().await.1 == "model_loading"
    })
    .await;
    assert_eq!(list().await.0, 503);
    llama.require_key(UPSTREAM_KEY);
    llama.set_loading(false);
    proxy.until_ready().await;
    assert_eq!(list().await, (200, Value::Null));
}

/// What `/health`, `/readyz` and a request say: the status of the first two, and the code of the first and the last.
async fn told(proxy: &Proxy) -> ([u16; 2], [Value; 2]) {
    let health = proxy
        .http
        .get(format!("http://{}/health", proxy.address))
        .send()
        .await
        .unwrap();
    let (status, mut health) = (
        health.status().as_u16(),
        health.json::<Value>().await.unwrap(),
    );
    let mut asked: Value = proxy.ask(&question(false)).await.json().await.unwrap();
    let codes = [
        health["error"]["code"].take(),
        asked["error"]["code"].take(),
    ];
    ([status, proxy.ready().await.0], codes)
}

#[tokio::test]
async fn health_and_readiness_say_what_a_request_sent_now_would_meet() {
    let llama = FakeLlama::start().await;
    llama.require_key(UPSTREAM_KEY);
    let proxy = Proxy::start(&llama.url(), |config| {
        config.deadlines.first_token = Duration::from_millis(200);
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
        config.probe_engine = Duration::from_millis(100);
    })
    .await;
    let good = ([200, 200], [Value::Null, Value::Null]);
    let bad = |code: &str| ([503, 503], [json!(code), json!(code)]);
    let until_told =
        async |expected| crate::until("it", async || told(&proxy).await == expected).await;
    until_told(good.clone()).await;
    llama.set_loading(true);
    until_told(bad("model_loading")).await;
    llama.set_loading(false);
    until_told(good.clone()).await;
    llama.require_key("another-key");
    until_told(bad("upstream_key")).await;
    llama.require_key(UPSTREAM_KEY);
    until_told(good.clone()).await;
    // Its engine computes nothing any more, though it still answers `/props`.
    llama.set_stuck(true);
    assert_eq!(proxy.error(&question(false)).await.0, 504);
    until_told(bad("upstream_unavailable")).await;
    llama.set_stuck(false);
    until_told(good.clone()).await;
    let address = llama.stop().await;
    until_told(bad("upstream_unavailable")).await;
    let llama = FakeLlama::start_at(address).await;
    llama.require_key(UPSTREAM_KEY);
    until_told(good).await;
}

#[tokio::test]
async fn the_request_id_of_a_known_caller_is_taken_over_when_it_is_a_uuid_and_no_other() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let given = "0197a3c2-4b7e-7d21-9c55-1f2e3d4c5b6a";
    for (n, (offered, taken)) in [
        (given, true),
        (&*given.to_uppercase(), true),
        ("forged", false),
        ("0197a3c2-4b7e-7d21-9c55-1f2e3d4c5b6a extra", false),
        (&*"a".repeat(10_000), false),
    ]
    .into_iter()
    .enumerate()
    {
        let response = proxy
            .chat(&question(true))
            .header("x-request-id", offered)
            .send()
            .await
            .unwrap();
        let id = response.headers()["x-request-id"].clone();
        assert_eq!(id == given, taken, "{offered}");
        assert_eq!(llama.request_started(n).await.headers["x-request-id"], id);
    }
    let url = format!("http://{}/v1/chat/completions", proxy.address);
    let stranger = proxy
        .http
        .post(url)
        .bearer_auth("wrong")
        .header("x-request-id", given);
    let response = stranger.json(&question(true)).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_ne!(response.headers()["x-request-id"], given);
}

#[tokio::test]
async fn what_is_for_operators_is_on_the_admin_listener() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for path in ["metrics", "livez", "readyz", "status"] {
        let answer = proxy
            .http
            .get(format!("http://{}/{path}", proxy.admin))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_says_that_it_ends_the_connection() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let http = reqwest::Client::new();
    for (key, status, connection) in [(KEY, 200, None), ("wrong", 401, Some("close"))] {
        let url = format!("http://{}/v1/chat/completions", proxy.address);
        let answer = http
            .post(url)
            .bearer_auth(key)
            .json(&question(true))
            .send()
            .await
            .unwrap();
        let said = answer
            .headers()
            .get("connection")
            .map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), said), (status, connection));
    }
}
