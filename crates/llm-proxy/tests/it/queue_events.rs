//! What a waiting caller sees that asked for it: its place, its wait, its prefill, and then the answer or one error.

use std::time::Duration;

use serde_json::Value;
use testkit::fake_llama::{FakeLlama, Script};

use crate::{PATIENCE, Proxy, envelope, last_error, question, retry_after};

/// A proxy with one slot, which the returned answer holds until the fake is released.
async fn busy(
    llama: &FakeLlama,
    change: impl FnOnce(&mut llm_proxy::Config),
) -> (Proxy, reqwest::Response) {
    llama.set_slots(1);
    let proxy = Proxy::with(llama, |config| {
        // Looked at as often as this, so that the tests need not wait a second.
        config.keep_alive = Duration::from_millis(20);
        change(config);
    })
    .await;
    let running = proxy.ask_stalled(llama).await;
    (proxy, running)
}

/// Asks with queue events; the answer's header is there while the request waits.
async fn ask(proxy: &Proxy) -> reqwest::Response {
    let response = proxy
        .chat(&question(true))
        .header("x-queue-events", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// Reads on until `text` has come.
async fn until(response: &mut reqwest::Response, text: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(text) {
            let bytes = response
                .chunk()
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("no {text:?} in {seen:?}"));
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    seen
}

/// Position and wait of the last line that tells them.
fn place(text: &str) -> (usize, u64) {
    let line = text
        .lines()
        .rfind(|line| line.starts_with(": queue "))
        .unwrap();
    let (position, wait) = line
        .strip_prefix(": queue position=")
        .unwrap()
        .split_once(" wait=")
        .unwrap();
    (position.parse().unwrap(), wait.parse().unwrap())
}

/// What is no comment.
fn answer(text: &str) -> String {
    text.split_inclusive("\n\n")
        .filter(|event| !event.starts_with(':'))
        .collect()
}

#[tokio::test]
async fn a_waiting_caller_sees_its_place_its_prefill_and_then_the_same_answer() {
    let llama = FakeLlama::start().await;
    let (proxy, running) = busy(&llama, |_| {}).await;
    let mut first = ask(&proxy).await;
    let headers = ["content-type", "cache-control", "x-accel-buffering"]
        .map(|name| first.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(headers, ["text/event-stream", "no-store", "no"]);
    // Before one was measured, an answer to this is taken to last 6 s.
    let told = until(&mut first, "\n\n").await;
    assert!(matches!(place(&told), (1, 3..=7)), "{told}");
    let mut second = ask(&proxy).await;
    let told = until(&mut second, "\n\n").await;
    assert!(matches!(place(&told), (2, 9..=13)), "{told}");
    // The wait goes down with the time; between two lines about it the caller hears that all is well.
    let later = until(&mut second, ": queue position=2 wait=").await;
    assert!(place(&later).1 < place(&told).1, "{told}{later}");
    until(&mut second, ": keep-alive\n\n").await;

    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    llama.release();
    drop(running.text().await.unwrap());
    until(&mut second, ": queue position=1 wait=").await;
    until(&mut first, "\"a\"").await;
    llama.release();
    assert!(first.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    let second = second.text().await.unwrap();
    let prefill: Vec<&str> = second
        .lines()
        .filter(|line| line.starts_with(": prefill"))
        .collect();
    assert_eq!(prefill, [": prefill 0/7", ": prefill 7/7"]);
    assert_eq!(
        answer(&second),
        answer(&proxy.ask(&question(true)).await.text().await.unwrap())
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_caller_that_is_admitted_at_once_sees_its_prefill_only() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let plain = proxy.ask(&question(true)).await.text().await.unwrap();
    let response = ask(&proxy).await;
    assert!(
        response.headers()["server-timing"]
            .to_str()
            .unwrap()
            .starts_with("queue;dur=")
    );
    let text = response.text().await.unwrap();
    assert_eq!(text, format!(": prefill 0/7\n\n: prefill 7/7\n\n{plain}"));
    // An answer that is no stream has no place for comments.
    let whole = proxy
        .chat(&question(false))
        .header("x-queue-events", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        whole.json::<Value>().await.unwrap()["choices"][0]["message"]["content"],
        "Hello"
    );
}

#[tokio::test]
async fn a_waiting_caller_that_did_not_ask_for_it_sees_nothing_but_the_answer() {
    let llama = FakeLlama::start().await;
    let (proxy, running) = busy(&llama, |_| {}).await;
    let ask = async |header: Option<&str>, stream: bool| {
        let mut request = proxy.chat(&question(stream));
        if let Some(value) = header {
            request = request.header("x-queue-events", value);
        }
        // What bridges a silence of the upstream is no word about the wait.
        request
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .replace(": keep-alive\n\n", "")
    };
    let waiting = async {
        tokio::join!(
            ask(None, true),
            ask(Some("0"), true),
            ask(Some("true"), true),
            // There is no place for a comment in it.
            ask(Some("1"), false),
        )
    };
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 4").await;
        llama.release();
        drop(running.text().await.unwrap());
    };
    let ((one, two, three, whole), ()) = tokio::join!(waiting, release);
    let plain = ask(None, true).await;
    assert_eq!([one, two, three], [&plain; 3].map(Clone::clone));
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "Hello");
}

#[tokio::test]
async fn a_wait_that_ends_badly_is_one_error_event_with_the_time_to_come_back() {
    let llama = FakeLlama::start().await;
    let (proxy, _running) = busy(&llama, |config| {
        config.queue_requests = 1;
        config.deadlines.queue_with_events = Duration::from_millis(500);
    })
    .await;
    let waiting = ask(&proxy).await;
    // What is refused at once has not begun to answer yet.
    let refused = proxy
        .chat(&question(true))
        .header("x-queue-events", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 429);
    assert!((9..=13).contains(&retry_after(&refused)));
    let text = waiting.text().await.unwrap();
    let message = "no slot became free in time: try again after the time in Retry-After";
    assert_eq!(
        last_error(&text),
        envelope("llm-proxy", "server_error", "queue_timeout", message)
    );
    let retry = text
        .lines()
        .find_map(|line| line.strip_prefix("retry: "))
        .unwrap();
    assert!(
        (3..=6).any(|seconds| retry == format!("{seconds}000")),
        "{text}"
    );
    let outcome = r#"llm_proxy_requests_total{route="/v1/chat/completions",key="default",model="fake-model",outcome="queue_timeout",status="2xx"} 1"#;
    proxy.until_metric(outcome).await;
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_is_told_its_place_is_out_of_the_queue() {
    let llama = FakeLlama::start().await;
    let (proxy, running) = busy(&llama, |_| {}).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(ask(&proxy).await);
    }
    proxy.until_metric("llm_proxy_queue_depth 20").await;
    drop(waiting);
    proxy.until_metric("llm_proxy_queue_depth 0").await;
    proxy
        .until_metric("llm_proxy_cancellations_total{phase=\"queued\"} 20")
        .await;
    llama.release();
    drop(running.text().await.unwrap());
    assert_eq!(llama.requests().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_refuses_after_the_wait_is_one_error_event() {
    let llama = FakeLlama::start().await;
    let (proxy, running) = busy(&llama, |_| {}).await;
    let mut waiting = ask(&proxy).await;
    until(&mut waiting, "position=1").await;
    llama.script_once(Script::refusal(
        400,
        "invalid_request_error",
        "no such thing",
    ));
    llama.release();
    drop(running.text().await.unwrap());
    let error = last_error(&waiting.text().await.unwrap());
    assert_eq!(
        (&error["error"]["code"], &error["error"]["message"]),
        (&"upstream_refused".into(), &"no such thing".into())
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_shutdown_ends_the_wait_with_an_error_event() {
    let llama = FakeLlama::start().await;
    let (mut proxy, _running) =
        busy(&llama, |config| config.drain = Duration::from_millis(100)).await;
    let waiting = ask(&proxy).await;
    proxy.begin_shutdown();
    assert_eq!(
        last_error(&waiting.text().await.unwrap())["error"]["code"],
        "shutting_down"
    );
    proxy.ended().await;
}
