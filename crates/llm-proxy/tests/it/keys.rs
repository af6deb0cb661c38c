//! Named keys at the wire: who is let in, and what a key opens.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use llm_proxy::Api;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use testkit::fake_llama::FakeLlama;

use crate::{KEY, MODEL, Proxy, envelope, question};

/// A keys file in a folder of its own.
pub(crate) struct KeysFile(TempDir);

impl KeysFile {
    pub(crate) fn of(text: &str) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("keys.toml")
    }

    /// Puts a new file in place of the old one, as editors do.
    pub(crate) fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

/// The lines of the key `key`, named `name`.
pub(crate) fn lines(name: &str, key: &str, more: &str) -> String {
    format!(
        "[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n",
        hex(key)
    )
}

pub(crate) fn hex(key: &str) -> String {
    Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Proxy {
    /// As [`Proxy::with`], with a keys file that is looked at often.
    pub(crate) async fn keyed(llama: &FakeLlama, file: &KeysFile) -> Self {
        Self::with(llama, |config| {
            config.keys_file = Some(file.path());
            config.keys_poll = Duration::from_millis(5);
        })
        .await
    }

    pub(crate) async fn ask_as(&self, key: &str, body: &Value) -> reqwest::Response {
        let url = format!("http://{}/v1/chat/completions", self.address);
        self.http
            .post(url)
            .bearer_auth(key)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn models_as(&self, key: &str) -> (u16, Value) {
        let request = self
            .http
            .get(format!("http://{}/v1/models", self.address))
            .bearer_auth(key);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

#[tokio::test]
async fn every_credential_that_is_not_good_gets_the_same_bytes_before_the_body_is_read() {
    let file = KeysFile::of(
        &(lines("old", "expired", "expires = 2020-01-01")
            + &lines("new", "early", "not_before = 2999-01-01")),
    );
    let llama = FakeLlama::start().await;
    let long = "x".repeat(12 * 1024);
    let proxy = Proxy::keyed(&llama, &file).await;
    let mut answers = Vec::new();
    for credential in [
        "",
        "Authorization: Bearer unknown\r\n",
        "Authorization: Bearer expired\r\n",
        "Authorization: Bearer early\r\n",
        "Authorization: Bearer llmk_malformed\r\n",
        "Authorization: Bearer llmk_0123456789ABCDEFGHIJKLMNOPQabcdef\r\n",
        "Authorization: Bearer\r\n",
        &format!("Authorization: Bearer  {KEY}\r\n"),
        &format!("Authorization: Basic {KEY}\r\n"),
        &format!("Authorization: {KEY}\r\n"),
        "Authorization: Bearer ' OR 1=1 --\"\\\r\n",
        "Authorization: Bearer \u{e9}\u{202e}\r\n",
        "Authorization: Basic ZXhwaXJlZDo=\r\n",
        "X-Api-Key: unknown\r\n",
        &format!("X-Api-Key: {KEY}\r\n"),
        &format!("Authorization: Bearer {KEY}x\r\n"),
        &format!("Authorization: Bearer {}\r\n", &KEY[..KEY.len() - 1]),
        &format!("Authorization: Bearer {}\r\n", hex(KEY)),
        &format!("Authorization: Bearer {long}\r\n"),
    ] {
        // The body never comes: an answer shows that nobody waited for it.
        for line in [
            "GET /v1/models HTTP/1.1",
            "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 9",
        ] {
            let head = format!("{line}\r\nHost: x\r\nConnection: close\r\n");
            let answer = proxy.raw(&format!("{head}{credential}\r\n")).await;
            // What is the request's own, and not the credential's.
            let own = ["x-request-id: ", "date: ", "connection: "];
            let lines = answer.split("\r\n");
            let lines = lines.filter(|line| !own.iter().any(|name| line.starts_with(name)));
            answers.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    assert_eq!(llama.requests().len(), 0);
    assert!(
        answers[0].starts_with("HTTP/1.1 401 Unauthorized\n"),
        "{}",
        answers[0]
    );
    let message = "the API key is missing or wrong: send `Authorization: Bearer KEY`";
    let body = envelope(
        "llm-proxy",
        "authentication_error",
        "invalid_api_key",
        message,
    )
    .to_string();
    assert_eq!(
        serde_json::from_str::<Value>(answers[0].lines().last().unwrap()).unwrap(),
        serde_json::from_str::<Value>(&body).unwrap()
    );
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[tokio::test]
async fn no_route_but_the_health_check_answers_without_a_key() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.routes = every_route()).await;
    // The code itself is asked, so that a route added later cannot be forgotten here.
    let router = include_str!("../../src/router.rs");
    let api = include_str!("../../src/api.rs");
    let mut routes = Vec::new();
    for (code, before) in [(router, ".route(\""), (api, "=> \"")] {
        let quoted = code
            .split(before)
            .skip(1)
            .map(|rest| rest.split_once('"').unwrap().0);
        routes.extend(quoted.filter(|path| path.starts_with('/')));
    }
    assert_eq!(routes.len(), 13, "{routes:?}");
    assert!(routes.contains(&"/v1/chat/completions"), "{routes:?}");
    for route in routes {
        let mut answers = Vec::new();
        for method in ["GET", "POST"] {
            let request = format!(
                "{method} {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            answers.push(proxy.raw(&request).await[9..12].to_owned());
        }
        let public = route == "/health";
        assert!(
            answers
                .iter()
                .any(|status| status == if public { "200" } else { "401" }),
            "{route}: {answers:?}"
        );
        assert_eq!(
            answers.iter().any(|status| status == "200"),
            public,
            "{route}: {answers:?}"
        );
    }
    assert_eq!(llama.requests().len(), 0);
}

/// What a chat with `key` is refused with.
async fn refusal(proxy: &Proxy, key: &str) -> (u16, Value) {
    let response = proxy.ask_as(key, &question(true)).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_key_opens_its_scopes_and_its_models_and_nothing_else() {
    let file = KeysFile::of(
        &(lines("counter", "counting", "scopes = [\"tokens\"]")
            + &lines(
                "elsewhere",
                "another-model",
                "models = [\"another\"]\nscopes = [\"chat\", \"tokens\"]",
            )
            + &lines(
                "here",
                "this-model",
                &format!("models = [\"another\", \"{MODEL}\"]"),
            )),
    );
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    let message = "this API key does not open this route: its scopes lack `chat`";
    let expected = envelope("llm-proxy", "permission_error", "scope_missing", message);
    assert_eq!(refusal(&proxy, "counting").await, (403, expected));
    let (status, error) = refusal(&proxy, "another-model").await;
    let mut unknown = question(true);
    unknown["model"] = json!("never-heard-of");
    assert_eq!(proxy.error(&unknown).await, (status, error.clone()));
    assert_eq!(
        (status, error["error"]["code"].as_str().unwrap()),
        (404, "model_not_found")
    );
    let url = format!("http://{}/tokenize", proxy.address);
    let count = proxy
        .http
        .post(url)
        .bearer_auth("another-model")
        .json(&json!({"content": "hi"}));
    let count = count.send().await.unwrap();
    assert_eq!(
        (
            count.status().as_u16(),
            count.json::<Value>().await.unwrap()
        ),
        (404, error)
    );
    assert_eq!(llama.requests().len(), 0);

    assert_eq!(
        proxy.models_as("another-model").await,
        (200, json!({"object": "list", "data": []}))
    );
    for key in ["this-model", "counting", KEY] {
        assert_eq!(proxy.models_as(key).await.1["data"][0]["id"], MODEL);
    }
    assert_eq!(
        proxy.ask_as("this-model", &question(true)).await.status(),
        200
    );
}

/// Before `llama`, with the keys of `file` and every route switched on.
pub(crate) async fn with_every_route(llama: &FakeLlama, file: &KeysFile) -> Proxy {
    Proxy::with(llama, |config| {
        config.keys_file = Some(file.path());
        config.routes = every_route();
    })
    .await
}

fn every_route() -> Vec<Api> {
    let names = [
        "chat",
        "completions",
        "responses",
        "messages",
        "embeddings",
        "rerank",
    ];
    names.map(|name| name.parse().unwrap()).into()
}

#[tokio::test]
async fn each_scope_opens_its_routes_and_no_others() {
    const SCOPES: [&str; 3] = ["chat", "embeddings", "tokens"];
    let mut text = String::new();
    for scope in SCOPES {
        let more = format!("scopes = [\"{scope}\"]");
        text += &lines(scope, &format!("{scope}-key"), &more);
    }
    let file = KeysFile::of(&text);
    let llama = FakeLlama::start().await;
    let proxy = with_every_route(&llama, &file).await;
    for (route, opened_by) in [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "chat"),
        ("/v1/responses", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/rerank", "embeddings"),
        ("/v1/chat/completions/input_tokens", "tokens"),
        ("/v1/messages/count_tokens", "tokens"),
        ("/tokenize", "tokens"),
    ] {
        for scope in SCOPES {
            let url = format!("http://{}{route}", proxy.address);
            let request = proxy
                .http
                .post(url)
                .bearer_auth(format!("{scope}-key"))
                .json(&json!({}));
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let error = response.json::<Value>().await.unwrap()["error"].take();
            if scope == opened_by {
                assert_eq!(
                    (status, &error["code"]),
                    (400, &json!("invalid_field")),
                    "{scope} {route}"
                );
                continue;
            }
            let message =
                format!("this API key does not open this route: its scopes lack `{opened_by}`");
            let mut expected = envelope("llm-proxy", "permission_error", "scope_missing", &message);
            if route.starts_with("/v1/messages") {
                expected["error"]["details"] = json!({"error_code": "scope_missing"});
            }
            assert_eq!(
                (status, error),
                (403, expected["error"].take()),
                "{scope} {route}"
            );
        }
    }
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_flood_of_wrong_keys_takes_no_slot_and_no_place_in_the_queue() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.queue_requests = 1).await;
    let over = AtomicBool::new(false);
    let n_refused = AtomicUsize::new(0);
    let flood = join_all((0..32).map(async |_| {
        while !over.load(Ordering::Relaxed) {
            assert_eq!(
                proxy.ask_as("llmk_wrong", &question(true)).await.status(),
                401
            );
            n_refused.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let good = async {
        for _ in 0..20 {
            let answer = proxy.ask(&question(true)).await;
            assert_eq!(answer.status(), 200);
            assert!(answer.text().await.unwrap().ends_with("[DONE]\n\n"));
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood, good);
    assert_eq!(llama.requests().len(), 20);
    assert!(n_refused.into_inner() > 20);
}
