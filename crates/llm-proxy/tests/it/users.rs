//! Users of one key: who may name them, how they take turns, and how long one who sees the queue may wait.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Received, Script};

use crate::keys::{KeysFile, lines};
use crate::{Proxy, envelope, question};

const USERS: &str = "scopes = [\"chat\", \"delegate\"]\nrequests_at_once_per_user = 1";

/// Asks as the key `app`, for `user`, with a text of its own.
async fn ask_for(proxy: &Proxy, user: &str, text: &str) -> reqwest::Response {
    let mut body = question(true);
    body["messages"][0]["content"] = text.into();
    let url = format!("http://{}/v1/chat/completions", proxy.address);
    let request = proxy.http.post(url).bearer_auth("app-key");
    let request = request.header("x-corral-user", user).json(&body);
    request.send().await.unwrap()
}

fn text_of(request: &Received) -> &str {
    let text = request.body["messages"][0]["content"].as_str();
    text.unwrap_or_default()
}

#[tokio::test]
async fn only_a_key_with_the_scope_may_name_users_and_only_by_a_plain_name() {
    let file = KeysFile::of(&(lines("app", "app-key", USERS) + &lines("plain", "plain-key", "")));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    let url = format!("http://{}/v1/chat/completions", proxy.address);
    let request = proxy.http.post(&url).bearer_auth("plain-key");
    let request = request.header("x-corral-user", "a").json(&question(false));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    let message = "this API key may not name users: leave the header X-Corral-User out, or give the key the scope \
                   `delegate`";
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        envelope("llm-proxy", "permission_error", "scope_missing", message)
    );
    let message = "the header X-Corral-User must be given once, as 1 to 64 letters, digits, `.`, `_`, `:` and `-`";
    let long = "x".repeat(65);
    for name in ["", "a b", "a@b.example", &long] {
        let response = ask_for(&proxy, name, "Hi").await;
        assert_eq!(response.status(), 400, "{name:?}");
        assert_eq!(
            response.json::<Value>().await.unwrap(),
            envelope(
                "llm-proxy",
                "invalid_request_error",
                "invalid_user",
                message
            )
        );
    }
    let twice = proxy.http.post(&url).bearer_auth("app-key");
    let twice = twice
        .header("x-corral-user", "a")
        .header("x-corral-user", "a");
    let response = twice.json(&question(false)).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(llama.requests().len(), 0);

    let answer = ask_for(&proxy, &"x".repeat(64), "Hi").await;
    assert!(answer.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    assert!(!llama.requests()[0].headers.contains_key("x-corral-user"));
}

#[tokio::test]
async fn a_user_beside_seventy_requests_of_another_is_answered_next() {
    let file = KeysFile::of(&lines(
        "app",
        "app-key",
        "scopes = [\"chat\", \"delegate\"]",
    ));
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| {
        config.keys_file = Some(file.path());
        config.queue_requests = 100;
    })
    .await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = ask_for(&proxy, "heavy", "first").await;
    let heavy = join_all((0..70).map(|_| async {
        let answer = ask_for(&proxy, "heavy", "heavy").await;
        answer.text().await.unwrap()
    }));
    let light = async {
        proxy.until_metric("llm_proxy_queue_depth 70").await;
        let answer = ask_for(&proxy, "light", "light");
        let release = async {
            proxy.until_metric("llm_proxy_queue_depth 71").await;
            llama.release();
        };
        let (answer, ()) = tokio::join!(answer, release);
        answer.text().await.unwrap()
    };
    let (heavy, light) = tokio::join!(heavy, light);
    drop(running);
    assert!(
        heavy
            .iter()
            .chain([&light])
            .all(|text| text.ends_with("data: [DONE]\n\n"))
    );
    let requests = llama.requests();
    let order: Vec<&str> = requests.iter().map(text_of).collect();
    assert_eq!(order[..3], ["first", "light", "heavy"]);
}

#[tokio::test]
async fn a_user_at_its_own_limit_leaves_the_free_slot_to_others() {
    let file = KeysFile::of(&lines("app", "app-key", USERS));
    let llama = FakeLlama::start().await;
    llama.set_slots(2);
    let proxy = Proxy::keyed(&llama, &file).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let running = ask_for(&proxy, "one", "first").await;
    let second = async { ask_for(&proxy, "one", "second").await.text().await.unwrap() };
    let others = async {
        proxy.until_metric("llm_proxy_queue_depth 1").await;
        let other = ask_for(&proxy, "two", "other").await;
        assert!(other.text().await.unwrap().ends_with("data: [DONE]\n\n"));
        llama.release();
    };
    tokio::join!(second, others);
    drop(running);
    let requests = llama.requests();
    let order: Vec<&str> = requests.iter().map(text_of).collect();
    assert_eq!(order, ["first", "other", "second"]);

    let mut several = question(false);
    several["n"] = json!(2);
    let url = format!("http://{}/v1/chat/completions", proxy.address);
    let request = proxy.http.post(url).bearer_auth("app-key");
    let request = request.header("x-corral-user", "one").json(&several);
    let refusal = request.send().await.unwrap().json::<Value>().await.unwrap();
    let message = "`n` must be at most 1, the requests at once of this key";
    assert_eq!(refusal["error"]["message"], message);
}

#[tokio::test]
async fn a_caller_who_sees_the_queue_may_wait_longer_than_one_who_does_not() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.queue = Duration::from_millis(50);
        config.deadlines.queue_with_events = Duration::from_secs(600);
    })
    .await;
    let running = proxy.ask_stalled(&llama).await;
    let seeing = proxy.chat(&question(true)).header("x-queue-events", "1");
    let seeing = seeing.send().await.unwrap();
    assert_eq!(
        proxy.error(&question(true)).await.1["error"]["code"],
        "queue_timeout"
    );
    // The one who sees came first, and waits on.
    llama.release();
    drop(running.text().await.unwrap());
    assert!(seeing.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}
