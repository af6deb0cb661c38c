//! What the chain adds to a token: time to first token through chat-gateway and llm-proxy beside asking the same
//! scripted upstream directly, in turn, in one run. `cargo xtask bench chain` builds and runs it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::service::Service;
use testkit::ws_client::WsClient;

/// Answers asked for one after another, each way.
const ROUNDS: usize = 500;
/// Chats at once, and the time between their tokens.
const CHATS: usize = 32;
const BETWEEN_TOKENS: Duration = Duration::from_millis(20);
const KEY: &str = "a-key-for-benches";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let llama = FakeLlama::start().await;
    llama.set_slots(CHATS);
    llama.script(Script::tokens(["Hello"]));
    let upstream = llama.url();
    let mut proxy = start("llm-proxy", "PROXY", &[("PROXY_UPSTREAMS", &upstream)]).await?;
    proxy.ready().await?;
    let base = format!("{}/v1", proxy.url());
    let mut gateway = start("chat-gateway", "GATEWAY", &[("LLM_BASE_URL", &base)]).await?;
    gateway.ready().await?;
    let chat = format!("{}/api/v1/ws/chat", gateway.url().replacen("http", "ws", 1));

    let http = reqwest::Client::new();
    let mut direct = Vec::new();
    let mut proxied = Vec::new();
    let mut chained = Vec::new();
    for _ in 0..ROUNDS {
        direct.push(first_token_over_http(&http, &upstream).await?);
        proxied.push(first_token_over_http(&http, &proxy.url()).await?);
        chained.push(first_token_over_chat(&chat).await?);
    }
    println!("time to first token, {ROUNDS} rounds, ms      p50      p99      max");
    row("upstream directly", &mut direct);
    row("through llm-proxy", &mut proxied);
    row("through both, from the browser's frame", &mut chained);

    llama.script(Script::tokens(vec!["token"; 50]).every(BETWEEN_TOKENS));
    let mut alone =
        try_join_all((0..CHATS).map(|_| first_token_over_http(&http, &upstream))).await?;
    let mut together = try_join_all((0..CHATS).map(|_| first_token_over_chat(&chat))).await?;
    println!(
        "{CHATS} at once, {} ms between tokens",
        BETWEEN_TOKENS.as_millis()
    );
    row("upstream directly", &mut alone);
    row("through both, from the browser's frame", &mut together);
    Ok(())
}

async fn start(name: &str, prefix: &str, settings: &[(&str, &str)]) -> anyhow::Result<Service> {
    let listen = format!("{prefix}_LISTEN");
    let admin = format!("{prefix}_ADMIN_LISTEN");
    let mut all = vec![
        (listen.as_str(), "127.0.0.1:0"),
        (admin.as_str(), "127.0.0.1:0"),
    ];
    all.extend([("LLM_API_KEY", KEY), ("LLM_MODEL", "fake-model")]);
    all.extend_from_slice(settings);
    Service::start(name, &all).await
}

async fn first_token_over_http(http: &reqwest::Client, server: &str) -> anyhow::Result<Duration> {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let body = json!({"model": "fake-model", "stream": true, "messages": messages});
    let start = Instant::now();
    let request = http
        .post(format!("{server}/v1/chat/completions"))
        .bearer_auth(KEY)
        .json(&body);
    let mut events = request.send().await?.error_for_status()?.bytes_stream();
    let mut seen = String::new();
    while !seen.contains("\"content\":\"") {
        let bytes = events
            .next()
            .await
            .context("the answer ended before its first token")??;
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    let elapsed = start.elapsed();
    while events.next().await.transpose()?.is_some() {}
    Ok(elapsed)
}

async fn first_token_over_chat(url: &str) -> anyhow::Result<Duration> {
    let mut socket = WsClient::connect(url).await?;
    let start = Instant::now();
    socket.send_json(&json!({"content": "Hello"})).await?;
    let first = socket.next_json().await?;
    let elapsed = start.elapsed();
    ensure!(first["type"] == "delta", "not an answer: {first}");
    socket.collect_answer().await?;
    Ok(elapsed)
}

fn row(name: &str, samples: &mut [Duration]) {
    samples.sort();
    println!(
        "  {name:40} {:8.2} {:8.2} {:8.2}",
        millis_at(samples, 0.5),
        millis_at(samples, 0.99),
        millis_at(samples, 1.0)
    );
}

/// The sample below which a `share` of all are, in milliseconds.
fn millis_at(sorted: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few hundred samples"
    )]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index].as_secs_f64() * 1e3
}
