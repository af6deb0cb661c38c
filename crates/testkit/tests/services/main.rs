//! chat-gateway and llm-proxy as built binaries, one behind the other, with FakeLlama in llama-server's place: what only
//! both together can keep or break, without a model and without a clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod dropped;
mod killed;
mod process;
mod restart;
mod settings;
mod tracing;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::service::Service;
use testkit::ws_client::{PATIENCE, WsClient};

const KEY: &str = "a-key-for-tests";

/// Both services in front of one fake.
struct Chain {
    llama: FakeLlama,
    proxy: Service,
    gateway: Service,
}

impl Chain {
    async fn start(slots: usize) -> Self {
        Self::start_with(slots, &[]).await
    }

    /// With settings of both services beside those that they need anyway.
    async fn start_with(slots: usize, settings: &[(&str, &str)]) -> Self {
        let llama = FakeLlama::start().await;
        llama.set_slots(slots);
        llama.require_key(KEY);
        let mut proxy = start_proxy_with(&llama.url(), settings).await;
        proxy.ready().await.unwrap();
        let base = format!("{}/v1", proxy.url());
        let mut gateway = start_gateway_with(&base, settings).await;
        gateway.ready().await.unwrap();
        Self {
            llama,
            proxy,
            gateway,
        }
    }

    async fn chat(&self) -> WsClient {
        self.chat_with(&[]).await
    }

    /// Waits until so many requests wait for a slot.
    async fn until_queued(&self, n: usize) {
        let url = format!("{}/metrics", self.proxy.admin_url());
        let line = format!("llm_proxy_queue_depth {n}");
        let looking = async {
            loop {
                let metrics = reqwest::get(&url).await.unwrap().text().await.unwrap();
                if metrics.lines().any(|seen| seen == line) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap();
    }

    async fn chat_with(&self, headers: &[(&str, &str)]) -> WsClient {
        let url = self.gateway.url().replacen("http", "ws", 1);
        let url = format!("{url}/api/v1/ws/chat");
        WsClient::connect_with(&url, headers).await.unwrap()
    }
}

async fn start_proxy(upstream: &str) -> Service {
    start_proxy_with(upstream, &[]).await
}

async fn start_proxy_with(upstream: &str, settings: &[(&str, &str)]) -> Service {
    let needed = [
        ("PROXY_LISTEN", "127.0.0.1:0"),
        ("PROXY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PROXY_UPSTREAMS", upstream),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    Service::start("llm-proxy", &[&needed, settings].concat())
        .await
        .unwrap()
}

async fn start_gateway(base_url: &str) -> Service {
    start_gateway_with(base_url, &[]).await
}

async fn start_gateway_with(base_url: &str, settings: &[(&str, &str)]) -> Service {
    let needed = [
        ("GATEWAY_LISTEN", "127.0.0.1:0"),
        ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
        ("LLM_BASE_URL", base_url),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "fake-model"),
    ];
    Service::start("chat-gateway", &[&needed, settings].concat())
        .await
        .unwrap()
}

fn delta(content: &str) -> Value {
    json!({"type": "delta", "content": content})
}

async fn ask(socket: &mut WsClient) {
    socket
        .send_json(&json!({"content": "Hello"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_token_reaches_the_browser_as_it_was_sent() {
    let chain = Chain::start(1).await;
    let tokens = [
        "Ein ",
        "Käse",
        "brot",
        " 芝士",
        "🧀",
        "\n",
        "\"quoted\" \\ ",
    ];
    chain.llama.script(Script::tokens(tokens).sliced(1));
    let mut socket = chain.chat().await;
    ask(&mut socket).await;
    for token in tokens {
        assert_eq!(socket.next_json().await.unwrap(), delta(token));
    }
    assert_eq!(socket.next_json().await.unwrap(), json!({"type": "done"}));
}

#[tokio::test]
async fn the_gateway_is_ready_only_when_the_model_behind_the_proxy_is_loaded() {
    let llama = FakeLlama::start().await;
    llama.set_loading(true);
    let mut proxy = start_proxy(&llama.url()).await;
    let mut gateway = start_gateway(&format!("{}/v1", proxy.url())).await;
    // The first answer that the gateway had from the proxy says no.
    let mut readiness = String::new();
    while !readiness.contains("the model is still loading") {
        let answer = reqwest::get(format!("{}/readyz", gateway.admin_url()))
            .await
            .unwrap();
        assert_eq!(answer.status(), 503);
        readiness = answer.text().await.unwrap();
    }
    llama.set_loading(false);
    proxy.ready().await.unwrap();
    gateway.ready().await.unwrap();
}

#[tokio::test]
async fn thirty_two_chats_have_their_first_token_before_any_has_its_second() {
    const CHATS: usize = 32;
    let chain = Chain::start(CHATS).await;
    chain
        .llama
        .script(Script::tokens(["first", "second"]).stall_after(1));
    let mut sockets = join_all((0..CHATS).map(|_| chain.chat())).await;
    join_all(sockets.iter_mut().map(ask)).await;
    for first in join_all(sockets.iter_mut().map(WsClient::next_json)).await {
        assert_eq!(first.unwrap(), delta("first"));
    }
    assert_eq!(chain.llama.most_running(), CHATS);
    chain.llama.release();
    for socket in &mut sockets {
        assert_eq!(socket.next_json().await.unwrap(), delta("second"));
        assert_eq!(socket.next_json().await.unwrap(), json!({"type": "done"}));
    }
}

#[tokio::test]
async fn closing_the_socket_mid_answer_frees_the_slot_for_the_next_in_the_queue() {
    let chain = Chain::start(1).await;
    chain
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut leaving = chain.chat().await;
    let mut waiting = chain.chat().await;
    ask(&mut leaving).await;
    assert_eq!(leaving.next_json().await.unwrap(), delta("a"));
    ask(&mut waiting).await;
    leaving.abort();
    chain.llama.client_left(0).await;
    assert_eq!(waiting.next_json().await.unwrap(), delta("a"));
    assert_eq!(chain.llama.most_running(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_is_an_error_at_both_doors_and_never_done() {
    let chain = Chain::start(1).await;
    chain
        .llama
        .script(Script::tokens(["half", " an answer"]).end_after(1));
    let mut socket = chain.chat().await;
    ask(&mut socket).await;
    assert_eq!(socket.next_json().await.unwrap(), delta("half"));
    let end = socket.next_json().await.unwrap();
    assert_eq!(end["type"], "error");

    let url = format!("{}/v1/chat/completions", chain.proxy.url());
    let body = json!({"model": "fake-model", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let response = reqwest::Client::new()
        .post(url)
        .bearer_auth(KEY)
        .json(&body)
        .send()
        .await
        .unwrap();
    let text = response.text().await.unwrap();
    assert!(!text.contains("[DONE]"), "{text}");
    assert!(
        text.trim_end()
            .lines()
            .last()
            .unwrap()
            .starts_with(r#"data: {"error":"#),
        "{text}"
    );
}

#[tokio::test]
async fn beside_a_visitor_with_seventy_sockets_another_is_answered_next() {
    let trusted = [
        ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1"),
        ("PROXY_QUEUE_REQUESTS", "100"),
    ];
    let chain = Chain::start_with(1, &trusted).await;
    let heavy = [("x-forwarded-for", "198.51.100.1")];
    chain
        .llama
        .script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut first = chain.chat_with(&heavy).await;
    ask(&mut first).await;
    assert_eq!(first.next_json().await.unwrap(), delta("a"));
    let mut others = join_all((0..70).map(|_| chain.chat_with(&heavy))).await;
    for socket in &mut others {
        ask(socket).await;
    }
    chain.until_queued(70).await;
    let mut light = chain
        .chat_with(&[("x-forwarded-for", "198.51.100.2")])
        .await;
    light.send_json(&json!({"content": "light"})).await.unwrap();
    chain.until_queued(71).await;
    chain.llama.release();
    let answers = others.iter_mut().map(WsClient::collect_answer);
    let (answers, light) = tokio::join!(join_all(answers), light.collect_answer());
    for answer in answers.into_iter().chain([light]) {
        assert_eq!(answer.unwrap().1, json!({"type": "done"}));
    }
    let requests = chain.llama.requests();
    let second = requests[1].body["messages"].as_array().unwrap().last();
    assert_eq!(second.unwrap()["content"], "light");
}
