//! What can be reached, by whom, and that nothing else goes upstream.

use serde_json::{Value, json};
use testkit::fake_llama::FakeLlama;

use crate::{KEY, MODEL, Proxy, UPSTREAM_KEY, question};

#[tokio::test]
async fn no_other_path_or_spelling_reaches_llama_server() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/slots"),
        ("GET", "/props"),
        ("POST", "/props"),
        ("GET", "/metrics"),
        ("GET", "/livez"),
        ("POST", "/completion"),
        ("POST", "/v1/completions"),
        ("POST", "/chat/completions"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/chat/completions;x"),
        ("POST", "/v1/chat/completions%00"),
        ("POST", "/v1/%63hat/completions"),
        ("GET", "/v1/../slots"),
        ("GET", "/v1/%2e%2e/props"),
        ("GET", "/v1/models/../../slots"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = proxy.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{method} {path}: {answer}");
        assert!(
            answer.contains(r#""type":"not_found_error","code":"not_found""#),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains("x-request-id: "), "{method} {path}: {answer}");
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
        let answer = proxy.raw(&format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.contains("application/json"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn missing_malformed_and_wrong_keys_are_one_401_before_the_body_is_read() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut bodies = Vec::new();
    for header in [
        String::new(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer wrong\r\n".to_owned(),
        format!("Authorization: Bearer  {KEY}\r\n"),
        format!("Authorization: Basic {KEY}\r\n"),
        format!("Authorization: {KEY}\r\n"),
        format!("X-Api-Key: {KEY}\r\n"),
    ] {
        // The body never comes: an answer shows that nobody waited for it.
        let head =
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9\r\n";
        let answer = proxy.raw(&format!("{head}{header}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{header}: {answer}");
        bodies.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
    }
    let models = proxy.http.get(format!("http://{}/v1/models", proxy.address)).send().await.unwrap();
    assert_eq!(models.status(), 401);
    bodies.push(models.text().await.unwrap());
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn the_scheme_of_the_key_may_be_written_in_any_case_but_the_key_stands_alone() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let status = async |headers: &[(&str, &str)]| {
        let mut request = proxy.http.get(format!("http://{}/v1/models", proxy.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let key = &format!("bearer {KEY}");
    assert_eq!(status(&[("authorization", key)]).await, 200);
    assert_eq!(status(&[("authorization", key), ("authorization", key)]).await, 400);
    assert_eq!(status(&[("authorization", key), ("x-api-key", KEY)]).await, 400);
}

#[tokio::test]
async fn the_model_list_has_the_alias_and_the_context_of_one_slot() {
    let llama = FakeLlama::start().await;
    llama.set_n_ctx(1536);
    let proxy = Proxy::before(&llama).await;
    let request = proxy.http.get(format!("http://{}/v1/models", proxy.address)).bearer_auth(KEY);
    let mut list: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(list["data"][0]["created"].take().is_u64());
    let model = json!({"id": MODEL, "object": "model", "created": null, "owned_by": "llm-proxy", "meta": {"n_ctx": 1536}});
    assert_eq!(list, json!({"object": "list", "data": [model]}));
}

#[tokio::test]
async fn the_model_list_names_nothing_that_would_not_be_served() {
    let llama = FakeLlama::start().await;
    llama.set_loading(true);
    let proxy = Proxy::start(&llama.url(), |_| {}).await;
    let list = async || {
        let request = proxy.http.get(format!("http://{}/v1/models", proxy.address)).bearer_auth(KEY);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"]["code"].take())
    };
    crate::until("loading to be seen", async || list().await.1 == "model_loading").await;
    assert_eq!(list().await.0, 503);
    llama.require_key(UPSTREAM_KEY);
    llama.set_loading(false);
    proxy.until_ready().await;
    assert_eq!(list().await, (200, Value::Null));
}

#[tokio::test]
async fn health_is_public_and_says_what_a_request_would_meet() {
    let llama = FakeLlama::start().await;
    llama.set_loading(true);
    let proxy = Proxy::start(&llama.url(), |_| {}).await;
    let health = async || {
        let response = proxy.http.get(format!("http://{}/health", proxy.address)).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    crate::until("loading to be seen", async || health().await.1["error"]["code"] == "model_loading").await;
    assert_eq!(health().await.0, 503);
    llama.set_loading(false);
    proxy.until_ready().await;
    assert_eq!(health().await, (200, json!({"status": "ok"})));
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
        let response = proxy.chat(&question(true)).header("x-request-id", offered).send().await.unwrap();
        let id = response.headers()["x-request-id"].clone();
        assert_eq!(id == given, taken, "{offered}");
        assert_eq!(llama.request_started(n).await.headers["x-request-id"], id);
    }
    let url = format!("http://{}/v1/chat/completions", proxy.address);
    let stranger = proxy.http.post(url).bearer_auth("wrong").header("x-request-id", given);
    let response = stranger.json(&question(true)).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_ne!(response.headers()["x-request-id"], given);
}

#[tokio::test]
async fn metrics_and_liveness_are_on_the_admin_listener() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for path in ["metrics", "livez"] {
        let answer = proxy.http.get(format!("http://{}/{path}", proxy.admin)).send().await.unwrap();
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
        let answer = http.post(url).bearer_auth(key).json(&question(true)).send().await.unwrap();
        let said = answer.headers().get("connection").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), said), (status, connection));
    }
}
